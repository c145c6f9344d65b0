"""The driver changepin over the fake channel, with PINs that answer from a script."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config.schema import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.drivers.changepin import TRIES, ChangePin
from pbxrouter.errors import ApplicationFailed, ChannelHungUp
from tests.fakes import HUNG_UP, Answers, FakeChannel, loud

OLD, NEW = "629471", "804726"
ASK, NEW_PIN, REPEAT = "agent-pass", "vm-newpassword", "vm-reenterpassword"
GOODBYE = "EXEC Playback vm-goodbye"
DENIED = Outcome("DENIED", hang_up=True)


class ScriptedPins:
    """Pins of one user whose PIN is OLD; accepts NEW as the new one. Records what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def identify(self, pin: str) -> bool:
        """Keep the PIN; only OLD is right."""
        self.asked.append(f"identify {pin}")
        return pin == OLD

    async def change(self, pin: str) -> bool:
        """Keep the PIN; only NEW is accepted."""
        self.asked.append(f"change {pin}")
        return pin == NEW


class ChangePinDriverTests(SynchronousTestCase):
    """The driver changepin: its announcements, and the PINs that it tries."""

    def run_driver(self, old: list[str], new: list[str], again: list[str], answers: Answers | None = None) -> Outcome:
        """Run the driver; the lists have what the caller keys at each of the three questions."""
        self.pins = ScriptedPins()
        scripted: Answers = {
            f"GET DATA {prompt}": [f"200 result={pin}" for pin in keyed]
            for prompt, keyed in ((ASK, old), (NEW_PIN, new), (REPEAT, again))
        }
        self.channel = FakeChannel(answers={**scripted, **(answers or {})})
        call = Call(self.channel, "33", "*99", "", self.pins)
        return self.successResultOf(Deferred.fromCoroutine(ChangePin(Config()).run(call)))

    def heard(self) -> list[str]:
        """The commands, without GET DATA's time-out and number of digits and Playback's status."""
        return [line.removesuffix(" 5000 20") for line in self.channel.commands if not line.startswith("GET VARIABLE")]

    def test_changed(self) -> None:
        """The call is answered before the first question; the new PIN is asked for twice and changed once."""
        self.assertEqual(self.run_driver([OLD], [NEW], [NEW]), Outcome())
        self.assertEqual(self.pins.asked, [f"identify {OLD}", f"change {NEW}"])
        self.assertEqual(
            self.heard(),
            [
                "ANSWER",
                f"GET DATA {ASK}",
                f"GET DATA {NEW_PIN}",
                f"GET DATA {REPEAT}",
                "EXEC Playback vm-passchanged",
            ],
        )

    def test_wrong_old_pin(self) -> None:
        """The old PIN is asked for three times, with an announcement after each; then goodbye and the hang-up."""
        self.assertEqual(self.run_driver(["1", "2", "3", OLD], [NEW], [NEW]), DENIED)
        self.assertEqual(self.pins.asked, ["identify 1", "identify 2", "identify 3"])
        self.assertEqual(self.heard(), ["ANSWER", *[f"GET DATA {ASK}", "EXEC Playback vm-incorrect"] * TRIES, GOODBYE])

    def test_old_pin_at_the_last_try(self) -> None:
        """The third try counts as the first does."""
        self.assertEqual(self.run_driver(["1", "2", OLD], ["1", "2", NEW], ["1", "2", NEW]), Outcome())
        self.assertEqual(
            self.pins.asked,
            ["identify 1", "identify 2", f"identify {OLD}", "change 1", "change 2", f"change {NEW}"],
        )

    def test_nothing_keyed(self) -> None:
        """A caller who keys nothing hears the announcement for a wrong PIN, and it is no guess."""
        self.assertEqual(self.run_driver(["", OLD], ["", NEW], ["", NEW]), Outcome())
        self.assertEqual(self.pins.asked, [f"identify {OLD}", f"change {NEW}"])
        self.assertIn("EXEC Playback vm-incorrect", self.heard())
        self.assertIn("EXEC Playback vm-invalid-password", self.heard())

    def test_new_pins_that_differ(self) -> None:
        """Two new PINs that differ are not tried; the caller hears so, three times, then goodbye."""
        self.assertEqual(self.run_driver([OLD], [NEW], ["1"]), DENIED)
        self.assertEqual(self.pins.asked, [f"identify {OLD}"])
        self.assertEqual(
            self.heard()[2:],
            [*[f"GET DATA {NEW_PIN}", f"GET DATA {REPEAT}", "EXEC Playback vm-mismatch"] * TRIES, GOODBYE],
        )

    def test_new_pins_that_are_refused(self) -> None:
        """A new PIN that is refused is announced as such, three times, then goodbye."""
        self.assertEqual(self.run_driver([OLD], ["1"], ["1"]), DENIED)
        self.assertEqual(self.pins.asked, [f"identify {OLD}", *["change 1"] * TRIES])
        self.assertEqual(
            self.heard()[2:],
            [*[f"GET DATA {NEW_PIN}", f"GET DATA {REPEAT}", "EXEC Playback vm-invalid-password"] * TRIES, GOODBYE],
        )

    def test_missing_sounds(self) -> None:
        """A beep replaces a missing sound, and silence a missing beep; each is logged."""
        missing: Answers = {
            f"GET DATA {ASK}": "200 result=-1",
            "GET DATA beep": ["200 result=-1", f"200 result={NEW}"],
            'GET DATA ""': f"200 result={OLD}",
            f"GET DATA {NEW_PIN}": "200 result=-1",
            "GET VARIABLE PLAYBACKSTATUS": "200 result=1 (FAILED)",
        }
        with capturedLogs() as logs:
            self.assertEqual(self.run_driver([], [], [NEW], missing), Outcome())
        self.assertEqual(self.pins.asked, [f"identify {OLD}", f"change {NEW}"])
        lines = [event["error"] for event in loud(logs)]
        for line, sound in zip(lines, (ASK, "beep", NEW_PIN, "vm-passchanged"), strict=True):
            self.assertIn(repr(sound), line)
        self.assertEqual(
            {event["log_format"] for event in loud(logs)},
            {"changepin: {error}; install it or name another under [prompts]"},
        )

    def test_caller_leaves(self) -> None:
        """A hang-up at a question ends the driver; nothing more is tried."""
        for answers in (
            {f"GET DATA {ASK}": HUNG_UP},
            {f"GET DATA {ASK}": f"200 result={OLD}", "GET DATA vm-": HUNG_UP},
        ):
            self.pins = ScriptedPins()
            channel = FakeChannel(answers={**answers})
            run = Deferred.fromCoroutine(ChangePin(Config()).run(Call(channel, "33", "*99", "", self.pins)))
            self.failureResultOf(run, ChannelHungUp)
            self.assertNotIn("change", " ".join(self.pins.asked))

    def test_without_database(self) -> None:
        """Without PINs the driver fails, before it answers the call."""
        channel = FakeChannel()
        run = Deferred.fromCoroutine(ChangePin(Config()).run(Call(channel, "33", "*99", "")))
        failure = self.failureResultOf(run, ApplicationFailed)
        self.assertEqual(str(failure.value), "changepin: there is no database to change PINs in")
        self.assertEqual(channel.commands, [])
