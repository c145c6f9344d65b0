"""The calls in progress: as real conversations report them, and merged with what AMI knows."""

from __future__ import annotations

import gc
from collections.abc import Collection
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.prompts import Prompts
from pbxrouter.call.active_calls import (
    MAX_CALLS,
    MAX_TEXT,
    ActiveCalls,
    GatewayCall,
    Phase,
)
from pbxrouter.call.flow import CallFlow
from pbxrouter.counter.call_table import CallTable, LiveCall
from pbxrouter.counter.counts import CallCounts
from pbxrouter.counter.live_calls import LiveCalls, live_calls, live_version
from pbxrouter.drivers import Call, Outcome
from pbxrouter.rules.engine import RulesEngine
from pbxrouter.rules.model import Decision, Mapping, Verdict
from pbxrouter.simulator import SimulatedCall
from tests.fakes import Answers, FakeChannel, Reports, request_of, workshop_rules

DIAL = Mapping(2, "2X", "dial", "SIP")
ALLOWED = Decision(Verdict.ALLOW, "21", DIAL, "33", ())


class WaitingDriver:
    """A driver whose application runs until the test ends it."""

    def __init__(self) -> None:
        self.running: Deferred[Outcome] = Deferred()

    async def run(self, call: Call) -> Outcome:
        """Wait until the test ends it."""
        return await self.running


class ActiveCallsCase(SynchronousTestCase):
    """An empty list of calls."""

    def setUp(self) -> None:
        """Create an empty ActiveCalls."""
        self.active_calls = ActiveCalls()

    def began(
        self, extension: str = "21", caller: str | None = "33", at: float = 100, asterisk: str = "", **others: Any
    ) -> GatewayCall:
        """Add a call that begins."""
        return self.active_calls.add(request_of(SimulatedCall(extension, caller=caller, **others)), at, asterisk)

    def only(self) -> GatewayCall:
        """The only call in the list."""
        (call,) = self.active_calls.calls
        return call


class ActiveCallsTests(ActiveCallsCase):
    """The list of calls in progress."""

    def test_life_of_a_call(self) -> None:
        """A call is listed until it is removed, and each change changes the version."""
        versions = [self.active_calls.version]
        call = self.began(uniqueid="1.1")
        versions.append(self.active_calls.version)
        self.assertEqual((call.uniqueid, call.caller, call.number, call.since), ("1.1", "33", "21", 100))
        self.assertEqual((call.phase, call.pattern, call.granted_by), (Phase.ROUTING, "", ""))
        self.assertEqual((call.application, call.data, call.serial), ("", "", 1))
        self.active_calls.set_decision(call, ALLOWED)
        versions.append(self.active_calls.version)
        self.assertEqual((call.pattern, call.application, call.data, call.granted_by), ("2X", "dial", "SIP", "33"))
        self.active_calls.set_phase(call, Phase.RUNNING)
        versions.append(self.active_calls.version)
        self.active_calls.set_phase(call, Phase.RUNNING)
        self.assertEqual(self.active_calls.version, versions[-1])
        self.assertIs(self.only(), call)
        self.active_calls.remove(call)
        versions.append(self.active_calls.version)
        self.assertEqual(list(self.active_calls.calls), [])
        self.assertEqual(len(set(versions)), len(versions))

    def test_the_same_uniqueid(self) -> None:
        """Two calls with the same Uniqueid are two, and are removed separately."""
        first, second = self.began(uniqueid="1.1"), self.began("22", uniqueid="1.1")
        self.active_calls.remove(first)
        self.assertIs(self.only(), second)
        self.active_calls.remove(second)
        self.assertEqual(list(self.active_calls.calls), [])

    def test_number(self) -> None:
        """The number before the decision is that of extension or DNID, if either is a number."""
        for extension, dnid, number in (
            ("21", None, "21"),
            ("s", "34", "34"),
            ("s", "unknown", ""),
            ("2&SIP/1", None, ""),
        ):
            self.assertEqual(self.began(extension, dnid=dnid).number, number)

    def test_no_caller(self) -> None:
        """Asterisk's word unknown is not shown as a name."""
        call = self.began(caller=None)
        self.assertEqual((call.caller, call.caller_name), ("", ""))

    def test_hostile_text(self) -> None:
        """All texts from outside are printable and short."""
        call = self.began("2" * 80, caller="\x1b[2J\udcff" + "9" * 5000)
        self.assertTrue(call.caller.isprintable())
        self.assertTrue(call.caller.startswith("\\x1b[2J\\udcff"))
        self.assertLess(len(call.caller), MAX_TEXT + 20)
        self.assertEqual(len(call.number), 80)
        self.assertEqual(self.began("2" * 5000).number, "")
        self.assertEqual(self.began(uniqueid="\x1b" * 130).uniqueid, "\\x1b" * 120 + "…")

    def test_decision_without_mapping(self) -> None:
        """A decision without a mapping leaves its fields empty; its number is short as well."""
        call = self.began()
        self.active_calls.set_decision(call, Decision(Verdict.INVALID, "9" * 5000, None, None, ()))
        self.assertEqual(call.number, "9" * 120 + "…")
        self.assertEqual((call.pattern, call.application, call.data, call.granted_by), ("", "", "", ""))

    def test_long_grant(self) -> None:
        """Who granted a call is short and printable, too."""
        call = self.began()
        self.active_calls.set_decision(call, Decision(Verdict.ALLOW, "21", None, "\x1b" + "g" * 200, ()))
        self.assertEqual(call.granted_by, "\\x1b" + "g" * 119 + "…")

    def test_bounded(self) -> None:
        """Calls beyond the bound are not listed, and may be changed and removed as others."""
        calls = [self.began() for _ in range(MAX_CALLS + 2)]
        self.assertEqual(len(self.active_calls.calls), 20_000)
        for call in calls:
            self.active_calls.set_decision(call, ALLOWED)
            self.active_calls.remove(call)
        self.assertEqual(list(self.active_calls.calls), [])

    def test_every_phase_has_words(self) -> None:
        """Each phase has a value for the API and a sentence for people."""
        self.assertEqual(
            {phase.value: phase.sentence.english for phase in Phase},
            {
                "routing": "being routed",
                "number": "asking for the number",
                "pin": "asking for a PIN",
                "running": "running an application",
                "talking": "talking",
                "ending": "playing the final announcement",
                "outside": "not talking yet",
            },
        )


class FlowTests(ActiveCallsCase):
    """A real conversation keeps the list up to date."""

    def setUp(self) -> None:
        """Create a call flow on the workshop's rules."""
        super().setUp()
        self.driver = WaitingDriver()
        engine = RulesEngine({"dial"})
        engine.replace(workshop_rules())
        self.engine = engine
        self.flow = CallFlow(engine, {"dial": self.driver}, Prompts(), Reports(), self.active_calls, lambda: 7.0)

    def serve(self, extension: str, answers: Answers, **others: Any) -> tuple[FakeChannel, Deferred[None]]:
        """Serve a call to an extension."""
        channel = FakeChannel(SimulatedCall(extension, caller="33", **others), answers)
        return channel, Deferred.fromCoroutine(self.flow.serve(channel))

    def test_phases(self) -> None:
        """The phases: asking for the number, asking for a PIN, running the application."""
        answers: Answers = {"GET DATA": None}
        channel, served = self.serve("s", answers, dnid="unknown")
        self.assertEqual((self.only().phase, self.only().number), (Phase.NUMBER, ""))
        channel.answer("200 result=34")
        call = self.only()
        self.assertEqual((call.phase, call.number, call.pattern), (Phase.PIN, "34", "3X"))
        self.assertEqual(call.granted_by, "")
        channel.answer("200 result=123456")
        self.assertEqual((call.phase, call.granted_by, call.since), (Phase.RUNNING, "pepe", 7.0))
        self.driver.running.callback(Outcome())
        self.successResultOf(served)
        self.assertEqual(list(self.active_calls.calls), [])

    def test_said_why(self) -> None:
        """A call to an invalid number is in the phase of the final announcement until that has been played."""
        channel, served = self.serve("999", {"EXEC Playback": None})
        self.assertEqual((self.only().phase, self.only().number), (Phase.ENDING, "999"))
        channel.answer("200 result=0")
        self.successResultOf(served)
        self.assertEqual(list(self.active_calls.calls), [])

    def test_broken(self) -> None:
        """A call with an error, or one that ends early, is removed."""
        channel, served = self.serve("21", {"EXEC Playback": None})
        self.driver.running.errback(ZeroDivisionError("on purpose"))
        self.assertEqual(self.only().phase, Phase.ENDING)
        channel.answer("200 result=0")
        self.successResultOf(served)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        _, served = self.serve("34", {"GET DATA": None})
        self.assertEqual(self.only().phase, Phase.PIN)
        served.addErrback(lambda _: None)
        served.cancel()
        gc.collect()
        self.assertEqual(list(self.active_calls.calls), [])
        self.flushLoggedErrors()


class FakeCounter:
    """The calls of one Asterisk, as AMI shows them."""

    def __init__(self, asterisk: str = "lab") -> None:
        self.asterisk = asterisk
        self.in_sync = True
        self.changes = 0
        self.counting = CallCounts()
        self.table = CallTable(self.counting)

    @property
    def live(self) -> Collection[LiveCall]:
        """The calls in progress."""
        return self.table.live.values()

    def call_of(self, uniqueid: str) -> LiveCall | None:
        """The call of a channel."""
        return self.table.call_of(uniqueid)

    def says(self, name: str, uniqueid: str, now: float, linkedid: str = "", **headers: str) -> None:
        """Pass an event on to the call table."""
        all_headers = {"Uniqueid": uniqueid, "Linkedid": linkedid or uniqueid, **headers}
        self.table.event(name, lambda key: all_headers.get(key, ""), now)
        self.changes += 1

    def call(self, linkedid: str, now: float, caller: str = "33", number: str = "21") -> None:
        """Begin a call, as AMI's Newchannel tells it."""
        self.says("Newchannel", linkedid, now, CallerIDNum=caller, Exten=number)

    def answer(self, linkedid: str, now: float) -> None:
        """Let the callee answer, as AMI's events tell it."""
        self.says("Newchannel", f"{linkedid}b", now, linkedid)
        for value in (linkedid, f"{linkedid}b"):
            self.says("BridgeEnter", value, now, linkedid, BridgeUniqueid=f"bridge {linkedid}")


class MergedTests(ActiveCallsCase):
    """Calls that the gateway and AMI know, each listed once."""

    def setUp(self) -> None:
        """Set up the calls of a single Asterisk."""
        super().setUp()
        self.counter = FakeCounter()

    def merged(self, limit: int = 10) -> LiveCalls:
        """All calls that are listed."""
        return live_calls(self.active_calls, [self.counter], limit)

    def test_empty(self) -> None:
        """Without calls the merged list is empty."""
        self.assertEqual(self.merged(), LiveCalls((), 0))

    def test_both_know_it(self) -> None:
        """A call known to both has its mapping from the gateway and its answer from AMI."""
        self.counter.call("1.1", 99)
        gateway = self.began(uniqueid="1.1")
        self.active_calls.set_decision(gateway, ALLOWED)
        self.active_calls.set_phase(gateway, Phase.RUNNING)
        (call,) = self.merged().calls
        self.assertEqual((call.asterisk, call.caller, call.number), ("lab", "33", "21"))
        self.assertEqual((call.pattern, call.application, call.granted_by), ("2X", "dial", "33"))
        self.assertEqual((call.since, call.answered, call.phase), (99, None, Phase.RUNNING))
        key = call.key
        self.counter.answer("1.1", 105)
        (call,) = self.merged().calls
        self.assertEqual((call.answered, call.phase, call.key), (105, Phase.TALKING, key))
        self.assertTrue(call.in_gateway)

    def test_the_gateway_came_later(self) -> None:
        """The gateway's channel may be any of the call's, such as a Local one."""
        self.counter.call("1.1", 90)
        self.counter.says("Newchannel", "1.2", 91, "1.1")
        first = self.began("75", caller="44", at=91, uniqueid="1.2")
        self.active_calls.set_decision(first, Decision(Verdict.ALLOW, "75", None, "44", ()))
        self.began("99", at=92, uniqueid="1.1")
        merged = self.merged()
        self.assertEqual((merged.total, merged.calls[0].number, merged.calls[0].caller), (1, "75", "44"))

    def test_only_the_gateway(self) -> None:
        """Without AMI a call has neither an Asterisk nor a time of answer."""
        self.began(uniqueid="1.1")
        self.began(uniqueid="1.1")
        merged = live_calls(self.active_calls, [], 10)
        self.assertEqual(merged.total, 2)
        self.assertEqual(len({call.key for call in merged.calls}), 2)
        call = merged.calls[0]
        self.assertEqual((call.asterisk, call.answered, call.number), ("", None, "21"))

    def test_only_ami(self) -> None:
        """A call known to AMI only never came to the gateway, or was routed before."""
        self.counter.call("1.1", 50, caller="\x07", number="600")
        self.counter.call("1.2", 40)
        self.counter.counting.label(self.counter.table.live["1.2"], ALLOWED, "ANSWER")
        self.counter.answer("1.2", 45)
        newest, other = self.merged().calls
        self.assertEqual((newest.caller, newest.number, newest.phase), ("\\x07", "600", Phase.OUTSIDE))
        self.assertEqual((newest.pattern, newest.in_gateway), ("", False))
        self.assertEqual((other.pattern, other.phase, other.answered), ("2X", Phase.TALKING, 45))

    def test_out_of_sight(self) -> None:
        """While AMI is away only the gateway's own calls are listed."""
        self.counter.call("1.1", 50)
        self.counter.call("1.2", 60)
        self.began(uniqueid="1.1")
        self.counter.in_sync = False
        self.assertEqual([call.since for call in self.merged().calls], [50])

    def test_newest_first(self) -> None:
        """The newest calls come first; the list is bounded, and tells how many there are."""
        for place in range(5):
            self.counter.call(f"1.{place}", place)
            self.began(at=place + 0.5, uniqueid=f"2.{place}")
        merged = self.merged(3)
        self.assertEqual([call.since for call in merged.calls], [4.5, 4, 3.5])
        self.assertEqual(merged.total, 10)
        self.assertEqual(self.merged(0), LiveCalls((), 10))

    def test_two_asterisks(self) -> None:
        """With two Asterisks each call has the name of its own."""
        other = FakeCounter("branch")
        other.call("2.1", 10)
        self.began(at=11, uniqueid="2.1")
        self.counter.call("1.1", 20)
        merged = live_calls(self.active_calls, [self.counter, other], 10)
        self.assertEqual(
            [(call.asterisk, call.in_gateway) for call in merged.calls], [("lab", False), ("branch", True)]
        )

    def test_version(self) -> None:
        """The version changes with each change of the calls."""
        seen = [live_version(self.active_calls, [self.counter])]

        def look() -> None:
            seen.append(live_version(self.active_calls, [self.counter]))

        self.counter.call("1.1", 1)
        look()
        self.began(uniqueid="1.1")
        look()
        self.counter.in_sync = False
        look()
        self.assertEqual(len(set(seen)), len(seen))
        look()
        self.assertEqual(seen[-1], seen[-2])
