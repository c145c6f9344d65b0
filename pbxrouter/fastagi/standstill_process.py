"""The process beside the gateway that closes its calls' connections while the gateway stands still.

Asterisk waits without limit for the next command of a FastAGI server, also for one that was stopped (SIGSTOP) or
whose reactor hangs: the kernel keeps its connections. This process holds a copy of each call's connection. When no
sign of life has come from the gateway for STILL_S, it shuts them down: Asterisk ends the runs of AGI(), as if the
gateway had been killed, and the dialplan goes on. So does a call whose connection the kernel has accepted and the
gateway has not: this process accepts it from then on, and closes it as soon as it has told of a call. One that only
asks whether the gateway is alive is left without an answer, for the dialplan gives it up by itself. Where several
processes share the port, calls are accepted so only while none of them gives a sign of life: another one takes them.

Started by ``pbxrouter.fastagi.standstill``, by the file's name, with the standard library alone. Each message of the
gateway is one packet: ``listen`` with the descriptor of its port, ``deaf`` when it closes it, ``hold NUMBER`` with that
of a connection, ``drop NUMBER``, or a beat, which is empty but for a dot. The end of the socket is the end of the
gateway.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable

STILL_S = 1.8
"""Seconds without a sign of life after which the gateway stands still."""
LOOK_EVERY_S = 0.2
"""Seconds between two looks."""
STALLED_S = 0.6
"""Seconds by which a look may be late before this process counts as stopped itself, together with the gateway."""
MAX_PACKET = 64
LISTEN, DEAF, HOLD, DROP, BEAT = b"listen", b"deaf", b"hold", b"drop", b"."
MOST_WAITING = 512
"""Connections without a call that are kept; of more the oldest are closed."""
MOST_OPENING = 1 << 14
"""Bytes of an opening block that are read; it is closed then."""
PROBE = b"\nagi_arg_1: alive\n"
"""What an opening block has that only asks whether the gateway is alive."""


class Watch:
    """Holds the connections, and shuts them down.

    Args:
        gateway: the socket to the gateway.
        now: a clock that is never set.
        beats: returns when each of the processes that share the port gave its last sign of life, by that clock.

    Attributes:
        most_waiting: connections without a call that are kept.
    """

    def __init__(
        self,
        gateway: socket.socket,
        now: Callable[[], float] = time.monotonic,
        beats: Callable[[], Iterable[float]] = tuple,
    ) -> None:
        self._beats = beats
        self._gateway = gateway
        self._now = now
        self._heard = self._looked = now()
        self._held: dict[bytes, int] = {}
        self.most_waiting = MOST_WAITING
        self._ports: list[socket.socket] = []
        self._waiting: dict[socket.socket, bytes] = {}  # what each has sent
        gateway.setblocking(False)

    @property
    def waiting(self) -> int:
        """Number of connections that were accepted and have not told of a call."""
        return len(self._waiting)

    def run(self) -> None:
        """Watch until the gateway is gone."""
        poll = select.poll()
        poll.register(self._gateway, select.POLLIN)
        while self.look():
            poll.poll(1000 * LOOK_EVERY_S)

    def look(self) -> bool:
        """Take what the gateway has sent, and judge whether it stands still; False if it is gone."""
        now = self._now()
        if now - self._looked > LOOK_EVERY_S + STALLED_S:
            self._heard = now
        self._looked = now
        there = self.read()
        if there and now - self._heard > STILL_S:
            self.shut_down()
            if all(now - beat > STILL_S for beat in self._beats()):
                self.accept()
        elif self._waiting:
            self._close_waiting(0)
        return there

    def read(self) -> bool:
        """Take what the gateway has sent; False if it is gone."""
        while True:
            try:
                packet, descriptors, _, _ = socket.recv_fds(self._gateway, MAX_PACKET, 1)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not packet:
                return False
            self._heard = self._now()
            word, _, number = packet.partition(b" ")
            if word == HOLD and descriptors:
                self._held[number] = descriptors[0]
            elif word == LISTEN and descriptors:
                self._ports.append(socket.socket(fileno=descriptors[0]))
            elif word == DEAF:
                while self._ports:
                    self._ports.pop().close()
            elif word == DROP and number in self._held:
                os.close(self._held.pop(number))

    def shut_down(self) -> None:
        """Shut all connections down, on both sides: Asterisk reads the end of the stream."""
        held, self._held = self._held, {}
        for descriptor in held.values():
            with contextlib.suppress(OSError), socket.socket(fileno=descriptor) as connection:
                connection.shutdown(socket.SHUT_RDWR)

    def accept(self) -> None:
        """Accept what waits at the gateway's ports, and close the connections of calls."""
        for port in self._ports:
            with contextlib.suppress(OSError):  # there is none, or none can be accepted
                while True:
                    connection, _ = port.accept()
                    connection.setblocking(False)
                    self._waiting[connection] = b""
        for connection, came in tuple(self._waiting.items()):
            try:
                data = connection.recv(MOST_OPENING)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            self._waiting[connection] = came = came + data
            asks_only = PROBE in came and b"\n\n" in came
            if not data or len(came) >= MOST_OPENING or (b"\n\n" in came and not asks_only):
                del self._waiting[connection]
                connection.close()
        self._close_waiting(self.most_waiting)

    def _close_waiting(self, most: int) -> None:
        """Close the oldest connections without a call, all but so many."""
        while len(self._waiting) > most:
            connection = next(iter(self._waiting))
            del self._waiting[connection]
            connection.close()


def read_beats(descriptor: int, places: Iterable[int]) -> list[float]:
    """The signs of life in the memory that the processes of one gateway share."""
    beat = struct.Struct("=d")
    return [beat.unpack(os.pread(descriptor, beat.size, place))[0] for place in places]


def main() -> None:  # pragma: no cover - in a process of its own, without the packages that measure
    """Watch the gateway.

    The arguments are the descriptor of the socket to it, and if several processes share its port, that of their memory
    and the places of their signs of life in it.
    """
    board = [int(argument) for argument in sys.argv[2:]]
    beats: Callable[[], Iterable[float]] = (lambda: read_beats(board[0], board[1:])) if board else tuple
    with contextlib.suppress(OSError):
        os.setsid()  # a stop from the gateway's terminal is not for this process
    Watch(socket.socket(fileno=int(sys.argv[1])), beats=beats).run()


if __name__ == "__main__":  # pragma: no cover - in a process of its own, without the packages that measure
    main()
