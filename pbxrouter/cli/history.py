"""`pbxrouter history`: lists past calls, newest first."""

import datetime
import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pbxrouter.cli.options import config_option, database_option, open_database, read_config
from pbxrouter.cli.times import local_time

if TYPE_CHECKING:
    from pbxrouter.database.calls import CallRow

_UNITS = {"m": 60, "h": 3600, "d": 86400}


def when(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """Parse `2026-11-23`, `2026-11-23 14:30` (local time) or `2h` (ago) to epoch seconds."""
    if value is None:
        return None
    ago = re.fullmatch(r"([0-9]{1,6})([mhd])", value)
    if ago:
        return datetime.datetime.now().timestamp() - int(ago[1]) * _UNITS[ago[2]]
    try:
        return datetime.datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"{value!r}: accepted are 2026-11-23, '2026-11-23 14:30', or 30m, 2h, 7d ago"
        ) from None


@click.command()
@click.option("--from", "caller", metavar="CALLER", help="Only calls from this number.")
@click.option("--to", "number", metavar="NUMBER", help="Only calls to this number.")
@click.option(
    "--forwarded-by",
    metavar="FORWARDER",
    help="Only calls that this number or endpoint forwarded, by a forward or a transfer.",
)
@click.option("--outcome", metavar="WORD", help="Only calls with this outcome, such as BUSY or DENIED.")
@click.option(
    "--since",
    metavar="WHEN",
    callback=when,
    help="Only calls since 2026-11-23, '2026-11-23 14:30', or 2h ago, for example.",
)
@click.option("--until", metavar="WHEN", callback=when, help="Only calls before this time.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="At most N calls."
)
@click.option("--trace", "with_trace", is_flag=True, help="Show the trace of each decision, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV, for a spreadsheet.")
@config_option
@database_option
def history(
    caller: str | None,
    number: str | None,
    forwarded_by: str | None,
    outcome: str | None,
    since: float | None,
    until: float | None,
    limit: int,
    with_trace: bool,
    as_json: bool,
    as_csv: bool,
    config_file: str | None,
    database: str | None,
) -> None:
    """List past calls, newest first.

    They are read from the database; the gateway need not run. Calls of the last second may be missing.
    """
    from pbxrouter.database.calls import Search, find_calls
    from pbxrouter.text import printable

    caller, number, forwarder = (
        None if value is None else printable(value) for value in (caller, number, forwarded_by)
    )
    search = Search(caller, number, outcome and outcome.upper(), since, until, forwarder)
    with open_database(read_config(config_file, database)) as connection:
        rows = list(find_calls(connection, search, limit))
    if as_json:
        for row in rows:
            click.echo(json.dumps(_plain(row)))
    elif as_csv:
        click.echo(_csv(rows), nl=False)
    else:
        for row in rows:
            _show(row, with_trace)


def _show(row: "CallRow", with_trace: bool) -> None:
    began = local_time(row.began).strftime("%Y-%m-%d %H:%M:%S")
    what = f"{row.application} {row.data}".strip() or "-"
    talk = ", talk unknown" if row.talk_s is None else f", {row.talk_s} s of talk" if row.talk_s else ""
    who = f"{row.caller or 'unknown'} forwarded by {row.forwarded_by}" if row.forwarded_by else row.caller or "unknown"
    click.echo(f"{began}  {who} -> {row.number or '?'}  {what}  {row.outcome}{talk}")
    if with_trace:
        for step in row.steps:
            click.echo(f"    {step.english}")


def _plain(row: "CallRow") -> dict[str, Any]:
    shown = {**asdict(row), "answered_s": row.talk_s, "trace": [step.english for step in row.steps]}
    del shown["call_key"]  # names it in the journal only
    return shown


def _csv(rows: list["CallRow"]) -> str:
    from pbxrouter.database.calls import csv_cells, csv_heading
    from pbxrouter.text import csv_line

    return "".join([csv_line(csv_heading()), *(csv_line(csv_cells(row)) for row in rows)])
