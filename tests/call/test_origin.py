"""By which endpoint a call came and who forwarded it, as Asterisk's variables tell."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.call.origin import MAX_PARTIES, MAX_VALUES, Origin, inherited, origin_of
from pbxrouter.rules import Forwarder
from pbxrouter.simulator import SimulatedCall
from tests.fakes import Answers, FakeChannel

OWN = "${BLINDTRANSFER},${TRANSFERERNAME},${FORWARDERNAME},${PARKER},${PBXROUTER_FORWARDED_BY}"
HOPS = "${CHANNEL(max_forwards)}"
FULL = "GET FULL VARIABLE"
LOCAL = "Local/600@pbxrouter-00000001;2"
TRUNKS = frozenset({"PJSIP/trunk"})


class Origins(SynchronousTestCase):
    """Asking for a call's origin."""

    def origin(self, channel: str, *replies: str, rdnis: str = "unknown") -> tuple[Origin, list[str]]:
        """The origin of a call, and the commands that asked for it."""
        answers: Answers = {FULL: replies}
        fake = FakeChannel(SimulatedCall("600", caller="33", channel=channel, rdnis=rdnis, uniqueid="9.1"), answers)
        return self.successResultOf(Deferred.fromCoroutine(origin_of(fake, TRUNKS))), fake.commands

    def forwarders(self, channel: str, *replies: str) -> list[str]:
        """The endpoints that forwarded a call."""
        return [forwarder.endpoint for forwarder in self.origin(channel, *replies)[0].forwarders]

    def test_plain_call(self) -> None:
        """A plain call is asked for its endpoint with one command."""
        self.assertEqual(
            self.origin("PJSIP/33-00000001", "200 result=1 (,,,,)"),
            (Origin("PJSIP/33"), [f'{FULL} "{OWN}"']),
        )
        self.assertEqual(
            self.origin("PJSIP/trunk-00000001", "200 result=1 (,,,,)")[0], Origin("PJSIP/trunk", by_trunk=True)
        )

    def test_forwarded(self) -> None:
        """Each of Asterisk's variables, and the one that the legs of our own Dial inherit, names the forwarder."""
        for values, endpoints in (
            ("PJSIP/21-00000003,,,,", ["PJSIP/21"]),
            (",PJSIP/21-00000003,,,", ["PJSIP/21"]),
            (",,PJSIP/21-00000003,,", ["PJSIP/21"]),
            (",,,PJSIP/21,", ["PJSIP/21"]),
            (",,,PJSIP/home-deadbeef,", ["PJSIP/home-deadbeef"]),
            (",,,,9.1&PJSIP/21&PJSIP/22", ["PJSIP/21", "PJSIP/22"]),
            (",,,,PJSIP/21&PJSIP/22", ["unknown"]),
            (",,,,PJSIP/21", ["unknown"]),
            ("PJSIP/21-00000003,PJSIP/21-00000003,,PJSIP/21,9.1&PJSIP/22", ["PJSIP/21"]),
            ("Local/21@x-00000001;1,,,,", ["unknown"]),
            ("PJSIP/2 1-00000003,,,,", ["unknown"]),
        ):
            self.assertEqual(self.forwarders("PJSIP/33-00000001", f"200 result=1 ({values})"), endpoints, values)

    def test_last_party_counts(self) -> None:
        """Of several variables the one that Asterisk clears first is the newest, and alone names the forwarder."""
        for values, endpoint in (
            ("PJSIP/21-00000003,PJSIP/33-00000004,PJSIP/34-00000005,PJSIP/22,9.1&PJSIP/35", "PJSIP/21"),
            (",PJSIP/33-00000004,PJSIP/34-00000005,PJSIP/22,9.1&PJSIP/35", "PJSIP/22"),
            (",PJSIP/33-00000004,PJSIP/34-00000005,,9.1&PJSIP/35", "PJSIP/34"),
            (",PJSIP/33-00000004,,,9.1&PJSIP/35", "PJSIP/33"),
            (",,,,9.1&PJSIP/35", "PJSIP/35"),
        ):
            self.assertEqual(self.forwarders("PJSIP/36-00000001", f"200 result=1 ({values})"), [endpoint], values)

    def test_left_by_the_call_before(self) -> None:
        """What a called phone's channel inherited counts for the call that it was dialled for, not for its own."""
        origin, commands = self.origin("PJSIP/35-00000002", "200 result=1 (,,,,7.0&PJSIP/22)")
        self.assertEqual((origin, len(commands)), (Origin("PJSIP/35", has_leftover=True), 1))

    def test_trunk_sends_on(self) -> None:
        """A trunk that transfers is recognised as a trunk."""
        origin = self.origin("PJSIP/33-00000001", "200 result=1 (PJSIP/trunk-0000000a,,,,)")[0]
        self.assertEqual(origin, Origin("PJSIP/33", forwarders=(Forwarder("PJSIP/trunk", is_trunk=True),)))

    def test_values_that_cannot_be_told_apart(self) -> None:
        """A channel name with a comma in it stands for a forwarder without grants."""
        self.assertEqual(self.forwarders("PJSIP/33-00000001", "200 result=1 (PJSIP/2,1-00000003,,,,)"), ["unknown"])

    def test_too_much(self) -> None:
        """Of more parties, or longer values, than a call can have it is not known who they are; none is left out."""
        for count, names in (
            (MAX_PARTIES, [f"PJSIP/{place}" for place in range(MAX_PARTIES)]),
            (MAX_PARTIES + 1, ["unknown"]),
            (5000, ["unknown"]),
        ):
            value = "&".join(("9.1", *(f"PJSIP/{place}" for place in range(count))))
            self.assertEqual(self.forwarders("PJSIP/33-00000001", f"200 result=1 (,,,,{value})"), names)
        value = f",,,,9.1&PJSIP/{'x' * MAX_VALUES}"[:MAX_VALUES]
        (longest,) = self.forwarders("PJSIP/33-00000001", f"200 result=1 ({value})")
        self.assertTrue(longest.startswith("PJSIP/x"), longest[:20])
        self.assertEqual(self.forwarders("PJSIP/33-00000001", f"200 result=1 ({value}x)"), ["unknown"])
        for length in (MAX_VALUES + 1, 1_000_000):
            self.assertEqual(self.forwarders("PJSIP/33-00000001", f"200 result=1 ({'x' * length})"), ["unknown"])
            self.assertEqual(self.forwarders("PJSIP/33-00000001", f"200 result=1 ({',' * length})"), ["unknown"])

    def test_local_channel(self) -> None:
        """A Local channel inherits the endpoint, and who forwarded the call, of the call's first channel."""
        origin, commands = self.origin(
            LOCAL, "200 result=1 (,,,,,7.0,19)", "200 result=1 (PJSIP/trunk-00000001,33,20,PJSIP/21-00000003,,,,)"
        )
        self.assertEqual(origin, Origin("PJSIP/trunk", True, (Forwarder("PJSIP/21"),)))
        self.assertEqual(
            commands,
            [
                f'{FULL} "{OWN},${{CHANNEL(linkedid)}},{HOPS}"',
                f'{FULL} "${{CHANNEL}},${{CALLERID(num)}},{HOPS},{OWN}" 7.0',
            ],
        )

    def test_leg_of_our_dial(self) -> None:
        """A leg inherits from the channel that dialled it, which may have been forwarded again since."""
        for inherited_, maker, endpoints in (
            ("8.0&PJSIP/22", "PJSIP/33-00000001,33,19,,,,,8.0&PJSIP/22", ["PJSIP/22"]),
            ("8.0&PJSIP/22&PJSIP/35", "PJSIP/33-00000001,33,19,,,,,", ["PJSIP/22", "PJSIP/35"]),
            ("8.0&PJSIP/22", "PJSIP/33-00000001,33,19,PJSIP/21-00000003,,,,8.0&PJSIP/22", ["PJSIP/21"]),
            ("8.0&PJSIP/22", "PJSIP/33-00000001,33,19,,,,PJSIP/21,8.0&PJSIP/22", ["PJSIP/21"]),
            ("8.0&PJSIP/22", "PJSIP/21-00000001,21,19,,,,,8.0&PJSIP/22", ["unknown"]),
            ("8.0&PJSIP/22", "PJSIP/33-00000001,3,3,19,,,,,8.0&PJSIP/22", ["unknown"]),
        ):
            origin, commands = self.origin(LOCAL, f"200 result=1 (,,,,{inherited_},7.0,18)", f"200 result=1 ({maker})")
            self.assertEqual([forwarder.endpoint for forwarder in origin.forwarders], endpoints, maker)
            self.assertEqual(commands[1].rpartition(" ")[2], "8.0")
        self.assertEqual(self.forwarders(LOCAL, "200 result=1 (,,,,8.0&PJSIP/22,7.0,18)", "200 result=0"), ["unknown"])

    def test_leg_of_another_channel(self) -> None:
        """A first channel with another number did not make the leg: who sent that channel's call on proves nothing."""
        for first, endpoints in (
            ("PJSIP/33-00000001,33,19,,,,,7.0&PJSIP/22", ["PJSIP/22"]),
            ("PJSIP/21-00000001,21,19,,,,,7.0&PJSIP/22", ["unknown"]),
            ("PJSIP/21-00000001,21,20,PJSIP/22-00000002,,,,", ["unknown"]),
            ("PJSIP/21-00000001,,20,PJSIP/22-00000002,,,,", ["unknown"]),
            ("PJSIP/33-00000001,33,19,,,,,8.0&PJSIP/22", []),
            ("PJSIP/21-00000001,21,19,,,,,", []),
        ):
            self.assertEqual(
                self.forwarders(LOCAL, "200 result=1 (,,,,,7.0,19)", f"200 result=1 ({first})"), endpoints, first
            )

    def test_further_leg_of_a_redirected_call(self) -> None:
        """With a leg between that may be of a forward, neither first channel nor FORWARDED_BY names the forwarder."""
        for left, hops, makers_hops, rdnis, endpoints, claimed in (
            ("", "19", "20", "21", [], "21"),
            ("", "18", "20", "21", ["unknown"], None),
            ("", "20", "20", "21", ["unknown"], None),
            ("", "19", "", "21", ["unknown"], None),
            ("", "", "20", "21", ["unknown"], None),
            ("", "-1", "0", "21", [], "21"),
            ("", "18", "20", "unknown", [], None),
            ("8.0&PJSIP/22", "18", "19", "22", ["PJSIP/22"], None),
            ("8.0&PJSIP/22", "17", "19", "22", ["unknown"], None),
            ("8.0&PJSIP/22", "17", "19", "", ["PJSIP/22"], None),
        ):
            origin, _ = self.origin(
                LOCAL,
                f"200 result=1 (,,,,{left},7.0,{hops})",
                f"200 result=1 (PJSIP/33-00000001,33,{makers_hops},,,,,)",
                rdnis=rdnis,
            )
            found = (
                [forwarder.endpoint for forwarder in origin.forwarders],
                origin.claimed_forwarder and origin.claimed_forwarder.number,
            )
            self.assertEqual(found, (endpoints, claimed), (left, hops, makers_hops, rdnis))

    def test_leg_without_a_number(self) -> None:
        """A call that shows no number matches a channel without one."""
        answers: Answers = {
            FULL: ["200 result=1 (,,,,,7.0,19)", "200 result=1 (PJSIP/33-00000001,,20,PJSIP/21-00000003,,,,)"]
        }
        for caller in (None, "unknown"):
            fake = FakeChannel(SimulatedCall("600", caller=caller, channel=LOCAL, uniqueid="9.1"), answers)
            origin = self.successResultOf(Deferred.fromCoroutine(origin_of(fake, TRUNKS)))
            self.assertEqual(origin.forwarders, (Forwarder("PJSIP/21"),))

    def test_forwarded_leg(self) -> None:
        """The leg of a forward was forwarded by the phone that forwards, not by a party of the first channel."""
        origin, commands = self.origin(LOCAL, "200 result=1 (,,PJSIP/22-00000005,,8.0&PJSIP/35,7.0,19)")
        self.assertEqual((origin.forwarders, len(commands)), ((Forwarder("PJSIP/22"),), 1))

    def test_local_channel_alone(self) -> None:
        """Without another first channel the endpoint is not known."""
        for replies, count in (
            (["200 result=1 (,,,,,9.1,20)"], 1),
            (["200 result=1 (,,,,,,)"], 1),
            (["200 result=1 (,,,,,7 0,19)"], 1),
        ):
            origin, commands = self.origin(LOCAL, *replies)
            self.assertEqual((origin, len(commands)), (Origin(), count))

    def test_first_channel_gone(self) -> None:
        """Of a Local channel that outlived the call's first one it is not known who made it: that narrows."""
        for reply in ("200 result=0", "200 result=1 (,,,,,,,)"):
            self.assertEqual(self.forwarders(LOCAL, "200 result=1 (,,,,,7.0,19)", reply), ["unknown"])

    def test_claim(self) -> None:
        """agi_rdnis is a claim, and counts only if Asterisk itself names no forwarder."""
        self.assertEqual(
            self.origin("PJSIP/trunk-00000001", "200 result=1 (,,,,)", rdnis="22")[0],
            Origin("PJSIP/trunk", True, claimed_forwarder=Forwarder(number="22")),
        )
        claimed = self.origin("PJSIP/trunk-00000001", "200 result=1 (,,,,)", rdnis="PJSIP/22")[0].claimed_forwarder
        self.assertEqual(claimed, Forwarder(number="unknown"))
        origin = self.origin(LOCAL, "200 result=1 (,,PJSIP/21-00000003,,,9.1,20)", rdnis="21")[0]
        self.assertEqual(origin, Origin(forwarders=(Forwarder("PJSIP/21"),)))

    def test_inherited(self) -> None:
        """The legs of a Dial inherit readable endpoints only."""
        self.assertEqual(inherited("7.0", [Forwarder("PJSIP/21"), Forwarder("PJSIP/22")]), "7.0&PJSIP/21&PJSIP/22")
        self.assertEqual(inherited("7.0", [Forwarder("a&b"), Forwarder("")]), "7.0&unknown")
