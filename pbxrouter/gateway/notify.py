"""Tells the service manager how far the gateway is, by the protocol of sd_notify(3).

The address of its socket is in NOTIFY_SOCKET; without it nothing is sent. A service manager that does not listen
must not hold up the gateway: what cannot be sent at once is dropped.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class ServiceManager:
    """The service manager that has started the process, systemd for example."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")

    def ready(self) -> None:
        """The gateway serves calls; or the reload is over."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The gateway reads its settings again."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The gateway stops."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        address = self._address
        if not address.startswith(("/", "@")):
            return
        if address.startswith("@"):  # Linux' abstract sockets
            address = "\0" + address[1:]
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            datagrams.setblocking(False)
            datagrams.sendto(state.encode("ascii"), address)
