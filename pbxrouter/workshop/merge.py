"""Merges the workshop's tables into a pbxrouter database.

Existing rows are found by their values (a mapping by application, data and pattern; an extension by
number; a user by name and PIN), not by their number, and stay as they are. A new row keeps its
number if that is free. The merge is one transaction, and the same content is merged once only, so
that it does not restore what the owner has changed or deleted since.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pbxrouter.database import Connection
from pbxrouter.database.audit import Actor, changing
from pbxrouter.errors import PatternError, PinError
from pbxrouter.rules import Applications, Pattern, extension_number, extension_problem
from pbxrouter.security import check_old_pin
from pbxrouter.workshop.import_report import ImportReport
from pbxrouter.workshop.tables import WorkshopTables

_KEYABLE: Final = re.compile(r"[0-9*]+")


def import_tables(
    connection: Connection,
    actor: Actor,
    now: float,
    tables: WorkshopTables,
    hash_pin: Callable[[str], str],
    source: str,
    again: bool = False,
    applications: Applications | None = None,
) -> ImportReport:
    """Merge the workshop's tables into an open database, in one transaction.

    Args:
        connection: from database.connect.
        actor: the author, for the audit log, from which the import can be undone.
        now: epoch seconds.
        tables: the workshop's tables.
        hash_pin: hashes a PIN as the database keeps it.
        source: the file's name, for the report and the table of imports.
        again: merge even if this content was imported before.
        applications: know which mappings cannot work; None: nothing is said about that.

    Raises:
        StoreError: the database cannot be written.
        EditConflict: it does not accept a row.
    """
    report = ImportReport(source, holds_pins=any(pin for _, _, pin in tables.users))
    digest = hash_pin(f"pbxrouter import 1\n{tables.content()}")
    with changing(connection, actor, now, "import", "import") as change:
        known = connection.execute("SELECT 1 FROM imports WHERE digest = :digest", {"digest": digest}).fetchone()
        if known and not again:
            report.done_before = True
            return report
        _Merge(connection, hash_pin, report, applications).run(tables)
        connection.execute(
            "INSERT INTO imports (digest, source) VALUES (:digest, :source) ON CONFLICT (digest) DO NOTHING",
            {"digest": digest, "source": source},
        )
        change.name = report.title
    return report


@dataclass(slots=True)
class _New:
    """A row of the source, to be found in a table or added to it."""

    source_id: int | None
    key: Hashable
    values: Mapping[str, str | None]


class _Merge:
    def __init__(
        self,
        connection: Connection,
        hash_pin: Callable[[str], str],
        report: ImportReport,
        applications: Applications | None,
    ) -> None:
        self._applications = applications
        self._connection = connection
        self._hash_pin = hash_pin
        self._report = report
        self._warn = report.warnings.append

    def run(self, tables: WorkshopTables) -> None:
        mappings = self._merge_mappings(tables.mappings)
        extensions = self._merge_extensions(tables.extensions)
        users = self._merge_users(tables.users)
        self._merge_grants("extension", tables.extension_grants, extensions, mappings)
        self._merge_grants("user", tables.user_grants, users, mappings)

    def _merge_mappings(self, rows: Iterable[tuple[int | None, str | None, str | None, str | None]]) -> dict[int, int]:
        wanted: list[_New] = []
        for source_id, name, data, pattern in rows:
            if not name or not pattern:
                self._warn(f"mapping {_shown(source_id)} has no {'pattern' if name else 'application'}: left out")
                continue
            try:
                parsed = Pattern.parse(pattern)
            except PatternError as error:
                self._warn(f"mapping {_shown(source_id)} will match nothing: {error}")
            else:
                why = None if self._applications is None else self._applications.problem(name, data or "", parsed)
                if why is not None:
                    self._warn(f"mapping {_shown(source_id)}, {pattern}, cannot work: {why}")
            values = {"application_name": name, "application_data": data or "", "pattern": pattern}
            wanted.append(_New(source_id, (name.lower(), data or "", pattern), values))
        there: dict[Hashable, int] = {}
        leads_to: dict[str, str] = {}
        for map_id, name, data, pattern in self._connection.execute(
            "SELECT map_id, application_name, application_data, pattern FROM applications_mappings ORDER BY map_id"
        ):
            there.setdefault((name.strip().lower(), data.strip(), pattern.strip()), map_id)
            leads_to.setdefault(pattern.strip(), f"{name} {data}".strip())
        for row in wanted:
            pattern = row.values["pattern"] or ""
            if row.key not in there and pattern in leads_to:
                self._warn(
                    f"pattern {pattern} of mapping {_shown(row.source_id)} leads to {leads_to[pattern]} "
                    "already: of the two, the one with the lower map_id counts"
                )
        return self._place("mappings", "applications_mappings", "map_id", wanted, there)

    def _merge_extensions(self, rows: Iterable[tuple[int | None, str | None]]) -> dict[int, int]:
        wanted: list[_New] = []
        for source_id, number in rows:
            if number:
                wanted.append(_New(source_id, extension_number(number), {"extension_number": number}))
                why = extension_problem(extension_number(number))
                if why is not None:
                    self._warn(f"extension {_shown(source_id)}: {why}")
            else:
                self._warn(f"extension {_shown(source_id)} has no number: left out")
        there: dict[Hashable, int] = {}
        for row_id, number in self._connection.execute(
            "SELECT extension_id, extension_number FROM extensions ORDER BY extension_id"
        ):
            there.setdefault(extension_number(number), row_id)  # of several, the first counts
        return self._place("extensions", "extensions", "extension_id", wanted, there)

    def _merge_users(self, rows: Iterable[tuple[int | None, str | None, str | None]]) -> dict[int, int]:
        users = self._connection.execute("SELECT user_id, user_name, user_pin FROM users ORDER BY user_id").fetchall()
        owners = {pin: name for _, name, pin in users if pin is not None}
        wanted = [self._read_user(*row, owners) for row in rows]
        there: dict[Hashable, int] = {}
        without: dict[str, list[int]] = {}
        for user_id, name, pin in users:
            if pin is None:
                without.setdefault(name, []).append(user_id)
            else:
                there[name, pin] = user_id
        unclaimed = {row_id: name for row_id, name, _ in users}
        for user in wanted:
            unclaimed.pop(there.get(user.key, 0), None)
        for user in wanted:
            name = user.values["user_name"] or ""
            if user.key in there:
                continue
            if user.values["user_pin"] is None:
                # Two users of one name without PINs stay two users, unless they are of one number, too.
                user.key = (user.key, user.source_id)
                if user.key in there:
                    continue
                if without.get(name):
                    there[user.key] = without[name].pop(0)
                    unclaimed.pop(there[user.key], None)
                    continue
            if user.source_id is not None and unclaimed.get(user.source_id) == name:
                there[user.key] = user.source_id
                del unclaimed[user.source_id]
                self._warn(f"user {name} has another PIN by now: that one is kept")
        return self._place("users", "users", "user_id", wanted, there)

    def _read_user(self, source_id: int | None, name: str | None, pin: str | None, owners: dict[str, str]) -> _New:
        """Read a user and hash the PIN, which is dropped if it cannot be used; adds the user to ``owners``."""
        if not name:
            name = f"user {_shown(source_id)}"
            self._warn(f"user {_shown(source_id)} has no name: called {name!r}")
        hashed: str | None = None
        if not pin:
            self._warn(f"user {name} has no PIN")
        elif not _KEYABLE.fullmatch(pin):
            self._warn(f"the PIN of user {name} cannot be keyed on a phone: the user has none now")
        else:
            hashed = self._hash_pin(pin)
            if owners.setdefault(hashed, name) != name:
                self._warn(f"the PIN of user {name} is also that of user {owners[hashed]}: {name} has none now")
                hashed = None
            else:
                try:
                    check_old_pin(pin)
                except PinError as error:
                    self._warn(f"user {name} keeps a PIN that could not be set today: {error}")
        return _New(source_id, (name, hashed), {"user_name": name, "user_pin": hashed})

    def _place(
        self, kind: str, table: str, id_column: str, wanted: Sequence[_New], there: dict[Hashable, int]
    ) -> dict[int, int]:
        """Find or add each row; returns the numbers in the database by the numbers in the source."""
        taken = self._taken(table, id_column)
        numbers: dict[int, int] = {}
        waiting: list[_New] = []
        for row in wanted:
            if row.key in there:
                self._report.found[kind] += 1
                self._number(kind, numbers, row, there[row.key])
            elif row.source_id is not None and row.source_id not in taken:
                there[row.key] = self._insert(table, id_column, {id_column: row.source_id, **row.values})
                taken.add(row.source_id)
                self._report.added[kind] += 1
                self._number(kind, numbers, row, row.source_id)
            else:
                waiting.append(row)
        # Last, so that a new number is not one that another row of the source has.
        for row in waiting:
            if row.key in there:
                self._report.found[kind] += 1
            else:
                there[row.key] = self._insert(table, id_column, row.values)
                self._report.added[kind] += 1
            self._number(kind, numbers, row, there[row.key])
        return numbers

    def _number(self, kind: str, numbers: dict[int, int], row: _New, number: int) -> None:
        if row.source_id is None:
            return
        if numbers.setdefault(row.source_id, number) != number:
            self._warn(f"{kind} {row.source_id} is there twice: grants go to the first")

    def _taken(self, table: str, id_column: str) -> set[int]:
        """The numbers that are in use, or that orphaned rows of other tables refer to."""
        grants = {
            "applications_mappings": ("extensions_mappings", "users_mappings", "mappings_disabled"),
            "extensions": ("extensions_mappings", "extensions_endpoints"),
            "users": ("users_mappings", "users_limits"),
        }[table]
        return {
            number
            for value in (table, *grants)
            for (number,) in self._connection.execute(f"SELECT {id_column} FROM {value}")
        }

    def _insert(self, table: str, id_column: str, values: Mapping[str, int | str | None]) -> int:
        columns = ", ".join(values)
        parameters = ", ".join(f":{column}" for column in values)
        (number,) = self._connection.execute(
            f"INSERT INTO {table} ({columns}) VALUES ({parameters}) RETURNING {id_column}", values
        ).fetchone()
        return int(number)

    def _merge_grants(
        self,
        kind: str,
        rows: Iterable[tuple[int | None, int | None]],
        holders: dict[int, int],
        mappings: dict[int, int],
    ) -> None:
        for holder, map_id in rows:
            if holder not in holders:
                self._warn(f"a grant to {kind} {_shown(holder)} is left out: there is no such {kind}")
            elif map_id not in mappings:
                self._warn(f"a grant to {kind} {holder} is left out: there is no mapping {_shown(map_id)}")
            else:
                added = self._connection.execute(
                    f"INSERT INTO {kind}s_mappings ({kind}_id, map_id) VALUES (:holder, :map_id)"
                    " ON CONFLICT DO NOTHING",
                    {"holder": holders[holder], "map_id": mappings[map_id]},
                ).rowcount
                (self._report.added if added else self._report.found)["grants"] += 1


def _shown(number: int | None) -> str:
    return "without a number" if number is None else str(number)
