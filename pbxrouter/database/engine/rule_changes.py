"""The triggers by which PostgreSQL tells all gateways that the rules have changed (NOTIFY)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

CHANNEL: Final = "pbxrouter_rules"
"""The channel that gateways listen on."""
TABLES: Final = (
    "applications_mappings",
    "extensions",
    "extensions_endpoints",
    "extensions_mappings",
    "mappings_disabled",
    "users",
    "users_limits",
    "users_mappings",
)
"""The tables that the rules are read from."""
_TRIGGER: Final = "rules_changed"

RULES_CHANGED: Final = f"""CREATE OR REPLACE FUNCTION {_TRIGGER}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('{CHANNEL}', TG_TABLE_SCHEMA);
    RETURN NULL;
END $$"""
"""Its payload is the schema's name; PostgreSQL sends it once for a transaction, when it is committed."""


def rule_triggers() -> Iterator[str]:
    """The statements that create the triggers."""
    for table in TABLES:
        yield (
            f"CREATE OR REPLACE TRIGGER {_TRIGGER} AFTER INSERT OR UPDATE OR DELETE ON {table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {_TRIGGER}()"
        )
        yield (
            f"CREATE OR REPLACE TRIGGER {_TRIGGER}_all AFTER TRUNCATE ON {table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {_TRIGGER}()"
        )
