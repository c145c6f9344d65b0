"""How often somebody may do something."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ratelimit import MAX_KEYS, RateLimit


class RateLimitTests(SynchronousTestCase):
    """A bucket for each key."""

    def test_burst_then_rate(self) -> None:
        """Three at once, then one each ten seconds."""
        limit = RateLimit(per_minute=6, burst=3)
        self.assertEqual([limit.wait_s("a", 100.0) for _ in range(3)], [0.0, 0.0, 0.0])
        self.assertAlmostEqual(limit.wait_s("a", 100.0), 10.0)
        self.assertAlmostEqual(limit.wait_s("a", 104.0), 6.0)
        self.assertEqual(limit.wait_s("a", 110.0), 0.0)
        self.assertAlmostEqual(limit.wait_s("a", 110.0), 10.0)

    def test_keys_apart(self) -> None:
        """What one does is nothing to the other."""
        limit = RateLimit(per_minute=6, burst=1)
        self.assertEqual(limit.wait_s("a", 0.0), 0.0)
        self.assertEqual(limit.wait_s("b", 0.0), 0.0)
        self.assertGreater(limit.wait_s("a", 0.0), 0.0)

    def test_never_more_than_the_burst(self) -> None:
        """A long pause saves up no more than a burst; a clock that goes back adds nothing."""
        limit = RateLimit(per_minute=60, burst=2)
        limit.wait_s("a", 0.0)
        self.assertEqual([limit.wait_s("a", 1e6) for _ in range(2)], [0.0, 0.0])
        self.assertGreater(limit.wait_s("a", 1e6 - 500), 0.0)

    def test_bounded(self) -> None:
        """The keys unseen for longest are forgotten."""
        limit = RateLimit(per_minute=1, burst=1)
        for number in range(MAX_KEYS + 1):
            limit.wait_s(str(number), 0.0)
        self.assertEqual(limit.wait_s("0", 0.0), 0.0)
        self.assertGreater(limit.wait_s(str(MAX_KEYS), 0.0), 0.0)
