"""Fakes for the call counter: a database, an AMI connection, a store that may be away."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.database import Connection
from pbxrouter.errors import ActionFailed, StoreError
from tests.database.postgresql import OnBothEngines
from tests.databases import new_database

NOW = 1_800_000_000
"""A whole minute."""

SNAPSHOT = dict.fromkeys(
    "Channel ChannelState ChannelStateDesc CallerIDNum CallerIDName ConnectedLineNum ConnectedLineName "
    "Language AccountCode Context Exten Priority".split(),
    "x",
)
"""What every event of a channel has."""


class DatabaseCase(SynchronousTestCase):
    """Test case with a new database."""

    def setUp(self) -> None:
        """Create the database and connect to it."""
        self.path = Path(self.mktemp()).absolute()
        new_database(self.path)
        self.connection = database.connect(self.path)
        self.addCleanup(self.connection.close)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self.connection.execute(query).fetchall()


class EnginesCase(OnBothEngines):
    """Test case with a new database of each engine."""

    def setUp(self) -> None:
        """Create the database and connect to it."""
        self.place = self.new_place()
        self.connection = self.open(self.place)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self.connection.execute(query).fetchall()


class FakeAMIConnection:
    """A fake AMIConnection: subscriptions, and answers that the test chooses.

    Attributes:
        alive: channels that Action Status finds.
        channels: the items of CoreShowChannels.
        startup: day and time at which Asterisk was started.
        timestamp: the Timestamp of answers.
        error: what every action fails with, if set.
        hold: names of actions whose answers wait in ``held`` for the test.
        asked: names of the actions sent, in order.
    """

    name = "x"

    def __init__(self) -> None:
        self.is_up = False
        self.forged_events = 0
        self.alive: set[str] = set()
        self.handlers: dict[str, Callable[[AMIMessage], None]] = {}
        self.channels: list[AMIMessage] = []
        self.startup = "2026-11-23 07:00:00"
        self.timestamp = "garbage"
        self.status: dict[str, str] = {}  # further headers of CoreStatus
        self.error: Exception | None = None
        self.hold: set[str] = set()
        self.held: list[Deferred[Any]] = []
        self.asked: list[str] = []
        self._up: list[Callable[[], object]] = []
        self._down: list[Callable[[], object]] = []

    def subscribe(self, event: str, handler: Callable[[AMIMessage], None]) -> None:
        """Keep the handler of an event for says."""
        self.handlers[event] = handler

    def on_connect(self, tell: Callable[[], object]) -> None:
        """Keep a callback for up."""
        self._up.append(tell)

    def on_disconnect(self, tell: Callable[[], object]) -> None:
        """Keep a callback for down."""
        self._down.append(tell)

    def action(self, name: str) -> Deferred[AMIMessage]:
        """Answer CoreStatus with Asterisk's start and the time."""
        day, _, when = self.startup.partition(" ")
        headers = {"CoreStartupDate": day, "CoreStartupTime": when, "Timestamp": self.timestamp, **self.status}
        return self._answered(name, message("Response", "Success", **headers))

    def action_list(self, name: str, headers: Iterable[tuple[str, str]] = ()) -> Deferred[list[AMIMessage]]:
        """Answer with the channels that the test has set up."""
        if name != "Status":
            return self._answered(name, self.channels)
        channel = dict(headers)["Channel"]
        if channel not in self.alive:
            return self._answered(name, ActionFailed("Status: No such channel"))
        return self._answered(
            name, [message("Event", "Status", **{**SNAPSHOT, "Uniqueid": channel, "Linkedid": channel})]
        )

    def _answered(self, name: str, answer: Any) -> Deferred[Any]:
        self.asked.append(name)
        answer = self.error or answer
        if name in self.hold:
            self.held.append(Deferred())
            waiting: Deferred[Any] = self.held[-1].addCallback(lambda _: answer)
            return waiting.addCallback(lambda value: fail(value) if isinstance(value, Exception) else value)
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)

    def up(self) -> None:
        """Connect, and tell those who asked to know."""
        self.is_up = True
        for tell in self._up:
            tell()

    def down(self) -> None:
        """Lose the connection, and tell those who asked to know."""
        self.is_up = False
        for tell in self._down:
            tell()

    def says(self, event: str, uniqueid: str = "a", linkedid: str = "a", *also: str, **headers: str) -> None:
        """Send an event to its handler."""
        fields = {**SNAPSHOT, "Uniqueid": uniqueid, "Linkedid": linkedid, **headers}
        if event in self.handlers:
            self.handlers[event](message("Event", event, *also, **fields))


def message(kind: str, name: str, *also: str, **headers: str) -> AMIMessage:
    """An AMI message of these lines."""
    lines = [f"{kind}: {name}", *(f"{key}: {value}" for key, value in headers.items()), *also]
    return AMIMessage("\r\n".join(lines).encode())


class FakeStore:
    """A store on a real database.

    Attributes:
        away: whether all work fails.
        slow: whether work waits in ``held`` until the test lets it go on.
        runs: how much work there was.
    """

    def __init__(self, connection: Connection) -> None:
        self.away = self.slow = False
        self.held: list[Deferred[None]] = []
        self.runs = 0
        self._connection = connection

    def run(self, work: Callable[[Connection], Any]) -> Deferred[Any]:
        """Run work on the connection, later if the store is slow."""
        self.runs += 1
        if self.slow:
            self.held.append(Deferred())
            return self.held[-1].addCallback(lambda _: self._run(work))
        return self._run(work)

    def _run(self, work: Callable[[Connection], Any]) -> Deferred[Any]:
        if self.away:
            return fail(StoreError("away"))
        done: Deferred[Any] = maybeDeferred(work, self._connection)
        return done
