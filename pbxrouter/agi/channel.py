"""The interface of a call that AGI commands can be sent to, over FastAGI or another way.

FastAGI and MAGI provide it. The verbs are written once over ``execute``, so that every way in behaves the same.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from pbxrouter.agi.messages import AGIReply, AGIRequest


class Channel(Protocol):
    """A call that AGI commands can be sent to."""

    @property
    def request(self) -> AGIRequest:
        """The opening block: what Asterisk sent about the call before the first command."""
        ...

    def execute(self, command: str) -> Deferred[AGIReply]:
        """Send an AGI command and wait for its reply; only one command may wait at a time.

        Args:
            command: a line as ``agi.command`` makes it.

        Returns:
            The reply, which is always a 200. It fails with

            * InvalidArgument: the command holds CR, LF or NUL; nothing was sent.
            * CommandRefused: Asterisk answered 510 or 520.
            * ChannelHungUp: the caller has hung up (511 included); ConnectionClosed
              if the connection is gone as well.
            * ReplyTimeout: the reply did not come in time.
            * ProtocolViolation: Asterisk would not send this reply.
        """
        ...
