"""Calls in progress from the gateway and AMI: what is shown where only one of the two knows it, and where both do."""

from __future__ import annotations

from dataclasses import replace

from pbxrouter.call import Phase
from pbxrouter.call.active_calls import MAX_TEXT
from pbxrouter.counter import CallView, live_calls, live_version
from pbxrouter.rules import Decision, Verdict
from tests.call.test_active_calls import ALLOWED, ActiveCallsCase, FakeCounter


class ViewTests(ActiveCallsCase):
    """Every field of a call that is shown."""

    def setUp(self) -> None:
        """Set up the calls of a single Asterisk."""
        super().setUp()
        self.counter = FakeCounter()

    def shown(self, *counters: FakeCounter, limit: int = 10) -> tuple[CallView, ...]:
        """The calls, newest first."""
        return live_calls(self.active_calls, counters or (self.counter,), limit).calls

    def test_by_ami(self) -> None:
        """A call that only AMI knows has what its events tell, and nothing of an application."""
        self.counter.call("1.1", 50, caller="44", number="600")
        self.counter.counting.label(self.counter.table.live["1.1"], ALLOWED, "ANSWER")
        (call,) = self.shown()
        self.assertEqual(
            call,
            CallView(
                "lab/1.1", "lab", "44", "", "600", "2X", "", "", "", "", 50, None, Phase.OUTSIDE, in_gateway=False
            ),
        )

    def test_by_the_gateway(self) -> None:
        """A call that only the gateway knows has all of its decision, and no Asterisk."""
        gateway = self.began(at=7, uniqueid="1.1", name="Ana")
        self.active_calls.set_decision(gateway, replace(ALLOWED, forwarded_by="PJSIP/22"))
        self.active_calls.set_phase(gateway, Phase.RUNNING)
        (call,) = self.shown()
        self.assertEqual(
            call,
            CallView(
                call.key,
                "",
                "33",
                "Ana",
                "21",
                "2X",
                "dial",
                "SIP",
                "33",
                "PJSIP/22",
                7,
                None,
                Phase.RUNNING,
                in_gateway=True,
            ),
        )

    def test_by_both(self) -> None:
        """A call that both know has the gateway's texts, AMI's key, Asterisk and answer."""
        self.counter.call("1.1", 9, caller="ami", number="600")
        self.counter.answer("1.1", 12)
        gateway = self.began(at=10, uniqueid="1.1", name="Ana")
        self.active_calls.set_decision(gateway, ALLOWED)
        self.active_calls.set_phase(gateway, Phase.RUNNING)
        self.assertEqual(
            self.shown(),
            (
                CallView(
                    "lab/1.1",
                    "lab",
                    "33",
                    "Ana",
                    "21",
                    "2X",
                    "dial",
                    "SIP",
                    "33",
                    "",
                    9,
                    12,
                    Phase.TALKING,
                    in_gateway=True,
                ),
            ),
        )

    def test_what_the_gateway_does_not_know(self) -> None:
        """Caller and number come from AMI where the gateway has none, short and printable."""
        self.counter.call("1.1", 9, caller="\x07" + "4" * 5000, number="\x07" + "6" * 5000)
        self.began("s", caller=None, uniqueid="1.1")
        (call,) = self.shown()
        self.assertEqual(call.caller, "\\x07" + "4" * (MAX_TEXT - 1) + "…")
        self.assertEqual(call.number, "\\x07" + "6" * (MAX_TEXT - 1) + "…")
        (call,) = live_calls(self.active_calls, (), 10).calls
        self.assertEqual((call.caller, call.number), ("", ""))

    def test_short_texts_of_ami(self) -> None:
        """Texts of a call that only AMI knows are short and printable, too."""
        self.counter.call("1.1", 9, caller="\x07" + "4" * 5000, number="\x07" + "6" * 5000)
        self.counter.table.live["1.1"].labels = {("mapping", "\x07" + "X" * 5000), ("user", "a")}
        (call,) = self.shown()
        for text, letter in ((call.caller, "4"), (call.number, "6"), (call.pattern, "X")):
            self.assertEqual(text, "\\x07" + letter * (MAX_TEXT - 1) + "…")

    def test_beyond_the_last(self) -> None:
        """Of a place beyond the last call the last page is shown."""
        for number in range(5):
            self.counter.call(f"1.{number}", number)
        for start, shown in ((0, [4, 3]), (2, [2, 1]), (4, [0]), (5, [0]), (90, [0])):
            found = live_calls(self.active_calls, (self.counter,), 2, start)
            self.assertEqual(([call.since for call in found.calls], found.start), (shown, min(start, 4)), start)

    def test_several_mappings(self) -> None:
        """Of several mappings of one call always the same is shown; users and extensions are none."""
        self.counter.call("1.1", 9)
        self.counter.table.live["1.1"].labels = {("mapping", "9X"), ("mapping", "7X"), ("extension", "1")}
        (call,) = self.shown()
        self.assertEqual(call.pattern, "7X")
        self.counter.table.live["1.1"].labels = {("extension", "1"), ("user", "0")}
        (call,) = self.shown()
        self.assertEqual(call.pattern, "")

    def test_since(self) -> None:
        """A call began when the first of the two heard of it."""
        for started, began, since in ((5, 6, 5), (6, 5, 5)):
            with self.subTest(since=since):
                self.setUp()
                self.counter.call("1.1", started)
                self.began(at=began, uniqueid="1.1")
                (call,) = self.shown()
                self.assertEqual(call.since, since)

    def test_answered_in_another_phase(self) -> None:
        """Only a running application becomes a talk: an answered call that hears a prompt is still in its phase."""
        self.counter.call("1.1", 9)
        self.counter.answer("1.1", 12)
        gateway = self.began(uniqueid="1.1")
        for phase in Phase:
            self.active_calls.set_phase(gateway, phase)
            (call,) = self.shown()
            self.assertIs(call.phase, Phase.TALKING if phase is Phase.RUNNING else phase)

    def test_keys(self) -> None:
        """Keys differ between Asterisks, calls, and the gateway's calls with one Uniqueid, and stay the same."""
        other = FakeCounter("branch")
        for counter in (self.counter, other):
            counter.call("1.1", 9)
            counter.call("1.2", 9)
        self.began(uniqueid="3.1")
        self.began(uniqueid="3.1")
        self.began(uniqueid="3.2")
        keys = {call.key for call in self.shown(self.counter, other)}
        self.assertEqual(len(keys), 7)
        self.assertEqual({call.key for call in self.shown(self.counter, other)}, keys)
        self.assertTrue({"lab/1.1", "lab/1.2", "branch/1.1", "branch/1.2"} < keys)

    def test_two_asterisks_with_one_uniqueid(self) -> None:
        """The gateway's call is merged with that of its own Asterisk; the other's call is listed by itself."""
        other = FakeCounter("branch")
        self.counter.call("1.1", 9)
        other.call("1.1", 8)
        self.began(uniqueid="1.1", asterisk="branch")
        self.assertEqual(
            [(call.asterisk, call.in_gateway) for call in self.shown(self.counter, other)],
            [("lab", False), ("branch", True)],
        )

    def test_which_of_two_is_not_known(self) -> None:
        """A call is merged with the only call that it can be; if it can be either Asterisk's, with neither."""
        other = FakeCounter("branch")
        self.counter.call("1.1", 9)
        other.call("1.1", 8)
        other.call("1.2", 7)
        self.began(uniqueid="1.1")
        self.began(uniqueid="1.2")
        self.assertEqual(
            sorted((call.asterisk, call.in_gateway) for call in self.shown(self.counter, other)),
            [("", True), ("branch", False), ("branch", True), ("lab", False)],
        )

    def test_an_asterisk_without_ami(self) -> None:
        """A call of an Asterisk that AMI does not know is none of another's, whatever its Uniqueid."""
        self.counter.call("1.1", 9)
        self.began(uniqueid="1.1", asterisk="branch")
        self.assertEqual(
            sorted((call.asterisk, call.in_gateway) for call in self.shown()), [("branch", True), ("lab", False)]
        )

    def test_out_of_sync(self) -> None:
        """Of an Asterisk that is away no calls of its own are listed; another's are, and known calls stay merged."""
        other = FakeCounter("branch")
        for counter in (self.counter, other):
            counter.call("1.1", 9)
        self.began(uniqueid="1.1", asterisk="lab")
        self.counter.call("1.2", 9)
        other.call("1.3", 5)
        self.counter.in_sync = False
        self.assertEqual(
            [call.key for call in self.shown(self.counter, other)], ["lab/1.1", "branch/1.1", "branch/1.3"]
        )

    def test_the_first_of_two(self) -> None:
        """If the gateway serves one call twice, the first tells what the caller dialled, and it is one call."""
        self.counter.call("1.1", 90)
        self.counter.says("Newchannel", "1.2", 91, "1.1")
        first = self.began("75", at=91, uniqueid="1.1")
        self.active_calls.set_decision(first, Decision(Verdict.ALLOW, "75", None, "44", ()))
        self.began("99", at=92, uniqueid="1.2")
        self.began("98", at=93, uniqueid="2.1")
        self.assertEqual([(call.number, call.since) for call in self.shown()], [("98", 93), ("75", 90)])

    def test_generator_of_counters(self) -> None:
        """The Asterisks may come from a generator, which can be read once only."""
        self.counter.call("1.1", 9)
        self.counter.call("1.2", 8)
        self.began(uniqueid="1.1")
        found = live_calls(self.active_calls, (counter for counter in [self.counter]), 10)
        self.assertEqual([call.key for call in found.calls], ["lab/1.1", "lab/1.2"])

    def test_version(self) -> None:
        """The version differs after each change of the calls, and when they become known or unknown, in any order."""
        seen = set()
        for changes in range(4):
            for in_sync in (False, True):
                self.counter.changes, self.counter.in_sync = changes, in_sync
                seen.add(live_version(self.active_calls, [self.counter]))
        self.assertEqual(len(seen), 8)
        self.began()
        self.assertNotIn(live_version(self.active_calls, [self.counter]), seen)
