"""The process beside the gateway that closes its calls' connections while the gateway stands still.

Asterisk waits without limit for the next command of a FastAGI server, also for one that was stopped (SIGSTOP) or
whose reactor hangs: the kernel keeps its connections. This process holds a copy of each call's connection. When no
sign of life has come from the gateway for STILL_S, it shuts them down: Asterisk ends the runs of AGI(), as if the
gateway had been killed, and the dialplan goes on.

Started by ``pbxrouter.fastagi.standstill``, by the file's name, with the standard library alone. Each message of the
gateway is one packet: ``hold NUMBER`` with a descriptor, ``drop NUMBER``, or a beat, which is empty but for a dot.
The end of the socket is the end of the gateway.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Callable

STILL_S = 1.8
"""Seconds without a sign of life after which the gateway stands still."""
LOOK_EVERY_S = 0.2
"""Seconds between two looks."""
STALLED_S = 0.6
"""Seconds by which a look may be late before this process counts as stopped itself, together with the gateway."""
MAX_PACKET = 64
HOLD, DROP, BEAT = b"hold", b"drop", b"."


class Watch:
    """Holds the connections, and shuts them down.

    Args:
        gateway: the socket to the gateway.
        now: a clock that is never set.
    """

    def __init__(self, gateway: socket.socket, now: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._now = now
        self._heard = self._looked = now()
        self._held: dict[bytes, int] = {}
        gateway.setblocking(False)

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
            elif word == DROP and number in self._held:
                os.close(self._held.pop(number))

    def shut_down(self) -> None:
        """Shut all connections down, on both sides: Asterisk reads the end of the stream."""
        held, self._held = self._held, {}
        for descriptor in held.values():
            with contextlib.suppress(OSError), socket.socket(fileno=descriptor) as connection:
                connection.shutdown(socket.SHUT_RDWR)


def main() -> None:  # pragma: no cover - in a process of its own, without the packages that measure
    """Watch the gateway at the other end of the socket whose descriptor is the argument."""
    with contextlib.suppress(OSError):
        os.setsid()  # a stop from the gateway's terminal is not for this process
    Watch(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":  # pragma: no cover - in a process of its own, without the packages that measure
    main()
