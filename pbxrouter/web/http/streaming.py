"""Streams a long response with back-pressure.

The next piece is made only when there is room for it, so a slow client costs no memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.web.iweb import IRequest
from zope.interface import implementer

_log = Logger()


class Pieces(Protocol):
    """The pieces of a response, one after the other; an asynchronous generator, for example."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the pieces."""
        ...

    def aclose(self) -> Coroutine[Any, Any, None]:
        """Make no more of them."""
        ...


@implementer(IPushProducer)
class _Pace:
    """A push producer that fires when there is room."""

    def __init__(self) -> None:
        self._paused = False
        self._waiting: Deferred[None] | None = None

    def pauseProducing(self) -> None:
        """Pause: there is no room."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Resume: there is room again."""
        self._paused = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """Stop: the client is gone; the request's cancellation ends the wait."""

    async def room(self) -> None:
        """Wait until there is room."""
        if self._paused:
            self._waiting = Deferred()
            await self._waiting


async def send_pieces(request: IRequest, pieces: Pieces) -> None:
    """Send all pieces; cancelled when the client disconnects.

    If a piece cannot be made the connection is aborted, since the status has already been sent: so the
    client does not take a part for the whole.
    """
    pace = _Pace()
    connection: Any = request
    connection.registerProducer(pace, True)
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                connection.write(piece)
                await pace.room()
    except CancelledError:
        raise
    except Exception:
        _log.failure("web: a streamed response was aborted")
        connection.channel.transport.abortConnection()
    finally:
        if connection.channel is not None:
            connection.unregisterProducer()
