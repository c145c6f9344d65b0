"""The main process's workers: starts them when there is a port to share, and again when one has ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.errors import ConfigError
from pbxrouter.net import SharedBoard, Timer, every
from pbxrouter.text import Sentence, sentence
from pbxrouter.workers.link import Link
from pbxrouter.workers.worker_connection import MainParts, WorkerConnection

PROGRAM: Final = "pbxrouter.worker"
"""The module that is a worker."""
LINK: Final = 3
BOARD: Final = 4
PORT: Final = 5
"""The descriptors in a worker."""
SOON_S: Final = 0.1
"""Seconds until a worker that has worked is started again."""
WORKED_S: Final = 10.0
BACK_OFF_S: Final = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds until one is started again that has ended within WORKED_S, the last for all further times."""
STILL_S: Final = 2.0
"""Seconds without a sign of life after which a worker stands still."""
DOWN_S: Final = 5.0
"""Seconds for which a worker may not run before that is a problem."""
END_S: Final = 14.0
"""Seconds that the workers may take to end; what runs then is killed."""
LOOK_EVERY_S: Final = 0.5
NOT_FOR_WORKERS: Final = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)
"""Variables of the environment by which the service manager speaks with the main process."""


class OwnFigures(Protocol):
    """The figures of the main process's own FastAGI server; see FastAGIFactory."""

    served: int
    last_call: float | None

    @property
    def open_calls(self) -> int:
        """Number of open connections."""
        ...

    @property
    def refused_connections(self) -> Mapping[str, int]:
        """Number of refused connections by reason."""
        ...


class _Place:
    """The place of one worker, which one process after the other takes.

    Attributes:
        connection: to the process that runs; None if none does.
        process: its transport.
        failures: how often one after the other has ended early.
        down_since: when the last one ended, or the first was to be started; None while one takes calls.
        ended: fires when the process, if one runs, has ended.
    """

    def __init__(self, number: int, clock: Any) -> None:
        self.number = number
        self.connection: WorkerConnection | None = None
        self.process: Any = None
        self.restart = Timer(clock)
        self.failures = 0
        self.started_at = 0.0
        self.down_since: float | None = None
        self.ended: Deferred[None] = succeed(None)


class WorkerPool(MultiService):
    """Runs the workers while there is a port.

    Args:
        count: number of processes, this one included.
        board: the memory that they share.
        parts: what the workers' calls need of this process.
        settings: returns what a worker is told at its start: a mapping for MessagePack.
        now: returns monotonic seconds, those of the board.
    """

    log = Logger(namespace="pbxrouter.workers")

    def __init__(
        self,
        count: int,
        board: SharedBoard,
        parts: MainParts,
        settings: Callable[[], Mapping[str, Any]],
        own: OwnFigures,
        reactor: Any,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._board = board
        self._parts = parts
        self._settings = settings
        self._own = own
        self._reactor = reactor
        self._now = now
        self._port: Any = None
        self._stopping = False
        self._places = [_Place(number, reactor) for number in range(2, count + 1)]
        self._served_before = 0
        self._refused_before: Counter[str] = Counter()
        self._told_asterisks: list[Any] = []
        parts.watch.changed = self._tell_watchers
        every(LOOK_EVERY_S, self._look, reactor, self)

    # --- what the processes together do ---

    @property
    def _connections(self) -> list[WorkerConnection]:
        return [place.connection for place in self._places if place.connection is not None]

    @property
    def open_calls(self) -> int:
        """Number of open FastAGI connections, in all processes."""
        return self._own.open_calls + sum(worker.figures.open_calls for worker in self._connections)

    @property
    def in_progress(self) -> int:
        """Number of calls that the workers serve."""
        return sum(worker.figures.in_progress for worker in self._connections)

    @property
    def served(self) -> int:
        """Number of calls since the start, in all processes."""
        return self._own.served + self._served_before + sum(worker.figures.served for worker in self._connections)

    @property
    def last_call(self) -> float | None:
        """When the last call came, epoch seconds; None before the first."""
        times = [self._own.last_call, *(worker.figures.last_call for worker in self._connections)]
        return max((when for when in times if when is not None), default=None)

    @property
    def refused_connections(self) -> Mapping[str, int]:
        """Number of connections refused since the start, by reason, in all processes."""
        refused = Counter(self._own.refused_connections)
        refused.update(self._refused_before)
        for worker in self._connections:
            refused.update(worker.figures.refused)
        return refused

    @property
    def trouble(self) -> Sentence | None:
        """What is wrong with a worker; None if nothing is."""
        if self._port is None or self._stopping:
            return None
        now = self._now()
        for place in self._places:
            worker = place.connection
            if place.down_since is not None:
                if now - place.down_since > DOWN_S:
                    return sentence("worker {number} does not run; it is started again", number=place.number)
            elif now - self._board.last_beat(place.number - 1) > STILL_S:
                return sentence("worker {number} gives no sign of life", number=place.number)
            elif worker is not None and worker.figures.trouble is not None:
                return sentence("worker {number}: {trouble}", number=place.number, trouble=worker.figures.trouble)
        return None

    def state(self) -> Iterator[str]:
        """A line about each worker."""
        for place in self._places:
            worker, process = place.connection, place.process
            if worker is None or process is None:
                yield f"worker {place.number}: does not run"
                continue
            figures = worker.figures
            since_s = self._now() - self._board.last_beat(place.number - 1)
            yield (
                f"worker {place.number}: process {process.pid}, {'takes calls' if worker.is_ready else 'starts'}; last "
                f"sign of life {since_s:.1f} s ago; calls in progress: {figures.in_progress}, of them in a "
                f"conversation: {figures.talking}; FastAGI connections: {figures.open_calls}; calls served: "
                f"{figures.served}"
            )

    # --- the port ---

    def listen(self, port: Any) -> None:
        """Share a port that this process listens at.

        Raises:
            ConfigError: it is no TCP port.
        """
        family = getattr(getattr(port, "socket", None), "family", None)
        if family not in (socket.AF_INET, socket.AF_INET6):
            raise ConfigError(NEEDS_TCP)
        self._port = port
        if self.running:
            self._start_all()

    def startService(self) -> None:
        """Start the workers, if there is a port."""
        super().startService()
        if self._port is not None:
            self._start_all()

    def refuse_new(self) -> None:
        """Have the workers take no further call, end those in progress, and end."""
        self._stopping = True
        for place in self._places:
            place.restart.clear()
            if place.connection is not None:
                place.connection.link.tell("stop")
                place.connection.link.flush()

    def stopService(self) -> Deferred[Any]:
        """End the workers; those that do not end within END_S are killed."""
        self.refuse_new()
        stopped = super().stopService()
        ended = DeferredList([place.ended for place in self._places])
        kill = Timer(self._reactor)
        kill.set(END_S, self._kill)
        ended.addCallback(lambda _: kill.clear())
        return DeferredList([stopped, ended])

    def _kill(self) -> None:
        for place in self._places:
            if place.process is not None:
                self.log.error("workers: worker {number} did not end in time and is killed", number=place.number)
                self._signal(place, signal.SIGKILL)

    def _signal(self, place: _Place, number: int) -> None:
        try:
            place.process.signalProcess(number)
        except Exception:  # it has just ended
            self.log.debug("workers: worker {number} has ended already", number=place.number)

    # --- what all workers are told ---

    def tell(self, kind: str, *values: Any) -> None:
        """Tell all workers."""
        for worker in self._connections:
            worker.link.tell(kind, *values)

    def load_rules(self) -> Deferred[Any]:
        """Have all workers load the rules; fires when each has, or cannot."""
        asked = [worker.link.ask("load_rules") for worker in self._connections if worker.is_ready]
        return DeferredList(asked, consumeErrors=True)

    def _tell_watchers(self) -> None:
        self.tell("watch", self._parts.watch.wanted)

    async def _look(self) -> None:
        for worker in self._connections:
            worker.tell_written()
            if worker.is_ready:
                asterisks = worker.asterisks
                if asterisks != self._told_asterisks:
                    self._told_asterisks = asterisks
                    self.tell("asterisks", *asterisks)

    # --- the processes ---

    def _start_all(self) -> None:
        for place in self._places:
            place.down_since = self._now()
            self._start(place)

    def _start(self, place: _Place) -> None:
        """Start a worker; what is opened for it is closed here."""
        if self._stopping or self._port is None:
            return
        with contextlib.ExitStack() as opened:
            try:
                ours, theirs = socket.socketpair()
                opened.callback(ours.close)
                opened.callback(theirs.close)
                nothing = os.open(os.devnull, os.O_RDWR)
                opened.callback(os.close, nothing)
                self._spawn(place, theirs.fileno(), nothing)
            except OSError as error:
                self._log_failed(place, error)
                self._start_again(place, failed=True)
                return
            try:
                self._connect(place, ours)
            except OSError as error:
                self._log_failed(place, error)
                self._signal(place, signal.SIGKILL)

    def _log_failed(self, place: _Place, error: OSError) -> None:
        self.log.error("workers: worker {number} cannot be started: {error}", number=place.number, error=str(error))

    def _spawn(self, place: _Place, link: int, nothing: int) -> None:
        arguments = (LINK, BOARD, PORT, place.number, self._board.columns)
        place.process = self._reactor.spawnProcess(
            _Process(lambda reason: self._ended(place, reason)),
            sys.executable,
            [sys.executable, "-P", "-m", PROGRAM, *map(str, arguments)],
            env={name: value for name, value in os.environ.items() if name not in NOT_FOR_WORKERS},
            childFDs={
                0: nothing,
                1: _or(1, nothing),
                2: _or(2, nothing),
                LINK: link,
                BOARD: self._board.descriptor,
                PORT: self._port.fileno(),
            },
        )
        place.ended = Deferred()
        place.started_at = self._now()

    def _connect(self, place: _Place, ours: socket.socket) -> None:
        worker = WorkerConnection(place.number, self._parts, self._reactor, lambda: self._ready(place))
        ours.setblocking(False)
        self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, _Only(worker.link))
        place.connection = worker
        worker.link.tell("begin", self._settings(), self._parts.watch.wanted, *worker.asterisks)

    def _ready(self, place: _Place) -> None:
        place.down_since = None
        self.log.info(
            "workers: worker {number} takes calls, process {process}",
            number=place.number,
            process=getattr(place.process, "pid", "?"),
        )

    def _ended(self, place: _Place, reason: Failure) -> None:
        """A worker's process has ended."""
        worker, place.connection, place.process = place.connection, None, None
        if worker is not None:
            figures = worker.figures
            self._served_before += figures.served
            self._refused_before.update(figures.refused)
            if worker.link.is_open:
                worker.link.close()
        self._board.clear(place.number - 1)
        place.down_since = self._now()
        ended, place.ended = place.ended, succeed(None)
        if not self._stopping:
            failed = self._now() - place.started_at < WORKED_S
            if reason.check(ProcessDone):
                self.log.warn("workers: worker {number} has ended; it is started again", number=place.number)
            else:
                self.log.error(
                    "workers: worker {number} has ended: {why}; it is started again",
                    number=place.number,
                    why=reason.getErrorMessage(),
                )
            self._start_again(place, failed)
        ended.callback(None)

    def _start_again(self, place: _Place, failed: bool) -> None:
        place.failures = place.failures + 1 if failed else 0
        wait_s = BACK_OFF_S[min(place.failures, len(BACK_OFF_S)) - 1] if failed else SOON_S
        place.restart.set(wait_s, lambda: self._start(place))


NEEDS_TCP: Final = (
    "gateway.workers: only a TCP port can be shared by several processes; accepted is 1, or a fastagi.listen such as "
    "tcp:4573:interface=127.0.0.1 or systemd:domain=INET:index=0"
)


def demand_sharable(listen: str, workers: int) -> None:
    """Check that so many processes can share a port.

    Raises:
        ConfigError: they cannot.
    """
    if workers > 1 and listen.partition(":")[0] not in ("tcp", "tcp6", "systemd"):
        raise ConfigError(NEEDS_TCP)


def _or(descriptor: int, otherwise: int) -> int:
    """A descriptor if it is open; else another."""
    try:
        os.fstat(descriptor)
    except OSError:
        return otherwise
    return descriptor


class _Process(ProcessProtocol):
    def __init__(self, ended: Callable[[Failure], object]) -> None:
        self._ended = ended

    def processEnded(self, reason: Failure) -> None:
        """Tell the pool."""
        self._ended(reason)


class _Only(Factory):
    """Gives its one protocol to the connection that is adopted."""

    noisy = False

    def __init__(self, link: Link) -> None:
        self._link = link

    def buildProtocol(self, addr: object) -> Link:
        """Return the protocol."""
        return self._link


def adopt_link(reactor: Any, descriptor: int, link: Link) -> None:
    """Use an inherited socket as the connection."""
    os.set_blocking(descriptor, False)
    reactor.adoptStreamConnection(descriptor, socket.AF_UNIX, _Only(link))
    os.close(descriptor)
