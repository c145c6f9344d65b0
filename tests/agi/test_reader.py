"""Framing: bytes cut anywhere give the same requests, replies and hang-ups, or a typed refusal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.messages import MAX_ARGUMENTS, MAX_FIELD, AGIReply, AGIRequest
from pbxrouter.agi.reader import (
    MAX_BUFFER,
    MAX_HANGUPS,
    MAX_LINES,
    MAX_TRYING,
    AGIEvent,
    AGIReader,
    HangupLine,
)
from pbxrouter.errors import ForgedRequest, ProtocolViolation
from pbxrouter.simulator import SimulatedCall

BLOCK = SimulatedCall("21", caller="33", arguments=("one", "")).environment()
SYNTAX = (
    b"520-Invalid command syntax.  Proper usage follows:\n Usage: GET VARIABLE <variablename>\n"
    b" Example return code: 200 result=1 (testvariable)\n520 End of proper usage.\n"
)


def events_of(reader: AGIReader) -> list[AGIEvent]:
    """Take all complete events from a reader."""
    return list(iter(reader.next_event, None))


def opened() -> AGIReader:
    """A reader that has read the opening block."""
    reader = AGIReader()
    reader.feed(BLOCK)
    assert isinstance(reader.next_event(), AGIRequest)
    return reader


def answered(command: str, data: bytes) -> list[AGIEvent]:
    """The events when these bytes come in reply to a command."""
    reader = opened()
    reader.command = command
    reader.feed(data)
    return events_of(reader)


class Opening(SynchronousTestCase):
    """Reading the opening block from bytes."""

    def test_byte_by_byte(self) -> None:
        """The request comes with the last byte, and nothing before."""
        reader = AGIReader()
        for byte in BLOCK[:-1]:
            reader.feed(bytes([byte]))
            self.assertIsNone(reader.next_event())
        reader.feed(BLOCK[-1:])
        event = reader.next_event()
        assert isinstance(event, AGIRequest)
        self.assertEqual((event.caller, event.extension, event.arguments), ("33", "21", ("one", "")))
        reader.command = "NOOP"
        reader.feed(b"200 result=0\n")
        self.assertEqual(events_of(reader), [AGIReply(200, "0", text="result=0")])

    def test_every_cut_in_two(self) -> None:
        """A block cut at any place gives the same request."""
        for place in range(len(BLOCK)):
            reader = AGIReader()
            reader.feed(BLOCK[:place])
            self.assertIsNone(reader.next_event())
            reader.feed(BLOCK[place:])
            self.assertIsInstance(reader.next_event(), AGIRequest)

    def test_trailing_data(self) -> None:
        """Bytes that follow the block are forged, unless they are HANGUP lines."""
        for trailing in (b"200 result=1234\n", b"\n", b"x", b"HANGUPS", b"HANGUP\nHANGUP\nH"):
            reader = AGIReader()
            reader.feed(BLOCK + trailing)
            error = self.assertRaises(ForgedRequest, reader.next_event)
            self.assertEqual(str(error), "something follows that Asterisk was not asked")

    def test_what_is_known_of_a_forged_block(self) -> None:
        """Of a refused block channel and Uniqueid are known, which stand before all that a caller writes."""
        known = {"channel": "PJSIP/33-00000001", "uniqueid": "1795409729.6"}
        without_network = BLOCK.partition(b"\n")[2]
        only_network = BLOCK.replace(b"agi_network_script: ", b"agi_x: ")
        for block, variables in (
            (BLOCK.replace(b"agi_dnid", b"agi_callerid: 22\nagi_dnid"), known),
            (BLOCK.replace(b"agi_callerid: 33", b"agi_callerid: 33\nagi_channel: x\nagi_uniqueid: 1"), known),
            (without_network.partition(b"\n")[2].replace(b"\n\n", b"\nagi_arg_1: x" * 9 + b"\n\n"), known),
            (without_network.partition(b"\n")[2].replace(b"agi_dnid", b"agi_x"), known),
            (b"agi_network: yes\n" + without_network.partition(b"\n")[2].replace(b"agi_dnid", b"agi_x"), known),
            (only_network, {}),
            (BLOCK.replace(b"agi_uniqueid: ", b"agi_version: "), {"channel": known["channel"]}),
            (BLOCK.replace(b"agi_channel: ", b"agi_uniqueid: "), {}),
            (b"agi_uniqueid: 5\n" + BLOCK, {}),
        ):
            reader = AGIReader()
            reader.feed(block)
            self.assertRaises(ForgedRequest, reader.next_event)
            self.assertEqual(dict(reader.request.variables), variables)

    def test_hangup_behind_the_block(self) -> None:
        """HANGUP lines may follow the block, complete or not, one or two."""
        reader = AGIReader()
        reader.feed(BLOCK + b"HANGUP\nHANG")
        self.assertIsInstance(reader.next_event(), AGIRequest)
        self.assertEqual(events_of(reader), [HangupLine.SEEN])
        reader.feed(b"UP\n")
        self.assertEqual(events_of(reader), [HangupLine.SEEN])

    def test_empty_line_first(self) -> None:
        """An empty block is refused."""
        reader = AGIReader()
        reader.feed(b"\n")
        error = self.assertRaises(ProtocolViolation, reader.next_event)
        self.assertEqual(str(error), r"'\n' is not how Asterisk opens a call")

    def test_no_end(self) -> None:
        """A block without end is refused beyond a mebibyte; the message names the bound."""
        reader = AGIReader()
        reader.feed(b"agi_network: " + b"x" * (MAX_BUFFER - 13))
        self.assertIsNone(reader.next_event())
        reader.feed(b"x")
        error = self.assertRaises(ProtocolViolation, reader.next_event)
        self.assertEqual(str(error), f"Asterisk's side sent more than {MAX_BUFFER} bytes without an end")

    def test_long_values(self) -> None:
        """A value of 100 kB is read; of it the beginning is kept, and that it was cut."""
        reader = AGIReader()
        reader.feed(SimulatedCall("21", name="x" * 100_000).environment())
        event = reader.next_event()
        assert isinstance(event, AGIRequest)
        self.assertEqual(event.caller_name, "x" * MAX_FIELD + "… (cut, 100000 characters)")
        self.assertEqual(event.extension, "21")

    def test_many_arguments(self) -> None:
        """As many arguments as Asterisk passes on are read; a block with more is refused."""
        for count in (MAX_ARGUMENTS, 50_000):
            reader = AGIReader()
            reader.feed(SimulatedCall("21", arguments=tuple("x" * count)).environment())
            if count == MAX_ARGUMENTS:
                event = reader.next_event()
                assert isinstance(event, AGIRequest)
                self.assertEqual(len(event.arguments), count)
            else:
                self.assertIn("more than 150 lines", str(self.assertRaises(ForgedRequest, reader.next_event)))


class Floods(SynchronousTestCase):
    """What could go on for ever ends."""

    def reader(self, command: str = "NOOP") -> AGIReader:
        """A reader behind the opening block, with a command that waits."""
        reader = AGIReader()
        reader.feed(SimulatedCall("21").environment())
        reader.next_event()
        reader.command = command
        return reader

    def test_lines(self) -> None:
        """A reply of many lines has MAX_LINES at most."""
        for command, first in (("NOOP", b"520-x\n"), ("GET VARIABLE X", b"200 result=1 (\n")):
            last = b"520 y\n" if command == "NOOP" else b")\n"
            reader = self.reader(command)
            reader.feed(first + b"y\n" * (MAX_LINES - 2) + last)
            self.assertIsInstance(reader.next_event(), AGIReply)
            reader = self.reader(command)
            reader.feed(first + b"y\n" * (MAX_LINES - 1) + last)
            self.assertIn("more than 1000 lines", str(self.assertRaises(ProtocolViolation, reader.next_event)))

    def test_hang_ups(self) -> None:
        """A hang-up may be told MAX_HANGUPS times."""
        reader = self.reader()
        reader.feed(b"HANGUP\n" * (MAX_HANGUPS + 1))
        for _ in range(MAX_HANGUPS):
            self.assertIs(reader.next_event(), HangupLine.SEEN)
        error = self.assertRaises(ProtocolViolation, reader.next_event)
        self.assertEqual(str(error), "a hang-up is told without end")


class Replies(SynchronousTestCase):
    """Reading replies from bytes."""

    def test_one_line(self) -> None:
        """A reply of one line is complete, and the command is no longer waiting."""
        reader = opened()
        reader.command = "NOOP"
        reader.feed(b"200 result=0\n")
        self.assertEqual(events_of(reader), [AGIReply(200, "0", text="result=0")])
        self.assertEqual(reader.command, "")

    def test_many_lines_byte_by_byte(self) -> None:
        """A 520 is one reply, also when a line in it looks like another reply."""
        reader = opened()
        reader.command = "GET VARIABLE"
        for byte in SYNTAX[:-1]:
            reader.feed(bytes([byte]))
            self.assertEqual(events_of(reader), [])
        reader.feed(b"\n")
        (reply,) = events_of(reader)
        assert isinstance(reply, AGIReply)
        self.assertEqual(reply.code, 520)
        self.assertIn("result=1 (testvariable)", reply.text)

    def test_short_520(self) -> None:
        """A 520 of one line is complete."""
        (reply,) = answered("NOOP", b"520 End of proper usage.\n")
        assert isinstance(reply, AGIReply)
        self.assertEqual(reply.code, 520)

    def test_hangup_anywhere(self) -> None:
        """HANGUP may come before, inside and after a reply, and is no reply."""
        reply = AGIReply(200, "-1", text="result=-1")
        self.assertEqual(answered("NOOP", b"HANGUP\n200 result=-1\n"), [HangupLine.SEEN, reply])
        self.assertEqual(answered("NOOP", b"200 result=-1\nHANGUP\n"), [reply, HangupLine.SEEN])
        first, second = SYNTAX.split(b"\n", 1)
        hangup, whole = answered("GET VARIABLE", first + b"\nHANGUP\n" + second)
        self.assertIs(hangup, HangupLine.SEEN)
        self.assertEqual([whole], answered("GET VARIABLE", SYNTAX))

    def test_still_at_it(self) -> None:
        """Lines 100 before a reply are passed over, up to MAX_TRYING; one more is refused."""
        for count in (1, 100):
            data = b"100 result=0 Trying...\n" * count + b"200 result=0 Gosub complete\n"
            (reply,) = answered("GOSUB a b 1", data)
            assert isinstance(reply, AGIReply)
            self.assertEqual(reply.result, "0")
        error = self.assertRaises(ProtocolViolation, answered, "GOSUB a b 1", b"100 x\n" * (MAX_TRYING + 1))
        self.assertEqual(str(error), "a command is said to be in progress without end")

    def test_still_at_it_each_time(self) -> None:
        """Lines 100 are counted for each command anew: a call may have any number of them."""
        reader = opened()
        for _ in range(3):
            reader.command = "GOSUB a b 1"
            reader.feed(b"100 result=0 Trying...\n" * MAX_TRYING + b"200 result=0 Gosub complete\n")
            (reply,) = events_of(reader)
            assert isinstance(reply, AGIReply)
            self.assertEqual(reply.result, "0")
        reader.command = "GOSUB a b 1"
        reader.feed(b"100 result=0 Trying...\n" * (MAX_TRYING + 1))
        self.assertRaises(ProtocolViolation, reader.next_event)

    def test_many_long_replies(self) -> None:
        """The bound holds for one reply: a call may have any number of bytes."""
        reader = opened()
        for _ in range(3):
            reader.command = "GET FULL VARIABLE X"
            reader.feed(b"200 result=1 (" + b"x" * (MAX_BUFFER // 2) + b")\n")
            self.assertEqual(len(events_of(reader)), 1)

    def test_value_with_line_ends(self) -> None:
        """A variable's value may hold line ends and brackets."""
        (reply,) = answered("GET FULL VARIABLE ${X}", b"200 result=1 (a)b\n200 result=0\nc)\n")
        assert isinstance(reply, AGIReply)
        self.assertEqual(reply.data, "a)b\n200 result=0\nc")

    def test_unset_variable(self) -> None:
        """The reply for an unset variable has one line, and so has that for an empty one."""
        self.assertEqual(answered("get variable X", b"200 result=0\n"), [AGIReply(200, "0", text="result=0")])
        self.assertEqual(
            answered("GET FULL VARIABLE X", b"200 result=1 ()\n"),
            [AGIReply(200, "1", "", text="result=1 ()")],
        )

    def test_bracket_of_another_command(self) -> None:
        """A reply to another command than those for variables has one line."""
        for command in ("EXEC X", "EXEC X get variable"):
            (reply,) = answered(command, b"200 result=1 (half\n")
            assert isinstance(reply, AGIReply)
            self.assertIsNone(reply.data)

    def test_line_after_a_cut_one(self) -> None:
        """A line that came in pieces does not hide a shorter one that follows."""
        reader = opened()
        reader.command = "GET VARIABLE X"
        reader.feed(b"200 result=1 (a long value, not")
        self.assertEqual(events_of(reader), [])
        reader.feed(b" complete)\n")
        self.assertEqual(len(events_of(reader)), 1)
        reader.feed(b"HANGUP\n")
        self.assertEqual(events_of(reader), [HangupLine.SEEN])

    def test_no_reply_at_all(self) -> None:
        """A line that is no reply is refused; the message shows it, unless it may hold keyed digits."""
        error = self.assertRaises(ProtocolViolation, answered, "NOOP", b"404 x\n")
        self.assertIn("404 x", str(error))
        error = self.assertRaises(ProtocolViolation, answered, "GET DATA x", b"1234\n")
        self.assertEqual(str(error), "the answer to a question for digits is no reply of Asterisk's")

    def test_nothing_asked(self) -> None:
        """A line that answers no command is refused, also right after a reply."""
        self.assertRaises(ProtocolViolation, answered, "", b"200 result=1\n")
        error = self.assertRaises(ProtocolViolation, answered, "NOOP", b"200 result=1\n200 result=1\n")
        self.assertEqual(str(error), "something follows that Asterisk was not asked")
        error = self.assertRaises(ProtocolViolation, answered, "", b"200 result=1\n")
        self.assertEqual(str(error), "a line came that answers no command")

    def test_empty_line(self) -> None:
        """An empty line is refused as soon as it comes, behind the block or behind a reply."""
        self.assertRaises(ProtocolViolation, answered, "NOOP", b"\n")
        reader = opened()
        reader.command = "NOOP"
        reader.feed(b"200 result=0\n")
        self.assertEqual(len(events_of(reader)), 1)
        reader.command = "NOOP"
        reader.feed(b"\n")
        self.assertRaises(ProtocolViolation, reader.next_event)

    def test_longest_line(self) -> None:
        """A line, its end included, may have MAX_BUFFER bytes, and no byte more."""
        start = b"200 result=1 ("
        longest = start + b"x" * (MAX_BUFFER - len(start) - 2) + b")\n"
        self.assertEqual(len(longest), MAX_BUFFER)
        self.assertEqual(len(answered("GET FULL VARIABLE X", longest)), 1)
        longer = start + b"x" + longest[len(start) :]
        self.assertRaises(ProtocolViolation, answered, "GET FULL VARIABLE X", longer)

    def test_line_without_end(self) -> None:
        """A reply of one endless line is refused."""
        reader = opened()
        reader.command = "GET FULL VARIABLE X"
        reader.feed(b"200 result=1 (" + b"x" * MAX_BUFFER)
        self.assertRaises(ProtocolViolation, reader.next_event)

    def test_reply_without_end(self) -> None:
        """A reply of endlessly many lines is refused."""
        reader = opened()
        reader.command = "FOO"
        reader.feed(b"520-x\n")
        with self.assertRaises(ProtocolViolation):
            for _ in range(20):
                reader.feed((b"x" * 65_535) + b"\n")
                reader.next_event()

    def test_long_reply(self) -> None:
        """A reply of 24 kB is read (LineReceiver's limit is 16 kB)."""
        (reply,) = answered("GET FULL VARIABLE X", b"200 result=1 (" + b"x" * 24_000 + b")\n")
        assert isinstance(reply, AGIReply)
        self.assertEqual(len(reply.data or ""), 24_000)

    def test_lines_are_told(self) -> None:
        """on_line is called for each line, with the command that it may answer."""
        told: list[tuple[str, bytes]] = []
        reader = AGIReader(lambda command, line: told.append((command, line)))
        reader.feed(BLOCK)
        reader.next_event()
        reader.command = "GET DATA x"
        reader.feed(b"HANGUP\n200 result=12\nHANGUP\n")
        events_of(reader)
        self.assertEqual(told, [("GET DATA x", b"HANGUP"), ("GET DATA x", b"200 result=12"), ("", b"HANGUP")])


PIECES = st.sampled_from(
    [
        *(b"200 result=", b"1234", b" (", b")", b"\n", b"520-", b"520 ", b"HANGUP\n", b"100 ", b"511 x\n"),
        *(b"\xff", b" endpos=", b"\0", b"\r\n", b"agi_arg_3: x\n", b"9" * 5000),
    ]
)
COMMANDS = st.sampled_from(["GET DATA x", "GET VARIABLE X", "EXEC Dial x", "NOOP"])


class AnyBytes(SynchronousTestCase):
    """Reading arbitrary bytes."""

    @given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
    def test_opening(self, data: bytes, cuts: list[int]) -> None:
        """Any bytes, cut anywhere, give events or a ProtocolViolation."""
        self.feed_in_pieces(AGIReader(), data, cuts)

    @given(st.lists(st.one_of(PIECES, st.binary(max_size=8))), st.lists(st.integers(0, 300)), COMMANDS)
    def test_replies(self, pieces: list[bytes], cuts: list[int], command: str) -> None:
        """The same holds while a command waits."""
        reader = opened()
        reader.command = command
        self.feed_in_pieces(reader, b"".join(pieces), cuts)

    @given(st.lists(PIECES), st.lists(st.integers(0, 300)), COMMANDS)
    def test_cuts_change_nothing(self, pieces: list[bytes], cuts: list[int], command: str) -> None:
        """The cuts do not change the events; bytes that come all at once may be refused earlier."""
        data = b"".join(pieces)
        whole, cut = opened(), opened()
        whole.command = cut.command = command
        events, others = self.feed_in_pieces(whole, data, []), self.feed_in_pieces(cut, data, cuts)
        if events and isinstance(events[-1], str):
            events.pop()
            others = others[: len(events)]
        self.assertEqual(events, others)

    def feed_in_pieces(self, reader: AGIReader, data: bytes, cuts: list[int]) -> list[object]:
        """The events, and the message of the refusal if there was one."""
        places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
        events: list[object] = []
        try:
            for start, end in zip(places, [*places[1:], len(data)], strict=True):
                reader.feed(data[start:end])
                events += iter(reader.next_event, None)
        except ProtocolViolation as error:
            self.assertNotIn("\n", str(error))
            events.append(str(error))
        return events
