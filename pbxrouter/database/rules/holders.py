"""The two kinds of holders of grants, extensions and users: tables, columns, messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from pbxrouter.database.edit_text import EXTENSION_TAKEN
from pbxrouter.errors import EditRefused, NotThere
from pbxrouter.text import Sentence, sentence


@dataclass(frozen=True, slots=True)
class HolderTable:
    """One kind of holder.

    Attributes:
        kind: "extension" or "user".
        table, row_id, name: the table, its key, and the column with the number or name.
        pin: the column with the PIN's hash; "NULL" if holders of this kind have none.
        grants, grant_id: the table of their grants, and its key.
        field: the field of a form that holds the number or name.
        missing: the message for a holder that does not exist; its placeholder is number.
        taken: the message for a number or name that another holder has.
        orphan: the message for a grant whose holder does not exist; grant_id, holder_id.
        orphan_mapping: the message for a grant whose mapping does not exist; holder, map_id.
    """

    kind: str
    table: str
    row_id: str
    name: str
    pin: str
    grants: str
    grant_id: str
    field: str
    missing: Sentence
    taken: Sentence
    orphan: Sentence
    orphan_mapping: Sentence


HOLDERS: Final = {
    "extension": HolderTable(
        kind="extension",
        table="extensions",
        row_id="extension_id",
        name="extension_number",
        pin="NULL",
        grants="extensions_mappings",
        grant_id="ext_map_id",
        field="number",
        missing=Sentence("there is no extension {number}"),
        taken=EXTENSION_TAKEN,
        orphan=Sentence("extension grant {grant_id} is left out: there is no extension {holder_id}"),
        orphan_mapping=Sentence("a grant of extension {holder} is left out: there is no mapping {map_id}"),
    ),
    "user": HolderTable(
        kind="user",
        table="users",
        row_id="user_id",
        name="user_name",
        pin="user_pin",
        grants="users_mappings",
        grant_id="usr_map_id",
        field="name",
        missing=Sentence("there is no user {number}"),
        taken=Sentence("there is already a user with this name"),
        orphan=Sentence("user grant {grant_id} is left out: there is no user {holder_id}"),
        orphan_mapping=Sentence("a grant of user {holder} is left out: there is no mapping {map_id}"),
    ),
}
"""By kind."""


class Grant(NamedTuple):
    """A grant: a holder may use a mapping.

    Attributes:
        kind: "extension" or "user".
        holder_id: the holder's number in its table.
    """

    kind: str
    holder_id: int
    map_id: int


def holders(kind: str) -> HolderTable:
    """The HolderTable of a kind.

    Raises:
        EditRefused: there is no such kind.
    """
    if kind not in HOLDERS:
        raise EditRefused(sentence("{kind} cannot hold grants; accepted are extension and user", kind=kind))
    return HOLDERS[kind]


def no_holder(kind: str, row_id: int) -> NotThere:
    """The error for an extension or a user that does not exist."""
    return NotThere(sentence(HOLDERS[kind].missing.message, number=row_id))
