"""Health of the gateway: AMI connections, database, FastAGI.

A Health is read from memory and costs little: it reports what the parts found at their last work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from pbxrouter import __version__
from pbxrouter.ami import AMIConnection
from pbxrouter.call import HistoryWriter
from pbxrouter.counter import CallCounter
from pbxrouter.magi import Claims
from pbxrouter.net import ClockSteps, DescriptorWatch, QueueFigures
from pbxrouter.rules import RulesEngine, RulesReloader
from pbxrouter.text import Sentence, sentence

State = Literal["good", "plain", "bad"]
"""Severity shown for a part; plain is neither good nor bad, such as a connection that has just come up."""

NO_ACCOUNT: Final = Sentence("no secret_file is set, so there is no connection to AMI")
WRITES_ELSEWHERE: Final = Sentence("another gateway on this database writes the counts of its calls")


@dataclass(frozen=True, slots=True)
class AsteriskHealth:
    """Health of the connection to one Asterisk's AMI.

    Attributes:
        name: the Asterisk's name in the configuration.
        up: whether it is connected and logged in.
        since: epoch second of the last change; None if no connection is configured.
        in_sync: whether its calls are known now.
        active: number of calls in progress; None while unknown.
        unknown_s: seconds since the gateway started in which its calls were not known.
        restarts: number of restarts seen since the gateway started.
        trouble: why it is not connected, or its calls are not known; None if nothing is wrong.
        standing_by: number of dialplan contexts whose calls by MAGI another gateway serves.
        notes: what is worth knowing of other gateways on it.
    """

    name: str
    up: bool
    since: float | None
    in_sync: bool
    active: int | None
    unknown_s: float
    restarts: int
    trouble: Sentence | None
    standing_by: int = 0
    notes: tuple[Sentence, ...] = ()

    @property
    def state(self) -> State:
        """How the console shows it: good, plain or bad."""
        return "bad" if not self.up else "good" if self.in_sync else "bad" if self.trouble else "plain"

    @property
    def sentence(self) -> Sentence:
        """Its state as a sentence."""
        if not self.up:
            return Sentence("no connection")
        if self.in_sync:
            return Sentence("connected; calls are synchronised")
        return Sentence("connected; synchronising calls")


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """Health of the database, as its users found it.

    Attributes:
        has_rules: whether rules are in force; no call is taken until they have been loaded once.
        rules_away_since: epoch second since which rules cannot be read; None while they can.
        history_away_since: epoch second since which no call can be written; None while it can.
        queued: calls that wait to be written.
        lost: calls that will never be written, since the gateway started.
        counts_written: whether the last write of the call counter succeeded.
        journal_calls: calls in the journal: in progress, or over and not in the history yet.
        journal_bytes: length of the journal.
        journal_away_since: epoch second since which the journal cannot be written; None while it can.
        trouble: the error; None if nothing is wrong.
    """

    has_rules: bool
    rules_away_since: float | None
    history_away_since: float | None
    queued: int
    lost: int
    counts_written: bool
    trouble: Sentence | None
    journal_calls: int = 0
    journal_bytes: int = 0
    journal_away_since: float | None = None

    @property
    def state(self) -> State:
        """How the console shows it: good, plain or bad."""
        away = (self.rules_away_since, self.history_away_since, self.journal_away_since)
        if away == (None, None, None) and self.counts_written:
            return "good" if self.has_rules else "plain"
        return "bad"

    @property
    def sentence(self) -> Sentence:
        """Its state as a sentence."""
        if self.rules_away_since is not None:
            if self.has_rules:
                return Sentence("cannot be read; the last rules stay in force")
            return Sentence("cannot be read; no call is taken until the rules are loaded")
        if not self.has_rules:
            return Sentence("loading the rules")
        if self.history_away_since is not None:
            if self.journal_bytes and self.journal_away_since is None:
                return sentence("calls cannot be saved; {count} wait in the journal", count=self.queued)
            return sentence("calls cannot be saved; {count} wait in memory", count=self.queued)
        if self.journal_away_since is not None:
            return Sentence("calls are saved, but their journal cannot be written")
        if not self.counts_written:
            return Sentence("call counts cannot be saved; they are kept in memory")
        return Sentence("reading rules and saving calls")


@dataclass(frozen=True, slots=True)
class FastAGIHealth:
    """Health of the FastAGI server.

    Attributes:
        listen: its endpoint.
        open_calls: number of open connections.
        served: number of calls since the gateway started.
        last_call: epoch second of the last call; None before the first.
        refused: number of connections refused since the gateway started, by reason.
        is_listening: whether it takes calls; it does when the rules have been loaded.
        trouble: why calls are closed at once; None if they are served.
    """

    listen: str
    open_calls: int
    served: int
    last_call: float | None
    refused: Mapping[str, int]
    is_listening: bool = True
    trouble: Sentence | None = None

    @property
    def state(self) -> State:
        """Its severity; whether calls should come is for the owner to judge."""
        return "bad" if self.trouble is not None else "good" if self.is_listening else "plain"

    @property
    def sentence(self) -> Sentence:
        """Its state as a sentence."""
        if self.trouble is not None:
            return self.trouble
        if not self.is_listening:
            return Sentence("does not listen until the rules are loaded")
        if self.last_call is None:
            return Sentence("no call received yet")
        return Sentence("receiving calls")


@dataclass(frozen=True, slots=True)
class Health:
    """Health of the gateway at one moment.

    Attributes:
        version: the gateway's version.
        started: epoch second of its start.
        now: epoch second of this snapshot.
        queues: what waits to be written or sent.
    """

    version: str
    started: float
    now: float
    asterisks: tuple[AsteriskHealth, ...]
    database: DatabaseHealth
    fastagi: FastAGIHealth
    queues: tuple[QueueFigures, ...] = ()

    @property
    def uptime_s(self) -> float:
        """Seconds since it started."""
        return max(0.0, self.now - self.started)

    @property
    def state(self) -> State:
        """The worst severity of its parts."""
        states: set[State] = {asterisk.state for asterisk in self.asterisks}
        states |= {self.database.state, self.fastagi.state}
        states |= {"bad" for queue in self.queues if queue.is_late}  # what is lost or set aside makes nothing late
        return "bad" if "bad" in states else "plain" if "plain" in states else "good"

    @property
    def sentence(self) -> Sentence:
        """Its state as a sentence."""
        return _ALL[self.state]


_ALL: Final = {
    "good": Sentence("no problems"),
    "plain": Sentence("not ready yet"),
    "bad": Sentence("there are problems"),
}


class FastAGIFigures(Protocol):
    """The figures of the FastAGI server, of all its processes; as FastAGIFactory and WorkerPool have them."""

    @property
    def open_calls(self) -> int:
        """Number of open connections."""
        ...

    @property
    def served(self) -> int:
        """Number of calls since the start."""
        ...

    @property
    def last_call(self) -> float | None:
        """When the last one came, epoch seconds; None before the first."""
        ...

    @property
    def refused_connections(self) -> Mapping[str, int]:
        """Number of connections refused since the start, by reason."""
        ...


class HealthProbe:
    """Takes a Health whenever it is called.

    Args:
        asterisks: name and AMI connection (None if not configured) of each Asterisk.
        counters: the call counters.
        listen: FastAGI's endpoint.
        now: returns epoch seconds.
        seconds: returns monotonic seconds.
        descriptors: the watch on file descriptors.
        more_queues: returns the figures of further queues than those of history and counters.
        claims: says which gateway serves calls by MAGI, by the Asterisk's name.
        trouble: returns what is wrong with the processes that share the FastAGI port; None if nothing is.
    """

    def __init__(
        self,
        asterisks: Sequence[tuple[str, AMIConnection | None]],
        counters: Sequence[CallCounter],
        engine: RulesEngine,
        reloader: RulesReloader,
        history: HistoryWriter,
        listen: str,
        fastagi: FastAGIFigures,
        now: Callable[[], float],
        seconds: Callable[[], float],
        descriptors: DescriptorWatch | None = None,
        more_queues: Callable[[], Sequence[QueueFigures]] = tuple,
        claims: Mapping[str, Claims] | None = None,
        trouble: Callable[[], Sentence | None] = lambda: None,
    ) -> None:
        self._trouble = trouble
        self._claims = claims or {}
        self._more_queues = more_queues
        self._asterisks = asterisks
        self._counters = {counter.asterisk: counter for counter in counters}
        self._engine = engine
        self._reloader = reloader
        self._history = history
        self._listen = listen
        self._fastagi = fastagi
        self._descriptors = descriptors
        self._now = now
        self._started = now()
        self._steps = ClockSteps(now, seconds)

    def __call__(self) -> Health:
        """Take a snapshot. Never fails."""
        fastagi = self._fastagi
        self._started += self._steps.step_s()  # the time since the start is right, also after the clock was set
        return Health(
            __version__,
            self._started,
            self._now(),
            tuple(self._asterisk(name, manager) for name, manager in self._asterisks),
            self._database(),
            FastAGIHealth(
                self._listen,
                fastagi.open_calls,
                fastagi.served,
                fastagi.last_call,
                dict(fastagi.refused_connections),
                self._engine.rules is not None,
                (self._descriptors.outage.trouble if self._descriptors is not None else None) or self._trouble(),
            ),
            self.queues(),
        )

    def queues(self) -> tuple[QueueFigures, ...]:
        """The figures of all queues."""
        counters = (counter.queue for counter in self._counters.values())
        return (self._history.figures, *counters, *self._more_queues())

    def _asterisk(self, name: str, manager: AMIConnection | None) -> AsteriskHealth:
        if manager is None:
            return AsteriskHealth(name, False, None, False, None, 0.0, 0, NO_ACCOUNT)
        up, trouble = manager.is_up, manager.trouble
        claims = self._claims.get(name)
        standing_by, notes = (claims.standing_by, claims.notes) if claims is not None else (0, [])
        counter = self._counters.get(name)
        if counter is None:
            return AsteriskHealth(name, up, manager.since, False, None, 0.0, 0, trouble, standing_by, tuple(notes))
        if counter.writes_elsewhere:
            notes = [*notes, WRITES_ELSEWHERE]
        return AsteriskHealth(
            name,
            up,
            manager.since,
            up and counter.in_sync,
            counter.active if up else None,
            counter.unknown_s,
            counter.restarts,
            trouble if not up or trouble else counter.trouble,
            standing_by,
            tuple(notes),
        )

    def _database(self) -> DatabaseHealth:
        reloader, history = self._reloader, self._history
        journal = history.journal
        return DatabaseHealth(
            self._engine.rules is not None,
            reloader.outage.away_since,
            history.outage.away_since,
            history.queued,
            history.lost,
            all(counter.database_up for counter in self._counters.values()),
            reloader.outage.trouble or history.outage.trouble or (journal.outage.trouble if journal else None),
            journal.calls if journal else 0,
            journal.size if journal else 0,
            journal.outage.away_since if journal else None,
        )
