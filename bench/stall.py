"""For how long the worst that may arrive holds the reactor: the longest single step of each input.

The steps are those of the reactor: one read of at most 64 kB, one timer. They run here one after the other in memory,
and the figure is processor time, so other work of the machine does not count. Run: python bench/stall.py
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogPublisher, globalLogPublisher, textFileLogObserver
from twisted.python.failure import Failure

from pbxrouter.agi import DialogueWatch, Prompts
from pbxrouter.ami import is_whole
from pbxrouter.ami.protocol import AMIProtocol
from pbxrouter.call import ActiveCalls, CallFlow, Reports
from pbxrouter.call.history_writer import row_of
from pbxrouter.config import Config
from pbxrouter.counter.call_table import CallTable
from pbxrouter.counter.counts import CallCounts
from pbxrouter.drivers import load_drivers
from pbxrouter.fastagi import FastAGIFactory
from pbxrouter.gateway.call_log import CallLog, DialogueLog
from pbxrouter.gateway.log_lines import LineCleaner
from pbxrouter.rules import Mapping, RulesEngine, RuleSet
from pbxrouter.simulator import SimulatedCall

READ: Final = 1 << 16
"""Bytes that the reactor reads at once."""
LIMIT_MS: Final = 50.0


class Steps(Clock):
    """A clock that measures each timer, and each read."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0.0

    def measured(self, work: Callable[[], object]) -> None:
        """Run one step of the reactor's."""
        began = time.process_time()
        work()
        self.longest = max(self.longest, time.process_time() - began)

    def callLater(self, delay: float, callable: Callable[..., object], *arguments: object, **named: object) -> Any:
        """Measure the function when it runs."""
        return super().callLater(delay, self.measured, lambda: callable(*arguments, **named))

    def feed(self, protocol: Any, data: bytes) -> None:
        """Give a protocol bytes as the reactor reads them, and let timers run between."""
        for place in range(0, len(data), READ):
            self.measured(lambda place=place: protocol.dataReceived(data[place : place + READ]))  # type: ignore[misc]
            self.advance(0)


class Nowhere:
    """A file that takes everything."""

    encoding = "utf-8"

    def write(self, text: str) -> None:
        """Encode the text, as a file does."""
        text.encode("utf-8")

    def flush(self) -> None:
        """Do nothing more."""


def rules() -> RuleSet:
    """Ten thousand patterns that have long beginnings in common, and some that sort oddly."""
    texts = [f"_9{number:05}X." for number in range(9_000)] + [
        f"_8[{number % 9}-{number % 7}9]{number:04}X." for number in range(1000)
    ]
    mappings = [Mapping(place, text, "dial", "SIP") for place, text in enumerate([*texts, "_9.", "2X"], 1)]
    return RuleSet.build(mappings, [("33", frozenset({10_001, 10_002}))], [], lambda pin: pin)


class Calls:
    """A FastAGI server with the call flow, the log and the history's rows."""

    def __init__(self, rule_set: RuleSet) -> None:
        self.clock = Steps()
        reports = Reports()
        reports.add(CallLog().report)
        reports.add(row_of)
        engine = RulesEngine(["dial"])
        engine.replace(rule_set)
        flow = CallFlow(engine, load_drivers(Config()), Prompts(), reports, ActiveCalls(), now=self.clock.seconds)
        watch = DialogueWatch()
        watch.add(DialogueLog().tell)
        self.factory = FastAGIFactory(flow.serve, self.clock, watch)

    def play(self, opening: bytes, replies: Iterable[bytes]) -> None:
        """A call with these replies to its first commands."""
        protocol: Any = self.factory.buildProtocol(None)  # type: ignore[arg-type]
        transport = StringTransport()
        protocol.makeConnection(transport)
        self.clock.feed(protocol, opening)
        for reply in replies:
            self.clock.advance(1)
            if transport.disconnecting:
                break
            self.clock.feed(protocol, reply)
        self.clock.advance(1)
        self.clock.measured(lambda: protocol.connectionLost(Failure(ConnectionDone())))


def call_inputs() -> Iterator[tuple[str, bytes, list[bytes]]]:
    """Name, opening block and replies."""
    good = SimulatedCall("21", caller="33").environment()
    big = 900_000
    for name, text in (("letters", "x"), ("bytes that are no text", "\udcff"), ("controls", "\x1b")):
        yield (
            f"FastAGI: a caller's name of 900 kB of {name}",
            SimulatedCall("21", caller="33", name=text * big).environment(),
            [],
        )
    yield "FastAGI: a number of 400 000 digits", SimulatedCall("9" * 400_000, caller="33").environment(), []
    yield "FastAGI: a number of 79 digits", SimulatedCall("9" * 79, caller="33").environment(), []
    yield "FastAGI: 60 000 arguments", SimulatedCall("21", arguments=tuple("x" * 60_000)).environment(), []
    yield "FastAGI: an argument of 1 MB", SimulatedCall("21", arguments=("x" * 1_000_000,)).environment(), []
    yield "FastAGI: an opening block without end", b"agi_network: yes\n" + b"agi_x: y\n" * 150_000, []
    for name, line in (
        ("letters", b"x"),
        ("commas", b","),
        ("parties", b"PJSIP/33&"),
        ("brackets", b"()"),
        ("no text", b"\xff"),
    ):
        yield (
            f"FastAGI: a variable of 1 MB of {name}",
            good,
            [b"200 result=1 (,,,," + line * (1_000_000 // len(line)) + b")\n"],
        )
    yield "FastAGI: a reply of 300 000 lines", good, [b"520-x\n" + b"y\n" * 300_000]
    yield "FastAGI: a variable of 300 000 lines", good, [b"200 result=1 (\n" + b"y\n" * 300_000]
    yield "FastAGI: 100 000 hang-ups", good, [b"HANGUP\n" * 100_000]
    yield "FastAGI: 100 000 times in progress", good, [b"100 x\n" * 100_000]
    yield "FastAGI: 100 000 replies", good, [b"200 result=0\n" * 100_000]


def events(clock: Steps) -> AMIProtocol:
    """An AMI connection with a table of calls and one handler that reads everything."""
    table = CallTable(CallCounts())

    def count(event: Any) -> None:
        if is_whole(event):
            table.event(event.name, event.get, clock.seconds())

    def read(event: Any) -> None:
        event.all("X")

    protocol = AMIProtocol(clock, {b"Newchannel": [count], b"Hangup": [count], b"DialEnd": [count, read]})
    protocol.makeConnection(StringTransport())
    clock.feed(protocol, b"Asterisk Call Manager/11.0.0\r\n")
    protocol._producer = protocol.transport
    return protocol


HEADERS: Final = (
    b"Event: Newchannel\r\nPrivilege: call,all\r\nTimestamp: 1.5\r\nChannel: PJSIP/33\r\nChannelState: 0\r\n"
    b"ChannelStateDesc: Down\r\nCallerIDNum: 33\r\nCallerIDName: x\r\nConnectedLineNum: <unknown>\r\n"
    b"ConnectedLineName: <unknown>\r\nLanguage: en\r\n"
    b"AccountCode: \r\nContext: phones\r\nExten: 21\r\nPriority: 1\r\nUniqueid: %d.1\r\nLinkedid: %d.1\r\n\r\n"
)


def event_inputs() -> Iterator[tuple[str, bytes]]:
    """Name and bytes."""
    yield "AMI: 10 000 channels", b"".join(HEADERS % (number, number) for number in range(10_000))
    yield "AMI: 100 000 empty messages", b"x\r\n\r\n" * 100_000
    yield "AMI: 100 000 line ends", b"\r\n" * 100_000
    yield "AMI: 20 000 responses to no action", b"Response: Success\r\nActionID: 1\r\n\r\n" * 20_000
    for name in (b"Newchannel", b"DialEnd"):
        kind = name.decode()
        yield f"AMI: a {kind} of 10 000 headers", b"Event: " + name + b"\r\n" + b"X: y\r\n" * 10_000 + b"\r\n"
        yield f"AMI: a {kind} of 1 MB of headers", b"Event: " + name + b"\r\n" + b"a:\r\n" * 250_000 + b"\r\n"
        yield (
            f"AMI: a {kind} with a value of 1 MB",
            b"Event: " + name + b"\r\nCallerIDName: " + b"\xff" * 1_000_000 + b"\r\n\r\n",
        )
    yield "AMI: a line of 20 MB", b"Event: " + b"x" * 20_000_000
    yield "AMI: 500 Newchannel of 491 headers", (b"Event: Newchannel\r\n" + b"X: y\r\n" * 490 + b"\r\n") * 500


def main() -> int:
    """Print the longest step of each input; 1 if one is over the limit."""
    globalLogPublisher.addObserver(LogPublisher(LineCleaner(), textFileLogObserver(Nowhere())))  # type: ignore[arg-type]
    rule_set = rules()
    over = 0
    gc.collect()
    gc.freeze()
    for name, opening, replies in call_inputs():
        calls = Calls(rule_set)
        calls.play(opening, replies)
        over += _tell(name, calls.clock.longest)
    for name, data in event_inputs():
        clock = Steps()
        protocol = events(clock)
        clock.longest = 0.0
        clock.feed(protocol, data)
        over += _tell(name, clock.longest)
    return 1 if over else 0


def _tell(name: str, seconds: float) -> bool:
    is_over = 1000 * seconds > LIMIT_MS
    print(f"{1000 * seconds:8.1f} ms  {name}{'  <-- too long' if is_over else ''}")
    return is_over


if __name__ == "__main__":
    raise SystemExit(main())
