"""Streams the dashboard to any number of browsers (server-sent events, HTML Living Standard 9.2).

One snapshot is taken at most once a second for all browsers, and only while one is connected; it is
rendered once for each language and view, and the same bytes go to all. They are written in slices with pauses,
so that the reactor is free for calls. A browser that reads too slowly is skipped until it has caught
up, and then sent the whole page.
"""

from __future__ import annotations

import json
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from pbxrouter.web.language import Translator

P = TypeVar("P")

SNAPSHOT_EVERY_S: Final = 1.0
SESSIONS_EVERY_S: Final = 3.0
"""Seconds between two checks for ended sessions."""
HEARTBEAT_S: Final = 20.0
"""Seconds without news after which a comment is sent, since proxies close silent connections."""
SLOWEST_S: Final = 60.0
"""Seconds after which a browser that has not caught up is disconnected."""
SLICE: Final = 20
"""Browsers written to in one slice."""
PAUSE_S: Final = 0.01
"""Seconds between two slices."""
MAX_STREAMS: Final = 2000
MAX_STREAMS_OF_SESSION: Final = 20
RETRY_S: Final = (2.0, 6.0)
"""Range of seconds after which browsers reconnect, spread so that a restart causes no stampede."""

_HEARTBEAT: Final = b":\n\n"
_OVER: Final = b"event: over\ndata: {}\n\n"
"""The event that tells a browser that its session has ended."""


@dataclass(frozen=True, slots=True)
class Fragments:
    """A snapshot rendered in one language, as HTML.

    Attributes:
        parts: by the id of its place on the page.
        rows: the list of calls by row id, in order: only new and changed rows are sent.
    """

    parts: Mapping[str, str]
    rows: Mapping[str, str] = field(default_factory=dict)


class _LanguageEvents:
    """The events of one language and view: the whole page, and the changes."""

    def __init__(self) -> None:
        self._last: Fragments | None = None
        self.whole = self.news = b""

    def take(self, fragments: Fragments, when: float) -> None:
        """Take the next snapshot.

        ``news`` is empty if it looks the same as the last one.
        """
        last, self._last = self._last, fragments
        self.whole = _event(fragments.parts, fragments.rows, list(fragments.rows), when)
        if last is None:
            self.news = self.whole
            return
        parts = {name: html for name, html in fragments.parts.items() if last.parts.get(name) != html}
        rows = {name: html for name, html in fragments.rows.items() if last.rows.get(name) != html}
        order = None if list(last.rows) == list(fragments.rows) else list(fragments.rows)
        self.news = _event(parts, rows, order, when) if parts or rows or order is not None else b""


def _event(parts: Mapping[str, str], rows: Mapping[str, str], order: list[str] | None, when: float) -> bytes:
    event: dict[str, Any] = {"at": round(when, 1), "parts": parts, "rows": rows}
    if order is not None:
        event["order"] = order
    return b"event: now\ndata: " + json.dumps(event, separators=(",", ":")).encode("ascii") + b"\n\n"


@implementer(IPushProducer)
class _Stream:
    """The event stream of one connected browser."""

    __slots__ = ("_clock", "done", "lost", "request", "seen", "session", "slow_since", "translator", "view", "written")

    def __init__(self, request: Any, translator: Translator, session: str, view: Hashable, clock: IReactorTime) -> None:
        self.request = request
        self.translator = translator
        self.view = view
        self.session = session
        self.seen = 0
        """Number of the last snapshot sent."""
        self.written = clock.seconds()
        self.slow_since: float | None = None
        self.lost = False
        self.done: Deferred[bytes] = Deferred(self._cancelled)
        self._clock = clock

    @property
    def key(self) -> tuple[str, Hashable]:
        """What the rendered page depends on: the language and the view."""
        return self.translator.language, self.view

    def _cancelled(self, done: Deferred[bytes]) -> None:
        """The browser has disconnected (klein cancels the Deferred then), which is not a failure."""
        self.lost = True
        done.callback(b"")

    def write(self, data: bytes) -> None:
        self.written = self._clock.seconds()
        self.request.write(data)

    def pauseProducing(self) -> None:
        """Pause: the browser does not keep up."""
        if self.slow_since is None:
            self.slow_since = self._clock.seconds()

    def resumeProducing(self) -> None:
        """Resume: the browser has caught up."""
        self.slow_since = None

    def stopProducing(self) -> None:
        """Stop: the connection is lost; ``done`` fires."""


class EventStream(Generic[P]):
    """The event streams of all browsers.

    Args:
        clock: for all times; nothing is scheduled while no browser is connected.
        make: takes a snapshot; two are equal if nothing has changed. Never fails.
        put: renders a snapshot in a language, as a view of it.
        sessions: returns the hashes of the live sessions; None if they cannot be read now.
        now: returns epoch seconds, sent to the browsers.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        make: Callable[[], Awaitable[P]],
        put: Callable[[P, Translator, Any], Fragments],
        sessions: Callable[[], Awaitable[frozenset[str] | None]],
        now: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._make = make
        self._put = put
        self._sessions = sessions
        self._now = now
        self._streams: dict[_Stream, None] = {}  # the oldest first
        self._of_session: Counter[str] = Counter()
        self._timer: IDelayedCall | None = None
        self._busy = self._asking = False
        self._snapshot: P | None = None
        self._number = 0
        self._events: dict[tuple[str, Hashable], _LanguageEvents] = {}
        self._made = self._asked = float("-inf")

    def __len__(self) -> int:
        return len(self._streams)

    def has_room(self, session: str) -> bool:
        """Whether one more browser may connect."""
        return len(self._streams) < MAX_STREAMS and self._of_session[session] < MAX_STREAMS_OF_SESSION

    async def follow(self, request: Any, translator: Translator, session: str, view: Hashable = None) -> bytes:
        """Stream to a browser until it disconnects or its session ends."""
        stream = _Stream(request, translator, session, view, self._clock)
        request.setHeader("Content-Type", "text/event-stream; charset=utf-8")
        request.setHeader("X-Accel-Buffering", "no")  # nginx would buffer the events
        request.registerProducer(stream, True)
        self._streams[stream] = None
        self._of_session[session] += 1
        stream.write(b"retry: %d\n\n" % (random.uniform(*RETRY_S) * 1000))
        if not self._busy:  # a turn in progress schedules the next one
            self._turn_in(max(0.0, self._made + SNAPSHOT_EVERY_S - self._clock.seconds()))
        try:
            return await stream.done
        finally:
            self._forget(stream)

    def _forget(self, stream: _Stream) -> None:
        del self._streams[stream]
        self._of_session -= Counter([stream.session])
        if not stream.lost:
            stream.request.unregisterProducer()
        if not self._streams:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._snapshot = None
            self._events.clear()

    # --- a turn: take a snapshot, and write it to all browsers ---

    def _turn_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._clock.callLater(seconds, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._busy = True
        turn = Deferred.fromCoroutine(self._turn())
        turn.addErrback(lambda failure: self.log.failure("dashboard: writing to the event streams failed", failure))
        turn.addBoth(self._ended)

    def _ended(self, _: object) -> None:
        self._busy = False
        if self._streams:
            self._turn_in(max(PAUSE_S, self._made + SNAPSHOT_EVERY_S - self._clock.seconds()))

    async def _turn(self) -> None:
        self._made = self._clock.seconds()
        if self._made - self._asked >= SESSIONS_EVERY_S and not self._asking:
            self._asked, self._asking = self._made, True
            asking = Deferred.fromCoroutine(self._end_sessions())  # in the background
            asking.addErrback(
                lambda failure: self.log.failure("dashboard: checking for ended sessions failed", failure)
            )
        snapshot = await self._make()
        if not self._streams:
            return
        if snapshot != self._snapshot:
            self._keep(snapshot)
        await self._write_all(snapshot)

    def _keep(self, snapshot: P) -> None:
        self._snapshot = snapshot
        self._number += 1
        followed = {stream.key: stream for stream in self._streams}
        self._events = {key: events for key, events in self._events.items() if key in followed}
        when = self._now()
        for key, events in self._events.items():
            events.take(self._put(snapshot, followed[key].translator, followed[key].view), when)

    def _events_of(self, stream: _Stream, snapshot: P) -> _LanguageEvents:
        events = self._events.get(stream.key)
        if events is None:  # the first browser in this language, with this view
            events = self._events[stream.key] = _LanguageEvents()
            events.take(self._put(snapshot, stream.translator, stream.view), self._now())
        return events

    async def _write_all(self, snapshot: P) -> None:
        waiting = deque(self._streams)
        room = SLICE
        while waiting:
            stream = waiting.popleft()
            if stream not in self._streams:
                continue
            room -= self._write_to(stream, snapshot)
            if room <= 0 and waiting:
                room = SLICE
                pause: Deferred[None] = Deferred()
                self._clock.callLater(PAUSE_S, pause.callback, None)
                await pause

    def _write_to(self, stream: _Stream, snapshot: P) -> bool:
        """Write to one browser what it has not received; returns whether anything was written."""
        now = self._clock.seconds()
        if stream.slow_since is not None:
            if now - stream.slow_since >= SLOWEST_S:
                stream.request.transport.abortConnection()
            return False
        data = b""
        if stream.seen != self._number:
            events = self._events_of(stream, snapshot)
            data = events.news if stream.seen == self._number - 1 and stream.seen else events.whole
            stream.seen = self._number
        if not data and now - stream.written >= HEARTBEAT_S:
            data = _HEARTBEAT
        if data:
            stream.write(data)
        return bool(data)

    async def _end_sessions(self) -> None:
        asked_for = tuple(self._streams)  # those that connect meanwhile are not in the answer
        try:
            alive = await self._sessions()
        finally:
            self._asking = False
        if alive is None:
            return
        for stream in asked_for:
            if stream.session not in alive and stream in self._streams:
                stream.write(_OVER)
                stream.done.callback(b"")
