"""A network switch in user space, which can cut and slow each host: ``python -m tests.asterisk.hosts.switch NAME…``.

Runs in the namespace that has one end of each host's veth pair, which has the host's name, and passes Ethernet frames
on. Each line on its standard input is an order: ``HOST cut`` drops the host's frames in both directions, ``HOST slow
SECONDS`` holds them so long in each, ``HOST ok`` ends either. Needs neither the kernel's netem nor nftables.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import select
import socket
import sys
import time
from typing import Final

SOL_PACKET: Final = 263
PACKET_VNET_HDR: Final = 15
"""Frames come and go with the header that says which sum is left to do: a veth pair leaves it to the receiver."""
HEADER: Final = 10
ALL_PROTOCOLS: Final = 3
OUTGOING: Final = 4
MAX_FRAME: Final = 1 << 17


class Switch:
    """Passes frames between the ports.

    Args:
        names: of the network interfaces.
    """

    def __init__(self, names: list[str]) -> None:
        self._ports: dict[str, socket.socket] = {}
        self._homes: dict[bytes, str] = {}  # by hardware address
        self._cut: set[str] = set()
        self._slow: dict[str, float] = {}
        self._held: list[tuple[float, int, str, bytes]] = []
        self._serial = itertools.count()
        for name in names:
            port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
            port.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            port.bind((name, ALL_PROTOCOLS))
            port.setblocking(False)
            self._ports[name] = port

    def run(self) -> None:
        """Pass frames on until standard input ends."""
        names = {port.fileno(): name for name, port in self._ports.items()}
        poll = select.poll()
        for number in (0, *names):
            poll.register(number, select.POLLIN)
        while True:
            wait_s = max(0.0, self._held[0][0] - time.monotonic()) if self._held else 1.0
            for number, _ in poll.poll(1000 * wait_s):
                if number in names:
                    self._take(names[number])
                elif not self._order(sys.stdin.readline()):
                    return
            now = time.monotonic()
            while self._held and self._held[0][0] <= now:
                _, _, to, frame = heapq.heappop(self._held)
                self._send(to, frame)

    def _order(self, line: str) -> bool:
        name, _, order = line.strip().partition(" ")
        self._cut.discard(name)
        self._slow.pop(name, None)
        if order == "cut":
            self._cut.add(name)
        elif order.startswith("slow "):
            self._slow[name] = float(order[5:])
        if line:
            print("done", flush=True)
        return bool(line)

    def _take(self, name: str) -> None:
        for _ in range(100):
            try:
                frame, _, _, address = self._ports[name].recvmsg(MAX_FRAME)
            except OSError:  # there is none, or the interface is down
                return
            if address[2] == OUTGOING or name in self._cut:
                continue
            to, source = frame[HEADER : HEADER + 6], frame[HEADER + 6 : HEADER + 12]
            self._homes[source] = name
            home = self._homes.get(to)
            for port in [home] if home else [port for port in self._ports if port != name]:
                if port not in self._cut and port != name:
                    self._pass(port, frame, self._slow.get(name, 0.0) + self._slow.get(port, 0.0))

    def _pass(self, to: str, frame: bytes, delay_s: float) -> None:
        if delay_s:
            heapq.heappush(self._held, (time.monotonic() + delay_s, next(self._serial), to, frame))
        else:
            self._send(to, frame)

    def _send(self, to: str, frame: bytes) -> None:
        with contextlib.suppress(OSError):  # the interface is down, or full: a frame is lost, as on any network
            self._ports[to].send(frame)


if __name__ == "__main__":
    switch = Switch(sys.argv[1:])
    print("ready", flush=True)
    switch.run()
