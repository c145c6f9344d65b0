"""Faults around a whole gateway process: the clock, the log, the resolver, descriptors, the database at the start."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import sqlite3
import subprocess

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.simulator import Script, SimulatedAsterisk, SimulatedCall
from tests import needs
from tests.browser.asterisk import SECRET, PoliteAsterisk
from tests.gateway.process import GatewayProcess
from tests.waiting import wait_for

CLOCK = """
import time
_time = time.time
def stepped():
    try:
        with open("step") as file:
            return _time() + float(file.read())
    except (OSError, ValueError):
        return _time()
time.time = stepped
"""
"""Lets the file named step set the system's clock, as far as Python sees it."""

FREEZE = """
import time
_monotonic = time.monotonic
def frozen():
    try:
        with open("frozen") as file:
            return _monotonic() + float(file.read())
    except (OSError, ValueError):
        return _monotonic()
time.monotonic = frozen
"""
"""Lets the file named frozen tell for how long the process has not run, as far as Python sees it."""

RESOLVER = """
import socket, threading
def getaddrinfo(*question, **more):
    open("asked", "w").close()
    threading.Event().wait()
socket.getaddrinfo = getaddrinfo
"""
"""A resolver that never answers."""


class ProcessCase(SynchronousTestCase):
    """Has a gateway process, which is gone after the test."""

    def make(self, settings: str = "") -> GatewayProcess:
        """Make a gateway."""
        gateway = GatewayProcess(settings)
        self.addCleanup(gateway.clean)
        return gateway


class ClockSteps(ProcessCase):
    """The system's clock is set while calls are in progress."""

    def test_steps(self) -> None:
        """No timer stops or fires early, callers go on keying, and the history has true durations."""
        gateway = self.make()
        gateway.start(CLOCK)
        gateway.wait_until_up()
        gateway.call()
        for step in (3600, 0, -3600, 30, -30):
            asterisk = SimulatedAsterisk(SimulatedCall("34", caller="33"), Script(keys=("123456#",)))
            with gateway.connect() as connection:
                connection.sendall(asterisk.environment())
                while not (heard := connection.recv(65536)).startswith(b"GET DATA"):
                    self.assertTrue(heard, gateway.log())
                    connection.sendall(asterisk.receive(heard))
                (gateway.folder / "step.new").write_text(str(step))
                (gateway.folder / "step.new").rename(gateway.folder / "step")
                self.assertEqual(gateway.call().dials[-1][1], "ANSWER")
                while heard:
                    connection.sendall(asterisk.receive(heard))
                    heard = connection.recv(65536)
            self.assertEqual([dial[1] for dial in asterisk.dials], ["ANSWER"], gateway.log())
        self.assertEqual(gateway.stop(), -signal.SIGTERM)
        with contextlib.closing(database.connect(gateway.database)) as connection_:
            times = connection_.execute("SELECT began, ended FROM calls").fetchall()
        self.assertEqual(len(times), 11)
        for began, ended in times:
            self.assertTrue(0 <= ended - began < needs.PATIENCE_S, times)


class Freeze(ProcessCase):
    """The process does not run for a while, as after SIGSTOP."""

    def test_thaw(self) -> None:
        """The connection to AMI is kept, and a caller who keys the number meanwhile is served."""
        asterisk = PoliteAsterisk()
        self.addCleanup(asterisk.stop)
        gateway = self.make(asterisk.settings)
        (gateway.folder / "ami.secret").write_text(SECRET)
        (gateway.folder / "ami.secret").chmod(0o600)
        gateway.start(FREEZE)
        gateway.wait_until_up()
        gateway.wait_for_log("AMI lab: connected")
        caller = SimulatedAsterisk(SimulatedCall("s", caller="33", dnid="unknown"), Script(keys=("21#",)))
        with gateway.connect() as connection:
            connection.sendall(caller.environment())
            while not (heard := connection.recv(65536)).startswith(b"GET DATA"):
                self.assertTrue(heard, gateway.log())
                connection.sendall(caller.receive(heard))
            (gateway.folder / "frozen.new").write_text("100")
            (gateway.folder / "frozen.new").rename(gateway.folder / "frozen")
            gateway.wait_for_log("clock: the process did not run for 100 s")
            while heard:
                connection.sendall(caller.receive(heard))
                heard = connection.recv(65536)
        self.assertEqual([dial[1] for dial in caller.dials], ["ANSWER"], gateway.log())
        self.assertEqual(gateway.stop(), -signal.SIGTERM)
        self.assertNotIn("closing the connection", gateway.log())
        self.assertNotIn("is lost", gateway.log())


class LogPipe(ProcessCase):
    """The log goes to a pipe that is not read."""

    def test_not_read(self) -> None:
        """All calls are served, and the gateway ends, while the pipe is full."""
        gateway = self.make()
        gateway.start(stdout=subprocess.PIPE)
        assert gateway.process is not None and gateway.process.stdout is not None
        fcntl.fcntl(gateway.process.stdout, getattr(fcntl, "F_SETPIPE_SZ", 1031), 4096)
        gateway.wait_until_up()
        for _ in range(100):
            self.assertEqual(gateway.call().dials[0][1], "ANSWER")
        self.assertEqual(gateway.stop(), -signal.SIGTERM)
        beginning = gateway.process.stdout.read()
        self.assertIn(b"twistd", beginning)
        self.assertLess(beginning.count(b"ANSWER"), 100)


class Resolver(ProcessCase):
    """The system's resolver hangs."""

    def test_hangs(self) -> None:
        """Calls are served, and SIGTERM ends the gateway."""
        gateway = self.make('[[asterisk]]\nname = "lab"\nami = "tcp:pbx.test:5038"\nsecret_file = "secret"\n')
        (gateway.folder / "secret").write_text("s3cret")
        (gateway.folder / "secret").chmod(0o600)
        gateway.start(RESOLVER)
        gateway.wait_until_up()
        wait_for("the name is looked up", lambda: (gateway.folder / "asked").exists())
        self.assertEqual(gateway.call().dials[0][1], "ANSWER")
        self.assertEqual(gateway.stop(), -signal.SIGTERM)
        self.assertNotIn("Traceback", gateway.log())


class Descriptors(ProcessCase):
    """The file descriptors of the process are used up."""

    def test_used_up(self) -> None:
        """New calls are closed at once, that is logged, and when there are enough again calls are served."""
        needs.proc()
        gateway = self.make()
        gateway.start()
        gateway.wait_until_up()
        gateway.call()
        assert gateway.process is not None
        process = gateway.process.pid
        _, hard = limits = resource.prlimit(process, resource.RLIMIT_NOFILE)
        resource.prlimit(process, resource.RLIMIT_NOFILE, (max(map(int, os.listdir(f"/proc/{process}/fd"))) + 1, hard))
        # What is free below the highest is used up by connections, which stay open.
        with contextlib.ExitStack() as stack:
            end: list[bytes] = []
            while not end:
                connection = stack.enter_context(gateway.connect())
                with contextlib.suppress(ConnectionError):
                    connection.sendall(SimulatedAsterisk(SimulatedCall("34", caller="33")).environment())
                    said = connection.recv(100)
                    if said:
                        continue
                end.append(b"closed")
            gateway.wait_for_log("file descriptors are in use: new calls are closed at once")
        resource.prlimit(process, resource.RLIMIT_NOFILE, limits)
        gateway.wait_for_log("descriptors: there are enough again; calls are taken")
        self.assertEqual(gateway.call().dials[0][1], "ANSWER")
        self.assertEqual(gateway.log().count("file descriptors are in use"), 1)


class DatabaseAtTheStart(ProcessCase):
    """The database cannot be read when the gateway starts."""

    def test_locked(self) -> None:
        """A gateway on a locked database does not listen, says why once, and takes calls when it has its rules."""
        gateway = self.make()
        with contextlib.closing(sqlite3.connect(gateway.database, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            gateway.start()
            gateway.wait_for_log("rules: cannot be read, and no call is taken until they can")
            self.assertRaises(OSError, gateway.connect)
            self.assertNotIn("is up", gateway.log())
        gateway.wait_until_up()
        gateway.wait_for_log("is up")
        self.assertEqual(gateway.call().dials[0][1], "ANSWER")
        self.assertEqual(gateway.log().count("rules: cannot be read"), 1)
        self.assertEqual(gateway.stop(), -signal.SIGTERM)

    def test_stopped_while_locked(self) -> None:
        """SIGTERM ends a gateway that waits for its rules."""
        gateway = self.make()
        with contextlib.closing(sqlite3.connect(gateway.database, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            gateway.start()
            gateway.wait_for_log("rules: cannot be read")
            self.assertEqual(gateway.stop(), -signal.SIGTERM)
        self.assertNotIn("Traceback", gateway.log())

    def test_damaged(self) -> None:
        """A damaged page of rules ends the start with one line and status 2."""
        gateway = self.make()
        with contextlib.closing(sqlite3.connect(gateway.database)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            (size,) = connection.execute("PRAGMA page_size").fetchone()
            (page,) = connection.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = 'applications_mappings'"
            ).fetchone()
        with gateway.database.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(os.urandom(size))
        gateway.start()
        assert gateway.process is not None
        self.assertEqual(gateway.process.wait(needs.PATIENCE_S), 2)
        self.assertRegex(gateway.log(), r"^pbxrouter: database \S+ is damaged: [^\n]+\n$")
