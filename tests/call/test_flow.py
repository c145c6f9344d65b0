"""The conversation with callers: the workshop's table, and every way in which a call can end.

Once over the fake channel, where each command is named, and once over FastAGI against
the simulated Asterisk.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.channel import Channel
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.agi.messages import AGIReply
from pbxrouter.agi.prompts import Prompts
from pbxrouter.call.active_calls import ActiveCalls
from pbxrouter.call.flow import CallFlow, cdr_text
from pbxrouter.call.journal import CallJournal
from pbxrouter.call.journal_file import Begun, journal_files, read_journal
from pbxrouter.call.pin_guard import PinAttempt, PinGuard
from pbxrouter.config import schema
from pbxrouter.drivers import Call, Driver, Outcome
from pbxrouter.drivers.conference import Conference
from pbxrouter.drivers.dial import Dial
from pbxrouter.drivers.hangup import Hangup
from pbxrouter.drivers.voicemail import Voicemail
from pbxrouter.errors import (
    ApplicationFailed,
    ChannelHungUp,
    CommandRefused,
    ConnectionClosed,
    ForgedRequest,
    GatewayStopping,
    ReplyTimeout,
)
from pbxrouter.fastagi import SETTLE_S
from pbxrouter.fastagi.server import FastAGIFactory
from pbxrouter.rules.engine import RulesEngine
from pbxrouter.rules.model import MAX_NUMBER, Verdict
from pbxrouter.rules.model import Mapping as Rule
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.security.guess_limits import FREE_GUESSES
from pbxrouter.simulator import Script, SimulatedAsterisk, SimulatedCall
from tests.fakes import (
    HUNG_UP,
    NAME,
    Answers,
    AsteriskEnd,
    FakeChannel,
    Reports,
    byte_by_byte,
    hash_pin,
    in_one,
    loud,
    play,
    workshop_rules,
)

SETTINGS = schema.Config(technologies={"SIP": "PJSIP", "Zap": "DAHDI"})
DRIVERS: Mapping[str, Driver] = {
    "dial": Dial(SETTINGS),
    "voicemail": Voicemail(SETTINGS),
    "conference": Conference(SETTINGS),
    "hangup": Hangup(SETTINGS),
}
DEAD = "511 Command Not Permitted on a dead channel or intercept routine"
ORIGIN = 'GET FULL VARIABLE "${BLINDTRANSFER},${TRANSFERERNAME},${FORWARDERNAME},${PARKER},${PBXROUTER_FORWARDED_BY}"'
ASK_PIN = "GET DATA agent-pass 5000 20"
WRONG_PIN = "STREAM FILE vm-incorrect 0123456789*#"


def variable(name: str, value: str) -> str:
    """The command that sets a variable."""
    return f"SET VARIABLE {name} {value}"


def played(prompt: str) -> list[str]:
    """The commands that play a prompt to its end."""
    return [f"EXEC Playback {prompt}", "GET VARIABLE PLAYBACKSTATUS"]


class FakeDriver:
    """A driver with the outcome that the test gives."""

    def __init__(self, comes: Outcome | Exception) -> None:
        self.comes = comes
        self.calls: list[Call] = []

    async def run(self, call: Call) -> Outcome:
        """Return the outcome or raise it."""
        self.calls.append(call)
        if isinstance(self.comes, Exception):
            raise self.comes
        return self.comes


class StoppableChannel(FakeChannel):
    """A channel that tells whether Asterisk runs an application for the gateway now."""

    def __init__(self, call: SimulatedCall, answers: Answers, in_application: bool) -> None:
        super().__init__(call, answers)
        self.in_application = in_application


class FlowCase(SynchronousTestCase):
    """A call flow by the workshop's rules."""

    def setUp(self) -> None:
        """A call flow without calls."""
        self.reports = Reports()
        self.active_calls = ActiveCalls()
        self.now: float | None = None
        self.flow = self.flow_by(workshop_rules())

    def flow_by(
        self, rules: RuleSet | None, drivers: Mapping[str, Driver] = DRIVERS, prompts: Prompts | None = None
    ) -> CallFlow:
        """Make a call flow by other rules; without rules until self.engine has some."""
        self.engine = RulesEngine(drivers.keys())
        if rules is not None:
            self.engine.replace(rules)
        days = itertools.count(0.0, 86_400.0)  # so that the PIN guard holds no call against the next

        def now() -> float:
            return next(days) if self.now is None else self.now

        self.guard = PinGuard(None, (), now, seconds=now)
        return CallFlow(self.engine, drivers, prompts or Prompts(), self.reports, self.active_calls, guard=self.guard)

    def serve(self, channel: Channel) -> None:
        """Serve a call; check that it is no longer among the calls in progress."""
        self.successResultOf(Deferred.fromCoroutine(self.flow.serve(channel)))
        self.assertEqual(list(self.active_calls.calls), [])

    def run_call(
        self,
        extension: str,
        caller: str | None = "33",
        answers: Answers | None = None,
        dnid: str | None = None,
    ) -> list[str]:
        """Serve a call over the fake channel; returns the commands that were sent."""
        channel = FakeChannel(SimulatedCall(extension, caller=caller, dnid=dnid), answers)
        self.serve(channel)
        asked = channel.commands.pop(0) if channel.commands else ORIGIN
        self.assertEqual(asked, ORIGIN)
        return channel.commands

    def ended(self, status: str) -> None:
        """Check the outcome of the last call that was reported."""
        self.assertEqual(self.reports.statuses[-1:], [status])


def finished(outcome: str, cause: str = "", hung_up: bool = False) -> list[str]:
    """The commands at the end: variables for the dialplan, and the hang-up if there is one."""
    return [
        variable("PBXROUTER_OUTCOME", outcome),
        *([variable("PBXROUTER_CAUSE", cause)] if cause else []),
        variable("PBXROUTER", "done"),
        *(["HANGUP"] if hung_up else []),
    ]


def driving(pattern: str, application: str) -> list[str]:
    """The commands before an application runs."""
    return [
        variable("PBXROUTER_PATTERN", pattern),
        variable("PBXROUTER_APPLICATION", application),
        variable("PBXROUTER", "dialling"),
    ]


DIAL_BUSY: Answers = {
    "GET VARIABLE DIALSTATUS": "200 result=1 (BUSY)",
    "GET VARIABLE HANGUPCAUSE": "200 result=1 (17)",
}
DIAL_ENDED = ["GET VARIABLE DIALSTATUS", "GET VARIABLE HANGUPCAUSE", *finished("BUSY", "17")]


class LaterCaller(FakeChannel):
    """A caller to whom something happens while the announcement of a wrong PIN plays."""

    def __init__(self, call: SimulatedCall, answers: Answers, happens: Callable[[], object]) -> None:
        super().__init__(call, answers)
        self._happens = happens

    def execute(self, command: str) -> Deferred[AGIReply]:
        """Answer a command; something happens during the prompt."""
        if command.startswith("STREAM FILE"):
            self._happens()
        return super().execute(command)


class WorkshopTable(FlowCase):
    """The workshop's calls, command by command."""

    def test_granted(self) -> None:
        """33 dials 21: there is a Dial, and nothing that makes a sound before it."""
        self.assertEqual(
            self.run_call("21", answers=DIAL_BUSY),
            [*driving("2X", "dial"), "CHANNEL STATUS", "EXEC Dial PJSIP/21,60,i", *DIAL_ENDED],
        )
        self.ended("BUSY")
        (record,) = self.reports.records
        assert record.decision is not None
        self.assertEqual(record.decision.granted_by, "33")
        self.assertEqual(record.outcome.cause, "17")

    def test_pin(self) -> None:
        """One PIN prompt, right after ANSWER, then Dial."""
        self.assertEqual(
            self.run_call("34", answers={**DIAL_BUSY, "GET DATA": "200 result=123456"}),
            [
                variable("PBXROUTER", "routing"),
                "ANSWER",
                ASK_PIN,
                *driving("3X", "dial"),
                "CHANNEL STATUS",
                "EXEC Dial IAX2/34,60,i",
                *DIAL_ENDED,
            ],
        )

    def test_second_pin(self) -> None:
        """PIN prompt, wrong PIN, PIN prompt, Dial."""
        answers: Answers = {**DIAL_BUSY, "GET DATA": ["200 result=000000", "200 result=123456"]}
        commands = self.run_call("34", answers=answers)
        self.assertEqual(commands[1:6], ["ANSWER", ASK_PIN, WRONG_PIN, ASK_PIN, driving("3X", "dial")[0]])
        self.assertIn("EXEC Dial IAX2/34,60,i", commands)

    def test_three_wrong(self) -> None:
        """Exactly three prompts, each answer checked, goodbye, hang up, no Dial."""
        self.assertEqual(
            self.run_call("34", answers={"GET DATA": "200 result=000000"}),
            [
                variable("PBXROUTER", "routing"),
                "ANSWER",
                *[ASK_PIN, WRONG_PIN] * 3,
                *played("vm-goodbye"),
                *finished("DENIED", hung_up=True),
            ],
        )
        self.ended("DENIED")
        decision = self.reports.records[0].decision
        assert decision is not None
        self.assertIn("that was the last of 3 PIN prompts", decision.trace_lines())
        self.assertNotIn("000000", repr(decision) + " ".join(decision.trace_lines()))

    def test_whose_pin_it_was(self) -> None:
        """The guard is told whose right PIN it was, since each user may make so many callers known a day."""
        users, right = [], self.guard.right

        async def note(attempt: PinAttempt, user: str) -> None:
            users.append(user)
            await right(attempt, user)

        self.guard.right = note  # type: ignore[method-assign]
        self.run_call("34", answers={"GET DATA": ["200 result=000000", "200 result=123456"]})
        decision = self.reports.records[-1].decision
        assert decision is not None
        self.assertTrue(decision.user)
        self.assertEqual(users, [decision.user])

    def test_locked_out(self) -> None:
        """A right PIN that is not checked sounds as a wrong one; the history alone says that it was a lock-out."""
        self.now = 1_000_000.0
        wrong = self.run_call("34", answers={"GET DATA": "200 result=000000"})
        self.ended("DENIED")
        self.run_call("34", answers={"GET DATA": "200 result=000000"})
        self.ended("LOCKEDOUT")
        self.assertTrue(self.reports.records[-1].outcome.hang_up)
        right = self.run_call("34", answers={"GET DATA": "200 result=123456"})
        self.ended("LOCKEDOUT")
        self.assertEqual([line for line in right if "Wait" not in line], wrong)
        decision = self.reports.records[-1].decision
        assert decision is not None
        self.assertIn("the PIN was not checked: too many wrong PINs of", " ".join(decision.trace_lines()))
        self.run_call("34", answers={"GET DATA": HUNG_UP})
        self.ended("HANGUP")
        self.run_call("34", answers={"GET DATA": ["200 result=000000", HUNG_UP]})
        self.ended("LOCKEDOUT")
        self.assertFalse(self.reports.records[-1].outcome.hang_up)
        guessed = self.guard.statistics.unchecked
        self.run_call("34", answers={"GET DATA": "200 result=000000", "EXEC Wait": HUNG_UP})
        self.ended("LOCKEDOUT")
        self.assertEqual(self.guard.statistics.unchecked, guessed + 1)

    def test_lock_out_that_ends(self) -> None:
        """A call with a PIN that was not checked is a lock-out, also if its later ones were checked and wrong."""
        self.now = 1_000_000.0
        for _ in range(2):
            self.run_call("34", answers={"GET DATA": "200 result=000000"})
        wrong = self.guard.statistics.wrong
        self.serve(LaterCaller(SimulatedCall("34", caller="33"), {"GET DATA": "200 result=000000"}, self.tomorrow))
        self.assertEqual(self.guard.statistics.wrong, wrong + 2)
        self.ended("LOCKEDOUT")

    def tomorrow(self) -> None:
        """Let a day pass."""
        assert self.now is not None
        self.now += 86_400.0

    def test_hangs_up_after_a_wrong_pin(self) -> None:
        """The record has the decision on the PIN that was wrong."""
        self.run_call("34", answers={"GET DATA": ["200 result=000000", HUNG_UP]})
        decision = self.reports.records[0].decision
        assert decision is not None
        self.assertEqual(decision.verdict, Verdict.DENY)

    def test_third_pin_counts(self) -> None:
        """The third answer is checked like the others."""
        answers: Answers = {"GET DATA": ["200 result=1", "200 result= (timeout)", "200 result=123456"]}
        self.assertIn("EXEC Dial IAX2/34,60,i", self.run_call("34", answers=answers))

    def test_voicemail(self) -> None:
        """The caller gets their own mailbox."""
        commands = self.run_call("66", answers={"GET DATA": "200 result=123456"})
        self.assertEqual(commands.count(ASK_PIN), 1)
        self.assertIn("EXEC VoiceMailMain 33@default", commands)
        self.ended("DONE")

    def test_conference(self) -> None:
        """The caller gets the room of the dialled number."""
        self.assertIn("EXEC ConfBridge 75", self.run_call("75", answers={"GET DATA": "200 result=123456"}))

    def test_user_without_the_grant(self) -> None:
        """A PIN counts only for what its user was granted."""
        commands = self.run_call("12345678", answers={"GET DATA": "200 result=123456"})
        self.assertEqual(commands.count(ASK_PIN), 3)
        self.assertFalse([command for command in commands if "Dial" in command])
        self.ended("DENIED")

    def test_nothing_there(self) -> None:
        """The caller hears that the number is invalid and is hung up."""
        self.assertEqual(
            self.run_call("999"),
            [
                variable("PBXROUTER", "routing"),
                *played("invalid"),
                *finished("INVALID", hung_up=True),
            ],
        )
        self.ended("INVALID")

    def test_other_callers(self) -> None:
        """44 and a caller without a number are asked for the PIN."""
        for caller in ("44", None):
            commands = self.run_call("21", caller, {"GET DATA": "200 result=123456"})
            self.assertEqual(commands.count(ASK_PIN), 1)
            self.assertIn("EXEC Dial PJSIP/21,60,i", commands)

    def test_hangs_up_at_the_prompt(self) -> None:
        """After the hang-up no command is sent and nothing is logged above info."""
        with capturedLogs() as logs:
            commands = self.run_call("34", answers={"GET DATA": HUNG_UP})
        self.assertEqual(commands[-1], ASK_PIN)
        self.assertEqual(loud(logs), [])
        self.ended("HANGUP")


class Records(FlowCase):
    """What Asterisk's own record of a call gets."""

    def test_user_and_mapping(self) -> None:
        """The user whose PIN opened the call, the mapping and the call's key, in the field of the settings."""
        for field, name in (("userfield", "CDR(userfield)"), ("accountcode", "CHANNEL(accountcode)")):
            self.flow.reconfigure(DRIVERS, Prompts(), (), field)
            for number, value in (("34", "pepe;3X;"), ("21", ";2X;")):
                commands = self.run_call(number, answers={**DIAL_BUSY, "GET DATA": "200 result=123456"})
                plain = [command.replace('"', "") for command in commands]
                self.assertLess(
                    plain.index(f"SET VARIABLE {name} {value}"), plain.index("SET VARIABLE PBXROUTER dialling")
                )

    def test_refused(self) -> None:
        """An Asterisk that does not take it routes the call all the same."""
        self.flow.reconfigure(DRIVERS, Prompts(), (), "userfield")
        refusal = CommandRefused(510, "SET VARIABLE", "Invalid")
        with capturedLogs() as logs:
            commands = self.run_call("21", answers={**DIAL_BUSY, 'SET VARIABLE "CDR': refusal})
        self.assertIn("EXEC Dial PJSIP/21,60,i", commands)
        self.assertIn("CDR", formatEvent(loud(logs)[0]))

    def test_text(self) -> None:
        """Each part is cut, and holds nothing that parts the field, a CSV file or a variable."""
        self.assertEqual(cdr_text('Núñez; "a,b"', "${X}|1\\", "k-1"), "N__ez_ _a_b_;_{X}_1_;k-1")
        self.assertEqual(cdr_text("u" * 100, "p" * 100, "k" * 100), ";".join((26 * "u", 26 * "p", 26 * "k")))


class TheNumber(FlowCase):
    """Where the dialled number comes from."""

    def test_from_dnid(self) -> None:
        """A call that arrives at s is routed by its DNID."""
        self.assertIn("EXEC Dial PJSIP/21,60,i", self.run_call("s", dnid="21"))

    def test_asked_for(self) -> None:
        """A caller without either is asked once, and the call is answered once even if a PIN is asked for too."""
        answers: Answers = {"GET DATA vm-enter": "200 result=34", "GET DATA agent": "200 result=123456"}
        for dnid in ("unknown", "", "s", "-"):
            commands = self.run_call("s", dnid=dnid, answers=answers)
            self.assertEqual(
                commands[:7],
                [
                    "CHANNEL STATUS",
                    "GET VARIABLE DIALEDPEERNUMBER",
                    variable("PBXROUTER", "routing"),
                    "ANSWER",
                    "GET DATA vm-enter-num-to-call 5000 20",
                    NAME,
                    ASK_PIN,
                ],
            )
            self.assertIn("EXEC Dial IAX2/34,60,i", commands)
            self.assertEqual((commands.count("ANSWER"), len([c for c in commands if "vm-enter" in c])), (1, 1))

    def test_taken_up_meanwhile(self) -> None:
        """Another phone that takes the call up at the prompt answers for the number that it keys, by its own grants."""
        for name, verdict in (
            ("PJSIP/33-00000009", "33 may use 2X by its own grant"),
            ("PJSIP/36-00000009", "PJSIP/36 is not among the extensions"),
            ("", "unknown is not among the extensions"),
        ):
            answers: Answers = {"GET DATA vm-enter": "200 result=21", NAME: f"200 result=1 ({name})"}
            commands = self.run_call("s", dnid="", answers=answers)
            self.assertEqual(ASK_PIN in commands, not name.startswith("PJSIP/33"))
            decision = self.reports.records[-1].decision
            assert decision is not None
            self.assertEqual(decision.forwarded_by, name.partition("-")[0] or "unknown")
            self.assertIn(verdict, decision.trace_lines())

    def test_nothing_keyed(self) -> None:
        """No digits are an invalid number."""
        self.run_call("start-call", dnid="unknown")
        self.ended("INVALID")

    def test_no_number(self) -> None:
        """A number that would mean more to Dial, or is no text, is invalid."""
        for extension in ("2&SIP/21", "s&SIP/21", "21,60", "_2X", "2\udcff", "21 ", "", "--", "2" * 100_000):
            commands = self.run_call(extension, dnid="21")
            self.assertFalse([command for command in commands if "Dial" in command], extension[:9])
            self.ended("INVALID")

    def test_dashes(self) -> None:
        """Dashes in a number are dropped."""
        self.assertIn("EXEC Dial PJSIP/21,60,i", self.run_call("2-1"))

    def test_dead_elsewhere(self) -> None:
        """A hang-up handler that runs at s on a dead channel gets one command: it is no call of its own."""
        for dnid in ("21", "unknown"):
            with capturedLogs() as logs:
                self.assertEqual(self.run_call("s", dnid=dnid, answers={"CHANNEL STATUS": DEAD}), ["CHANNEL STATUS"])
            self.assertEqual(loud(logs), [])
            self.ended("NOCALL")

    def test_state_that_cannot_be_read(self) -> None:
        """A caller at s is asked for the number where Asterisk refuses to tell the state of the channel."""
        refusal = CommandRefused(510, "CHANNEL STATUS", "Invalid or unknown command")
        for asked in ("CHANNEL STATUS", "GET VARIABLE DIALEDPEERNUMBER"):
            answers: Answers = {asked: refusal, "GET DATA vm-enter": "200 result=21"}
            with capturedLogs() as logs:
                commands = self.run_call("s", dnid="unknown", answers=answers)
            self.assertIn("EXEC Dial PJSIP/21,60,i", commands, asked)
            self.assertEqual(commands.count("GET VARIABLE DIALEDPEERNUMBER"), asked != "CHANNEL STATUS")
            self.assertEqual(loud(logs), [])

    def test_gone_before_the_number(self) -> None:
        """A connection that ends where a caller would be asked is no call without a caller."""
        self.run_call("s", dnid="unknown", answers={"CHANNEL STATUS": ConnectionClosed()})
        self.assertNotEqual(self.reports.records[-1].outcome, "NOCALL")

    def test_dialled_phone(self) -> None:
        """Dial's U() runs at s on the phone that is called: it is not asked for a number, and is no call of its own."""
        answers: Answers = {"GET VARIABLE DIALEDPEERNUMBER": "200 result=1 (21)"}
        commands = self.run_call("s", dnid="unknown", answers=answers)
        self.assertEqual(commands, ["CHANNEL STATUS", "GET VARIABLE DIALEDPEERNUMBER"])
        self.ended("NOCALL")

    def test_transferred_phone(self) -> None:
        """A phone that was called and then transferred to s is a caller, who is asked for a number."""
        answers: Answers = {
            ORIGIN: "200 result=1 (PJSIP/33-0000001b,,,,)",
            "GET VARIABLE DIALEDPEERNUMBER": "200 result=1 (21)",
            "GET DATA vm-enter": "200 result=21",
        }
        commands = self.run_call("s", dnid="unknown", answers=answers)
        self.assertNotIn("GET VARIABLE DIALEDPEERNUMBER", commands)
        self.assertIn("GET DATA vm-enter-num-to-call 5000 20", commands)
        self.assertNotEqual(self.reports.statuses[-1:], ["NOCALL"])

    def test_dead(self) -> None:
        """A run in the extension h gets no command, and the outcome DEAD."""
        with capturedLogs() as logs:
            self.assertEqual(self.run_call("h"), [])
        self.assertEqual(loud(logs), [])
        self.ended("DEAD")


class Prompting(FlowCase):
    """Asking the caller for the PIN."""

    def test_typed_ahead(self) -> None:
        """The key that stops the wrong-PIN prompt is the first of the next PIN."""
        answers: Answers = {
            "GET DATA": ["200 result=000000", "200 result=23456"],
            "STREAM FILE": "200 result=49 endpos=1",
        }
        self.assertIn("EXEC Dial IAX2/34,60,i", self.run_call("34", answers=answers))

    def test_hash_stops_the_prompt(self) -> None:
        """A # that stops the prompt is no digit of the next PIN."""
        answers: Answers = {
            "GET DATA": ["200 result=000000", "200 result=123456"],
            "STREAM FILE": "200 result=35 endpos=1",
        }
        self.assertIn("EXEC Dial IAX2/34,60,i", self.run_call("34", answers=answers))

    def test_missing_sounds(self) -> None:
        """For a missing prompt a beep is played, or nothing; the log names it, and the PIN still counts."""
        answers: Answers = {
            "GET DATA agent": "200 result=-1",
            "GET DATA beep": "200 result=-1",
            'GET DATA ""': ["200 result=1", "200 result=123456"],
            "STREAM FILE": "200 result=-1 endpos=0",
        }
        with capturedLogs() as logs:
            commands = self.run_call("34", answers=answers)
        self.assertIn("EXEC Dial IAX2/34,60,i", commands)
        self.assertIn("agent-pass", loud(logs)[0]["error"])
        self.assertEqual(len(loud(logs)), 5)

    def test_missing_goodbye(self) -> None:
        """A missing goodbye is logged, and the call is hung up as usual."""
        answers: Answers = {"GET VARIABLE PLAYBACKSTATUS": "200 result=1 (FAILED)"}
        with capturedLogs() as logs:
            commands = self.run_call("999", answers=answers)
        self.assertEqual(commands[-1], "HANGUP")
        self.assertEqual(len(loud(logs)), 1)

    def test_other_sounds(self) -> None:
        """The settings' sounds are played, in the channel's language."""
        self.flow = self.flow_by(workshop_rules(), prompts=Prompts(ask_pin="iss_ask_auth_{language}"))
        self.assertIn("GET DATA iss_ask_auth_en 5000 20", self.run_call("34"))

    def test_rules_change_meanwhile(self) -> None:
        """Each PIN is checked by the rules of that moment."""

        channel = FakeChannel(SimulatedCall("34", caller="33"), {"GET DATA": None})
        serving = Deferred.fromCoroutine(self.flow.serve(channel))
        self.engine.replace(RuleSet.build([], [], [], hash_pin))
        channel.answer("200 result=123456")
        self.successResultOf(serving)
        self.ended("INVALID")


class SlowCaller(FakeChannel):
    """A caller who keys as many digits as are taken, each at the last moment.

    Args:
        clock: moves on while they key.
        prompt_s: seconds that each prompt plays.
    """

    def __init__(self, call: SimulatedCall, clock: Clock, prompt_s: float) -> None:
        super().__init__(call, {"GET DATA": "200 result=" + "1" * 20, "GET VARIABLE PLAYBACKSTATUS": "200 result=0"})
        self._clock = clock
        self._prompt_s = prompt_s

    def execute(self, command: str) -> Deferred[AGIReply]:
        """Answer a command after the time that it takes."""
        words = command.split(" ")
        if command.startswith("GET DATA"):
            self._clock.advance(self._prompt_s + int(words[4]) * int(words[3]) / 1000)
        elif command.startswith("EXEC Wait"):
            self._clock.advance(float(words[2]))
        elif command.startswith(("STREAM FILE", "EXEC Playback")):
            self._clock.advance(self._prompt_s)
        return super().execute(command)


class Dawdling(FlowCase):
    """A caller whose digits take long."""

    def serve_slowly(self, extension: str, prompt_s: float, dnid: str | None = None) -> SlowCaller:
        """Serve a call whose caller keys slowly."""
        clock = Clock()
        guard = PinGuard(None, (), clock.seconds, seconds=clock.seconds)
        self.flow = CallFlow(
            self.engine, DRIVERS, Prompts(), self.reports, self.active_calls, guard=guard, seconds=clock.seconds
        )
        channel = SlowCaller(SimulatedCall(extension, caller="33", dnid=dnid, arguments=("bounded",)), clock, prompt_s)
        self.serve(channel)
        self.assertLess(clock.seconds(), 180)  # PBXROUTER_TALK_S of the dialplan
        return channel

    def test_pin(self) -> None:
        """The time for each key shrinks, and with too little left the caller comes to goodbye, as after wrong PINs."""
        channel = self.serve_slowly("34", 2)
        asked = [command for command in channel.commands if command.startswith("GET DATA")]
        self.assertEqual(asked, [ASK_PIN, "GET DATA agent-pass 2190 20"])
        self.assertEqual(channel.commands[-5:], [*played("vm-goodbye"), *finished("DENIED"), "HANGUP"])
        self.ended("DENIED")
        (record,) = self.reports.records
        assert record.decision is not None
        self.assertIs(record.decision.verdict, Verdict.DENY)
        self.assertEqual(str(record.decision.trace[-1]), "the caller took longer than 150 s")

    def test_least_time_for_a_key(self) -> None:
        """A prompt with 1.5 s left for each key is played; with a millisecond less the caller comes to goodbye."""
        for prompt_s, further in ((9.25, ["GET DATA agent-pass 1500 20"]), (9.2505, [])):
            channel = self.serve_slowly("34", prompt_s)
            asked = [command for command in channel.commands if command.startswith("GET DATA")]
            self.assertEqual(asked, [ASK_PIN, *further])
            self.assertEqual(channel.commands[-5:], [*played("vm-goodbye"), *finished("DENIED"), "HANGUP"])

    def test_clock_set(self) -> None:
        """A caller who is keying keeps the time that is left when the system's clock is set, and so does the record."""
        clock = Clock()
        for step_s in (3600.0, 30.0, -30.0, -3600.0):
            wall = [1_800_000_000.0]
            self.flow = CallFlow(
                self.engine,
                DRIVERS,
                Prompts(),
                self.reports,
                self.active_calls,
                now=lambda wall=wall: wall[0],  # type: ignore[misc]
                seconds=clock.seconds,
            )
            channel = FakeChannel(SimulatedCall("34", caller="33"), {"GET DATA": None})
            over = Deferred.fromCoroutine(self.flow.serve(channel))
            clock.advance(2)
            wall[0] += step_s
            channel.answer("200 result=123456")
            self.successResultOf(over)
            record = self.reports.records[-1]
            self.assertEqual(record.decision and record.decision.granted_by, "pepe")
            self.assertEqual((record.began, record.ended), (1_800_000_000.0, 1_800_000_002.0))

    def test_long_prompts(self) -> None:
        """Prompts of the owner's own may be long."""
        for prompt_s in (0, 5, 15):
            channel = self.serve_slowly("34", prompt_s)
            self.assertEqual(channel.commands[-5:], [*played("vm-goodbye"), *finished("DENIED"), "HANGUP"])

    def test_number(self) -> None:
        """The time that the number takes counts, too."""
        channel = self.serve_slowly("s", 20)
        self.assertEqual(channel.commands[-5:], [*played("invalid"), *finished("INVALID"), "HANGUP"])

    def test_time_up_before_the_number(self) -> None:
        """A call that waited too long is asked for nothing."""
        clock = Clock()
        self.flow = CallFlow(self.engine, DRIVERS, Prompts(), self.reports, self.active_calls, seconds=clock.seconds)
        channel = FakeChannel(SimulatedCall("s", caller="33"), {"ANSWER": None})
        over = Deferred.fromCoroutine(self.flow.serve(channel))
        clock.advance(149)
        channel.answer("200 result=0")
        self.successResultOf(over)
        self.assertEqual([command for command in channel.commands if command.startswith("GET DATA")], [])
        self.ended("DENIED")
        self.assertIsNone(self.reports.records[-1].decision)

    def test_late_reply(self) -> None:
        """A reply that is late makes the gateway busy for the dialplan: that is no reason for the fallback."""
        for command in ("ANSWER", "GET DATA", "STREAM FILE"):
            commands = self.run_call("34", answers={command: ReplyTimeout("Asterisk did not reply")})
            self.assertEqual(commands[-2:], [variable("PBXROUTER_OUTCOME", "FAILED"), variable("PBXROUTER", "busy")])
            self.ended("FAILED")


class Running(FlowCase):
    """From the decision to the outcome."""

    def serve_by(self, comes: Outcome | Exception, answers: Answers | None = None) -> list[str]:
        """Serve a call by a driver with this outcome."""
        self.driver = FakeDriver(comes)
        drivers: Mapping[str, Driver] = {"dial": self.driver}
        self.flow = self.flow_by(workshop_rules(), drivers)
        return self.run_call("21", answers=answers)

    def test_times(self) -> None:
        """The record tells when the call began and ended."""
        times = iter((3.0, 10.5))
        flow = CallFlow(
            self.engine,
            DRIVERS,
            Prompts(),
            self.reports,
            self.active_calls,
            lambda: 100.0,
            PinGuard(None, (), int),
            seconds=lambda: next(times),
        )
        self.successResultOf(Deferred.fromCoroutine(flow.serve(FakeChannel(SimulatedCall("21", caller="33")))))
        (record,) = self.reports.records
        self.assertEqual((record.began, record.ended), (100.0, 107.5))
        self.assertIsNone(record.note)

    def test_talks_before(self) -> None:
        """The record has the number of talks that the channel had before the call, none if AMI does not tell."""

        class FakeTalks:
            """Knows how many talks a channel has had; one more each time that it is asked."""

            def __init__(self, known: int | None) -> None:
                self.known = known

            def talks_so_far(self, uniqueid: str, asterisk: str) -> int | None:
                """As many as are known."""
                known = self.known
                self.known = None if known is None else known + 1
                return known

        for talks, before in ((None, 0), (FakeTalks(None), 0), (FakeTalks(0), 0), (FakeTalks(3), 3)):
            flow = CallFlow(
                self.engine, {"dial": FakeDriver(Outcome())}, Prompts(), self.reports, self.active_calls, talks=talks
            )
            channel = FakeChannel(SimulatedCall("21", caller="33"))
            self.successResultOf(Deferred.fromCoroutine(flow.serve(channel)))
            self.assertEqual(self.reports.records[-1].talks_before, before)

    def test_talk_of_a_driver(self) -> None:
        """The talk that a driver tells is kept, unless it says that it connects nobody; no driver, no talk."""
        for connects, talk_s in ((None, 7), (True, 7), (False, 0)):
            driver = FakeDriver(Outcome(answered_s=7))
            if connects is not None:
                driver.connects = connects  # type: ignore[attr-defined]
            self.flow = self.flow_by(workshop_rules(), {"dial": driver})
            self.run_call("21")
            self.assertEqual(self.reports.records[-1].outcome.answered_s, talk_s)
        self.run_call("999")
        self.assertEqual(self.reports.records[-1].outcome.answered_s, 0)

    def test_unreadable_outcome(self) -> None:
        """What another package's driver answers is readable where it is kept, and where the dialplan has it."""
        commands = self.serve_by(Outcome("B\x07D", "17"))
        (record,) = self.reports.records
        self.assertEqual((record.outcome.status, record.outcome.cause), (r"B\x07D", "17"))
        self.assertIn(variable("PBXROUTER_OUTCOME", r'"B\\x07D"'), commands)

    def test_what_a_driver_gets(self) -> None:
        """A driver gets the channel, the caller, the number without dashes, and the mapping's data."""
        self.serve_by(Outcome())
        channel = FakeChannel(SimulatedCall("2-1", caller="33"))
        self.serve(channel)
        _, call = self.driver.calls
        self.assertIs(call.channel, channel)
        self.assertEqual((call.caller, call.number, call.data), ("33", "21", "SIP"))

    def test_time_limit(self) -> None:
        """The dialplan's TIMEOUT(absolute) is lifted before an application runs, and only if the call is bounded."""
        lift = 'SET VARIABLE "TIMEOUT(absolute)" 0'
        for arguments, lifted in (
            ((), False),
            (("bounded",), True),
            (("x", "bounded"), True),
            (("x",), False),
        ):
            self.flow = self.flow_by(workshop_rules(), {"dial": FakeDriver(Outcome())})
            channel = FakeChannel(SimulatedCall("21", caller="33", arguments=arguments))
            self.serve(channel)
            self.assertEqual(lift in channel.commands, lifted, arguments)
            if lifted:
                self.assertLess(channel.commands.index(lift), channel.commands.index(variable("PBXROUTER", "dialling")))

    def test_hang_up_with_cause(self) -> None:
        """A driver may have the call hung up, with a cause."""
        commands = self.serve_by(Outcome(cause="17", hang_up=True), {"EXEC Hangup": "200 result=-1"})
        self.assertEqual(commands[3:], [*finished("DONE", "17"), "EXEC Hangup 17"])
        self.ended("DONE")

    def test_gone_before_our_hang_up(self) -> None:
        """A caller who hangs up while the gateway does changes nothing of the outcome."""
        for answer in (DEAD, HUNG_UP, ChannelHungUp(), ConnectionClosed()):
            self.serve_by(Outcome(hang_up=True), {"HANGUP": answer})
            self.ended("DONE")

    def test_driver_that_the_caller_ends(self) -> None:
        """A caller who hangs up in an application has hung up; what served them till then only its driver knows."""
        commands = self.serve_by(ChannelHungUp())
        self.assertEqual(commands[3:], finished("HANGUP"))
        self.ended("HANGUP")

    def test_outcome_of_a_dead_channel(self) -> None:
        """An outcome that cannot be left for the dialplan any more is still reported."""
        commands = self.serve_by(Outcome("BUSY"), {"SET VARIABLE PBXROUTER_OUTCOME": ChannelHungUp()})
        self.assertEqual(commands[3:], finished("BUSY")[:1])
        self.ended("BUSY")

    def test_connection_lost(self) -> None:
        """A connection that ends in the application gives the outcome LOST: the caller has not hung up."""
        with capturedLogs() as logs:
            self.assertEqual(len(self.serve_by(ConnectionClosed())), 3)
        self.assertEqual(loud(logs), [])
        self.ended("LOST")

    def test_gateway_stops(self) -> None:
        """A stop of the gateway is no hang-up: a call in an application goes on, one in a conversation was cut."""
        for in_application, outcome, why in (
            (True, "LEFT", "the gateway stopped while dial ran, which goes on"),
            (False, "STOPPED", "the gateway stopped while it talked with the caller"),
        ):
            with capturedLogs() as logs:
                self.assertEqual(len(self.serve_by(GatewayStopping(in_application))), 3)
            self.assertEqual(loud(logs), [])
            self.ended(outcome)
            note = self.reports.records[-1].note
            assert note is not None
            self.assertEqual(note.english, why)

    def test_gateway_stops_while_asking(self) -> None:
        """A call that is cut at a prompt was cut, also where the prompt is an application's."""
        self.flow = self.flow_by(workshop_rules())
        for in_application in (False, True):
            self.run_call("34", answers={"GET DATA": GatewayStopping(in_application)})
            self.ended("STOPPED")

    def test_calls_that_need_the_gateway(self) -> None:
        """A call whose application runs in Asterisk does not need the gateway; one at a prompt does."""
        self.assertEqual((self.flow.in_progress, self.flow.talking), (0, 0))
        for number, command, in_application, talking in (
            ("21", "EXEC Dial", True, 0),
            ("21", "EXEC Dial", False, 1),
            ("34", "GET DATA", False, 1),
            ("34", "GET DATA", True, 1),
        ):
            self.flow = self.flow_by(workshop_rules())
            channel = StoppableChannel(SimulatedCall(number, caller="33"), {command: None}, in_application)
            served = Deferred.fromCoroutine(self.flow.serve(channel))
            self.assertEqual((self.flow.in_progress, self.flow.talking), (1, talking), (number, in_application))
            assert channel.waiting is not None
            channel.waiting.errback(GatewayStopping(in_application))
            self.successResultOf(served)
            self.assertEqual((self.flow.in_progress, self.flow.talking), (0, 0))

    def test_forged_while_running(self) -> None:
        """A call that the channel refuses as forged is reported as REFUSED, and not logged again."""
        with capturedLogs() as logs:
            self.assertEqual(len(self.serve_by(ForgedRequest("x"))), 3)
        self.assertEqual(loud(logs), [])
        self.ended("REFUSED")
        note = self.reports.records[-1].note
        assert note is not None
        self.assertIn("refused as forged: x; channel", note.english)

    def test_no_driver(self) -> None:
        """Without a driver the caller hears goodbye and is hung up; the log and the trace tell why."""
        self.flow = self.flow_by(workshop_rules(Rule(9, "88", "Fax", "")))
        with capturedLogs() as logs:
            commands = self.run_call("88")
        self.assertEqual(
            commands,
            [
                variable("PBXROUTER_PATTERN", "88"),
                variable("PBXROUTER_APPLICATION", "Fax"),
                variable("PBXROUTER", "routing"),
                *played("vm-goodbye"),
                *finished("NODRIVER", hung_up=True),
            ],
        )
        self.assertEqual([event["name"] for event in loud(logs)], ["Fax"])
        decision = self.reports.records[0].decision
        assert decision is not None
        self.assertIn("it cannot work because no driver provides the application Fax", decision.trace_lines())

    def test_upper_case(self) -> None:
        """An application's name may be in upper or lower case."""
        self.flow = self.flow_by(workshop_rules(Rule(9, "88", "Dial", "SIP")))
        self.assertIn("EXEC Dial PJSIP/88,60,i", self.run_call("88"))


class Reconfigured(FlowCase):
    """Settings that are replaced while the gateway runs."""

    def test_reconfigured(self) -> None:
        """Calls that begin afterwards have other drivers, prompts and trunks."""
        before, after = FakeDriver(Outcome("FIRST")), FakeDriver(Outcome("SECOND"))
        self.flow = self.flow_by(workshop_rules(), {"dial": before})
        self.run_call("21")
        self.ended("FIRST")
        self.flow.reconfigure({"dial": after}, Prompts(ask_pin="which-pin"), ["PJSIP/33"])
        asking = self.run_call("21", answers={"GET DATA": "200 result=123456"})
        self.assertIn("GET DATA which-pin 5000 20", asking)
        self.ended("SECOND")
        self.assertEqual((len(before.calls), len(after.calls)), (1, 1))
        self.flow.reconfigure({"dial": after}, Prompts(), [])
        self.assertNotIn("GET DATA which-pin 5000 20", self.run_call("21"))
        self.assertEqual(len(after.calls), 2)


class Journalled(FlowCase):
    """A flow with a call journal."""

    def test_journal(self) -> None:
        """A call is in the journal before its first command; with its decision while the application runs."""
        path = Path(self.mktemp()).absolute()
        journal = CallJournal(path, lambda: 1000.0, lambda work: succeed(work()))
        journal.open()
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(journal.close())))
        file = journal_files(path)[0]
        found: list[Begun] = []

        class Looks(FakeDriver):
            """A driver that reads the journal."""

            async def run(self, call: Call) -> Outcome:
                """Read what the journal has by now."""
                await journal.sync()
                found.extend(read_journal(file).begun.values())
                return await super().run(call)

        drivers = {"dial": Looks(Outcome("BUSY"))}
        self.flow_by(workshop_rules(), drivers)
        self.flow = CallFlow(self.engine, drivers, Prompts(), self.reports, self.active_calls, journal=journal)
        channel = FakeChannel(SimulatedCall("21", caller="33"), {ORIGIN: None})
        serving = Deferred.fromCoroutine(self.flow.serve(channel))
        ((begun,), known) = read_journal(file).begun.values(), found
        self.assertEqual((begun.number, begun.caller, begun.decided, known), ("21", "33", (), []))
        channel.answer("200 result=1 (,,,,)")
        self.successResultOf(serving)
        (decided,) = found
        self.assertEqual(decided.key, begun.key)
        self.assertEqual(decided.decided, ("21", "allow", "2X", "dial", "SIP", "33", ""))
        (record,) = self.reports.records
        self.assertEqual((record.key, record.outcome.status), (begun.key, "BUSY"))


class SecondTurn(FlowCase):
    """A call about which another gateway was asked first."""

    def test_told(self) -> None:
        """The record says which gateway that was, if its id is in the key."""
        for key, told in (
            ("call=1a2b3c4d00112233-7", None),
            ("again=1a2b3c4d00112233-7", "gateway 1a2b3c4d was asked first, and did not serve the call"),
            ("again=001122334455-7", "another gateway was asked first, and did not serve the call"),
        ):
            self.flow_by(workshop_rules(), {"dial": FakeDriver(Outcome("BUSY"))})
            self.serve(FakeChannel(SimulatedCall("21", caller="33", arguments=(key,))))
            note = self.reports.records[-1].note
            self.assertEqual(note and note.english, told, key)


class CallsAtOnce(FlowCase):
    """How many calls one PIN may have at a time."""

    def limited(self, limit: int | None, driver: Driver) -> None:
        """The flow in which pepe's PIN may have so many calls; None: as many as any."""
        self.in_progress: list[FakeChannel] = []  # what is not kept ends when it is collected
        limits = {} if limit is None else {hash_pin("123456"): limit}
        rules = RuleSet.build(
            [Rule(1, "3X", "dial", "IAX2"), Rule(2, "2X", "dial", "SIP")],
            [("33", frozenset({2}))],
            [("pepe", hash_pin("123456"), frozenset({1, 2})), ("ana", hash_pin("654321"), frozenset({1}))],
            hash_pin,
            max_calls=limits,
        )
        self.flow = self.flow_by(rules, {"dial": driver})

    def begin(self, number: str = "34", pin: str = "123456") -> FakeChannel:
        """A call whose Dial goes on."""
        channel = FakeChannel(SimulatedCall(number, caller="33"), {"GET DATA": f"200 result={pin}", "EXEC Dial": None})
        self.assertNoResult(Deferred.fromCoroutine(self.flow.serve(channel)))
        self.in_progress.append(channel)
        return channel

    def refused(self) -> None:
        """One more call with pepe's PIN is denied, hears goodbye, and its trace says why."""
        channel = FakeChannel(SimulatedCall("34", caller="33"), {"GET DATA": "200 result=123456"})
        self.successResultOf(Deferred.fromCoroutine(self.flow.serve(channel)))
        self.assertEqual(channel.commands[2:4], ["ANSWER", ASK_PIN])
        self.assertEqual(channel.commands[4:], [*played("vm-goodbye"), *finished("DENIED", hung_up=True)])
        decision = self.reports.records[-1].decision
        assert decision is not None
        self.assertEqual((decision.verdict, decision.granted_by), (Verdict.DENY, None))
        self.assertRegex(decision.trace_lines()[-1], r"^pepe has \d calls already, as many as the PIN may have$")
        self.ended("DENIED")

    def test_limit(self) -> None:
        """One call more than the PIN may have is denied, until one of them ends, however it ends."""
        for limit in (1, 2, 3, None):
            self.limited(limit, Dial(SETTINGS))
            calls = [self.begin() for _ in range(2 if limit is None else limit)]
            self.refused()
            self.begin(pin="654321")  # another user's
            for ending in ("200 result=0", HUNG_UP, "510 x"):
                calls.pop(0).answer(ending)
                calls.append(self.begin())
                self.refused()

    def test_counted_in_the_trace(self) -> None:
        """The trace has the number of calls."""
        self.limited(3, Dial(SETTINGS))
        for _ in range(3):
            self.begin()
        self.refused()
        decision = self.reports.records[-1].decision
        assert decision is not None
        self.assertIn("pepe has 3 calls already", decision.trace_lines()[-1])

    def test_no_pin(self) -> None:
        """Calls that the caller's own grant allows are not counted."""
        self.limited(1, Dial(SETTINGS))
        for _ in range(5):
            self.begin("21", pin="1")
        self.begin()
        self.refused()


class Guarded(FlowCase):
    """PINs and the guard, at a time that stands still."""

    def setUp(self) -> None:
        """A guard that starts with no wrong PIN."""
        super().setUp()
        self.guard = PinGuard(None, (), lambda: 1000.0, seconds=lambda: 1000.0)
        self.flow = CallFlow(
            self.engine, DRIVERS, Prompts(), self.reports, self.active_calls, lambda: 1000.0, self.guard
        )

    def test_waits(self) -> None:
        """After three wrong PINs the next ones are checked later and later; a right one after them counts."""
        commands = self.run_call("34", answers={"GET DATA": "200 result=000000"})
        self.assertEqual([command for command in commands if "Wait" in command], [])
        answers: Answers = {"GET DATA": ["200 result=000000", "200 result=123456"]}
        commands = self.run_call("34", answers=answers)
        self.assertEqual(commands[1:7], ["ANSWER", ASK_PIN, "EXEC Wait 2", WRONG_PIN, ASK_PIN, "EXEC Wait 4"])
        self.assertIn("EXEC Dial IAX2/34,60,i", commands)
        self.assertEqual(self.guard.statistics.wrong, 4)

    def test_locked_out(self) -> None:
        """A PIN of a caller who is locked out is not checked: it is denied though it is right, after the same time."""
        for _ in range(2):
            self.run_call("34", answers={"GET DATA": "200 result=000000"})
        self.assertEqual((self.guard.statistics.wrong, self.guard.statistics.unchecked), (5, 1))
        commands = self.run_call("34", answers={"GET DATA": "200 result=123456"})
        self.assertEqual(commands[2:5], [ASK_PIN, "EXEC Wait 8", WRONG_PIN])
        self.assertEqual(self.guard.statistics.unchecked, 4)
        self.ended("LOCKEDOUT")
        decision = self.reports.records[-1].decision
        assert decision is not None
        self.assertEqual((decision.verdict, decision.granted_by, decision.user), (Verdict.DENY, None, None))
        endpoint = SimulatedCall("34").channel.rpartition("-")[0]
        self.assertEqual(
            decision.trace_lines()[-2:],
            [f"the PIN was not checked: too many wrong PINs of {endpoint}", "that was the last of 3 PIN prompts"],
        )
        self.assertEqual(decision.trace_lines().count(f"the PIN was not checked: too many wrong PINs of {endpoint}"), 1)

    def test_source(self) -> None:
        """Locked-out calls are counted by what is locked, on a trunk by the trunk; a call with checked PINs is not."""
        for _ in range(2):
            self.run_call("34", answers={"GET DATA": "200 result=000000"})
        endpoint = SimulatedCall("34").channel.rpartition("-")[0]
        self.assertEqual([record.source for record in self.reports.records], ["", f"locked out endpoint {endpoint}"])
        self.guard.set_trunks([endpoint])
        for _ in range(2):
            self.run_call("34", answers={"GET DATA": "200 result=000000"})
        self.assertEqual(self.reports.records[-1].source, f"locked out trunk {endpoint}")

    def test_right_one_costs_nothing(self) -> None:
        """However often the right PIN is keyed, none of them waits."""
        for _ in range(12):
            commands = self.run_call("34", answers={"GET DATA": "200 result=123456"})
            self.assertIn("EXEC Dial IAX2/34,60,i", commands)
            self.assertNotIn("Wait", " ".join(commands))

    def test_nothing_keyed(self) -> None:
        """A caller who keys nothing has guessed nothing."""
        for _ in range(4):
            self.run_call("34", answers={"GET DATA": "200 result= (timeout)"})
        self.assertEqual((self.guard.statistics.wrong, self.guard.statistics.unchecked), (0, 0))

    def test_talk_by_ami(self) -> None:
        """A driver need not ask for the talk that AMI tells, unless the call came by FastAGI, where AMI may be lost."""

        class FakeTalks:
            """Knows the talk of every channel."""

            def talks_so_far(self, uniqueid: str, asterisk: str) -> int | None:
                """None yet."""
                return 0

        driver = FakeDriver(Outcome("BUSY"))
        self.flow_by(workshop_rules(), {"dial": driver})
        self.flow = CallFlow(
            self.engine, {"dial": driver}, Prompts(), self.reports, self.active_calls, talks=FakeTalks()
        )
        for peer in ("", "192.0.2.9"):
            channel = FakeChannel(SimulatedCall("21", caller="33"))
            channel.peer = peer  # type: ignore[attr-defined]
            self.serve(channel)
        self.assertEqual([call.has_talk for call in driver.calls], [True, False])

    def test_what_is_logged(self) -> None:
        """The line about a wrong PIN names the peer that the channel knows, the caller and the number."""
        channel = FakeChannel(SimulatedCall("34", caller="33"), {"GET DATA": ["200 result=1", HUNG_UP]})
        channel.peer = "192.0.2.9"  # type: ignore[attr-defined]
        with capturedLogs() as logs:
            self.serve(channel)
        (line,) = [event for event in logs if event["log_format"].startswith("PIN guard")]
        self.assertEqual((line["peer"], line["caller"], line["number"]), ("192.0.2.9", "33", "34"))
        with capturedLogs() as logs:
            self.run_call("34", answers={"GET DATA": ["200 result=1", HUNG_UP]})
        self.assertEqual([event["peer"] for event in logs if "peer" in event], ["?"])

    def test_failed_while_checked(self) -> None:
        """A PIN whose check fails is no longer being checked: no other PIN waits for it; its guess stays charged."""
        rules = self.engine.rules
        assert rules is not None
        for _ in range(FREE_GUESSES):
            self.patch(
                self.engine, "decide", lambda facts: fail(RuntimeError()) if facts.pin else succeed(rules.decide(facts))
            )
            self.run_call("34", answers={"GET DATA": "200 result=123456"})
            self.ended("FAILED")
        self.flushLoggedErrors(RuntimeError)
        self.patch(self.engine, "decide", lambda facts: succeed(rules.decide(facts)))
        self.run_call("34", answers={"GET DATA": "200 result=123456"})
        self.ended("LOCKEDOUT")

    def test_hung_up_while_waiting(self) -> None:
        """A caller who hangs up while the check waits ends the call so."""
        self.run_call("34", answers={"GET DATA": "200 result=000000"})
        self.run_call("34", answers={"GET DATA": "200 result=000000", "EXEC Wait": HUNG_UP})
        self.ended("HANGUP")


class Breaking(FlowCase):
    """Errors: the caller hears of them, and the dialplan goes on."""

    FAILED = (
        variable("PBXROUTER_OUTCOME", "FAILED"),
        variable("PBXROUTER", "failed"),
        *played("tt-somethingwrong"),
    )

    def serve_by(self, comes: Exception, answers: Answers | None = None) -> list[str]:
        """Serve a call by a driver that raises; returns the commands that follow."""
        drivers: Mapping[str, Driver] = {"dial": FakeDriver(comes)}
        self.flow = self.flow_by(workshop_rules(), drivers)
        return self.run_call("21", answers=answers)[3:]

    def test_typed(self) -> None:
        """A driver that cannot run its application: one line in the log and in the trace."""
        for error in (ApplicationFailed("no such application"), CommandRefused(510, "FOO", "x")):
            with capturedLogs() as logs:
                self.assertEqual(self.serve_by(error), list(self.FAILED))
            (event,) = loud(logs)
            self.assertEqual((event["log_level"], event["error"]), (LogLevel.error, str(error)))
            self.ended("FAILED")
            decision = self.reports.records[-1].decision
            assert decision is not None
            self.assertEqual(decision.trace_lines()[-1], f"it failed: {error}")

    def test_forged_uniqueid(self) -> None:
        """The log names the call in one line, also if its Uniqueid holds control characters."""
        self.flow = self.flow_by(workshop_rules(), {"dial": FakeDriver(ApplicationFailed("x"))})
        channel = FakeChannel(SimulatedCall("21", caller="33", uniqueid="1\x1b7"))
        with capturedLogs() as logs:
            self.serve(channel)
        self.assertEqual([event["uniqueid"] for event in loud(logs)], ["1\\x1b7"])

    def test_untyped(self) -> None:
        """An unexpected exception is logged with its traceback."""
        self.assertEqual(self.serve_by(ZeroDivisionError("on purpose")), list(self.FAILED))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.ended("FAILED")

    def test_before_any_decision(self) -> None:
        """An exception while deciding is logged with its traceback."""

        def broken(pin: str) -> str:
            raise ZeroDivisionError("on purpose")

        rules = RuleSet.build([Rule(1, "3X", "dial", "SIP")], [], [("x", "y", frozenset())], broken)
        self.flow = self.flow_by(rules)
        commands = self.run_call("34", answers={"GET DATA": "200 result=1"})
        self.assertEqual(commands[-4:], list(self.FAILED))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_first_command_refused(self) -> None:
        """A refused CHANNEL STATUS is passed over; any other refused command fails the call."""
        answers: Answers = {"CHANNEL STATUS": "510 x", "SET VARIABLE PBXROUTER routing": "510 x"}
        with capturedLogs() as logs:
            commands = self.run_call("s", dnid="", answers=answers)
        self.assertEqual(commands[2:], list(self.FAILED))
        self.assertIsNone(self.reports.records[0].decision)
        self.assertEqual(len(loud(logs)), 1)

    def test_caller_leaves_the_failure(self) -> None:
        """A caller who hangs up after an error is not logged as another error."""
        with capturedLogs() as logs:
            self.serve_by(ApplicationFailed("x"), {"EXEC Playback": HUNG_UP})
        self.assertEqual(len(loud(logs)), 1)
        self.ended("FAILED")

    def test_failure_fails(self) -> None:
        """A second error is logged too, and nothing more is tried."""
        with capturedLogs() as logs:
            self.assertEqual(self.serve_by(ApplicationFailed("x"), {"EXEC Playback": "510 x"}), list(self.FAILED[:3]))
        self.assertEqual(len(loud(logs)), 2)
        self.ended("FAILED")

    def test_unanswerable(self) -> None:
        """ANSWER that fails is an error."""
        commands = self.run_call("34", answers={"ANSWER": "200 result=-1"})
        self.assertEqual(commands[-4:], list(self.FAILED))

    def test_too_long_for_asterisk(self) -> None:
        """A dial string that does not fit into a command is an error."""
        self.flow = self.flow_by(workshop_rules(Rule(9, "_8.", "dial", "SIP/{number}@" + "t" * 9000)))
        commands = self.run_call("88")
        self.assertEqual(commands[-4:], list(self.FAILED))

    def test_long_number(self) -> None:
        """A number of more characters than an extension can have is no number, even if a pattern would match it."""
        self.flow = self.flow_by(workshop_rules(Rule(9, "_8.", "dial", "SIP")))
        self.assertIn(f"EXEC Dial PJSIP/{'8' * MAX_NUMBER},60,i", self.run_call("8" * MAX_NUMBER))
        for number in ("8" * (MAX_NUMBER + 1), "8" * 9000):
            self.run_call(number)
            self.ended("INVALID")

    def test_odd_key(self) -> None:
        """A key that no phone has does not count."""
        for result in ("9" * 5000, "1114112", "²", "7", "0"):
            answers: Answers = {
                "GET DATA": ["200 result=0", "200 result=123456"],
                "STREAM FILE": f"200 result={result} endpos=1",
            }
            self.assertIn("EXEC Dial IAX2/34,60,i", self.run_call("34", answers=answers))


class OverFastAGI(FlowCase):
    """The whole way, over FastAGI with a simulated Asterisk and the built-in drivers."""

    def setUp(self) -> None:
        """A server in memory."""
        super().setUp()
        self.clock = Clock()
        self.factory = FastAGIFactory(lambda channel: self.flow.serve(channel), self.clock, DialogueWatch())

    def simulate(
        self,
        extension: str,
        caller: str | None = "33",
        cut: Callable[[bytes], Iterable[bytes]] = in_one,
        dnid: str | None = None,
        **script: object,
    ) -> SimulatedAsterisk:
        """Play a call to its end; check that the gateway obeyed the protocol, closed, and logged nothing above info."""
        asterisk = SimulatedAsterisk(
            SimulatedCall(extension, caller=caller, dnid=dnid),
            Script(**script),  # type: ignore[arg-type]
        )
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        with capturedLogs() as logs:
            end = play(protocol, self.clock, asterisk, cut)
        self.assertTrue(end.is_closed or asterisk.ended, "the connection was left open")
        self.assertFalse(end.is_aborted)
        self.assertEqual(asterisk.complaints, [])
        self.assertEqual(self.factory.open_calls, 0)
        self.assertEqual(list(self.active_calls.calls), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(loud(logs), [])
        return asterisk

    def test_workshop_table(self) -> None:
        """Each row of the table, in whole segments and byte by byte."""
        ask, wrong, goodbye = "agent-pass", "vm-incorrect", "vm-goodbye"
        pin, bad = "123456#", "000000#"
        for cut in (in_one, byte_by_byte):
            for caller, number, keys, prompts, application in (
                ("33", "21", (), [], ("Dial", "PJSIP/21,60,i")),
                ("33", "34", (pin,), [ask], ("Dial", "IAX2/34,60,i")),
                ("33", "34", (bad, pin), [ask, wrong, ask], ("Dial", "IAX2/34,60,i")),
                ("33", "34", (bad, bad, bad), [ask, wrong] * 3 + [goodbye], None),
                ("33", "66", (pin,), [ask], ("VoiceMailMain", "33@default")),
                ("33", "75", (pin,), [ask], ("ConfBridge", "75")),
                ("33", "12345678", (pin, pin, pin), [ask, wrong] * 3 + [goodbye], None),
                ("33", "999", (), ["invalid"], None),
                ("44", "21", (pin,), [ask], ("Dial", "PJSIP/21,60,i")),
                (None, "21", (pin,), [ask], ("Dial", "PJSIP/21,60,i")),
            ):
                asterisk = self.simulate(number, caller, cut, keys=keys)
                row = (caller, number, keys)
                self.assertEqual(asterisk.prompts, prompts, row)
                ran = [application for application in asterisk.applications if application[0] != "Playback"]
                self.assertEqual(ran, [application] if application else [], row)
                self.assertEqual(asterisk.variable("PBXROUTER"), "done", row)
                self.assertEqual(asterisk.hung_up_by, None if application else "gateway", row)

    def test_hangs_up_at_each_prompt(self) -> None:
        """After a hang-up at any prompt there is no further prompt and no Dial."""
        for at in range(1, 8):
            asterisk = self.simulate("34", keys=("1#", "2#", "3#"), hangup_at=at)
            self.assertEqual(len(asterisk.prompts), at)
            self.assertEqual(asterisk.dials, [])
            if at < 7:
                self.assertEqual(self.reports.statuses[-1], "HANGUP")

    def test_hangs_up_before_any_command(self) -> None:
        """A HANGUP line may come before any reply of a conversation."""
        replies = len(self.simulate("34", keys=("1#", "123456#")).commands)
        for place in range(replies + 1):
            self.simulate_hanging_up(place)

    def simulate_hanging_up(self, place: int) -> None:
        """Play a call in which the caller hangs up after so many commands; the next one finds HANGUP first."""
        asterisk = SimulatedAsterisk(SimulatedCall("34", caller="33"), Script(keys=("1#", "123456#")))
        count = 0

        def cut(data: bytes) -> Iterable[bytes]:
            nonlocal count
            if data and (count := count + 1) == place + 1:
                return [data + asterisk.hang_up()]
            return [data]

        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        with capturedLogs() as logs:
            end = play(protocol, self.clock, asterisk, cut)
        self.assertTrue(end.is_closed)
        self.assertEqual(loud(logs), [], place)
        self.assertEqual(asterisk.complaints, [])
        self.assertEqual((self.factory.open_calls, self.clock.getDelayedCalls()), (0, []))

    def test_connection_ends_anywhere(self) -> None:
        """The connection may end after any byte: no timer is left and nothing is logged above info."""
        segments: list[bytes] = []
        asterisk = SimulatedAsterisk(SimulatedCall("34", caller="33"), Script(keys=("1#", "123456#")))

        def record(data: bytes) -> list[bytes]:
            segments.append(data)
            return [data]

        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        play(protocol, self.clock, asterisk, record)
        said = b"".join(segments)
        with capturedLogs() as logs:
            for length in range(len(said)):
                protocol = self.factory.buildProtocol(None)
                assert protocol is not None
                left = length
                end = AsteriskEnd(protocol)
                for segment in segments:
                    end.says(segment[:left])
                    left -= len(segment[:left])
                    if not left:
                        break
                    self.clock.advance(0.3)
                end.goes()
                self.assertEqual((self.factory.open_calls, self.clock.getDelayedCalls()), (0, []), length)
        self.assertEqual(loud(logs), [])

    def test_dial_outcomes(self) -> None:
        """Each DIALSTATUS and cause is left for the dialplan and reported."""
        for status, cause in (
            ("ANSWER", None),
            ("BUSY", "17"),
            ("NOANSWER", "0"),
            ("CHANUNAVAIL", "3"),
            ("CONGESTION", "34"),
            ("CANCEL", None),
        ):
            asterisk = self.simulate("21", dialstatus=(status,))
            self.assertEqual(asterisk.variable("PBXROUTER_OUTCOME"), status)
            self.assertEqual(asterisk.variable("PBXROUTER_CAUSE"), cause)
            self.assertEqual(asterisk.variable("PBXROUTER"), "done")
            self.assertEqual(asterisk.variable("PBXROUTER_PATTERN"), "2X")
            self.assertEqual(asterisk.variable("PBXROUTER_APPLICATION"), "dial")
            self.ended(status)

    def test_hangs_up_in_an_application(self) -> None:
        """The outcome is left on the dead channel."""
        asterisk = self.simulate("21", hangup_in="Dial")
        self.assertEqual(asterisk.variable("PBXROUTER_OUTCOME"), "ANSWER")
        asterisk = self.simulate("75", keys=("123456#",), hangup_in="ConfBridge")
        self.assertEqual(asterisk.variable("PBXROUTER_OUTCOME"), "DONE")

    def test_asterisk_exits_on_hangup(self) -> None:
        """With AGIEXITONHANGUP=yes and AGISIGHUP=no a hang-up during a prompt or a Dial has the usual outcome."""
        self.simulate("34", hangup_at=1, exit_on_hangup=True)
        self.ended("HANGUP")
        self.simulate("34", hangup_at=1, sighup=False)
        self.ended("HANGUP")
        self.simulate("21", hangup_in="Dial", sighup=False)
        self.ended("ANSWER")

    def test_dead_run(self) -> None:
        """In the extension h no command is sent."""
        self.assertEqual(self.simulate("h").commands, [])

    def test_first_rules_late(self) -> None:
        """A call that comes before the rules are loaded fails at once, for the fallback; one line says why."""
        self.flow = self.flow_by(None)
        ends = []
        for _ in range(2):
            protocol = self.factory.buildProtocol(None)
            assert protocol is not None
            ends.append(AsteriskEnd(protocol))
            ends[-1].says(SimulatedCall("21", caller="33").environment())
            self.assertEqual(ends[-1].hears(), f"{ORIGIN}\n".encode())
            ends[-1].says(b"200 result=1 (,,,,)\n")
        ends[1].goes()
        with capturedLogs() as logs:
            self.clock.advance(SETTLE_S)
        self.assertEqual(ends[0].hears(), b"SET VARIABLE PBXROUTER_OUTCOME FAILED\n")
        ends[0].says(b"200 result=1\n")
        self.assertEqual(ends[0].hears(), b"SET VARIABLE PBXROUTER failed\n")
        self.assertEqual(ends[1].hears(), b"")
        ends[0].goes()
        (event,) = loud(logs)
        self.assertIn("the rules are not loaded yet", formatEvent(event))
        self.assertEqual(sorted(self.reports.statuses), ["FAILED", "LOST"])


class ForwardedCalls(FlowCase):
    """What the call flow does with forwarded calls."""

    def test_granted_to_the_party(self) -> None:
        """33 sent an outsider on: its grant allows, the record names it, and the legs of the Dial inherit it."""
        answers: Answers = {"GET FULL VARIABLE": "200 result=1 (PJSIP/33-00000003,,,,)", **DIAL_BUSY}
        self.assertEqual(
            self.run_call("21", caller="0600112233", answers=answers),
            [
                f"SET VARIABLE __PBXROUTER_FORWARDED_BY {SimulatedCall('21').uniqueid}&PJSIP/33",
                *driving("2X", "dial"),
                "CHANNEL STATUS",
                "EXEC Dial PJSIP/21,60,i",
                *DIAL_ENDED,
            ],
        )
        decision = self.reports.records[-1].decision
        assert decision is not None
        self.assertEqual((decision.granted_by, decision.extension, decision.forwarded_by), ("33", "33", "PJSIP/33"))

    def test_leftover(self) -> None:
        """A phone that was dialled for a call that 22 forwarded, and now calls for itself: 22 is forgotten."""
        answers: Answers = {"GET FULL VARIABLE": "200 result=1 (,,,,1.1&PJSIP/22)", **DIAL_BUSY}
        self.assertEqual(
            self.run_call("21", answers=answers)[:2],
            ['SET VARIABLE __PBXROUTER_FORWARDED_BY ""', *driving("2X", "dial")[:1]],
        )
        decision = self.reports.records[-1].decision
        assert decision is not None
        self.assertEqual((decision.granted_by, decision.forwarded_by), ("33", ""))

    def test_not_granted_to_the_party(self) -> None:
        """21 sent the call of 33 on: 33's grant does not count, a PIN is asked for."""
        answers: Answers = {"GET FULL VARIABLE": "200 result=1 (,,PJSIP/21-00000003,,)"}
        self.assertEqual(
            self.run_call("21", answers=answers)[:3], [variable("PBXROUTER", "routing"), "ANSWER", ASK_PIN]
        )
        self.ended("DENIED")

    def test_trunk(self) -> None:
        """A caller by a trunk who claims to be 33 is asked for a PIN."""
        self.flow = CallFlow(
            self.engine, DRIVERS, Prompts(), self.reports, self.active_calls, trunks=("PJSIP/provider",)
        )
        channel = FakeChannel(SimulatedCall("21", caller="33", channel="PJSIP/provider-00000001"))
        self.serve(channel)
        self.assertIn(ASK_PIN, channel.commands)
        self.ended("DENIED")
