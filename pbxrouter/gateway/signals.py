"""What the gateway does when the process gets a signal. No signal but SIGKILL cuts a call without a record.

========================  =================================================================================
SIGTERM, SIGINT, SIGQUIT  stop: take no new call, let conversations end, then leave; a second one ends at once
SIGHUP                    reload settings, secrets, certificates; open the log file again
SIGUSR1                   open the log file again
SIGUSR2                   log the state of the gateway: calls, connections, queues, threads
others that would end it  are ignored, with a line in the log
========================  =================================================================================

A stop ends the process by its signal, as it is the custom: a shell shows 143 for SIGTERM and SIGQUIT, 130 for
SIGINT. The status is STATUS_CUT if a second signal ended it, or if the stop took longer than STOP_S, or if no memory
was left (``out_of_memory``).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

from twisted.application.service import Service
from twisted.logger import Logger, globalLogPublisher

from pbxrouter.errors import ControlRefused, PbxrouterError
from pbxrouter.gateway.log_file import TwistdLog
from pbxrouter.gateway.notify import ServiceManager
from pbxrouter.gateway.out_of_memory import OutOfMemory
from pbxrouter.gateway.service import GatewayService

STOP_S: Final = 30
"""Whole seconds after which a stop that has not ended is ended at once."""
STATUS_CUT: Final = 3
"""Exit status of a process that did not end its calls: a second signal came, the stop took longer than STOP_S, or no
memory was left."""

STOP: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_HELD: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
IGNORED: Final = tuple(
    getattr(signal, name)
    for name in ("SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGSTKFLT")
    if hasattr(signal, name)
)
"""Signals that would end the process and mean nothing to it."""

_LAST_LINE_S: Final = 2
"""Whole seconds that the last log line may take: the reader of a pipe may be gone or stuck."""


def hold() -> None:
    """Keep the signals that are handled later from ending the process while it starts.

    They are delivered when the handlers are installed. SIGINT ends a start without a traceback.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


class Signals(Service):
    """Handles the signals of the process while the reactor runs.

    Args:
        gateway: is reloaded, and its state logged.
        write_log: waits until the log's lines are written, for a second or so at most.
    """

    log = Logger(namespace="pbxrouter.gateway")

    def __init__(self, gateway: GatewayService, reactor: Any, write_log: Callable[[], object] = lambda: None) -> None:
        self._write_log = write_log
        self._gateway = gateway
        self._reactor = reactor
        self._log_file: TwistdLog | None = None
        self._manager = ServiceManager()
        self._stopping = False
        self._waiting: set[int] = set()
        self._memory = OutOfMemory(lambda: reactor.callFromThread(self._no_memory))
        gateway.reload_all = self.reload

    def startService(self) -> None:
        """Install the handlers as soon as the reactor has installed its own."""
        super().startService()
        globalLogPublisher.addObserver(self._memory)
        self._reactor.callWhenRunning(self._install)

    def stopService(self) -> None:
        """Tell the service manager."""
        super().stopService()
        globalLogPublisher.removeObserver(self._memory)
        self._stopping = True
        self._manager.stopping()

    def _install(self) -> None:
        self._log_file = TwistdLog.of_process()
        for number in STOP:
            signal.signal(number, self._stop)
        for number, work in (
            (signal.SIGHUP, self._on_hangup),
            (signal.SIGUSR1, self._reopen),
            (signal.SIGUSR2, self._log_state),
        ):
            signal.signal(number, self._later(work))
        for number in IGNORED:
            signal.signal(number, self._ignore)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
        self._gateway.engine.on_ready(self._manager.ready)

    def _later(self, work: Callable[[], object]) -> Callable[[int, FrameType | None], None]:
        """A handler that does the work in the reactor: a signal may come in the middle of anything.

        Signals that come before the work has begun are one.
        """

        def handle(number: int, frame: FrameType | None) -> None:
            if number not in self._waiting:
                self._waiting.add(number)
                self._reactor.callFromThread(self._unless_stopping, number, work)

        return handle

    def _unless_stopping(self, number: int, work: Callable[[], object]) -> None:
        self._waiting.discard(number)
        name = signal.Signals(number).name
        if self._stopping:
            self.log.info("gateway: {name} ignored, since the gateway stops", name=name)
        else:
            work()

    def _ignore(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        self._reactor.callFromThread(lambda: self.log.warn("gateway: {name} ignored", name=name))

    # --- stopping ---

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Stop; the second time, at once."""
        name = signal.Signals(number).name
        if self._stopping:
            self._leave(f"a second signal, {name}, ended the gateway at once")
        self._stopping = True
        # Not by the reactor, which may be what does not end.
        signal.signal(signal.SIGALRM, lambda *_: self._leave(f"the stop took longer than {STOP_S} s and was cut"))
        signal.alarm(STOP_S)
        # Twisted's own handlers stop the reactor, and have the process end by this signal.
        if number == signal.SIGINT:
            self._reactor.callFromThread(self._reactor.sigInt, number)
        else:
            self._reactor.callFromThread(self._reactor.sigTerm, signal.SIGTERM)

    def _no_memory(self) -> None:
        self._leave("no memory is left, which ended the gateway at once")

    def _leave(self, why: str) -> None:
        """End the process without waiting for anything."""
        signal.signal(signal.SIGALRM, lambda *_: os._exit(STATUS_CUT))
        signal.alarm(_LAST_LINE_S)
        for number in STOP:
            signal.signal(number, lambda *_: os._exit(STATUS_CUT))
        try:
            self.log.error("gateway: {why}; calls that it cut: {count}", why=why, count=self._gateway.in_progress())
            self._write_log()
        finally:
            os._exit(STATUS_CUT)

    # --- reloading ---

    def reload(self) -> list[str]:
        """Reload the settings and open the log file again; returns a line for each.

        Raises:
            PbxrouterError: the settings cannot be used, and are not changed; or the gateway stops.
        """
        if self._stopping:
            raise ControlRefused("the gateway stops; nothing was reloaded")
        self._manager.reloading()
        try:
            lines = self._reopen()
            return [*lines, *self._gateway.reload.run()]
        finally:
            self._manager.ready()

    def _on_hangup(self) -> None:
        with contextlib.suppress(PbxrouterError):  # it is logged
            self.reload()

    def _reopen(self) -> list[str]:
        try:
            path = self._log_file.reopen() if self._log_file is not None else None
        except PbxrouterError as error:
            self.log.error("reload: {error}", error=str(error))
            return [str(error)]
        line = f"the log file {path} is opened again" if path else "there is no log file to open again"
        self.log.info("reload: {line}", line=line)
        return [line]

    # --- the state ---

    def _log_state(self) -> None:
        for line in self._state():
            self.log.info("state: {line}", line=line)

    def _state(self) -> Iterator[str]:
        gateway = self._gateway
        yield from gateway.state()
        yield f"delayed calls of the reactor: {len(self._reactor.getDelayedCalls())}"
        frames = sys._current_frames()
        yield f"threads: {len(frames)}"
        for ident, stack in frames.items():
            last = traceback.extract_stack(stack)[-3:]
            where = " > ".join(f"{os.path.basename(entry.filename)}:{entry.lineno} {entry.name}" for entry in last)
            yield f"thread {ident}: {where}"
