"""A worker of the gateway: ``python -m pbxrouter.worker LINK BOARD PORT NUMBER COUNT``, started by the main process.

The first three are inherited descriptors: of the connection to the main process, by which the settings come, of the
memory that all processes share, and of the listening FastAGI socket. NUMBER is that of this process, of COUNT.

It ends when the main process tells it to, or is gone: then it takes no further call, lets conversations end, and writes
what it knows of calls itself. SIGTERM ends it in the same way, and the main process starts another.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger, globalLogBeginner, globalLogPublisher, textFileLogObserver

from pbxrouter.errors import PbxrouterError
from pbxrouter.gateway import clean_log, out_of_memory, signals, worker_service
from pbxrouter.net import SharedBoard, limit_threads, raise_file_limit, unblock_output, use_monotonic_time
from pbxrouter.workers import Link, LogToMain, adopt_link

STATUS_UNUSABLE: Final = 2
"""Exit status of a worker that cannot run with the settings."""
_FOR_MAIN: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that a terminal or an owner may send to all processes, and that the main process handles."""


class WorkerProcess:
    """The worker from its start to its end.

    Args:
        board: descriptor of the shared memory.
        port: descriptor of the listening socket.
    """

    log = Logger(namespace="pbxrouter.gateway.worker")

    def __init__(self, board: int, port: int, number: int, count: int, reactor: Any) -> None:
        self._board = SharedBoard(board, count, number - 1)
        self._port = port
        self._reactor = reactor
        self._gateway: worker_service.WorkerGateway | None = None
        self._stopping = False
        self.status = 0
        handlers: dict[str, Callable[..., object]] = {
            "begin": self._begin,
            "stop": self.stop,
            "settings": lambda settings: self._built.reload(settings),
            "asterisks": lambda found, is_complete: self._built.use_asterisks(found, is_complete),
            "watch": lambda wanted: self._built.watch.follow(wanted),
            "written": lambda keys: self._built.finished.written(keys),
            "load_rules": lambda: self._built.load_rules(),
        }
        self.link = Link(reactor, handlers, self._main_is_gone)

    @property
    def _built(self) -> worker_service.WorkerGateway:
        assert self._gateway is not None  # the first message has the settings
        return self._gateway

    def _begin(
        self, settings: dict[str, Any], wanted: list[Any], asterisks: list[list[str]], is_complete: bool
    ) -> None:
        try:
            gateway = worker_service.WorkerGateway(settings, self.link, self._board, self._port, self._reactor)
        except PbxrouterError as error:
            self.log.critical("workers: this one cannot run: {error}", error=str(error))
            self._leave(STATUS_UNUSABLE)
            return
        except Exception:
            self.log.failure("workers: this one cannot run")
            self._leave(STATUS_UNUSABLE)
            return
        self._gateway = gateway
        gateway.use_asterisks(asterisks, is_complete)
        gateway.watch.follow(wanted)
        gateway.privilegedStartService()
        gateway.startService()

    def _leave(self, status: int) -> None:
        self.status = status
        self.link.flush()
        self._reactor.callLater(0.1, self._reactor.stop)

    def stop(self) -> None:
        """Take no further call, let conversations end, and end."""
        if self._stopping:
            return
        self._stopping = True
        # Not by the reactor, which may be what does not end.
        signal.signal(signal.SIGALRM, lambda *_: os._exit(signals.STATUS_CUT))
        signal.alarm(signals.STOP_S)
        stopped = self._gateway.stopService() if self._gateway is not None else Deferred()
        if self._gateway is None:
            stopped.callback(None)
        stopped.addBoth(lambda _: self._end())

    def _end(self) -> None:
        self.link.flush()
        self._reactor.callLater(0, self._reactor.stop)

    def _main_is_gone(self) -> None:
        if self._stopping:  # it did not wait: a second signal, or a kill
            os._exit(signals.STATUS_CUT)
        self.log.error("workers: the main process is gone; taking no further call")
        if self._gateway is not None:
            self._gateway.finished.be_alone()
        self.stop()

    # --- signals ---

    def install_signals(self) -> None:
        """Handle SIGTERM, and leave the others to the main process."""
        signal.signal(signal.SIGTERM, self._on_term)
        for number in _FOR_MAIN:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            os._exit(signals.STATUS_CUT)
        self._reactor.callFromThread(self.stop)


def main() -> None:
    """Run a worker."""
    link, board, port, number, count = map(int, sys.argv[1:])
    from twisted.internet import reactor

    clean_log()
    raise_file_limit()
    use_monotonic_time(reactor)
    limit_threads(reactor)
    process = WorkerProcess(board, port, number, count, reactor)
    unblock_output(reactor)
    observer = LogToMain(process.link, textFileLogObserver(sys.stdout), reactor)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    globalLogPublisher.addObserver(out_of_memory.OutOfMemory(lambda: os._exit(signals.STATUS_CUT)))
    reactor.callWhenRunning(process.install_signals)
    adopt_link(reactor, link, process.link)
    reactor.run()
    raise SystemExit(process.status)


if __name__ == "__main__":
    main()
