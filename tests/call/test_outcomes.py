"""Outcomes in words."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.call.outcomes import (
    GRAVE,
    OUTCOMES,
    WELL,
    outcome_kind,
    outcome_words,
)
from pbxrouter.call.record import GatewayOutcome


class OutcomeTests(SynchronousTestCase):
    """Each has its words."""

    def test_all_of_ours(self) -> None:
        """What the conversation itself can come to is there."""
        own = {value for name, value in vars(GatewayOutcome).items() if not name.startswith("_")}
        self.assertEqual(own - OUTCOMES.keys(), set())
        self.assertEqual((WELL | GRAVE) - OUTCOMES.keys(), set())

    def test_words_and_kinds(self) -> None:
        """Of known ones and of a driver's own."""
        found = [(outcome_words(value).english, outcome_kind(value)) for value in ("ANSWER", "DENIED", "FAXED\n")]
        self.assertEqual(found, [("answered", "good"), ("PIN or rules said no", "bad"), ("FAXED\\n", "plain")])
