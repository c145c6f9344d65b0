"""The two kinds of who may hold a grant, extensions and users: where each is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from pbxrouter.errors import EditRefused
from pbxrouter.text import sentence


@dataclass(frozen=True, slots=True)
class HolderTable:
    """Of one kind, its tables and columns."""

    kind: str
    table: str
    row_id: str
    name: str
    grants: str
    grant_id: str


HOLDERS: Final = {
    "extension": HolderTable(
        "extension", "extensions", "extension_id", "extension_number", "extensions_mappings", "ext_map_id"
    ),
    "user": HolderTable("user", "users", "user_id", "user_name", "users_mappings", "usr_map_id"),
}


class Grant(NamedTuple):
    """That somebody may use a mapping.

    Attributes:
        kind: "extension" or "user".
        holder_id: its number.
    """

    kind: str
    holder_id: int
    map_id: int


def holders(kind: str) -> HolderTable:
    """The tables of a kind.

    Raises:
        EditRefused: there is no such kind.
    """
    if kind not in HOLDERS:
        raise EditRefused(sentence("{kind} cannot hold grants; accepted are extension and user", kind=kind))
    return HOLDERS[kind]
