"""The simulated Asterisk replies as the real one (docs/asterisk.md A)."""

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.simulator import Script, SimulatedAsterisk, SimulatedCall, split_words
from pbxrouter.simulator.words import LONGEST_LINE, MOST_WORDS, LineReader

CALL = SimulatedCall("34", caller="33", name="Treinta y tres", up=True)


def conversation(asterisk: SimulatedAsterisk, *commands: str) -> list[str]:
    """The replies to commands, as text."""
    return [asterisk.receive(command.encode() + b"\n").decode() for command in commands]


class EnvironmentTests(SynchronousTestCase):
    """The opening block (docs/asterisk.md A1)."""

    def test_whole(self) -> None:
        """All keys in Asterisk's order, arguments last, an empty line at the end."""
        call = SimulatedCall("9123", caller="33", name="Treinta y tres", arguments=("one", "a,b"))
        self.assertEqual(
            call.environment().decode(),
            "agi_network: yes\nagi_network_script: pbxrouter\nagi_request: agi://127.0.0.1/pbxrouter\n"
            "agi_channel: PJSIP/33-00000001\nagi_language: en\nagi_type: PJSIP\nagi_uniqueid: 1795409729.6\n"
            "agi_version: 22.10.1\nagi_callerid: 33\nagi_calleridname: Treinta y tres\nagi_callingpres: 0\n"
            "agi_callingani2: 0\nagi_callington: 0\nagi_callingtns: 0\nagi_dnid: 9123\nagi_rdnis: unknown\n"
            "agi_context: pbxrouter\nagi_extension: 9123\nagi_priority: 1\nagi_enhanced: 0.0\n"
            "agi_accountcode: \nagi_threadid: 139835179546304\nagi_arg_1: one\nagi_arg_2: a,b\n\n",
        )

    def test_nothing_known_of_the_caller(self) -> None:
        """A missing number or name is the word unknown."""
        block = SimulatedCall("21").environment()
        self.assertIn(b"\nagi_callerid: unknown\nagi_calleridname: unknown\n", block)

    def test_no_script(self) -> None:
        """Without a path the key agi_network_script is absent."""
        block = SimulatedCall("21", script="").environment()
        self.assertTrue(block.startswith(b"agi_network: yes\nagi_request: agi://127.0.0.1\n"))

    def test_what_a_phone_sends_is_not_checked(self) -> None:
        """Line ends and bytes that are not UTF-8 stand in the block as the phone sent them (A7)."""
        block = SimulatedCall("9\nagi_callerid: 22", caller="5\udcff").environment()
        self.assertIn(b"\nagi_extension: 9\nagi_callerid: 22\n", block)
        self.assertIn(b"\nagi_callerid: 5\xff\n", block)

    def test_analogue_line(self) -> None:
        """The line's own number may differ from the extension."""
        block = SimulatedCall("s", dnid="21", channel="DAHDI/1-1").environment()
        self.assertIn(b"\nagi_dnid: 21\n", block)
        self.assertIn(b"\nagi_extension: s\n", block)
        self.assertIn(b"\nagi_type: DAHDI\n", block)


class WordsTests(SynchronousTestCase):
    """Splitting a line into words (A6)."""

    def test_blanks(self) -> None:
        """Blanks and tabs separate, before and after too."""
        self.assertEqual(split_words(b" \tnoop  a\tb "), [b"noop", b"a", b"b"])

    def test_quotes(self) -> None:
        """Quotes group; an empty pair is an empty word; inside a word a quote vanishes."""
        self.assertEqual(split_words(b'A "b c" "" d"e f"g'), [b"A", b"b c", b"", b"de fg"])

    def test_backslashes(self) -> None:
        """A backslash makes the next byte literal, in quotes too."""
        self.assertEqual(split_words(rb'A "\"\\\n" b\ c'), [b"A", b'"\\n', b"b c"])

    def test_bytes(self) -> None:
        """High bytes and a carriage return are bytes like any other."""
        self.assertEqual(split_words(b"\xff\xe1 b\r"), [b"\xff\xe1", b"b\r"])

    def test_most(self) -> None:
        """Words beyond Asterisk's table are dropped."""
        self.assertEqual(len(split_words(b"a " * 200)), MOST_WORDS)


class LinesTests(SynchronousTestCase):
    """Splitting a stream into lines (A6)."""

    def test_in_pieces(self) -> None:
        """A line may come byte by byte."""
        reader = LineReader()
        got = [reader.feed(bytes([byte])) for byte in b"NOOP\n"]
        self.assertEqual(got, [[], [], [], [], [b"NOOP"]])

    def test_pipelined(self) -> None:
        """Of several lines at once the first is executed, the others when more bytes come."""
        reader = LineReader()
        self.assertEqual(reader.feed(b"A\nB\nC\n"), [b"A"])
        self.assertEqual(reader.feed(b"D\nE\n"), [b"B", b"C", b"D"])
        self.assertEqual(reader.unread, b"E\n")

    def test_too_long(self) -> None:
        """A line that is too long becomes two commands."""
        reader = LineReader()
        self.assertEqual(reader.feed(b"x" * (LONGEST_LINE + 3) + b"\n"), [b"x" * LONGEST_LINE])
        self.assertEqual(reader.finish(), [b"xxx"])

    def test_longest(self) -> None:
        """The longest line is one command."""
        self.assertEqual(LineReader().feed(b"x" * LONGEST_LINE + b"\n"), [b"x" * LONGEST_LINE])

    def test_nul(self) -> None:
        """A NUL hides the rest of its line and glues the next one to it."""
        self.assertEqual(LineReader().feed(b"NOOP a\0b\nNOOP c\n"), [b"NOOP aNOOP c"])

    def test_unfinished(self) -> None:
        """An unfinished last line is executed when the other side closes."""
        reader = LineReader()
        self.assertEqual(reader.feed(b"NO"), [])
        self.assertEqual(reader.finish(), [b"NO"])
        self.assertEqual(reader.finish(), [])


class CommandTests(SynchronousTestCase):
    """Commands on a channel that is up (A2)."""

    def setUp(self) -> None:
        """Simulate an answered call."""
        self.asterisk = SimulatedAsterisk(CALL, Script(missing=frozenset({"nosuch"})))

    def say(self, command: str) -> str:
        """The reply to one command."""
        return conversation(self.asterisk, command)[0]

    def test_simple(self) -> None:
        """The replies that are always the same."""
        for command, reply in [
            ("ANSWER", "200 result=0\n"),
            ("NOOP", "200 result=0\n"),
            ("\t noop a b", "200 result=0\n"),
            ("CHANNEL STATUS", "200 result=6\n"),
            ("CHANNEL STATUS PJSIP/33-00000001", "200 result=6\n"),
            ("CHANNEL STATUS PJSIP/99", "200 result=-1\n"),
            ('VERBOSE "a b" 3', "200 result=1\n"),
            ('STREAM FILE beep ""', "200 result=0 endpos=3520\n"),
            ('SAY DIGITS 12*# ""', "200 result=0\n"),
            ('SAY DIGITS +12 ""', "200 result=0\n"),
            ("SET AUTOHANGUP 1", "200 result=0\n"),
            ("SET EXTENSION 5", "200 result=0\n"),
            ("EXEC Wait 2", "200 result=0\n"),
            ("EXEC NoSuchApp", "200 result=-2\n"),
            ("HANGUP nosuchchannel", "200 result=-1\n"),
            ("GOSUB ctx exten 1", "100 result=0 Trying...\n200 result=0 Gosub complete\n"),
        ]:
            self.assertEqual(self.say(command), reply, command)
        self.assertEqual(self.asterisk.complaints, [])

    def test_ringing(self) -> None:
        """Before ANSWER the channel rings."""
        asterisk = SimulatedAsterisk(SimulatedCall("34"))
        self.assertEqual(
            conversation(asterisk, "CHANNEL STATUS", "ANSWER", "CHANNEL STATUS"),
            ["200 result=4\n", "200 result=0\n", "200 result=6\n"],
        )

    def test_unknown(self) -> None:
        """An unknown or incomplete command gets a 510, and is a complaint."""
        for command in ("", "FROB", "GET", "NOOP\r"):
            self.assertEqual(self.say(command), "510 Invalid or unknown command\n", command)
        self.assertEqual(len(self.asterisk.complaints), 4)

    def test_bad_syntax(self) -> None:
        """520 in several lines, one of which looks like a reply."""
        for command in (
            "GET VARIABLE",
            "SET VARIABLE X",
            "SET VARIABLE X a b",
            "STREAM FILE beep",
            "GET DATA",
        ):
            reply = self.say(command)
            self.assertTrue(reply.startswith("520-Invalid command syntax.  Proper usage follows:\n"), reply)
            self.assertTrue(reply.endswith("\n520 End of proper usage.\n"), reply)
        self.assertIn("200 result=1 (testvariable)", self.say("GET VARIABLE"))
        self.assertTrue(self.say('SAY DIGITS abc ""').startswith("520-"))
        self.assertEqual(len(self.asterisk.complaints), 7)

    def test_variables(self) -> None:
        """Variables are kept; unset ones and empty ones differ."""
        self.assertEqual(
            conversation(
                self.asterisk,
                "GET VARIABLE X",
                'SET VARIABLE X "a (b)"',
                "GET VARIABLE X",
                "GET FULL VARIABLE ${X}-${EXTEN}",
                "GET FULL VARIABLE ${X} PJSIP/99",
                'SET VARIABLE X ""',
                "GET VARIABLE X",
                "GET FULL VARIABLE ${Y}",
                "SET VARIABLE __Z 1",
                "GET VARIABLE Z",
                "GET VARIABLE CALLERID(num)",
                "EXEC Set W=5",
                "GET VARIABLE W",
            ),
            [
                "200 result=0\n",
                "200 result=1\n",
                "200 result=1 (a (b))\n",
                "200 result=1 (a (b)-34)\n",
                "200 result=0\n",
                "200 result=1\n",
                "200 result=1 ()\n",
                "200 result=1 ()\n",
                "200 result=1\n",
                "200 result=1 (1)\n",
                "200 result=1 (33)\n",
                "200 result=0\n",
                "200 result=1 (5)\n",
            ],
        )
        self.assertEqual(self.asterisk.variable("W"), "5")

    def test_long_value(self) -> None:
        """GET VARIABLE cuts to 1023 bytes, GET FULL VARIABLE does not."""
        self.asterisk.set_variable("X", "á" * 2000)
        self.assertEqual(len(self.asterisk.receive(b"GET VARIABLE X\n")), len("200 result=1 ()\n") + 1023)
        self.assertEqual(len(self.asterisk.receive(b"GET FULL VARIABLE ${X}\n")), len("200 result=1 ()\n") + 4000)

    def test_bytes_that_are_not_utf8(self) -> None:
        """Bytes that are not UTF-8 come back as they were sent."""
        self.asterisk.receive(b"SET VARIABLE X \xff\xfe\n")
        self.assertEqual(self.asterisk.receive(b"GET VARIABLE X\n"), b"200 result=1 (\xff\xfe)\n")

    def test_missing_sounds(self) -> None:
        """For a missing sound STREAM FILE replies -1 and sets AGISTATUS; Playback sets PLAYBACKSTATUS only."""
        self.assertEqual(self.say("EXEC Playback nosuch"), "200 result=0\n")
        self.assertEqual(self.asterisk.variable("PLAYBACKSTATUS"), "FAILED")
        self.assertEqual(self.say("GET DATA nosuch 1000 4"), "200 result=-1\n")
        self.assertEqual(self.asterisk.agistatus, "SUCCESS")
        self.assertEqual(self.say('STREAM FILE nosuch ""'), "200 result=-1 endpos=0\n")
        self.assertEqual(self.asterisk.agistatus, "FAILURE")
        self.assertEqual(self.asterisk.prompts, [])

    def test_playback(self) -> None:
        """Playback answers the channel by itself and plays all of several sounds."""
        asterisk = SimulatedAsterisk(SimulatedCall("34"))
        self.assertEqual(conversation(asterisk, "EXEC playback hello-world&beep"), ["200 result=0\n"])
        self.assertEqual(asterisk.prompts, ["hello-world", "beep"])
        self.assertEqual(asterisk.variable("PLAYBACKSTATUS"), "SUCCESS")
        self.assertEqual(conversation(asterisk, "CHANNEL STATUS"), ["200 result=6\n"])

    def test_other_applications(self) -> None:
        """Applications end by themselves and are recorded; words behind the argument are dropped."""
        self.assertEqual(self.say('EXEC VoiceMailMain "33@default" dropped'), "200 result=0\n")
        self.assertEqual(self.say("EXEC ConfBridge 75"), "200 result=0\n")
        self.assertEqual(self.say("EXEC Hangup 17"), "200 result=-1\n")
        self.assertEqual(
            self.asterisk.applications,
            [("VoiceMailMain", "33@default"), ("ConfBridge", "75"), ("Hangup", "17")],
        )
        self.assertFalse(self.asterisk.dead)

    def test_failure(self) -> None:
        """A line that starts with failure ends the run without a reply."""
        self.assertEqual(self.say("failure"), "")
        self.assertEqual(self.say("NOOP"), "")
        self.assertTrue(self.asterisk.ended)
        self.assertEqual(self.asterisk.agistatus, "FAILURE")

    def test_pipelining_is_noted(self) -> None:
        """A second command before the reply is not answered, and is a complaint."""
        self.assertEqual(self.asterisk.receive(b"NOOP\nANSWER\n"), b"200 result=0\n")
        self.assertIn("before the reply", self.asterisk.complaints[0])

    def test_cut_line_is_noted(self) -> None:
        """A line that Asterisk would cut is a complaint."""
        self.asterisk.receive(b"NOOP " + b"x" * 9000 + b"\n")
        self.assertIn("8190", self.asterisk.complaints[0])


class GetDataTests(SynchronousTestCase):
    """GET DATA as Asterisk answers it (A3)."""

    def pressed(self, keys: str, most: str = "10") -> str:
        """The reply when these keys are pressed."""
        asterisk = SimulatedAsterisk(CALL, Script(keys=(keys,)))
        return conversation(asterisk, f'GET DATA agent-pass 5000 "{most}"')[0]

    def test_table(self) -> None:
        """The rows of the table in A3."""
        for keys, most, reply in [
            ("1234#", "10", "200 result=1234\n"),
            ("1234", "10", "200 result=1234 (timeout)\n"),
            ("1234", "4", "200 result=1234\n"),
            ("", "10", "200 result= (timeout)\n"),
            ("#", "10", "200 result=\n"),
            ("*12#", "10", "200 result=*12\n"),
            ("1234#", "0", "200 result=-1\n"),
        ]:
            self.assertEqual(self.pressed(keys, most), reply, (keys, most))

    def test_one_after_the_other(self) -> None:
        """Each GET DATA gets its keys; then there is silence."""
        asterisk = SimulatedAsterisk(CALL, Script(keys=("1#", "2")))
        self.assertEqual(
            conversation(asterisk, "GET DATA a", 'GET DATA ""', "GET DATA a"),
            ["200 result=1\n", "200 result=2 (timeout)\n", "200 result= (timeout)\n"],
        )
        self.assertEqual(asterisk.given, ["1", "2", ""])
        self.assertEqual(asterisk.prompts, ["a", "a"])

    def test_digits_beyond(self) -> None:
        """Digits beyond the most stay for the next command, unless an application takes them."""
        asterisk = SimulatedAsterisk(CALL, Script(keys=("123456#", "7#")))
        self.assertEqual(
            conversation(asterisk, "GET DATA a 0 4", "GET DATA a 0 4", "GET DATA a 0 4"),
            ["200 result=1234\n", "200 result=56\n", "200 result=7\n"],
        )
        asterisk = SimulatedAsterisk(CALL, Script(keys=("123456#",)))
        self.assertEqual(
            conversation(asterisk, "GET DATA a 0 4", "EXEC Playback b", "GET DATA a 0 4")[2],
            "200 result= (timeout)\n",
        )

    def test_key_during_a_prompt(self) -> None:
        """A key stops STREAM FILE where it is accepted; one that waits does so at once."""
        asterisk = SimulatedAsterisk(CALL, Script(keys=("12345",), interrupts=("5", "5", "")))
        self.assertEqual(
            conversation(
                asterisk,
                'STREAM FILE a ""',
                "STREAM FILE a 0123456789",
                "STREAM FILE a 0#",
                "STREAM FILE a 0123456789",
                "GET DATA a 0 4",
                "STREAM FILE a 0123456789",
            ),
            [
                "200 result=0 endpos=3520\n",
                "200 result=53 endpos=4000\n",
                "200 result=0 endpos=3520\n",
                "200 result=0 endpos=3520\n",
                "200 result=1234\n",
                "200 result=53 endpos=4000\n",
            ],
        )

    def test_unanswered(self) -> None:
        """A phone that was not answered sends no digits."""
        asterisk = SimulatedAsterisk(SimulatedCall("34"), Script(keys=("1#",)))
        self.assertEqual(conversation(asterisk, "GET DATA a"), ["200 result= (timeout)\n"])


class DialTests(SynchronousTestCase):
    """EXEC Dial as Asterisk answers it (A4)."""

    def dialled(self, argument: str, *status: str, **how: str) -> tuple[str, SimulatedAsterisk]:
        """The reply to one Dial, and the Asterisk after it."""
        asterisk = SimulatedAsterisk(CALL, Script(dialstatus=status, **how))  # type: ignore[arg-type]
        return conversation(asterisk, f'EXEC Dial "{argument}"')[0], asterisk

    def test_outcomes(self) -> None:
        """Reply, HANGUPCAUSE and whether the caller is still there."""
        for status, reply, cause, dead in [
            ("ANSWER", "200 result=-1\n", "16", False),
            ("CANCEL", "200 result=-1\nHANGUP\n", "", True),
            ("BUSY", "200 result=0\n", "17", False),
            ("CONGESTION", "200 result=0\n", "34", False),
            ("NOANSWER", "200 result=0\n", "0", False),
            ("CHANUNAVAIL", "200 result=0\n", "3", False),
            ("TORTURE", "200 result=0\n", "0", False),
        ]:
            got, asterisk = self.dialled("PJSIP/21,60", status)
            self.assertEqual(got, reply, status)
            self.assertEqual(asterisk.dead, dead, status)
            # DIALSTATUS may be asked on a dead channel.
            self.assertEqual(conversation(asterisk, "GET VARIABLE DIALSTATUS"), [f"200 result=1 ({status})\n"])
            self.assertEqual(asterisk.variable("HANGUPCAUSE"), cause, status)
            self.assertEqual(asterisk.variable("ANSWEREDTIME"), "5" if status == "ANSWER" else "", status)
            self.assertEqual(asterisk.dials, [("PJSIP/21,60", status)])

    def test_option_g(self) -> None:
        """With the option g an answered call ends with 0; a g inside parentheses is none."""
        self.assertEqual(self.dialled("PJSIP/21,60,tg")[0], "200 result=0\n")
        self.assertEqual(self.dialled("PJSIP/21,60,L(g)")[0], "200 result=-1\n")

    def test_caller_hangs_up_after_the_answer(self) -> None:
        """The reply is -1, HANGUP follows, and DIALSTATUS is ANSWER."""
        got, asterisk = self.dialled("PJSIP/21", hangup_in="Dial")
        self.assertEqual(got, "200 result=-1\nHANGUP\n")
        self.assertEqual(asterisk.variable("DIALSTATUS"), "ANSWER")

    def test_cannot_be_made(self) -> None:
        """A Dial that Asterisk cannot make ends at once, and the script's DIALSTATUS does not count."""
        for argument, cause in [
            ("", "0"),
            ("PJSIP", "0"),
            ("Local/x|20", "0"),
            ("SIP/21", "66"),
            ("Zap/1/5", "66"),
        ]:
            got, asterisk = self.dialled(argument)
            self.assertEqual(got, "200 result=0\n", argument)
            self.assertEqual(asterisk.variable("DIALSTATUS"), "CHANUNAVAIL", argument)
            self.assertEqual(asterisk.variable("HANGUPCAUSE"), cause, argument)

    def test_several(self) -> None:
        """Each Dial has its own end; the last is for all further ones."""
        asterisk = SimulatedAsterisk(CALL, Script(dialstatus=("BUSY", "NOANSWER")))
        conversation(asterisk, "EXEC Dial PJSIP/1", "EXEC Dial PJSIP/2", "EXEC Dial PJSIP/3")
        self.assertEqual([status for _, status in asterisk.dials], ["BUSY", "NOANSWER", "NOANSWER"])

    def test_dead(self) -> None:
        """On a hung-up channel Dial makes no call."""
        asterisk = SimulatedAsterisk(SimulatedCall("h", dead=True))
        self.assertEqual(conversation(asterisk, "EXEC Dial PJSIP/1"), ["200 result=-1\n"])
        self.assertEqual(asterisk.variable("DIALSTATUS"), "CANCEL")


class HangupTests(SynchronousTestCase):
    """The end of the call (A5)."""

    def test_by_command(self) -> None:
        """HANGUP is answered, then comes the bare line."""
        asterisk = SimulatedAsterisk(CALL)
        self.assertEqual(conversation(asterisk, "HANGUP"), ["200 result=1\nHANGUP\n"])
        self.assertEqual(asterisk.hung_up_by, "gateway")

    def test_at_a_prompt(self) -> None:
        """The caller hangs up while the prompt of that number plays, whichever command plays it."""
        for command, reply in [
            ("GET DATA b", "200 result=-1\nHANGUP\n"),
            ('STREAM FILE b ""', "200 result=-1 endpos=0\nHANGUP\n"),
            ("EXEC Playback b", "200 result=-1\nHANGUP\n"),
        ]:
            asterisk = SimulatedAsterisk(CALL, Script(hangup_at=2, keys=("1#",)))
            self.assertEqual(conversation(asterisk, "GET DATA a", command), ["200 result=1\n", reply])
            self.assertEqual(asterisk.hung_up_by, "caller")
            self.assertEqual(asterisk.agistatus, "HANGUP")

    def test_in_an_application(self) -> None:
        """A caller may hang up in the conference."""
        asterisk = SimulatedAsterisk(CALL, Script(hangup_in="confbridge"))
        self.assertEqual(conversation(asterisk, "EXEC ConfBridge 75"), ["200 result=-1\nHANGUP\n"])

    def test_between_commands(self) -> None:
        """Between commands the line HANGUP comes once, by itself."""
        asterisk = SimulatedAsterisk(CALL)
        self.assertEqual(asterisk.hang_up(), b"HANGUP\n")
        self.assertEqual(asterisk.hang_up(), b"")

    def test_dead_channel(self) -> None:
        """On a dead channel some commands still work, the others reply 511."""
        asterisk = SimulatedAsterisk(CALL)
        asterisk.hang_up()
        for command in ("NOOP", "SET VARIABLE X 1", "GET VARIABLE X", "VERBOSE a 1", "EXEC NoOp"):
            self.assertTrue(conversation(asterisk, command)[0].startswith("200 "), command)
        for command in (
            "ANSWER",
            "GET DATA a",
            'STREAM FILE a ""',
            "CHANNEL STATUS",
            "HANGUP",
            'SAY DIGITS 1 ""',
        ):
            self.assertEqual(
                conversation(asterisk, command),
                ["511 Command Not Permitted on a dead channel or intercept routine\n"],
                command,
            )

    def test_extension_h(self) -> None:
        """A run in h starts dead, without a HANGUP line; one comes at the end."""
        asterisk = SimulatedAsterisk(SimulatedCall("h", caller="33", dead=True))
        self.assertNotIn(b"HANGUP", asterisk.environment())
        self.assertEqual(conversation(asterisk, "NOOP", "ANSWER")[1][:3], "511")
        self.assertEqual(asterisk.close(), b"HANGUP\n")

    def test_close(self) -> None:
        """When the gateway closes, a dead channel sends HANGUP again, a live one nothing."""
        asterisk = SimulatedAsterisk(CALL)
        self.assertEqual(asterisk.close(), b"")
        asterisk = SimulatedAsterisk(CALL)
        asterisk.receive(b"HANG")
        asterisk.receive(b"UP")
        self.assertEqual(asterisk.close(), b"200 result=1\nHANGUP\nHANGUP\n")

    def test_settings(self) -> None:
        """AGISIGHUP=no: no line; AGIEXITONHANGUP=yes: two, and Asterisk closes."""
        self.assertEqual(SimulatedAsterisk(CALL, Script(sighup=False)).hang_up(), b"")
        asterisk = SimulatedAsterisk(CALL, Script(exit_on_hangup=True))
        self.assertEqual(asterisk.hang_up(), b"HANGUP\nHANGUP\n")
        self.assertTrue(asterisk.ended)
        self.assertEqual(asterisk.close(), b"")
