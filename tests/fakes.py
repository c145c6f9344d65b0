"""Fakes: a channel with scripted replies, Asterisk's end of a connection in memory, the workshop's rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from argon2 import PasswordHasher
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.commands import (
    allowed_when_hung_up,
    encode_command,
    outlives_caller,
    refused,
)
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.agi.messages import (
    AGIReply,
    AGIRequest,
    parse_reply,
    parse_request,
)
from pbxrouter.call.record import CallRecord
from pbxrouter.errors import AGIError, ChannelHungUp, ProtocolViolation
from pbxrouter.fastagi.protocol import FastAGIProtocol
from pbxrouter.rules.model import Mapping as Rule
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.simulator import SimulatedAsterisk, SimulatedCall

QUICK_ARGON2 = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Parameters of argon2 for tests that are not about its strength."""

Answers = Mapping[str, str | Exception | Sequence[str | Exception | None] | None]
"""Asterisk's replies to commands, by the commands' beginnings."""

NAME = 'GET FULL VARIABLE "${CHANNEL}"'
"""The command that asks for the name of the call's channel."""

HUNG_UP = "200 result=-1\nHANGUP"
"""The reply to a command during which the caller hangs up."""

ANSWERS: Mapping[str, str] = {
    "": "200 result=0",
    "CHANNEL STATUS": "200 result=6",
    "GET DATA": "200 result= (timeout)",
    "GET FULL VARIABLE": "200 result=1 (,,,,)",
    "HANGUP": "200 result=1\nHANGUP",
    "SET VARIABLE": "200 result=1",
    "STREAM FILE": "200 result=0 endpos=3520",
}
"""The replies in a call whose caller presses no key."""


def request_of(call: SimulatedCall) -> AGIRequest:
    """The parsed opening block of a call."""
    return parse_request(call.environment().removesuffix(b"\n\n"))


class FakeChannel:
    """A Channel that answers commands from a script, and records them.

    Args:
        call: whose call it is.
        answers: by the beginning of a command (the longest that fits counts) what
            Asterisk says: one text for every time, or one for each time, the last for
            ever. A text holds the reply's lines and ``HANGUP`` lines; an exception is
            what execute fails with; None leaves the command unanswered.
    """

    def __init__(
        self,
        call: SimulatedCall | None = None,
        answers: Answers | None = None,
    ) -> None:
        self.request = request_of(call or SimulatedCall("21", caller="33"))
        self.commands: list[str] = []
        self.hung_up = False
        self.waiting: Deferred[AGIReply] | None = None
        self._answers: dict[str, list[str | Exception | None]] = {
            start: [given] if given is None or isinstance(given, str | Exception) else list(given)
            for start, given in {**ANSWERS, NAME: f"200 result=1 ({self.request.channel})", **(answers or {})}.items()
        }

    def execute(self, command: str) -> Deferred[AGIReply]:
        """Keep a command, and answer it as the test has set up."""
        if self.waiting is not None:
            return fail(AGIError("a command is still being answered"))
        if self.hung_up and not allowed_when_hung_up(command):
            return fail(ChannelHungUp())
        try:
            encode_command(command)
        except AGIError as error:
            return fail(error)
        self.commands.append(command)
        answers = self._answers[max((start for start in self._answers if command.startswith(start)), key=len)]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is None:
            self.waiting = Deferred()
            return self.waiting
        return fail(answer) if isinstance(answer, Exception) else self._answered(command, answer)

    def answer(self, text: str) -> None:
        """Reply to the command that waits."""
        waiting, self.waiting = self.waiting, None
        assert waiting is not None
        self._answered(self.commands[-1], text).chainDeferred(waiting)

    def _answered(self, command: str, text: str) -> Deferred[AGIReply]:
        lines = [line for line in text.split("\n") if not line.startswith("100 ")]
        went = "HANGUP" in lines
        reply = parse_reply("\n".join(line for line in lines if line != "HANGUP").encode())
        self.hung_up = self.hung_up or went or reply.code == 511
        if reply.code == 511 or (self.hung_up and reply.result == "-1" and not outlives_caller(command)):
            return fail(ChannelHungUp())
        if reply.code != 200:
            return fail(refused(reply, command))
        return succeed(reply)


class FakeOwner:
    """The owner of a FastAGIProtocol; records the methods that were called."""

    def __init__(self) -> None:
        self.time = Clock()
        self.clock: IReactorTime = self.time
        self.watch = DialogueWatch()
        self.draining = False
        self.refusals: list[tuple[AGIRequest, ProtocolViolation]] = []
        self.events: list[str] = []

    def opened(self, call: FastAGIProtocol) -> None:
        """Record a new connection."""
        self.events.append("opened")

    def begin(self, call: FastAGIProtocol) -> None:
        """Record a complete opening block."""
        self.events.append("begin")

    def refused(self, request: AGIRequest, violation: ProtocolViolation) -> None:
        """A call was refused before it was served."""
        self.refusals.append((request, violation))

    def turned_away(self, call: FastAGIProtocol) -> None:
        """Record a connection without a place."""
        self.events.append("turned away")

    def has_waited_too_long(self, transport: object) -> bool:
        """No connection has."""
        return False

    def may_keep(self, call: FastAGIProtocol, size: int) -> bool:
        """There is room."""
        return True

    def may_log(self, matter: str, peer: str) -> bool:
        """Allow every log line."""
        return True

    def may_log_forged(self, request: AGIRequest, peer: str) -> bool:
        """Allow every log line."""
        return True

    def closed(self, call: FastAGIProtocol) -> None:
        """Record the end of a connection."""
        self.events.append("closed")


class AsteriskEnd:
    """Asterisk's end of a FastAGI connection, in memory."""

    def __init__(self, protocol: FastAGIProtocol) -> None:
        self.protocol = protocol
        self.transport = StringTransport()
        protocol.makeConnection(self.transport)

    def says(self, data: bytes) -> None:
        """Bytes arrive in one segment."""
        self.protocol.dataReceived(data)

    def hears(self) -> bytes:
        """The bytes that were sent since the last time."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    @property
    def is_closed(self) -> bool:
        """Whether the gateway closed its end."""
        return bool(self.transport.disconnecting)

    @property
    def is_aborted(self) -> bool:
        """Whether the gateway aborted the connection."""
        return bool(self.transport.disconnected)

    def goes(self) -> None:
        """End the connection."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


def in_one(data: bytes) -> list[bytes]:
    """Everything in one segment."""
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    """Each byte in a segment of its own."""
    return [data[place : place + 1] for place in range(len(data))]


def play(
    protocol: FastAGIProtocol,
    clock: Clock,
    asterisk: SimulatedAsterisk,
    cut: Callable[[bytes], Iterable[bytes]] = in_one,
) -> AsteriskEnd:
    """Play a call over the protocol until the gateway closes or sends nothing for an hour."""
    end = AsteriskEnd(protocol)
    answer = asterisk.environment()
    waited_s = 0.0
    while True:
        for segment in cut(answer):
            end.says(segment)
        if sent := end.hears():
            answer = asterisk.receive(sent)
            waited_s = 0.0
        elif end.is_closed or asterisk.ended or waited_s > 3600:
            break
        else:
            answer = b""
            clock.advance(0.1)
            waited_s += 0.1
    end.goes()
    return end


class Reports:
    """Collects the records that the call flow reports."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []

    def __call__(self, record: CallRecord) -> None:
        """Keep the record of a call."""
        self.records.append(record)

    @property
    def statuses(self) -> list[str]:
        """The outcome of each call."""
        return [record.outcome.status for record in self.records]


def hash_pin(pin: str) -> str:
    """A readable stand-in for the hash of a PIN."""
    return f"hash of {pin}"


def workshop_rules(*more: Rule) -> RuleSet:
    """The workshop's rules: 33 may dial 2X, and the PIN 123456 opens all but the outside."""
    rules = [
        Rule(1, "3X", "dial", "IAX2"),
        Rule(2, "2X", "dial", "SIP"),
        Rule(3, "XXXXXXXX", "dial", "Zap"),
        Rule(4, "66", "voicemail", ""),
        Rule(5, "7X", "conference", ""),
        *more,
    ]
    everything = frozenset(rule.map_id for rule in more)
    return RuleSet.build(
        rules,
        [("33", frozenset({2}) | everything)],
        [("pepe", hash_pin("123456"), frozenset({1, 2, 4, 5}))],
        hash_pin,
    )


def loud(events: Iterable[LogEvent]) -> list[LogEvent]:
    """The log events above info."""
    return [event for event in events if event["log_level"] >= LogLevel.warn]


def failure_of(test: SynchronousTestCase, waiting: Deferred[AGIReply], kind: type[Exception]) -> str:
    """Check that a command failed so; returns the message, which is one line."""
    line = str(test.failureResultOf(waiting, kind).value)
    test.assertNotIn("\n", line)
    return line
