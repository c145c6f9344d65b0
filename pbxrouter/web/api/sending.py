"""Sends a long answer piece by piece, at the reader's pace.

The next piece is only made when there is room for it: a slow reader, or one that has gone,
costs no memory and no work. Not here: what is sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.iweb import IRequest
from zope.interface import implementer


@implementer(IPushProducer)
class _Pace:
    """Is told by the connection when to wait, when to go on, and when it is gone."""

    def __init__(self) -> None:
        self.gone = False
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
        """Nobody reads any more."""
        self.gone = True
        self.resumeProducing()

    async def room(self) -> None:
        """Wait until there is room."""
        if self._paused and not self.gone:
            self._waiting = Deferred()
            await self._waiting


async def send_pieces(request: IRequest, pieces: AsyncIterator[str]) -> None:
    """Send all pieces; returns early if the reader goes."""
    pace = _Pace()
    connection: Any = request
    connection.registerProducer(pace, True)
    try:
        async for piece in pieces:
            if pace.gone:
                return
            connection.write(piece.encode("utf-8"))
            await pace.room()
    finally:
        if not pace.gone:
            connection.unregisterProducer()
