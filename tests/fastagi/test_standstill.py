"""The process that closes the calls' connections while the gateway stands still, and the gateway's side of it."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import directlyProvides

from pbxrouter.fastagi import standstill_process
from pbxrouter.fastagi.standstill import BEAT_EVERY_S, StandstillGuard
from pbxrouter.fastagi.standstill_process import LOOK_EVERY_S, MOST_OPENING, STILL_S, Watch
from pbxrouter.net import SharedBoard
from tests.needs import PATIENCE_S

reactor: Any = global_reactor


def pair() -> tuple[socket.socket, socket.socket]:
    """A call's connection: the gateway's side and Asterisk's."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    return ours, theirs


def is_open(end: socket.socket) -> bool:
    """Whether Asterisk's side of a connection is still open."""
    try:
        return end.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


class WatchTests(SynchronousTestCase):
    """What the process does with the packets that it gets."""

    def setUp(self) -> None:
        """The gateway's socket, and a process that is given its time."""
        self.clock = Clock()
        self.gateway, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.watch = Watch(self.theirs, self.clock.seconds)
        self.addCleanup(self.gateway.close)
        self.addCleanup(self.theirs.close)

    def hold(self, number: int) -> tuple[socket.socket, socket.socket]:
        """Pass a connection."""
        ours, theirs = pair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        socket.send_fds(self.gateway, [b"hold %d" % number], [ours.fileno()])
        return ours, theirs

    def test_shut_down(self) -> None:
        """All connections are shut down on both sides, though the gateway still has them open."""
        ends = [self.hold(number) for number in range(1, 20)]
        self.assertTrue(self.watch.read())
        self.assertTrue(all(is_open(theirs) for _, theirs in ends))
        self.watch.shut_down()
        self.assertFalse(any(is_open(theirs) for _, theirs in ends))
        self.assertEqual({ours.recv(1) for ours, _ in ends}, {b""})

    def looks_until_shut(self, theirs: socket.socket, beats: int = 0) -> float:
        """Let the process look until it shuts a connection down; returns the seconds since the last beat."""
        for _ in range(beats):
            self.gateway.send(b".")
            self.clock.advance(LOOK_EVERY_S)
            self.assertTrue(self.watch.look())
        began = self.clock.seconds()
        while is_open(theirs):
            self.clock.advance(LOOK_EVERY_S)
            self.assertTrue(self.watch.look())
        return self.clock.seconds() - began

    def test_stands_still(self) -> None:
        """A gateway that beats keeps its connections; STILL_S after its last beat they are shut down."""
        for number in (1, 2):
            _, theirs = self.hold(number)
            waited = self.looks_until_shut(theirs, beats=100)
            self.assertTrue(STILL_S - LOOK_EVERY_S <= waited <= STILL_S + LOOK_EVERY_S + 0.01, waited)

    def test_stopped_itself(self) -> None:
        """A process that was stopped itself does not blame the gateway, which may have been stopped with it."""
        _, theirs = self.hold(1)
        self.assertTrue(self.watch.look())
        self.clock.advance(30)
        self.assertTrue(self.watch.look())
        self.assertTrue(is_open(theirs))
        self.assertGreater(self.looks_until_shut(theirs), STILL_S)

    def test_a_port_of_several_processes(self) -> None:
        """Calls that wait are left to the other processes while one gives signs of life, and closed if none does."""
        beats = [0.0, 0.0]
        self.watch = Watch(self.theirs, self.clock.seconds, lambda: beats)
        _, address = self.port()
        waiting = socket.create_connection(address)
        self.addCleanup(waiting.close)
        waiting.sendall(b"agi_network: yes\n\n")
        waiting.setblocking(False)
        for _ in range(30):
            self.clock.advance(LOOK_EVERY_S)
            beats[1] = self.clock.seconds()
            self.assertTrue(self.watch.look())
        self.assertTrue(is_open(waiting))
        for _ in range(30):
            self.clock.advance(LOOK_EVERY_S)
            self.assertTrue(self.watch.look())
        self.assertFalse(is_open(waiting))

    def port(self) -> tuple[socket.socket, tuple[str, int]]:
        """Pass a port; returns the gateway's side of it and its address."""
        port = socket.create_server(("127.0.0.1", 0))
        port.setblocking(False)
        self.addCleanup(port.close)
        socket.send_fds(self.gateway, [b"listen"], [port.fileno()])
        self.assertTrue(self.watch.look())
        return port, port.getsockname()

    def connect(self, address: tuple[str, int], data: bytes) -> socket.socket:
        """Connect as Asterisk does."""
        asterisk = socket.create_connection(address)
        self.addCleanup(asterisk.close)
        asterisk.sendall(data)
        asterisk.setblocking(False)
        return asterisk

    def stand_still(self) -> None:
        """Let time pass without a beat."""
        for _ in range(int(STILL_S / LOOK_EVERY_S) + 2):
            self.clock.advance(LOOK_EVERY_S)
            self.assertTrue(self.watch.look())

    def test_accepted_by_the_kernel(self) -> None:
        """A call that the gateway has not accepted is closed while it stands still; one that only asks is left."""
        _, address = self.port()
        begin = b"agi_network: yes\nagi_threadid: 1\n"
        call, probe, later = (
            self.connect(address, begin + rest) for rest in (b"\n", b"agi_arg_1: alive\n\n", b"agi_arg_1: x\n")
        )
        self.assertTrue(is_open(call))
        self.stand_still()
        self.assertEqual([is_open(end) for end in (call, probe, later)], [False, True, True])
        later.sendall(b"\n")
        second = self.connect(address, begin + b"\n")
        self.stand_still()
        self.assertEqual([is_open(end) for end in (probe, later, second)], [True, False, False])
        probe.close()
        self.gateway.send(b".")
        self.assertTrue(self.watch.look())
        self.assertEqual(self.watch.waiting, 0)

    def test_accepted_while_it_stood_still(self) -> None:
        """What is left when the gateway goes on is closed; new connections are the gateway's."""
        port, address = self.port()
        probe = self.connect(address, b"agi_network: yes\nagi_arg_1: alive\n\n")
        self.stand_still()
        self.gateway.send(b".")
        self.assertTrue(self.watch.look())
        self.assertFalse(is_open(probe))
        new = self.connect(address, b"agi_network: yes\n\n")
        self.assertTrue(self.watch.look())
        accepted, _ = port.accept()
        self.addCleanup(accepted.close)
        self.assertTrue(is_open(new))

    def test_reset_while_it_stood_still(self) -> None:
        """A connection that its peer resets is forgotten."""
        _, address = self.port()
        probe = self.connect(address, b"agi_network: yes\n")
        self.stand_still()
        self.assertEqual(self.watch.waiting, 1)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        probe.close()
        self.assertTrue(self.watch.look())
        self.assertEqual(self.watch.waiting, 0)

    def test_too_many_or_too_long(self) -> None:
        """Connections that tell of no call are kept up to a number, and up to a length."""
        _, address = self.port()
        ends = [self.connect(address, b"") for _ in range(60)]
        long = self.connect(address, b"agi_network: yes\nagi_x: " + b"x" * MOST_OPENING)
        self.watch.most_waiting = 50
        self.stand_still()
        self.assertFalse(is_open(long))
        self.assertEqual([is_open(end) for end in ends], [False] * 10 + [True] * 50)

    def test_port_closed(self) -> None:
        """When the gateway closes its port it is closed here, too: else calls would wait at it."""
        port, address = self.port()
        port.close()
        self.connect(address, b"")
        self.gateway.send(b"deaf")
        self.assertTrue(self.watch.look())
        self.assertRaises(ConnectionRefusedError, socket.create_connection, address)

    def test_late_look(self) -> None:
        """Looks that are late by 0.6 s are those of a busy machine, and no stop of the process itself."""
        _, theirs = self.hold(1)
        self.assertTrue(self.watch.read())
        for seconds in (LOOK_EVERY_S + 0.6, LOOK_EVERY_S + 0.6, 0.2):
            self.clock.advance(seconds)
            self.assertTrue(self.watch.look())
            self.assertTrue(is_open(theirs))
        self.clock.advance(0.01)
        self.assertTrue(self.watch.look())
        self.assertFalse(is_open(theirs))

    def test_dropped(self) -> None:
        """A connection that the gateway has closed is closed here, too; one that is not held is no error."""
        ours, theirs = self.hold(1)
        self.assertTrue(self.watch.read())
        ours.close()
        self.assertTrue(is_open(theirs))
        for packet in (b"drop 1", b"drop 1", b"drop 2", b"hold 3", b"."):
            self.gateway.send(packet)
        self.assertTrue(self.watch.read())
        self.assertFalse(is_open(theirs))

    def test_gateway_gone(self) -> None:
        """The end of the gateway ends the process."""
        self.gateway.close()
        self.assertFalse(self.watch.read())

    def test_gateway_broken(self) -> None:
        """So does a connection that breaks."""
        self.theirs.send(b"not for the gateway")
        self.gateway.close()  # what it leaves unread is told to the other side as an error
        self.assertFalse(self.watch.look())

    def test_run(self) -> None:
        """The process looks until the gateway is gone, and ends then."""
        self.looks = 0

        def now() -> float:
            self.looks += 1
            if self.looks == 3:
                self.gateway.close()
            return self.clock.seconds()

        Watch(self.theirs, now).run()
        self.assertEqual(self.looks, 3)


class ProcessClock(Clock):
    """A clock that starts no process, but keeps what one would get.

    Attributes:
        started: the protocol of each process, and its end of the socket.
        commands: its command line.
        environments: its environment.
        error: what starting a process fails with; None: it does not.
    """

    def __init__(self) -> None:
        super().__init__()
        directlyProvides(self, IReactorProcess)
        self.started: list[tuple[ProcessProtocol, socket.socket]] = []
        self.commands: list[Sequence[str]] = []
        self.environments: list[Mapping[str, str]] = []
        self.error: OSError | None = None

    def spawnProcess(
        self,
        protocol: ProcessProtocol,
        executable: str,
        command: Sequence[str],
        env: Mapping[str, str],
        childFDs: Mapping[int, int],
    ) -> None:
        """Keep what the process would get."""
        if self.error is not None:
            raise self.error
        end = socket.socket(fileno=os.dup(childFDs[3]))
        end.setblocking(False)
        self.started.append((protocol, end))
        self.commands.append([executable, *command])
        self.environments.append(env)


class GuardOfFakeTests(SynchronousTestCase):
    """The guard with a process that the test plays."""

    def setUp(self) -> None:
        """A guard whose process has started."""
        self.clock = ProcessClock()
        self.guard = StandstillGuard(self.clock)
        ours, theirs = pair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        self.transport = StringTransport()
        self.transport.getHandle = lambda: ours  # type: ignore[attr-defined]

    def process(self) -> socket.socket:
        """The socket of the process that was started last."""
        end = self.clock.started[-1][1]
        self.addCleanup(end.close)
        return end

    def ends(self, reason: Exception) -> None:
        """The process ends."""
        protocol, end = self.clock.started[-1]
        end.close()
        protocol.processEnded(Failure(reason))

    def packets(self) -> list[bytes]:
        """What the process has been sent since the last time, without the numbers of what is passed."""
        found: list[bytes] = []
        while True:
            try:
                packet, descriptors, _, _ = socket.recv_fds(self.process(), 64, 1)
            except BlockingIOError:
                return found
            for descriptor in descriptors:
                os.close(descriptor)
            found.append(b"hold" if descriptors else packet)

    def test_command(self) -> None:
        """The process is Python without any packages or environment, with the file's name and the socket's number."""
        self.guard.startService()
        self.addCleanup(self.process().close)
        self.assertEqual(
            self.clock.commands, [[sys.executable, sys.executable, "-I", "-S", standstill_process.__file__, "3"]]
        )
        self.assertEqual(self.clock.environments, [{}])

    def test_command_of_several_processes(self) -> None:
        """The process is told where the signs of life of all processes are; the guard writes this one's there."""
        board = SharedBoard.create(2)
        self.addCleanup(board.close)
        guard = StandstillGuard(self.clock, board, lambda: 7.5)
        guard.startService()
        self.addCleanup(self.process().close)
        self.assertEqual(self.clock.commands[0][5:], ["3", "4", *map(str, board.beat_places())])
        self.assertEqual([board.last_beat(column) for column in range(2)], [7.5, 0.0])

    def test_beats(self) -> None:
        """There is a sign of life every 0.3 s, also while nothing else happens."""
        self.guard.startService()
        self.assertEqual(self.packets(), [])
        for _ in range(3):
            self.clock.advance(0.29)
            self.assertEqual(self.packets(), [])
            self.clock.advance(0.01)
            self.assertEqual(self.packets(), [b"."])

    def test_slow(self) -> None:
        """A process that does not read gets, when it does, first what is closed, then one beat, then what is open."""
        self.guard.startService()
        for number in itertools.count(1):
            self.guard.hold(number, self.transport)
            if self.guard.unheld:
                break
        for _ in range(3):
            self.clock.advance(BEAT_EVERY_S)
        self.guard.drop(2)
        self.guard.drop(1)
        self.assertEqual(self.packets(), [b"hold"] * (number - 1))
        self.assertEqual(self.guard.unheld, 1)
        self.clock.advance(BEAT_EVERY_S)
        self.assertEqual(self.packets(), [b"drop 2", b"drop 1", b".", b"hold"])
        self.assertEqual(self.guard.unheld, 0)

    def test_slow_until_its_end(self) -> None:
        """What a process did not take is not for the next one, which gets the calls that there are."""
        self.guard.startService()
        for number in itertools.count(1):
            self.guard.hold(number, self.transport)
            if self.guard.unheld:
                break
        for call in range(3, number + 1):
            self.guard.drop(call)
        self.ends(ProcessDone(0))
        self.clock.advance(5)
        self.clock.advance(BEAT_EVERY_S)
        self.assertEqual(self.packets(), [b".", b"hold", b"hold"])

    def test_dropped_while_slow(self) -> None:
        """A call that ends before the process has its connection is forgotten."""
        self.guard.hold("a", self.transport)
        self.assertEqual(self.guard.unheld, 1)
        self.guard.drop("a")
        self.assertEqual(self.guard.unheld, 0)
        self.guard.startService()
        self.clock.advance(BEAT_EVERY_S)
        self.assertEqual(self.packets(), [b"."])

    def test_port_while_slow(self) -> None:
        """A process that does not read gets the port when it does; a port without a descriptor is left alone."""
        self.guard.startService()
        self.guard.listen(object())
        self.guard.deaf()
        self.assertEqual(self.packets(), [])
        for number in itertools.count(1):
            self.guard.hold(number, self.transport)
            if self.guard.unheld:
                break
        self.guard.listen(self.transport.getHandle())  # type: ignore[attr-defined]
        self.assertFalse(self.guard.has_port)
        self.assertEqual(len(self.packets()), number - 1)
        for _ in range(2):
            self.clock.advance(BEAT_EVERY_S)
        self.assertTrue(self.guard.has_port)

    def test_no_socket(self) -> None:
        """A transport that is no socket's is left alone."""
        self.guard.startService()
        self.guard.hold("a", StringTransport())
        self.assertEqual((self.guard.unheld, self.packets()), (0, []))

    def test_not_started(self) -> None:
        """Where no process can be started the log says so, and it is tried again after five seconds."""
        self.clock.error = BlockingIOError(11, "Resource temporarily unavailable")
        with capturedLogs() as logs:
            self.guard.startService()
        self.assertEqual(
            [formatEvent(event) for event in logs],
            [
                "FastAGI: no process beside the gateway: [Errno 11] Resource temporarily unavailable; "
                "if the gateway stands still, its calls wait"
            ],
        )
        self.guard.hold("a", self.transport)
        self.assertFalse(self.guard.is_active)
        self.clock.error = None
        self.clock.advance(4.99)
        self.assertEqual(self.clock.started, [])
        self.clock.advance(0.01)
        self.assertTrue(self.guard.is_active)
        self.clock.advance(BEAT_EVERY_S)
        self.assertEqual(self.packets(), [b".", b"hold"])

    def test_ended(self) -> None:
        """A process that ends soon is started again after five seconds, with the calls that there are.

        The log says so, unless it ended in order.
        """
        for reason, said in (
            (ProcessDone(0), []),
            (
                ProcessTerminated(signal=9),
                [
                    "FastAGI: the process beside the gateway has ended: "
                    "A process has ended with a probable error condition: process ended by signal 9."
                ],
            ),
        ):
            self.setUp()
            self.guard.startService()
            self.guard.hold("a", self.transport)
            self.assertEqual(self.packets(), [b"hold"])
            with capturedLogs() as logs:
                self.ends(reason)
            self.assertEqual([formatEvent(event) for event in logs], said)
            self.assertEqual((self.guard.is_active, self.guard.unheld), (False, 1))
            self.clock.advance(4.99)
            self.assertEqual(len(self.clock.started), 1)
            self.clock.advance(0.01)
            self.assertEqual(len(self.clock.started), 2)
            self.clock.advance(BEAT_EVERY_S)
            self.assertEqual(self.packets()[-2:], [b".", b"hold"])

    def test_ended_after_it_has_worked(self) -> None:
        """A process that ends after a second or more is started again after a tenth of a second."""
        self.guard.startService()
        for started in (2, 3):
            self.clock.advance(1.0)
            self.ends(ProcessDone(0))
            self.clock.advance(0.09)
            self.assertEqual(len(self.clock.started), started - 1)
            self.clock.advance(0.02)
            self.assertEqual(len(self.clock.started), started)
        self.clock.advance(0.9)
        self.ends(ProcessDone(0))
        self.clock.advance(4.9)
        self.assertEqual(len(self.clock.started), 3)

    def test_stopped(self) -> None:
        """A stop ends the process's socket, waits for its end and starts it no more; what was to be started is not."""
        self.guard.startService()
        stopped = self.guard.stopService()
        self.assertNoResult(stopped)
        self.assertEqual(self.process().recv(64), b"")
        self.ends(ProcessDone(0))
        self.successResultOf(stopped)
        self.guard.startService()
        self.ends(ProcessDone(0))
        self.successResultOf(self.guard.stopService())
        self.clock.advance(10)
        self.assertEqual(len(self.clock.started), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class GuardTests(TestCase):
    """The process itself."""

    async def until(self, what: str, condition: Any) -> None:
        """Wait for a condition."""
        end = reactor.seconds() + PATIENCE_S
        while not condition():
            self.assertLess(reactor.seconds(), end, what)
            await deferLater(reactor, 0.02)

    async def started(self) -> StandstillGuard:
        """A guard with its process."""
        guard = StandstillGuard(reactor)
        guard.startService()
        self.addCleanup(guard.stopService)
        return guard

    def connection(self) -> tuple[Any, socket.socket]:
        """A transport, and Asterisk's side of it."""
        ours, theirs = pair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)

        class Transport:
            def getHandle(self) -> socket.socket:
                return ours

        return Transport(), theirs

    async def test_beats(self) -> None:
        """A gateway that beats keeps its connections while those of one that does not are shut down."""
        alive, still = await self.started(), await self.started()
        kept, asterisk = self.connection()
        lost, theirs = self.connection()
        alive.hold("a", kept)
        still.hold("a", lost)
        (beats,) = list(still)
        await beats.stopService()
        await self.until("it is shut down", lambda: not is_open(theirs))
        self.assertTrue(is_open(asterisk))
        still.drop("a")
        beats.startService()
        again, asterisk = self.connection()
        still.hold("b", again)
        again.getHandle().close()
        self.assertTrue(is_open(asterisk))
        still.drop("b")
        await self.until("the copy is closed", lambda: not is_open(asterisk))

    async def test_tls(self) -> None:
        """Of a connection over TLS the socket below it is passed on."""

        class OverTLS:
            def __init__(self, below: Any) -> None:
                self.transport = below

            def getHandle(self) -> object:
                return object()

        guard = await self.started()
        transport, theirs = self.connection()
        guard.hold("a", OverTLS(transport))
        self.assertEqual(guard.unheld, 0)
        transport.getHandle().close()
        guard.drop("a")
        await self.until("the copy is closed", lambda: not is_open(theirs))

    async def test_closed(self) -> None:
        """A connection that the gateway has closed is closed at once."""
        guard = await self.started()
        transport, theirs = self.connection()
        guard.hold("a", transport)
        transport.getHandle().close()
        guard.drop("a")
        guard.drop("a")
        await self.until("the copy is closed", lambda: not is_open(theirs))

    async def test_process_that_ends(self) -> None:
        """A process that is killed is started again, with the port and the calls that there are; the log says so."""
        guard = await self.started()
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        listener.setblocking(False)
        address = listener.getsockname()
        guard.listen(listener)
        transport, theirs = self.connection()
        guard.hold("a", transport)
        (child,) = children()
        os.kill(child, signal.SIGKILL)
        await self.until("its end is seen", lambda: not guard.is_active)
        later, other = self.connection()
        guard.hold("b", later)
        await self.until("it is started again", lambda: guard.is_active)
        self.assertNotEqual(children(), [child])
        (beats,) = list(guard)
        await self.until("both are passed on", lambda: guard.has_port and not guard.unheld)
        asterisk = socket.create_connection(address)
        self.addCleanup(asterisk.close)
        asterisk.sendall(b"agi_network: yes\n\n")
        asterisk.setblocking(False)
        await beats.stopService()
        await self.until("both are shut down", lambda: not is_open(theirs) and not is_open(other))
        await self.until("who is not accepted is turned away", lambda: not is_open(asterisk))
        listener.close()
        guard.deaf()
        await self.until("nothing listens", lambda: refuses(address))
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_many_at_once(self) -> None:
        """More connections at once than the process takes are passed on as soon as it does."""
        guard = await self.started()
        ends = []
        for number in range(300):
            transport, theirs = self.connection()
            guard.hold(number, transport)
            ends.append(theirs)
        (beats,) = list(guard)
        await self.until("all are passed on", lambda: not guard.unheld)
        await beats.stopService()
        await self.until("all are shut down", lambda: not any(is_open(theirs) for theirs in ends))

    async def test_stop(self) -> None:
        """At the stop the process has ended."""
        guard = StandstillGuard(reactor)
        guard.startService()
        self.assertEqual(len(children()), 1)
        await guard.stopService()
        self.assertEqual((children(), guard.is_active), ([], False))

    def test_reactor_without_processes(self) -> None:
        """On a reactor that starts no processes nothing is held."""
        guard = StandstillGuard(Clock())
        guard.startService()
        transport, _ = self.connection()
        guard.hold("a", transport)
        guard.drop("a")
        self.assertFalse(guard.is_active)
        self.successResultOf(Deferred.fromCoroutine(stopped(guard)))


def refuses(address: tuple[str, int]) -> bool:
    """Whether nothing listens at an address."""
    try:
        socket.create_connection(address).close()
    except OSError:
        return True
    return False


async def stopped(guard: StandstillGuard) -> None:
    """Stop a guard."""
    await guard.stopService()


def children() -> list[int]:
    """The processes beside this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == os.getpid() and b"standstill_process" in line:
                found.append(int(entry.name))
    return found
