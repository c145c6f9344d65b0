"""Click-to-dial attempts, and waiting for their next step."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.originate.originator import Progress
from pbxrouter.text.sentences import Sentence
from pbxrouter.web.click_to_dial.attempts import (
    KEEP_S,
    MAX_ATTEMPTS,
    MAX_WAITING,
    Attempts,
)
from tests.web.console.click_to_dial.test_visitor_pages import reactor


class AttemptsTests(SynchronousTestCase):
    """Attempts are kept for a while."""

    def test_bounded(self) -> None:
        """Attempts are limited in number, and forgotten some time after their last step."""
        now = 0.0
        attempts = Attempts(lambda: now)
        first = attempts.add(("user", 1), "21", "PJSIP/33")
        for _ in range(MAX_ATTEMPTS):
            attempts.add(("user", 2), "21", "PJSIP/33")
        self.assertIsNone(attempts.find(first.attempt_id, ("user", 1)))
        last = attempts.add(("user", 1), "22", "PJSIP/33")
        now = KEEP_S - 1
        last.tell(Progress("ringing", Sentence("x"), ""), now)
        now = 2 * KEEP_S - 2
        attempts.add(("user", 3), "21", "PJSIP/33")
        self.assertEqual(attempts.latest(("user", 2), 5), [])
        self.assertEqual(attempts.latest(("user", 1), 5), [last])

    def test_whose(self) -> None:
        """An id is valid for its owner only, and cannot be guessed."""
        attempts = Attempts(lambda: 0.0)
        made = attempts.add(("link", 1), "21", "PJSIP/33")
        self.assertIs(attempts.find(made.attempt_id, ("link", 1)), made)
        for owner in (("link", 2), ("user", 1)):
            self.assertIsNone(attempts.find(made.attempt_id, owner))
        self.assertGreaterEqual(len(made.attempt_id), 24)

    def test_waiting(self) -> None:
        """All waiting requests get the next step; their number is limited."""
        attempts = Attempts(lambda: 0.0)
        made = attempts.add(("link", 1), "21", "PJSIP/33")
        waiting = [Deferred.fromCoroutine(made.news(0, 20, reactor)) for _ in range(MAX_WAITING + 1)]
        self.assertEqual([deferred.called for deferred in waiting], [False] * MAX_WAITING + [True])
        waiting[0].addErrback(lambda _: None).cancel()
        self.assertEqual(len(made.waiting), MAX_WAITING - 1)
        made.tell(Progress("busy", Sentence("x"), ""), 0.0)
        self.assertTrue(all(deferred.called for deferred in waiting))
        self.successResultOf(Deferred.fromCoroutine(made.news(1, 20, reactor)))
