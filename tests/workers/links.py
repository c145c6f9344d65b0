"""Two ends of a connection between processes, in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from pbxrouter.workers.link import Handler, Link


class Wire(StringTransport):
    """A transport whose end the test sees.

    Attributes:
        closed: whether this end was closed.
    """

    closed = False

    def loseConnection(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def abortConnection(self) -> None:
        """Note that it was closed."""
        self.closed = True


class Pair:
    """Two links: what one sends the other gets when the test says so.

    Attributes:
        lost: which ends were told that the connection is gone.
    """

    def __init__(self, main: Mapping[str, Handler], worker: Mapping[str, Handler]) -> None:
        self.clock = Clock()
        self.lost: list[str] = []
        self.main, self.worker = self.end("main", main), self.end("worker", worker)

    def end(self, name: str, handlers: Mapping[str, Handler]) -> Link:
        """Make one end."""
        link = Link(self.clock, handlers, lambda: self.lost.append(name))
        link.makeConnection(Wire())
        return link

    def carry(self, cut: Callable[[bytes], list[bytes]] = lambda data: [data]) -> None:
        """Carry what was sent, until nothing more is.

        Args:
            cut: how it arrives.
        """
        moved = True
        while moved:
            moved = False
            for one, other in ((self.main, self.worker), (self.worker, self.main)):
                one.flush()
                data = one.transport.value()
                one.transport.clear()
                for part in cut(data) if data else []:
                    other.dataReceived(part)
                    moved = True


def messages(link: Link) -> list[list[Any]]:
    """What an end has sent since the last time, as the other end would read it."""
    found: list[list[Any]] = []
    reader = Link(Clock(), {}, lambda: None)
    reader._handle = lambda kind, number, values: found.append([kind, *values])  # type: ignore[method-assign]
    reader.makeConnection(Wire())
    link.flush()
    reader.dataReceived(link.transport.value())
    link.transport.clear()
    return found
