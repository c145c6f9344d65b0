"""AGI commands: quoting, refusal, kinds of commands, masking of replies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import commands
from pbxrouter.agi.messages import AGIReply, encode
from pbxrouter.errors import CommandRefused, InvalidArgument
from pbxrouter.simulator import split_words

LASTING = (
    "ANSWER",
    "GET DATA x",
    "get option x 1",
    "stream file x",
    "CONTROL STREAM FILE x",
    "WAIT FOR DIGIT 5000",
    "SAY DIGITS 1",
    "SAY NUMBER 1",
    "RECORD FILE x wav # 5000",
    "RECEIVE CHAR 5000",
    "RECEIVE TEXT 5000",
    "GOSUB a",
)
"""Commands that play something, wait for keys or text, or run the dialplan."""
BRIEF = ("NOOP", "NOOP answer", "SET VARIABLE A b", "SET VARIABLE A say ", "HANGUP", "EXECUTE", "NOOP exec x")
"""Commands that take no time, some with a lasting command's name in their arguments."""

TEXT = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


class Quoting(SynchronousTestCase):
    """Arguments arrive as they were given."""

    @given(st.lists(TEXT, max_size=10))
    def test_round_trip(self, arguments: list[str]) -> None:
        """Asterisk's own splitting (docs/asterisk.md A6) gives back what was quoted."""
        line = commands.encode_command(commands.command("NOOP", *arguments))
        self.assertTrue(line.endswith(b"\n"))
        self.assertEqual(split_words(line[:-1]), [b"NOOP", *map(encode, arguments)])

    def test_bytes_round_trip(self) -> None:
        """Bytes that are not UTF-8 arrive as they were given too."""
        self.assertEqual(split_words(commands.encode_command(commands.command("NOOP", "\udcff x"))[:-1])[1], b"\xff x")

    def test_as_written(self) -> None:
        """Plain words stay plain; the rest is quoted."""
        self.assertEqual(
            commands.command("SET VARIABLE", "A_B", 'say "é" \\', 5, ""),
            r'SET VARIABLE A_B "say \"é\" \\" 5 ""',
        )
        self.assertEqual(commands.command("EXEC Dial", "PJSIP/21,60"), "EXEC Dial PJSIP/21,60")

    def test_unsendable(self) -> None:
        """CR, LF and NUL are refused in an argument and in a line; the message is one line."""
        for character in "\r\n\0":
            for build in (commands.quote, commands.encode_command, lambda text: commands.command("X", text)):
                error = self.assertRaises(InvalidArgument, build, f"a{character}b")
                self.assertNotIn(character, str(error))
            for build, what in ((commands.quote, "argument"), (commands.encode_command, "command")):
                text = f"a{character}" + "b" * 100
                self.assertEqual(
                    str(self.assertRaises(InvalidArgument, build, text)),
                    f"an AGI {what} may not hold {character!r}: {text[:60]!r}",
                )

    def test_longest(self) -> None:
        """Bytes count, not characters; one more is refused before Asterisk cuts it in two."""
        self.assertEqual(len(commands.encode_command("é" * 4095)), commands.MAX_COMMAND + 1)
        self.assertEqual(
            str(self.assertRaises(InvalidArgument, commands.encode_command, "é" * 4095 + "x")),
            f"an AGI command has 8191 bytes; Asterisk reads at most 8190: {'é' * 60!a}",
        )


class DeadChannel(SynchronousTestCase):
    """Commands on a dead channel (docs/asterisk.md A5)."""

    def test_allowed(self) -> None:
        """Variables, EXEC, NOOP, VERBOSE and DATABASE are allowed; commands that play or ask are not."""
        for line in ("NOOP", "get variable X", "GET FULL VARIABLE X", "SET VARIABLE A b", "VERBOSE x"):
            self.assertTrue(commands.allowed_when_hung_up(line), line)
        for line in ("EXEC Dial x", "DATABASE GET a b"):
            self.assertTrue(commands.allowed_when_hung_up(line), line)
        for line in ("ANSWER", "GET DATA x", "STREAM FILE x", "HANGUP", "CHANNEL STATUS", "NOOPS", "", "HANGUP exec"):
            self.assertFalse(commands.allowed_when_hung_up(line), line)


class Masking(SynchronousTestCase):
    """Replies as they are shown: without the digits that callers keyed."""

    def test_starred(self) -> None:
        """Digits and keys are starred, in every form."""
        for line, reply, shown in (
            ("GET DATA x 5000 20", "200 result=1234", "200 result=***"),
            ("get data x", "200 result=1234 (timeout)", "200 result=*** (timeout)"),
            ("GET DATA x", "200 result=0123", "200 result=***"),
            ("GET DATA x", "200 result=0*123", "200 result=***"),
            ("GET DATA x", "200 result=0#1", "200 result=***"),
            ("STREAM FILE x 123", "200 result=53 endpos=4000", "200 result=*** endpos=4000"),
            ("SAY DIGITS 1 2", "200 result=50", "200 result=***"),
            ("GET OPTION x 123", "200 result=50 endpos=1", "200 result=*** endpos=1"),
            ("control stream file x 123", "200 result=51", "200 result=***"),
            ("WAIT FOR DIGIT 5000", "200 result=52", "200 result=***"),
            ("EXEC Read PIN", "200 result=1234", "200 result=***"),
            ("GET DATA x", "1234", "***"),
            ("GET DATA x", "2001234", "***"),
            ("GET DATA x", "510 1234", "***"),
            ("GET DATA x", "520-Invalid 1234", "***"),
            ("GET DATA x", "200 result=1 (1234)", "***"),
            ("GET DATA x", "200 result=-1 1234", "***"),
            ("GET DATA x", "2001234 200 result=0", "***"),
            ("STREAM FILE x 1", "200 result=0 endpos=", "***"),
        ):
            self.assertEqual(commands.masked_reply(line, reply), shown)

    def test_shown(self) -> None:
        """Replies that hold no keys are shown as they are."""
        for line, reply in (
            ("GET DATA x", "200 result=-1"),
            ("GET DATA x", "200 result= (timeout)"),
            ("STREAM FILE x 1", "200 result=0 endpos=3520"),
            ("STREAM FILE x 1", "200 result=-1 endpos=0"),
            ("GET VARIABLE X", "200 result=1 (1234)"),
            ("NOOP GET DATA x", "200 result=1234"),
            ('SET VARIABLE X "say it"', "200 result=1234"),
            ("", "HANGUP"),
            ("GET DATA x", "511 Command Not Permitted on a dead channel or intercept routine"),
            ("GET DATA x", "520-Invalid command syntax.  Proper usage follows:"),
            ("GET DATA x", "520 End of proper usage."),
            ("GET DATA x", "510 Invalid or unknown command"),
            ("GET DATA x", "520 "),
        ):
            self.assertEqual(commands.masked_reply(line, reply), reply)


class Kinds(SynchronousTestCase):
    """Properties of each kind of command."""

    def test_how_long(self) -> None:
        """An application has no bound, a command that plays or waits for keys ten minutes, any other half a minute."""
        self.assertIsNone(commands.reply_timeout_s("exec Dial x"))
        for line in LASTING:
            self.assertEqual(commands.reply_timeout_s(line), 600.0, line)
        for line in BRIEF:
            self.assertEqual(commands.reply_timeout_s(line), 30.0, line)

    def test_application(self) -> None:
        """Only EXEC runs an application, which goes on in Asterisk without the gateway."""
        self.assertTrue(commands.is_application("Exec Playback x"))
        for line in (*LASTING, *BRIEF):
            self.assertFalse(commands.is_application(line), line)

    def test_minus_one(self) -> None:
        """A -1 may mean a hang-up after commands that take time, and after no others."""
        for line in ("EXEC Dial x", *LASTING):
            self.assertTrue(commands.may_mean_hangup(line), line)
        for line in ("CHANNEL STATUS x", "HANGUP other", "GET VARIABLE X", *BRIEF):
            self.assertFalse(commands.may_mean_hangup(line), line)

    def test_dial(self) -> None:
        """Of all applications only a Dial outlives the caller."""
        self.assertTrue(commands.outlives_caller("Exec dial x"))
        for line in ("EXEC DialX", "EXEC Playback dial", "DIAL", "NOOP exec dial"):
            self.assertFalse(commands.outlives_caller(line), line)

    def test_refused(self) -> None:
        """The failure names code and command, and quotes nothing that may have been keyed."""
        reply = AGIReply(520, text="Invalid\nUsage")
        self.assertEqual(
            str(commands.refused(reply, "SET VARIABLE X y")), "Asterisk answered 520 to SET VARIABLE: Invalid"
        )
        self.assertEqual(str(commands.refused(reply, "GET DATA x 1 2")), str(CommandRefused(520, "GET DATA", "")))
        self.assertNotIn("Invalid", str(commands.refused(reply, "GET DATA x 1 2")))
