"""The tables whose changes the audit log records, and all in which they differ.

The triggers of either engine are generated from this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

WHO_SQL: Final = "SQL"
"""The author of changes that no part of this program made."""
VIA_SQL: Final = "sql"
"""The way by which they are made."""
NUMBERS: Final = ("map_id", "extension_id", "user_id")
"""The columns of audited tables, and of audit_rows, by which the changes of a mapping, extension or user are found."""

NAME: Final = 60
"""Characters of a row's name in an entry's name."""
LONG_NAMES: Final = 80
"""The length of an entry's name after which no further row's name is added."""


@dataclass(frozen=True, slots=True)
class Unique:
    """Columns of which no two rows have the same values.

    Attributes:
        where: a condition on ``{row}`` without which a row does not count.
    """

    columns: tuple[str, ...]
    where: str = ""


@dataclass(frozen=True, slots=True)
class AuditedTable:
    """A table whose changes are recorded.

    Attributes:
        row_id: the column with the row's number.
        key: the columns that identify a row. A grant's are holder and mapping: its number is
            reused after it is deleted, and no table refers to it.
        kind: the kind of its entries, one of audit.entries.KINDS.
        label: SQL for the name of a row, for people; ``{row}`` is the row.
        unique: what else than the number no two rows may have.
        children: tables and columns that refer to this one; their rows are deleted with the row.
        created, updated, deleted: the actions of entries.
        only: the action if nothing but this column was updated, by column.
        pins: columns with a PIN's hash; what is no hash is not recorded.
        secret: columns that are not recorded: their rows are never restored.
        unwatched: columns whose change alone is not recorded.
    """

    name: str
    row_id: str
    kind: str
    label: str
    key: tuple[str, ...] = ()
    unique: tuple[Unique, ...] = ()
    children: tuple[tuple[str, str], ...] = ()
    created: str = "create"
    updated: str = "update"
    deleted: str = "delete"
    only: dict[str, str] = field(default_factory=dict)
    pins: frozenset[str] = frozenset()
    secret: frozenset[str] = frozenset()
    unwatched: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """The key is the number, if none is given."""
        if not self.key:
            object.__setattr__(self, "key", (self.row_id,))


_PATTERN: Final = "(SELECT pattern FROM applications_mappings AS m WHERE m.map_id = {row}.map_id)"
_EXTENSION: Final = "(SELECT extension_number FROM extensions AS e WHERE e.extension_id = {row}.extension_id)"
_USER: Final = "(SELECT user_name FROM users AS u WHERE u.user_id = {row}.user_id)"

TABLES: Final = {
    table.name: table
    for table in (
        AuditedTable(
            "applications_mappings",
            "map_id",
            "mapping",
            "{row}.pattern",
            children=(
                ("extensions_mappings", "map_id"),
                ("users_mappings", "map_id"),
                ("mappings_disabled", "map_id"),
            ),
        ),
        AuditedTable("mappings_disabled", "map_id", "mapping", _PATTERN, created="disable", deleted="enable"),
        AuditedTable(
            "extensions",
            "extension_id",
            "extension",
            "{row}.extension_number",
            unique=(Unique(("extension_number",)),),
            children=(("extensions_mappings", "extension_id"), ("extensions_endpoints", "extension_id")),
        ),
        AuditedTable(
            "extensions_endpoints",
            "extension_id",
            "extension",
            _EXTENSION,
            created="endpoint",
            updated="endpoint",
            deleted="endpoint",
        ),
        AuditedTable(
            "extensions_mappings",
            "ext_map_id",
            "grant",
            f"coalesce({_EXTENSION}, '?') || ' → ' || coalesce({_PATTERN}, '?')",
            key=("extension_id", "map_id"),
            unique=(Unique(("extension_id", "map_id")),),
            created="grant",
            deleted="revoke",
        ),
        AuditedTable(
            "users",
            "user_id",
            "user",
            "{row}.user_name",
            unique=(Unique(("user_pin",)),),
            children=(("users_mappings", "user_id"), ("users_limits", "user_id")),
            only={"user_pin": "pin"},
            pins=frozenset({"user_pin"}),
        ),
        AuditedTable("users_limits", "user_id", "user", _USER, created="limit", updated="limit", deleted="limit"),
        AuditedTable(
            "users_mappings",
            "usr_map_id",
            "grant",
            f"coalesce({_USER}, '?') || ' → ' || coalesce({_PATTERN}, '?')",
            key=("user_id", "map_id"),
            unique=(Unique(("user_id", "map_id")),),
            created="grant",
            deleted="revoke",
        ),
        AuditedTable(
            "console_users",
            "console_user_id",
            "console_user",
            "{row}.login",
            unique=(Unique(("login",)),),
            only={"password_hash": "password"},
            secret=frozenset({"password_hash"}),
            unwatched=frozenset({"last_login_at"}),
        ),
        AuditedTable(
            "api_tokens",
            "token_id",
            "token",
            "{row}.name",
            unique=(Unique(("token_hash",)), Unique(("name",), "{row}.revoked_at IS NULL")),
            only={"revoked_at": "revoke"},
            secret=frozenset({"token_hash"}),
            unwatched=frozenset({"last_used_at"}),
        ),
        AuditedTable("dial_links", "link_id", "dial_link", "{row}.name", only={"generation": "void"}),
    )
}
"""The audited tables, by name."""
