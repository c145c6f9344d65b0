"""A standard output that never blocks."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.net.output import UnblockedOutput, unblock_output
from tests.needs import PATIENCE_S


class Piped(SynchronousTestCase):
    """Output into a pipe that the test reads when it likes."""

    def setUp(self) -> None:
        """Make the pipe."""
        self.end, begin = os.pipe()
        self.addCleanup(self.close_end)
        self.stream = open(begin, "w", encoding="utf-8")  # noqa: SIM115
        self.addCleanup(self.stream.close)

    def close_end(self) -> None:
        """Close the reader's end, if it is open."""
        if self.end >= 0:
            os.close(self.end)
            self.end = -1

    def fill(self) -> None:
        """Write into the pipe until it has no room."""
        os.set_blocking(self.stream.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.stream.fileno(), b"-")
        os.set_blocking(self.stream.fileno(), True)

    def read_until(self, done: Callable[[bytes], bool]) -> bytes:
        """Read until the condition holds."""
        found = b""
        while not done(found):
            found += os.read(self.end, 65536)
        return found

    def test_in_order(self) -> None:
        """Lines come in order, in the stream's encoding, without a flush."""
        output = UnblockedOutput(self.stream)
        for line in ("one\n", "zwölf\n", "half \udcff"):
            self.assertEqual(output.write(line), len(line))
        output.flush()
        found = self.read_until(lambda text: text.endswith(b"\\udcff"))
        self.assertEqual(found, "one\nzwölf\nhalf \\udcff".encode())
        self.assertEqual((output.encoding, output.isatty()), ("utf-8", False))
        self.assertTrue(os.path.sameopenfile(output.fileno(), self.stream.fileno()))
        threads = [thread for thread in threading.enumerate() if thread.name == "log output"]
        self.assertTrue(threads and all(thread.daemon for thread in threads))  # none keeps the process from ending

    def test_what_was_written_before(self) -> None:
        """What the stream itself still holds comes first."""
        self.stream.write("before\n")
        UnblockedOutput(self.stream).write("after\n")
        self.assertEqual(self.read_until(lambda text: text.endswith(b"after\n")), b"before\nafter\n")

    def test_not_read(self) -> None:
        """A pipe that is not read drops what has no room, and says how much when it is read again."""
        output = UnblockedOutput(self.stream, max_waiting=10_000)
        self.fill()
        line = "x" * 999 + "\n"
        for _ in range(500):
            self.assertEqual(output.write(line), len(line))  # also of a line that is dropped
        self.assertEqual(output.dropped, 490)
        found = self.read_until(lambda text: text.count(b"x\n") == 10)
        self.assertTrue(found.endswith(line.encode() * 10))
        output.write("again\n")
        rest = self.read_until(lambda text: text.endswith(b"again\n"))
        said = "log: 490 lines are missing here, since the log's output was not read\nagain\n"
        self.assertEqual(rest.decode(), said)
        output.write("and again\n")
        self.assertEqual(self.read_until(lambda text: text.endswith(b"again\n")), b"and again\n")

    def test_a_million_characters_wait(self) -> None:
        """By default lines of a mebibyte wait for the reader, and no more."""
        output = UnblockedOutput(self.stream)
        self.fill()
        line = "x" * 1023 + "\n"
        for _ in range(1025):
            output.write(line)
        self.assertEqual(output.dropped, 1)
        self.close_end()

    def test_close(self) -> None:
        """Closing waits for the thread: what was queued is in the pipe then, and later lines too."""
        os.set_blocking(self.end, False)
        output = UnblockedOutput(self.stream)
        for _ in range(500):
            output.write("last\n")
        output.close(PATIENCE_S)
        self.assertEqual(os.read(self.end, 65536), b"last\n" * 500)
        output.write("Server Shut Down.\n")
        self.assertEqual(os.read(self.end, 65536), b"Server Shut Down.\n")

    def test_close_of_a_full_pipe(self) -> None:
        """Closing does not wait for a pipe that is not read."""
        output = UnblockedOutput(self.stream)
        for _ in range(200):
            output.write("x" * 1000)
        output.close(0.01)
        output.write("more\n")

    def test_reader_gone(self) -> None:
        """Output whose reader is gone is lost; writing goes on."""
        output = UnblockedOutput(self.stream)
        self.close_end()
        for _ in range(100):
            output.write("x" * 50_000)
            output.close(PATIENCE_S)  # each is written, or rather lost
        self.assertEqual(output.dropped, 0)

    def test_non_blocking_pipe(self) -> None:
        """A pipe that another program has made non-blocking loses nothing."""
        os.set_blocking(self.stream.fileno(), False)
        output = UnblockedOutput(self.stream)
        for _ in range(200):
            output.write("x" * 999 + "\n")
        found = self.read_until(lambda text: text.count(b"\n") == 200)
        self.assertEqual(found, (b"x" * 999 + b"\n") * 200)
        long = "0123456789" * 20_000 + "\n"  # more than a pipe takes at once: it is written in parts
        output.write(long)
        self.assertEqual(self.read_until(lambda text: text.endswith(b"\n")).decode(), long)


class Installing(SynchronousTestCase):
    """unblock_output keeps writes to standard output from blocking."""

    def install(self, stream: Any) -> Any:
        """Install it on this stream; returns what takes its place."""
        self.patch(sys, "stdout", stream)
        self.reactor = MemoryReactor()
        self.close = unblock_output(self.reactor)
        return sys.stdout

    def test_installed(self) -> None:
        """It is installed once, and closed when the reactor has ended."""
        with open(os.devnull, "w", encoding="utf-8") as stream:
            output = self.install(stream)
            self.assertIsInstance(output, UnblockedOutput)
            self.assertEqual(self.reactor.triggers["after"]["shutdown"], [(output.close, (), {})])
            self.assertEqual(self.close, output.close)
            self.assertIs(self.install(output), output)

    def test_no_output(self) -> None:
        """Without a standard output, or with a closed one, nothing is installed."""
        closed = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        closed.close()
        for stream in (None, closed):
            self.assertIs(self.install(stream), stream)
            self.assertIsNone(self.close())


ENDING = """
import sys
from pbxrouter.net.output import UnblockedOutput
output = UnblockedOutput(sys.stdout)
for _ in range(200):
    output.write("x" * 1000)
print("written", file=sys.stderr)
output.close(0.01)
"""


class Ending(SynchronousTestCase):
    """The end of a process."""

    def test_pipe_not_read(self) -> None:
        """A process whose output is not read ends."""
        with subprocess.Popen(
            [sys.executable, "-c", ENDING], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            self.addCleanup(process.kill)
            end = time.monotonic() + PATIENCE_S
            while process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
            self.assertEqual(process.poll(), 0)
            assert process.stderr is not None
            self.assertEqual(process.stderr.read(), b"written\n")
