"""The memory that processes share: each sees what the others wrote, and only that."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.fastagi.standstill_process import read_beats
from pbxrouter.net import Bounds, ConnectionLimits, SharedBoard, SharedBounds


class SharedBoardTests(SynchronousTestCase):
    """SharedBoard as three processes see it."""

    def setUp(self) -> None:
        """Three processes' views of one memory."""
        first = SharedBoard.create(3)
        self.boards = [first, *(SharedBoard(os.dup(first.descriptor), 3, own) for own in (1, 2))]
        for board in self.boards:
            self.addCleanup(board.close)

    def test_beats(self) -> None:
        """Each process's sign of life is seen by all, and where the standstill process is told to look."""
        self.boards[0].beat(10.5)
        self.boards[2].beat(30.25)
        for board in self.boards:
            self.assertEqual([board.last_beat(column) for column in range(3)], [10.5, 0.0, 30.25])
            self.assertEqual(read_beats(board.descriptor, board.beat_places()), [10.5, 0.0, 30.25])

    def test_connections(self) -> None:
        """Connections are counted by network, over the other processes; those of a process that has ended are not."""
        self.boards[1].count("192.0.2.7", 2)
        self.boards[2].count("192.0.2.7", 1)
        self.boards[2].count("2001:db8::/64", 1)
        self.boards[1].count("192.0.2.7", -1)
        first, second, third = self.boards
        self.assertEqual((first.elsewhere(), second.elsewhere(), third.elsewhere()), (3, 2, 1))
        self.assertEqual([board.elsewhere_of("192.0.2.7") for board in self.boards], [2, 1, 1])
        self.assertEqual(first.elsewhere_of("198.51.100.1"), 0)
        first.clear(2)
        self.assertEqual((first.elsewhere(), first.elsewhere_of("2001:db8::/64")), (1, 0))

    def test_never_less_than_none(self) -> None:
        """A count that was cleared in between does not become a huge one."""
        self.boards[1].count("a", -1)
        self.assertEqual(self.boards[0].elsewhere(), 0)


class SharedLimitsTests(SynchronousTestCase):
    """ConnectionLimits of two processes at one port."""

    def setUp(self) -> None:
        """Two processes of which each may have ten connections, and both together four, three of one network."""
        first = SharedBoard.create(2)
        second = SharedBoard(os.dup(first.descriptor), 2, 1)
        self.refused: list[tuple[str, str]] = []
        self.trusted: list[str] = []
        self.limits = [
            ConnectionLimits(
                Bounds(10, 10, 10, 10),
                lambda reason, network: self.refused.append((reason, network)),
                lambda: self.trusted,
                board,
                SharedBounds(4, 3),
            )
            for board in (first, second)
        ]
        for board in (first, second):
            self.addCleanup(board.close)

    def come(self, process: int, network: str) -> bool:
        """Open a connection with a request, so that none is closed to make room; returns whether it may be."""
        slot = self.limits[process].acquire(network)
        if slot is None:
            return False
        slot.busy()
        return True

    def test_in_all(self) -> None:
        """What both have counts against the limit of all; a connection that closes makes room in the other process."""
        last = self.limits[0].acquire("a")
        assert last is not None
        last.busy()
        self.assertTrue(all(self.come(process, network) for process, network in ((1, "a"), (0, "b"), (1, "c"))))
        self.assertFalse(self.come(1, "d"))
        self.assertEqual(self.refused, [("full", "d")])
        last.release()
        self.assertTrue(self.come(1, "d"))

    def test_of_a_network(self) -> None:
        """What both have of one network counts against its limit."""
        self.assertTrue(all(self.come(process, "a") for process in (0, 1, 1)))
        self.assertFalse(self.come(0, "a"))
        self.assertEqual(self.refused, [("peer", "a")])

    def test_share_of_others(self) -> None:
        """Networks that are not trusted leave a quarter of all connections to those that are, in both together."""
        self.trusted = ["t"]
        self.assertTrue(all(self.come(process, network) for process, network in ((0, "a"), (1, "b"), (1, "c"))))
        self.assertFalse(self.come(0, "d"))
        self.assertTrue(self.come(0, "t"))

    def test_other_bounds(self) -> None:
        """A reload may lift the common limits."""
        self.assertTrue(all(self.come(process, "a") for process in (0, 1, 1)))
        for limits in self.limits:
            limits.set_bounds(Bounds(10, 10, 10, 10))
        self.assertTrue(self.come(0, "a"))
