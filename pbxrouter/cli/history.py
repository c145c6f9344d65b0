"""`pbxrouter history`: lists past calls, newest first."""

import datetime
import json
import re
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pbxrouter.cli.options import config_option, database_option, open_database, read_config

if TYPE_CHECKING:
    from pbxrouter.config import Zone
    from pbxrouter.database.calls import CallRow

_UNITS = {"m": 60, "h": 3600, "d": 86400}


def when(context: click.Context, option: click.Parameter, value: str | None) -> datetime.datetime | None:
    """Parse `2026-11-23`, `2026-11-23 14:30` (the PBX's time, without an offset) or `2h` (ago)."""
    if value is None:
        return None
    ago = re.fullmatch(r"([0-9]{1,6})([mhd])", value)
    if ago:
        seconds = time.time() - int(ago[1]) * _UNITS[ago[2]]
        return datetime.datetime.fromtimestamp(max(0.0, seconds), datetime.UTC)
    try:
        found = datetime.datetime.fromisoformat(value)
        if not 1971 <= found.year <= 9000:
            raise ValueError
        return found
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"{value!r}: accepted are 2026-11-23, '2026-11-23 14:30', or 30m, 2h, 7d ago"
        ) from None


def _seconds(moment: datetime.datetime | None, zone: "Zone") -> float | None:
    """The epoch second of a time that is in the zone, if it has no offset."""
    if moment is None:
        return None
    return zone.seconds(moment) if moment.tzinfo is None else moment.timestamp()


@click.command()
@click.option("--from", "caller", metavar="CALLER", help="Only calls from this number.")
@click.option("--to", "number", metavar="NUMBER", help="Only calls to this number.")
@click.option(
    "--forwarded-by",
    metavar="FORWARDER",
    help="Only calls that this number or endpoint forwarded, by a forward or a transfer.",
)
@click.option(
    "--asterisk",
    metavar="NAME",
    help="Only calls from this Asterisk, by its name in the settings; '' is those of which it is not known.",
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
@click.option("--bom", is_flag=True, help="With --csv: begin with a byte order mark, by which Excel reads UTF-8.")
@config_option
@database_option
def history(
    caller: str | None,
    number: str | None,
    forwarded_by: str | None,
    asterisk: str | None,
    outcome: str | None,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    limit: int,
    with_trace: bool,
    as_json: bool,
    as_csv: bool,
    bom: bool,
    config_file: str | None,
    database: str | None,
) -> None:
    """List past calls, newest first.

    They are read from the database; the gateway need not run. Calls of the last second may be missing.
    """
    from pbxrouter.config import Zone
    from pbxrouter.database.calls import CallsCsv, Search, find_calls
    from pbxrouter.text import printable

    caller, number, forwarder, asterisk = (
        None if value is None else printable(value) for value in (caller, number, forwarded_by, asterisk)
    )
    config = read_config(config_file, database)
    zone = Zone(config.web.timezone)
    search = Search(
        caller, number, outcome and outcome.upper(), _seconds(since, zone), _seconds(until, zone), forwarder, asterisk
    )
    several = len(config.asterisk) > 1
    csv = CallsCsv(zone, bom)
    with open_database(config) as connection:
        if as_csv:
            # Bytes: a file is in UTF-8, also where the terminal has another encoding.
            click.echo(csv.heading().encode(), nl=False)
        for row in find_calls(connection, search, limit):
            if as_csv:
                click.echo(csv.lines([row]).encode(), nl=False)
            elif as_json:
                click.echo(json.dumps(_plain(row)))
            else:
                _show(row, zone, with_trace, several)


def _show(row: "CallRow", zone: "Zone", with_trace: bool, several: bool) -> None:
    began = zone.local(row.began).strftime("%Y-%m-%d %H:%M:%S")
    what = f"{row.application} {row.data}".strip() or "-"
    talk = ", talk unknown" if row.talk_s is None else f", {row.talk_s} s of talk" if row.talk_s else ""
    who = f"{row.caller or 'unknown'} forwarded by {row.forwarded_by}" if row.forwarded_by else row.caller or "unknown"
    if several:
        who = f"{row.asterisk or '(Asterisk unknown)'}: {who}"
    click.echo(f"{began}  {who} -> {row.number or '?'}  {what}  {row.outcome}{talk}")
    if with_trace:
        for step in row.steps:
            click.echo(f"    {step.english}")


def _plain(row: "CallRow") -> dict[str, Any]:
    shown = {**asdict(row), "answered_s": row.talk_s, "trace": [step.english for step in row.steps]}
    del shown["call_key"]  # names it in the journal only
    return shown
