"""AsyncAGI on the wire: whole events, cut values, and the MAGIExec of the 2006 patch."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.messages import AGIReply
from pbxrouter.ami.messages import AMIMessage, is_whole
from pbxrouter.errors import ForgedRequest
from pbxrouter.magi.wire import (
    as_reply_to,
    historical_request,
    piece,
    without_break_on_error,
    without_progress,
)

SNAPSHOT = (
    "Channel: PJSIP/34-0000\r\nChannelState: 4\r\nChannelStateDesc: Ring\r\nCallerIDNum: 34\r\n"
    "CallerIDName: <unknown>\r\nConnectedLineNum: <unknown>\r\nConnectedLineName: <unknown>\r\n"
    "Language: en\r\nAccountCode: \r\nContext: pbxrouter-magi\r\nExten: 21\r\n"
    "Priority: 1\r\nUniqueid: 1.0\r\nLinkedid: 1.0"
)
OLD_BLOCK = (
    "agi_request: x\nagi_channel: SIP/33-1\nagi_language: en\nagi_type: SIP\nagi_uniqueid: 1.1\n"
    "agi_callerid: 33\nagi_context: main\nagi_extension: 21\nagi_priority: 1\nagi_enhanced: 0.0\n"
)


class WholeTests(SynchronousTestCase):
    """Telling forged events from genuine ones."""

    def test_whole(self) -> None:
        """A whole event has each of its headers once."""
        self.assertTrue(is_whole(AMIMessage(f"Event: AsyncAGIEnd\r\n{SNAPSHOT}".encode())))
        self.assertFalse(is_whole(AMIMessage(f"Event: AsyncAGIStart\r\n{SNAPSHOT}".encode()), "Env"))

    def test_injected(self) -> None:
        """Lines put into the number or the extension make the event invalid, since the true ones follow."""
        for place in ("CallerIDNum: 34", "Exten: 21"):
            for lines in ("Uniqueid: 9.9", "Linkedid: 9", "context: other", "Channel: x"):
                event = f"Event: AsyncAGIEnd\r\n{SNAPSHOT}".replace(place, f"{place}\r\n{lines}")
                self.assertFalse(is_whole(AMIMessage(event.encode())), (place, lines))

    @given(st.sampled_from(["CallerIDNum: ", "Exten: "]), st.binary(max_size=79))
    def test_nothing_of_79_bytes(self, place: str, forged: bytes) -> None:
        """No event made in one header's 79 bytes, before or after a split, is whole for another channel."""
        true = f"Event: AsyncAGIEnd\r\n{SNAPSHOT}".encode()
        head, _, tail = true.partition(place.encode())
        stream = head + place.encode() + forged + tail
        for raw in stream.split(b"\r\n\r\n"):
            message = AMIMessage(raw)
            if is_whole(message):
                self.assertEqual(message.get("Uniqueid"), "1.0")


class PieceTests(SynchronousTestCase):
    """Replies that may be cut."""

    def test_short(self) -> None:
        """A short reply is complete."""
        found = piece("200%20result%3D0%0A")
        self.assertEqual((found.data, found.more, found.lost), (b"200 result=0\n", False, False))

    def test_full_pipe(self) -> None:
        """A reply of as many bytes as Asterisk reads at once may have a rest."""
        found = piece("x" * 1023)
        self.assertEqual((found.more, found.lost), (True, False))

    def test_cut_code(self) -> None:
        """A reply as long as Asterisk sends may have lost its end."""
        found = piece("%C3%B1" * 341 + "%")
        self.assertEqual((found.more, found.lost), (True, True))

    def test_bounds(self) -> None:
        """The pipe is read for 1023 bytes; of the encoded result 2045 characters may be all that was sent."""
        for length, more, lost in ((1022, False, False), (1023, True, False), (2044, True, False), (2045, True, True)):
            found = piece("x" * length)
            self.assertEqual((len(found.data), found.more, found.lost), (length, more, lost))

    def test_other_bytes(self) -> None:
        """Bytes that are not UTF-8 are passed on, encoded or not."""
        self.assertEqual(piece("%FF\udcff").data, b"\xff\xff")

    def test_progress(self) -> None:
        """The line 100 is no reply."""
        self.assertEqual(without_progress(b"100 result=0 Trying...\n200 result=0\n"), b"200 result=0\n")
        self.assertEqual(without_progress(b"100 "), b"")


class CommandTests(SynchronousTestCase):
    """Commands that are replaced before they are sent."""

    def test_harmless(self) -> None:
        """Only a STREAM FILE that every key ends is replaced."""
        for command, sent in (
            ("STREAM FILE beep 0123456789*#", "GET DATA beep 1 1"),
            ("stream file beep 0123456789*#", "GET DATA beep 1 1"),
            (r'STREAM FILE "a \"b\" \\ c" 0123456789*#', r'GET DATA "a \"b\" \\ c" 1 1'),
            ('STREAM FILE "" 0123456789*#', 'GET DATA "" 1 1'),
        ):
            self.assertEqual(without_break_on_error(command), sent)
        for command in (
            "STREAM FILE  0123456789*#",
            "STREAM FILE a b 0123456789*#",
            "XSTREAM FILE beep 0123456789*#",
            "STREAM FILE beep 0",
            "STREAM FILE beep 0123456789*# 800",
            "CONTROL STREAM FILE beep 0123456789*#",
            "ANSWER",
        ):
            self.assertEqual(without_break_on_error(command), command)

    def test_as_reply(self) -> None:
        """The reply to GET DATA becomes one of STREAM FILE; no key and a failure stay as they are."""
        sent = "GET DATA beep 1 1"
        for reply, expected in (
            (AGIReply(200, "12", text="result=12"), AGIReply(200, "49", text="result=49")),
            (AGIReply(200, "", "timeout", text="result= (timeout)"), AGIReply(200, "0", text="result=0")),
            (AGIReply(200, "", text="result="), AGIReply(200, "35", text="result=35")),
            (AGIReply(200, "-1", text="result=-1"), AGIReply(200, "-1", text="result=-1")),
            (AGIReply(510, "", text="Invalid"), AGIReply(510, "", text="Invalid")),
        ):
            self.assertEqual(as_reply_to(reply, "STREAM FILE beep 0123456789*#", sent), expected)
            self.assertIs(as_reply_to(reply, sent, sent), reply)


class HistoricalTests(SynchronousTestCase):
    """MAGIExec of the 2006 patch, as the workshop reads it."""

    def event(self, result: str, channel: str = "SIP/33-1", more: str = "") -> AMIMessage:
        """A MAGIExec event as the 2006 patch sent it."""
        return AMIMessage(f"Event: MAGIExec\r\nChannel: {channel}\r\nResult: {result}{more}".encode())

    def test_block(self) -> None:
        """Encoded, plain, or with a header each, the block gives the same request."""
        rest = OLD_BLOCK.replace("\n", "\r\n").partition("\r\n")
        for event in (
            self.event(quote(OLD_BLOCK)),
            self.event(OLD_BLOCK),
            self.event(rest[0], more="\r\n" + rest[2].rstrip("\r\n")),
        ):
            request = historical_request(event)
            assert request is not None
            self.assertEqual((request.caller, request.extension, request.uniqueid), ("33", "21", "1.1"))
            expected = dict(line.removeprefix("agi_").split(": ") for line in OLD_BLOCK.splitlines())
            self.assertEqual(dict(request.variables), expected)
            self.assertEqual(request.arguments, ())

    def test_line_ends(self) -> None:
        """Line ends of either kind, also before and behind the block; a value may hold a colon or end in X."""
        block = OLD_BLOCK.replace("agi_request: x", "agi_request: agi://x:1").replace("0.0", "X")
        for result in (block, block.replace("\n", "\r\n"), f"\n\n{block}\n", block.rstrip("\n")):
            request = historical_request(self.event(quote(result)))
            assert request is not None
            self.assertEqual((request.variables["request"], request.variables["enhanced"]), ("agi://x:1", "X"))

    def test_result(self) -> None:
        """The result of a command is no call."""
        for result in ("200 result=0", "", quote("200 result=1 (x\nagi_callerid: 33)"), quote("x\nagi_callerid: 33")):
            self.assertIsNone(historical_request(self.event(result)))

    def test_forged(self) -> None:
        """A block that is not all there, of another channel, or with a line twice, is refused."""
        for event in (
            self.event("agi_callerid: 33\nagi_extension: 900"),
            self.event(OLD_BLOCK, channel="SIP/44-1"),
            self.event(OLD_BLOCK + "agi_callerid: 22"),
        ):
            line = str(self.assertRaises(ForgedRequest, historical_request, event))
            self.assertTrue(line.isprintable())

    def test_why_it_is_refused(self) -> None:
        """The error names what is missing or too much."""
        for line in OLD_BLOCK.splitlines()[1:]:
            event = self.event(quote(OLD_BLOCK.replace(line + "\n", "")))
            why = str(self.assertRaises(ForgedRequest, historical_request, event))
            self.assertEqual(why, f"{line.partition(':')[0]} is not in it")
        without_request = OLD_BLOCK.partition("\n")[2]
        why = str(self.assertRaises(ForgedRequest, historical_request, self.event(quote(without_request))))
        self.assertEqual(why, "agi_request is not in it")
        for more in ("agi_callerid: 33", "agi_callerid:"):
            why = str(self.assertRaises(ForgedRequest, historical_request, self.event(quote(OLD_BLOCK + more))))
            self.assertEqual(why, "'agi_callerid' stands twice in it")
        event = self.event(quote(OLD_BLOCK), more="\r\nagi_dnid: 5\r\nagi_dnid: 6")
        self.assertEqual(
            str(self.assertRaises(ForgedRequest, historical_request, event)), "'agi_dnid' stands twice in it"
        )
        name = "agi_" + "x" * 100
        event = self.event(quote(f"{OLD_BLOCK}{name}: 1\n{name}: 2"))
        self.assertIn(f"'agi_{'x' * 56}' stands", str(self.assertRaises(ForgedRequest, historical_request, event)))
        event = self.event(quote(OLD_BLOCK), channel="SIP/44-1")
        self.assertEqual(str(self.assertRaises(ForgedRequest, historical_request, event)), "it is of another channel")
        event = self.event(quote(OLD_BLOCK.replace("agi_channel: SIP/33-1", "agi_channel:")), channel="")
        self.assertEqual(str(self.assertRaises(ForgedRequest, historical_request, event)), "agi_channel is empty")

    @given(st.binary(max_size=200))
    def test_any_bytes(self, result: bytes) -> None:
        """Any bytes are a request, None, or a refusal."""
        event = AMIMessage(b"Event: MAGIExec\r\nChannel: x\r\nResult: " + result)
        try:
            historical_request(event)
        except ForgedRequest as error:
            self.assertTrue(str(error).isprintable())
