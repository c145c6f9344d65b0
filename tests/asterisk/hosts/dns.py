"""A tiny name server: addresses and service records that a test says, over UDP."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

A, SRV = 1, 33
IN: Final = 1
NO_SUCH_NAME: Final = 3


class Service(NamedTuple):
    """A service record."""

    priority: int
    weight: int
    port: int
    target: str


class NameServer:
    """Answers until it is closed.

    Args:
        server: a UDP socket, bound to the address that resolvers ask.
        addresses: IPv4 addresses by name, without a dot at the end.
        services: service records by name.

    Attributes:
        asked: the questions so far: name and type.
    """

    def __init__(
        self, server: socket.socket, addresses: Mapping[str, str], services: Mapping[str, Sequence[Service]]
    ) -> None:
        self._server = server
        self.addresses = addresses
        self.services = services
        self.asked: list[tuple[str, int]] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                question, peer = self._server.recvfrom(512)
            except OSError:
                return
            self._server.sendto(self._answer(question), peer)

    def _answer(self, question: bytes) -> bytes:
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode("ascii"))
            at += 1 + length
        name, end = ".".join(labels).lower(), at + 5
        (kind,) = struct.unpack_from(">H", question, at + 1)
        self.asked.append((name, kind))
        records = []
        if kind == A and name in self.addresses:
            records = [socket.inet_aton(self.addresses[name])]
        elif kind == SRV:
            records = [
                struct.pack(">HHH", service.priority, service.weight, service.port) + _packed(service.target)
                for service in self.services.get(name, ())
            ]
        known = bool(records) or name in self.addresses or name in self.services
        flags = 0x8180 if known else 0x8180 | NO_SUCH_NAME
        head = question[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0) + question[12:end]
        return head + b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", kind, IN, 1, len(record)) + record for record in records
        )

    def close(self) -> None:
        """Answer no more."""
        self._server.close()


def _packed(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"
