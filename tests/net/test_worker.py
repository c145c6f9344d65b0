"""A thread of its own for blocking work, with the real reactor."""

from __future__ import annotations

import threading

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from pbxrouter.net import Worker
from tests.needs import PATIENCE_S


class WorkerTests(TestCase):
    """A Worker."""

    async def test_work(self) -> None:
        """Work is done in order in one thread, which is not the reactor's; what it returns or raises is passed on."""
        worker = Worker(reactor, "test")
        self.addCleanup(worker.stop)
        threads = [await worker.run(threading.get_ident) for _ in range(3)]
        self.assertEqual(len({*threads, threading.get_ident()}), 2)
        await self.assertFailure(worker.run(lambda: 1 // 0), ZeroDivisionError)

    async def test_one_thread(self) -> None:
        """Work that is asked for while other work goes on waits for the same thread."""
        worker = Worker(reactor, "test")
        self.addCleanup(worker.stop)
        may_end = threading.Event()

        def work() -> int:
            may_end.wait(PATIENCE_S)
            return threading.get_ident()

        asked = [worker.run(work) for _ in range(3)]
        may_end.set()
        self.assertEqual(len(set(await gatherResults(asked))), 1)

    async def test_stop(self) -> None:
        """The thread ends with the worker; one that has never worked can be stopped, too, and more than once."""
        before = threading.active_count()
        worker = Worker(reactor, "test")
        worker.stop()
        await worker.run(threading.get_ident)
        self.assertEqual(threading.active_count(), before + 1)
        for _ in range(2):
            worker.stop()
        self.assertEqual(threading.active_count(), before)
