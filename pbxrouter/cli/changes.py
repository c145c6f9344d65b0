"""`pbxrouter changes`: lists the audit log, shows an entry with its rows, and undoes a change."""

import dataclasses
import json
import time
from typing import TYPE_CHECKING

import click

from pbxrouter.cli.options import config_option, database_option, open_database, read_config

if TYPE_CHECKING:
    from pbxrouter.config import Zone
    from pbxrouter.database import Connection
    from pbxrouter.database.audit import AuditDetail, AuditEntry

MOST = 500


@click.command()
@click.argument("action", type=click.Choice(["list", "show", "undo"]), default="list")
@click.argument("numbers", metavar="[NUMBER]...", nargs=-1, type=int)
@click.option("--who", metavar="NAME", help="Only changes by this author; SQL is who changed the database itself.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, MOST), default=20, show_default=True, help="At most N changes."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@config_option
@database_option
def changes(
    action: str,
    numbers: tuple[int, ...],
    who: str | None,
    limit: int,
    as_json: bool,
    config_file: str | None,
    database: str | None,
) -> None:
    """List changes, newest first; show one with its rows; undo one.

    `show 17` has the rows of change 17 before and after, and `undo 17` restores them, if they were not changed
    since. An undo takes effect with the next call, and can be undone, too. `undo 15 16 17` undoes all three or none.
    """
    if bool(numbers) != (action != "list"):
        raise click.UsageError("show and undo take the number of a change, and list takes none")
    from pbxrouter.config import Zone

    config = read_config(config_file, database)
    zone = Zone(config.web.timezone)
    with open_database(config) as connection:
        if action == "list":
            _list(connection, zone, who, limit, as_json)
        elif action == "show":
            for number in numbers:
                _show(connection, zone, number, as_json)
        else:
            _undo(connection, numbers)


def _list(connection: "Connection", zone: "Zone", who: str | None, limit: int, as_json: bool) -> None:
    from pbxrouter.database.audit import AuditSearch, find_entries

    found = find_entries(connection, AuditSearch(who=who), limit)
    if not found and not as_json:
        click.echo("no changes", err=True)
    for row in found:
        click.echo(json.dumps(_plain(row)) if as_json else _line(row, zone))


def _show(connection: "Connection", zone: "Zone", number: int, as_json: bool) -> None:
    from pbxrouter.database.audit import entry
    from pbxrouter.text import printable

    detail = entry(connection, number)
    if as_json:
        click.echo(json.dumps(_plain_detail(detail)))
        return
    click.echo(_line(detail.entry, zone))
    for change in detail.changes:
        before, after = change.before, change.after
        what = "deleted" if after is None else "created" if before is None else "changed"
        key = ", ".join(f"{column} {value}" for column, value in change.key.items())
        click.echo(printable(f"  {change.table}, {key}: {what}"))
        for column in {**(before or {}), **(after or {})}:
            old, new = (None if row is None else row.get(column, "") for row in (before, after))
            if column not in change.key and (old != new):
                values = " -> ".join(repr(value) for value in (old, new) if value is not None)
                click.echo(f"    {printable(column)}: {printable(values)}")
    if detail.rows > len(detail.changes):
        click.echo(f"  and {detail.rows - len(detail.changes)} rows more")


def _undo(connection: "Connection", numbers: tuple[int, ...]) -> None:
    from pbxrouter.cli.actor import system_actor
    from pbxrouter.database.audit import undo_together

    undone = undo_together(connection, system_actor(), time.time(), numbers)
    for number, undone_by in zip(sorted(set(numbers), reverse=True), undone, strict=True):
        click.echo(f"change {number}: undone by change {undone_by}")


def _line(row: "AuditEntry", zone: "Zone") -> str:
    from pbxrouter.text import printable

    when = zone.local(row.changed_at).strftime("%Y-%m-%d %H:%M:%S")
    rest = f"; undone by {row.undone_by}" if row.undone_by is not None else ""
    undoes = f" of {row.undoes}" if row.undoes is not None else ""
    text = f"{row.action}{undoes} {row.kind} {row.name}"
    return printable(f"{row.audit_id}  {when}  {row.who} ({row.via}): {text}{rest}")


def _plain(row: "AuditEntry") -> dict[str, object]:
    shown = {**dataclasses.asdict(row), "can_be_undone": row.can_be_undone}
    del shown["has_rows"]
    return shown


def _plain_detail(detail: "AuditDetail") -> dict[str, object]:
    rows = [
        {
            "table": change.table,
            "key": dict(change.key),
            "before": None if change.before is None else dict(change.before),
            "after": None if change.after is None else dict(change.after),
        }
        for change in detail.changes
    ]
    return {**_plain(detail.entry), "changes": rows, "rows": detail.rows}
