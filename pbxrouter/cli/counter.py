"""`pbxrouter counter`: how many calls there were, from the database; no gateway is needed."""

import datetime
import json
import pathlib
import time
from typing import TYPE_CHECKING, Any

import click

from pbxrouter.cli.options import config_option, database_option, read_config

if TYPE_CHECKING:
    from pbxrouter.counter import Counts, Report

UNKNOWN = "U"
"""How Cacti writes what is not known."""
SETTLED_S = 5
"""A minute is asked about once it is so long over: then all of it is written."""
MOST_MINUTES = 1440
TODAY = "today"
KINDS = ("mapping", "user", "extension")


@click.command()
@click.option("--asterisk", metavar="NAME", help="Only the calls of this [[asterisk]].")
@click.option("--minutes", type=click.IntRange(1, MOST_MINUTES), help="The last so many whole minutes.")
@click.option(
    "--day",
    is_flag=False,
    flag_value=TODAY,
    metavar="[DATE]",
    help="Today, or the day that DATE (YYYY-MM-DD) is.",
)
@click.option(
    "--week",
    is_flag=False,
    flag_value=TODAY,
    metavar="[DATE]",
    help="The seven days that end with today, or DATE.",
)
@click.option(
    "--busiest",
    is_flag=False,
    flag_value=10,
    type=click.IntRange(1, 10080),
    metavar="[N]",
    help="The N minutes (10 unless told) in which most calls began.",
)
@click.option("--by", type=click.Choice(KINDS), help="A line for each mapping, user or extension.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@config_option
@database_option
def counter(
    asterisk: str | None,
    minutes: int | None,
    day: str | None,
    week: str | None,
    busiest: int | None,
    by: str | None,
    as_json: bool,
    config_file: str | None,
    database: str | None,
) -> None:
    """Say how many calls there were, today unless told: in one line, as Cacti reads it.

    U stands for what is not known, because the gateway was down or had no connection to Asterisk.
    """
    from pbxrouter import database as databases
    from pbxrouter.counter import report as counter_report

    if sum(value is not None for value in (minutes, day, week)) > 1:
        raise click.UsageError("--minutes, --day and --week exclude each other")
    if minutes is None and week is None:
        day = day or TODAY
    now = time.time()
    began, ended = _span(minutes, day, week, now)
    config = read_config(config_file, database)
    connection = databases.connect(pathlib.Path(config.database))
    try:
        counted = counter_report.asterisks(connection)
        # One that was taken out of the settings would leave all of today unknown.
        names = [asterisk.name for asterisk in config.asterisk if asterisk.secret_file] or counted
        if asterisk is not None:
            if asterisk not in (*names, *counted):
                accepted = ", ".join(sorted({*names, *counted})) or "none, since nothing was counted yet"
                raise click.UsageError(f"no calls of {asterisk!r} are counted; accepted is {accepted}")
            names = [asterisk]
        report = counter_report.read(connection, names, began, ended, now)
    finally:
        connection.close()
    # Of minutes, for a graph, a part would be misleading; of a day it is what people want to know.
    short = day is None and week is None
    known = report.is_known() if short else report.unknown_s() < ended - began
    if as_json:
        click.echo(json.dumps(_as_json(report, asterisk, busiest, known, short), indent=2))
    elif busiest is not None:
        for minute, counts in report.busiest(busiest):
            at_least = "" if report.is_known(minute, minute + 60) else "  (at least: part of it is unknown)"
            click.echo(f"{_local(minute):%Y-%m-%d %H:%M}  {_line(_figures(counts, True))}{at_least}")
    elif by is not None:
        for (kind, name), counts in sorted(report.by.items(), key=lambda item: (-item[1].started, item[0])):
            if kind == by:
                click.echo(f"{name}  {_line(_figures(counts, known))}")
    else:
        click.echo(_line(_all_figures(report, known)))


def _span(minutes: int | None, day: str | None, week: str | None, now: float) -> tuple[int, int]:
    """Which time is asked about, as epoch seconds: the first, and the one behind the last."""
    if day is None and week is None:
        ended = int(now - SETTLED_S) // 60 * 60
        return ended - 60 * (minutes or 5), ended
    given = day if day is not None else week
    try:
        last = datetime.date.today() if given == TODAY else datetime.date.fromisoformat(given or "")
        first = last if day is not None else last - datetime.timedelta(days=6)
        began = int(datetime.datetime.combine(first, datetime.time()).timestamp())
        ended = int(datetime.datetime.combine(last + datetime.timedelta(days=1), datetime.time()).timestamp())
    except (ValueError, OverflowError, OSError):
        raise click.UsageError(f"{given!r} is no date; accepted is one such as 2026-11-23") from None
    return began, max(began, min(ended, int(now)))


def _figures(counts: "Counts", known: bool) -> dict[str, Any]:
    """Counts under the names that people see; None where they are not known."""
    figures: dict[str, Any] = {
        "calls": counts.started,
        "answered": counts.answered,
        "finished": counts.finished,
        "failed": sum(counts.failed.values()),
        "served": counts.served,
        "talk": round(counts.talk_s),
        "peak": counts.peak,
    }
    return figures if known else dict.fromkeys(figures)


def _reasons(counts: "Counts", known: bool) -> dict[str, int | None]:
    from pbxrouter.counter import REASONS

    return {reason: counts.failed.get(reason, 0) if known else None for reason in REASONS}


def _all_figures(report: "Report", known: bool) -> dict[str, Any]:
    figures = _figures(report.total, known)
    first = {name: figures.pop(name) for name in ("calls", "answered")}
    return {
        **first,
        "active": report.active,
        **figures,
        "unseen": round(report.unknown_s()),
        **_reasons(report.total, known),
    }


def _line(figures: dict[str, Any]) -> str:
    return " ".join(f"{name}:{UNKNOWN if value is None else value}" for name, value in figures.items())


def _local(when: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(when).astimezone()


def _as_json(
    report: "Report", asterisk: str | None, busiest: int | None, known: bool, each_minute: bool
) -> dict[str, Any]:
    from pbxrouter.counter import Counts, minutes_of

    def minute(when: int, counts: Counts) -> dict[str, Any]:
        ended = min(when + 60, report.ended)
        seen = report.is_known(when, ended)
        return {
            "minute": _local(when).isoformat(),
            "known": seen,
            "unknown_seconds": round(report.unknown_s(when, ended), 3),
            **_figures(counts, seen),
        }

    shown: dict[str, Any] = {
        "asterisk": asterisk,
        "began": _local(report.began).isoformat(),
        "ended": _local(report.ended).isoformat(),
        "known": known,
        "unknown_seconds": round(report.unknown_s(), 3),
        "active": report.active,
        **_figures(report.total, known),
        "reasons": _reasons(report.total, known),
        **{
            f"{kind}s": {
                name: {**_figures(counts, known), "reasons": counts.failed}
                for (its_kind, name), counts in sorted(report.by.items())
                if its_kind == kind
            }
            for kind in KINDS
        },
        "gaps": [
            {"asterisk": gap.asterisk, "began": _local(gap.began).isoformat()}
            | {"ended": _local(gap.ended).isoformat()}
            for gap in report.gaps
        ],
    }
    if each_minute:
        shown["minutes"] = [minute(when, report.minutes.get(when, Counts())) for when in minutes_of(report)]
    if busiest is not None:
        shown["busiest"] = [minute(when, counts) for when, counts in report.busiest(busiest)]
    return shown
