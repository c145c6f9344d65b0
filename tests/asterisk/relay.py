"""A relay between the gateway and Asterisk's AMI, which a test cuts or stalls."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class Relay:
    """Passes the bytes of each connection on, both ways.

    Args:
        port: where it listens on loopback.
        to: the port that it connects to.

    Attributes:
        stalled: while True nothing is passed on, and nothing is closed: a half-open connection.
        refusing: while True connections are closed at once, those that are open too.
    """

    def __init__(self, port: int, to: int) -> None:
        self.stalled = self.refusing = False
        self._to = to
        self._closed = False
        self._server = socket.create_server(("127.0.0.1", port))
        self._server.setblocking(False)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close all connections and the port."""
        self._closed = True
        self._thread.join()

    def _run(self) -> None:
        peers: dict[socket.socket, socket.socket] = {}
        with selectors.DefaultSelector() as selector, self._server, contextlib.ExitStack() as sockets:
            selector.register(self._server, selectors.EVENT_READ)
            while not self._closed:
                if self.refusing:
                    for end in peers:
                        selector.unregister(end)
                        end.close()
                    peers.clear()
                if self.stalled:
                    threading.Event().wait(0.02)
                    continue
                for key, _ in selector.select(0.02):
                    if key.fileobj is self._server:
                        self._accept(peers, selector, sockets)
                    elif isinstance(key.fileobj, socket.socket) and key.fileobj in peers:
                        self._pass_on(key.fileobj, peers, selector)

    def _accept(
        self,
        peers: dict[socket.socket, socket.socket],
        selector: selectors.BaseSelector,
        sockets: contextlib.ExitStack,
    ) -> None:
        client, _ = self._server.accept()
        if self.refusing:
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", self._to))
        for one, other in ((client, server), (server, client)):
            peers[one] = other
            sockets.enter_context(one)
            selector.register(one, selectors.EVENT_READ)

    def _pass_on(
        self,
        end: socket.socket,
        peers: dict[socket.socket, socket.socket],
        selector: selectors.BaseSelector,
    ) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = end.recv(65536)
        with contextlib.suppress(OSError):
            if data:
                peers[end].sendall(data)
                return
        for one in (end, peers[end]):
            selector.unregister(one)
            one.close()
            del peers[one]
