"""Tests of rate limits."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.security.ratelimit import MAX_KEYS, RateLimit, WindowLimit


class RateLimitTests(SynchronousTestCase):
    """RateLimit keeps a bucket for each key."""

    def test_burst_then_rate(self) -> None:
        """Three are allowed at once, then one every ten seconds."""
        limit = RateLimit(per_minute=6, burst=3)
        self.assertEqual([limit.wait_s("a", 100.0) for _ in range(3)], [0.0, 0.0, 0.0])
        self.assertAlmostEqual(limit.wait_s("a", 100.0), 10.0)
        self.assertAlmostEqual(limit.wait_s("a", 104.0), 6.0)
        self.assertEqual(limit.wait_s("a", 110.0), 0.0)
        self.assertAlmostEqual(limit.wait_s("a", 110.0), 10.0)

    def test_keys_apart(self) -> None:
        """Each key has its own bucket."""
        limit = RateLimit(per_minute=6, burst=1)
        self.assertEqual(limit.wait_s("a", 0.0), 0.0)
        self.assertEqual(limit.wait_s("b", 0.0), 0.0)
        self.assertGreater(limit.wait_s("a", 0.0), 0.0)

    def test_never_more_than_the_burst(self) -> None:
        """A long pause saves up no more than a burst."""
        limit = RateLimit(per_minute=60, burst=2)
        limit.wait_s("a", 0.0)
        self.assertEqual([limit.wait_s("a", 1e6) for _ in range(2)], [0.0, 0.0])
        self.assertGreater(limit.wait_s("a", 1e6), 0.0)

    def test_clock_set_back(self) -> None:
        """A clock that goes back neither adds to what is left nor takes from it."""
        limit = RateLimit(per_minute=60, burst=2)
        self.assertEqual(limit.wait_s("a", 1e6), 0.0)
        self.assertEqual(limit.wait_s("a", 1e6 - 500), 0.0)
        self.assertAlmostEqual(limit.wait_s("a", 1e6 - 1000), 1.0)
        self.assertEqual(limit.wait_s("a", 1e6 - 999), 0.0)

    def test_bounded(self) -> None:
        """The keys unseen for longest are forgotten."""
        limit = RateLimit(per_minute=1, burst=1)
        for number in range(MAX_KEYS + 1):
            limit.wait_s(str(number), 0.0)
        self.assertEqual(limit.wait_s("0", 0.0), 0.0)
        self.assertGreater(limit.wait_s(str(MAX_KEYS), 0.0), 0.0)


class WindowLimitTests(SynchronousTestCase):
    """A window that never allows more than its number."""

    def test_window(self) -> None:
        """Each use that leaves the window makes room for another."""
        limit = WindowLimit(3600)
        self.assertEqual([limit.wait_s("a", 2, now) for now in (0.0, 1000.0)], [0.0, 0.0])
        self.assertEqual(limit.wait_s("a", 2, 1100.0), 2500.0)
        self.assertEqual(limit.wait_s("b", 2, 1100.0), 0.0)
        self.assertEqual(limit.wait_s("a", 2, 3600.0), 0.0)
        self.assertEqual(limit.wait_s("a", 2, 3600.0), 1000.0)

    def test_fewer_than_before(self) -> None:
        """The number may change: with a smaller one, earlier uses must leave the window first."""
        limit = WindowLimit(100)
        for now in (0.0, 10.0, 20.0):
            limit.wait_s("a", 3, now)
        self.assertEqual(limit.wait_s("a", 1, 30.0), 90.0)

    def test_give_back(self) -> None:
        """A use that is given back does not count; giving back without a use does nothing."""
        limit = WindowLimit(100)
        limit.give_back("a")
        self.assertEqual(limit.wait_s("a", 1, 0.0), 0.0)
        limit.give_back("a")
        self.assertEqual(limit.wait_s("a", 1, 0.0), 0.0)

    def test_bounded(self) -> None:
        """The number of remembered keys is bounded."""
        limit = WindowLimit(100)
        for place in range(MAX_KEYS + 1):
            limit.wait_s(str(place), 1, 0.0)
        self.assertEqual(limit.wait_s("0", 1, 1.0), 0.0)
        self.assertGreater(limit.wait_s(str(MAX_KEYS), 1, 1.0), 0.0)
