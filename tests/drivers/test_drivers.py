"""The built-in drivers over the fake channel, and loading drivers."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import schema
from pbxrouter.config.schema import Config
from pbxrouter.drivers import GROUP, Call, Driver, Outcome, load_drivers
from pbxrouter.drivers.conference import Conference
from pbxrouter.drivers.dial import Dial, dial_options, dial_string, goes_outside
from pbxrouter.drivers.hangup import Hangup
from pbxrouter.drivers.playback import Playback
from pbxrouter.drivers.saydigits import SayDigits
from pbxrouter.drivers.voicemail import Voicemail
from pbxrouter.errors import ApplicationFailed, ChannelHungUp, CommandRefused, ConnectionClosed
from tests.fakes import HUNG_UP, Answers, FakeChannel, loud

SETTINGS = Config(technologies={"SIP": "PJSIP", "Zap": "DAHDI"}, dial=schema.DialSettings(timeout=5, options="tT"))


class Connecting(SynchronousTestCase):
    """Which drivers connect people."""

    def test_built_in(self) -> None:
        """Dial and conference connect people; the talk of the others' calls is none."""
        connecting = {name for name, driver in load_drivers(Config()).items() if getattr(driver, "connects", True)}
        self.assertEqual(connecting, {"dial", "conference"})


class DriverCase(SynchronousTestCase):
    """Runs drivers on a fake channel."""

    def run_driver(
        self,
        driver: Driver,
        data: str = "",
        number: str = "21",
        caller: str | None = "33",
        answers: Answers | None = None,
    ) -> tuple[Outcome, list[str]]:
        """Run a driver; returns its outcome and the commands that were sent."""
        channel = FakeChannel(answers=answers)
        outcome = self.successResultOf(Deferred.fromCoroutine(driver.run(Call(channel, caller, number, data))))
        return outcome, channel.commands

    def refused(self, driver: Driver, data: str = "", caller: str | None = "33") -> str:
        """Check that a driver refuses without sending a command; returns the message."""
        channel = FakeChannel()
        failure = self.failureResultOf(
            Deferred.fromCoroutine(driver.run(Call(channel, caller, "21", data))), ApplicationFailed
        )
        self.assertEqual(channel.commands, [])
        self.assertNotIn("\n", str(failure.value))
        return str(failure.value)


class Dialling(DriverCase):
    """The driver dial and what it sends."""

    def test_data(self) -> None:
        """Technologies, templates and several targets become dial strings."""
        for data, target in (
            ("SIP", "PJSIP/21"),
            ("IAX2", "IAX2/21"),
            ("Zap/1", "DAHDI/1/21"),
            ("PJSIP/{number}@trunk", "PJSIP/21@trunk"),
            ("SIP/{number}@{caller}", "PJSIP/21@33"),
            ("SIP/x{number}y{number}", "PJSIP/x21y21"),
            ("SIP & IAX2", "PJSIP/21&IAX2/21"),
            ("Local/{number}@default/n", "Local/21@default/n"),
            ("sip", "PJSIP/21"),
        ):
            self.assertEqual(dial_string(data, "21", "3-3", SETTINGS.technologies), target)

    def test_data_that_names_nothing(self) -> None:
        """Data that is empty or could mean more to Dial is refused."""
        for data in ("", " ", "SIP&", "&", "SIP,5", "S IP", "SIP&a b"):
            line = self.refused(Dial(SETTINGS), data)
            self.assertIn("a mapping to dial needs a technology or a template as its data, not '", line)

    def test_braces(self) -> None:
        """Braces other than {number} and {caller} are refused, with the two that are accepted."""
        for data in (
            "PJSIP/{extension}",
            "PJSIP/{number",
            "PJSIP/number}",
            "SIP/{number}@{}",
            "SIP/{{number}}",
            "{",
            "}",
        ):
            line = self.refused(Dial(SETTINGS), data)
            self.assertIn("braces", line)
            self.assertIn("accepted are {number} and {caller}", line)
            self.assertRaises(ApplicationFailed, dial_string, data, "21", "33", {})

    def test_caller_that_is_not_shown(self) -> None:
        """{caller} needs a number: no other text of a caller gets into the dial string."""
        for caller in (None, "", "unknown", "3&SIP/1", "3,3"):
            line = self.refused(Dial(SETTINGS), "SIP/{caller}", caller)
            self.assertIn("needs the caller's number", line)

    def test_run(self) -> None:
        """Timeout and options are the settings'; the outcome is the Dial's."""
        answers: Answers = {
            "GET VARIABLE DIALSTATUS": "200 result=1 (BUSY)",
            "GET VARIABLE HANGUPCAUSE": "200 result=1 (17)",
        }
        outcome, commands = self.run_driver(Dial(SETTINGS), "SIP", answers=answers)
        self.assertEqual((outcome, outcome.answered_s), (Outcome("BUSY", "17"), 0))
        self.assertEqual(commands[:2], ["CHANNEL STATUS", "EXEC Dial PJSIP/21,5,tTi"])

    def test_forwarding(self) -> None:
        """A called phone may forward calls only where the settings say so; a letter in an argument is no option."""
        self.assertEqual(schema.DialSettings().forwarding, False)
        for options, forwarding, expected in (
            ("", False, "i"),
            ("tT", False, "tTi"),
            ("it", False, "it"),
            ("I", False, "Ii"),
            ("m(lift)t", False, "m(lift)ti"),
            ("m(lift)it", False, "m(lift)it"),
            ("", True, ""),
            ("tT", True, "tT"),
            ("i", True, "i"),
        ):
            self.assertEqual(dial_options(options, forwarding), expected)

    def test_forwarding_outside(self) -> None:
        """Who is called outside cannot forward the call, also where phones may."""
        settings = schema.Config(trunks=("PJSIP/Provider",), dial=schema.DialSettings(forwarding=True))
        for data, expected in (
            ("PJSIP", "PJSIP/21,60"),
            ("Local/{number}@phones", "Local/21@phones,60"),
            ("PJSIP/33&PJSIP/{number}", "PJSIP/33&PJSIP/21,60"),
            ("DAHDI/g1&PJSIP/{number}", "DAHDI/g1/21&PJSIP/21,60,i"),
            ("PJSIP/Provider", "PJSIP/Provider,60,i"),
            ("pjsip/PROVIDER", "pjsip/PROVIDER,60,i"),
            ("PJSIP/{number}@Provider", "PJSIP/21@Provider,60,i"),
            ("IAX2/provider/{number}", "IAX2/provider/21,60,i"),
            ("DAHDI/g1", "DAHDI/g1/21,60,i"),
        ):
            _, commands = self.run_driver(Dial(settings), data)
            self.assertIn(f"EXEC Dial {expected}", commands)
        self.assertTrue(goes_outside("PJSIP/provider", {"pjsip/provider"}))
        self.assertFalse(goes_outside("PJSIP/provider", ()))

    def test_answered(self) -> None:
        """The outcome has the seconds of talk, if Asterisk counts only those and no prompt may have answered."""
        answers: Answers = {
            "GET VARIABLE DIALSTATUS": "200 result=1 (ANSWER)",
            "GET VARIABLE ANSWEREDTIME": "200 result=1 (7)",
        }
        for data, status, talk_s in (
            ("SIP", "200 result=4", 7),
            ("SIP", "200 result=6", None),
            ("SIP", ChannelHungUp(), None),
            ("SIP", CommandRefused(510, "CHANNEL STATUS", "Invalid"), None),
            ("Local/{number}@other", "200 result=4", None),
            ("SIP&local/{number}@other", "200 result=4", None),
        ):
            outcome, commands = self.run_driver(Dial(SETTINGS), data, answers={**answers, "CHANNEL STATUS": status})
            self.assertEqual((outcome.status, outcome.answered_s), ("ANSWER", talk_s), (data, status))
            self.assertEqual("CHANNEL STATUS" in commands, "ocal" not in data)

    def test_talk_by_ami(self) -> None:
        """Where AMI tells of the talk, Asterisk is not asked for the caller's state."""
        channel = FakeChannel(answers={"GET VARIABLE DIALSTATUS": "200 result=1 (ANSWER)"})
        call = Call(channel, "33", "21", "SIP", has_talk=True)
        outcome = self.successResultOf(Deferred.fromCoroutine(Dial(SETTINGS).run(call)))
        self.assertEqual((outcome.status, outcome.answered_s), ("ANSWER", None))
        self.assertEqual(channel.commands[0], "EXEC Dial PJSIP/21,5,tTi")

    def test_outcomes_that_are_equal(self) -> None:
        """Seconds of talk do not tell one outcome from another; status, cause and hang-up do."""
        outcome = Outcome("ANSWER", "16", 7)
        self.assertEqual(outcome, Outcome("ANSWER", "16", 8))
        for other in (Outcome("BUSY", "16", 7), Outcome("ANSWER", "17", 7), Outcome("ANSWER", "16", 7, True)):
            self.assertNotEqual(outcome, other)


class Others(DriverCase):
    """The drivers other than dial."""

    def test_voicemail(self) -> None:
        """voicemail opens the caller's mailbox, in the context that the data names."""
        outcome, commands = self.run_driver(Voicemail(SETTINGS))
        self.assertEqual((outcome, commands[:2]), (Outcome(), ["ANSWER", "EXEC VoiceMailMain 33@default"]))
        self.assertEqual(self.run_driver(Voicemail(SETTINGS), "work")[1][1], "EXEC VoiceMailMain 33@work")

    def test_mailbox_that_is_not_entered(self) -> None:
        """VoiceMailMain() fails of a wrong password, and if the caller hangs up, which is told apart."""
        answers: Answers = {"EXEC VoiceMailMain": "200 result=-1"}
        self.assertEqual(self.run_driver(Voicemail(SETTINGS), answers=answers)[0], Outcome("NOTENTERED"))
        for result in ("-1", "0"):  # what Asterisk says of a caller who hangs up at the password prompt differs
            answers = {"EXEC VoiceMailMain": f"200 result={result}", "CHANNEL STATUS": ChannelHungUp()}
            call = Call(FakeChannel(answers=answers), "33", "66", "")
            self.failureResultOf(Deferred.fromCoroutine(Voicemail(SETTINGS).run(call)), ChannelHungUp)

    def test_voicemail_without_a_number(self) -> None:
        """voicemail refuses callers without a number and data that is no context."""
        for caller in (None, "", "33,s", "33@other"):
            line = self.refused(Voicemail(SETTINGS), "", caller)
            self.assertEqual(line, "the call shows no number, so it has no mailbox")
        for data in ("a b", "a,s", "ñ", "a@b"):
            self.assertIn("context", self.refused(Voicemail(SETTINGS), data))

    def test_conference(self) -> None:
        """conference enters the room of the number, with the profiles in the data."""
        asks = "GET VARIABLE CONFBRIDGE_RESULT"
        self.assertEqual(self.run_driver(Conference(SETTINGS))[1], ["ANSWER", "EXEC ConfBridge 21", asks])
        commands = self.run_driver(Conference(SETTINGS), "big,loud")[1]
        self.assertEqual(commands, ["ANSWER", "EXEC ConfBridge 21,big,loud", asks])

    def test_end_of_a_conference(self) -> None:
        """A caller may leave, by a key or by hanging up, or be put out; one who cannot enter hears that it failed."""
        for answers, status in (
            ({"GET VARIABLE CONFBRIDGE_RESULT": "200 result=1 (DTMF)"}, "DONE"),
            ({"GET VARIABLE CONFBRIDGE_RESULT": ChannelHungUp()}, "DONE"),
            ({"EXEC ConfBridge": ChannelHungUp()}, "DONE"),
            ({"GET VARIABLE CONFBRIDGE_RESULT": "200 result=1 (KICKED)"}, "KICKED"),
        ):
            self.assertEqual(self.run_driver(Conference(SETTINGS), answers=answers)[0], Outcome(status))
        failures: tuple[tuple[type[Exception], Answers], ...] = (
            (ApplicationFailed, {"GET VARIABLE CONFBRIDGE_RESULT": "200 result=1 (FAILED)"}),
            (ConnectionClosed, {"EXEC ConfBridge": ConnectionClosed()}),
        )
        for failure, failing in failures:
            call = Call(FakeChannel(answers=failing), "33", "21", "")
            self.failureResultOf(Deferred.fromCoroutine(Conference(SETTINGS).run(call)), failure)

    def test_data_that_cannot_work(self) -> None:
        """The ending of a sound's file, and blanks around a profile, are refused when the data is saved."""
        for data, name in (("hello-world.gsm", "hello-world"), ("custom/x.WAV", "custom/x"), ("a.sln16", "a")):
            found = str(Playback(SETTINGS).data_problem(data))
            self.assertIn(f"without the ending of its file, {name!r}", found)
        for data in ("hello-world", "digits/1", "v1.2", "{language}/hi"):
            self.assertIsNone(Playback(SETTINGS).data_problem(data), data)
        for data in (" ", "big ,loud", "big, loud", "big,loud,menu "):
            self.assertIn("quiet_bridge,guest", str(Conference(SETTINGS).data_problem(data)))
        for data in ("", "big", ",loud", "my room,,menu"):
            self.assertIsNone(Conference(SETTINGS).data_problem(data), data)

    def test_playback(self) -> None:
        """playback plays a sound, which answers the call; other data is refused."""
        outcome, commands = self.run_driver(Playback(SETTINGS), "hello-world")
        self.assertEqual(outcome, Outcome())
        self.assertEqual(commands, ["EXEC Playback hello-world", "GET VARIABLE PLAYBACKSTATUS"])
        cut: Answers = {"EXEC Playback": "200 result=-1"}  # by a hang-up, which is looked up
        outcome, commands = self.run_driver(Playback(SETTINGS), "hello-world", answers=cut)
        self.assertEqual((outcome, commands[-1]), (Outcome(), "CHANNEL STATUS"))
        call = Call(FakeChannel(answers={**cut, "CHANNEL STATUS": ChannelHungUp()}), "33", "21", "hello-world")
        self.failureResultOf(Deferred.fromCoroutine(Playback(SETTINGS).run(call)), ChannelHungUp)
        for data in ("", "a b", "a&b", "a,noanswer"):
            self.assertIn("name of a sound", self.refused(Playback(SETTINGS), data))

    def test_saydigits(self) -> None:
        """saydigits answers and says the number."""
        outcome, commands = self.run_driver(SayDigits(SETTINGS), "ignored")
        self.assertEqual((outcome, commands), (Outcome(), ["ANSWER", 'SAY DIGITS 21 ""']))

    def test_hangup(self) -> None:
        """hangup returns an outcome that asks for the hang-up, with a valid cause."""
        self.assertEqual(self.run_driver(Hangup(SETTINGS)), (Outcome(hang_up=True), []))
        self.assertEqual(self.run_driver(Hangup(SETTINGS), "17"), (Outcome(cause="17", hang_up=True), []))
        for data in ("128", "x", "-1", "1.5", "²", " 17", "9" * 5000):
            self.assertIn("0 to 127", self.refused(Hangup(SETTINGS), data))
        for cause in ("0", "127"):
            self.assertEqual(self.run_driver(Hangup(SETTINGS), cause)[0].cause, cause)

    def test_actions(self) -> None:
        """What each driver has Asterisk run is told as the dialplan writes it."""
        for driver, data, said in (
            (Voicemail(SETTINGS), "", "VoiceMailMain(33@default)"),
            (Voicemail(SETTINGS), "office", "VoiceMailMain(33@office)"),
            (Conference(SETTINGS), "", "ConfBridge(21)"),
            (Conference(SETTINGS), "quiet_bridge,guest", "ConfBridge(21,quiet_bridge,guest)"),
            (Playback(SETTINGS), "iss_{language}", "Playback(iss_{language})"),
            (SayDigits(SETTINGS), "ignored", "SayDigits(21)"),
            (Hangup(SETTINGS), "17", "Hangup(17)"),
        ):
            self.assertEqual(str(driver.action(data, "21", "33")), said)

    def test_caller_leaves(self) -> None:
        """A hang-up in an application ends the driver with ChannelHungUp; a conference is left so."""
        for driver, data in (
            (Voicemail(SETTINGS), ""),
            (Playback(SETTINGS), "x"),
            (SayDigits(SETTINGS), ""),
        ):
            channel = FakeChannel(answers={"EXEC": HUNG_UP, "SAY": HUNG_UP})
            self.failureResultOf(Deferred.fromCoroutine(driver.run(Call(channel, "33", "21", data))), ChannelHungUp)
            self.assertLessEqual(len(channel.commands), 2)
        outcome, commands = self.run_driver(Conference(SETTINGS), answers={"EXEC": HUNG_UP})
        self.assertEqual((outcome, len(commands)), (Outcome(), 2))


class Broken:
    """A driver that cannot be made."""

    def __init__(self, config: Config) -> None:
        raise RuntimeError("on purpose")


def point(name: str, value: str) -> EntryPoint:
    """An entry point as a package would install it."""
    return EntryPoint(name, value, GROUP)


class Finding(SynchronousTestCase):
    """load_drivers finds drivers by entry point."""

    def test_installed(self) -> None:
        """The built-in drivers are found."""
        drivers = load_drivers(SETTINGS)
        for name in ("dial", "voicemail", "conference", "playback", "saydigits", "hangup", "changepin"):
            self.assertIn(name, drivers)
        self.assertIsInstance(drivers["dial"], Dial)

    def test_names(self) -> None:
        """Names are not case-sensitive; of two drivers with one name the first counts, and the second is logged."""
        with capturedLogs() as logs:
            drivers = load_drivers(
                SETTINGS,
                [
                    point("Page", "pbxrouter.drivers.conference:Conference"),
                    point("page", "pbxrouter.drivers.dial:Dial"),
                    point("Other", "pbxrouter.drivers.dial:Dial"),
                ],
            )
        self.assertEqual(list(drivers), ["page", "other"])
        self.assertIsInstance(drivers["page"], Conference)
        self.assertEqual([event["value"] for event in loud(logs)], ["pbxrouter.drivers.dial:Dial"])

    def test_broken(self) -> None:
        """A driver that cannot be loaded or made is logged and left out."""
        drivers = load_drivers(
            SETTINGS,
            [
                point("a", "no.such.module:X"),
                point("b", "tests.drivers.test_drivers:Broken"),
                point("c", "pbxrouter.drivers.hangup:Hangup"),
            ],
        )
        self.assertEqual(list(drivers), ["c"])
        self.assertEqual(len(self.flushLoggedErrors()), 2)
