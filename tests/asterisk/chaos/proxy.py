"""A TCP proxy between the gateway and Asterisk's AMI, which can cut, hold, slow down, flood and garble."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import ssl
import threading
import time

_EVENT = b"Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: Flood\r\nText: %s\r\n\r\n"
GIGABYTE = 1 << 30


class Proxy:
    """Listens on a port of its own and connects each connection to Asterisk.

    ``manner`` is what it does with what Asterisk sends: "pass", "hold" (nothing passes, either way, and nothing is
    closed), "slow" (200 bytes each tenth of a second), "flood" (two thousand events a second between
    Asterisk's own), "garbage" (random bytes between messages), "endless" (a gigabyte without a line end after a
    message, as far as it is taken; ``taken`` says how much was). ``refuse`` closes each connection. With ``tls`` it
    shows a certificate to what connects from then on.
    """

    def __init__(self, target: int, seed: int) -> None:
        self._target = target
        self._random = random.Random(seed)
        self.manner = "pass"
        self.tls: ssl.SSLContext | None = None
        self.taken: list[int] = []
        self._refusing = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def refuse(self) -> None:
        """Cut all connections, and close new ones at once, until ``restore``."""
        self._refusing = True
        self.cut()

    def restore(self) -> None:
        """Behave as a wire again; what was held up is cut."""
        manner, self.manner, self._refusing = self.manner, "pass", False
        if manner in ("hold", "garbage", "endless"):
            self.cut()

    def cut(self) -> None:
        """Cut all connections."""
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def close(self) -> None:
        """Stop listening, and cut all connections."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        if self.tls is not None:
            try:
                client.settimeout(5)
                client = self.tls.wrap_socket(client, server_side=True)
                client.settimeout(None)
            except OSError:  # it does not like the certificate
                client.close()
                server.close()
                return
        self._pairs.append((client, server))
        self._carry(client, server)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(OSError):
            whole = True  # what went to the gateway ended with a message's end
            while True:
                if self.manner == "hold":
                    time.sleep(0.05)
                    continue
                ready, _, _ = select.select([client, server], [], [], 0.02)
                for end in ready:
                    data = end.recv(200 if self.manner == "slow" and end is server else 65536)
                    if not data:
                        return
                    (server if end is client else client).sendall(data)
                    if end is server:
                        whole = data.endswith(b"\r\n\r\n")
                if self.manner == "slow":
                    time.sleep(0.1)
                elif self.manner == "flood" and whole:
                    client.sendall(40 * (_EVENT % b"x"))
                elif self.manner == "endless" and whole:
                    self._send_endless(client)
                elif self.manner == "garbage" and whole:
                    client.sendall(self._random.randbytes(self._random.randrange(1, 400)))
                    time.sleep(0.1)

    def _send_endless(self, client: socket.socket) -> None:
        self.taken.append(0)
        client.sendall(b"Event: ")
        while self.taken[-1] < GIGABYTE and self.manner == "endless":
            client.sendall(b"a" * 65536)
            self.taken[-1] += 65536
