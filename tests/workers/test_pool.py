"""The main process's workers: when they are started, started again and ended, and what they add up to."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import ConfigError
from pbxrouter.net import SharedBoard
from pbxrouter.text import sentence
from pbxrouter.workers import SharedWatch, WorkerPool, demand_sharable
from pbxrouter.workers.codec import packed_sentence
from pbxrouter.workers.pool import BACK_OFF_S, DOWN_S, END_S, NEEDS_TCP, SOON_S, WORKED_S
from tests.workers.links import Wire, messages


class FakeProcess:
    """A process that was started.

    Attributes:
        signals: that it was sent.
    """

    pid = 77

    def __init__(self, protocol: Any, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.protocol = protocol
        self.arguments = arguments
        self.environment = environment
        self.signals: list[int] = []

    def signalProcess(self, number: int) -> None:
        """Note a signal."""
        self.signals.append(number)

    def end(self, status: int = 0) -> None:
        """Have the process end, by a signal if the status is one."""
        error = ProcessTerminated(status) if status else ProcessDone(0)
        self.protocol.processEnded(Failure(error))


class ProcessReactor(Clock):
    """A clock that starts no process, and connects what is adopted to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[FakeProcess] = []
        self.error: OSError | None = None

    def spawnProcess(self, protocol: Any, program: str, args: list[str], env: Mapping[str, str], childFDs: Any) -> Any:
        """Note a process."""
        if self.error is not None:
            raise self.error
        self.started.append(FakeProcess(protocol, args, env))
        return self.started[-1]

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        """Connect the protocol to a transport in memory."""
        factory.buildProtocol(None).makeConnection(Wire())


class PoolTests(SynchronousTestCase):
    """WorkerPool with two workers."""

    def setUp(self) -> None:
        """A pool with a port."""
        self.reactor = ProcessReactor()
        self.board = SharedBoard.create(3)
        self.addCleanup(self.board.close)
        self.watch = SharedWatch()
        nothing = SimpleNamespace(managers=[], is_complete=True)
        parts: Any = SimpleNamespace(
            watch=self.watch, proofs=nothing, active_calls=SimpleNamespace(remove=lambda call: None)
        )
        self.own = SimpleNamespace(served=10, open_calls=1, last_call=5.0, refused_connections=Counter({"full": 1}))
        self.pool = WorkerPool(
            3, self.board, parts, lambda: {"config": {}}, self.own, self.reactor, self.reactor.seconds
        )
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listening.close)
        self.port = SimpleNamespace(socket=self.listening, fileno=self.listening.fileno)

    def start(self) -> None:
        """Start the pool, and have its workers take calls."""
        self.pool.startService()
        self.pool.listen(self.port)
        for place in self.pool._places:
            self.ready(place)

    def ready(self, place: Any) -> None:
        """Have a worker take calls."""
        place.connection._ready()
        SharedBoard(self.board.descriptor, 3, place.number - 1).beat(self.reactor.seconds())

    def test_start(self) -> None:
        """Workers are started when there is a port; each is told the settings, and nothing by its command line."""
        os.environ["NOTIFY_SOCKET"] = "/run/x"
        self.addCleanup(os.environ.pop, "NOTIFY_SOCKET")
        self.pool.startService()
        self.assertEqual(self.reactor.started, [])
        self.pool.listen(self.port)
        self.assertEqual(
            [process.arguments[1:] for process in self.reactor.started],
            [["-P", "-m", "pbxrouter.worker", "3", "4", "5", number, "3"] for number in ("2", "3")],
        )
        self.assertNotIn("NOTIFY_SOCKET", self.reactor.started[0].environment)
        for place in self.pool._places:
            assert place.connection is not None
            self.assertEqual(messages(place.connection.link), [["begin", {"config": {}}, [], [], True]])

    def test_no_port_that_can_be_shared(self) -> None:
        """A port other than TCP's is refused, by its endpoint or when it listens."""
        with socket.socket(socket.AF_UNIX) as unix:
            error = self.assertRaises(ConfigError, self.pool.listen, SimpleNamespace(socket=unix))
        self.assertEqual(str(error), NEEDS_TCP)
        self.assertRaises(ConfigError, self.pool.listen, SimpleNamespace())
        for listen in ("unix:/run/x", "tls:/x:tcp:4573", "ssl:4573", "haproxy:tcp:4573"):
            self.assertRaises(ConfigError, demand_sharable, listen, 2)
            demand_sharable(listen, 1)
        for listen in ("tcp:4573", "tcp6:4573", "systemd:domain=INET:index=0"):
            demand_sharable(listen, 64)

    def test_started_again(self) -> None:
        """A worker that has worked is started again at once; one that fails, after ever longer times."""
        self.start()
        self.reactor.advance(WORKED_S)
        self.reactor.started[0].end(9)
        self.reactor.advance(SOON_S)
        self.assertEqual(len(self.reactor.started), 3)
        for count, wait_s in enumerate((*BACK_OFF_S, BACK_OFF_S[-1]), 3):
            self.reactor.started[-1].end(1)
            self.reactor.advance(wait_s - 0.01)
            self.assertEqual(len(self.reactor.started), count)
            self.reactor.advance(0.02)
            self.assertEqual(len(self.reactor.started), count + 1)

    def test_cannot_be_started(self) -> None:
        """A worker that the system does not start is tried again."""
        self.reactor.error = OSError(11, "Resource temporarily unavailable")
        self.pool.startService()
        self.pool.listen(self.port)
        self.reactor.error = None
        self.reactor.advance(BACK_OFF_S[0])
        self.assertEqual(len(self.reactor.started), 2)

    def test_figures(self) -> None:
        """Calls, connections and refusals are those of all processes, and none is lost when a worker ends."""
        self.start()
        first, second = (place.connection for place in self.pool._places)
        assert first is not None
        assert second is not None
        first._figures(3, 2, 7.0, {"full": 1, "peer": 2}, 1, 1, None)
        second._figures(4, 1, None, {}, 1, 1, None)
        total = (17, 4, 7.0, {"full": 2, "peer": 2})
        pool = self.pool
        self.assertEqual((pool.served, pool.open_calls, pool.last_call, pool.refused_connections), total)
        self.assertEqual((len(list(pool.state())), pool.in_progress), (2, 2))
        self.reactor.started[0].end(9)
        self.assertEqual((pool.served, pool.open_calls, pool.refused_connections), (17, 2, {"full": 2, "peer": 2}))
        self.assertIn("worker 2: does not run", list(pool.state()))

    def test_trouble(self) -> None:
        """What is wrong with a worker is told: its own trouble, silence, or that it does not run for long."""
        self.start()
        self.assertIsNone(self.pool.trouble)
        worker = self.pool._places[0].connection
        assert worker is not None
        worker._figures(0, 0, None, {}, 0, 0, packed_sentence(sentence("no descriptors")))
        self.assertEqual(str(self.pool.trouble), "worker 2: no descriptors")
        self.reactor.advance(2.5)
        self.assertEqual(str(self.pool.trouble), "worker 2 gives no sign of life")
        for process in tuple(self.reactor.started):
            process.end(9)
        self.assertIsNone(self.pool.trouble)
        self.reactor.error = OSError(11, "no")
        self.reactor.advance(DOWN_S + 0.1)
        self.assertEqual(str(self.pool.trouble), "worker 2 does not run; it is started again")

    def test_stop(self) -> None:
        """A stop tells the workers, and waits for them; what does not end is killed, and none is started again."""
        self.start()
        for place in self.pool._places:
            assert place.connection is not None
            messages(place.connection.link)
        connections = [place.connection for place in self.pool._places]
        self.pool.refuse_new()
        for worker in connections:
            assert worker is not None
            self.assertEqual(messages(worker.link), [["stop"]])
        stopped = self.pool.stopService()
        self.reactor.started[0].end()
        self.assertNoResult(stopped)
        self.reactor.advance(END_S)
        self.assertEqual([process.signals for process in self.reactor.started], [[], [signal.SIGKILL]])
        self.reactor.started[1].end(9)
        self.successResultOf(stopped)
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.started), 2)

    def test_watchers(self) -> None:
        """All workers are told what is watched."""
        self.start()
        workers = [place.connection for place in self.pool._places]
        for worker in workers:
            assert worker is not None
            messages(worker.link)
        self.watch.add(lambda line: None, "33")
        for worker in workers:
            assert worker is not None
            self.assertEqual(messages(worker.link), [["watch", [[1, "33", None]]]])
