"""Look-ups of host names that may hang, and threads that may be left."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pbxrouter.net.resolver import LOOKUP_S, MAX_LOOKUPS, LimitedResolver, limit_threads
from pbxrouter.net.threads import LeavableThread, make_leavable
from tests.needs import PATIENCE_S

V4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 5038))
V6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 5038, 0, 0))


class ThreadClock(Clock):
    """A clock that takes calls from threads; the test runs them."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[Callable[[], object]] = []
        self._came = threading.Condition()

    def callFromThread(self, function: Callable[..., object], *arguments: object) -> None:
        """Queue a call from a thread for run_one."""
        with self._came:
            self._calls.append(lambda: function(*arguments))
            self._came.notify_all()

    def run_one(self) -> None:
        """Wait for a call from a thread, and run it."""
        with self._came:
            self._came.wait_for(lambda: self._calls, PATIENCE_S)
            call = self._calls.pop(0)
        call()


class Names:
    """A resolver of the system that answers when the test says so.

    Attributes:
        asked: the look-ups, in order.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answer: Any = [V6, V4]
        self.may_answer = threading.Event()

    def __call__(self, *question: Any) -> Any:
        """Answer as socket.getaddrinfo would, once the test lets it."""
        self.asked.append(question)
        self.may_answer.wait(PATIENCE_S)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@implementer(IResolutionReceiver)
class Receiver:
    """Records what a look-up finds."""

    def __init__(self) -> None:
        self.name = ""
        self.found: list[IAddress] = []
        self.complete = False

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Keep the name that is looked up."""
        self.name = resolutionInProgress.name

    def addressResolved(self, address: IAddress) -> None:
        """Keep an address."""
        self.found.append(address)

    def resolutionComplete(self) -> None:
        """Note that the look-up is complete."""
        self.complete = True


class LookUps(SynchronousTestCase):
    """LimitedResolver looks host names up in threads."""

    def setUp(self) -> None:
        """A resolver on a system's one that hangs."""
        self.clock, self.names = ThreadClock(), Names()
        self.resolver = LimitedResolver(self.clock, self.names)
        self.addCleanup(self.names.may_answer.set)

    def look_up(self, name: str = "pbx.test", **how: Any) -> Receiver:
        """Begin a look-up."""
        receiver = Receiver()
        resolution = self.resolver.resolveHostName(receiver, name, 5038, **how)
        self.assertTrue(verifyObject(IHostResolution, resolution))
        self.assertRaises(NotImplementedError, resolution.cancel)
        self.assertEqual(receiver.name, name)
        return receiver

    def test_found(self) -> None:
        """All addresses are found, in the system's order."""
        self.names.may_answer.set()
        receiver = self.look_up()
        self.assertFalse(receiver.complete)
        self.clock.run_one()
        self.assertEqual(
            receiver.found, [IPv6Address("TCP", "2001:db8::1", 5038, 0, 0), IPv4Address("TCP", "192.0.2.1", 5038)]
        )
        self.assertTrue(receiver.complete)
        self.assertEqual(self.names.asked, [("pbx.test", 5038, socket.AF_UNSPEC, socket.SOCK_STREAM)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_kinds(self) -> None:
        """The family and the kind of socket are asked for as wanted."""
        self.names.may_answer.set()
        for how, family, kind in (
            ({"addressTypes": [IPv4Address]}, socket.AF_INET, socket.SOCK_STREAM),
            ({"addressTypes": [IPv6Address], "transportSemantics": "UDP"}, socket.AF_INET6, socket.SOCK_DGRAM),
            ({"addressTypes": [IPv6Address, IPv4Address]}, socket.AF_UNSPEC, socket.SOCK_STREAM),
        ):
            self.look_up(**how)
            self.clock.run_one()
            self.assertEqual(self.names.asked[-1], ("pbx.test", 5038, family, kind))

    def test_no_port(self) -> None:
        """Without a port the addresses have port 0."""
        self.names.may_answer.set()
        receiver = Receiver()
        self.resolver.resolveHostName(receiver, "pbx.test")
        self.clock.run_one()
        self.assertEqual(self.names.asked, [("pbx.test", 0, socket.AF_UNSPEC, socket.SOCK_STREAM)])

    def test_not_found(self) -> None:
        """A name that does not exist, or cannot be one, is not found."""
        self.names.may_answer.set()
        for error in (socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")):
            self.names.answer = error
            receiver = self.look_up()
            self.clock.run_one()
            self.assertEqual((receiver.found, receiver.complete), ([], True))

    def test_other_families(self) -> None:
        """Addresses of other families than IPv4 and IPv6 are passed over."""
        self.names.may_answer.set()
        self.names.answer = [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "/run/x"), V4]
        receiver = self.look_up()
        self.clock.run_one()
        self.assertEqual((receiver.found, receiver.complete), ([IPv4Address("TCP", "192.0.2.1", 5038)], True))

    def test_silent(self) -> None:
        """A name server that does not answer is waited for LOOKUP_S, and the log says so once until it answers."""
        with capturedLogs() as logs:
            for _ in range(3):
                receiver = self.look_up()
                self.clock.advance(LOOKUP_S - 0.1)
                self.assertFalse(receiver.complete)
                self.clock.advance(0.1)
                self.assertEqual((receiver.found, receiver.complete), ([], True))
        (event,) = logs
        self.assertIn("resolver: no answer for pbx.test within 12 s", formatEvent(event))
        self.assertEqual(len(self.names.asked), 1)

    def test_late(self) -> None:
        """What a slow name server answers too late counts for the next attempt; the one after asks again."""
        with capturedLogs():
            self.look_up()
            self.clock.advance(LOOKUP_S)
        self.names.may_answer.set()
        self.clock.run_one()
        receiver = self.look_up()
        self.assertEqual((len(receiver.found), receiver.complete, len(self.names.asked)), (2, True, 1))
        receiver = self.look_up()
        self.assertFalse(receiver.complete)
        self.clock.run_one()
        self.assertEqual((receiver.complete, len(self.names.asked)), (True, 2))

    def test_together(self) -> None:
        """Several who ask the same at the same time share one look-up."""
        receivers = [self.look_up() for _ in range(3)]
        self.names.may_answer.set()
        self.clock.run_one()
        self.assertEqual([len(receiver.found) for receiver in receivers], [2, 2, 2])
        self.assertEqual(len(self.names.asked), 1)

    def test_many(self) -> None:
        """No more than MAX_LOOKUPS hang at a time; further ones fail at once."""
        for number in range(MAX_LOOKUPS):
            self.assertFalse(self.look_up(f"pbx{number}.test").complete)
        with capturedLogs() as logs:
            for _ in range(2):
                receiver = self.look_up("one-more.test")
                self.assertEqual((receiver.found, receiver.complete), ([], True))
        self.assertEqual(
            [formatEvent(event) for event in logs],
            ["resolver: one-more.test is not looked up: too many look-ups are without an answer already"],
        )
        self.names.may_answer.set()
        self.clock.run_one()
        self.assertFalse(self.look_up("one-more.test").complete)


class Threads(SynchronousTestCase):
    """Threads that may be left."""

    def test_pool(self) -> None:
        """A pool whose work hangs is stopped after a moment; its threads are daemons."""
        pool = make_leavable(ThreadPool(1, 1))
        going_on, may_end = threading.Event(), threading.Event()
        self.addCleanup(may_end.set)

        def hang() -> None:
            going_on.set()
            may_end.wait(PATIENCE_S)

        pool.start()
        pool.callInThread(hang)
        self.assertTrue(going_on.wait(PATIENCE_S))
        pool.stop()
        (thread,) = pool.threads
        self.assertIsInstance(thread, LeavableThread)
        self.assertTrue(thread.daemon and thread.is_alive())

    def test_joined(self) -> None:
        """A thread that ends is waited for."""
        thread = LeavableThread(target=int)
        thread.start()
        thread.join()
        thread.join(0.1)
        self.assertFalse(thread.is_alive())


class LimitedReactor:
    """Has what limit_threads changes."""

    def __init__(self) -> None:
        self.resolver: object = None
        self.pool = ThreadPool(0, 1)

    def installNameResolver(self, resolver: object) -> None:
        """Use another resolver."""
        self.resolver = resolver

    def getThreadPool(self) -> ThreadPool:
        """The reactor's threads."""
        return self.pool


class Limited(SynchronousTestCase):
    """limit_threads changes a reactor."""

    def test_limited(self) -> None:
        """Names are looked up within the limit, and the pool's threads are those that may be left."""
        reactor = LimitedReactor()
        limit_threads(reactor)
        self.assertIsInstance(reactor.resolver, LimitedResolver)
        self.assertIs(reactor.pool.threadFactory, LeavableThread)


HANGING = """
import socket, threading
from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory
from pbxrouter.net import limit_threads
forever = threading.Event()
def getaddrinfo(*question):
    reactor.callFromThread(reactor.stop)
    forever.wait()
import pbxrouter.net.resolver as resolver
resolver.LimitedResolver.__init__.__defaults__ = (getaddrinfo,)
limit_threads(reactor)
attempt = clientFromString(reactor, "tcp:pbx.test:5038").connect(Factory())
attempt.addErrback(lambda failure: None)
reactor.callInThread(forever.wait)
reactor.run()
print("over")
"""


class Ending(SynchronousTestCase):
    """The end of a process whose threads hang."""

    def test_ends(self) -> None:
        """The reactor and the process end while a look-up and work in the thread pool hang."""
        with subprocess.Popen([sys.executable, "-c", HANGING], stdout=subprocess.PIPE) as process:
            self.addCleanup(process.kill)
            end = time.monotonic() + PATIENCE_S
            while process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
            self.assertEqual(process.poll(), 0)
            assert process.stdout is not None
            self.assertEqual(process.stdout.read(), b"over\n")
