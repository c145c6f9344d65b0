"""The contract of a Channel: the same conversations over FastAGI, MAGI and the fake alike.

A new way in adds a class of its own at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.channel import Channel
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.agi.messages import AGIReply
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.errors import AGIError, ChannelHungUp, CommandRefused, InvalidArgument
from pbxrouter.fastagi.protocol import FastAGIProtocol
from pbxrouter.magi.channel import MagiChannel
from pbxrouter.simulator import SimulatedCall
from tests.ami_fakes import FakeAMIConnection
from tests.fakes import AsteriskEnd, FakeChannel, FakeOwner, byte_by_byte, in_one, request_of

SYNTAX = (
    "520-Invalid command syntax.  Proper usage follows:\n Usage: X\n"
    " Example return code: 200 result=1 (testvariable)\n520 End of proper usage."
)
DEAD = "511 Command Not Permitted on a dead channel or intercept routine"


@dataclass(frozen=True)
class Turn:
    """One command and what comes of it.

    Attributes:
        says: Asterisk's lines; None: the command must not even be sent.
        comes: the reply, or what execute fails with.
    """

    command: str
    says: str | None
    comes: AGIReply | type[AGIError]


CONVERSATIONS: dict[str, list[Turn]] = {
    "replies": [
        Turn("ANSWER", "200 result=0", AGIReply(200, "0", text="result=0")),
        Turn(
            "GET DATA x 1",
            "200 result=5 (timeout)",
            AGIReply(200, "5", "timeout", None, "result=5 (timeout)"),
        ),
        Turn("STREAM FILE x 1", "200 result=49 endpos=7", AGIReply(200, "49", None, 7, "result=49 endpos=7")),
        Turn("GET VARIABLE X", "200 result=1 (a\nb)", AGIReply(200, "1", "a\nb", text="result=1 (a\nb)")),
    ],
    "refused commands": [
        Turn("FOO", "510 Invalid or unknown command", CommandRefused),
        Turn("GET VARIABLE", SYNTAX, CommandRefused),
        Turn("NOOP", "200 result=0", AGIReply(200, "0", text="result=0")),
    ],
    "unsendable": [
        Turn("SET VARIABLE A b\nHANGUP", None, InvalidArgument),
        Turn("SET VARIABLE A b\r", None, InvalidArgument),
        Turn("NOOP\0", None, InvalidArgument),
        Turn("NOOP " + "x" * 8186, None, InvalidArgument),
        Turn("NOOP", "200 result=0", AGIReply(200, "0", text="result=0")),
    ],
    "hung up in a prompt": [
        Turn("GET DATA x", "200 result=-1\nHANGUP", ChannelHungUp),
        Turn("GET DATA x", None, ChannelHungUp),
        Turn("SET VARIABLE A b", "200 result=1", AGIReply(200, "1", text="result=1")),
        Turn("ANSWER", None, ChannelHungUp),
    ],
    "hung up while dialling": [
        Turn("EXEC Dial x", "200 result=-1\nHANGUP", AGIReply(200, "-1", text="result=-1")),
        Turn("GET VARIABLE X", "200 result=1 (BUSY)", AGIReply(200, "1", "BUSY", text="result=1 (BUSY)")),
        Turn("EXEC Dial x", "200 result=-1", AGIReply(200, "-1", text="result=-1")),
        Turn("EXEC Wait 1", "200 result=-1", ChannelHungUp),
        Turn("EXEC Wait 1", "200 result=0", AGIReply(200, "0", text="result=0")),
    ],
    "dead without a word": [
        Turn("ANSWER", DEAD, ChannelHungUp),
        Turn("ANSWER", None, ChannelHungUp),
        Turn("NOOP", "200 result=0", AGIReply(200, "0", text="result=0")),
    ],
    "a sound is missing": [
        Turn("GET DATA nosuch", "200 result=-1", AGIReply(200, "-1", text="result=-1")),
        Turn("CHANNEL STATUS", "200 result=6", AGIReply(200, "6", text="result=6")),
    ],
    "the callee hangs up": [
        Turn("EXEC Dial x", "200 result=-1", AGIReply(200, "-1", text="result=-1")),
        Turn("HANGUP", "200 result=1", AGIReply(200, "1", text="result=1")),
    ],
    "it takes a while": [
        Turn("GOSUB a b 1", "100 result=0 Trying...\n200 result=0 x", AGIReply(200, "0", text="result=0 x")),
    ],
}


class ChannelContract:
    """The contract of a Channel; subclasses provide the channel."""

    channel: Channel

    def open(self, turns: list[Turn]) -> None:
        """Begin a call in which Asterisk will give these replies."""
        raise NotImplementedError

    def say(self, says: str) -> None:
        """Answer the command that waits, and let a second pass."""
        raise NotImplementedError

    def sent(self) -> list[str]:
        """The commands sent so far."""
        raise NotImplementedError

    def as_here(self, turns: list[Turn]) -> list[Turn]:
        """The turns of a conversation as this kind of channel has them."""
        return turns

    def converse(self, name: str) -> None:
        """Take a conversation turn by turn."""
        assert isinstance(self, SynchronousTestCase)
        turns = self.as_here(CONVERSATIONS[name])
        self.open(turns)
        expected: list[str] = []
        for turn in turns:
            waiting = self.channel.execute(turn.command)
            if turn.says is not None:
                expected.append(turn.command)
                self.say(turn.says)
            self.assertEqual(self.sent(), expected, turn)
            if isinstance(turn.comes, AGIReply):
                self.assertEqual(self.successResultOf(waiting), turn.comes, turn)
            else:
                self.assertNotIn("\n", str(self.failureResultOf(waiting, turn.comes).value))

    def test_request(self) -> None:
        """The request is known from the beginning."""
        assert isinstance(self, SynchronousTestCase)
        self.open([])
        self.assertEqual((self.channel.request.caller, self.channel.request.extension), ("33", "21"))

    def test_one_at_a_time(self) -> None:
        """A second command while one waits fails, is not sent, and does not disturb the first."""
        assert isinstance(self, SynchronousTestCase)
        self.open([Turn("GET DATA x", "", ChannelHungUp)])
        first = self.channel.execute("GET DATA x")
        line = str(self.failureResultOf(self.channel.execute("NOOP"), AGIError).value)
        self.assertNotIn("\n", line)
        self.assertEqual(self.sent(), ["GET DATA x"])
        self.assertNoResult(first)

    def test_replies(self) -> None:
        """Each form of a reply is passed on."""
        self.converse("replies")

    def test_refused_commands(self) -> None:
        """510 and 520 fail, and the call goes on."""
        self.converse("refused commands")

    def test_unsendable(self) -> None:
        """A command that would break the protocol fails before it is sent."""
        self.converse("unsendable")

    def test_hung_up_in_a_prompt(self) -> None:
        """After a hang-up, commands that a dead channel refuses are not sent."""
        self.converse("hung up in a prompt")

    def test_hung_up_while_dialling(self) -> None:
        """A dead channel still tells the result of a Dial."""
        self.converse("hung up while dialling")

    def test_dead_without_a_word(self) -> None:
        """A reply 511 means that the caller has hung up."""
        self.converse("dead without a word")

    def test_missing_sound(self) -> None:
        """A -1 without HANGUP is a reply."""
        self.converse("a sound is missing")

    def test_callee_hangs_up(self) -> None:
        """A -1 of a Dial is a reply too."""
        self.converse("the callee hangs up")

    def test_takes_a_while(self) -> None:
        """A line 100 is no reply: the channel waits for the next."""
        self.converse("it takes a while")


class OverTheFake(ChannelContract, SynchronousTestCase):
    """The fake keeps the contract, so tests over the fake hold over FastAGI."""

    def open(self, turns: list[Turn]) -> None:
        """The fake gets its replies beforehand; ``""`` is no reply at all."""
        answers: dict[str, list[str | Exception | None]] = {}
        for turn in turns:
            if turn.says is not None:
                answers.setdefault(turn.command, []).append(turn.says or None)
        self.channel = self.fake = FakeChannel(SimulatedCall("21", caller="33"), answers)

    def say(self, says: str) -> None:
        """The fake has its reply already."""

    def sent(self) -> list[str]:
        """The commands that the fake has recorded."""
        return self.fake.commands


class OverFastAGI(ChannelContract, SynchronousTestCase):
    """FastAGI, on a connection in memory."""

    segments = staticmethod(in_one)

    def open(self, turns: list[Turn]) -> None:
        """Open a connection and get its first reply, which is held for a moment."""
        self.owner = FakeOwner()
        self.channel = FastAGIProtocol(self.owner)
        self.end = AsteriskEnd(self.channel)
        self.end.says(SimulatedCall("21", caller="33").environment())
        self.channel.execute("NOOP")
        self.end.says(b"200 result=0\n")
        self.owner.time.advance(1)
        self.end.hears()

    def say(self, says: str) -> None:
        """Bytes come; then a second passes, since HANGUP may follow."""
        for segment in self.segments(says.encode() + b"\n"):
            self.end.says(segment)
        self.owner.time.pump([1, 1])

    def sent(self) -> list[str]:
        """The lines that were sent."""
        return [line.decode() for line in self.end.transport.value().split(b"\n")[:-1]]


class OverFastAGIByteByByte(OverFastAGI):
    """FastAGI, with each byte in a segment of its own."""

    segments = staticmethod(byte_by_byte)


class OverMAGI(ChannelContract, SynchronousTestCase):
    """MAGI, with a manager in memory. On a channel that is hung up it can do nothing at all.

    Source: docs/asterisk.md C.
    """

    def as_here(self, turns: list[Turn]) -> list[Turn]:
        """After the hang-up every command fails and is not sent."""
        here: list[Turn] = []
        hung_up = False
        for turn in turns:
            here.append(Turn(turn.command, None, ChannelHungUp) if hung_up else turn)
            hung_up = hung_up or (turn.says or "").endswith(("\nHANGUP", DEAD))
        return here

    def open(self, turns: list[Turn]) -> None:
        """Begin a call that Asterisk has announced in full."""
        self.manager = FakeAMIConnection()
        self.manager.comes_up()
        self.time = Clock()
        request = request_of(SimulatedCall("21", caller="33"))
        self.lines: list[str] = []
        self.channel = self.call = MagiChannel(
            request, request.uniqueid, self.send, self.manager.new_id, self.time, DialogueWatch()
        )

    def send(self, address: str, line: str, command_id: str) -> Deferred[None]:
        """Asterisk queues the command."""
        self.lines.append(line)
        self.command_id = command_id
        return succeed(None)

    def say(self, says: str) -> None:
        """The event with the result comes, then perhaps that of the end; then a second passes."""
        result, hangup, _ = says.partition("\nHANGUP")
        event = f"Event: AsyncAGIExec\r\nResult: {quote(result + chr(10))}\r\nCommandId: {self.command_id}"
        self.call.result_received(AMIMessage(event.encode()))
        if hangup:
            self.call.end_received()
        self.time.pump([1, 1])

    def sent(self) -> list[str]:
        """The commands that were queued."""
        return self.lines
