"""The doctor's check of the fallback context."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami import AMIMessage
from pbxrouter.config import Config
from pbxrouter.doctor.fallback import MAX_CONTEXTS, MAX_VARIABLES, check_fallback, leaves_house
from pbxrouter.doctor.finding import Finding
from pbxrouter.errors import ActionFailed
from pbxrouter.text import Sentence


def line(application: str, data: str, extension: str = "_2X") -> AMIMessage:
    """A line of the dialplan as ShowDialPlan lists it."""
    headers = f"Event: ListDialplan\r\nExtension: {extension}\r\nApplication: {application}\r\nAppData: {data}"
    return AMIMessage(headers.encode())


def include(context: str) -> AMIMessage:
    """A line with an include."""
    return AMIMessage(f"Event: ListDialplan\r\nIncludeContext: {context}".encode())


def switch(data: str) -> AMIMessage:
    """A line with a switch."""
    return AMIMessage(f"Event: ListDialplan\r\nExtension: _2X\r\nSwitch: {data}".encode())


class FakeProbe:
    """An Asterisk with these contexts."""

    def __init__(self, fallback: str | None, contexts: dict[str, list[AMIMessage]], refusal: str = "") -> None:
        self._fallback = fallback
        self._contexts = contexts
        self._refusal = refusal
        self.protocol = self
        self.asked: list[str] = []
        self.globals: dict[str, str] = {}
        self.variables: list[str] = []

    async def variable(self, name: str) -> str | None:
        """Answer with PBXROUTER_FALLBACK, or another global variable."""
        self.variables.append(name)
        return self._fallback if name == "PBXROUTER_FALLBACK" else self.globals.get(name, "")

    def action_list(self, name: str, headers: list[tuple[str, str]]) -> Deferred[list[AMIMessage]]:
        """Answer ShowDialPlan of a context."""
        context = headers[0][1]
        self.asked.append(context)
        if self._refusal or context not in self._contexts:
            return fail(ActionFailed(self._refusal or "Did not find context"))
        return succeed(self._contexts[context])


class FallbackTests(SynchronousTestCase):
    """check_fallback examines what the dialplan dials without the gateway."""

    def find(self, probe: Any, *trunks: str) -> list[Finding]:
        """Run check_fallback and return its findings."""
        return self.successResultOf(
            Deferred.fromCoroutine(check_fallback(probe, Config(trunks=trunks), Sentence("dialplan")))
        )

    def test_phones(self) -> None:
        """Dialling the house's phones is no problem."""
        (found,) = self.find(FakeProbe("fallback", {"fallback": [line("Dial", "PJSIP/${EXTEN},20")]}))
        self.assertEqual((found.state, "dials no trunk" in str(found.what)), ("ok", True))

    def test_trunk(self) -> None:
        """A trunk is named with the place that dials it, also in a context that is included or gone to."""
        outside = {"outside": [line("Dial", "PJSIP/${EXTEN}@provider,60", "_0X.")]}
        for lead in (
            include("outside"),
            line("Goto", "outside,${EXTEN},1"),
            line("GotoIf", "$[1]?outside,1,1:other,2,1"),
            line("Dial", "PJSIP/21&Local/9@outside/n"),
        ):
            (found,) = self.find(FakeProbe("fallback", {"fallback": [lead], **outside}))
            self.assertEqual(found.state, "wrong")
            for word in ("fallback", "PJSIP/${EXTEN}@provider", "_0X.", "outside"):
                self.assertIn(word, str(found.what))

    def test_named_trunk(self) -> None:
        """An endpoint that the settings name as a trunk is found with any text behind it."""
        probe = FakeProbe("fallback", {"fallback": [line("Dial", "PJSIP/provider,20")]})
        self.assertEqual(self.find(probe, "PJSIP/provider")[0].state, "wrong")
        self.assertEqual(self.find(probe, "PJSIP/other")[0].state, "ok")

    def test_circle(self) -> None:
        """Contexts that include each other are read once."""
        probe = FakeProbe("a", {"a": [include("b")], "b": [include("a")]})
        self.assertEqual(self.find(probe)[0].state, "ok")
        self.assertEqual(probe.asked, ["a", "b"])

    def test_not_permitted(self) -> None:
        """Without the permission the owner is told what to type."""
        (found,) = self.find(FakeProbe("fallback", {}, "Permission denied"))
        self.assertEqual((found.state, "dialplan show fallback" in str(found.todo)), ("unknown", True))

    def test_odd_refusal(self) -> None:
        """A context is missing only if Asterisk says so; of any other answer nothing can be told."""
        (found,) = self.find(FakeProbe("fallback", {}, "the moon is full"))
        self.assertEqual((found.state, "dialplan show fallback" in str(found.todo)), ("unknown", True))

    def test_none(self) -> None:
        """Without our dialplan there is no finding; a missing context dials nothing."""
        self.assertEqual(self.find(FakeProbe(None, {})), [])
        self.assertEqual(self.find(FakeProbe("", {})), [])
        self.assertEqual(self.find(FakeProbe("missing", {}))[0].state, "ok")

    def test_targets(self) -> None:
        """Which dial strings leave the house."""
        for target in (
            "IAX2/provider/1",
            "DAHDI/g1/${EXTEN}",
            "PJSIP/x@y",
            "SIP/1@trunk",
            "DAHDI/g0",
            "PJSIP/21/sip:a",
        ):
            self.assertTrue(leaves_house(target, ()), target)
        for target in ("PJSIP/21", "PJSIP/${EXTEN}", "IAX2/loop", "DAHDI/1", "PJSIP/${DB(a/b@c)}", ""):
            self.assertFalse(leaves_house(target, ()), target)
        self.assertTrue(leaves_house("pjsip/Provider", ("PJSIP/provider",)))

    def test_ways_to_a_trunk(self) -> None:
        """A trunk is found by each way on which a line of the dialplan leads on."""
        outside = [line("Dial", "PJSIP/${EXTEN}@provider,60", "_0X.")]
        for way in (
            line("Gosub", "outside,s,1(${EXTEN},2)"),
            line("GosubIf", '$["${X:1}" = "a?b"]?inside,s,1(1,2):outside,s,1'),
            line("GotoIfTime", "9:00-17:00,mon-fri,*,*?inside,1,1:outside,1,1"),
            line("ExecIf", "$[${X} > 1]?Goto(inside,1,1):Goto(outside,1,1)"),
            line("TryExec", "ExecIf($[1]?Gosub(outside,1,1))"),
            line("Dial", "PJSIP/21,20,G(outside^1^1)"),
            line("Dial", "PJSIP/21,20,tU(outside^x)"),
            line("Dial", "PJSIP/21,20,b(outside^1^1)"),
            line("RetryDial", "sound,1,2,Local/1@outside"),
            line("Page", "PJSIP/21&Local/1@outside/n"),
            line("DISA", "no-password,outside"),
            line("BackGround", "sound,,,outside"),
            line("Originate", "PJSIP/21,exten,outside,1,1"),
            line("Originate", "PJSIP/21,app,TryExec,Goto(outside,1,1)"),
            line("Goto", "${WHERE},${EXTEN},1"),
            line("Goto", "${PLACE}"),
            line("Goto", "${GLOBAL(WHERE)},1,1"),
            line("Dial", "${LEG}"),
            include("outside,9:00-17:00,mon-fri,*,*"),
        ):
            probe = FakeProbe("fallback", {"fallback": [way], "outside": outside})
            probe.globals = {"WHERE": "${WHEREVER}", "WHEREVER": "outside", "PLACE": "outside,1,1"}
            probe.globals["LEG"] = "PJSIP/22&Local/5@outside"
            self.assertEqual([found.state for found in self.find(probe)], ["wrong"], way.raw)
        for macro in (
            line("Macro", "out,${EXTEN}"),
            line("MacroIf", "$[1]?out:in"),
            line("Dial", "PJSIP/2,9,M(out^1)"),
        ):
            probe = FakeProbe("fallback", {"fallback": [macro], "macro-out": outside})
            self.assertEqual(self.find(probe)[0].state, "wrong", macro.raw)

    def test_trunk_in_a_variable(self) -> None:
        """A trunk is found in a global variable, in one that the dialplan sets, and in an argument of a subroutine."""
        for lines, values in (
            ([line("Dial", "${OUT}/${EXTEN}")], {"OUT": "PJSIP/provider"}),
            ([line("Dial", "${STRREPLACE(OUT,{number},${EXTEN})}")], {"OUT": "PJSIP/{number}@provider"}),
            ([line("Dial", "PJSIP/${EXTEN}@${OUT}")], {}),
            ([line("Dial", "${IF($[1]?PJSIP/1@provider:PJSIP/2)}")], {}),
            ([line("Set", "__OUT=PJSIP/${EXTEN}@provider"), line("Dial", "${OUT}")], {}),
            ([line("MSet", "A=1,OUT=provider"), line("Dial", "PJSIP/${OUT}")], {}),
            ([line("Gosub", "dial,s,1(1,PJSIP/9@provider)"), include("dial")], {}),
            ([line("ExecIf", "$[1]?Dial(PJSIP/${EXTEN}@provider)")], {}),
            ([switch("IAX2/user@host/context")], {}),
        ):
            probe = FakeProbe("fallback", {"fallback": lines, "dial": [line("Dial", "${ARG2}")]})
            probe.globals = values
            self.assertEqual(self.find(probe, "PJSIP/provider")[0].state, "wrong", lines[0].raw)

    def test_what_cannot_be_read(self) -> None:
        """Places that only a call can tell are named, since a trunk may be behind them."""
        for unread in (
            line("Goto", "${WHERE},1,1"),
            line("Goto", "${WHERE}"),
            line("Dial", "${WHOM}"),
            line("Dial", "PJSIP/${DB(forward/${EXTEN})}"),
            line("Queue", "house"),
            line("AGI", "agi://other"),
            line("ExecIf", "$[1]?${WHAT}"),
            switch("Realtime/x@y"),
        ):
            (found,) = self.find(FakeProbe("fallback", {"fallback": [unread]}))
            self.assertEqual(found.state, "unknown", unread.raw)
            self.assertIn("_2X in fallback", str(found.what))
        many = [line("Queue", f"q{number}") for number in range(9)]
        (found,) = self.find(FakeProbe("fallback", {"fallback": many}))
        self.assertIn("9 places in it cannot: Queue(q0) at _2X in fallback", str(found.what))
        self.assertNotIn("q5", str(found.what))

    def test_house(self) -> None:
        """Contacts of a phone, its own places and the emergency numbers are no problem."""
        lines = [
            line("Dial", "${PJSIP_DIAL_CONTACTS(${EXTEN})},30,i"),
            line("Dial", "PJSIP/${CALLERID(num):-2}"),
            line("GotoIf", '$["${DIALSTATUS}" = "BUSY"]?busy:again'),
            line("Goto", "${CONTEXT},2,1"),
            line("Goto", "s,1"),
            line("VoiceMail", "${EXTEN}@default,u"),
            include("pbxrouter-emergency-numbers"),
        ]
        emergency = {"pbxrouter-emergency-numbers": [line("Goto", "pbxrouter-emergency,${EXTEN},1")]}
        emergency["pbxrouter-emergency"] = [line("Dial", "PJSIP/${EXTEN}@provider")]
        self.assertEqual(self.find(FakeProbe("fallback", {"fallback": lines, **emergency}))[0].state, "ok")
        to_the_line = [line("Goto", "pbxrouter-emergency,${EXTEN},1")]
        self.assertEqual(self.find(FakeProbe("fallback", {"fallback": to_the_line, **emergency}))[0].state, "wrong")

    def test_back_to_the_gateway(self) -> None:
        """A fallback that leads back to the gateway is a problem."""
        contexts = {"fallback": [include("phones")], "phones": [line("Goto", "pbxrouter-ask,${EXTEN},1")]}
        (found,) = self.find(FakeProbe("fallback", contexts))
        self.assertEqual(
            (found.state, "leads back to the gateway, at _2X in phones" in str(found.what)), ("wrong", True)
        )

    def test_bounds(self) -> None:
        """Variables that name each other, and contexts without end, are read up to a limit."""
        probe = FakeProbe("fallback", {"fallback": [line("Dial", "${A}&${B}&${C}")]})
        probe.globals = {"A": "${B}${B}${B}", "B": "${A}${A}${A}", "C": "${C}"}
        self.assertEqual(self.find(probe)[0].state, "unknown")
        chain = {f"c{number}": [include(f"c{number + 1}")] for number in range(2 * MAX_CONTEXTS)}
        probe = FakeProbe("c0", chain)
        self.assertEqual(self.find(probe)[0].state, "unknown")
        self.assertEqual(len(probe.asked), MAX_CONTEXTS)
        many = "&".join(f"PJSIP/${{V{number}}}" for number in range(2 * MAX_VARIABLES))
        probe = FakeProbe("fallback", {"fallback": [line("Dial", many)]})
        self.assertEqual(self.find(probe)[0].state, "unknown")
        self.assertEqual(len(probe.variables), 1 + MAX_VARIABLES)
