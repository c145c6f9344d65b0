"""The connection between processes: messages, answers, what fails, and text that is no UTF-8."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import ProcessAway
from pbxrouter.workers.link import GATHER_S, MAX_GATHERED, Handler
from tests.fakes import byte_by_byte, in_one
from tests.workers.links import Pair


class LinkTests(SynchronousTestCase):
    """Link, both ends of it."""

    def setUp(self) -> None:
        """A pair whose main end notes what it is told, and answers."""
        self.told: list[Any] = []
        self.answer: Deferred[Any] = Deferred()
        handlers: dict[str, Handler] = {
            "note": lambda *values: self.told.append(values),
            "double": lambda value: value * 2,
            "later": lambda: self.answer,
            "fail": lambda: 1 // 0,
        }
        self.pair = Pair(handlers, {})

    def test_told(self) -> None:
        """What is told arrives in order, however it is cut, after a moment in which more is gathered."""
        for cut in (in_one, byte_by_byte):
            self.told.clear()
            self.pair.worker.tell("note", 1, "two", [3.5, None, {"four": b"5"}])
            self.pair.worker.tell("note", 6)
            self.assertEqual(self.pair.worker.transport.value(), b"")
            self.pair.clock.advance(GATHER_S)
            self.assertNotEqual(self.pair.worker.transport.value(), b"")
            self.pair.carry(cut)
            self.assertEqual(self.told, [(1, "two", [3.5, None, {"four": b"5"}]), (6,)])

    def test_many(self) -> None:
        """So many messages are sent at once that a frame stays small."""
        for number in range(MAX_GATHERED):
            self.pair.worker.tell("note", number)
        self.assertNotEqual(self.pair.worker.transport.value(), b"")
        self.pair.carry()
        self.assertEqual(len(self.told), MAX_GATHERED)

    def test_bytes_that_are_no_text(self) -> None:
        """Text with bytes that are no UTF-8, as from Asterisk, arrives as it was; as a name it is escaped."""
        odd = b"J\xf6rg \xff".decode("utf-8", "surrogateescape")
        self.pair.worker.tell("note", odd, [odd, "plain"], {odd: {"name": odd}}, "\ud800")
        self.pair.carry()
        name = "J\\udcf6rg \\udcff"
        self.assertEqual(self.told, [(odd, [odd, "plain"], {name: {"name": odd}}, "\ud800")])

    def test_asked(self) -> None:
        """A question goes at once, behind what was told before, and has its own answer."""
        self.pair.worker.tell("note", 1)
        late = self.pair.worker.ask("later")
        soon = self.pair.worker.ask("double", 21)
        self.assertNotEqual(self.pair.worker.transport.value(), b"")
        self.pair.carry()
        self.assertEqual((self.told, self.successResultOf(soon)), ([(1,)], 42))
        self.assertNoResult(late)
        self.answer.callback("done")
        self.pair.carry()
        self.assertEqual(self.successResultOf(late), "done")

    def test_a_handler_that_fails(self) -> None:
        """A question whose handler raises fails, and the traceback is in the log; so is that of a message."""
        asked = self.pair.worker.ask("fail")
        self.pair.worker.tell("fail")
        self.pair.carry()
        self.assertIn("ZeroDivisionError", str(self.failureResultOf(asked, ProcessAway).value))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_lost(self) -> None:
        """When the connection is gone all questions fail, those of later too, and the owner is told once."""
        asked = self.pair.worker.ask("later")
        self.pair.worker.tell("note", 1)
        self.pair.worker.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(asked, ProcessAway)
        self.failureResultOf(self.pair.worker.ask("double", 1), ProcessAway)
        self.pair.worker.tell("note", 2)
        self.assertEqual((self.pair.lost, self.pair.worker.is_open), (["worker"], False))
        self.pair.clock.advance(1)
        self.assertEqual(self.pair.clock.getDelayedCalls(), [])

    def test_given_up(self) -> None:
        """Questions that are given up fail; their answers are ignored when they come."""
        asked = self.pair.worker.ask("later")
        self.pair.worker.give_up("no sign of life")
        self.failureResultOf(asked, ProcessAway)
        self.answer.callback(1)
        self.pair.carry()

    def test_slow(self) -> None:
        """Whether the other end keeps up is known."""
        link = self.pair.worker
        self.assertFalse(link.is_slow)
        link.pauseProducing()
        self.assertTrue(link.is_slow)
        link.resumeProducing()
        self.assertFalse(link.is_slow)

    def test_not_ours(self) -> None:
        """A frame of impossible length closes the connection; an unknown message is logged, and harms nothing."""
        self.pair.worker.tell("unknown")
        self.pair.worker.tell("note", 1)
        self.pair.carry()
        self.assertEqual(self.told, [(1,)])
        self.pair.main.dataReceived(b"\xff\xff\xff\xff")
        self.assertTrue(self.pair.main.transport.closed)

    def test_close(self) -> None:
        """Closing sends what was gathered first."""
        self.pair.worker.tell("note", 1)
        self.pair.worker.close()
        self.assertTrue(self.pair.worker.transport.closed)
        self.pair.carry()
        self.assertEqual(self.told, [(1,)])
