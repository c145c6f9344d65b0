"""Processes that write CSV for downloads: real ones, with programs of the test."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, cast
from unittest import skipUnless

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pbxrouter import database
from pbxrouter.database.calls import CsvOrder, Search, add_calls
from pbxrouter.database.calls.csv_process import NICE
from pbxrouter.errors import ExportFailed, ExportRefused
from pbxrouter.web.csv_export import CsvExport, CsvExports
from tests.api_fakes import a_call
from tests.databases import new_database

reactor = cast(Any, the_reactor)
ORDER = CsvOrder("/nowhere", Search(caller="5550123"), 10)
BEGIN = "import os, sys, time\nout = sys.stdout\norder = sys.stdin.read()\n"
HANGS = "out.write('x'); out.flush(); time.sleep(600)"


class ExportTests(TestCase):
    """CsvExports with programs that write, fail or hang."""

    def exports(self, program: str, most: int = 2) -> CsvExports:
        """Exports by a program, which are ended with the test."""
        path = Path(self.mktemp())
        path.write_text(BEGIN + program, encoding="utf-8")
        exports = CsvExports(reactor, most, str(path.absolute()))
        self.addCleanup(lambda: Deferred.fromCoroutine(exports.stop()))
        return exports

    async def test_all_lines(self) -> None:
        """All that the process writes arrives, the order among it; then there is room for the next."""
        exports = self.exports("out.write(order + '-' * 1_000_000)")
        export = await exports.begin(ORDER)
        self.assertEqual(exports.running, [export])
        read = b"".join([piece async for piece in export])
        self.assertEqual(read, ORDER.packed() + b"-" * 1_000_000)
        self.assertEqual((export.sent, exports.running), (len(read), []))

    async def test_it_fails_at_once(self) -> None:
        """Without a line there is no download: the log says why, the person is told to look there."""
        exports = self.exports("sys.exit('database away:\\nno\\x1b such file')")
        with capturedLogs() as logs, self.assertRaises(ExportRefused) as refused:
            await exports.begin(ORDER)
        said = " ".join(map(formatEvent, logs))
        self.assertIn("database away:", said)
        self.assertNotIn("\x1b", said)
        self.assertNotIn("away", str(refused.exception))
        self.assertEqual(exports.running, [])

    async def test_it_breaks_off(self) -> None:
        """An export that ends by an error or a signal is not complete, even if rows were read before."""
        for end, why in (
            ("sys.exit('disk gone')", "disk gone"),
            (f"os.kill(os.getpid(), {int(signal.SIGKILL)})", "signal 9"),
            ("out.close(); sys.exit(3)", "3"),
        ):
            export = await self.exports(f"out.write('line'); out.flush(); {end}").begin(ORDER)
            self.assertEqual(await export.__anext__(), b"line")
            with self.assertRaises(ExportFailed) as failed:
                await export.__anext__()
            self.assertIn(why, str(failed.exception))

    async def test_most(self) -> None:
        """One more than there may be is refused with words, until one has ended."""
        exports = self.exports(HANGS, most=1)
        first = await exports.begin(ORDER)
        with self.assertRaises(ExportRefused) as refused:
            await exports.begin(ORDER)
        self.assertIn("1 download", str(refused.exception))
        await first.aclose()
        self.assertEqual(exports.running, [])
        await exports.begin(ORDER)

    async def test_client_that_goes_while_it_begins(self) -> None:
        """If the wait for the first lines is cancelled the process is ended."""
        exports = self.exports("time.sleep(600)")
        waiting = Deferred.fromCoroutine(exports.begin(ORDER))
        (export,) = exports.running
        waiting.cancel()
        waiting.addErrback(lambda _: None)
        await export.ended
        self.assertEqual(exports.running, [])

    async def test_stop(self) -> None:
        """A stop ends the processes, whose lines are not taken for all; no other one begins."""
        exports = self.exports(HANGS)
        export = await exports.begin(ORDER)
        await export.__anext__()
        waiting = Deferred.fromCoroutine(export.__anext__())
        await exports.stop()
        with self.assertRaises(ExportFailed):
            await waiting
        with capturedLogs(), self.assertRaises(ExportRefused):
            await exports.begin(ORDER)
        await exports.stop()

    @skipUnless(sys.platform.startswith("linux"), "reads /proc")
    async def test_process(self) -> None:
        """The process gives way, and shows neither whom the search is for, nor descriptors of the gateway."""
        path = Path(self.mktemp()).absolute()
        new_database(path)
        connection = database.connect(path)
        self.addCleanup(connection.close)
        add_calls(connection, map(a_call, range(4000)))
        exports = CsvExports(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(exports.stop()))
        opened, other = os.pipe()
        self.addCleanup(os.close, opened)
        self.addCleanup(os.close, other)
        os.set_inheritable(opened, True)
        export = await exports.begin(CsvOrder(str(path), Search(caller="33"), 10_000, "Europe/Madrid"))
        process = Path(f"/proc/{export.transport.pid}")  # it waits until more is read
        self.assertNotIn(b"33", process.joinpath("cmdline").read_bytes().replace(str(path).encode(), b""))
        self.assertEqual(
            os.getpriority(os.PRIO_PROCESS, export.transport.pid), os.getpriority(os.PRIO_PROCESS, 0) + NICE
        )
        self.assertNotIn(os.readlink(f"/proc/self/fd/{opened}"), map(os.readlink, process.joinpath("fd").iterdir()))
        lines = b"".join([piece async for piece in export]).splitlines()
        self.assertEqual(len(lines), 4001)
        self.assertIn(a_call(0).uniqueid.encode(), lines[-1])


class PaceTests(SynchronousTestCase):
    """CsvExport with a process and an output in memory."""

    def test_no_more_than_is_taken(self) -> None:
        """After a piece the output is paused until the piece is taken."""
        export = CsvExport(b"")
        output = StringTransport()
        export.output_made(output)
        waiting = Deferred.fromCoroutine(export.__anext__())
        export.output_received(b"one")
        self.assertEqual((self.successResultOf(waiting), output.producerState), (b"one", "paused"))
        waiting = Deferred.fromCoroutine(export.__anext__())
        self.assertEqual(output.producerState, "producing")
        export.output_received(b"two")
        self.successResultOf(waiting)
        export.output_lost()
        waiting = Deferred.fromCoroutine(export.__anext__())
        self.assertNoResult(waiting)
        export.processEnded(Failure(ProcessDone(0)))
        self.failureResultOf(waiting, StopAsyncIteration)

    def test_that_does_not_start(self) -> None:
        """A process that cannot be started, as without memory, is refused; nothing is left open."""

        class NoProcess:
            def __init__(self) -> None:
                self.outputs: list[StringTransport] = []

            def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
                transport = StringTransport()
                self.outputs.append(transport)
                factory.buildProtocol(None).makeConnection(transport)

            def spawnProcess(self, *arguments: object, **named: object) -> None:
                raise OSError(12, "Cannot allocate memory")

        fake = NoProcess()
        exports = CsvExports(fake)
        with capturedLogs() as logs:
            self.failureResultOf(Deferred.fromCoroutine(exports.begin(ORDER)), ExportRefused)
        self.assertIn("Cannot allocate memory", " ".join(map(formatEvent, logs)))
        self.assertEqual((exports.running, [output.disconnected for output in fake.outputs]), ([], [True]))
