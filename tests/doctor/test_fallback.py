"""The doctor's check of the fallback context."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami import AMIMessage
from pbxrouter.config import Config
from pbxrouter.doctor.fallback import MAX_CONTEXTS, check_fallback, leads_to, trunk_in
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


class FakeProbe:
    """An Asterisk with these contexts."""

    def __init__(self, fallback: str | None, contexts: dict[str, list[AMIMessage]], refusal: str = "") -> None:
        self._fallback = fallback
        self._contexts = contexts
        self._refusal = refusal
        self.protocol = self
        self.asked: list[str] = []

    async def variable(self, name: str) -> str | None:
        """Answer with the value of PBXROUTER_FALLBACK."""
        return self._fallback

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

    def test_none(self) -> None:
        """Without our dialplan there is no finding; a missing context dials nothing."""
        self.assertEqual(self.find(FakeProbe(None, {})), [])
        self.assertEqual(self.find(FakeProbe("", {})), [])
        self.assertEqual(self.find(FakeProbe("missing", {}))[0].state, "ok")

    def test_targets(self) -> None:
        """Which dial strings leave the house."""
        for data in ("IAX2/provider/1", "DAHDI/g1/${EXTEN},20", "PJSIP/21&PJSIP/x@y", "SIP/1@trunk"):
            self.assertNotEqual(trunk_in(line("Dial", data), ()), "", data)
        for data in ("PJSIP/21&PJSIP/22,20", "Local/21@phones", "IAX2/loop", ""):
            self.assertEqual(trunk_in(line("Dial", data), ()), "", data)
        self.assertEqual(trunk_in(line("NoOp", "PJSIP/x@y"), ()), "")
        self.assertEqual(leads_to(line("Goto", "${WHERE},1,1")), [])
        self.assertEqual(leads_to(line("Goto", "again")), [])

    def test_not_followed(self) -> None:
        """A place that a variable tells, and a program, cannot be followed: whether they dial a trunk is unknown."""
        for item in (
            line("Goto", "${WHERE},1,1"),
            line("GotoIf", "$[1]?${WHERE},1,1:a,1,1"),
            line("Macro", "out"),
            line("AGI", "/usr/local/bin/out"),
            line("Queue", "support"),
            line("ExecIf", "$[1]?Dial(PJSIP/${EXTEN}@provider)"),
            line("Dial", "${TRUNK}/${EXTEN}"),
            line("Dial", "Local/9@${WHERE}/n"),
            AMIMessage(b"Event: ListDialplan\r\nSwitch: Realtime/x"),
        ):
            (found,) = self.find(FakeProbe("fallback", {"fallback": [item]}))
            self.assertEqual(found.state, "unknown", item)
            self.assertIn("dialplan show fallback", found.todo)

    def test_too_many(self) -> None:
        """Of more contexts than are read it is unknown, too."""
        contexts = {f"c{number}": [include(f"c{number + 1}")] for number in range(MAX_CONTEXTS + 1)}
        (found,) = self.find(FakeProbe("c0", contexts))
        self.assertEqual(found.state, "unknown")

    def test_odd_refusal(self) -> None:
        """A context is missing only if Asterisk says so."""
        (found,) = self.find(FakeProbe("fallback", {}, "the moon is full"))
        self.assertEqual(found.state, "unknown")
