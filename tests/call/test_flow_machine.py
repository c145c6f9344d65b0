"""Calls in which anything happens in any order: replies, keys, hang-ups, faults, time.

A state machine plays Asterisk's side, over FastAGI byte by byte and over MAGI event by event. However the call goes,
the caller is asked for a PIN at most three times, no Dial runs without a grant or the right PIN, one command
waits at a time, and each call ends with one outcome and leaves nothing behind.
"""

from __future__ import annotations

import itertools
import re
from typing import Any
from urllib.parse import quote

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.agi.prompts import Prompts
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.call.active_calls import ActiveCalls
from pbxrouter.call.flow import PIN_PROMPTS, CallFlow
from pbxrouter.call.pin_guard import PinGuard
from pbxrouter.fastagi import SETTLE_S
from pbxrouter.fastagi.server import FastAGIFactory
from pbxrouter.magi.service import MagiService
from pbxrouter.rules.engine import RulesEngine
from pbxrouter.simulator import SimulatedCall
from tests.ami_fakes import FakeAMIConnection, lines
from tests.call.test_flow import DRIVERS
from tests.fakes import AsteriskEnd, Reports, workshop_rules
from tests.magi.test_service import CONTEXT, UNIQUEID, block, snapshot

RIGHT_PIN = "123456"
NUMBERS = ("21", "29", "34", "66", "70", "900", "12345678", "*21", "s")
DIGITS = (RIGHT_PIN, "23456", "000000", "21", "34", "", "*", "12345678901234567890")
CALLERS = ("33", "44", "unknown", None)
GRANTED = re.compile("2[0-9]")
"""The numbers that the extension 33 may dial by the workshop's rules."""
BY_PIN = re.compile("[237][0-9]|66")
"""The numbers that the PIN opens."""


class FastAGIWay:
    """A call over FastAGI; Asterisk's end of the connection is the machine's."""

    def __init__(self, flow: CallFlow, clock: Clock) -> None:
        factory = FastAGIFactory(flow.serve, clock, DialogueWatch())
        protocol: Any = factory.buildProtocol(None)
        self.end = AsteriskEnd(protocol)
        self._clock = clock

    def begin(self, call: SimulatedCall) -> None:
        """Send the opening block."""
        self.end.says(call.environment())
        self._clock.advance(SETTLE_S)

    def heard(self) -> list[str]:
        """The commands that were sent since the last time."""
        return self.end.hears().decode("utf-8").splitlines()

    def says(self, line: str) -> None:
        """Asterisk sends a line."""
        if not self.is_over:
            self.end.says(line.encode("utf-8", "surrogateescape") + b"\n")
            self._clock.advance(SETTLE_S)

    def hang_up(self) -> None:
        """The caller hangs up: HANGUP is sent at once."""
        self.says("HANGUP")

    def cut(self) -> None:
        """The connection is gone."""
        self.end.goes()

    @property
    def is_over(self) -> bool:
        """Whether the gateway has closed the connection."""
        return self.end.is_closed or self.end.is_aborted


class MagiWay:
    """A call over MAGI; the AMI connection is the machine's."""

    def __init__(self, flow: CallFlow, clock: Clock) -> None:
        self.manager = FakeAMIConnection()
        manager: Any = self.manager
        self.magi = MagiService(manager, [CONTEXT], flow.serve, clock, DialogueWatch(), lambda request, violation: None)
        self.magi.startService()
        self.manager.comes_up()
        self.manager.sent.clear()
        self._clock = clock
        self._last = ""

    def begin(self, call: SimulatedCall) -> None:
        """Announce the call by AsyncAGIStart."""
        number, caller = call.extension, call.caller
        old = block()
        env = old.replace(b"agi_extension: 21", b"agi_extension: " + number.encode())
        env = env.replace(b"agi_dnid: 21", b"agi_dnid: " + (number or "unknown").encode())
        env = env.replace(b"agi_callerid: 33", b"agi_callerid: " + (caller or "unknown").encode())
        headers = [line.replace("Exten: 21", f"Exten: {number}") for line in snapshot(number=caller or "<unknown>")]
        status = [*headers, f"DNID: {number}", "Application: AGI", "Data: agi:async"]
        self.manager.alive[UNIQUEID] = AMIMessage(lines("Event: Status", *status)[:-4])
        self.manager.event("Event: AsyncAGIStart", *headers, f"Env: {quote(env, safe='')}")
        self._clock.pump([0.1] * 10)

    def heard(self) -> list[str]:
        """The commands that were queued since the last time."""
        commands = []
        for action in self.manager.heard("AGI"):
            self._last = action["CommandID"]
            commands.append(action["Command"])
        self.manager.sent.clear()
        return [line for line in commands if line != "NOOP"]

    def says(self, line: str) -> None:
        """Asterisk reports the result of the last command."""
        data = quote(line.encode("utf-8", "surrogateescape") + b"\n", safe="")
        self.manager.event("Event: AsyncAGIExec", *snapshot(), f"Result: {data}", f"CommandId: {self._last}")

    def hang_up(self) -> None:
        """The channel is gone."""
        self.manager.alive.clear()
        self.manager.event("Event: AsyncAGIEnd", *snapshot())
        self.manager.event("Event: Hangup", *snapshot(), "Cause: 16", "Cause-txt: Normal Clearing")

    def cut(self) -> None:
        """The channel is gone, and then the AMI connection."""
        self.hang_up()
        self._clock.pump([1.0] * 5)
        self.manager.goes_down()

    @property
    def is_over(self) -> bool:
        """Whether the gateway keeps nothing of the call."""
        return self.magi.open_calls == 0


class CallMachine(RuleBasedStateMachine):
    """A call in which anything may happen."""

    way_of = FastAGIWay

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.reports = Reports()
        self.active_calls = ActiveCalls()
        self.engine = RulesEngine(DRIVERS.keys())
        self.engine.replace(workshop_rules())
        days = itertools.count(0.0, 86_400.0)  # so that the guard of PINs delays nothing
        guard = PinGuard(None, (), lambda: next(days), seconds=lambda: next(days))
        now = self.clock.seconds
        self.flow = CallFlow(self.engine, DRIVERS, Prompts(), self.reports, self.active_calls, now, guard, seconds=now)
        way: Any = self.way_of
        self.way = way(self.flow, self.clock)
        self.waiting = ""  # the command that Asterisk has not answered
        self.begun = False
        self.caller: str | None = None
        self.number = ""
        self.asked = 0
        self.typed_ahead = ""
        self.pins: set[str] = set()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)  # type: ignore[arg-type]

    # --- what happens ---

    @initialize(number=st.sampled_from(NUMBERS), caller=st.sampled_from(CALLERS))
    def begin(self, number: str, caller: str | None) -> None:
        """A call comes in."""
        self.number, self.caller, self.begun = number, caller, True
        self.way.begin(SimulatedCall(number, caller=caller))
        self.hear()

    @precondition(lambda self: self.waiting)
    @rule(steps=st.integers(1, 12), digits=st.lists(st.sampled_from(DIGITS), max_size=3))
    def goes_well(self, steps: int, digits: list[str]) -> None:
        """Some commands succeed, and the caller keys digits when asked."""
        for _ in range(steps):
            if self.waiting.startswith("GET DATA") and digits:
                self.answer(f"200 result={digits.pop()}")
            elif self.waiting:
                self.succeeds()

    def succeeds(self) -> None:
        """The command succeeds, and no key was pressed."""
        answer = "200 result=0"
        if self.waiting.startswith("GET FULL VARIABLE"):
            answer = "200 result=1 (,,,,)"
        elif self.waiting.startswith("GET VARIABLE"):
            answer = "200 result=1 (ANSWER)"
        elif self.waiting.startswith("GET DATA"):
            answer = "200 result= (timeout)"
        elif self.waiting.startswith("STREAM FILE"):
            answer = "200 result=0 endpos=3520"
        self.answer(answer)

    @precondition(lambda self: self.waiting.startswith("GET DATA"))
    @rule(digits=st.sampled_from(DIGITS))
    def keys(self, digits: str) -> None:
        """The caller keys digits."""
        self.answer(f"200 result={digits}")

    @precondition(lambda self: self.waiting.startswith("STREAM FILE"))
    @rule(key=st.sampled_from("1#*0"))
    def interrupts(self, key: str) -> None:
        """The caller presses a key while a sound plays."""
        self.answer(f"200 result={ord(key)} endpos=0")

    @precondition(lambda self: self.waiting)
    @rule(
        line=st.sampled_from(
            (
                "200 result=-1",
                "200 result=-2",
                "200 result=1",
                "200 result=1 ()",
                "200 result=1 (BUSY)",
                "200 result=1 (FAILED)",
                "510 Invalid or unknown command",
                "511 Command Not Permitted on a dead channel or intercept routine",
                "520 Invalid command syntax.  Proper usage not available.",
                "200 result=\udcff",
                "garbage",
                "",
            )
        )
    )
    def answers_otherwise(self, line: str) -> None:
        """A reply of another kind, or of none."""
        self.answer(line)

    @rule()
    def hangs_up(self) -> None:
        """The caller hangs up."""
        self.way.hang_up()
        self.hear()

    @rule()
    def is_cut(self) -> None:
        """End the connection."""
        self.finish()

    @rule(seconds=st.sampled_from((0.1, 5.0, 31.0, 200.0)))
    def time_passes(self, seconds: float) -> None:
        """Advance the clock."""
        for _ in range(10):
            self.clock.advance(seconds / 10)
            self.hear(late=True)

    @rule()
    def rules_change(self) -> None:
        """The rules are loaded again."""
        self.engine.replace(workshop_rules())

    # --- Asterisk's side ---

    def answer(self, line: str) -> None:
        """Answer the command that waits; note what the caller has keyed by it."""
        command, self.waiting = self.waiting, ""
        found = re.match(r"200 result=([0-9*#]*)(?: |$)", line)
        if command.startswith("GET DATA") and command.endswith(" 1 1"):  # over MAGI in place of STREAM FILE
            self.typed_ahead = found[1][:1].strip("#") if found else ""
        elif command.startswith("GET DATA") and found:
            self.asked += 1
            self.pins.add(self.typed_ahead + found[1])
            if self.number == "s" and self.asked == 1:  # the caller was asked for the number
                self.asked, self.number, self.pins = 0, found[1], set()
            self.typed_ahead = ""
        if command.startswith("STREAM FILE") and found:
            self.typed_ahead = chr(int(found[1])).strip("#\0") if found[1].isdigit() else ""
        self.way.says(line)
        self.hear()

    def hear(self, *, late: bool = False) -> None:
        """Take the gateway's next command, and check it.

        Args:
            late: whether the gateway may have given up a command that waited for its reply.
        """
        commands = self.way.heard()
        assert len(commands) <= 1, commands
        assert not (commands and self.waiting) or late, (self.waiting, commands)
        for command in commands:
            self.waiting = command
            if command.startswith("EXEC Dial"):
                granted = self.caller == "33" and GRANTED.fullmatch(self.number)
                by_pin = RIGHT_PIN in self.pins and BY_PIN.fullmatch(self.number)
                assert granted or by_pin, (self.caller, self.number, self.pins)

    def finish(self) -> None:
        """End the connection, once, and let all time pass."""
        if self.begun:
            self.begun = False
            self.waiting = ""
            self.way.cut()
            for _ in range(80):
                self.clock.advance(10)

    # --- what must hold ---

    @invariant()
    def asked_thrice_at_most(self) -> None:
        """The caller is asked for a PIN at most three times."""
        assert self.asked <= PIN_PROMPTS, self.asked

    @invariant()
    def one_outcome_at_most(self) -> None:
        """A call is reported once, and a call that is over is not among those in progress."""
        assert len(self.reports.records) <= 1
        assert len(list(self.active_calls.calls)) + len(self.reports.records) <= 1

    def teardown(self) -> None:
        """The call ends: there is one outcome, and nothing is left."""
        globalLogPublisher.removeObserver(self.events.append)  # type: ignore[arg-type]
        self.finish()
        (record,) = self.reports.records
        assert re.fullmatch("[A-Z]+", record.outcome.status), record.outcome.status
        assert not list(self.active_calls.calls)
        assert [event for event in self.events if event.get("log_failure")] == []


class MagiMachine(CallMachine):
    """The same over MAGI."""

    way_of = MagiWay  # type: ignore[assignment]


class FlowMachineTests(SynchronousTestCase):
    """Any order of events, over both ways in."""

    def _play(self, machine: type[CallMachine]) -> None:
        run_state_machine_as_test(machine, settings=settings(max_examples=100, stateful_step_count=30, deadline=None))

    def test_fastagi(self) -> None:
        """Any order of events holds over FastAGI."""
        self._play(CallMachine)

    def test_magi(self) -> None:
        """Any order of events holds over MAGI."""
        self._play(MagiMachine)
