"""The triggers of PostgreSQL that write the audit log.

A statement is one entry. A trigger before each statement on an audited table, unless it is run by a trigger itself,
begins the next entry; one behind it records all rows that the statement has changed. What a foreign key deletes is
recorded by the same entry. The author stands in settings of the transaction
(``pbxrouter.audit_…``), which end with it: a transaction of this program sets them, and without them the author is SQL.

The functions run with the rights of the tables' owner, so that everybody's changes are recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from pbxrouter.database.audit_triggers.tables import (
    LONG_NAMES,
    NAME,
    NUMBERS,
    TABLES,
    VIA_SQL,
    WHO_SQL,
    AuditedTable,
)

if TYPE_CHECKING:
    from pbxrouter.database.engine import PostgreSQLConnection

_EVENTS: Final = ("insert", "update", "delete", "truncate")
_LABELS: Final = 40
"""Rows of a statement whose names are looked up for the entry's name, which has room for fewer."""
_TRIGGERS: Final = frozenset(
    {
        ("audit_log", "audit_log_delete"),
        *((name, f"audit_{event}") for name in TABLES for event in ("begins", *_EVENTS)),
    }
)

# A function's SQL may not hold another $$.
_BEGINS: Final = f"""
DECLARE
    within text := coalesce(current_setting('pbxrouter.audit_within', true), '');
    own text := ':' || TG_TABLE_NAME || ':';
BEGIN
    IF pg_trigger_depth() > 1 THEN
        -- A foreign key deletes rows, or an owner's trigger changes some: they do not name the entry.
        IF strpos(within, own) = 0 THEN
            PERFORM set_config('pbxrouter.audit_within', within || own, true);
        END IF;
    ELSIF coalesce(current_setting('pbxrouter.audit_via', true), '') IN ('', '{VIA_SQL}') THEN
        PERFORM set_config('pbxrouter.audit_entry', '', true), set_config('pbxrouter.audit_named', '', true),
                set_config('pbxrouter.audit_within', '', true);
    END IF;
    RETURN NULL;
END
"""
_ENTRY: Final = f"""
DECLARE
    entry bigint := nullif(current_setting('pbxrouter.audit_entry', true), '');
BEGIN
    IF entry IS NULL THEN
        INSERT INTO audit_log (changed_at, who, via, action, kind, name, changes)
        VALUES (coalesce(nullif(current_setting('pbxrouter.audit_at', true), '')::double precision,
                         round(extract(epoch FROM statement_timestamp())::numeric, 3)::double precision),
                coalesce(nullif(current_setting('pbxrouter.audit_who', true), ''), '{WHO_SQL}'),
                coalesce(nullif(current_setting('pbxrouter.audit_via', true), ''), '{VIA_SQL}'), '', '', '', '')
        RETURNING audit_id INTO entry;
        PERFORM set_config('pbxrouter.audit_entry', entry::text, true);
    END IF;
    RETURN entry;
END
"""
_NAMED: Final = f"""
DECLARE
    within text := coalesce(current_setting('pbxrouter.audit_within', true), '');
    depth text := CASE WHEN strpos(within, ':' || of_table || ':') = 0 THEN 'statement' ELSE 'trigger' END;
    named text := coalesce(current_setting('pbxrouter.audit_named', true), '');
    so_far text := '';
    did text := acted;
    label text;
BEGIN
    IF coalesce(current_setting('pbxrouter.audit_via', true), '') NOT IN ('', '{VIA_SQL}') THEN
        RETURN;  -- the program names it
    ELSIF named = 'statement' AND depth = 'trigger' THEN
        RETURN;
    ELSIF named = depth THEN
        SELECT l.name, CASE WHEN l.action = acted THEN acted ELSE 'update' END INTO so_far, did
        FROM audit_log AS l WHERE l.audit_id = entry;
    END IF;
    FOREACH label IN ARRAY labels LOOP
        EXIT WHEN right(so_far, 1) = '…';
        so_far := CASE WHEN so_far = '' THEN label
                       WHEN length(so_far) < {LONG_NAMES} THEN so_far || ', ' || label
                       ELSE so_far || ', …' END;
    END LOOP;
    UPDATE audit_log SET action = did, kind = of_kind, name = so_far WHERE audit_id = entry;
    PERFORM set_config('pbxrouter.audit_named', depth, true);
END
"""
_FORGET: Final = """
BEGIN
    DELETE FROM audit_rows AS r USING old_rows AS o WHERE r.audit_id = o.audit_id;
    RETURN NULL;
END
"""


def begin_entry(connection: PostgreSQLConnection, who: str, via: str, now: float) -> None:
    """Begin an entry in the open transaction: what is changed from now on is recorded under this author."""
    connection.execute(
        "SELECT set_config('pbxrouter.audit_who', :who, true), set_config('pbxrouter.audit_via', :via, true),"
        " set_config('pbxrouter.audit_at', :now, true), set_config('pbxrouter.audit_entry', '', true)",
        {"who": who, "via": via, "now": repr(float(now))},
    )


def end_entry(connection: PostgreSQLConnection) -> int | None:
    """End it; return its number, or None if nothing was changed."""
    ((number,),) = connection.execute("SELECT nullif(current_setting('pbxrouter.audit_entry', true), '')").fetchall()
    connection.execute(
        "SELECT set_config('pbxrouter.audit_who', '', true), set_config('pbxrouter.audit_via', '', true),"
        " set_config('pbxrouter.audit_at', '', true), set_config('pbxrouter.audit_entry', '', true)"
    )
    return None if number is None else int(number)


def ensure_triggers(connection: PostgreSQLConnection) -> None:
    """Create the triggers of all audited tables and their functions, if any is missing or is not this one.

    The transaction that is open is used, else one of its own.

    Raises:
        One of DATABASE_ERRORS: the database cannot be written.
    """
    functions = dict(_functions(connection))
    there = dict(
        connection.execute(
            "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = to_regnamespace(quote_ident(current_schema()))"
            " AND proname LIKE 'audit\\_%'"
        ).fetchall()
    )
    if not _missing(connection) and all(there.get(name) == source for name, (_, _, source) in functions.items()):
        return
    mine = not connection.in_transaction
    if mine:
        connection.begin_writing(outlasts_power=True)
    try:
        ((schema,),) = connection.execute("SELECT quote_ident(current_schema())").fetchall()
        for name, (arguments, returns, source) in functions.items():
            connection.run_script(
                f"CREATE OR REPLACE FUNCTION {name}({arguments}) RETURNS {returns} LANGUAGE plpgsql SECURITY DEFINER"
                f" SET search_path = {schema}, pg_temp AS $${source}$$"
            )
            # A trigger needs no such right; who has it could record what never was, or delete what is recorded.
            connection.run_script(f"REVOKE EXECUTE ON FUNCTION {name}({arguments}) FROM PUBLIC")
        for text in _triggers(functions):
            connection.run_script(text)
        if mine:
            connection.commit()
    except BaseException:
        if mine:
            connection.rollback()
        raise


def ensure_any_missing(connection: PostgreSQLConnection) -> None:
    """As ensure_triggers, in little time if none is missing: before a change that must be recorded.

    Raises:
        One of DATABASE_ERRORS: the database cannot be written.
    """
    if _missing(connection):
        ensure_triggers(connection)


def drop_triggers(connection: PostgreSQLConnection) -> None:
    """Drop the triggers of the audit log, in the transaction that is open: an upgrade is no change to record."""
    for table, name in sorted(_existing(connection)):
        connection.run_script(f"DROP TRIGGER {name} ON {table}")


def _missing(connection: PostgreSQLConnection) -> frozenset[tuple[str, str]]:
    tables = _tables(connection)
    return frozenset(item for item in _TRIGGERS - _existing(connection) if item[0] in tables)


def _tables(connection: PostgreSQLConnection) -> set[str]:
    return {
        name
        for (name,) in connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(current_schema()))"
            " AND relkind IN ('r', 'p')"
        )
    }


def _existing(connection: PostgreSQLConnection) -> set[tuple[str, str]]:
    """The triggers that are there and enabled, each with its table."""
    found = connection.execute(
        "SELECT c.relname, t.tgname FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid"
        " WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND NOT t.tgisinternal"
        " AND t.tgenabled <> 'D'"
    )
    return set(found) & _TRIGGERS


# --- functions --------------------------------------------------------------


def _functions(connection: PostgreSQLConnection) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """The functions by name: arguments, what it returns, and its text."""
    yield "audit_begins", ("", "trigger", _BEGINS)
    yield "audit_entry", ("", "bigint", _ENTRY)
    yield "audit_named", ("entry bigint, of_table text, acted text, of_kind text, labels text[]", "void", _NAMED)
    yield "audit_log_forget", ("", "trigger", _FORGET)
    for table in TABLES.values():
        columns = connection.execute(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"
            " WHERE attrelid = to_regclass(quote_ident(current_schema()) || '.' || quote_ident(:name))"
            " AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            {"name": table.name},
        ).fetchall()
        if columns:
            yield f"audit_{table.name}", ("", "trigger", _records(table, columns))


def _triggers(functions: dict[str, tuple[str, str, str]]) -> Iterator[str]:
    yield "DROP TRIGGER IF EXISTS audit_log_delete ON audit_log"
    yield (
        "CREATE TRIGGER audit_log_delete AFTER DELETE ON audit_log REFERENCING OLD TABLE AS old_rows"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_log_forget()"
    )
    rows = {
        "insert": "REFERENCING NEW TABLE AS new_rows",
        "update": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
        "delete": "REFERENCING OLD TABLE AS old_rows",
    }
    for table in TABLES.values():
        function = f"audit_{table.name}"
        if function not in functions:
            continue
        for event in ("begins", *_EVENTS):
            yield f"DROP TRIGGER IF EXISTS audit_{event} ON {table.name}"
        yield (
            f"CREATE TRIGGER audit_begins BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table.name}"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_begins()"
        )
        for event, referencing in rows.items():
            yield (
                f"CREATE TRIGGER audit_{event} AFTER {event.upper()} ON {table.name} {referencing}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            )
        # Its rows are not told behind it. "truncate" comes behind "begins" in the order of names.
        yield (
            f"CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON {table.name}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        )


def _records(table: AuditedTable, columns: Sequence[tuple[str, str]]) -> str:
    """The function that records the rows of one statement."""
    names = [name for name, _ in columns]
    numbers = [column for column in NUMBERS if column in names]
    watched = [name for name in names if name not in table.unwatched]
    both = (
        "(SELECT row_number() OVER () AS n, t AS o FROM old_rows AS t) AS a"
        " JOIN (SELECT row_number() OVER () AS n, t AS r FROM new_rows AS t) AS b USING (n)"
        f" WHERE {' OR '.join(_differs(column) for column in watched)}"
    )
    before, after = _row(table, columns, "(a.o)"), _row(table, columns, "(b.r)")
    one = _row(table, columns, "r")
    others = {
        column: " OR ".join(_differs(name) for name in watched if name != column) or "false" for column in table.only
    }
    updated = f"'{table.updated}'"
    for column, action in table.only.items():
        updated = f"CASE WHEN {others[column]} THEN {updated} ELSE '{action}' END"

    def record(rows: str, row: str, first: str, second: str, order: str) -> str:
        listed = "".join(f", {column}" for column in numbers)
        values = "".join(f", {row}.{column}" for column in numbers)
        return (
            f"INSERT INTO audit_rows (audit_id, table_name, before, after{listed})"
            f" SELECT entry, '{table.name}', {first}, {second}{values} FROM {rows}{order};"
        )

    def name(action: str, rows: str, row: str) -> str:
        label = f"left(coalesce(({table.label.format(row=row)})::text, '?'), {NAME})"
        return (
            f"PERFORM audit_named(entry, TG_TABLE_NAME::text, {action}, '{table.kind}',"
            f" (SELECT array_agg(s.label) FROM (SELECT {label} AS label FROM {rows} LIMIT {_LABELS}) AS s));"
        )

    return f"""
DECLARE
    entry bigint;
    acted text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF EXISTS (SELECT 1 FROM new_rows) THEN
            entry := audit_entry();
            {record("new_rows AS r", "r", "NULL", one, "")}
            {name(f"'{table.created}'", "new_rows AS r", "r")}
        END IF;
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT CASE WHEN count(DISTINCT s.acted) > 1 THEN 'update' ELSE min(s.acted) END INTO acted
        FROM (SELECT {updated} AS acted FROM {both}) AS s;
        IF acted IS NOT NULL THEN
            entry := audit_entry();
            {record(both, "(b.r)", before, after, " ORDER BY n")}
            {name("acted", both, "(b.r)")}
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        IF EXISTS (SELECT 1 FROM old_rows) THEN
            entry := audit_entry();
            {record("old_rows AS r", "r", one, "NULL", "")}
            {name(f"'{table.deleted}'", "old_rows AS r", "r")}
        END IF;
    ELSIF EXISTS (SELECT 1 FROM {table.name}) THEN
        entry := audit_entry();
        {record(f"{table.name} AS r", "r", one, "NULL", "")}
        {name(f"'{table.deleted}'", f"{table.name} AS r", "r")}
    END IF;
    RETURN NULL;
END
"""


def _differs(column: str) -> str:
    return f"(a.o).{column} IS DISTINCT FROM (b.r).{column}"


def _row(table: AuditedTable, columns: Sequence[tuple[str, str]], row: str) -> str:
    """A row as JSON; see audit.rows, which reads it."""
    parts = [f"""'"{name}": ' || {_value(table, name, kind, f"{row}.{name}")}""" for name, kind in columns]
    return "'{' || " + " || ', ' || ".join(parts) + " || '}'"


def _value(table: AuditedTable, column: str, kind: str, value: str) -> str:
    hidden = """'{"hidden": true}'"""
    if column in table.secret:
        return f"CASE WHEN {value} IS NULL THEN 'null' ELSE {hidden} END"
    if column in table.pins:
        return (
            f"CASE WHEN {value} IS NULL THEN 'null' WHEN {value} ~ '^[0-9a-f]{{64}}$' THEN '\"' || {value} || '\"'"
            f" ELSE {hidden} END"
        )
    if kind in ("bigint", "integer", "smallint"):
        return f"coalesce({value}::text, 'null')"
    if kind == "double precision":
        return f"""coalesce('{{"sql": "' || {value}::text || '"}}', 'null')"""
    return f"coalesce(to_json({value}::text)::text, 'null')"
