"""Places for connections: who gets one, and who gives his up."""

from __future__ import annotations

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.net.places import PLACE_REASONS, Bounds, Place, Places


class PlacesCase(SynchronousTestCase):
    """Places whose closed connections and refusals are recorded."""

    def make(self, most: int, of_network: int, waiting: int, waiting_of_network: int) -> None:
        """Make them."""
        self.refused: list[tuple[str, str]] = []
        self.closed: list[Place] = []
        bounds = Bounds(most, of_network, waiting, waiting_of_network)
        self.places = Places(bounds, lambda reason, network: self.refused.append((reason, network)))

    def come(self, network: str, busy: bool = False) -> Place:
        """A connection that is accepted."""
        place = self.places.enter(network)
        assert place is not None
        place.close = lambda: self.closed.append(place)
        if busy:
            place.busy()
        return place


class Entering(PlacesCase):
    """New connections."""

    def test_full(self) -> None:
        """When all are busy, a further one is refused until one leaves."""
        self.make(3, 3, 3, 3)
        first, *_ = [self.come(network, busy=True) for network in "abc"]
        self.assertIsNone(self.places.enter("d"))
        self.assertEqual(self.refused, [("full", "d")])
        first.leave()
        first.leave()
        self.come("d", busy=True)
        self.assertIsNone(self.places.enter("d"))
        self.assertEqual(self.closed, [])

    def test_of_network(self) -> None:
        """A network that has its share gets no more; another does."""
        self.make(9, 2, 9, 9)
        for _ in range(2):
            self.come("a", busy=True)
        self.assertIsNone(self.places.enter("a"))
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
        self.assertIsNone(self.places.enter("c"))

    def test_share_of_waiting(self) -> None:
        """Of the connections of a network that wait, the oldest is closed when there are too many."""
        self.make(99, 99, 99, 2)
        first, second = self.come("a"), self.come("a")
        other = self.come("b")
        first.busy()
        first.waits()
        third = self.come("a")
        self.assertEqual(self.closed, [second])
        self.come("a")
        self.assertEqual(self.closed, [second, first])
        for place in (third, other):
            self.assertNotIn(place, self.closed)

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
        quiet.leave()
        self.assertEqual({network for _, network in self.refused}, {"flood"})

    def test_given_away(self) -> None:
        """A place that was given away counts no more, whatever its connection still does."""
        self.make(2, 2, 1, 1)
        gone = self.come("a")
        self.come("a")
        self.assertEqual(self.closed, [gone])
        gone.busy()
        gone.waits()
        gone.leave()
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
        first.leave()
        self.come("a", busy=True)
        self.assertIsNone(self.places.enter("a"))
        second.leave()
        self.come("a", busy=True)
        self.assertIsNone(self.places.enter("a"))

    def test_forgotten(self) -> None:
        """Of a network whose connections have left nothing is remembered, whether they waited or not."""

        class Network(str):
            """A network's name that can be looked for."""

        for busy in (False, True):
            self.make(9, 9, 9, 9)
            name = Network("a")
            remembered = weakref.ref(name)
            place = self.places.enter(name)
            del name
            assert place is not None
            if busy:
                place.busy()
            place.leave()
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
        """Where nothing waits a place is refused, whatever was given away before; a busy one is never closed."""
        self.make(2, 2, 1, 1)
        first = self.come("a", busy=True)
        first.busy()
        second = self.come("a")
        second.busy()
        for network, reason in (("a", "peer"), ("b", "full"), ("", "full")):
            self.assertIsNone(self.places.enter(network))
            self.assertEqual(self.refused.pop(), (reason, network))
        second.waits()
        second.waits()
        self.come("b")
        self.assertEqual(self.closed, [second])

    def test_closed_before_it_can_be_told(self) -> None:
        """A place that nothing has been told to close is given away all the same."""
        self.make(1, 1, 1, 1)
        self.assertIsNotNone(self.places.enter("a"))
        self.assertIsNotNone(self.places.enter("a"))
        self.assertEqual(self.refused, [("half-open", "a")])

    def test_order_of_giving_way(self) -> None:
        """The place is free, and its connection closed, before the refusal is told."""
        seen: list[str] = []
        self.places = Places(Bounds(1, 1, 1, 1), lambda *_: seen.append("told"))
        first = self.places.enter("a")
        assert first is not None
        first.close = lambda: seen.append("closed")
        self.places.enter("a")
        self.assertEqual(seen, ["closed", "told"])

    def test_reasons(self) -> None:
        """The reasons that are told, for metrics that begin at zero."""
        self.assertEqual(PLACE_REASONS, ("full", "peer", "half-open"))

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 9)), max_size=60))
    def test_bounds_hold(self, steps: list[tuple[str, int, int]]) -> None:
        """Whatever comes, asks and goes, no bound is passed, and what left is forgotten."""
        self.make(6, 4, 3, 2)
        open_now: list[Place] = []
        busy: set[Place] = set()
        for network, what, index in steps:
            if what < 2:
                place = self.places.enter(network)
                if place is not None:
                    place.close = lambda place=place: open_now.remove(place)  # type: ignore[misc]
                    open_now.append(place)
            elif open_now:
                place = open_now[index % len(open_now)]
                if what == 2:
                    place.busy()
                    busy.add(place)
                else:
                    open_now.remove(place)
                    place.leave()
            waiting = [place for place in open_now if place not in busy]
            self.assertLessEqual(len(open_now), 6)
            self.assertLessEqual(len(waiting), 3)
            for name in "abc":
                self.assertLessEqual(sum(place.network == name for place in open_now), 4)
                self.assertLessEqual(sum(place.network == name for place in waiting), 2)
        for place in tuple(open_now):
            place.leave()
        self.assertIsNotNone(self.places.enter("a"))
