"""Limits on open connections: which are accepted, which are closed to make room."""

from __future__ import annotations

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.net.connection_limits import LIMIT_REASONS, MAX_PROVEN, Bounds, ConnectionLimits, ConnectionSlot


class LimitsCase(SynchronousTestCase):
    """ConnectionLimits whose closed connections and refusals are recorded."""

    def make(self, most: int, of_network: int, waiting: int, waiting_of_network: int) -> None:
        """Create ConnectionLimits with these bounds."""
        self.refused: list[tuple[str, str]] = []
        self.closed: list[ConnectionSlot] = []
        bounds = Bounds(most, of_network, waiting, waiting_of_network)
        self.limits = ConnectionLimits(bounds, lambda reason, network: self.refused.append((reason, network)))

    def come(self, network: str, busy: bool = False) -> ConnectionSlot:
        """Open a connection, which must be accepted."""
        slot = self.limits.acquire(network)
        assert slot is not None
        slot.close = lambda: self.closed.append(slot)
        if busy:
            slot.busy()
        return slot


class Preferred(LimitsCase):
    """Networks that have made a request before, and trusted ones."""

    def setUp(self) -> None:
        """No network is trusted."""
        self.trusted: list[str] = []

    def make(self, most: int, of_network: int, waiting: int, waiting_of_network: int) -> None:
        """Make the limits."""
        super().make(most, of_network, waiting, waiting_of_network)
        self.limits = ConnectionLimits(
            Bounds(most, of_network, waiting, waiting_of_network),
            lambda reason, network: self.refused.append((reason, network)),
            lambda: self.trusted,
        )

    def test_proven(self) -> None:
        """Those that have never made a request give way first, however few they have; a new one of them is refused."""
        self.make(9, 9, 3, 3)
        proven = [self.come("a") for _ in range(2)]
        proven[0].prove()
        stranger = self.come("b")
        self.come("c")
        self.assertEqual(self.closed, [stranger])
        self.come("a")
        self.assertEqual([slot.network for slot in self.closed], ["b", "c"])
        self.assertIsNone(self.limits.acquire("d"))
        self.assertEqual(self.refused[-1], ("full", "d"))
        self.assertEqual(len(self.closed), 2)

    def test_proven_again(self) -> None:
        """Of the networks that have made a request the latest are remembered; each request makes it late again."""
        self.make(2, 2, 2, 2)
        self.limits.prove("a")
        for place in range(MAX_PROVEN - 1):
            self.limits.prove(str(place))
        self.limits.prove("a")
        self.limits.prove("last")
        self.come("a")
        self.come("0")  # which is forgotten
        self.come("a")
        self.assertEqual([slot.network for slot in self.closed], ["0"])

    def test_how_many_are_remembered(self) -> None:
        """That a network has made a request is remembered while 1023 others do so, and no longer."""
        self.make(9, 9, 1, 9)
        self.limits.prove("a")
        for number in range(1023):
            self.limits.prove(f"n{number}")
        self.come("a")
        self.assertIsNone(self.limits.acquire("b"))
        self.limits.prove("one more")
        self.come("b")
        self.assertEqual([slot.network for slot in self.closed], ["a"])

    def test_trusted(self) -> None:
        """A trusted network goes before those that have made a request."""
        self.make(9, 9, 3, 9)
        for network in "ab":
            self.come(network).prove()
        self.trusted = ["t"]
        for _ in range(4):
            self.come("t")
        self.assertEqual([slot.network for slot in self.closed], ["a", "b", "t"])
        self.assertIsNone(self.limits.acquire("a"))

    def test_share(self) -> None:
        """Others leave a quarter of all connections to a trusted network, also where all are busy."""
        self.make(8, 8, 8, 8)
        self.trusted = ["t"]
        for network in "abcdef":
            self.come(network, busy=True)
        self.assertIsNone(self.limits.acquire("g"))
        for _ in range(2):
            self.come("t", busy=True)
        self.assertIsNone(self.limits.acquire("t"))
        self.trusted = []
        self.assertIsNone(self.limits.acquire("g"))
        self.assertEqual(self.refused, [("full", "g"), ("full", "t"), ("full", "g")])

    def test_share_of_waiting_ones(self) -> None:
        """Within the share of the others, the oldest that waits gives way, and never one of the trusted network."""
        self.make(8, 8, 8, 8)
        self.trusted = ["t"]
        self.come("t")
        first, *_ = [self.come(network) for network in "abcdef"]
        self.come("g")
        self.assertEqual(self.closed, [first])

    def test_forgotten(self) -> None:
        """Of networks that have made a request only the latest MAX_PROVEN are remembered."""
        self.make(9, 9, 1, 9)
        self.come("a").prove()
        for number in range(MAX_PROVEN):
            self.limits.prove(f"n{number}")
        self.come("b")
        self.assertEqual([slot.network for slot in self.closed], ["a"])


class Entering(LimitsCase):
    """Which new connections get a place."""

    def test_full(self) -> None:
        """When all are busy, a further one is refused until one leaves."""
        self.make(3, 3, 3, 3)
        first, *_ = [self.come(network, busy=True) for network in "abc"]
        self.assertIsNone(self.limits.acquire("d"))
        self.assertEqual(self.refused, [("full", "d")])
        first.release()
        first.release()
        self.come("d", busy=True)
        self.assertIsNone(self.limits.acquire("d"))
        self.assertEqual(self.closed, [])

    def test_other_bounds(self) -> None:
        """Other bounds count for the connections that come from now on; those that are open stay."""
        self.make(1, 1, 1, 1)
        self.come("a", busy=True)
        self.limits.set_bounds(Bounds(2, 2, 2, 2))
        self.come("a", busy=True)
        self.assertIsNone(self.limits.acquire("b"))
        self.limits.set_bounds(Bounds(1, 1, 1, 1))
        self.assertIsNone(self.limits.acquire("b"))
        self.assertEqual((self.closed, self.refused), ([], [("full", "b")] * 2))

    def test_of_network(self) -> None:
        """A network that has its share gets no more; another does."""
        self.make(9, 2, 9, 9)
        for _ in range(2):
            self.come("a", busy=True)
        self.assertIsNone(self.limits.acquire("a"))
        self.assertEqual(self.refused, [("peer", "a")])
        self.come("b")

    def test_waiting_give_way(self) -> None:
        """A connection that waits is closed for another when all places, or its network's, are taken."""
        self.make(3, 2, 9, 9)
        waiting = self.come("a")
        self.come("a", busy=True)
        other = self.come("a")
        self.assertEqual(self.closed, [waiting])
        self.come("b", busy=True)
        self.come("b", busy=True)
        self.assertEqual(self.closed, [waiting, other])
        self.assertEqual(self.refused, [("half-open", "a"), ("half-open", "a")])
        self.assertIsNone(self.limits.acquire("c"))

    def test_share_of_waiting(self) -> None:
        """When too many connections of a network wait, the oldest of them is closed."""
        self.make(99, 99, 99, 2)
        first, second = self.come("a"), self.come("a")
        other = self.come("b")
        first.busy()
        first.idle()
        third = self.come("a")
        self.assertEqual(self.closed, [second])
        self.come("a")
        self.assertEqual(self.closed, [second, first])
        for slot in (third, other):
            self.assertNotIn(slot, self.closed)

    def test_all_that_wait(self) -> None:
        """When too many wait in all, the network that has most of them loses one; a quiet one never does."""
        self.make(99, 99, 4, 4)
        quiet = self.come("quiet")
        flood = [self.come("flood") for _ in range(3)]
        for _ in range(20):
            flood.append(self.come("flood"))
        self.come("asterisk")
        self.assertEqual(self.closed, flood[:21])
        quiet.busy()
        quiet.release()
        self.assertEqual({network for _, network in self.refused}, {"flood"})

    def test_given_away(self) -> None:
        """A slot that was released counts no more, even if its connection still reports."""
        self.make(2, 2, 1, 1)
        gone = self.come("a")
        self.come("a")
        self.assertEqual(self.closed, [gone])
        gone.busy()
        gone.idle()
        gone.release()
        second = self.come("a")
        self.assertEqual(len(self.closed), 2)
        self.come("a")
        self.assertEqual((len(self.closed), self.closed[-1]), (3, second))

    def test_busy_ones_do_not_wait(self) -> None:
        """Only connections that wait now count among those that wait."""
        self.make(99, 99, 3, 3)
        for network in ("a", "b", "b"):
            self.come(network, busy=True)
        for network in ("a", "b", "c"):
            self.come(network)
        self.assertEqual(self.closed, [])

    def test_one_of_several_leaves(self) -> None:
        """When one connection of a network leaves, the others still count."""
        self.make(99, 2, 99, 99)
        first, second = self.come("a", busy=True), self.come("a", busy=True)
        first.release()
        self.come("a", busy=True)
        self.assertIsNone(self.limits.acquire("a"))
        second.release()
        self.come("a", busy=True)
        self.assertIsNone(self.limits.acquire("a"))

    def test_forgotten(self) -> None:
        """Of a network whose connections have left nothing is remembered, whether they waited or not."""

        class Network(str):
            """A network's name that can be looked for."""

        for busy in (False, True):
            self.make(9, 9, 9, 9)
            name = Network("a")
            remembered = weakref.ref(name)
            place = self.limits.acquire(name)
            del name
            assert place is not None
            if busy:
                place.busy()
            place.release()
            del place
            gc.collect()
            self.assertIsNone(remembered())

    def test_both_bounds_of_waiting(self) -> None:
        """A network that has its share of those that wait gives way itself, and no other one beside it."""
        self.make(99, 99, 3, 2)
        others = [self.come("b")]
        own = [self.come("a"), self.come("a")]
        self.come("a")
        self.assertEqual(self.closed, own[:1])
        self.assertEqual(self.refused, [("half-open", "a")])
        self.come("c")
        self.assertEqual(self.closed, own)
        self.assertNotIn(others[0], self.closed)

    def test_busy_ones_are_kept(self) -> None:
        """Where no connection waits a place is refused, and a busy connection is never closed."""
        self.make(2, 2, 1, 1)
        first = self.come("a", busy=True)
        first.busy()
        second = self.come("a")
        second.busy()
        for network, reason in (("a", "peer"), ("b", "full"), ("", "full")):
            self.assertIsNone(self.limits.acquire(network))
            self.assertEqual(self.refused.pop(), (reason, network))
        second.idle()
        second.idle()
        self.come("b")
        self.assertEqual(self.closed, [second])

    def test_closed_before_it_can_be_told(self) -> None:
        """A place whose connection has nothing to close it is given away too."""
        self.make(1, 1, 1, 1)
        self.assertIsNotNone(self.limits.acquire("a"))
        self.assertIsNotNone(self.limits.acquire("a"))
        self.assertEqual(self.refused, [("half-open", "a")])

    def test_order_of_giving_way(self) -> None:
        """The place is free, and its connection closed, before the refusal is told."""
        seen: list[str] = []
        self.limits = ConnectionLimits(Bounds(1, 1, 1, 1), lambda *_: seen.append("told"))
        first = self.limits.acquire("a")
        assert first is not None
        first.close = lambda: seen.append("closed")
        self.limits.acquire("a")
        self.assertEqual(seen, ["closed", "told"])

    def test_reasons(self) -> None:
        """The reasons that are told, for metrics that begin at zero."""
        self.assertEqual(LIMIT_REASONS, ("full", "peer", "half-open"))

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 9)), max_size=60))
    def test_bounds_hold(self, steps: list[tuple[str, int, int]]) -> None:
        """For any sequence of connections no limit is exceeded, and closed ones are forgotten."""
        self.make(6, 4, 3, 2)
        open_now: list[ConnectionSlot] = []
        busy: set[ConnectionSlot] = set()
        for network, what, index in steps:
            if what < 2:
                slot = self.limits.acquire(network)
                if slot is not None:
                    slot.close = lambda slot=slot: open_now.remove(slot)  # type: ignore[misc]
                    open_now.append(slot)
            elif open_now:
                slot = open_now[index % len(open_now)]
                if what == 2:
                    slot.busy()
                    busy.add(slot)
                else:
                    open_now.remove(slot)
                    slot.release()
            waiting = [slot for slot in open_now if slot not in busy]
            self.assertLessEqual(len(open_now), 6)
            self.assertLessEqual(len(waiting), 3)
            for name in "abc":
                self.assertLessEqual(sum(slot.network == name for slot in open_now), 4)
                self.assertLessEqual(sum(slot.network == name for slot in waiting), 2)
        for slot in tuple(open_now):
            slot.release()
        self.assertIsNotNone(self.limits.acquire("a"))
