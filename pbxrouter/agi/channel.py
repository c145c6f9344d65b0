"""The seam between a call and the way in which Asterisk hands it to us.

Whatever can carry AGI commands provides Channel: FastAGI does, other ways can. All
that is said to a caller is written once, over ``execute`` (verbs), so the ways in
cannot differ.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from pbxrouter.agi.messages import AGIReply, AGIRequest


class Channel(Protocol):
    """One call, while it is ours."""

    @property
    def request(self) -> AGIRequest:
        """What Asterisk said of the call at its beginning."""
        ...

    def execute(self, command: str) -> Deferred[AGIReply]:
        """Send one AGI command and wait for its reply; one at a time.

        Args:
            command: a line as agi.commands.command makes it.

        Returns:
            The reply, which is always a 200. It fails with

            * InvalidArgument: the command holds CR, LF or NUL; nothing was sent.
            * CommandRefused: Asterisk answered 510 or 520.
            * ChannelHungUp: the caller has gone (511 included); ConnectionClosed
              if the connection went as well.
            * ReplyTimeout: a command that takes no time was not answered.
            * ProtocolViolation: the answer is none that Asterisk gives.
        """
        ...
