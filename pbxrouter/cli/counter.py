"""`pbxrouter counter`: prints call counts from the database; the gateway need not run."""

import datetime
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pbxrouter.cli.options import config_option, database_option, open_database, read_config

if TYPE_CHECKING:
    from pbxrouter.config import Zone
    from pbxrouter.counter import Counts, Report

UNKNOWN = "U"
"""Cacti's notation for an unknown value."""
SETTLED_S = 5
"""How long after its end a minute is complete in the database, in seconds."""
MINUTE_S = 60
MOST_MINUTES = 1440
TODAY = "today"
KINDS = ("mapping", "user", "extension")
ASTERISK = "asterisk"


@click.command()
@click.option("--asterisk", metavar="NAME", help="Only calls of this Asterisk, by its name in the settings.")
@click.option("--minutes", type=click.IntRange(1, MOST_MINUTES), metavar="N", help="The last N whole minutes.")
@click.option(
    "--day",
    is_flag=False,
    flag_value=TODAY,
    metavar="[DATE]",
    help="Today, or DATE (YYYY-MM-DD).  [default]",
)
@click.option(
    "--week",
    is_flag=False,
    flag_value=TODAY,
    metavar="[DATE]",
    help="The seven days up to today, or up to DATE.",
)
@click.option(
    "--busiest",
    is_flag=False,
    flag_value=10,
    type=click.IntRange(1, 10080),
    metavar="[N]",
    help="The N minutes, 10 by default, in which most calls began.",
)
@click.option(
    "--by", type=click.Choice((*KINDS, ASTERISK)), help="One line for each mapping, user, extension or Asterisk."
)
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
    """Print call counts, in a line that Cacti can read.

    U stands for an unknown value: the gateway was down, or had no connection to Asterisk.
    """
    from pbxrouter.config import Zone
    from pbxrouter.counter import report as counter_report
    from pbxrouter.text import printable

    if sum(value is not None for value in (minutes, day, week)) > 1:
        raise click.UsageError("--minutes, --day and --week exclude each other")
    if minutes is None and week is None:
        day = day or TODAY
    config = read_config(config_file, database)
    now = time.time() if minutes is None else settled()
    zone = Zone(config.web.timezone)
    began, ended = _span(minutes, day, week, now, zone)
    with open_database(config) as connection:
        counted = counter_report.asterisks(connection)
        # An Asterisk that was removed from the settings would make all of today unknown.
        names = [asterisk.name for asterisk in config.asterisk if asterisk.secret_file] or counted
        if asterisk:
            if asterisk not in (*names, *counted):
                accepted = ", ".join(sorted({*names, *counted})) or "none, because nothing was counted yet"
                raise click.UsageError(f"no calls of {asterisk!r} are counted; accepted is {accepted}")
            names = [asterisk]
        report = counter_report.read(connection, names, began, ended, now)
        each = [counter_report.read(connection, [name], began, ended, now, only_all=True) for name in names]
    # For minutes, which go into a graph, a partial count would mislead; for a day it is useful.
    short = day is None and week is None
    known = _is_known(report, short)
    if as_json:
        shown = _as_json(report, zone, asterisk, busiest, known, short)
        shown["asterisks"] = {of_one.names[0]: _of_one(of_one, _is_known(of_one, short)) for of_one in each}
        click.echo(json.dumps(shown, indent=2))
    elif by == ASTERISK:
        for of_one in each:
            click.echo(f"{printable(of_one.names[0])}  {_line(_all_figures(of_one, _is_known(of_one, short)))}")
    elif busiest is not None:
        for minute, counts in report.busiest(busiest):
            at_least = "" if report.is_known(minute, minute + 60) else "  (at least: part of it is unknown)"
            click.echo(f"{zone.local(minute):%Y-%m-%d %H:%M}  {_line(_figures(counts, True))}{at_least}")
    elif by is not None:
        for (kind, name), counts in sorted(report.by.items(), key=lambda item: (-item[1].started, item[0])):
            if kind == by:
                click.echo(f"{printable(name)}  {_line(_figures(counts, known))}")
    else:
        click.echo(_line(_all_figures(report, known)))


def _is_known(report: "Report", short: bool) -> bool:
    """Whether figures are given: of minutes if they are complete, of days also if they are only a part."""
    return report.is_known() if short else report.is_seen


def _of_one(report: "Report", known: bool) -> dict[str, Any]:
    """The figures of one Asterisk, for JSON."""
    return {
        "known": known,
        "unknown_seconds": round(report.unknown_s(), 3),
        "active": report.active,
        **_figures(report.total, known),
        "reasons": _reasons(report.total, known),
    }


def settled(clock: Callable[[], float] = time.time, sleep: Callable[[float], object] = time.sleep) -> float:
    """Wait until the last whole minute is complete in the database; returns the time then, in epoch seconds.

    Pollers come right after the full minute, now one second and then six seconds late. If that decided whether the
    minute is counted, it would be in two polls or in none.
    """
    while (early_s := SETTLED_S - clock() % MINUTE_S) > 0:
        sleep(early_s)
    return clock()


def _span(minutes: int | None, day: str | None, week: str | None, now: float, zone: "Zone") -> tuple[int, int]:
    """The time that is asked for: its first epoch second, and the one after its last."""
    if day is None and week is None:
        ended = int(now - SETTLED_S) // MINUTE_S * MINUTE_S
        return ended - MINUTE_S * (minutes or 5), ended
    given = day if day is not None else week
    try:
        noon = datetime.time(12)
        last = now if given == TODAY else zone.seconds(datetime.datetime.combine(_date(given), noon))
        began = int(zone.midnight(last, 0 if day is not None else -6))
        ended = int(zone.midnight(last, 1))
    except (ValueError, OverflowError, OSError):
        raise click.UsageError(f"{given!r} is not a date; accepted is for example 2026-11-23") from None
    return began, max(began, min(ended, int(now)))


def _date(text: str | None) -> datetime.date:
    date = datetime.date.fromisoformat(text or "")
    if not 1971 <= date.year <= 9000:  # the days before and after it are computed, too
        raise ValueError
    return date


def _figures(counts: "Counts", known: bool) -> dict[str, Any]:
    """Counts by the names in the output; None where they are unknown."""
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


def _as_json(
    report: "Report", zone: "Zone", asterisk: str | None, busiest: int | None, known: bool, each_minute: bool
) -> dict[str, Any]:
    from pbxrouter.counter import Counts, minutes_of

    def minute(when: int, counts: Counts) -> dict[str, Any]:
        ended = min(when + 60, report.ended)
        seen = report.is_known(when, ended)
        return {
            "minute": zone.local(when).isoformat(),
            "known": seen,
            "unknown_seconds": round(report.unknown_s(when, ended), 3),
            **_figures(counts, seen),
        }

    shown: dict[str, Any] = {
        "asterisk": asterisk or None,
        "began": zone.local(report.began).isoformat(),
        "ended": zone.local(report.ended).isoformat(),
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
            {"asterisk": gap.asterisk, "began": zone.local(gap.began).isoformat()}
            | {"ended": zone.local(gap.ended).isoformat()}
            for gap in report.gaps
        ],
    }
    if each_minute:
        shown["minutes"] = [minute(when, report.minutes.get(when, Counts())) for when in minutes_of(report)]
    if busiest is not None:
        shown["busiest"] = [minute(when, counts) for when, counts in report.busiest(busiest)]
    return shown
