"""AGI messages: the opening block, forgeries in it, and replies."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import messages as agi
from pbxrouter.agi.messages import (
    AGIReply,
    AGIRequest,
    masked_secret,
    parse_reply,
    parse_request,
)
from pbxrouter.errors import ForgedRequest, ProtocolViolation
from pbxrouter.simulator import SimulatedCall

TEXT = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


def block_of(call: SimulatedCall) -> bytes:
    """The opening block without its empty line."""
    return call.environment().removesuffix(b"\n\n")


def read(call: SimulatedCall) -> AGIRequest:
    """Parse the opening block of a simulated call."""
    return parse_request(block_of(call))


class OpeningBlock(SynchronousTestCase):
    """Parsing the opening block."""

    def test_whole(self) -> None:
        """All variables and arguments of docs/asterisk.md A1 are read."""
        call = SimulatedCall("9123", caller="33", name="Treinta y tres", arguments=("one", "a,b", ""))
        request = read(call)
        self.assertEqual(
            (request.caller, request.extension, request.dnid, request.channel, request.uniqueid),
            ("33", "9123", "9123", "PJSIP/33-00000001", "1795409729.6"),
        )
        self.assertEqual(request.language, "en")
        self.assertEqual(request.arguments, ("one", "a,b", ""))
        self.assertEqual(request.variables["calleridname"], "Treinta y tres")
        self.assertEqual(request.variables["accountcode"], "")
        self.assertEqual(len(request.variables), 22)
        self.assertFalse(request.is_hung_up)

    def test_nothing_known(self) -> None:
        """Neither the word unknown nor an empty value is a number or a name."""
        request = read(SimulatedCall("s", dnid="unknown"))
        self.assertEqual(request.caller_name, "")
        self.assertEqual((AGIRequest({}).caller, AGIRequest({}).caller_name), (None, ""))
        self.assertEqual((request.caller, request.dnid), (None, None))
        nothing = AGIRequest({})
        self.assertEqual((nothing.caller, nothing.dnid, nothing.extension), (None, None, ""))
        self.assertEqual((nothing.channel, nothing.uniqueid, nothing.language, nothing.script), ("", "", "", ""))
        self.assertEqual((nothing.query, nothing.arguments, nothing.secret), ({}, (), None))

    def test_secret(self) -> None:
        """The first argument that begins with secret= holds the secret, and repr() does not show it."""
        for arguments, secret in (
            (("secret=abc",), "abc"),
            (("bounded", "secret=a=b", "secret=c"), "a=b"),
            (("x secret=abc", "Secret=abc", "abc secret="), None),
            (("secret=",), ""),
            ((), None),
        ):
            request = read(SimulatedCall("21", arguments=arguments))
            self.assertEqual(request.secret, secret)
            self.assertNotIn("secret", repr(request))

    def test_time_limit(self) -> None:
        """Whether TIMEOUT(absolute) is the gateway's to set, and how long the talk may take."""
        for arguments, bounded, talk_s in (
            ((), False, None),
            (("bounded",), True, None),
            (("bounded=180", "secret=x"), False, 180.0),
            (("secret=x", "bounded=8", "bounded=9"), False, 8.0),
            (("bounded=",), False, math.inf),
            (("bounded=0",), False, math.inf),
            (("bounded=-1",), False, math.inf),
            (("bounded=1e9",), False, math.inf),
            (("unbounded=8",), False, None),
        ):
            request = AGIRequest({}, arguments)
            self.assertEqual((request.is_bounded, request.talk_s), (bounded, talk_s), arguments)

    def test_probe(self) -> None:
        """A probe says so in its first argument."""
        for arguments, probe in (
            ((), False),
            (("alive",), True),
            (("alive", "secret=x"), True),
            (("x", "alive"), False),
        ):
            self.assertEqual(AGIRequest({}, arguments).is_probe, probe)

    def test_key(self) -> None:
        """The dialplan asks for a call's key, passes it back, or passes it on to a second gateway."""
        for arguments, wants, key, second in (
            ((), False, "", False),
            (("alive", "call"), True, "", False),
            (("bounded=9", "call"), True, "", False),
            (("call=0123456789abcdef-1",), False, "0123456789abcdef-1", False),
            (("secret=x", "again=0123456789ab-999999999"), False, "0123456789ab-999999999", True),
            (("again=",), False, "", False),
            (("again=0123456789ab-1234567890",), False, "", False),
            (("call=0123456789AB-1",), False, "", False),
            (("call=0123456789ab-1\n",), False, "", False),
            (("recall=0123456789ab-1",), False, "", False),
        ):
            request = AGIRequest({}, arguments)
            self.assertEqual(
                (request.wants_key, request.call_key, request.is_second_turn), (wants, key, second), arguments
            )
        self.assertEqual(AGIRequest({}, ("call",)).with_key("0123456789ab-1").call_key, "0123456789ab-1")

    def test_masked_secret(self) -> None:
        """The secret and all text after it are masked."""
        for text, shown in (
            ("secret=abc", "secret=***"),
            ("agi_arg_1: secret=a b\nc secret=d", "agi_arg_1: secret=***"),
            ("secret=", "secret=***"),
            ("Secret abc", "Secret abc"),
        ):
            self.assertEqual(masked_secret(text), shown)

    def test_hung_up(self) -> None:
        """A run in the extension h is on a dead channel."""
        self.assertTrue(read(SimulatedCall("h")).is_hung_up)

    def test_script_and_query(self) -> None:
        """Path and query of the address are read."""
        request = read(SimulatedCall("21", script="a/b?x=1&x=2&y=&z=%C3%B1"))
        self.assertEqual(request.script, "a/b")
        self.assertEqual(request.query, {"x": "1", "y": "", "z": "ñ"})
        without = read(SimulatedCall("21", script=""))
        self.assertEqual((without.script, without.query), ("", {}))

    def test_colons_and_blanks(self) -> None:
        """A value is everything behind the first colon and one blank."""
        self.assertEqual(read(SimulatedCall("21", name=" a: b ")).variables["calleridname"], " a: b ")

    def test_bytes_that_are_not_utf8(self) -> None:
        """Bytes that are not UTF-8 survive and are sent back as they came."""
        request = read(SimulatedCall("21", caller="5\udcff"))
        self.assertEqual(agi.encode(request.caller or ""), b"5\xff")

    def test_longest_values(self) -> None:
        """Values up to MAX_FIELD and arguments up to MAX_ARGUMENT are kept whole; longer ones are cut, and say so."""
        longest = AGIRequest({"callerid": "3" * agi.MAX_FIELD}, ("secret=" + "s" * (agi.MAX_ARGUMENT - 7),))
        self.assertEqual(longest.variables, {"callerid": "3" * agi.MAX_FIELD})
        self.assertEqual(longest.secret, "s" * (agi.MAX_ARGUMENT - 7))
        longer = AGIRequest(
            {"callerid": "3" * (agi.MAX_FIELD + 1), "dnid": "21"}, ("a" * (agi.MAX_ARGUMENT + 1), "alive")
        )
        self.assertEqual(longer.variables, {"callerid": f"{'3' * 1024}… (cut, 1025 characters)", "dnid": "21"})
        self.assertEqual(longer.arguments, (f"{'a' * 8192}… (cut, 8193 characters)", "alive"))

    @given(st.lists(TEXT), TEXT)
    def test_format_request(self, arguments: list[str], name: str) -> None:
        """What format_request writes is parsed to the same values."""
        before = AGIRequest({**read(SimulatedCall("21")).variables, "calleridname": name}, tuple(arguments))
        block = agi.format_request(before.variables, before.arguments)
        self.assertTrue(block.endswith(b"\n\n"))
        self.assertEqual(parse_request(block[:-2]), before)

    def test_format_request_without_script(self) -> None:
        """format_request leaves out variables that are not given."""
        variables = read(SimulatedCall("21", script="")).variables
        self.assertEqual(agi.format_request(variables), SimulatedCall("21", script="").environment())


class Forgery(SynchronousTestCase):
    """Lines that a caller put into a number (docs/asterisk.md A7)."""

    def refused(self, block: bytes) -> str:
        """The message of the refusal, which is one line."""
        line = str(self.assertRaises(ForgedRequest, parse_request, block))
        self.assertNotIn("\n", line)
        return line

    def test_caller_in_the_dialled_number(self) -> None:
        """33 cannot pretend to be 22."""
        line = self.refused(block_of(SimulatedCall("9\nagi_callerid: 22")))
        self.assertIn("agi_callerid: 22", line)

    def test_every_key_in_every_place(self) -> None:
        """An additional line of any key is refused in each value that a caller can set."""
        lines = block_of(SimulatedCall("21", caller="33", arguments=("x",))).split(b"\n")
        for place in range(1, len(lines)):
            for added in lines:
                forged = b"\n".join([*lines[:place], added.partition(b":")[0] + b": 1", *lines[place:]])
                self.refused(forged)

    def test_every_line_missing(self) -> None:
        """Only the two network lines may be missing."""
        lines = block_of(SimulatedCall("21", caller="33")).split(b"\n")
        for place in range(2, len(lines)):
            self.refused(b"\n".join(lines[:place] + lines[place + 1 :]))
        for place in (0, 1):
            request = parse_request(b"\n".join(lines[:place] + lines[place + 1 :]))
            self.assertNotIn(None, request.variables.values())
            self.assertEqual(len(request.variables), len(lines) - 1)
        parse_request(b"\n".join(lines[2:]))

    @given(
        st.permutations(range(24)).flatmap(lambda order: st.integers(0, 24).map(lambda end: order[:end])),
        st.integers(0, 24),
        st.sampled_from(["agi_x: 1", "agi_priority: x", "agi_arg_1: a", "agi_arg_3: a", "x", "", "agi_network: yes"]),
    )
    def test_what_is_wrong_is_named(self, shuffled: list[int], place: int, more: str) -> None:
        """Of a block with lines left out, repeated or exchanged, the refusal names the line, or the missing key."""
        lines = SimulatedCall("21", caller="33").environment().decode().split("\n")[:-2]
        whole = [*lines, "agi_arg_1: a", "agi_arg_2: b"]
        for tried in (
            [whole[index] for index in shuffled if index < len(whole)],
            [*whole[:place], more, *whole[place:]],
        ):
            try:
                request = parse_request("\n".join(tried).encode())
            except ProtocolViolation as error:
                self.assertRegex(str(error), "holds '|ends before agi_|begins with '")
            else:
                self.assertEqual(
                    agi.format_request(request.variables, request.arguments).decode(),
                    "\n".join(tried) + "\n\n",
                )

    def test_values_that_are_no_numbers(self) -> None:
        """Keys whose values Asterisk writes as numbers hold nothing else."""
        block = block_of(SimulatedCall("21", caller="33"))
        for key in ("callingpres", "callingani2", "callington", "callingtns", "priority", "enhanced", "threadid"):
            start, colon, rest = block.partition(f"agi_{key}: ".encode())
            number, line_end, others = rest.partition(b"\n")
            for value in (b"", b"x", number + b" ", number + b"x", b" " + number):
                line = self.refused(start + colon + value + line_end + others)
                self.assertIn(f"agi_{key}: ", line)

    def test_first_wrong_line_is_named(self) -> None:
        """Of several arguments the refusal names the one that is wrong."""
        line = self.refused(block_of(SimulatedCall("21", arguments=("", "y: z"))) + b"\nagi_arg_02: z")
        self.assertIn("agi_arg_02: z", line)
        line = self.refused(block_of(SimulatedCall("21", name="x: y")) + b"\nagi_arg_02: z")
        self.assertIn("agi_arg_02: z", line)

    def test_first_wrong_line_of_each_kind_of_block(self) -> None:
        """With network and script, with one of them and without, the wrong line is named, and not the one it needs."""
        network, script, *rest = block_of(SimulatedCall("21", caller="33")).split(b"\n")
        for head in ([network, script], [network], [script], []):
            block = b"\n".join([*head, *rest])
            for right, wrong in (
                (b"agi_dnid: ", b"agi_x: "),
                (b"agi_priority: ", b"agi_priority: x"),
                (b"agi_request: ", b"agi_r: "),
            ):
                forged = block.replace(right, wrong)
                shown = next(line for line in forged.split(b"\n") if line.startswith(wrong)).decode()
                error = self.assertRaises(ForgedRequest, parse_request, forged)
                self.assertEqual(str(error), f"the opening block holds {shown!r} where Asterisk would not write it")

    def test_second_line(self) -> None:
        """A line that is none of Asterisk's is a forgery behind a first line that is."""
        self.assertIn("holds 'x'", self.refused(b"agi_network: yes\nx"))

    def test_ends_early(self) -> None:
        """A block that a number ended too early lacks keys."""
        call = SimulatedCall("900", caller="22\nagi_extension: 900\nagi_threadid: 1\n\n200 result=1234")
        early = call.environment().partition(b"\n\n")[0]
        self.refused(early)
        self.assertIn("agi_rdnis", self.refused(block_of(SimulatedCall("21")).partition(b"\nagi_rdnis")[0]))

    def test_genuine_start(self) -> None:
        """Of a forged block channel and Uniqueid are known, as far as they stand in Asterisk's order before the number.

        They are not taken from a block that begins otherwise, nor from lines behind the number.
        """
        whole = block_of(SimulatedCall("21", caller="33")).split(b"\n")
        channel = {"channel": "PJSIP/33-00000001"}
        both = {**channel, "uniqueid": "1795409729.6"}
        for lines, known in (
            (whole, both),
            (whole[2:], both),
            (whole[:7], both),
            (whole[:5], channel),
            (whole[:3], {}),
            ([*whole[:4], b"agi_uniqueid: 1", *whole[4:]], channel),
            ([*whole[:8], b"agi_callerid: 33", b"agi_uniqueid: 1"], both),
            ([*whole[:3], *whole[8:10], whole[3]], {}),
            ([b"x", *whole], {}),
        ):
            self.assertEqual(agi.genuine_start(b"\n".join(lines)), AGIRequest(known), lines)

    def test_arguments(self) -> None:
        """Lines put into an argument are refused: out of order, no argument, a known key."""
        for value in (
            "x\nagi_arg_1: y",
            "x\nagi_arg_3: y",
            "x\nagi_arg_02: y",
            "x\nagi_callerid: 22",
            "x\ny",
        ):
            self.refused(block_of(SimulatedCall("21", arguments=(value,))))

    def test_argument_in_order(self) -> None:
        """A forged next argument is refused, since the true one follows."""
        self.refused(block_of(SimulatedCall("21", arguments=("x\nagi_arg_2: forged", "true"))))

    def test_argument_of_many_digits(self) -> None:
        """An argument's number that is too long for int() is refused."""
        self.refused(block_of(SimulatedCall("21", arguments=("x\nagi_arg_" + "1" * 5000 + ": y",))))

    def test_no_agi_at_all(self) -> None:
        """Another protocol is a ProtocolViolation, not a forgery."""
        for block in (b"", b"GET / HTTP/1.1", b"agi_network", b"x: y", b"\xff\xfe", b"AGI_NETWORK: yes"):
            error = self.assertRaises(ProtocolViolation, parse_request, block)
            self.assertNotIsInstance(error, ForgedRequest)

    @given(st.text(max_size=79), st.text(max_size=79), st.text(max_size=79))
    def test_numbers_are_whole_or_refused(self, caller: str, name: str, extension: str) -> None:
        """Three arbitrary values are read as they were sent, or the call is refused."""
        call = SimulatedCall(extension, caller=caller, name=name)
        try:
            request = read(call)
        except ProtocolViolation:
            self.assertIn("\n", caller + name + extension)
        else:
            self.assertEqual(request.extension, extension)
            self.assertEqual(request.variables["callerid"], caller or "unknown")


class Replies(SynchronousTestCase):
    """Replies (docs/asterisk.md A2, A3)."""

    def test_read(self) -> None:
        """Each form of a reply is parsed."""
        for text, expected in (
            ("200 result=0", AGIReply(200, "0", text="result=0")),
            ("200 result=-1", AGIReply(200, "-1", text="result=-1")),
            ("200 result=-1 endpos=0", AGIReply(200, "-1", None, 0, "result=-1 endpos=0")),
            ("200 result=53 endpos=4000", AGIReply(200, "53", None, 4000, "result=53 endpos=4000")),
            ("200 result=1 (a (b) c)", AGIReply(200, "1", "a (b) c", None, "result=1 (a (b) c)")),
            ("200 result=1 ()", AGIReply(200, "1", "", None, "result=1 ()")),
            ("200 result=1 ( endpos=3)", AGIReply(200, "1", " endpos=3", None, "result=1 ( endpos=3)")),
            ("200 result=1 )(", AGIReply(200, "1", None, None, "result=1 )(")),
            ("200 result=*12", AGIReply(200, "*12", text="result=*12")),
            ("200 result=", AGIReply(200, "", text="result=")),
            ("510 Invalid or unknown command", AGIReply(510, text="Invalid or unknown command")),
            ("511 Command Not Permitted", AGIReply(511, text="Command Not Permitted")),
        ):
            self.assertEqual(parse_reply(text.encode()), expected)

    def test_timed_out(self) -> None:
        """A reply tells whether GET DATA ended by its timeout."""
        for text, digits, timed_out in (
            ("200 result=1234 (timeout)", "1234", True),
            ("200 result= (timeout)", "", True),
            ("200 result=1234", "1234", False),
        ):
            reply = parse_reply(text.encode())
            self.assertEqual((reply.result, reply.timed_out), (digits, timed_out))

    def test_common(self) -> None:
        """The replies parsed in advance are equal to those parsed from the text."""
        for result in ("-1", "0", "1", "2"):
            self.assertEqual(
                parse_reply(f"200 result={result}".encode()), AGIReply(200, result, text=f"result={result}")
            )

    def test_no_reply(self) -> None:
        """Text that is no reply of Asterisk is refused; the message is one line."""
        for data in (b"", b"HANGUP", b"20", b"200", b"200 ", b"200 resu", b"200 Result=1", b" 200 result=1"):
            self.assertNotIn("\n", str(self.assertRaises(ProtocolViolation, parse_reply, data)))

    def test_what_is_said_of_no_reply(self) -> None:
        """The refusal quotes the beginning of what came, in one line, and says what it lacks."""
        for data, why in (
            (b"200 \n" + b"x" * 100, f"'200 \\n{'x' * 55}' has no result="),
            (b"hello", "'hello' is no reply of Asterisk's"),
            (b"x" * 61, f"'{'x' * 60}' is no reply of Asterisk's"),
        ):
            self.assertEqual(str(self.assertRaises(ProtocolViolation, parse_reply, data)), why)

    def test_bare(self) -> None:
        """A reply of which only the code is known has nothing else."""
        reply = AGIReply(511)
        self.assertEqual((reply.result, reply.data, reply.endpos, reply.text), ("", None, None, ""))

    def test_no_code_of_asterisks(self) -> None:
        """Unknown codes are no reply, nor are digits of other scripts."""
        for text in ("999 what", "123", "404 Not Found", "100 result=0", "٢٠٠ result=1"):
            self.assertRaises(ProtocolViolation, parse_reply, text.encode())

    def test_endpos_of_many_digits(self) -> None:
        """An endpos that is too long for int() is no number of samples."""
        reply = parse_reply(b"200 result=0 endpos=" + b"9" * 5000)
        self.assertIsNone(reply.endpos)

    @given(st.binary())
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes are a reply or a ProtocolViolation."""
        try:
            parse_reply(b"200 result=" + data)
            parse_reply(data)
        except ProtocolViolation:
            pass
