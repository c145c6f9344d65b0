"""Which Asterisk a call that begins with the gateway is placed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami import AMIConnection
from pbxrouter.errors import ActionTimeout, ControlRefused, ManagerUnavailable, OriginateRefused
from pbxrouter.originate import CallRequest, Originator, originator_for
from pbxrouter.originate.originator import ASK_S, MAX_REMEMBERED, REMEMBER_S, PhoneState
from pbxrouter.rules import RulesEngine
from tests.ami_fakes import FakeAMIConnection
from tests.fakes import workshop_rules

CONTEXT = "pbxrouter-phones"


class ChoiceCase(SynchronousTestCase):
    """Has three Asterisks, all connected."""

    def setUp(self) -> None:
        """Connect to them; none has a phone."""
        self.clock = Clock()
        self.engine = RulesEngine({"dial"})
        self.engine.replace(workshop_rules())
        self.managers: dict[str, FakeAMIConnection] = {}
        self.originators: dict[str, Originator] = {}
        for name in ("madrid", "lima", "quito"):
            self.managers[name] = manager = FakeAMIConnection()
            manager.name = name
            manager.comes_up()
            self.originators[name] = self.originator(manager, (CONTEXT,))
        self.say(madrid="INVALID", lima="INVALID", quito="INVALID")

    def originator(self, manager: FakeAMIConnection, contexts: tuple[str, ...]) -> Originator:
        """An Originator on a connection."""
        return Originator(cast(AMIConnection, manager), self.engine, {"SIP": "PJSIP"}, self.clock, contexts)

    def say(self, **states: str | None) -> None:
        """What Asterisks say of every phone; None: they do not answer."""
        for name, state in states.items():
            self.managers[name].answers["Getvar"] = None if state is None else {"Value": state}

    def asking(self, channel: str = "PJSIP/33", name: str | None = None, **named: Any) -> Deferred[Any]:
        """The choice, perhaps not made yet."""
        originators: Mapping[str, Originator] = named.get("originators", self.originators)
        request = CallRequest(channel, "21", named.get("context", CONTEXT))
        return Deferred.fromCoroutine(originator_for(name, request, originators))

    def chosen(self, channel: str = "PJSIP/33", name: str | None = None, **named: Any) -> tuple[str, str]:
        """The chosen Asterisk, and the phone on it."""
        originator, request = self.successResultOf(self.asking(channel, name, **named))
        return next(name for name, known in self.originators.items() if known is originator), request.channel

    def refused(self, kind: type[Exception], channel: str = "PJSIP/33", name: str | None = None, **named: Any) -> str:
        """Why none is chosen."""
        return str(self.failureResultOf(self.asking(channel, name, **named), kind).value)

    def asked(self) -> dict[str, list[str]]:
        """What each Asterisk was asked."""
        return {
            name: [headers["Variable"] for action, headers in manager.sent if action == "Getvar"]
            for name, manager in self.managers.items()
        }


class NamedTests(ChoiceCase):
    """An Asterisk is named, or there is only one."""

    def test_named(self) -> None:
        """The named one is taken without a question, also by its name in front of the phone."""
        self.assertEqual(self.chosen(name="lima"), ("lima", "PJSIP/33"))
        self.assertEqual(self.chosen("lima:PJSIP/33"), ("lima", "PJSIP/33"))
        self.assertEqual(self.chosen("lima:PJSIP/33", "lima"), ("lima", "PJSIP/33"))
        self.assertEqual(self.asked(), {"madrid": [], "lima": [], "quito": []})

    def test_the_only_one(self) -> None:
        """The only one need not be named, and is not asked."""
        only = {"madrid": self.originators["madrid"]}
        self.assertEqual(self.chosen(originators=only), ("madrid", "PJSIP/33"))
        self.assertEqual(self.chosen("madrid:PJSIP/33", originators=only), ("madrid", "PJSIP/33"))
        self.assertEqual(self.asked()["madrid"], [])

    def test_refused(self) -> None:
        """A name that is not there, two that differ, and no Asterisk at all."""
        names = "choose one of these Asterisks: madrid, lima, quito"
        self.assertEqual(self.refused(ControlRefused, name="rom"), names)
        self.assertEqual(self.refused(ControlRefused, "rom:PJSIP/33"), names)
        self.assertEqual(
            self.refused(ControlRefused, "lima:PJSIP/33", "madrid"), "lima:PJSIP/33 is not a phone of madrid"
        )
        for name in (None, "madrid"):
            self.assertIn("no connection to AMI", self.refused(ControlRefused, name=name, originators={}))


class AskedTests(ChoiceCase):
    """No Asterisk is named: they are asked for the phone."""

    def test_the_one_that_has_it(self) -> None:
        """The only one on which the phone is connected is taken, whatever the phone is doing."""
        for state in ("NOT_INUSE", "INUSE", "BUSY", "RINGING", "RINGINUSE", "ONHOLD"):
            self.say(madrid="UNAVAILABLE", lima=state, quito="UNKNOWN")
            self.assertEqual(self.chosen(f"SIP/{state.replace('_', '')}")[0], "lima", state)
        self.assertEqual(set(self.asked()["lima"]), set(self.asked()["madrid"]))
        self.assertIn("DEVICE_STATE(PJSIP/NOTINUSE)", self.asked()["lima"])

    def test_one_that_knows_it(self) -> None:
        """If it is connected nowhere, the only one that knows it is taken; or else the only one that cannot tell."""
        self.say(madrid="UNKNOWN", lima="UNAVAILABLE")
        self.assertEqual(self.chosen()[0], "lima")
        self.say(madrid="", lima="INVALID")
        self.assertEqual(self.chosen("PJSIP/34")[0], "madrid")

    def test_several(self) -> None:
        """Several that have it are named."""
        self.say(madrid="NOT_INUSE", quito="INUSE")
        self.assertEqual(
            self.refused(OriginateRefused), "channel: several Asterisks have PJSIP/33: madrid, quito; choose one"
        )
        self.say(madrid="UNKNOWN", quito="UNKNOWN")
        self.assertEqual(
            self.refused(OriginateRefused, "PJSIP/34"),
            "channel: it is not known which of these Asterisks has PJSIP/34: madrid, quito; choose one",
        )

    def test_none(self) -> None:
        """None that has it; one that is away is not asked, and is named."""
        self.assertEqual(
            self.refused(OriginateRefused), "channel: PJSIP/33 is on none of these Asterisks: madrid, lima, quito"
        )
        self.managers["lima"].goes_down()
        self.assertEqual(
            self.refused(OriginateRefused, "PJSIP/34"),
            "channel: PJSIP/34 is on none of these Asterisks: madrid, quito; there is no connection to lima now",
        )
        self.assertEqual(self.asked()["lima"], ["DEVICE_STATE(PJSIP/33)"])

    def test_none_is_reachable(self) -> None:
        """Without any connection it is said so."""
        for manager in self.managers.values():
            manager.goes_down()
        self.assertEqual(self.refused(ManagerUnavailable), "there is no connection to madrid, lima, quito now")

    def test_one_does_not_answer(self) -> None:
        """The others are asked meanwhile; one that does not answer in time cannot tell."""
        self.say(lima=None, quito="NOT_INUSE")
        asking = self.asking()
        self.assertEqual(self.asked()["quito"], ["DEVICE_STATE(PJSIP/33)"])
        self.assertNoResult(asking)
        self.assertEqual(self.managers["lima"].timeouts["Getvar"], [ASK_S])
        self.managers["lima"].waiting[0].errback(ActionTimeout("Getvar: no answer"))
        self.assertIs(self.successResultOf(asking)[0], self.originators["quito"])

    def test_contexts(self) -> None:
        """One whose settings do not allow the context is neither asked nor taken."""
        self.originators["madrid"] = self.originator(self.managers["madrid"], ())
        self.originators["lima"] = self.originator(self.managers["lima"], ("others",))
        self.say(madrid="NOT_INUSE", lima="NOT_INUSE", quito="NOT_INUSE")
        self.assertEqual(self.chosen()[0], "quito")
        self.assertEqual((self.asked()["madrid"], self.asked()["lima"]), ([], []))
        self.assertEqual(self.chosen(context="nowhere")[0], "madrid")  # which refuses the context

    def test_no_phone(self) -> None:
        """What is no phone is not asked for: it cannot become another variable."""
        for channel in ("PJSIP/33)", "Local/33@x", "${SHELL(x)}", "33"):
            self.chosen(channel)
        self.assertEqual(self.asked()["madrid"], [])

    def test_remembered(self) -> None:
        """An answer holds for a while, and until the connection is lost; not of ever more phones."""
        self.say(madrid="NOT_INUSE")
        for advance, questions in ((0, 1), (REMEMBER_S - 1, 1), (2, 2), (0, 2)):
            self.clock.advance(advance)
            self.chosen()
            self.assertEqual(len(self.asked()["madrid"]), questions)
        self.managers["madrid"].goes_down()
        self.managers["madrid"].comes_up()
        self.chosen()
        self.assertEqual((len(self.asked()["madrid"]), len(self.asked()["lima"])), (3, 2))
        for number in range(MAX_REMEMBERED):
            self.chosen(f"PJSIP/x{number}")
        self.chosen()
        self.assertEqual(len([phone for phone in self.asked()["madrid"] if phone.endswith("/33)")]), 4)

    def test_states(self) -> None:
        """What Asterisk says of a phone; a text that names none is none."""
        for said, state in (("", PhoneState.UNTOLD), ("INVALID", PhoneState.NONE), ("x", PhoneState.UNTOLD)):
            self.say(madrid=said)
            asked = Deferred.fromCoroutine(self.originators["madrid"].phone_state(f"PJSIP/a{said}"))
            self.assertIs(self.successResultOf(asked), state)
        asked = Deferred.fromCoroutine(self.originators["madrid"].phone_state("x"))
        self.assertIs(self.successResultOf(asked), PhoneState.NONE)
