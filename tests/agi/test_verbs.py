"""Each verb over the fake channel: the commands that it sends, and its result for each reply.

The contract of the channels is tested in tests/agi/test_channel.py.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import verbs
from pbxrouter.agi.messages import AGIReply
from pbxrouter.agi.verbs import DialResult, Keyed
from pbxrouter.errors import (
    ApplicationFailed,
    ChannelHungUp,
    CommandRefused,
    ConnectionClosed,
    InvalidArgument,
    PromptMissing,
)
from pbxrouter.simulator import SimulatedCall
from tests.fakes import HUNG_UP, Answers, FakeChannel

T = TypeVar("T")
DEAD = "511 Command Not Permitted on a dead channel or intercept routine"


class VerbCase(SynchronousTestCase):
    """A fake channel with scripted replies."""

    def channel(self, answers: Answers | None = None, language: str = "en") -> FakeChannel:
        """Set the channel that the next verbs work on."""
        self.fake = FakeChannel(SimulatedCall("21", caller="33", language=language), answers)
        return self.fake

    def does(self, verb: Coroutine[Deferred[Any], Any, T], *commands: str) -> T:
        """The result of a verb that has sent exactly these commands."""
        result = self.successResultOf(Deferred.fromCoroutine(verb))
        self.assertEqual(self.fake.commands, list(commands))
        return result

    def fails(self, verb: Coroutine[Deferred[Any], Any, object], kind: type[Exception]) -> str:
        """The message of the failure, which is one line."""
        line = str(self.failureResultOf(Deferred.fromCoroutine(verb), kind).value)
        self.assertNotIn("\n", line)
        return line


class Answering(VerbCase):
    """The verb answer, which sends ANSWER."""

    def test_answer(self) -> None:
        """answer sends one command."""
        self.does(verbs.answer(self.channel()), "ANSWER")

    def test_cannot(self) -> None:
        """After a -1 the channel is asked whether the caller hung up; if not, answering failed."""
        line = self.fails(verbs.answer(self.channel({"ANSWER": "200 result=-1"})), ApplicationFailed)
        self.assertEqual(line, "Asterisk could not answer the channel")
        self.assertEqual(self.fake.commands, ["ANSWER", "CHANNEL STATUS"])
        self.fails(verbs.answer(self.channel({"ANSWER": "200 result=-1", "CHANNEL STATUS": DEAD})), ChannelHungUp)

    def test_raise_if_hung_up(self) -> None:
        """raise_if_hung_up returns on a channel that is not hung up."""
        self.does(verbs.raise_if_hung_up(self.channel()), "CHANNEL STATUS")
        self.fails(verbs.raise_if_hung_up(self.channel({"CHANNEL STATUS": DEAD})), ChannelHungUp)


class Asking(VerbCase):
    """The verb get_digits, which sends GET DATA."""

    def test_answers(self) -> None:
        """Each reply of docs/asterisk.md A3 gives digits and timeout."""
        for text, keyed in (
            ("200 result=1234", Keyed("1234", False)),
            ("200 result=1234 (timeout)", Keyed("1234", True)),
            ("200 result= (timeout)", Keyed("", True)),
            ("200 result=", Keyed("", False)),
            ("200 result=*12", Keyed("*12", False)),
        ):
            verb = verbs.get_digits(self.channel({"GET DATA": text}), "x")
            self.assertEqual(self.does(verb, "GET DATA x 5000 20"), keyed)

    def test_arguments(self) -> None:
        """The arguments are prompt, timeout in milliseconds and number of digits; the prompt may be empty."""
        self.does(verbs.get_digits(self.channel(), "", 100, 4), 'GET DATA "" 100 4')

    def test_language(self) -> None:
        """The channel's language is put into the prompt's name."""
        channel = self.channel(language="es")
        self.does(verbs.get_digits(channel, "iss_{language}"), "GET DATA iss_es 5000 20")

    def test_minus_one(self) -> None:
        """A -1 means a missing sound, or a caller who hung up."""
        line = self.fails(verbs.get_digits(self.channel({"GET DATA": "200 result=-1"}), "x"), PromptMissing)
        self.assertEqual(line, "Asterisk has no sound 'x' for language 'en'")
        self.fails(verbs.get_digits(self.channel({"GET DATA": HUNG_UP}), "x"), ChannelHungUp)
        answers: Answers = {"GET DATA": "200 result=-1", "CHANNEL STATUS": DEAD}
        self.fails(verbs.get_digits(self.channel(answers), "x"), ChannelHungUp)

    def test_not_shown(self) -> None:
        """repr() hides the digits, which may be a PIN."""
        self.assertEqual(repr(Keyed("1234", True)), "Keyed(4 digits, timed_out=True)")


class Playing(VerbCase):
    """STREAM FILE and Playback."""

    def test_interruptible(self) -> None:
        """The result is the key that ended the prompt."""
        for result, key in (
            ("53", "5"),
            ("35", "#"),
            ("42", "*"),
            ("0", ""),
            ("65", ""),
            ("²", ""),
            ("", ""),
        ):
            channel = self.channel({"STREAM FILE": f"200 result={result} endpos=1"})
            self.assertEqual(self.does(verbs.play_interruptible(channel, "x"), "STREAM FILE x 0123456789*#"), key)

    def test_interruptible_minus_one(self) -> None:
        """A -1 means a missing sound, or a caller who hung up."""
        channel = self.channel({"STREAM FILE": "200 result=-1 endpos=0"})
        self.fails(verbs.play_interruptible(channel, "x"), PromptMissing)
        self.fails(verbs.play_interruptible(self.channel({"STREAM FILE": HUNG_UP}), "x"), ChannelHungUp)

    def test_playback(self) -> None:
        """PLAYBACKSTATUS tells whether the sound was played or is missing."""
        commands = ("EXEC Playback x", "GET VARIABLE PLAYBACKSTATUS")
        self.does(verbs.playback(self.channel(), "x"), *commands)
        ok: Answers = {"GET VARIABLE": "200 result=1 (SUCCESS)"}
        self.does(verbs.playback(self.channel(ok), "x"), *commands)
        failed: Answers = {"GET VARIABLE": "200 result=1 (FAILED)"}
        self.fails(verbs.playback(self.channel(failed), "x"), PromptMissing)
        self.fails(verbs.playback(self.channel({"EXEC": HUNG_UP}), "x"), ChannelHungUp)

    def test_say_digits(self) -> None:
        """Characters that cannot be said are left out; a + is none that can."""
        self.does(verbs.say_digits(self.channel(), "+1-2*#"), 'SAY DIGITS 12*# ""')
        self.does(verbs.say_digits(self.channel(), "*72#"), "EXEC SayDigits *72#")
        self.fails(verbs.say_digits(self.channel({"EXEC": HUNG_UP}), "#1"), ChannelHungUp)
        self.does(verbs.say_digits(self.channel(), "+"))
        self.does(verbs.say_digits(self.channel({"SAY": "200 result=-1"}), "1"), 'SAY DIGITS 1 ""', "CHANNEL STATUS")
        self.fails(verbs.say_digits(self.channel({"SAY": HUNG_UP}), "1"), ChannelHungUp)


class Applications(VerbCase):
    """The verbs that run applications by EXEC."""

    def test_arguments(self) -> None:
        """An application gets one argument, quoted where needed, or none."""
        self.does(verbs.run_application(self.channel(), "Dial", "a b,5"), 'EXEC Dial "a b,5"')
        reply = self.does(verbs.run_application(self.channel({"EXEC": "200 result=5"}), "Echo"), "EXEC Echo")
        self.assertEqual(reply, AGIReply(200, "5", text="result=5"))
        self.fails(verbs.run_application(self.channel(), "Dial", "a\nHANGUP"), InvalidArgument)
        self.assertEqual(self.fake.commands, [])

    def test_no_such_application(self) -> None:
        """The error names the application."""
        line = self.fails(verbs.run_application(self.channel({"EXEC": "200 result=-2"}), "Foo"), ApplicationFailed)
        self.assertEqual(line, "Asterisk has no application Foo")

    def test_hang_up(self) -> None:
        """Without a cause AGI's HANGUP is used, with one the application Hangup."""
        self.does(verbs.hang_up(self.channel()), "HANGUP")
        self.does(verbs.hang_up(self.channel({"EXEC": "200 result=-1"}), "17"), "EXEC Hangup 17")


class Variables(VerbCase):
    """GET and SET VARIABLE."""

    def test_get(self) -> None:
        """A set, an empty and an unset variable differ."""
        for text, value in (
            ("200 result=1 (a)b)", "a)b"),
            ("200 result=1 ()", ""),
            ("200 result=0", None),
            ("200 result=0 (a)", None),
        ):
            verb = verbs.get_variable(self.channel({"GET": text}), "X")
            self.assertEqual(self.does(verb, "GET VARIABLE X"), value)

    def test_set(self) -> None:
        """A value is quoted where needed; one that cannot be sent is refused before."""
        self.does(verbs.set_variable(self.channel(), "X", 'a "b"'), r'SET VARIABLE X "a \"b\""')
        self.does(verbs.set_variable(self.channel(), "X", ""), 'SET VARIABLE X ""')
        self.fails(verbs.set_variable(self.channel(), "X", "a\nb"), InvalidArgument)
        self.fails(verbs.set_variable(self.channel({"SET VARIABLE": "520 x"}), "X", "a"), CommandRefused)


class Dialling(VerbCase):
    """Dial and its result (docs/asterisk.md A4)."""

    def dialled(self, *answers: str | Exception, exec_: str | Exception = "200 result=0") -> DialResult:
        """The result for these values of DIALSTATUS, HANGUPCAUSE and ANSWEREDTIME."""
        names = ("DIALSTATUS", "HANGUPCAUSE", "ANSWEREDTIME")
        given: Answers = {
            "EXEC Dial": exec_,
            **{f"GET VARIABLE {name}": text for name, text in zip(names, answers, strict=False)},
        }
        verb = verbs.dial(self.channel(given), "PJSIP/21", 60)
        return self.successResultOf(Deferred.fromCoroutine(verb))

    def test_arguments(self) -> None:
        """The argument is made of target, seconds and options."""
        asks = ("GET VARIABLE DIALSTATUS", "GET VARIABLE HANGUPCAUSE")
        self.does(verbs.dial(self.channel(), "PJSIP/21", 60), "EXEC Dial PJSIP/21,60", *asks)
        self.does(verbs.dial(self.channel(), "PJSIP/21", 5, "tT"), "EXEC Dial PJSIP/21,5,tT", *asks)

    def test_not_answered(self) -> None:
        """A call that was not answered has a status and a cause."""
        result = self.dialled("200 result=1 (BUSY)", "200 result=1 (17)")
        self.assertEqual(result, DialResult("BUSY", "17"))

    def test_answered(self) -> None:
        """An answered call has its seconds of talk, if ANSWEREDTIME is a number."""
        for text, seconds in (
            ("200 result=1 (12)", 12),
            ("200 result=1 ()", None),
            ("200 result=0", None),
            ("200 result=1 (x)", None),
            ("200 result=1 (²)", None),
            ("200 result=1 (999999999)", 999_999_999),
            ("200 result=1 (1234567890)", None),
            ("200 result=1 (-1)", None),
        ):
            result = self.dialled("200 result=1 (ANSWER)", "", text, exec_="200 result=-1")
            self.assertEqual(result, DialResult("ANSWER", answered_s=seconds))

    def test_status_missing(self) -> None:
        """Without DIALSTATUS the status is CHANUNAVAIL."""
        self.assertEqual(self.dialled("200 result=0"), DialResult("CHANUNAVAIL"))

    def test_hung_up(self) -> None:
        """The dead channel is asked for the result; if it does not tell, the status is CANCEL."""
        result = self.dialled("200 result=1 (ANSWER)", "", "200 result=1 (3)", exec_=HUNG_UP)
        self.assertEqual(result, DialResult("ANSWER", answered_s=3))
        self.assertEqual(self.dialled(ChannelHungUp(), exec_=HUNG_UP).status, "CANCEL")
        self.assertEqual(self.dialled(ChannelHungUp(), exec_=ChannelHungUp()).status, "CANCEL")
        result = self.dialled("200 result=1 (BUSY)", ChannelHungUp(), exec_=HUNG_UP)
        self.assertEqual(result, DialResult("BUSY"))

    def test_connection_lost(self) -> None:
        """If the connection is lost the verb fails, since the result of the Dial is unknown."""
        for command in ("EXEC", "GET VARIABLE"):
            verb = verbs.dial(self.channel({command: ConnectionClosed()}), "PJSIP/21", 60)
            self.fails(verb, ConnectionClosed)

    def test_no_dial(self) -> None:
        """An Asterisk without the application is an ApplicationFailed."""
        verb = verbs.dial(self.channel({"EXEC": "200 result=-2"}), "PJSIP/21", 60)
        self.fails(verb, ApplicationFailed)
