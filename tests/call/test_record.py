"""Outcomes and what they mean."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import AGIRequest
from pbxrouter.call.record import (
    MAX_TALK_S,
    OUTCOME_SENTENCES,
    PROBLEMATIC,
    SUCCESSFUL,
    CallRecord,
    GatewayOutcome,
    outcome_kind,
    outcome_sentence,
    readable,
)
from pbxrouter.drivers import Outcome
from pbxrouter.text import sentence


class ReadableTests(SynchronousTestCase):
    """readable: outcomes that other people's code, or a reply, has made."""

    def test_good(self) -> None:
        """A good outcome is the same."""
        for outcome in (Outcome(), Outcome("ANSWER", "16", 0), Outcome("BUSY", "17", None, True), Outcome("X", "", 99)):
            self.assertIs(readable(outcome), outcome)

    def test_bad(self) -> None:
        """Texts become printable and short; seconds of talk that cannot be true are left out."""
        odd: Any = Outcome(b"\xff", None, "5", True)  # type: ignore[arg-type]
        self.assertEqual(readable(odd), Outcome("b'\\xff'", "None", None, True))
        self.assertEqual(readable(Outcome("a\udcff\n")).status, "a\\udcff\\n")
        self.assertEqual(readable(Outcome("x" * 81)).status, "x" * 80 + "… (cut, 81 characters)")
        for seconds in (-1, MAX_TALK_S + 1, 2**70):
            self.assertIsNone(readable(Outcome("ANSWER", "", seconds)).answered_s)
        self.assertEqual(readable(Outcome("ANSWER", "\0", MAX_TALK_S)).answered_s, MAX_TALK_S)


class RecordTests(SynchronousTestCase):
    """CallRecord: what is kept of a call."""

    def test_equality(self) -> None:
        """Records with other times and notes are compared by call and outcome."""
        record = CallRecord(AGIRequest({"uniqueid": "1"}), None, Outcome("BUSY"), 1.0, 2.0)
        self.assertEqual(record, CallRecord(record.request, None, Outcome("BUSY"), 3.0, 4.0, sentence("x")))
        self.assertNotEqual(record, CallRecord(record.request, None, Outcome("ANSWER"), 1.0, 2.0))
        self.assertNotEqual(record, CallRecord(AGIRequest({"uniqueid": "2"}), None, Outcome("BUSY"), 1.0, 2.0))
        bare = CallRecord(record.request, None, Outcome("BUSY"))
        self.assertEqual((bare.began, bare.ended, bare.note), (0.0, 0.0, None))


class OutcomeTests(SynchronousTestCase):
    """outcome_sentence, outcome_kind and their tables."""

    def test_all_have_a_sentence(self) -> None:
        """Each outcome of the gateway, each DIALSTATUS, and each outcome marked good or bad has a sentence."""
        own = {value for name, value in vars(GatewayOutcome).items() if not name.startswith("_")}
        self.assertEqual(own - OUTCOME_SENTENCES.keys(), set())
        self.assertEqual((SUCCESSFUL | PROBLEMATIC) - OUTCOME_SENTENCES.keys(), set())
        dialstatus = "ANSWER BUSY NOANSWER CANCEL CONGESTION CHANUNAVAIL DONTCALL TORTURE INVALIDARGS".split()
        self.assertEqual(set(dialstatus) - OUTCOME_SENTENCES.keys(), set())

    def test_own_outcomes(self) -> None:
        """The sentence and kind of each outcome that the gateway itself gives."""
        own = [value for name, value in vars(GatewayOutcome).items() if not name.startswith("_")]
        self.assertEqual(
            {value: (outcome_sentence(value).english, outcome_kind(value)) for value in own},
            {
                "INVALID": ("no such number", "plain"),
                "DENIED": ("not allowed", "bad"),
                "LOCKEDOUT": ("locked out after wrong PINs", "bad"),
                "NODRIVER": ("no driver", "bad"),
                "FAILED": ("gateway error", "bad"),
                "REFUSED": ("forged call", "bad"),
                "UNKNOWN": ("cut: the gateway died", "bad"),
                "HANGUP": ("caller hung up", "plain"),
                "DEAD": ("already hung up", "plain"),
                "NOCALL": ("no call of its own", "plain"),
                "STOPPED": ("cut by a stop of the gateway", "bad"),
                "LEFT": ("went on after a stop of the gateway", "plain"),
                "CUT": ("hung up by Asterisk", "plain"),
                "MOVED": ("went on elsewhere", "plain"),
                "LOST": ("connection to Asterisk lost", "bad"),
            },
        )

    def test_outcomes_of_drivers(self) -> None:
        """The sentence and kind of each outcome of the built-in drivers, and of Queue()."""
        own = {value for name, value in vars(GatewayOutcome).items() if not name.startswith("_")}
        self.assertEqual(
            {value: (outcome_sentence(value).english, outcome_kind(value)) for value in OUTCOME_SENTENCES.keys() - own},
            {
                "ANSWER": ("answered", "good"),
                "DONE": ("served", "good"),
                "BUSY": ("busy", "plain"),
                "NOANSWER": ("no answer", "plain"),
                "CANCEL": ("the caller gave up", "plain"),
                "CHANUNAVAIL": ("not reachable", "plain"),
                "CONGESTION": ("no line free", "plain"),
                "INVALIDARGS": ("could not be dialled", "plain"),
                "TIMEOUT": ("waited too long", "plain"),
                "FULL": ("the queue was full", "plain"),
                "JOINEMPTY": ("the queue had no agent", "plain"),
                "LEAVEEMPTY": ("the queue had no agent", "plain"),
                "JOINUNAVAIL": ("no agent was free", "plain"),
                "LEAVEUNAVAIL": ("no agent was free", "plain"),
                "DONTCALL": ("refused by the callee", "plain"),
                "TORTURE": ("refused by the callee", "plain"),
                "NOTENTERED": ("mailbox not entered", "plain"),
                "KICKED": ("put out of the conference", "plain"),
            },
        )

    def test_sentences_and_kinds(self) -> None:
        """A good, a bad and an unknown outcome; the unknown one is made printable."""
        found = [(outcome_sentence(value).english, outcome_kind(value)) for value in ("ANSWER", "DENIED", "FAXED\n")]
        self.assertEqual(
            found,
            [("answered", "good"), ("not allowed", "bad"), ("FAXED\\n", "plain")],
        )
