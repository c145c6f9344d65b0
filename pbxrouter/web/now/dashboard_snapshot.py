"""The dashboard's snapshot: live calls, figures, graphs and health as one comparable value.

Live calls are read from memory. Figures come from the database, at most every few seconds and only
while a browser is watching, over the reading connection; the graph is drawn once a minute in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from markupsafe import Markup
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pbxrouter.counter import MINUTE_S, LiveCalls, OutcomeTotals, live_calls, live_version, per_minute, totals
from pbxrouter.counter import report as counter_report
from pbxrouter.database import Connection, LockoutFigures, lockout_figures
from pbxrouter.errors import StoreError
from pbxrouter.health import Health
from pbxrouter.net import QueueFigures
from pbxrouter.web.context import WebContext
from pbxrouter.web.language import LANGUAGES, Translator
from pbxrouter.web.now.graphs import calls_per_minute

SHOWN: Final = 50
"""Number of calls on a page of the list."""
MOST_PAGES: Final = 1000
FIGURES_EVERY_S: Final = 5.0
QUEUE_STEP_S: Final = 10.0
"""Seconds by which the age of a queue is shown."""
GRAPH_HOURS: Final = 3
GRAPH_LATE_S: Final = 3.0
"""Seconds after a minute's end before it is drawn, since its last calls are written by then."""


@dataclass(frozen=True, slots=True)
class ListView:
    """Which of the calls in progress are listed.

    Attributes:
        page: from 0.
    """

    oldest_first: bool = False
    page: int = 0


NEWEST: Final = ListView()


@dataclass(frozen=True, slots=True)
class Counted:
    """Today's counts of the counted Asterisks, all calls included.

    Attributes:
        unknown: minutes since midnight in which calls were not counted.
    """

    started: int
    answered: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Minutes:
    """Calls per minute.

    Attributes:
        counted: whether they are all calls of the Asterisks, or only the gateway's.
        minutes: by the minute's first second; None where unknown, none where zero.
        partly: number of minutes that are known of some of the Asterisks only.
    """

    began: float
    ended: float
    counted: bool
    minutes: Mapping[int, int | None]
    partly: int = 0

    @property
    def calls(self) -> int:
        """The sum of all known minutes."""
        return sum(minute or 0 for minute in self.minutes.values())

    @property
    def unknown(self) -> int:
        """Number of unknown minutes."""
        return sum(minute is None for minute in self.minutes.values())


@dataclass(frozen=True, slots=True)
class DashboardFigures:
    """The figures from the database.

    Attributes:
        totals: the gateway's calls since midnight.
        counted: None if no Asterisk is or was counted.
        any_calls: whether the gateway has ever served a call.
        lockouts: callers that are locked out after wrong PINs.
    """

    totals: OutcomeTotals
    counted: Counted | None
    any_calls: bool
    lockouts: LockoutFigures


@dataclass(frozen=True, slots=True)
class DashboardSnapshot:
    """All that the dashboard shows.

    Attributes:
        version: changes whenever a call in progress does, listed or not.
        live: the newest calls.
        figures: the last figures read; None before.
        figures_away: whether the last attempt to read them failed.
        graphs: SVG by language; empty before the first was drawn.
    """

    version: tuple[int, ...]
    live: LiveCalls
    figures: DashboardFigures | None
    figures_away: bool
    minutes: Minutes | None
    health: Health
    graphs: Mapping[str, Markup] = field(default_factory=dict, compare=False)  # as the minutes are


class DashboardSnapshots:
    """Takes snapshots of the dashboard, for all browsers that watch it.

    Args:
        translators: by language.
    """

    log = Logger()

    def __init__(self, web: WebContext, translator: Mapping[str, Translator]) -> None:
        self._web = web
        self._translators = translator
        self._version: tuple[int, ...] | None = None
        self._live = LiveCalls((), 0)
        self._figures: DashboardFigures | None = None
        self._away = False
        self._minutes: Minutes | None = None
        self._graphs: Mapping[str, Markup] = {}
        self._read_at = float("-inf")
        self._waiting: list[Deferred[None]] | None = None

    def make(self) -> DashboardSnapshot:
        """Take a snapshot of calls, figures and health."""
        version = live_version(self._web.active_calls, self._web.counters)
        if version != self._version:
            self._version = version
            self._live = live_calls(self._web.active_calls, self._web.counters, SHOWN)
        health = _still(self._web.health())
        return DashboardSnapshot(version, self._live, self._figures, self._away, self._minutes, health, self._graphs)

    def listed(self, snapshot: DashboardSnapshot, view: ListView) -> LiveCalls:
        """The calls of a view."""
        if view == NEWEST:
            return snapshot.live
        start = view.page * SHOWN
        return live_calls(self._web.active_calls, self._web.counters, SHOWN, start, view.oldest_first)

    def refresh(self) -> None:
        """Read the figures again if they are due, in the background."""
        if self._waiting is None and self._is_due():
            self._waiting = []
            Deferred.fromCoroutine(self._read())

    async def refreshed(self) -> None:
        """Read the figures if they are due, and wait. Never fails."""
        self.refresh()
        if self._waiting is not None:
            done: Deferred[None] = Deferred()
            self._waiting.append(done)
            await done

    def _is_due(self) -> bool:
        return bool(self._web.reactor.seconds() - self._read_at >= FIGURES_EVERY_S)

    async def _read(self) -> None:
        try:
            now, self._read_at = self._web.now(), self._web.reactor.seconds()
            midnight = self._web.zone.midnight(now)
            names = [counter.asterisk for counter in self._web.counters]
            self._figures = await self._web.read(lambda connection: read_figures(connection, midnight, now, names))
            ended = (now - GRAPH_LATE_S) // MINUTE_S * MINUTE_S
            if self._minutes is None or self._minutes.ended != ended:
                await self._draw(names, ended, now)
            self._away = False
        except StoreError as error:
            self._away = True
            self.log.debug("dashboard: figures cannot be read now: {error}", error=str(error))
        except Exception:
            self._away = True
            self.log.failure("dashboard: reading figures failed")
        finally:
            waiting, self._waiting = self._waiting or [], None
            for deferred in waiting:
                if not deferred.called:  # a waiting request may have been cancelled
                    deferred.callback(None)

    async def _draw(self, names: list[str], ended: float, now: float) -> None:
        began = ended - GRAPH_HOURS * 3600
        minutes = await self._web.read(lambda connection: read_minutes(connection, began, ended, now, names))
        graphs = await self._web.in_thread(self._graphs_of, minutes)
        self._minutes, self._graphs = minutes, graphs

    def _graphs_of(self, minutes: Minutes) -> dict[str, Markup]:
        return {language: graph_of(minutes, self._translators[language]) for language in LANGUAGES}


def _still(health: Health) -> Health:
    """The health without the values that change with time alone."""
    asterisks = tuple(replace(asterisk, unknown_s=0.0) for asterisk in health.asterisks)
    queues = tuple(map(_still_queue, health.queues))
    return replace(health, now=health.started, asterisks=asterisks, queues=queues)


def _still_queue(queue: QueueFigures) -> QueueFigures:
    if queue.state == "good":
        return replace(queue, length=0, oldest_s=0.0)
    return replace(queue, oldest_s=queue.oldest_s // QUEUE_STEP_S * QUEUE_STEP_S)


def graph_of(minutes: Minutes, translator: Translator) -> Markup:
    """Draw the graph in a language."""
    return calls_per_minute(
        minutes.minutes,
        minutes.began,
        minutes.ended,
        translator,
        translator.text("Calls per minute"),
        translator.count(
            "%(num)s call in the last three hours", "%(num)s calls in the last three hours", minutes.calls
        ),
    )


def read_figures(connection: Connection, midnight: float, now: float, names: list[str]) -> DashboardFigures:
    """Read today's figures.

    Raises:
        StoreError: the database cannot be read.
    """
    found = totals(connection, midnight, now + 1)
    any_calls = bool(found.calls) or connection.execute("SELECT EXISTS (SELECT 1 FROM calls)").fetchone()[0]
    counted = None
    if names:
        report = counter_report.read(connection, names, int(midnight), int(now), now, only_all=True)
        unknown_s = report.unknown_s()
        if report.is_seen:
            total = report.total
            counted = Counted(total.started, total.answered, int(unknown_s // MINUTE_S))
    return DashboardFigures(found, counted, bool(any_calls), lockout_figures(connection, now))


def read_minutes(connection: Connection, began: float, ended: float, now: float, names: list[str]) -> Minutes:
    """Read the calls per minute: of the counted Asterisks, or else the gateway's.

    Raises:
        StoreError: the database cannot be read.
    """
    if names:
        report = counter_report.read(connection, names, int(began), int(ended), now, only_all=True)
        minutes: dict[int, int | None] = {
            minute: counts.started for minute, counts in report.minutes.items() if counts.started
        }
        every = range(int(began), int(ended), MINUTE_S)
        unknown = [minute for minute in every if not report.is_partly_known(minute, minute + MINUTE_S)]
        partly = sum(not report.is_known(minute, minute + MINUTE_S) for minute in every) - len(unknown)
        minutes |= dict.fromkeys(unknown)
        if len(unknown) < len(every):
            return Minutes(began, ended, True, minutes, partly)
    return Minutes(began, ended, False, dict(per_minute(connection, began, ended)))
