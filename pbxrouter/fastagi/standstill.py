"""Has the calls' connections closed while the gateway stands still; see standstill_process."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.fastagi import standstill_process
from pbxrouter.fastagi.standstill_process import BEAT, DEAF, DROP, HOLD, LISTEN
from pbxrouter.net import SharedBoard, Timer, every

BEAT_EVERY_S: Final = 0.3
"""Seconds between two signs of life."""
RESTART_S: Final = 5.0
"""Seconds until the process is started again if it cannot be, or has ended within WORKED_S."""
WORKED_S: Final = 1.0
RESTART_SOON_S: Final = 0.1
"""Seconds until it is started again if it has run for longer: without it calls are not ended by a standstill."""
_GATEWAY: Final = 3
"""The descriptor of the socket in that process."""
_BOARD: Final = 4
"""The descriptor of the shared memory in that process."""


class StandstillGuard(MultiService):
    """Passes the port and connections to the process beside the gateway, and tells it that the gateway lives.

    Without a reactor that starts processes it does nothing.

    Args:
        board: where the processes of one gateway, which share the port, write their signs of life; None: there is one.
        now: returns monotonic seconds, those of the board.

    Attributes:
        has_port: whether the process has the port.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, board: SharedBoard | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._board = board
        self._now = now
        self._reactor = reactor
        self._socket: socket.socket | None = None
        self._numbers = 0
        self._held: dict[object, tuple[int, Any]] = {}  # what the process calls a call's transport, and that
        self._unheld: dict[object, Any] = {}  # transports that are still to be passed on
        self._unsent: list[bytes] = []
        self._port: Any = None
        self.has_port = False
        self._restart = Timer(reactor)
        self._started_at = 0.0
        self._ended: Deferred[None] = succeed(None)  # fires when the process, if one runs, has ended
        every(BEAT_EVERY_S, self._beat, reactor, self)

    @property
    def is_active(self) -> bool:
        """Whether the process runs."""
        return self._socket is not None

    @property
    def unheld(self) -> int:
        """Number of connections that the process does not hold yet."""
        return len(self._unheld)

    def startService(self) -> None:
        """Start the process."""
        super().startService()
        if IReactorProcess.providedBy(self._reactor):
            self._start()

    def stopService(self) -> Deferred[Any]:
        """Let the process end."""
        stopped = Deferred.fromCoroutine(self._stop(super().stopService()))
        self._restart.clear()
        return stopped

    async def _stop(self, parts: Deferred[Any]) -> None:
        await parts
        self._close()
        await self._ended

    # --- the port ---

    def listen(self, port: Any) -> None:
        """Have the calls that wait at a port turned away while the gateway stands still."""
        if hasattr(port, "fileno"):
            self._port, self.has_port = port, False
            self._pass_on_port()

    def deaf(self) -> None:
        """The port is closed: it must not be open in the process, or calls would wait at it."""
        if self.has_port:
            self._unsent.append(DEAF)
            self._send()
        self._port, self.has_port = None, False

    def _pass_on_port(self) -> None:
        if self._socket is not None and self._port is not None and not self.has_port:
            try:
                socket.send_fds(self._socket, [LISTEN], [self._port.fileno()])
            except OSError:  # the next beat tries again
                return
            self.has_port = True

    # --- the calls ---

    def hold(self, call: object, transport: Any) -> None:
        """Have a call's connection closed if the gateway stands still."""
        while (below := getattr(transport, "transport", None)) is not None:  # TLS has the socket below it
            transport = below
        if hasattr(transport, "getHandle"):
            self._unheld[call] = transport
            self._pass_on()

    def _pass_on(self) -> None:
        """Pass on the connections that the process does not hold yet, as far as it takes them now."""
        while self._socket is not None and self._unheld:
            call, transport = next(iter(self._unheld.items()))
            self._numbers += 1
            try:
                message = b"%s %d" % (HOLD, self._numbers)
                socket.send_fds(self._socket, [message], [transport.getHandle().fileno()])
            except OSError:  # it is slow, or just gone: the next beat tries again
                return
            del self._unheld[call]
            self._held[call] = (self._numbers, transport)

    def drop(self, call: object) -> None:
        """A call's connection is closed."""
        self._unheld.pop(call, None)
        held = self._held.pop(call, None)
        if held is not None:
            self._unsent.append(b"%s %d" % (DROP, held[0]))
            self._send()

    def _send(self) -> None:
        while self._socket is not None and self._unsent:
            try:
                self._socket.send(self._unsent[0])
            except OSError:
                return  # the next beat tries again
            del self._unsent[0]

    async def _beat(self) -> None:
        if self._board is not None:
            self._board.beat(self._now())
        if self._socket is not None:
            self._unsent.append(BEAT)
            self._send()
            if self._unsent[-1:] == [BEAT]:  # it is slow: the next beat is as good
                del self._unsent[-1]
            self._pass_on_port()
            self._pass_on()

    # --- the process ---

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        nothing = os.open(os.devnull, os.O_RDWR)
        program = [sys.executable, "-I", "-S", standstill_process.__file__, str(_GATEWAY)]
        descriptors = {0: nothing, 1: nothing, 2: nothing, _GATEWAY: theirs.fileno()}
        if self._board is not None:
            program += [str(_BOARD), *(str(place) for place in self._board.beat_places())]
            descriptors[_BOARD] = self._board.descriptor
        try:
            self._reactor.spawnProcess(_Process(self), sys.executable, program, env={}, childFDs=descriptors)
        except OSError as error:
            ours.close()
            self.log.error(
                "FastAGI: no process beside the gateway: {error}; if the gateway stands still, its calls wait",
                error=str(error),
            )
            self._restart.set(RESTART_S, self._start)
        else:
            ours.setblocking(False)
            self._socket = ours
            self._started_at = self._reactor.seconds()
            self._ended = Deferred()
        finally:
            theirs.close()
            os.close(nothing)

    def _close(self) -> None:
        ours, self._socket = self._socket, None
        self._unheld.update((call, transport) for call, (_, transport) in self._held.items())  # for the next process
        self._held.clear()
        self.has_port = False
        self._unsent.clear()
        if ours is not None:
            ours.close()

    def process_ended(self, reason: Failure) -> None:
        """The process has ended."""
        self._close()
        self._ended.callback(None)
        if self.running:
            if not reason.check(ProcessDone):
                self.log.error("FastAGI: the process beside the gateway has ended: {why}", why=reason.getErrorMessage())
            has_worked = self._reactor.seconds() - self._started_at >= WORKED_S
            self._restart.set(RESTART_SOON_S if has_worked else RESTART_S, self._start)


class _Process(ProcessProtocol):
    def __init__(self, guard: StandstillGuard) -> None:
        self._guard = guard

    def processEnded(self, reason: Failure) -> None:
        """Tell the guard that its helper process has ended."""
        self._guard.process_ended(reason)
