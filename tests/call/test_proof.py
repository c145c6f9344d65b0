"""Proofs that a call is Asterisk's, and what becomes of a call that is not."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import Channel, Prompts
from pbxrouter.ami import AMIConnection, AMIMessage
from pbxrouter.call import ActiveCalls, CallFlow, CallProofs, PinChanges, PinGuard, Reports
from pbxrouter.call.flow import REFUSED_LINES
from pbxrouter.call.pin_guard import NEW_KNOWN_A_DAY, PinSource
from pbxrouter.call.proof import VARIABLE, Proof
from pbxrouter.call.record import CallRecord
from pbxrouter.drivers import Call, Driver, Outcome
from pbxrouter.errors import ActionTimeout
from pbxrouter.magi.channel import MagiChannel
from pbxrouter.rules import RulesEngine
from pbxrouter.security import GuessKey, Standing, call_mark
from pbxrouter.simulator import SimulatedCall
from tests.ami_fakes import FakeAMIConnection
from tests.fakes import FakeChannel, workshop_rules

KEY = b"k" * 32
UNIQUEID = "1795409729.6"


class PeerChannel(FakeChannel):
    """A channel over FastAGI: it has a peer, and sets variables on the Asterisk it is said to belong to."""

    peer = "192.0.2.1"

    def __init__(self, asterisk: FakeAMIConnection | None, call: SimulatedCall, pins: tuple[str, ...]) -> None:
        super().__init__(call, {"GET DATA": [f"200 result={pin}" for pin in pins]})
        self._asterisk = asterisk

    def execute(self, command: str) -> Deferred[Any]:
        """Take a command as agi.Channel does."""
        words = command.replace('"', "").split(" ")
        if words[:2] == ["SET", "VARIABLE"] and self._asterisk is not None:
            status = f"Event: Status\r\nVariable: {words[2]}={words[3]}"
            if words[2] == VARIABLE:
                self._asterisk.alive[self.request.uniqueid] = AMIMessage(status.encode())
        return super().execute(command)


class ProofCase(SynchronousTestCase):
    """Has two Asterisks, and proofs that ask them."""

    def setUp(self) -> None:
        """Connect to both."""
        self.one, self.other = FakeAMIConnection(), FakeAMIConnection()
        for manager in (self.one, self.other):
            manager.comes_up()

    def proofs(self, *managers: FakeAMIConnection, secret: bool = False, allow: bool = False) -> CallProofs:
        """Make the proofs."""
        proofs = CallProofs(has_secret=secret, allows_others=allow, key=KEY)
        proofs.managers = [cast(AMIConnection, manager) for manager in managers]
        return proofs

    def channel(self, asterisk: FakeAMIConnection | None, *pins: str, arguments: tuple[str, ...] = ()) -> PeerChannel:
        """The channel of a call to 34, which needs a PIN."""
        call = SimulatedCall("34", caller="33", uniqueid=UNIQUEID, arguments=arguments)
        return PeerChannel(asterisk, call, pins or ("",))


class StandingTests(ProofCase):
    """CallProofs.begin and Proof.standing."""

    def standing(self, proofs: CallProofs, channel: FakeChannel) -> Standing:
        """What is known of a call."""
        proof = self.successResultOf(Deferred.fromCoroutine(proofs.begin(channel)))
        first = self.successResultOf(Deferred.fromCoroutine(proof.standing()))
        self.assertIs(self.successResultOf(Deferred.fromCoroutine(proof.standing())), first)
        return first

    def test_proven(self) -> None:
        """A call of either Asterisk is proven, by one SET VARIABLE and one question to each."""
        for asterisk in (self.one, self.other):
            channel = self.channel(asterisk)
            self.assertIs(self.standing(self.proofs(self.one, self.other), channel), Standing.PROVEN)
            self.assertEqual([command.split(" ")[:2] for command in channel.commands], [["SET", "VARIABLE"]])
            asterisk.alive.clear()
        self.assertEqual([len(manager.heard("Status")) for manager in (self.one, self.other)], [2, 2])

    def proof(self, proofs: CallProofs, channel: FakeChannel, asterisk: str) -> Proof:
        """The proof of a call that seems to come from an Asterisk, once something is known."""
        proof = self.successResultOf(Deferred.fromCoroutine(proofs.begin(channel, asterisk)))
        self.successResultOf(Deferred.fromCoroutine(proof.standing()))
        return proof

    def test_the_one_it_seems_to_come_from(self) -> None:
        """The Asterisk that a call seems to come from is asked alone, if it has the channel."""
        self.one.name, self.other.name = "one", "other"
        proof = self.proof(self.proofs(self.one, self.other), self.channel(self.other), "other")
        self.assertEqual(proof.asterisk, "other")
        self.assertEqual([len(manager.heard("Status")) for manager in (self.one, self.other)], [0, 1])

    def test_another_has_it(self) -> None:
        """If it does not have the channel the others are asked; a channel with that Uniqueid proves nothing."""
        self.one.name, self.other.name = "one", "other"
        self.one.alive[UNIQUEID] = AMIMessage(b"Event: Status\r\nVariable: PBXROUTER_PROOF=x")
        for seeming in ("one", "", "not there"):
            proof = self.proof(self.proofs(self.one, self.other), self.channel(self.other), seeming)
            self.assertEqual(proof.asterisk, "other")
        proof = self.proof(self.proofs(self.one, self.other), self.channel(None), "one")
        self.assertEqual(proof.asterisk, "")

    def test_one_does_not_answer(self) -> None:
        """An Asterisk that does not answer holds up no call that another has; else its answer is waited for."""
        self.one.name, self.other.name = "one", "other"
        self.other.lists["Status"] = None
        proofs = self.proofs(self.other, self.one)
        self.assertEqual(self.proof(proofs, self.channel(self.one), "").asterisk, "one")
        proof = self.successResultOf(Deferred.fromCoroutine(proofs.begin(self.channel(None), "one")))
        self.assertNoResult(Deferred.fromCoroutine(proof.standing()))

    def test_forged(self) -> None:
        """A channel that no Asterisk has is forged; where the settings name peers it may be another Asterisk's."""
        self.assertIs(self.standing(self.proofs(self.one, self.other), self.channel(None)), Standing.FORGED)
        allowing = self.proofs(self.one, self.other, allow=True)
        self.assertIs(self.standing(allowing, self.channel(None)), Standing.FOREIGN)

    def test_guessed_uniqueid(self) -> None:
        """The Uniqueid of a real channel does not prove a call: the value on it is another call's."""
        proofs = self.proofs(self.one)
        self.assertIs(self.standing(proofs, self.channel(self.one)), Standing.PROVEN)
        self.assertIs(self.standing(proofs, self.channel(None)), Standing.FORGED)

    def test_unproven(self) -> None:
        """Without AMI, and while one of the Asterisks cannot be asked, nothing is known of this machine's calls."""
        self.assertIs(self.standing(self.proofs(), self.own_channel()), Standing.UNPROVEN)
        incomplete = self.proofs(self.one)
        incomplete.is_complete = False
        self.assertIs(self.standing(incomplete, self.own_channel()), Standing.UNPROVEN)
        self.other.lists["Status"] = ActionTimeout("no answer")
        proofs = self.proofs(self.one, self.other)
        self.assertIs(self.standing(proofs, self.own_channel()), Standing.UNPROVEN)
        self.assertIs(self.standing(proofs, self.channel(self.one)), Standing.PROVEN)
        self.other.is_up = False
        self.assertIs(self.standing(proofs, self.own_channel()), Standing.UNPROVEN)

    def own_channel(self) -> PeerChannel:
        """The channel of a call from this machine, which no Asterisk has."""
        channel = self.channel(None)
        channel.peer = "127.0.0.1"
        return channel

    def test_unproven_from_another_machine(self) -> None:
        """What another machine tells while Asterisk cannot be asked is its own, unless AMI was connected to it."""
        self.assertIs(self.standing(self.proofs(), self.channel(None)), Standing.FOREIGN)
        proofs = self.proofs(self.one)
        self.one.lists["Status"] = ActionTimeout("no answer")
        self.assertIs(self.standing(proofs, self.channel(None)), Standing.FOREIGN)
        self.one.peer = "192.0.2.1"
        self.assertIs(self.standing(proofs, self.channel(None)), Standing.UNPROVEN)
        self.one.peer = ""
        self.assertIs(self.standing(proofs, self.channel(None)), Standing.UNPROVEN)

    def test_proven_otherwise(self) -> None:
        """With the secret, over AMI, and by the command line's mark a call is proven, and Asterisk is not asked."""
        self.assertIs(self.standing(self.proofs(self.one, secret=True), self.channel(None)), Standing.PROVEN)
        over_ami: Any = self.channel(None)
        over_ami.is_proven = MagiChannel.is_proven
        self.assertIs(self.standing(self.proofs(self.one), over_ami), Standing.PROVEN)
        request = self.channel(None).request
        mark = call_mark(KEY, request.uniqueid, request.channel, request.caller)
        marked = self.channel(None, arguments=(f"secret={mark}",))
        self.assertIs(self.standing(self.proofs(self.one), marked), Standing.PROVEN)
        self.assertEqual(self.one.sent, [])
        for wrong in (mark[:-1], "é", "", call_mark(KEY, request.uniqueid, request.channel, "22")):
            forged = self.channel(None, arguments=(f"secret={wrong}",))
            self.assertIs(self.standing(self.proofs(self.one), forged), Standing.FORGED)

    def test_reconfigured(self) -> None:
        """Other settings count for the calls that begin afterwards."""
        proofs = self.proofs(self.one)
        self.assertIs(self.standing(proofs, self.channel(None)), Standing.FORGED)
        proofs.reconfigure(has_secret=False, allows_others=True)
        self.assertIs(self.standing(proofs, self.channel(None)), Standing.FOREIGN)
        proofs.reconfigure(has_secret=True, allows_others=False)
        self.assertIs(self.standing(proofs, self.channel(None)), Standing.PROVEN)
        proofs.reconfigure(has_secret=False, allows_others=False)
        self.assertIs(self.standing(proofs, self.channel(None)), Standing.FORGED)

    def test_unexpected_failure(self) -> None:
        """A fault in asking an Asterisk neither proves a call nor refuses it, and is logged with its traceback."""

        class Faulty(FakeAMIConnection):
            """A connection with a fault."""

            def action_list(self, *arguments: Any, **named: Any) -> Any:
                """Raise an error that no code expects."""
                raise ZeroDivisionError

            action = action_list

        faulty = Faulty()
        faulty.comes_up()
        proofs = self.proofs(self.one, faulty)
        for asterisk, standing in ((None, Standing.FOREIGN), (self.one, Standing.PROVEN)):
            with capturedLogs() as logs:
                self.assertIs(self.standing(proofs, self.channel(asterisk)), standing)
            (event,) = [event for event in logs if "PIN guard" in str(event["log_format"])]
            self.assertIn("asking Asterisk for a channel failed unexpectedly", event["log_format"])
            self.assertIn("log_failure", event)
            gc.collect()
            self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_each_call_has_its_value(self) -> None:
        """The value on a channel is drawn anew for each call, 32 random hexadecimal digits."""
        proofs, values = self.proofs(self.one), set()
        for _ in range(10):
            channel = self.channel(self.one)
            self.standing(proofs, channel)
            ((_, _, name, value),) = [command.replace('"', "").split(" ") for command in channel.commands]
            self.assertEqual(name, VARIABLE)
            self.assertRegex(value, r"^[0-9a-f]{32}$")
            values.add(value)
        self.assertEqual(len(values), 10)


class FlowTests(ProofCase):
    """A call flow with proofs."""

    def setUp(self) -> None:
        """Make the guard and the reports."""
        super().setUp()
        self.records: list[CallRecord] = []
        self.guard = PinGuard(None, (), lambda: 1000.0, seconds=lambda: 1000.0)

    def serve(
        self,
        proofs: CallProofs,
        channel: FakeChannel,
        drivers: Mapping[str, Driver] = MappingProxyType({}),
        changes: PinChanges | None = None,
    ) -> Deferred[None]:
        """Serve a call."""
        return Deferred.fromCoroutine(self.flow(proofs, drivers, changes).serve(channel))

    def flow(
        self,
        proofs: CallProofs,
        drivers: Mapping[str, Driver] = MappingProxyType({}),
        changes: PinChanges | None = None,
        asterisk_of: Callable[[Channel], str] = lambda channel: "",
    ) -> CallFlow:
        """A flow by the workshop's rules."""
        engine = RulesEngine(drivers.keys())
        engine.replace(workshop_rules())
        reports = Reports()
        reports.add(self.records.append)
        return CallFlow(
            engine,
            drivers,
            Prompts(),
            reports,
            ActiveCalls(),
            guard=self.guard,
            proofs=proofs,
            pin_changes=changes,
            asterisk_of=asterisk_of,
        )

    def test_forged_call(self) -> None:
        """It is refused at its first PIN, right or wrong, and the peer is told of in log and note; none is charged."""
        for pin in ("123456", "900001"):
            channel = self.channel(None, pin)
            with capturedLogs() as logs:
                self.successResultOf(self.serve(self.proofs(self.one), channel))
            self.assertEqual(
                [line.replace('"', "") for line in channel.commands[-2:]], ["SET VARIABLE PBXROUTER refused", "HANGUP"]
            )
            self.assertEqual(len([line for line in channel.commands if line.startswith("GET DATA")]), 1)
            record = self.records.pop()
            assert record.note is not None
            self.assertEqual(record.outcome.status, "REFUSED")
            assert record.note is not None
            self.assertIn("one that is not among them needs fastagi.secret_file, or fastagi.allow", record.note.english)
            self.assertIn("from 192.0.2.1", record.note.english)
            (line,) = [str(log["log_format"]).format_map(log) for log in logs if "refused a call" in log["log_format"]]
            self.assertIn("from 192.0.2.1, whose channel Asterisk does not have", line)
        self.assertEqual((self.guard.statistics.wrong, self.guard.statistics.unchecked), (0, 0))
        self.successResultOf(self.guard_admits())

    def test_flood_of_forged_calls(self) -> None:
        """Of very many calls of one peer that Asterisk does not have a few are named in the log; all have a source."""
        proofs = self.proofs(self.one)
        flow = self.flow(proofs)
        with capturedLogs() as logs:
            for _ in range(REFUSED_LINES + 20):
                self.successResultOf(Deferred.fromCoroutine(flow.serve(self.channel(None, "123456"))))
        self.assertEqual(len([log for log in logs if "refused a call" in log["log_format"]]), REFUSED_LINES)
        self.assertEqual({record.source for record in self.records}, {"refused by 192.0.2.1"})
        self.assertEqual(len(self.records), REFUSED_LINES + 20)

    def guard_admits(self) -> Deferred[None]:
        """Key a wrong PIN at the endpoint that was named: it waits for nothing."""

        async def admit() -> None:
            attempt = await self.guard.admit(self.channel(None).request, 1)
            self.assertEqual((attempt.is_checked, attempt.ruling.delay_s), (True, 0.0))

        return Deferred.fromCoroutine(admit())

    def test_forged_change_of_a_pin(self) -> None:
        """A driver that asks for a PIN itself does not get it checked either: the call is refused, none is charged."""

        class Asks:
            """Asks for a user's PIN, as changepin does."""

            async def run(self, call: Call) -> Outcome:
                """Identify a user by a PIN that no caller keyed."""
                assert call.pins is not None
                await call.pins.identify("123456")
                return Outcome()

        def unused(*arguments: object) -> Any:
            raise AssertionError("the database was used")

        database: Any = None
        changes = PinChanges(database, self.guard, unused, unused, lambda: 1000.0)
        channel = PeerChannel(None, SimulatedCall("21", caller="33", uniqueid=UNIQUEID), ("",))
        self.successResultOf(self.serve(self.proofs(self.one), channel, {"dial": Asks()}, changes))
        self.assertEqual(self.records[-1].outcome.status, "REFUSED")
        self.assertEqual(self.guard.statistics.wrong, 0)

    def test_without_pin(self) -> None:
        """A call that needs no PIN sets no variable, and Asterisk is not asked."""
        channel = PeerChannel(None, SimulatedCall("21", caller="33"), ("",))
        self.successResultOf(self.serve(self.proofs(self.one), channel))
        self.assertEqual([line for line in channel.commands if VARIABLE in line], [])
        self.assertEqual(self.one.sent, [])

    def test_from_another_asterisk(self) -> None:
        """A call that says that it is of one Asterisk, and whose channel another has, is that one's from then on."""
        self.one.name, self.other.name = "one", "other"
        self.guard = PinGuard(None, (), lambda: 1000.0, seconds=lambda: 1000.0, has_several=True)
        flow = self.flow(self.proofs(self.one, self.other), asterisk_of=lambda channel: "one")
        with capturedLogs() as logs:
            self.successResultOf(Deferred.fromCoroutine(flow.serve(self.channel(self.other, "900001", "", ""))))
        self.assertEqual(self.records[-1].asterisk, "other")
        lines = [str(log["log_format"]).format_map(log) for log in logs]
        self.assertTrue(any("its channel is on other: correct PBXROUTER_ASTERISK there" in line for line in lines))
        self.assertTrue(any(line.endswith("number 34, asterisk other") for line in lines), lines)

    def test_asked_while_the_caller_keys(self) -> None:
        """Asterisk is asked before the PIN is keyed, and its answer is waited for after."""
        channel = self.channel(self.one, "900001", "", "")
        self.one.lists["Status"] = None
        over = self.serve(self.proofs(self.one), channel)
        self.assertEqual(len(self.one.heard("Status")), 1)
        self.assertEqual(channel.commands[-1].split(" ")[:2], ["GET", "DATA"])
        self.assertEqual(self.guard.statistics.wrong, 0)
        self.assertNoResult(over)

    def test_other_asterisk(self) -> None:
        """Wrong PINs of another Asterisk lock out its PJSIP/33, and not the one whose Asterisk is asked."""
        allowing = self.proofs(self.one, allow=True)
        for _ in range(3):
            self.successResultOf(self.serve(allowing, self.channel(None, "900001", "900002", "900003")))
        self.assertGreater(self.guard.statistics.unchecked, 0)
        self.successResultOf(self.guard_admits())


class SharedKeysTests(SynchronousTestCase):
    """The buckets of peers and the queues of trunks."""

    def setUp(self) -> None:
        """Make the guard."""
        self.now = 1_000_000.0
        self.guard = PinGuard(None, ["PJSIP/out"], lambda: self.now, seconds=lambda: self.now)

    def key(self, endpoint: str, caller: str, *, right: bool = False, standing: Standing = Standing.UNPROVEN) -> Any:
        """Key a PIN; returns the attempt."""
        channel = FakeChannel(SimulatedCall("34", caller=caller, channel=f"{endpoint}-0000001a"))

        async def key() -> Any:
            attempt = await self.guard.admit(channel.request, 1, PinSource("", "192.0.2.1", standing))
            if right and attempt.is_checked:
                await self.guard.right(attempt, "pepe")
            else:
                self.guard.wrong(attempt, channel.request, "192.0.2.1", "34")
            return attempt

        return self.successResultOf(Deferred.fromCoroutine(key()))

    def test_unproven_guesser(self) -> None:
        """New names for each guess end at the peer's bucket; an hour gives sixty more; known callers are not held."""
        self.key("PJSIP/33", "33", right=True)
        checked = sum(self.key(f"PJSIP/x{name}", f"9{name}").is_checked for name in range(500))
        self.assertEqual(checked, 60)
        late = self.key("PJSIP/y", "77", right=True)
        self.assertEqual(late.ruling.locked_by, GuessKey("peer", "192.0.2.1"))
        honest = self.key("PJSIP/33", "33")
        self.assertEqual((honest.is_checked, honest.ruling.delay_s), (True, 0.0))
        proven = self.key("PJSIP/z", "78", standing=Standing.PROVEN)
        self.assertEqual((proven.is_checked, proven.ruling.delay_s), (True, 0.0))
        self.now += 3600.0
        more = sum(self.key(f"PJSIP/v{name}", f"8{name}").is_checked for name in range(500))
        self.assertEqual(more, 60)

    def test_lock_out_by_another_machine(self) -> None:
        """A call of another machine that claims to be PJSIP/33 does not lock it out, nor become known as it."""
        for _ in range(8):
            last = self.key("PJSIP/33", "33", standing=Standing.FOREIGN)
        self.assertEqual(last.ruling.locked_by, GuessKey("endpoint", "PJSIP/33 at 192.0.2.1"))
        for standing in (Standing.UNPROVEN, Standing.PROVEN):
            honest = self.key("PJSIP/33", "33", right=True, standing=standing)
            self.assertEqual((honest.is_checked, honest.ruling.delay_s), (True, 0.0))

    def test_known_callers_of_a_trunk(self) -> None:
        """Under attack unknown numbers of a trunk wait their turn, 20 s at most; a known one waits for nothing."""
        proven = Standing.PROVEN
        self.key("PJSIP/out", "600", right=True, standing=proven)
        delays = [self.key("PJSIP/out", f"555{name}", standing=proven).ruling.delay_s for name in range(40)]
        self.assertEqual(delays[:31], [0.0] * 31)
        self.assertEqual(delays[31:34], [10.0, 20.0, 20.0])
        self.assertEqual(max(delays), 20.0)
        honest = self.key("PJSIP/out", "601", right=True, standing=proven)
        self.assertEqual((honest.is_checked, honest.ruling.delay_s), (True, 20.0))
        known = self.key("PJSIP/out", "600", right=True, standing=proven)
        self.assertEqual((known.is_checked, known.ruling.delay_s), (True, 0.0))
        inside = self.key("PJSIP/33", "33", right=True, standing=proven)
        self.assertEqual((inside.is_checked, inside.ruling.delay_s), (True, 0.0))
        for wrong in range(4):  # one who is known may mistype twice during an attack, too
            mistyped = self.key("PJSIP/out", "600", standing=proven)
            self.assertEqual((mistyped.is_checked, mistyped.ruling.delay_s), (wrong < 3, 0.0 if wrong < 3 else 8.0))
        second = self.key("PJSIP/out", "5550", standing=proven)
        self.assertEqual((second.is_checked, second.ruling.delay_s), (False, 8.0))
        self.now += 30.0
        self.assertEqual(self.key("PJSIP/out", "602", standing=proven).ruling.delay_s, 0.0)

    def test_one_pin_at_many_numbers(self) -> None:
        """The PIN of one user makes ten callers known at once: with more, its owner could guess for others as each."""
        proven = Standing.PROVEN
        for number in range(NEW_KNOWN_A_DAY + 1):
            self.key("PJSIP/out", f"6{number}", right=True, standing=proven)
        for number in range(31):
            self.key("PJSIP/out", f"555{number}", standing=proven)
        delays = [
            self.key("PJSIP/out", f"6{number}", right=True, standing=proven).ruling.delay_s
            for number in range(NEW_KNOWN_A_DAY + 1)
        ]
        self.assertEqual(delays, [0.0] * NEW_KNOWN_A_DAY + [10.0])
        self.now += 86_400.0
        self.key("PJSIP/out", "700", right=True, standing=proven)
        for number in range(31):
            self.key("PJSIP/out", f"556{number}", standing=proven)
        self.assertEqual(self.key("PJSIP/out", "700", right=True, standing=proven).ruling.delay_s, 0.0)

    def test_callers_without_a_name(self) -> None:
        """Callers without endpoint and number share a key only at one mapping and peer."""
        channel = FakeChannel(SimulatedCall("34", caller=None, channel="Local/34@x-0000001a;2"))

        def key(map_id: int, peer: str, endpoint: str = "") -> Any:
            admit = self.guard.admit(channel.request, map_id, PinSource(endpoint, peer))
            attempt = self.successResultOf(Deferred.fromCoroutine(admit))
            self.guard.give_up(attempt)
            return attempt

        for _ in range(6):
            last = key(1, "192.0.2.1")
        self.assertEqual(last.ruling.locked_by, GuessKey("unnamed", "192.0.2.1, mapping 1"))
        self.assertTrue(key(2, "192.0.2.1").is_checked)
        self.assertTrue(key(1, "192.0.2.2").is_checked)
        made_by = key(1, "192.0.2.1", "PJSIP/33")
        self.assertEqual((made_by.is_checked, made_by.keys[0]), (True, GuessKey("endpoint", "PJSIP/33")))
