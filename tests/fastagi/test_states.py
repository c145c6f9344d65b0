"""The table of states: every pair of a state and an event, on a connection and in the documents."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.commands import KEYING_TIMEOUT_S, REPLY_TIMEOUT_S
from pbxrouter.agi.messages import AGIReply
from pbxrouter.errors import ConnectionClosed
from pbxrouter.fastagi.protocol import ENDING_TIMEOUT_S, HANGUP_GRACE_S, OPENING_TIMEOUT_S, SETTLE_S, FastAGIProtocol
from pbxrouter.fastagi.refusal import DRAIN_S, STEP_S
from pbxrouter.fastagi.states import BUSY, HUNG_UP, OVER, TRANSITIONS, Event, IllegalTransition, State, next_state
from pbxrouter.net import GRACE_S
from pbxrouter.simulator import SimulatedCall
from tests.fakes import AsteriskEnd, FakeOwner

BLOCK = SimulatedCall("21", caller="33").environment()
DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "protocol.md"
EDGE = re.compile(r"(?P<state>[A-Z_]+|all above)? ?[ ─┬├└]+ (?P<event>[A-Z_]+) ─+> (?P<next>[A-Z_]+)")

Pair = tuple[State, Event]


class RecordingProtocol(FastAGIProtocol):
    """Records each pair of a state and an event."""

    def __init__(self, owner: FakeOwner) -> None:
        super().__init__(owner)
        self.pairs: set[Pair] = set()

    def _move(self, event: Event) -> State:
        self.pairs.add((self.state, event))
        return super()._move(event)


class Connection:
    """A connection in memory."""

    def __init__(self) -> None:
        self.owner = FakeOwner()
        self.call = RecordingProtocol(self.owner)
        self.asterisk = AsteriskEnd(self.call)
        self.results: list[object] = []

    def ask(self, command: str) -> None:
        """Send a command and record its result."""
        waiting: Deferred[AGIReply] = self.call.execute(command)
        waiting.addBoth(self.results.append)

    def walk(self, steps: str) -> None:
        """Take steps, separated by commas; the word behind a step is the state that must follow."""
        for step in steps.split(","):
            name, state = step.split()
            STEPS[name](self)
            assert self.call.state.name == state, (steps, name, self.call.state)


def says(data: bytes) -> Callable[[Connection], object]:
    """Make a step in which Asterisk sends bytes."""
    return lambda connection: connection.asterisk.says(data)


def passes(seconds: float) -> Callable[[Connection], object]:
    """Make a step in which time passes."""
    return lambda connection: connection.owner.time.advance(seconds)


def asks(command: str) -> Callable[[Connection], object]:
    """Make a step in which the gateway sends a command."""
    return lambda connection: connection.ask(command)


STEPS: Mapping[str, Callable[[Connection], object]] = {
    "open": says(BLOCK),
    "get": asks("GET DATA x"),  # a dead channel does not do it
    "exec": asks("EXEC ConfBridge x"),  # a dead channel does it
    "set": asks("SET VARIABLE A b"),  # so it does this, which takes no time
    "one": says(b"200 result=1\n"),
    "minus": says(b"200 result=-1\n"),
    "511": says(b"511 Command Not Permitted\n"),
    "hangup": says(b"HANGUP\n"),
    "forged": says(b"agi_callerid: 22\n\n"),
    "settle": passes(SETTLE_S),
    "grace": passes(HANGUP_GRACE_S),
    "ending": passes(ENDING_TIMEOUT_S),
    "silence": passes(OPENING_TIMEOUT_S),
    "reply-timeout": passes(REPLY_TIMEOUT_S),
    "keying-timeout": passes(KEYING_TIMEOUT_S),
    "hour": lambda connection: connection.owner.time.pump([3600, GRACE_S]),  # a timer that is very late is put off
    "refusal": lambda connection: connection.owner.time.pump([DRAIN_S, STEP_S, STEP_S, STEP_S]),
    "away": lambda connection: connection.call.turn_away(),
    "close": lambda connection: connection.call.close(),
    "lost": lambda connection: connection.asterisk.goes(),
}

WAYS: Mapping[State, str] = {
    State.OPENING: "",
    State.IDLE: "open IDLE, get ASKED, one SETTLING, settle IDLE",
    State.ASKED: "open IDLE, get ASKED, one SETTLING, settle IDLE, get ASKED",
    State.SETTLING: "open IDLE, get ASKED, one SETTLING",
    State.DOUBTFUL: "open IDLE, get ASKED, minus SETTLING, settle DOUBTFUL",
    State.DEAD_IDLE: "open IDLE, get ASKED, one SETTLING, settle IDLE, hangup DEAD_IDLE",
    State.DEAD_ASKED: "open IDLE, get ASKED, one SETTLING, settle IDLE, exec ASKED, hangup DEAD_ASKED",
    State.DEAD_SETTLING: "open IDLE, exec ASKED, hangup DEAD_ASKED, minus DEAD_SETTLING",
    State.DEAD_OWED: "open IDLE, get ASKED, hangup DEAD_OWED",
    State.REFUSING: "open IDLE, forged REFUSING",
    State.CLOSING: "open IDLE, close CLOSING",
    State.CLOSED: "open IDLE, lost CLOSED",
}
"""How a connection comes into each state, with the first reply behind it where that is possible."""

FURTHER: Mapping[State, str] = {
    State.OPENING: "silence CLOSING | away REFUSING | forged REFUSING | close CLOSING | lost CLOSED",
    State.IDLE: "hour IDLE | forged REFUSING | close CLOSING | lost CLOSED",
    State.ASKED: (
        "one IDLE | minus DOUBTFUL | 511 DEAD_IDLE | hangup DEAD_OWED | keying-timeout REFUSING"
        " | forged REFUSING | close CLOSING | lost CLOSED"
    ),
    State.SETTLING: "settle IDLE | hangup DEAD_IDLE | forged REFUSING | close CLOSING | lost CLOSED",
    State.DOUBTFUL: "grace IDLE | hangup DEAD_IDLE | forged REFUSING | close CLOSING | lost CLOSED",
    State.DEAD_IDLE: (
        "hour DEAD_IDLE | get DEAD_IDLE | set DEAD_ASKED | hangup DEAD_IDLE"
        " | forged REFUSING | close CLOSING | lost CLOSED"
    ),
    State.DEAD_ASKED: (
        "one DEAD_IDLE | minus DEAD_IDLE | 511 DEAD_IDLE | hangup DEAD_ASKED | ending DEAD_OWED"
        " | one DEAD_IDLE, set DEAD_ASKED, reply-timeout CLOSING | forged REFUSING | close CLOSING | lost CLOSED"
    ),
    State.DEAD_SETTLING: "settle DEAD_IDLE | hangup DEAD_IDLE | forged REFUSING | close CLOSING | lost CLOSED",
    State.DEAD_OWED: (
        "hour DEAD_OWED | one DEAD_IDLE | minus DEAD_IDLE | 511 DEAD_IDLE | hangup DEAD_OWED"
        " | forged REFUSING | close CLOSING | lost CLOSED"
    ),
    State.REFUSING: "one REFUSING | close REFUSING | refusal CLOSING | lost CLOSED",
    State.CLOSING: "one CLOSING | close CLOSING | lost CLOSED",
    State.CLOSED: "close CLOSED | ending CLOSED",
}
"""What may happen then."""

MORE: tuple[str, ...] = (
    "open IDLE, exec ASKED, 511 SETTLING, settle DEAD_IDLE",
    "open IDLE, exec ASKED, hangup DEAD_ASKED, one DEAD_SETTLING, settle DEAD_IDLE, set DEAD_ASKED, one DEAD_IDLE",
    "open IDLE, exec ASKED, hangup DEAD_ASKED, 511 DEAD_SETTLING, settle DEAD_IDLE",
    "open IDLE, get ASKED, hangup DEAD_OWED, one DEAD_IDLE, set DEAD_ASKED, one DEAD_SETTLING, settle DEAD_IDLE",
)
"""First replies of other kinds; that to a command that was given up is not held."""


class TableTests(SynchronousTestCase):
    """TRANSITIONS, pair by pair."""

    def connection_in(self, state: State) -> Connection:
        """A connection in a state."""
        connection = Connection()
        if WAYS[state]:
            connection.walk(WAYS[state])
        self.assertIs(connection.call.state, state)
        return connection

    def test_every_legal_pair(self) -> None:
        """Each happens on a connection and leads to the state that is expected; no other pair happens."""
        seen: set[Pair] = set()
        for state, further in FURTHER.items():
            for steps in further.split("|"):
                connection = self.connection_in(state)
                connection.walk(steps)
                seen |= connection.call.pairs
        for steps in MORE:
            connection = Connection()
            connection.walk(steps)
            seen |= connection.call.pairs
        legal = {(state, event) for state, row in TRANSITIONS.items() for event in row}
        self.assertEqual(seen, legal)

    def test_every_illegal_pair(self) -> None:
        """Each is logged, fails the command that waits, and aborts the connection; one that is closed stays so."""
        pairs = [(state, event) for state in State for event in Event if event not in TRANSITIONS[state]]
        self.assertEqual(len(pairs), len(State) * len(Event) - sum(map(len, TRANSITIONS.values())))
        for state, event in pairs:
            connection = self.connection_in(state)
            waits = connection.call.is_busy
            connection.results.clear()
            following = connection.call._move(event)
            self.assertIs(following, State.CLOSED if state is State.CLOSED else State.CLOSING)
            self.assertIs(connection.call.state, following)
            (failure,) = self.flushLoggedErrors(IllegalTransition)
            self.assertIn(f"{event.name} is impossible in the state {state.name}", failure.getErrorMessage())
            self.assertEqual(connection.asterisk.is_aborted, state is not State.CLOSED)
            self.assertEqual(connection.owner.time.getDelayedCalls(), [])
            self.assertEqual(len(connection.results), waits)
            for result in connection.results:
                self.assertIsInstance(getattr(result, "value", None), ConnectionClosed)
            if state is not State.CLOSED:
                connection.asterisk.goes()
                self.assertEqual(connection.owner.events[-1], "closed")

    def test_next_state(self) -> None:
        """next_state gives the table's state, or an error that names state and event."""
        self.assertIs(next_state(State.IDLE, Event.COMMAND), State.ASKED)
        error = self.assertRaises(IllegalTransition, next_state, State.CLOSED, Event.OPENED)
        self.assertEqual(str(error), "FastAGI: the event OPENED is impossible in the state CLOSED")

    def test_sets(self) -> None:
        """A command may be sent in no busy state and in none of the end; the dead states are those after HANGUP."""
        ready = {state for state, row in TRANSITIONS.items() if Event.COMMAND in row}
        self.assertEqual(ready, {State.IDLE, State.DEAD_IDLE})
        self.assertEqual(ready & (BUSY | OVER), set())
        self.assertEqual({state for state in BUSY if Event.REPLY not in TRANSITIONS[state]}, set())
        self.assertEqual({state for state in State if Event.VIOLATION not in TRANSITIONS[state]}, OVER)
        after = {row[Event.HANGUP] for row in TRANSITIONS.values() if Event.HANGUP in row}
        self.assertLessEqual(after, HUNG_UP)
        self.assertEqual({state for state in State if state.name.startswith("DEAD_")} | {State.CLOSED}, HUNG_UP)


class DocumentTests(SynchronousTestCase):
    """docs/protocol.md has the states and transitions of the code."""

    def section(self) -> str:
        """What it says of the states."""
        text = DOCUMENT.read_text()
        return text.partition("## The states of a connection\n")[2].partition("\n## ")[0]

    def test_drawing(self) -> None:
        """The drawing has exactly the table's states and transitions."""
        drawing = self.section().partition("```text\n")[2].partition("\n```")[0]
        drawn: dict[str, dict[str, str]] = {}
        rows: list[str] = []
        for line in drawing.split("\n"):
            edge = EDGE.fullmatch(line)
            assert edge is not None, line
            if edge["state"]:
                rows = list(drawn) if edge["state"] == "all above" else [edge["state"]]
            for row in rows:
                edges = drawn.setdefault(row, {})
                self.assertNotIn(edge["event"], edges)
                edges[edge["event"]] = edge["next"]
        table = {
            state.name: {event.name: following.name for event, following in row.items()}
            for state, row in TRANSITIONS.items()
        }
        self.assertEqual(drawn, table)

    def test_meanings(self) -> None:
        """Each state and event has its row, with the words of the code."""
        rows = re.findall(r"^\| ([A-Z_]+) \| (.*) \|$", self.section(), re.MULTILINE)
        self.assertEqual(rows, [(item.name, item.value) for kind in (State, Event) for item in kind])
