"""How the gateway is: its connections to AMI, the database, FastAGI; read from memory whenever asked.

Making a Health costs next to nothing and looks at no file or socket: what is told here is what the
parts noticed when they last did their work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from twisted.internet.interfaces import IReactorTime

from pbxrouter import __version__
from pbxrouter.ami import AMIConnection
from pbxrouter.call import History
from pbxrouter.counter import CallCounter
from pbxrouter.fastagi import FastAGIFactory
from pbxrouter.rules import RulesEngine, RulesReloader
from pbxrouter.text import Sentence, sentence

State = Literal["good", "plain", "bad"]
"""How a thing is marked; plain is neither, such as a connection that has just come up."""

NO_ACCOUNT: Final = Sentence("no secret_file is set, so there is no connection to AMI")


@dataclass(frozen=True, slots=True)
class AsteriskHealth:
    """The connection to one Asterisk's AMI.

    Attributes:
        name: in the configuration.
        up: whether there is a connection that is logged in.
        since: epoch second since which that is so; None if no connection is wanted.
        in_sync: whether its calls are known just now.
        active: calls in progress on it; None while that is not known.
        unknown_s: seconds in which its calls could not be seen, since the gateway started.
        restarts: how often it was found restarted, since the gateway started.
        trouble: why there is no connection, or its calls are not known; None if nothing was found wrong.
    """

    name: str
    up: bool
    since: float | None
    in_sync: bool
    active: int | None
    unknown_s: float
    restarts: int
    trouble: Sentence | None

    @property
    def state(self) -> State:
        """How it is marked."""
        return "bad" if not self.up else "good" if self.in_sync else "bad" if self.trouble else "plain"

    @property
    def sentence(self) -> Sentence:
        """In words."""
        if not self.up:
            return Sentence("no connection")
        if self.in_sync:
            return Sentence("connected, its calls are known")
        return Sentence("connected, its calls are not known yet")


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """The database, as those who use it found it.

    Attributes:
        has_rules: whether rules are in force; before the first could be read calls wait.
        rules_away_since: epoch second since which rules cannot be read; None while they can.
        history_away_since: epoch second since which no call can be written; None while it can.
        queued: calls that wait to be written.
        lost: calls that will never be written, since the gateway started.
        counts_written: whether the last counts of calls could be written.
        trouble: what was said; None if nothing was found wrong.
    """

    has_rules: bool
    rules_away_since: float | None
    history_away_since: float | None
    queued: int
    lost: int
    counts_written: bool
    trouble: Sentence | None

    @property
    def state(self) -> State:
        """How it is marked."""
        if self.rules_away_since is None and self.history_away_since is None and self.counts_written:
            return "good" if self.has_rules else "plain"
        return "bad"

    @property
    def sentence(self) -> Sentence:
        """In words."""
        if self.rules_away_since is not None:
            if self.has_rules:
                return Sentence("it cannot be read, the last rules stay in force")
            return Sentence("it cannot be read, calls wait for the first rules")
        if not self.has_rules:
            return Sentence("the first rules are being read")
        if self.history_away_since is not None:
            return sentence("calls cannot be written, {count} wait in memory", count=self.queued)
        if not self.counts_written:
            return Sentence("the counts of calls cannot be written and are kept for later")
        return Sentence("rules are read, calls are written")


@dataclass(frozen=True, slots=True)
class FastAGIHealth:
    """The server that Asterisk brings calls to.

    Attributes:
        listen: its endpoint.
        open_calls: connections that are open.
        served: calls that have come, since the gateway started.
        last_call: when the last one came, epoch seconds; None before the first.
    """

    listen: str
    open_calls: int
    served: int
    last_call: float | None

    @property
    def state(self) -> State:
        """How it is marked: whether calls come is for its owner to judge."""
        return "good"

    @property
    def sentence(self) -> Sentence:
        """In words."""
        if self.last_call is None:
            return Sentence("no call has come yet")
        return Sentence("calls come")


@dataclass(frozen=True, slots=True)
class Health:
    """All of it at one moment.

    Attributes:
        version: of the gateway.
        started: when it started, epoch seconds.
        now: when this was asked for, epoch seconds.
    """

    version: str
    started: float
    now: float
    asterisks: tuple[AsteriskHealth, ...]
    database: DatabaseHealth
    fastagi: FastAGIHealth

    @property
    def uptime_s(self) -> float:
        """Seconds since it started."""
        return max(0.0, self.now - self.started)

    @property
    def state(self) -> State:
        """As the worst of its parts."""
        states: set[State] = {asterisk.state for asterisk in self.asterisks}
        states |= {self.database.state, self.fastagi.state}
        return "bad" if "bad" in states else "plain" if "plain" in states else "good"

    @property
    def sentence(self) -> Sentence:
        """In words."""
        return _ALL[self.state]


_ALL: Final = {
    "good": Sentence("all is well"),
    "plain": Sentence("not everything is known yet"),
    "bad": Sentence("something is wrong"),
}


class HealthProbe:
    """Tells how the gateway is whenever it is called.

    Args:
        asterisks: each configured one's name, and its connection to AMI if one is wanted.
        counters: of those that have a connection.
        listen: where FastAGI listens.
        clock: epoch seconds.
    """

    def __init__(
        self,
        asterisks: Sequence[tuple[str, AMIConnection | None]],
        counters: Sequence[CallCounter],
        engine: RulesEngine,
        reloader: RulesReloader,
        history: History,
        listen: str,
        fastagi: FastAGIFactory,
        clock: IReactorTime,
    ) -> None:
        self._asterisks = asterisks
        self._counters = {counter.asterisk: counter for counter in counters}
        self._engine = engine
        self._reloader = reloader
        self._history = history
        self._listen = listen
        self._fastagi = fastagi
        self._clock = clock
        self._started = clock.seconds()

    def __call__(self) -> Health:
        """As it is now; never fails."""
        fastagi = self._fastagi
        return Health(
            __version__,
            self._started,
            self._clock.seconds(),
            tuple(self._asterisk(name, manager) for name, manager in self._asterisks),
            self._database(),
            FastAGIHealth(self._listen, fastagi.open_calls, fastagi.served, fastagi.last_call),
        )

    def _asterisk(self, name: str, manager: AMIConnection | None) -> AsteriskHealth:
        if manager is None:
            return AsteriskHealth(name, False, None, False, None, 0.0, 0, NO_ACCOUNT)
        up, trouble = manager.is_up, manager.trouble
        counter = self._counters.get(name)
        if counter is None:
            return AsteriskHealth(name, up, manager.since, False, None, 0.0, 0, trouble)
        return AsteriskHealth(
            name,
            up,
            manager.since,
            up and counter.in_sync,
            counter.active if up else None,
            counter.unknown_s,
            counter.restarts,
            trouble if not up or trouble else counter.trouble,
        )

    def _database(self) -> DatabaseHealth:
        reloader, history = self._reloader, self._history
        return DatabaseHealth(
            self._engine.rules is not None,
            reloader.away_since,
            history.away_since,
            history.queued,
            history.lost,
            all(counter.database_up for counter in self._counters.values()),
            reloader.trouble or history.trouble,
        )
