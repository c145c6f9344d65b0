"""Sends a long answer piece by piece, at the reader's pace.

The next piece is only made when there is room for it: a slow reader, or one that has gone,
costs no memory and no work.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.web.iweb import IRequest
from zope.interface import implementer

_log = Logger(namespace=__name__)


@implementer(IPushProducer)
class _Pace:
    """Is told by the connection when to wait, and when to go on."""

    def __init__(self) -> None:
        self._paused = False
        self._waiting: Deferred[None] | None = None

    def pauseProducing(self) -> None:
        """There is no room."""
        self._paused = True

    def resumeProducing(self) -> None:
        """There is room again."""
        self._paused = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """Nobody reads any more; whoever waits for room is cancelled with the request."""

    async def room(self) -> None:
        """Wait until there is room."""
        if self._paused:
            self._waiting = Deferred()
            await self._waiting


async def send_pieces(request: IRequest, pieces: AsyncGenerator[str, None]) -> None:
    """Send all pieces; is cancelled when the reader goes.

    If a piece cannot be made the connection is cut, since the status has been said: so the
    reader does not take for the whole what is a part.
    """
    pace = _Pace()
    connection: Any = request
    connection.registerProducer(pace, True)
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                connection.write(piece.encode("utf-8"))
                await pace.room()
    except CancelledError:
        raise
    except Exception:
        _log.failure("a long answer is cut off")
        connection.channel.transport.abortConnection()
    finally:
        if connection.channel is not None:
            connection.unregisterProducer()
