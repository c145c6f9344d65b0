"""Originator: requests that are refused before Asterisk is asked, and the progress of the others."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami.channel_check import ASK_AGAIN_S, UNANSWERED_S
from pbxrouter.ami.connection import AMIConnection
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.config.schema import TECHNOLOGIES
from pbxrouter.errors import ActionFailed, ActionTimeout, ManagerUnavailable, OriginateRefused
from pbxrouter.originate.originator import (
    CAUSE_GRACE_S,
    MARGIN_S,
    RING_S,
    CallRequest,
    Originator,
    Progress,
    check_request,
)
from pbxrouter.rules.engine import RulesEngine
from pbxrouter.rules.model import Mapping as Rule
from pbxrouter.rules.model import Verdict
from pbxrouter.rules.ruleset import RuleSet
from tests.ami_fakes import FakeAMIConnection
from tests.fakes import workshop_rules

OURS = "id-1"
NUMBER = "1795409729.7"


class CheckTests(SynchronousTestCase):
    """Which requests are refused."""

    def refused(self, request: CallRequest, technologies: dict[str, str] | None = None) -> str:
        """Check that a request is refused; returns the one line."""
        error = self.assertRaises(OriginateRefused, check_request, request, technologies or TECHNOLOGIES)
        self.assertNotRegex(str(error), r"[\r\n\0]")
        self.assertTrue(str(error).isascii())
        return str(error)

    def test_numbers(self) -> None:
        """Numbers with characters that could mean more to Dial are refused."""
        for number in (
            *(
                "",
                " ",
                "1e5",
                "+",
                "*",
                "#",
                "*#",
                "-",
                "--",
                "21 ",
                " 21",
                "21\n",
                "\n21",
                "21\r\nAction: Command",
            ),
            *(
                "21\0",
                "Local/21@localline",
                "21&22",
                "21,5",
                "21|5",
                "_X.",
                "s",
                "h",
                "i",
                "t",
                "${EXTEN}",
                "21/n",
            ),
            *(
                "\u0968\u0967",
                "\uff12\uff11",
                "\u00b2\u00b9",
                "\u0662\u0661",
                "2\u200b1",
                "21\udcff",
                "0x15",
                "1.5",
                "-1.0",
                "1_000",
                "sip:21@host",
            ),
            *("1" * 41, "9" * 100_000),
        ):
            self.assertIn("to: ", self.refused(CallRequest("PJSIP/33", number, "phones")), repr(number[:50]))

    def test_channels(self) -> None:
        """A channel is one phone of a technology of phones, without options."""
        for channel in (
            *(
                "",
                "33",
                "/33",
                "PJSIP/",
                "PJSIP/33/n",
                "PJSIP/33&PJSIP/44",
                "PJSIP/33@trunk",
                "PJSIP/33,5",
                "PJSIP//33",
            ),
            *(
                "Local/33@phones",
                "local/33",
                "LOCAL/33",
                "Local/33",
                "PJSIP/33\r\nX: y",
                "PJSIP/33\n",
                "\nPJSIP/33",
            ),
            *(
                "PJSIP/33\0",
                "PJSIP/\uff13\uff13",
                "\uff30JSIP/33",
                "PJSIP/ñ",
                "PJSIP/-33",
                "PJSIP/.",
                "PJSIP/${X}",
                "PJSIP/sip:33@x",
            ),
            *(
                "CBAnn/33",
                "Bridge/33",
                "AudioSocket/33",
                "MulticastRTP/33",
                "Message/33",
                "Surrogate/33",
                "Media/33",
            ),
            *(
                "IAX2/user:secret@host/33",
                "DAHDI/g1/33",
                "PJSIP/33 ",
                " PJSIP/33",
                "PJSIP /33",
                "PJSIP/" + "3" * 65,
            ),
        ):
            self.assertIn("channel: ", self.refused(CallRequest(channel, "21", "phones")), repr(channel))

    def test_configured_local(self) -> None:
        """A technology whose dial string begins with Local makes no phones of Local channels."""
        self.refused(CallRequest("Local/33", "21", "phones"), {"Out": "Local/x"})

    def test_contexts(self) -> None:
        """A context is a name."""
        for context in (
            *(
                "",
                " ",
                "a b",
                "a\r\nAction: x",
                "a\n",
                "a,b",
                "a/b",
                "a@b",
                "${X}",
                "-a",
                "_a",
                "ñ",
                "a|b",
                "a&b",
            ),
            "a" * 80,
        ):
            self.assertIn("context: ", self.refused(CallRequest("PJSIP/33", "21", context)), repr(context))

    def test_long_values_are_cut(self) -> None:
        """The error quotes the beginning of a long value."""
        self.assertLess(len(self.refused(CallRequest("x" * 100_000, "21", "phones"))), 200)

    def test_accepted(self) -> None:
        """A request is accepted as written, without dashes; its extension is the phone's name."""
        for given, number in ("21", "21"), ("+34-91-123", "+3491123"), ("*98", "*98"), ("00#", "00#"):
            checked, extension = check_request(CallRequest("PJSIP/33", given, "from-inside_2"), TECHNOLOGIES)
            self.assertEqual((checked.channel, checked.number, extension), ("PJSIP/33", number, "33"))

    def test_technologies(self) -> None:
        """Technologies are old names and those of the settings, in any case; other dial string text is for no phone."""
        own = {**TECHNOLOGIES, "IAX2": "IAX2/loop", "Door": "PJSIP"}
        for given, made in (
            *(("SIP/33", "PJSIP/33"), ("sip/33", "PJSIP/33"), ("Zap/1", "DAHDI/1"), ("pjsip/33", "pjsip/33")),
            *(("IAX2/33", "IAX2/33"), ("Door/33", "PJSIP/33"), ("SCCP/33", "SCCP/33")),
        ):
            self.assertEqual(check_request(CallRequest(given, "21", "phones"), own)[0].channel, made)

    def test_ring_time(self) -> None:
        """The ring time is a whole number of seconds within its bounds."""
        for given, kept in (-1, 1), (0, 1), (20, 20), (10**9, 300):
            self.assertEqual(check_request(CallRequest("PJSIP/33", "21", "phones", given), {})[0].ring_s, kept)


class CallCase(SynchronousTestCase):
    """Has an Originator on a fake AMI connection."""

    def setUp(self) -> None:
        """Make the Originator, with the workshop's rules."""
        self.manager, self.clock = FakeAMIConnection(), Clock()
        self.manager.comes_up()
        self.engine = RulesEngine({"dial"})
        self.engine.replace(workshop_rules())
        self.originator = Originator(
            cast(AMIConnection, self.manager), self.engine, TECHNOLOGIES, self.clock, ("phones",)
        )
        self.told: list[Progress] = []

    def ask(self, channel: str = "SIP/33", number: str = "21", ring_s: int = RING_S) -> Deferred[None]:
        """Ask for a call."""
        request = CallRequest(channel, number, "phones", ring_s)
        return Deferred.fromCoroutine(self.originator.originate(request, self.told.append))

    def begin(self) -> None:
        """Begin a call that Asterisk has accepted."""
        self.successResultOf(self.ask())

    def happens(self, name: str, **headers: str) -> None:
        """Receive an event from AMI."""
        self.manager.event(f"Event: {name}", *(f"{header}: {value}" for header, value in headers.items()))

    def rings(self) -> None:
        """Let the phone ring."""
        self.happens("Newstate", Uniqueid=OURS, Linkedid=OURS, ChannelState="5")

    def responds(self, response: str, reason: str) -> None:
        """Receive the OriginateResponse from AMI."""
        self.happens("OriginateResponse", Response=response, Reason=reason, Uniqueid=OURS)

    def answered(self) -> None:
        """Let the phone ring and be answered."""
        self.begin()
        self.rings()
        self.responds("Success", "4")

    def dialled(self, status: str) -> None:
        """End the Dial to the number."""
        self.happens("DialEnd", Uniqueid=OURS, Linkedid=OURS, DestUniqueid=NUMBER, DestLinkedid=OURS, DialStatus=status)

    def hangs_up(self, cause: str = "16", uniqueid: str = OURS) -> None:
        """End a channel of the call."""
        self.happens("Hangup", Uniqueid=uniqueid, Linkedid=OURS, Cause=cause)

    @property
    def states(self) -> list[str]:
        """The states that were reported."""
        return [progress.state for progress in self.told]

    def assert_over(self, *states: str) -> None:
        """Exactly this was reported, also after further events; nothing is kept and no timer runs."""
        self.rings()
        self.responds("Success", "4")
        self.hangs_up("17")
        self.manager.goes_down()
        self.clock.advance(1000)
        self.assertEqual(self.states, list(states))
        self.assertTrue(self.told[-1].is_last)
        self.assertFalse(any(line.is_last for line in self.told[:-1]))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual({line.uniqueid for line in self.told}, {OURS})


class ForgedTests(CallCase):
    """Events that a caller forged for the phone's channel."""

    def goes_on(self) -> None:
        """Let Asterisk confirm that the phone's channel exists."""
        self.manager.alive[OURS] = AMIMessage(b"Event: Status\r\nUniqueid: " + OURS.encode())

    def test_hangup(self) -> None:
        """A Hangup ends no call whose channel goes on; the true one does."""
        self.answered()
        self.goes_on()
        self.hangs_up()
        self.clock.pump(ASK_AGAIN_S)
        self.assertEqual((self.states, self.manager.forged_events), (["ringing", "answered"], 1))
        self.manager.alive.clear()
        self.hangs_up()
        self.assert_over("ringing", "answered", "ended")

    def test_response(self) -> None:
        """A failed OriginateResponse ends no call whose channel goes on."""
        self.begin()
        self.rings()
        self.goes_on()
        self.responds("Failure", "3")
        self.clock.pump(ASK_AGAIN_S)
        self.assertEqual((self.states, self.manager.forged_events), (["ringing"], 1))
        self.manager.alive.clear()
        self.responds("Failure", "3")
        self.assert_over("ringing", "noanswer")

    def test_that_cannot_be_checked(self) -> None:
        """While Asterisk does not answer, nothing ends the call; a loss of the connection does."""
        self.answered()
        self.manager.alive[OURS] = AMIMessage(b"Event: Status\r\nUniqueid: " + OURS.encode())
        self.manager.lists["Status"] = ActionTimeout("late")
        for _ in range(3):
            self.hangs_up()
        self.assertEqual(len(self.manager.heard("Status")), 1)
        self.clock.pump(UNANSWERED_S)
        self.assertEqual((self.states, self.manager.forged_events), (["ringing", "answered"], 0))
        self.manager.goes_down()
        self.assertEqual(self.states, ["ringing", "answered", "failed"])
        self.clock.advance(UNANSWERED_S[-1])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AskingTests(CallCase):
    """Requests until Asterisk accepts them."""

    def test_action(self) -> None:
        """The Originate action: asynchronous, with a ChannelId of its own, with the phone's caller ID."""
        self.ask(ring_s=20)
        self.assertEqual(
            self.manager.sent,
            [
                (
                    "Originate",
                    {
                        "Channel": "PJSIP/33",
                        "Context": "phones",
                        "Exten": "21",
                        "Priority": "1",
                        "CallerID": "33",
                        "Timeout": "20000",
                        "ChannelId": OURS,
                        "Async": "true",
                    },
                )
            ],
        )
        self.assertEqual(self.told, [])

    def test_malformed(self) -> None:
        """For an invalid request neither rules nor Asterisk are asked."""
        error = self.failureResultOf(self.ask("PJSIP/33&PJSIP/44"), OriginateRefused).value
        self.assertIsNone(error.decision)
        self.assertEqual(self.manager.sent, [])

    def test_not_granted(self) -> None:
        """A number that the extension may not dial without a PIN, or that is not there, is refused with the reason."""
        for channel, number, verdict, why in (
            ("PJSIP/44", "21", Verdict.PIN, "44 is not among the extensions"),
            ("PJSIP/33", "75", Verdict.PIN, "33"),
            ("PJSIP/33", "999", Verdict.INVALID, "999"),
            ("PJSIP/trunk", "21", Verdict.PIN, "trunk"),
        ):
            error = self.failureResultOf(self.ask(channel, number), OriginateRefused).value
            self.assertEqual(error.decision.verdict, verdict)
            self.assertIn(why, str(error))
        self.assertEqual(self.manager.sent, [])

    def tie(self, endpoints: dict[str, str], *grants: tuple[str, set[int]]) -> None:
        """Tie extensions with these grants to endpoints."""
        self.engine.replace(
            RuleSet.build(
                [Rule(2, "2X", "dial", "SIP"), Rule(3, "3X", "dial", "SIP")],
                [(number, frozenset(granted)) for number, granted in grants],
                [],
                str,
                endpoints=endpoints,
            )
        )

    def test_tied_extension(self) -> None:
        """The extension that is tied to the phone is asked about, not one named as the phone; in any case."""
        self.tie({"44": "PJSIP/desk", "33": "PJSIP/33"}, ("44", {2}), ("33", {2}))
        for channel, extension in (
            ("PJSIP/desk", "44"),
            ("pjsip/desk", "44"),
            ("SIP/desk", "44"),
            ("PJSIP/33", "33"),
            ("pJSIP/33", "33"),
        ):
            self.manager.sent.clear()
            self.successResultOf(self.ask(channel))
            self.assertEqual([headers["CallerID"] for _, headers in self.manager.sent], [extension], channel)

    def test_extension_tied_elsewhere(self) -> None:
        """A phone named as an extension that is tied to another one, or tied to one without the grant, is refused."""
        self.tie({"33": "PJSIP/desk", "44": "PJSIP/22"}, ("33", {2}), ("44", {3}), ("22", {2}))
        for channel, why in (
            ("PJSIP/33", "33 may not dial 21: 21 matches 2X: dial SIP; 33 is tied to PJSIP/desk, and"),
            ("IAX2/desk", "desk may not dial"),
            ("PJSIP/22", "44 may not dial 21: 21 matches 2X: dial SIP; 44 has no grant for 2X"),
        ):
            self.assertIn(why, str(self.failureResultOf(self.ask(channel), OriginateRefused).value))
        self.assertEqual(self.manager.sent, [])

    def test_several_extensions_of_a_phone(self) -> None:
        """The extension with the phone's name comes first, then the first that may dial the number."""
        self.tie({"50": "PJSIP/33", "51": "PJSIP/33", "33": "PJSIP/33"}, ("50", {3}), ("51", {2, 3}), ("33", {3}))
        for number, extension in (("21", "51"), ("35", "33")):
            self.manager.sent.clear()
            self.successResultOf(self.ask("PJSIP/33", number))
            self.assertEqual([headers["CallerID"] for _, headers in self.manager.sent], [extension])

    def test_in_another_language(self) -> None:
        """Both the refusal and its reasons are translated."""
        spanish = {
            "{extension} may not dial {number}: {why}": "{extension} no puede marcar {number}: {why}",
            "no pattern matches {number}": "ningún patrón coincide con {number}",
        }
        error = self.failureResultOf(self.ask("PJSIP/33", "999"), OriginateRefused).value
        self.assertEqual(str(error), "33 may not dial 999: no pattern matches 999")
        self.assertEqual(
            error.sentence.translated(lambda text: spanish.get(text, text)),
            "33 no puede marcar 999: ningún patrón coincide con 999",
        )

    def test_down(self) -> None:
        """Without a connection a request fails at once, and nothing is kept."""
        self.manager.is_up = False
        self.assertFalse(self.originator.is_up)
        self.failureResultOf(self.ask(), ManagerUnavailable)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused_by_asterisk(self) -> None:
        """If Asterisk refuses, its words are the error; nothing else is reported or kept."""
        self.manager.answers["Originate"] = ActionFailed("Originate: Extension does not exist.")
        self.assertIn("does not exist", str(self.failureResultOf(self.ask(), ActionFailed).value))
        self.rings()
        self.assertEqual(self.told, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost_while_asking(self) -> None:
        """A connection that is lost while Asterisk is asked is one failure."""
        self.manager.answers["Originate"] = None
        done = self.ask()
        self.manager.goes_down()
        self.failureResultOf(done, ManagerUnavailable)
        self.assertEqual(self.told, [])


class ProgressTests(CallCase):
    """The progress of a call."""

    def test_good_call(self) -> None:
        """A good call rings, is answered, connected and ended."""
        self.answered()
        self.dialled("ANSWER")
        self.happens("BridgeEnter", Uniqueid=OURS, Linkedid=OURS)
        self.assertEqual(self.states, ["ringing", "answered"])
        self.happens("BridgeEnter", Uniqueid=NUMBER, Linkedid=OURS)
        self.hangs_up(uniqueid=NUMBER)
        self.assertEqual(self.states, ["ringing", "answered", "connected"])
        self.hangs_up()
        self.assert_over("ringing", "answered", "connected", "ended")

    def test_answered_without_ringing(self) -> None:
        """A phone that answers by itself, of which no ringing is told, has been answered all the same."""
        self.begin()
        self.responds("Success", "4")
        self.assertEqual(self.states, ["answered"])
        self.hangs_up()
        self.assert_over("answered", "ended")

    def test_each_step_once(self) -> None:
        """A state that comes again is not reported again."""
        self.begin()
        self.rings()
        self.rings()
        self.assertEqual(self.states, ["ringing"])

    def test_failures(self) -> None:
        """The reason of a failure is the Hangup's, before or after a response without one."""
        for cause, state in (
            *(
                ("17", "busy"),
                ("21", "rejected"),
                ("19", "noanswer"),
                ("20", "unavailable"),
                ("34", "congestion"),
            ),
            *(("0", "unavailable"), ("", "unavailable"), ("x", "unavailable")),
        ):
            for hangup_first in (True, False):
                self.setUp()
                self.begin()
                if hangup_first:
                    self.hangs_up(cause)
                    self.assertEqual(self.told, [])
                self.responds("Failure", "0")
                if not hangup_first:
                    self.assertEqual(self.told, [])
                    self.hangs_up(cause)
                self.clock.advance(CAUSE_GRACE_S)
                self.assert_over(state)

    def test_no_channel(self) -> None:
        """A call without a channel fails without a Hangup."""
        self.begin()
        self.responds("Failure", "0")
        self.clock.advance(CAUSE_GRACE_S / 2)
        self.assertEqual(self.told, [])
        self.clock.advance(CAUSE_GRACE_S / 2)
        self.assert_over("unavailable")

    def test_no_answer(self) -> None:
        """A phone that rang and was not answered is reported so."""
        self.begin()
        self.rings()
        self.responds("Failure", "3")
        self.assert_over("ringing", "noanswer")

    def test_switched_off(self) -> None:
        """A phone that never rang is reported as such."""
        self.begin()
        self.responds("Failure", "3")
        self.assertIn("did not ring", self.told[-1].why)
        self.assert_over("unavailable")

    def test_number_not_connected(self) -> None:
        """If the phone was answered and the number not connected, the number's outcome is reported."""
        for status, state in (
            *(("BUSY", "busy"), ("NOANSWER", "noanswer"), ("CHANUNAVAIL", "unavailable")),
            *(("CONGESTION", "congestion"), ("CANCEL", "ended"), ("INVALIDARGS", "ended")),
        ):
            self.setUp()
            self.answered()
            self.dialled(status)
            self.hangs_up()
            self.assert_over("ringing", "answered", state)

    def test_number_rejects(self) -> None:
        """A rejection, which DialEnd calls NOANSWER, is known by the other channel's Hangup, before or after it."""
        for hangup_first in (True, False):
            self.setUp()
            self.answered()
            if hangup_first:
                self.hangs_up("21", NUMBER)
            self.dialled("NOANSWER")
            if not hangup_first:
                self.hangs_up("21", NUMBER)
            self.hangs_up("21")
            self.assert_over("ringing", "answered", "rejected")

    def test_second_try(self) -> None:
        """If the number's first way was busy and the second answered, connected is reported."""
        self.answered()
        self.dialled("BUSY")
        self.dialled("ANSWER")
        self.happens("BridgeEnter", Uniqueid=NUMBER, Linkedid=OURS)
        self.hangs_up()
        self.assert_over("ringing", "answered", "connected", "ended")

    def test_never_dialled(self) -> None:
        """A call that the dialplan answers without a Dial is reported as ended, with no connection."""
        self.answered()
        self.hangs_up()
        self.assertIn("not connected", self.told[-1].why)
        self.assert_over("ringing", "answered", "ended")

    def test_late_response(self) -> None:
        """An OriginateResponse that comes after the outcome changes nothing of the report."""
        for after in range(4):
            for status, state in (("BUSY", "busy"), ("NOANSWER", "noanswer"), ("ANSWER", "connected")):
                self.setUp()
                self.begin()
                self.rings()
                if after == 0:
                    self.responds("Success", "4")
                self.dialled(status)
                if after == 1:
                    self.responds("Success", "4")
                if status == "ANSWER":
                    self.happens("BridgeEnter", Uniqueid=NUMBER, Linkedid=OURS)
                if after == 2:
                    self.responds("Success", "4")
                self.hangs_up()
                if after == 3:
                    self.responds("Success", "4")
                more = ("connected", "ended") if state == "connected" else (state,)
                self.assert_over("ringing", "answered", *more)

    def test_over_before_the_response(self) -> None:
        """A call may be answered and hung up at once, without a Dial."""
        self.begin()
        self.rings()
        self.hangs_up()
        self.responds("Success", "4")
        self.assert_over("ringing", "answered", "ended")

    def test_lost(self) -> None:
        """The connection is lost during the call: the result is reported as unknown."""
        for steps in (self.begin, self.answered):
            self.setUp()
            steps()
            before = self.states
            self.manager.goes_down()
            self.assertIn("the result of the call is unknown", self.told[-1].why)
            self.assert_over(*before, "failed")

    def test_silence(self) -> None:
        """A call without events fails MARGIN_S after its ring time, and not before."""
        for ring_s in (RING_S, 7):
            self.setUp()
            self.successResultOf(self.ask(ring_s=ring_s))
            self.clock.advance(ring_s + MARGIN_S - 0.1)
            self.assertEqual(self.states, [])
            self.clock.advance(0.1)
            self.assert_over("failed")
            self.assertEqual(self.told[-1].why, "Asterisk did not report the result of the call")

    def test_long_talk(self) -> None:
        """Once it is answered a call may last."""
        self.answered()
        self.clock.advance(100_000)
        self.assertEqual(self.states, ["ringing", "answered"])

    def test_other_calls(self) -> None:
        """Events of other calls, and those without ids, are ignored."""
        self.begin()
        for other in ("1795409729.9", "id-", f"{OURS}1", ""):
            self.happens("Newstate", Uniqueid=other, Linkedid=other, ChannelState="5")
            self.happens("OriginateResponse", Uniqueid=other, Response="Success")
            self.happens("Hangup", Uniqueid=other, Linkedid=other, Cause="17")
        self.happens("Hangup")
        self.assertEqual(self.told, [])

    def test_two_at_once(self) -> None:
        """Two calls at once get their own reports."""
        self.begin()
        second: list[Progress] = []
        request = CallRequest("PJSIP/33", "22", "phones")
        Deferred.fromCoroutine(self.originator.originate(request, second.append))
        self.rings()
        self.assertEqual((self.states, second), (["ringing"], []))


class ContextTests(SynchronousTestCase):
    """In which contexts calls may begin."""

    def test_only_there(self) -> None:
        """Calls begin only in the contexts that the settings name; without any, the error names the setting."""
        engine = RulesEngine({"dial"})
        engine.replace(workshop_rules())
        for contexts, allowed in ((("phones",), False), (("phones", "elsewhere"), True), ((), False)):
            originator = Originator(cast(AMIConnection, FakeAMIConnection()), engine, {}, Clock(), contexts)
            request = CallRequest("PJSIP/33", "21", "elsewhere")
            begun = Deferred.fromCoroutine(originator.originate(request, lambda progress: None))
            if allowed:
                begun.addErrback(lambda failure: None)
            else:
                refused = str(self.failureResultOf(begun, OriginateRefused).value)
                expected = (
                    "asterisk.originate: phones"
                    if contexts
                    else "asterisk.originate lists no context, so no call can be placed; add elsewhere to allow it"
                )
                self.assertIn(expected, refused)
