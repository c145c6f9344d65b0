"""An AMI server that misbehaves, on a real socket, with a thread for each connection.

How it misbehaves is a function of the session; it runs once for each connection.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from tests.needs import PATIENCE_S

BANNER = b"Asterisk Call Manager/11.0.0\r\n"


def lines(*headers: str) -> bytes:
    """A message of these lines."""
    return "".join(f"{header}\r\n" for header in headers).encode("utf-8", "surrogateescape") + b"\r\n"


class Session:
    """One AMI connection, with blocking reads."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = connection.makefile("rb")
        self.by_the_byte = False

    def say(self, data: bytes) -> None:
        """Send bytes, each in a segment of its own where that is wanted."""
        if not self.by_the_byte:
            self.socket.sendall(data)
            return
        for place in range(len(data)):
            self.socket.sendall(data[place : place + 1])

    def hear(self) -> dict[str, str]:
        """Receive the next action; EOFError when the client has disconnected."""
        headers: dict[str, str] = {}
        while line := self._stream.readline():
            if line == b"\r\n":
                return headers
            name, _, value = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape").partition(": ")
            headers.setdefault(name, value)
        raise EOFError

    def answer(self, action: dict[str, str], *headers: str, response: str = "Success") -> None:
        """Answer an action, by default with success."""
        self.say(lines(f"Response: {response}", f"ActionID: {action['ActionID']}", *headers))

    def let_in(self) -> None:
        """Send the banner and accept the login."""
        self.say(BANNER)
        while (action := self.hear())["Action"] != "Login":
            self.answer(action, "Challenge: 12345")
        self.answer(action, "Message: Authentication accepted")

    def serve(self) -> None:
        """Answer each action with a pong, until the client goes."""
        while True:
            self.answer(self.hear(), "Ping: Pong")


class HostileServer:
    """Listens on loopback; ``manner`` is run for each connection.

    Attributes:
        port: where it listens.
        connections: how many came.
        troubles: exceptions of manners other than a client that goes.
    """

    def __init__(self, manner: Callable[[Session], None]) -> None:
        self.manner = manner
        self.connections = 0
        self.troubles: list[Exception] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Stop, and close all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._threads.append(threading.Thread(target=self._run, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _run(self, connection: socket.socket) -> None:
        with connection:
            try:
                self.manner(Session(connection))
            except (EOFError, OSError):
                pass
            except Exception as error:
                self.troubles.append(error)
