"""Records, rows, calls and rulings come out of the connection as they went in."""

from __future__ import annotations

from dataclasses import fields, replace

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import AGIRequest
from pbxrouter.call import CallRecord, GatewayCall, Phase
from pbxrouter.database.calls import CallRow
from pbxrouter.drivers import Outcome
from pbxrouter.rules import Decision, Verdict
from pbxrouter.rules import Mapping as Rule
from pbxrouter.security import GuessKey, Ruling
from pbxrouter.text import Sentence, sentence
from pbxrouter.workers import codec


def sent(value: object) -> object:
    """A value as the other end gets it."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))


DECISION = Decision(
    Verdict.ALLOW,
    "34",
    Rule(2, "3X", "dial", "IAX2"),
    "moises",
    (sentence("{number} matches", number="34"), sentence("why: {why}", why=sentence("{a}", a="b"))),
    "33",
    "moises",
    2,
    "21",
    action="Dial(IAX2/34)",
)
RECORD = CallRecord(
    AGIRequest({"uniqueid": "1.2", "channel": "PJSIP/33-00000001", "callerid": "33", "extension": "34"}),
    DECISION,
    Outcome("ANSWER", "16", 7, True),
    10.5,
    20.25,
    sentence("refused: {why}", why="x"),
    "ab-1",
    "locked out endpoint PJSIP/33",
    3,
)


class CodecTests(SynchronousTestCase):
    """The functions of the module."""

    def test_record(self) -> None:
        """A record with everything, and one with nothing, are equal field by field; no argument is sent."""
        bare = CallRecord(AGIRequest({}), None, Outcome(answered_s=None))
        for record in (RECORD, bare):
            with_secret = replace(record, request=replace(record.request, arguments=("secret=0123456789abcdef",)))
            self.assertNotIn("0123456789abcdef", repr(codec.packed_record(with_secret)))
            found = codec.unpacked_record(sent(codec.packed_record(with_secret)))  # type: ignore[arg-type]
            for field in fields(CallRecord):
                self.assertEqual(getattr(found, field.name), getattr(record, field.name), field.name)
            self.assertEqual(found.outcome.answered_s, record.outcome.answered_s)

    def test_row(self) -> None:
        """A row of the history has all its columns, and its key."""
        values = [f"text {place}" for place in range(len(fields(CallRow)) - 1)]
        row = CallRow(*values, call_key="ab-2")  # type: ignore[arg-type]
        found = codec.unpacked_row(sent(codec.packed_row(row)))  # type: ignore[arg-type]
        self.assertEqual((found, found.call_key), (row, "ab-2"))

    def test_call(self) -> None:
        """A call in progress takes over all values but its number."""
        call = GatewayCall(5, "1.2", "33", "Ann", "34", 10.5, Phase.PIN, "3X", "dial", "IAX2", "moises", "21")
        other = GatewayCall(9, "", "", "", "", 0.0)
        codec.update_call(other, sent(codec.packed_call(call)))  # type: ignore[arg-type]
        for field in fields(GatewayCall):
            self.assertEqual(getattr(other, field.name), 9 if field.name == "serial" else getattr(call, field.name))

    def test_ruling(self) -> None:
        """A ruling has its keys, if it has any."""
        for ruling in (
            Ruling(GuessKey("endpoint", "PJSIP/33"), 12.5, 2.0, GuessKey("gateway", ""), 3),
            Ruling(None, 0.0, 1.0, None),
        ):
            self.assertEqual(codec.unpacked_ruling(sent(codec.packed_ruling(ruling))), ruling)  # type: ignore[arg-type]

    def test_sentence(self) -> None:
        """A sentence within a sentence stays one, so that it can be translated."""
        given = Sentence("{a} and {b}", {"a": Sentence("c {d}", {"d": "e"}), "b": "f"})
        self.assertEqual(codec.unpacked_sentence(sent(codec.packed_sentence(given))), given)  # type: ignore[arg-type]
