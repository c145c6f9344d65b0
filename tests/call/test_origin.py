"""By which endpoint a call came and who sent it on, as Asterisk's variables tell."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.call.origin import Origin, inherited, origin_of
from pbxrouter.rules import Party
from pbxrouter.simulator import SimulatedCall
from tests.fakes import Answers, FakeChannel

OWN = "${BLINDTRANSFER},${TRANSFERERNAME},${FORWARDERNAME},${PARKER},${PBXROUTER_SENT_ON_BY}"
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

    def sent_on_by(self, channel: str, *replies: str) -> list[str]:
        """The endpoints that sent a call on."""
        return [party.endpoint for party in self.origin(channel, *replies)[0].sent_on_by]

    def test_plain_call(self) -> None:
        """A plain call is asked for its endpoint with one command."""
        self.assertEqual(
            self.origin("PJSIP/33-00000001", "200 result=1 (,,,,)"),
            (Origin("PJSIP/33"), [f'{FULL} "{OWN}"']),
        )
        self.assertEqual(
            self.origin("PJSIP/trunk-00000001", "200 result=1 (,,,,)")[0], Origin("PJSIP/trunk", by_trunk=True)
        )

    def test_sent_on(self) -> None:
        """Each of Asterisk's variables, and the one that the legs of our own Dial inherit, names who sent a call on."""
        for values, endpoints in (
            ("PJSIP/21-00000003,,,,", ["PJSIP/21"]),
            (",PJSIP/21-00000003,,,", ["PJSIP/21"]),
            (",,PJSIP/21-00000003,,", ["PJSIP/21"]),
            (",,,PJSIP/21,", ["PJSIP/21"]),
            (",,,,PJSIP/21&PJSIP/22", ["PJSIP/21", "PJSIP/22"]),
            ("PJSIP/21-00000003,PJSIP/21-00000003,,PJSIP/21,PJSIP/22", ["PJSIP/21"]),
            ("PJSIP/21-00000003,,,PJSIP/22,PJSIP/35", ["PJSIP/21", "PJSIP/22"]),
            ("Local/21@x-00000001;1,,,,", ["unknown"]),
            ("PJSIP/2 1-00000003,,,,", ["unknown"]),
        ):
            self.assertEqual(self.sent_on_by("PJSIP/33-00000001", f"200 result=1 ({values})"), endpoints, values)

    def test_trunk_sends_on(self) -> None:
        """A trunk that transfers is recognised as a trunk."""
        origin = self.origin("PJSIP/33-00000001", "200 result=1 (PJSIP/trunk-0000000a,,,,)")[0]
        self.assertEqual(origin, Origin("PJSIP/33", sent_on_by=(Party("PJSIP/trunk", is_trunk=True),)))

    def test_values_that_cannot_be_told_apart(self) -> None:
        """A channel name with a comma in it stands for a party without grants."""
        self.assertEqual(self.sent_on_by("PJSIP/33-00000001", "200 result=1 (PJSIP/2,1-00000003,,,,)"), ["unknown"])

    def test_local_channel(self) -> None:
        """A Local channel inherits the endpoint, and who sent the call on, of the call's first channel."""
        origin, commands = self.origin(
            LOCAL, "200 result=1 (,,,,,7.0)", "200 result=1 (PJSIP/trunk-00000001,PJSIP/21-00000003,,,,)"
        )
        self.assertEqual(origin, Origin("PJSIP/trunk", True, (Party("PJSIP/21"),)))
        self.assertEqual(commands, [f'{FULL} "{OWN},${{CHANNEL(linkedid)}}"', f'{FULL} "${{CHANNEL}},{OWN}" 7.0'])

    def test_forwarded_leg(self) -> None:
        """The leg of a forward was sent on by the phone that forwards, whatever the first channel went through."""
        self.assertEqual(
            self.sent_on_by(
                LOCAL,
                "200 result=1 (,,PJSIP/22-00000005,,PJSIP/35,7.0)",
                "200 result=1 (PJSIP/33-00000001,PJSIP/21-00000003,,,,)",
            ),
            ["PJSIP/22"],
        )

    def test_local_channel_alone(self) -> None:
        """Without another first channel, or once that is gone, the endpoint is not known."""
        for replies, count in (
            (["200 result=1 (,,,,,9.1)"], 1),
            (["200 result=1 (,,,,,)"], 1),
            (["200 result=1 (,,,,,7 0)"], 1),
            (["200 result=1 (,,,,,7.0)", "200 result=0"], 2),
        ):
            origin, commands = self.origin(LOCAL, *replies)
            self.assertEqual((origin, len(commands)), (Origin(), count))

    def test_claim(self) -> None:
        """agi_rdnis is a claim, and counts only if Asterisk itself names no party."""
        self.assertEqual(
            self.origin("PJSIP/trunk-00000001", "200 result=1 (,,,,)", rdnis="22")[0],
            Origin("PJSIP/trunk", True, claimed=Party(number="22")),
        )
        origin = self.origin(LOCAL, "200 result=1 (,,PJSIP/21-00000003,,,9.1)", rdnis="21")[0]
        self.assertEqual(origin, Origin(sent_on_by=(Party("PJSIP/21"),)))

    def test_inherited(self) -> None:
        """The legs of a Dial inherit readable endpoints only."""
        self.assertEqual(inherited([Party("PJSIP/21"), Party("PJSIP/22")]), "PJSIP/21&PJSIP/22")
        self.assertEqual(inherited([Party("a&b"), Party("")]), "unknown")
