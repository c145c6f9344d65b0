"""The claim on a context's calls: one of several gateways holds it, and which one after every kind of trouble."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami.messages import AMIMessage
from pbxrouter.errors import ActionFailed, ActionTimeout, ManagerUnavailable
from pbxrouter.magi.claim import (
    ANSWER_S,
    DEAD_S,
    FREE,
    LEASE_S,
    LOOK_S,
    SETTLE_S,
    SLOW_SETTLE_S,
    Claims,
    Holder,
    Taken,
    is_gone,
    place_of_processes,
    uptime_s,
)
from tests.ami_fakes import FakeAMIConnection

CONTEXT = "pbxrouter-ask"
VARIABLE = f"PBXROUTER_MAGI_{CONTEXT}"
STEP_S = 1 / 16


class Connection(FakeAMIConnection):
    """A connection to an Asterisk whose global variables all gateways of a test share.

    Attributes:
        delay: seconds that an action takes to reach Asterisk, and its answer to come back.
        delays: the same for actions of a name, where they differ.
        refused: actions that Asterisk refuses.
        unanswered: actions that Asterisk does not answer in time.
        unread: answers that have come while the gateway's process stood still; None while it runs.
    """

    def __init__(self, test: ClaimTest) -> None:
        super().__init__()
        self.test = test
        self.delay = 0.0
        self.delays: dict[str, float] = {}
        self.refused: set[str] = set()
        self.unanswered: set[str] = set()
        self.unread: list[tuple[Deferred[AMIMessage], AMIMessage]] | None = None

    def action(self, name: str, headers: Iterable[tuple[str, str]] = (), timeout_s: float = 10) -> Deferred[AMIMessage]:
        """Read or write a global variable."""
        if not self.is_up:
            return fail(ManagerUnavailable("there is no connection"))
        if name in self.refused:
            return fail(ActionFailed(f"{name}: Permission denied"))
        self.sent.append((name, dict(headers)))
        if name in self.unanswered:
            return fail(ActionTimeout(f"{name}: no answer"))
        delay = self.delays.get(name, self.delay)
        if not delay:
            return succeed(self.done(name, dict(headers)))
        self.waiting.append(Deferred())
        self.test.asterisk.callLater(delay, self.arrive, self.waiting[-1], name, dict(headers), delay)
        return self.waiting[-1]

    def arrive(self, answer: Deferred[AMIMessage], name: str, headers: dict[str, str], delay: float) -> None:
        """Let Asterisk do what an action says, and answer it."""
        self.test.asterisk.callLater(delay, self.answered, answer, self.done(name, headers))

    def answered(self, answer: Deferred[AMIMessage], message: AMIMessage) -> None:
        """Receive an answer, unless the connection it was for is lost."""
        if self.unread is not None:
            self.unread.append((answer, message))
        elif answer in self.waiting:
            self.waiting.remove(answer)
            answer.callback(message)

    def done(self, name: str, headers: dict[str, str]) -> AMIMessage:
        """What Asterisk does when an action reaches it."""
        variable = headers["Variable"]
        if name == "Setvar":
            self.test.variables[variable] = headers["Value"]
        value = self.test.variables.get(variable, "")
        return AMIMessage(f"Response: Success\r\nVariable: {variable}\r\nValue: {value}".encode())


class Gateway:
    """A gateway's claims on the Asterisk of a test."""

    def __init__(self, test: ClaimTest, name: str, process: int, place: str, delay: float, contexts: list[str]) -> None:
        self.clock = Clock()
        self.test = test
        self.process = process
        self.connection = Connection(test)
        self.connection.delay = delay
        self.is_cut = False
        self.taken: list[tuple[str, Taken]] = []
        me = Holder(name, f"run{process}", place, process, 0, f"host-{name}")
        connection: Any = self.connection
        self.claims = Claims(connection, contexts, me, self.clock, lambda: test.now, lambda pid: pid in test.ended)
        self.claims.on_taken(lambda context, how: self.taken.append((context, how)))
        self.claims.startService()
        self.connection.comes_up()

    @property
    def is_frozen(self) -> bool:
        """Whether its process stands still."""
        return self.connection.unread is not None

    def freeze(self) -> None:
        """Let its process stand still."""
        self.connection.unread = self.connection.unread or []

    def thaw(self) -> None:
        """Let it go on: what is due first, then what has come meanwhile, as a reactor does."""
        unread, self.connection.unread = self.connection.unread or [], None
        self.clock.advance(0)
        if self.is_cut:
            self.reconnect()
            return
        for answer, message in unread:
            self.connection.answered(answer, message)

    def reconnect(self) -> None:
        """Lose the connection, and have another one; a process that stands still does so when it goes on."""
        self.is_cut = self.is_frozen
        if not self.is_frozen:
            self.connection.goes_down()
            self.connection.comes_up()

    def kill(self) -> None:
        """End its process."""
        self.freeze()
        self.test.ended.add(self.process)
        self.test.gateways.remove(self)

    def stop(self) -> None:
        """Stop it as SIGTERM does."""
        stopped = self.claims.stopService()
        self.test.passes(2)
        self.test.successResultOf(stopped)
        self.test.gateways.remove(self)

    @property
    def is_sure(self) -> bool:
        """Whether it would take a call without asking; on a connection that is lost no call comes."""
        return not self.is_cut and self.claims.is_sure(CONTEXT)

    def notes(self) -> list[str]:
        """What an owner is told."""
        return [note.english for note in self.claims.notes]


class ClaimTest(SynchronousTestCase):
    """Gateways on one Asterisk; time passes for all of them together, but for those that are frozen."""

    def setUp(self) -> None:
        """Have an Asterisk without gateways."""
        self.begin()

    def begin(self) -> None:
        """Have an Asterisk without gateways."""
        self.now = 1000.0
        self.asterisk = Clock()
        self.variables: dict[str, str] = {}
        self.gateways: list[Gateway] = []
        self.ended: set[int] = set()
        self.started = 0

    def gateway(self, name: str, place: str = "here", delay: float = 0.0, contexts: tuple[str, ...] = ()) -> Gateway:
        """Start a gateway."""
        self.started += 1
        gateway = Gateway(self, name, self.started, place, delay, list(contexts or (CONTEXT,)))
        self.gateways.append(gateway)
        return gateway

    def passes(self, seconds: float) -> None:
        """Let time pass; at no moment would two gateways take a call, or those that stand still when they go on."""
        for _ in range(round(seconds / STEP_S)):
            self.now += STEP_S
            self.asterisk.advance(STEP_S)
            for gateway in list(self.gateways):
                if not gateway.is_frozen:
                    gateway.clock.advance(STEP_S)
            sure = [gateway.process for gateway in self.gateways if gateway.is_sure]
            self.assertLessEqual(len(sure), 1, sure)

    def serving(self) -> list[Gateway]:
        """The gateways that would take a call now, and after asking."""
        running = [gateway for gateway in self.gateways if not gateway.is_frozen]
        asked = [(gateway, Deferred.fromCoroutine(gateway.claims.confirm(CONTEXT))) for gateway in running]
        while not all(confirmed.called for _, confirmed in asked):
            self.passes(STEP_S)
        return [gateway for gateway, confirmed in asked if self.successResultOf(confirmed)]

    def warnings(self, logs: Iterable[dict[str, Any]]) -> list[str]:
        """What the log says above info."""
        return [str(formatEvent(event)) for event in logs if event["log_level"] >= LogLevel.warn]


class OneGatewayTests(ClaimTest):
    """A gateway that is alone on its Asterisk."""

    def test_serves_soon(self) -> None:
        """It serves SETTLE_S after it has connected, goes on, and says nothing of it."""
        with capturedLogs() as logs:
            one = self.gateway("a")
            self.assertEqual((self.serving(), one.claims.is_settled), ([], False))
            self.passes(SETTLE_S)
            self.assertEqual((one.taken, one.claims.is_settled), ([(CONTEXT, Taken.WAS_FREE)], True))
            for _ in range(20):
                self.passes(LOOK_S)
                self.assertTrue(one.is_sure)
        self.assertEqual((len(one.taken), one.notes(), list(logs)), (1, [], []))
        written = [headers["Value"] for name, headers in one.connection.sent if name == "Setvar"]
        self.assertEqual((len(written), len(set(written))), (11, 11))  # once, and then each second anew

    def test_stopped(self) -> None:
        """Stopped, it leaves the calls to others, and serves none."""
        one = self.gateway("a")
        self.passes(1)
        one.claims.stopService()
        self.assertEqual((self.variables[VARIABLE][:3], self.serving()), (f"{FREE}a/", []))
        self.passes(5)
        self.assertEqual(self.variables[VARIABLE][:3], f"{FREE}a/")

    def test_not_started(self) -> None:
        """Before it is started, and after it has stopped, it asks nothing of an Asterisk that connects."""
        one = self.gateway("a")
        self.passes(1)
        one.claims.stopService()
        asked = len(one.connection.sent)
        one.claims.set_contexts([CONTEXT])
        one.connection.goes_down()
        one.connection.comes_up()
        self.assertEqual(len(one.connection.sent), asked)

    def test_stopped_while_it_looks(self) -> None:
        """Stopped while Asterisk's answer is on its way, it writes nothing on account of that answer."""
        one = self.gateway("a", delay=0.2)
        self.passes(STEP_S)
        stopped = one.claims.stopService()
        self.passes(4)
        self.successResultOf(stopped)
        self.assertEqual((self.variables, one.taken), ({}, []))

    def test_stopped_at_any_moment(self) -> None:
        """Stopped at any moment of its claim, it leaves the variable without its name, and asks and takes no more."""
        for steps in range(48):
            self.begin()
            one = self.gateway("a", delay=0.1)
            self.passes(steps * STEP_S)
            taken = list(one.taken)
            stopped = one.claims.stopService()
            while not stopped.called:
                self.passes(STEP_S)
            asked = len(one.connection.sent)
            self.passes(2)
            self.assertEqual((one.taken, len(one.connection.sent)), (taken, asked), steps)
            self.assertEqual(self.variables.get(VARIABLE, FREE)[:1], FREE, steps)

    def test_stopped_while_it_writes(self) -> None:
        """Stopped while its claim is on its way to an Asterisk that does not say who has it, it takes no calls."""
        one = self.gateway("a")
        self.passes(1)
        one.connection.goes_down()
        self.variables.clear()
        self.passes(LEASE_S)
        one.taken.clear()
        one.connection.delays["Setvar"] = 0.1
        one.connection.comes_up()
        self.assertEqual((one.connection.sent[-1][0], self.variables), ("Setvar", {}))
        one.connection.unanswered.add("Getvar")
        self.successResultOf(one.claims.stopService())
        one.connection.unanswered.clear()
        self.passes(3)
        self.assertEqual((one.taken, self.serving()), ([], []))

    def test_variable_deleted(self) -> None:
        """A variable that was deleted is written again; an answer that does not come then is asked for again."""
        one = self.gateway("a")
        self.passes(1)
        self.variables.clear()
        self.passes(LOOK_S)
        self.assertIn(VARIABLE, self.variables)
        one.connection.unanswered.add("Getvar")
        self.passes(SETTLE_S)
        one.connection.unanswered.clear()
        self.assertEqual((self.serving(), one.claims.is_settled), ([], False))
        self.passes(LOOK_S)
        self.assertEqual((self.serving(), one.claims.is_settled), ([one], True))

    def test_restarted_asterisk(self) -> None:
        """An Asterisk that was restarted has no variables: its calls are claimed anew, and looked for."""
        one = self.gateway("a")
        self.passes(1)
        one.connection.goes_down()
        self.assertEqual(self.serving(), [])
        self.variables.clear()
        self.passes(3)
        one.connection.comes_up()
        self.passes(SETTLE_S)
        self.assertEqual((self.serving(), one.taken), ([one], [(CONTEXT, Taken.WAS_FREE)] * 2))

    def test_connection_back_at_once(self) -> None:
        """A connection that is back before another gateway could take the calls costs no wait."""
        one = self.gateway("a")
        self.passes(1)
        one.connection.goes_down()
        self.passes(LOOK_S)
        one.connection.comes_up()
        self.assertEqual((self.serving(), one.taken), ([one], [(CONTEXT, Taken.WAS_FREE)] * 2))

    def test_run_again_at_once(self) -> None:
        """A run whose process has ended is no obstacle for the next on the same machine."""
        self.gateway("a")
        self.passes(1)
        self.gateways[0].kill()
        again = self.gateway("a")
        self.passes(SETTLE_S)
        self.assertEqual((self.serving(), again.taken), ([again], [(CONTEXT, Taken.WAS_FREE)]))

    def test_variable_gone_while_settling(self) -> None:
        """A value that is gone when it is read again, as after a restart of Asterisk, is claimed anew."""
        one = self.gateway("a")
        self.variables.clear()
        self.passes(SETTLE_S)
        self.assertEqual((self.serving(), one.taken, one.claims.is_settled), ([], [], False))
        self.passes(LOOK_S + SETTLE_S)
        self.assertEqual((self.serving(), one.taken), ([one], [(CONTEXT, Taken.WAS_FREE)]))

    def test_settings_read_again(self) -> None:
        """The same contexts once more change nothing."""
        one = self.gateway("a")
        self.passes(1)
        one.claims.set_contexts([CONTEXT])
        self.assertEqual((self.serving(), one.taken), ([one], [(CONTEXT, Taken.WAS_FREE)]))

    def test_stopped_when_another_has_them(self) -> None:
        """A gateway that stops leaves the value of one that has taken the calls meanwhile."""
        one = self.gateway("a")
        self.passes(1)
        self.variables[VARIABLE] = taken = str(Holder("b", "run9", "there", 9, 1, "host-b"))
        one.stop()
        self.assertEqual(self.variables[VARIABLE], taken)

    def test_not_confirmed(self) -> None:
        """A call is not taken where Asterisk does not say, in time, whose the calls are."""
        one = self.gateway("a")
        self.passes(1)
        one.connection.is_up = False
        one.claims._claims[CONTEXT]._lease_until = 0.0
        self.assertEqual(self.serving(), [])
        self.assertIs(self.successResultOf(Deferred.fromCoroutine(one.claims.confirm("another"))), False)

    def test_not_allowed(self) -> None:
        """An Asterisk that refuses the actions has its calls served, and the log says once what is not guarded."""
        for action in ("Getvar", "Setvar"):
            with capturedLogs() as logs:
                one = self.gateway(action)
                one.connection.refused.add(action)
                one.connection.goes_down()
                self.variables.clear()
                one.connection.comes_up()
                self.passes(5)
                self.assertEqual(self.serving(), [one])
            (line,) = self.warnings(logs)
            self.assertIn(f"{action}: Permission denied; is call among the user's write classes?", line)
            self.assertEqual([f"MAGI lab: {note}" for note in one.notes()], [line])
            one.kill()

    def test_no_answer(self) -> None:
        """Without an answer for LEASE_S no call is taken; with one it goes on."""
        one = self.gateway("a")
        self.passes(1)
        one.connection.delay = 10
        self.passes(LEASE_S + LOOK_S)
        self.assertFalse(one.is_sure)
        self.assertEqual([gateway for gateway in self.gateways if gateway.is_sure], [])
        self.passes(10)
        one.connection.delay = 0
        self.passes(30)
        self.assertEqual(self.serving(), [one])

    def test_slow_asterisk(self) -> None:
        """An Asterisk whose answers take their time has its calls served nevertheless."""
        one = self.gateway("a", delay=0.2)
        self.passes(SLOW_SETTLE_S + SETTLE_S)  # another may have read its own value before ours was there
        self.assertEqual(one.taken, [])
        self.passes(SLOW_SETTLE_S)
        self.assertEqual(self.serving(), [one])
        for _ in range(10):
            self.passes(0.7)
            self.assertEqual(self.serving(), [one])

    def test_late_confirmation(self) -> None:
        """A value that Asterisk confirms later than ANSWER_S says nothing: the claim is not renewed by it."""
        one = self.gateway("a")
        self.passes(1)
        self.assertTrue(one.is_sure)
        one.connection.delay = ANSWER_S / 2 + STEP_S
        self.passes(LEASE_S + LOOK_S)
        for _ in range(4):
            self.assertFalse(one.is_sure)
            self.passes(LOOK_S)

    def test_late_writing(self) -> None:
        """A writing that Asterisk confirms later than ANSWER_S says nothing, either."""
        one = self.gateway("a")
        self.passes(1)
        one.connection.delays["Setvar"] = ANSWER_S / 2 + STEP_S
        self.passes(LEASE_S)
        for _ in range(round(4 / STEP_S)):
            self.assertFalse(one.is_sure)
            self.passes(STEP_S)
        one.connection.delays.clear()
        self.passes(4)
        self.assertTrue(one.is_sure)

    def test_value_of_others_making(self) -> None:
        """A value that names no gateway counts as none."""
        self.variables[VARIABLE] = "x/y"
        one = self.gateway("a")
        self.passes(1)
        self.assertEqual(self.serving(), [one])
        self.variables[VARIABLE] = "set by hand"
        self.passes(1)
        self.assertEqual(self.serving(), [one])

    def test_other_contexts(self) -> None:
        """A context that settings no longer name is left to others; one that they add is claimed."""
        one = self.gateway("a")
        self.passes(1)
        one.claims.set_contexts(["another", "Ñ:1"])
        self.passes(1)
        self.assertEqual(self.variables[VARIABLE][:3], f"{FREE}a/")
        self.assertEqual([context for context, _ in one.taken[1:]], ["another", "Ñ:1"])
        self.assertFalse(one.claims.is_served(CONTEXT))
        for name in self.variables:
            self.assertRegex(name, r"\A[A-Za-z0-9_-]+\Z")


class TwoGatewaysTests(ClaimTest):
    """Two gateways for the same calls of one Asterisk."""

    def pair(self, place: str = "there") -> tuple[Gateway, Gateway]:
        """A gateway that serves, and one that stands by."""
        one = self.gateway("a")
        self.passes(1)
        two = self.gateway("b", place)
        self.passes(1)
        self.assertEqual(self.serving(), [one])
        return one, two

    def test_second_stands_by(self) -> None:
        """The second serves none and says so once; each tells its owner of the other."""
        with capturedLogs() as logs:
            one, two = self.pair()
            self.passes(60)
            self.assertEqual(self.serving(), [one])
        self.assertEqual(
            self.warnings(logs),
            ["MAGI lab: gateway a on host-a serves the calls in pbxrouter-ask; this one stands by"],
        )
        self.assertEqual(two.notes(), ["stands by: gateway a on host-a serves the calls in pbxrouter-ask"])
        self.assertEqual(one.notes(), ["serves the calls in pbxrouter-ask; gateway b on host-b stands by"])
        self.assertEqual((one.claims.standing_by, two.claims.standing_by), (0, 1))
        self.assertTrue(one.claims.has_standby and two.claims.has_standby)

    def test_odd_context(self) -> None:
        """A context that a terminal cannot show is escaped in what the owners are told."""
        one = self.gateway("a", contexts=("x\x1b[2J",))
        self.passes(1)
        two = self.gateway("b", "there", contexts=("x\x1b[2J",))
        self.passes(3)
        self.assertEqual(one.notes(), ["serves the calls in x\\x1b[2J; gateway b on host-b stands by"])
        self.assertEqual(two.notes(), ["stands by: gateway a on host-a serves the calls in x\\x1b[2J"])

    def test_standby_gone(self) -> None:
        """A gateway that no longer stands by is no longer told of."""
        one, two = self.pair()
        two.stop()
        self.passes(DEAD_S)
        self.assertEqual((one.notes(), one.claims.has_standby, self.serving()), ([], False, [one]))

    def test_started_together(self) -> None:
        """Of two that start at the same moment one serves, however long their actions take."""
        for delay in (0.0, STEP_S, 2 * STEP_S, 5 * STEP_S):
            for other in (0.0, STEP_S, 2 * STEP_S, 5 * STEP_S):
                self.begin()
                self.gateway("a", delay=delay)
                self.gateway("b", "there", delay=other)
                self.passes(4)
                self.assertEqual(len(self.serving()), 1, (delay, other))

    def test_stopped(self) -> None:
        """Stopped, the first is followed by the second within a second, and may go on with the calls that it has."""
        one, two = self.pair()
        one.claims.stopService()
        self.passes(LOOK_S + SETTLE_S)
        self.assertEqual((self.serving(), two.taken), ([two], [(CONTEXT, Taken.SHARED)]))
        self.assertEqual((two.claims.others, two.notes(), two.claims.standing_by), ({}, [], 0))

    def test_stopped_before(self) -> None:
        """Calls of a gateway that was stopped and has ended, or of a former run of this one, are this one's."""
        for name, has_ended in (("a", False), ("b", True), ("b", False)):
            self.begin()
            one = self.gateway("a")
            self.passes(1)
            one.stop()
            if has_ended:
                self.ended.add(one.process)
            next_one = self.gateway(name)
            self.passes(1)
            how = Taken.WAS_FREE if name == "a" or has_ended else Taken.SHARED
            self.assertEqual(next_one.taken, [(CONTEXT, how)], (name, has_ended))

    def test_killed_on_this_machine(self) -> None:
        """A process that has ended on the same machine is missed within a second."""
        one, two = self.pair("here")
        with capturedLogs() as logs:
            one.kill()
            self.passes(LOOK_S + SETTLE_S)
        self.assertEqual((self.serving(), two.taken), ([two], [(CONTEXT, Taken.WAS_FREE)]))
        self.assertEqual(
            self.warnings(logs),
            ["MAGI lab: gateway a on host-a is gone; this one takes over the calls in pbxrouter-ask"],
        )

    def test_killed_elsewhere(self) -> None:
        """A machine that has gone is missed within 3.25 seconds, not before 1.5, and may keep its calls for a time."""
        one, two = self.pair()
        one.kill()
        self.passes(1.5)
        self.assertEqual(self.serving(), [])
        self.passes(1.75)
        self.assertEqual((self.serving(), two.taken), ([two], [(CONTEXT, Taken.SHARED)]))

    def test_frozen_and_back(self) -> None:
        """A process that goes on after the other has taken over asks before it takes a call, and stands by."""
        one, two = self.pair("here")
        one.freeze()
        self.passes(5)
        self.assertEqual(self.serving(), [two])
        one.thaw()
        self.assertEqual(self.serving(), [two])
        self.passes(3)
        self.assertEqual((self.serving(), one.claims.standing_by), ([two], 1))

    def test_old_answer(self) -> None:
        """An answer that was received before a standstill and read after it says nothing of now."""
        one, two = self.pair("here")
        one.connection.delay = 0.1
        self.passes(1)
        one.claims._claims[CONTEXT]._lease_until = 0.0
        asked = Deferred.fromCoroutine(one.claims.confirm(CONTEXT))
        one.freeze()
        self.passes(ANSWER_S + DEAD_S)
        one.thaw()
        self.assertFalse(self.successResultOf(asked))
        self.passes(1)
        self.assertEqual(self.serving(), [two])

    def test_many_calls_at_once(self) -> None:
        """Calls that come while Asterisk is asked share its answer; one that comes later asks anew."""
        one, _ = self.pair("here")
        one.connection.delay = 0.1
        self.passes(1)
        claim = one.claims._claims[CONTEXT]
        claim._lease_until = 0.0
        one.connection.sent.clear()
        asked = [Deferred.fromCoroutine(claim.confirm()) for _ in range(200)]
        self.assertEqual(one.connection.sent, [("Getvar", {"Variable": VARIABLE})])
        self.passes(ANSWER_S / 2)
        self.assertEqual([self.successResultOf(answer) for answer in asked], [True] * 200)
        claim._lease_until = 0.0
        one.connection.sent.clear()
        again = Deferred.fromCoroutine(claim.confirm())
        self.assertEqual(one.connection.sent, [("Getvar", {"Variable": VARIABLE})])
        self.passes(ANSWER_S / 2)
        self.assertTrue(self.successResultOf(again))

    def test_contexts_of_their_own(self) -> None:
        """Gateways that serve different contexts of one Asterisk share it."""
        one = self.gateway("a")
        two = self.gateway("b", contexts=("another",))
        self.passes(1)
        self.assertEqual((one.taken, two.taken), ([(CONTEXT, Taken.WAS_FREE)], [("another", Taken.WAS_FREE)]))
        self.assertFalse(one.claims.has_standby)


class AnyOrderTests(ClaimTest):
    """Whatever happens to three gateways, at no moment would two take the same call."""

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("freeze", "thaw", "kill", "stop", "start", "cut", "restart-asterisk", "pass")),
                st.integers(0, 2),
                st.sampled_from((0.0, STEP_S, 3 * STEP_S, 7 * STEP_S)),
                st.sampled_from((STEP_S, 0.25, 0.75, 2.0, 3.0)),
            ),
            max_size=12,
        )
    )
    def test_one_at_most(self, happenings: list[tuple[str, int, float, float]]) -> None:
        """At most one is sure to serve at each moment; left alone, exactly one serves."""
        self.begin()
        for name in "ab":
            self.gateway(name, "here" if name == "a" else "there")
        for what, which, delay, seconds in happenings:
            here = self.gateways[which] if which < len(self.gateways) else None
            if what == "start" and len(self.gateways) < 3:
                self.gateway("abc"[which], "here" if which != 1 else "there", delay)
            elif what == "restart-asterisk":
                self.variables.clear()
                for gateway in self.gateways:
                    gateway.reconnect()
            elif here is not None:
                self.happens(what, here, delay)
            self.passes(seconds)
        for gateway in self.gateways:
            gateway.connection.delay = 0
            if gateway.is_frozen:
                gateway.thaw()
        self.passes(8)
        self.assertEqual(len(self.serving()), min(1, len(self.gateways)))

    def happens(self, what: str, here: Gateway, delay: float) -> None:
        """Let something happen to a gateway."""
        if what == "freeze":
            here.freeze()
        elif here.is_frozen and what == "thaw":
            here.thaw()
        elif what == "kill":
            here.kill()
        elif not here.is_frozen and what == "stop":
            here.stop()
        elif what == "cut":
            here.reconnect()
        else:
            here.connection.delay = delay


class HolderTests(SynchronousTestCase):
    """What the variable says, and whether a process has ended."""

    def test_value(self) -> None:
        """A value that is written is read the same; another names no gateway."""
        me = Holder.of_this_process("1a2b3c4d")
        self.assertEqual(Holder.parse(str(me)), me)
        self.assertEqual((me.process, me.place), (os.getpid(), place_of_processes()))
        self.assertNotEqual(Holder.of_this_process("1a2b3c4d").run, me.run)
        for holder in (
            Holder("", "r", "", 0, 0, ""),  # without heartbeat, where processes cannot be told apart, without a name
            Holder("1a2b3c4d", "run", "here", 999_999_999, 10**18 - 1, "pbx-1.example"),
        ):
            self.assertEqual(Holder.parse(str(holder)), holder)
        for value in ("a//c/1/2/h", "a/b/c//2/h", "a/b/c/1//h", "a/b/c/1000000000/2/h", f"a/b/c/1/{10**18}/h"):
            self.assertIsNone(Holder.parse(value), value)
        for value in ("", FREE, "a/b/c/1/2", f"{me}/x", "a/b/c/-1/2/h", "a/b/c/1/2/h\n"):
            self.assertIsNone(Holder.parse(value), value)

    def test_place(self) -> None:
        """Two processes of one machine see that they are; the time that rules their claims passes in sleep, too."""
        if os.path.exists("/proc/sys/kernel/random/boot_id"):
            self.assertRegex(place_of_processes(), r"\A[0-9a-f]{8}\Z")
        began = time.monotonic()
        self.assertGreaterEqual(uptime_s(), began)

    def test_other_places(self) -> None:
        """Another start of the machine, or another namespace of processes, is another place; "" where none is told."""
        places = []
        for boot, namespace in (("1", "pid:[1]"), ("1", "pid:[2]"), ("2", "pid:[1]"), ("1", "pid:[1]")):
            proc = Path(self.mktemp())
            for folder in ("sys/kernel/random", "self/ns"):
                (proc / folder).mkdir(parents=True)
            (proc / "sys/kernel/random/boot_id").write_text(boot)
            (proc / "self/ns/pid").symlink_to(namespace)
            places.append(place_of_processes(proc))
        self.assertEqual((len(set(places)), places[0]), (3, places[3]))
        (proc / "self/ns/pid").unlink()
        self.assertEqual((place_of_processes(proc), place_of_processes(proc / "none")), ("", ""))

    def test_processes(self) -> None:
        """A process that runs is there; one that has ended is gone, waited for or not."""
        self.assertIs(is_gone(os.getpid()), False)
        self.assertIs(is_gone(1), False)
        self.assertIs(is_gone(1 << 40), False)  # no number of a process: nothing is known of it
        self.assertIs(is_gone(os.getpid(), Path(self.mktemp())), False)  # as where /proc is not there
        process = subprocess.Popen([sys.executable, "-S", "-c", ""], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.read()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self.assertTrue(is_gone(process.pid))
        process.communicate()
        self.assertTrue(is_gone(process.pid))
