"""The processes that write the history as CSV for downloads; see pbxrouter.database.calls.csv_process.

Each is read as fast as its client takes the lines. It is killed when the client leaves or the gateway stops.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.database.calls import CSV_PROGRAM, CsvOrder
from pbxrouter.errors import ExportFailed, ExportRefused
from pbxrouter.text import Sentence, printable, sentence

MOST: Final = 2
"""Exports at a time; more would not be faster."""
_SHOWN: Final = 300
"""Characters of what a process says of its failure."""


class CsvExport(ProcessProtocol):
    """A process and the lines that it writes: an asynchronous iterator of pieces.

    The next piece is read when the one before is taken.

    Attributes:
        sent: bytes that were taken.
        ended: fires when the process has ended and its output is closed.
    """

    log = Logger()

    def __init__(self, packed: bytes) -> None:
        self._order = packed
        self.sent = 0
        self.ended: Deferred[None] = Deferred()
        self.transport: Any = None
        self._output: Any = None
        self._pieces: deque[bytes] = deque()
        self._waiting: Deferred[None] | None = None
        self._said = b""
        self._status: Failure | None = None
        self._is_closed = self._is_stopped = False

    async def begin(self) -> None:
        """Wait for the first lines.

        Raises:
            ExportFailed: there are none.
        """
        try:
            await self._more()
        except BaseException:
            self.stop()
            raise

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next piece.

        Raises:
            ExportFailed: the process could not write all lines.
        """
        if not await self._more():
            raise StopAsyncIteration
        piece = self._pieces.popleft()
        self.sent += len(piece)
        return piece

    async def aclose(self) -> None:
        """End the process, if it has not ended, and wait for its end."""
        self.stop()
        if not self.ended.called:
            gone: Deferred[None] = Deferred()  # of its own: it may be cancelled
            self.ended.addCallback(lambda _: gone.callback(None))
            await gone

    async def _more(self) -> bool:
        """Wait for a piece; False if there are no more."""
        while not self._pieces and not self.ended.called:
            if not self._is_closed:
                self._output.resumeProducing()
            self._waiting = Deferred()
            await self._waiting
        if not self._pieces:
            self._check()
        return bool(self._pieces)

    def _check(self) -> None:
        assert self._status is not None  # it has ended
        if self._is_stopped:
            raise ExportFailed("the export was stopped")
        if not self._status.check(ProcessDone):
            said = printable(self._said.decode("utf-8", "replace").strip())
            why = said or self._status.getErrorMessage()
            raise ExportFailed(f"the process that writes the history as CSV has failed: {why}")

    def stop(self) -> None:
        """End the process, if it has not ended; lines that were not taken are dropped."""
        if self.ended.called:
            return
        self._is_stopped = True
        self._pieces.clear()
        if self.transport is not None:
            with contextlib.suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")
        if not self._is_closed:
            self._output.abortConnection()

    # --- what the reactor calls ---

    def connectionMade(self) -> None:
        """Give the process its order."""
        self.transport.write(self._order)
        self.transport.closeStdin()

    def errReceived(self, data: bytes) -> None:
        """Keep the beginning of what it complains of."""
        self._said = (self._said + data)[:_SHOWN]

    def processEnded(self, reason: Failure) -> None:
        """The process has ended."""
        self._status = reason
        self._end()

    def output_made(self, transport: Any) -> None:
        """Its output can be read."""
        self._output = transport

    def output_received(self, data: bytes) -> None:
        """Keep a piece, and read no more until it is taken."""
        self._output.pauseProducing()
        self._pieces.append(data)
        self._wake()

    def output_lost(self) -> None:
        """Its output is closed."""
        self._is_closed = True
        self._end()

    def _end(self) -> None:
        if self._is_closed and self._status is not None:
            self.ended.callback(None)
            self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


class _Output(Protocol):
    """Our end of a process's output: a socket, of which more is read at a time than of a pipe."""

    def __init__(self, export: CsvExport) -> None:
        self._export = export

    def connectionMade(self) -> None:
        """Pass the transport on."""
        self._export.output_made(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Pass lines on."""
        self._export.output_received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass the end on."""
        self._export.output_lost()


class CsvExports:
    """Starts exports, at most so many at a time.

    Args:
        most: exports at a time.
        program: the Python file of the process.

    Attributes:
        running: those that have not ended, the oldest first.
    """

    log = Logger()

    def __init__(self, reactor: Any, most: int = MOST, program: str = CSV_PROGRAM) -> None:
        self._reactor = reactor
        self._most = most
        self._program = program
        self._is_stopped = False
        self.running: list[CsvExport] = []

    async def begin(self, order: CsvOrder) -> CsvExport:
        """Start an export, and wait for its first lines.

        Raises:
            ExportRefused: there are as many as there may be, or it cannot be started.
        """
        if len(self.running) >= self._most:
            raise ExportRefused(
                sentence(
                    "{count} downloads of the history are under way already; try again when one has ended",
                    count=self._most,
                )
            )
        try:
            export = self._start(order)
            await export.begin()
        except (OSError, ExportFailed) as error:
            self.log.error("history: cannot be written as CSV: {error}", error=str(error))
            raise ExportRefused(
                Sentence("the history cannot be written as CSV now; the gateway's log says why")
            ) from error
        return export

    def _start(self, order: CsvOrder) -> CsvExport:
        """Start the process.

        Raises:
            OSError: it cannot be started.
        """
        if self._is_stopped:
            raise ExportFailed("the gateway stops")
        export = CsvExport(order.packed())
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs:
            ours.setblocking(False)
            self._reactor.adoptStreamConnection(
                ours.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: _Output(export))
            )
            try:
                self._reactor.spawnProcess(
                    export,
                    sys.executable,
                    # Neither what lies in the working directory, nor compiled files with this process's umask.
                    [sys.executable, "-P", "-B", self._program],
                    env={**os.environ},
                    childFDs={0: "w", 1: theirs.fileno(), 2: "r"},
                )
            except OSError:
                export.stop()
                raise
        began = self._reactor.seconds()
        self.running.append(export)
        export.ended.addCallback(lambda _: self._ended(export, began))
        return export

    def _ended(self, export: CsvExport, began: float) -> None:
        self.running.remove(export)
        self.log.info(
            "history: {bytes} bytes of CSV were sent in {seconds} s",
            bytes=export.sent,
            seconds=round(self._reactor.seconds() - began),
        )

    async def stop(self) -> None:
        """End all exports: their downloads are cut off."""
        self._is_stopped = True
        ended = [export.ended for export in self.running]
        for export in tuple(self.running):
            export.stop()
        await DeferredList(ended)
