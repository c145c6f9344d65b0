"""AMI messages: reading them from any segments, their headers, and writing actions safely."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami.messages import (
    MAX_LINE,
    MAX_LINES,
    MAX_MESSAGE,
    AMIMessage,
    AMIReader,
    format_action,
    is_whole,
    variable,
)
from pbxrouter.errors import InvalidAction, ManagerProtocolError

BANNER = b"Asterisk Call Manager/11.0.0\r\n"
EVENT = b"Event: Newchannel\r\nChannel: PJSIP/33-1\r\nCallerIDName: Treinta y tr\xc3\xa9s\r\n\r\n"
RESPONSE = b"Response: Success\r\nActionID: a-1\r\nOutput: one\r\nOutput: two\r\n\r\n"


def read(*pieces: bytes) -> list[bytes]:
    """The messages that a reader finds in these segments after the banner."""
    reader = AMIReader()
    return [message.raw for piece in (BANNER, *pieces) for message in reader.feed(piece)]


def one_by_one(data: bytes) -> list[bytes]:
    """Each byte as a segment of its own."""
    return [data[place : place + 1] for place in range(len(data))]


class ReaderTests(SynchronousTestCase):
    """Cutting a stream into messages."""

    def test_banner(self) -> None:
        """The banner is kept, and is no message."""
        reader = AMIReader()
        self.assertEqual(reader.feed(BANNER[:9]), [])
        self.assertIsNone(reader.banner)
        self.assertEqual(reader.feed(BANNER[9:]), [])
        self.assertEqual(reader.banner, "Asterisk Call Manager/11.0.0")

    def test_all_in_one(self) -> None:
        """The banner, two messages and the beginning of a third may come in one segment."""
        reader = AMIReader()
        messages = reader.feed(BANNER + EVENT + RESPONSE + b"Event: Ha")
        self.assertEqual([message.name for message in messages], ["Newchannel", "Success"])
        self.assertEqual([message.name for message in reader.feed(b"ngup\r\n\r\n")], ["Hangup"])

    def test_every_byte(self) -> None:
        """Each byte in a segment of its own gives the same messages."""
        reader = AMIReader()
        data = BANNER + EVENT + RESPONSE + EVENT
        found = [message.raw for byte in one_by_one(data) for message in reader.feed(byte)]
        self.assertEqual(found, [value[:-4] for value in (EVENT, RESPONSE, EVENT)])

    def test_every_cut(self) -> None:
        """Two segments, cut at any place, give the same messages."""
        data = EVENT + RESPONSE
        for place in range(len(data) + 1):
            self.assertEqual(read(data[:place], data[place:]), [EVENT[:-4], RESPONSE[:-4]], place)

    def test_line_ends_too_many(self) -> None:
        """Superfluous line ends, as a caller can forge, take nothing from the next message, wherever it is cut."""
        for extra in (b"\r\n", b"\r\n" * 2, b"\r\n" * 3):
            data = EVENT + extra + RESPONSE
            self.assertEqual(read(data), [EVENT[:-4], RESPONSE[:-4]])
            self.assertEqual(read(*one_by_one(data)), [EVENT[:-4], RESPONSE[:-4]])

    def test_not_asterisk(self) -> None:
        """Another banner is refused at once, with an error of one line."""
        for data in (b"SSH-2.0-OpenSSH_9.2\r\n", b"\r\n", b"\xff\xfe\n\r\n"):
            error = self.assertRaises(ManagerProtocolError, AMIReader().feed, data)
            self.assertNotIn("\n", str(error))

    def test_banner_without_end(self) -> None:
        """A first line that does not end is refused after a kilobyte."""
        self.assertRaises(ManagerProtocolError, AMIReader().feed, b"x" * 2000)

    def test_message_without_end(self) -> None:
        """A message that does not end is refused."""
        reader = AMIReader()
        reader.feed(BANNER)

        def flood() -> None:
            for _ in range(MAX_MESSAGE // 1000 + 2):
                reader.feed(b"x" * 1000)

        self.assertRaises(ManagerProtocolError, flood)

    def test_longest(self) -> None:
        """A banner may have 1 KiB and a message 1 MiB before its end, in any segments; one more byte is refused."""
        for limit, begins in ((1024, b""), (1 << 20, BANNER)):
            for pieces in (1, 4):
                reader = AMIReader()
                reader.feed(begins)
                for _ in range(pieces):
                    self.assertEqual(reader.feed(b"x" * (limit // pieces)), [])
                error = self.assertRaises(ManagerProtocolError, reader.feed, b"x")
                self.assertEqual(str(error), f"the far end sent {limit + 1} bytes without an end")

    def test_longest_after_another(self) -> None:
        """The limit holds for each message by itself."""
        reader = AMIReader()
        reader.feed(BANNER + b"x" * (1 << 20))
        for _ in range(3):
            (message,) = reader.feed(b"\r\n\r\n" + b"y" * (1 << 20))
            self.assertEqual(len(message.raw), 1 << 20)
        self.assertRaises(ManagerProtocolError, reader.feed, b"y")

    def test_line_that_completes_nothing(self) -> None:
        """A line that completes no message is appended without copying what came before."""
        reader = AMIReader()
        reader.feed(BANNER)
        reader.feed(b"Output: " + b"x" * 900_000)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        reader.feed(b"\r\n")
        self.assertLess(tracemalloc.get_traced_memory()[1], 100_000)
        (message,) = reader.feed(b"\r\n")
        self.assertEqual(len(message.get("Output")), 900_000)

    def test_what_is_said_of_another_banner(self) -> None:
        """The error quotes the beginning of the wrong banner and names the expected one."""
        error = self.assertRaises(ManagerProtocolError, AMIReader().feed, b"SSH" + b"x" * 90 + b"\r\n")
        self.assertEqual(str(error), f"'SSH{'x' * 57}' is not how AMI begins; expected is Asterisk Call Manager/…")

    def test_long_message_by_the_byte(self) -> None:
        """Each byte costs the same: what came before is not copied with it."""
        reader = AMIReader()
        reader.feed(BANNER)
        reader.feed(b"Event: VarSet\r\nValue: ")
        for _ in range(199_949):
            reader.feed(b"x")
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        taken = []
        for _ in range(51):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            reader.feed(b"x")
            taken.append(tracemalloc.get_traced_memory()[1] - before)
        self.assertLess(sorted(taken)[len(taken) // 2], 2000)  # a list that grows may be moved now and then
        (message,) = reader.feed(b"\r\n\r\n")
        self.assertEqual(len(message.get("Value")), 200_000)

    @given(st.lists(st.binary(max_size=40), max_size=12), st.data())
    def test_any_bytes_any_cut(self, pieces: list[bytes], data: st.DataObject) -> None:
        """Any bytes after the banner, cut anywhere, give the same messages; nothing is raised."""
        stream = b"\r\n".join(pieces)
        places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        cuts = [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]
        whole = read(stream)
        self.assertEqual(read(*cuts), whole)
        self.assertEqual(read(*one_by_one(stream)), whole)
        for raw in whole:
            message = AMIMessage(raw)
            self.assertIsInstance((message.kind, message.name, message.action_id, repr(message)), tuple)
            self.assertEqual(len(message.headers), raw.count(b"\r\n") + 1)

    @given(st.lists(st.binary(max_size=60), max_size=6))
    def test_any_bytes_at_all(self, pieces: list[bytes]) -> None:
        """Without a banner the only exception is ManagerProtocolError."""
        reader = AMIReader()
        try:
            for piece in pieces:
                reader.feed(piece)
        except ManagerProtocolError as error:
            self.assertTrue(str(error).isprintable())


class MessageTests(SynchronousTestCase):
    """Reading the headers of messages."""

    def test_event(self) -> None:
        """An event has kind, name and headers; header names ignore case, and values are decoded."""
        message = AMIMessage(EVENT[:-4])
        self.assertEqual((message.kind, message.name), ("Event", "Newchannel"))
        self.assertEqual(message.get("channel"), "PJSIP/33-1")
        self.assertEqual(message.get("CallerIDName"), "Treinta y trés")
        self.assertIn("CHANNEL", message)
        self.assertNotIn("Uniqueid", message)
        self.assertEqual(message.get("Uniqueid", "none"), "none")

    def test_repeated_headers(self) -> None:
        """Of a repeated header get() returns the first value and all() returns all in order."""
        message = AMIMessage(RESPONSE[:-4])
        self.assertEqual(message.get("Output"), "one")
        self.assertEqual(message.all("output"), ["one", "two"])
        self.assertEqual([name for name, _ in message], ["Response", "ActionID", "Output", "Output"])

    @given(st.lists(st.sampled_from(["Aa", "aa", "B", "Bb", ""]), max_size=5), st.data())
    def test_get(self, names: list[str], data: st.DataObject) -> None:
        """get() and all() find the same as the list of all headers."""
        raw = b"\r\n".join(f"{name}: {data.draw(st.sampled_from(['', 'aa: 1', ' x']))}".encode() for name in names)
        message = AMIMessage(raw)
        for wanted in ("Aa", "B", "bb"):
            found = [value for name, value in message.headers if name.lower() == wanted.lower()]
            self.assertEqual(message.get(wanted, "none"), found[0] if found else "none")
            self.assertEqual(message.all(wanted), found)

    def test_blank_after_colon(self) -> None:
        """One blank after the colon is optional and no part of the value; further ones are."""
        message = AMIMessage(b"Event:Foo\r\nA:1\r\nB: 2\r\nC:  3 \r\nD:")
        self.assertEqual((message.kind, message.name), ("Event", "Foo"))
        self.assertEqual([value for _, value in message], ["Foo", "1", "2", " 3 ", ""])

    def test_not_utf8(self) -> None:
        """Bytes that are not UTF-8 are decoded so that they can be encoded again."""
        message = AMIMessage(b"Event: X\r\nCallerIDNum: 5\xff")
        self.assertEqual(message.get("CallerIDNum").encode("utf-8", "surrogateescape"), b"5\xff")

    def test_values_with_colons_and_line_feeds(self) -> None:
        """A value may hold colons, a lone LF or a lone CR."""
        message = AMIMessage(b"Event: X\r\nA: b: c\r\nB: d\ne\rf")
        self.assertEqual((message.get("A"), message.get("B")), ("b: c", "d\ne\rf"))

    def test_line_without_colon(self) -> None:
        """A line without a colon is a header with an empty value."""
        message = AMIMessage(b"Response: Success\r\nrubbish\r\nPing: Pong")
        self.assertEqual(message.get("rubbish"), "")
        self.assertEqual(message.get("Ping"), "Pong")

    def test_response_within_event(self) -> None:
        """An event with a header Response is an event."""
        message = AMIMessage(b"Event: OriginateResponse\r\nResponse: Failure")
        self.assertEqual((message.kind, message.is_success), ("Event", False))

    def test_success(self) -> None:
        """Success, Goodbye and Follows are a success; any other response is none."""
        for word, expected in (
            ("Success", True),
            ("Goodbye", True),
            ("Follows", True),
            ("Error", False),
            ("success", False),
            ("", False),
        ):
            self.assertEqual(AMIMessage(f"Response: {word}".encode()).is_success, expected)

    def test_kind(self) -> None:
        """The first header gives the kind, in any case; a longer name does not count."""
        for raw, kind in (
            (b"EVENT:X", "Event"),
            (b"event: X", "Event"),
            (b"RESPONSE:X", "Response"),
            (b"response: X", "Response"),
            (b"Events: X", ""),
            (b"Responses: X", ""),
            (b"X: 1\r\nEvent: X", ""),
            (b"", ""),
        ):
            self.assertEqual(AMIMessage(raw).kind, kind, raw)

    def test_name(self) -> None:
        """The name is the first line's value without surrounding blanks, colons included."""
        for raw, name in ((b"Event:  a:b \r\nX: y", "a:b"), (b"Event", ""), (b"Event:\tX", "\tX")):
            self.assertEqual(AMIMessage(raw).name, name)

    def test_action_id(self) -> None:
        """action_id is the first ActionID, or ""."""
        self.assertEqual(AMIMessage(b"Response: X\r\nactionid: a-1\r\nActionID: b").action_id, "a-1")
        self.assertEqual(AMIMessage(b"Response: X").action_id, "")

    def test_first_header(self) -> None:
        """The first line counts as a header; a name is not found within a longer one."""
        message = AMIMessage(b"Channel: a\r\nXChannel: b\r\nChannelState: c\r\nchannel: d")
        self.assertEqual((message.get("CHANNEL"), message.all("channel")), ("a", ["a", "d"]))
        self.assertEqual(message.get("channelstate"), "c")
        self.assertEqual(message.get("State", "none"), "none")

    def test_neither(self) -> None:
        """A message that is neither event nor response has no kind."""
        self.assertEqual(AMIMessage(b"Foo: bar").kind, "")
        self.assertEqual(repr(AMIMessage(b"Foo: b\x1bar")), "<Message 'b\\x1bar'>")


class WholeTests(SynchronousTestCase):
    """is_whole: an event of a channel has each of its headers exactly once."""

    NAMES = (
        "Channel",
        "ChannelState",
        "ChannelStateDesc",
        "CallerIDNum",
        "CallerIDName",
        "ConnectedLineNum",
        "ConnectedLineName",
        "Language",
        "AccountCode",
        "Context",
        "Exten",
        "Priority",
        "Uniqueid",
        "Linkedid",
    )

    def event(self, *names: str) -> AMIMessage:
        """An event with these headers."""
        return AMIMessage("\r\n".join(["Event: X", *(f"{name}: 1" for name in names)]).encode())

    def test_whole(self) -> None:
        """The headers may come in any order and case, with others between."""
        self.assertTrue(is_whole(self.event(*self.NAMES)))
        self.assertTrue(is_whole(self.event("Other", *(name.upper() for name in reversed(self.NAMES)), "Other")))

    def test_one_missing_or_twice(self) -> None:
        """An event with a header missing or repeated is not whole."""
        for place, name in enumerate(self.NAMES):
            rest = self.NAMES[:place] + self.NAMES[place + 1 :]
            self.assertFalse(is_whole(self.event(*rest)), name)
            self.assertFalse(is_whole(self.event(*self.NAMES, name.lower())), name)

    def test_further(self) -> None:
        """Further headers can be required exactly once."""
        self.assertFalse(is_whole(self.event(*self.NAMES), "Env"))
        self.assertTrue(is_whole(self.event(*self.NAMES, "env"), "Env"))
        self.assertFalse(is_whole(self.event(*self.NAMES, "env", "Env"), "Env"))


class ActionTests(SynchronousTestCase):
    """Writing actions as bytes."""

    def test_form(self) -> None:
        """Headers are written in order, repeated ones too, then an empty line."""
        data = format_action("Originate", [("Variable", "A=1"), ("Variable", "B=é")], "id-1")
        self.assertEqual(
            data,
            b"Action: Originate\r\nActionID: id-1\r\nVariable: A=1\r\nVariable: B=\xc3\xa9\r\n\r\n",
        )

    def test_refused(self) -> None:
        """CR, LF and NUL, which would begin another header or action, are refused in names, values and ActionIDs."""
        for bad in ("a\r\nAction: Logoff", "a\n", "\r", "x\0y"):
            for name, headers, action_id in (
                ("Ping", [("Channel", bad)], "1"),
                (bad, [], "1"),
                ("Ping", [], bad),
                ("Ping", [(bad, "1")], "1"),
            ):
                error = self.assertRaises(InvalidAction, format_action, name, headers, action_id)
                self.assertTrue(str(error).isprintable(), str(error))

    def test_header_names(self) -> None:
        """A header's name begins with a letter of ASCII and has no blank or colon."""
        for bad in ("", "A B", "A:", "Ä", "1A"):
            self.assertRaises(InvalidAction, format_action, "Ping", [(bad, "1")], "1")

    def test_limits(self) -> None:
        """Lines and actions are accepted up to MAX_LINE bytes and MAX_LINES lines, and refused beyond."""
        longest = "x" * (MAX_LINE - len("A: "))
        format_action("Ping", [("A", longest)], "1")
        self.assertRaises(InvalidAction, format_action, "Ping", [("A", longest + "x")], "1")
        self.assertRaises(InvalidAction, format_action, "Ping", [("A", "é" * (MAX_LINE // 2))], "1")
        format_action("Ping", [("A", "1")] * (MAX_LINES - 2), "1")
        self.assertRaises(InvalidAction, format_action, "Ping", [("A", "1")] * (MAX_LINES - 1), "1")

    def test_limits_in_numbers(self) -> None:
        """Asterisk reads lines of up to 1022 bytes and actions of up to 128 lines, the first two included."""
        self.assertIn(b"A: " + b"x" * 1019 + b"\r\n", format_action("Ping", [("A", "x" * 1019)], "1"))
        self.assertEqual(format_action("Ping", [("A", "1")] * 126, "1").count(b"\r\n"), 129)
        for name, headers, line in (
            ("Ping", [("A", "x" * 1020)], "the AMI header A has 1023 bytes; Asterisk reads at most 1022"),
            ("Ping", [("A", "1")] * 127, "action Ping has 129 lines; Asterisk reads at most 128"),
        ):
            self.assertEqual(str(self.assertRaises(InvalidAction, format_action, name, headers, "1")), line)

    def test_what_is_said(self) -> None:
        """The error names the header and the character that it may not hold; an invalid name is quoted, cut short."""
        for header, value, line in (
            ("A", "x\r\ny", "the AMI header A may not hold '\\r'"),
            ("A", "x\0", "the AMI header A may not hold '\\x00'"),
            ("A", "\ud800", "the AMI header A holds what is no character"),
            ("A B", "x", "'A B' is no name of an AMI header"),
            ("é" + "x" * 100, "x", f"'\\xe9{'x' * 59}' is no name of an AMI header"),
        ):
            self.assertEqual(str(self.assertRaises(InvalidAction, format_action, "Ping", [(header, value)], "1")), line)

    def test_words_that_are_header_names(self) -> None:
        """Header names have letters, digits, hyphens and underscores after a first letter."""
        for name in ("A", "Action-ID", "X_1", "z9"):
            self.assertIn(f"\r\n{name}: 1\r\n".encode(), format_action("Ping", [(name, "1")], "1"))

    def test_no_character(self) -> None:
        """A lone surrogate that stands for no byte is refused; bytes that are not UTF-8 are sent as they came."""
        self.assertRaises(InvalidAction, format_action, "Ping", [("A", "\ud800")], "1")
        self.assertIn(b"A: 5\xff\r\n", format_action("Ping", [("A", "5\udcff")], "1"))

    @given(
        st.text(max_size=30),
        st.text(max_size=30),
        st.text(st.characters(exclude_categories=()), max_size=30),
    )
    def test_any_text(self, name: str, header: str, value: str) -> None:
        """Any text gives one action with these headers, or InvalidAction."""
        try:
            data = format_action(name, [(header, value)], "1")
        except InvalidAction:
            return
        self.assertEqual(data.count(b"\r\n"), 4)
        self.assertEqual(data.count(b"\n"), 4)
        self.assertTrue(data.endswith(b"\r\n\r\n"))

    def test_variable(self) -> None:
        """A value with a comma sets one variable; quotes and backslashes are escaped."""
        self.assertEqual(variable("A", "1,B=2"), 'A="1,B=2"')
        self.assertEqual(variable("A", 'say "hi" \\ now'), 'A="say \\"hi\\" \\\\ now"')
