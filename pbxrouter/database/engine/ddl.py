"""Makes PostgreSQL's tables of schema.sql and of the upgrades, which are written for SQLite.

Types: INTEGER is bigint, REAL double precision, TEXT text that sorts by bytes as SQLite's does. The number of a row is
an identity column that accepts a number, too: then a trigger has the next ones begin behind it. GLOB becomes a regular
expression, COLLATE NOCASE with UNIQUE a unique index on the text in small letters.

What cannot be translated stands in an upgrade for one engine alone, between lines ``--:sqlite`` or ``--:postgresql``
and ``--:both``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_TEXT_OR_COMMENT: Final = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
_PLACE: Final = re.compile("\x01(\\d+)\x01")
_ONLY: Final = re.compile(r"^--:(sqlite|postgresql|both)[ \t]*$", re.MULTILINE)
_TABLE: Final = re.compile(r"CREATE TABLE (\w+)", re.IGNORECASE)
_TYPED: Final = re.compile(r"CREATE TABLE|ALTER TABLE \w+ ADD", re.IGNORECASE)
_NOW: Final = re.compile(r"strftime\(\x01(\d+)\x01,\s*\x01(\d+)\x01\)", re.IGNORECASE)
_GLOB: Final = re.compile(r"\b(NOT\s+)?GLOB\s+\x01(\d+)\x01", re.IGNORECASE)
_NUMBER: Final = re.compile(r"(\w+)\s+INTEGER PRIMARY KEY(?:( AUTOINCREMENT)|(?=([^,]*)))", re.IGNORECASE)
_NOCASE: Final = re.compile(
    r"(\w+)(\s+TEXT(?:\s+NOT NULL)?)\s+COLLATE NOCASE\s+CONSTRAINT\s+(\w+)\s+UNIQUE", re.IGNORECASE
)
_UPPER: Final = re.compile(r"CONSTRAINT (\w*[A-Z]\w*)")  # a name that PostgreSQL would put into small letters
_WITHOUT_ROWID: Final = re.compile(r"\)\s*WITHOUT ROWID", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"REFERENCES\s+\w+\s*\([^)]*\)(?:\s+ON DELETE (?:CASCADE|SET NULL))?", re.IGNORECASE)
_TYPES: Final = {"INTEGER": "bigint", "REAL": "double precision", "TEXT": 'text COLLATE "C"', "BLOB": "bytea"}
_TYPE: Final = re.compile(rf"\b({'|'.join(_TYPES)})\b", re.IGNORECASE)

_KEEP_NUMBER: Final = """CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    numbers regclass := pg_catalog.format('%I.%I', TG_TABLE_SCHEMA, '{sequence}')::regclass;
BEGIN
    IF NEW.{column} OPERATOR(pg_catalog.>) coalesce(pg_catalog.pg_sequence_last_value(numbers), 0) THEN
        PERFORM pg_catalog.setval(numbers, NEW.{column});
    END IF;
    RETURN NEW;
END $$"""
"""The trigger function by which the next number of a table is behind one that a row was inserted with.

It has the rights of the tables' owner: who may insert rows need not have rights on the sequence. So it takes
all names from pg_catalog, and no other role may execute it.
"""


def part_for(engine: str, script: str) -> str:
    """The part of a script that is for an engine, ``sqlite`` or ``postgresql``; lines keep their numbers."""
    parts = _ONLY.split(script)
    kept = [parts[0]]
    for who, text in zip(parts[1::2], parts[2::2], strict=True):
        kept.append(text if who in (engine, "both") else "\n" * text.count("\n"))
    return "".join(kept)


def postgresql_of(statement: str) -> Iterator[str]:
    """The statements of PostgreSQL for one of ours, such as CREATE TABLE with its triggers and indexes."""
    literals: list[str] = []

    def put_away(found: re.Match[str]) -> str:
        if not found[0].startswith("'"):
            return " "
        literals.append(found[0])
        return f"\x01{len(literals) - 1}\x01"

    def literal(number: str) -> str:
        return literals[int(number)][1:-1].replace("''", "'")

    def glob(found: re.Match[str]) -> str:
        return f"{'!~' if found[1] else '~'} {_quoted(_regex_of(literal(found[2])))}"

    def now(found: re.Match[str]) -> str:
        if (literal(found[1]), literal(found[2])) != ("%Y-%m-%dT%H:%M:%SZ", "now"):
            raise ValueError(f"no translation of strftime({literal(found[1])}, {literal(found[2])})")
        return "utc_now()"

    text = _TEXT_OR_COMMENT.sub(put_away, statement).strip().rstrip(";").rstrip()
    further: list[str] = []
    if _TYPED.match(text):
        table = _TABLE.match(text)
        if table:
            text = _NUMBER.sub(lambda found: _numbered(table[1], found, further), text)
            text = _NOCASE.sub(lambda found: _without_case(table[1], found, further), text)
        text = _WITHOUT_ROWID.sub(")", text)
        text = _REFERENCE.sub(r"\g<0> DEFERRABLE", text)  # an undo restores rows in an order of its own
        text = _TYPE.sub(lambda found: _TYPES[found[1].upper()], text)
        text = _UPPER.sub(r'CONSTRAINT "\1"', text)
    text = _GLOB.sub(glob, _NOW.sub(now, text))
    yield _PLACE.sub(lambda found: literals[int(found[1])], text)
    yield from further


def _numbered(table: str, found: re.Match[str], further: list[str]) -> str:
    """A column with the number of a row; one that refers to another table gets none by itself."""
    column = found[1]
    if found[3] and "REFERENCES" in found[3].upper():
        return f"{column} bigint PRIMARY KEY"
    sequence = f"{table}_{column}_seq"
    function = f"keep_number_{table}"
    further.append(_KEEP_NUMBER.format(name=function, sequence=sequence, column=column))
    further.append(f"REVOKE EXECUTE ON FUNCTION {function}() FROM PUBLIC")
    further.append(f"CREATE TRIGGER keep_number BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()")
    return f"{column} bigint GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME {sequence}) PRIMARY KEY"


def _without_case(table: str, found: re.Match[str], further: list[str]) -> str:
    column, kind, constraint = found[1], found[2], found[3]
    further.append(f"CREATE UNIQUE INDEX {constraint} ON {table} (ascii_lower({column}))")
    return f"{column}{kind}"


def _regex_of(glob: str) -> str:
    """The regular expression for a GLOB pattern of SQLite."""
    parts: list[str] = []
    position = 0
    while position < len(glob):
        char = glob[position]
        end = glob.find("]", position + (3 if glob.startswith("[^", position) else 2)) if char == "[" else -1
        if end > 0:
            parts.append(glob[position : end + 1].replace("\\", "\\\\"))
            position = end
        elif char in "*?":
            parts.append(".*" if char == "*" else ".")
        else:
            parts.append(re.escape(char))
        position += 1
    return f"^{''.join(parts)}$"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
