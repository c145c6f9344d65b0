"""Ends a call that is not served: marks it, and hangs a forged one up, without trusting any reply.

What such a call still sends is not parsed. The next command is sent when anything that looks like a reply has come,
or after a second; one that sends without end is closed at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from pbxrouter.net import Timer

DRAIN_S: Final = 0.1
"""Seconds to read what Asterisk is still writing: closing with unread bytes would lose the commands sent."""
STEP_S: Final = 1.0
"""Seconds for each reply."""
MAX_REST: Final = 1 << 20
"""Bytes that may still come; a peer that sends more is not Asterisk, and is closed."""

FORGED: Final = (b"SET VARIABLE PBXROUTER refused\n", b"HANGUP\n")
"""What ends a forged call."""
BUSY: Final = (b"SET VARIABLE PBXROUTER busy\n",)
"""What tells the dialplan that the gateway is alive and cannot serve the call."""
_LOOKS_LIKE_REPLY: Final = re.compile(rb"^\d\d\d[ -]", re.MULTILINE)


class ForgedCallEnding:
    """Sends the commands that end a call, one after the other.

    Args:
        write: sends bytes.
        done: called after the reply to the last command, or its timeout.
        asked: whether an earlier command still waits for its reply.
        commands: FORGED or BUSY.
        drain_s: seconds to read before the first command if none was asked earlier; 0: it is sent at once.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        done: Callable[[], object],
        clock: IReactorTime,
        asked: bool,
        commands: Iterable[bytes] = FORGED,
        drain_s: float = DRAIN_S,
    ) -> None:
        self._write = write
        self._done = done
        self._commands = iter(commands)
        self._draining = not asked
        self._room = MAX_REST
        self._timer = Timer(clock)
        if asked or drain_s:
            self._timer.set(STEP_S if asked else drain_s, self._next)
        else:
            self._next()

    def data_received(self, data: bytes) -> None:
        """Take bytes as they come."""
        self._room -= len(data)
        if self._room < 0:
            self.stop()
            self._done()
        elif not self._draining and _LOOKS_LIKE_REPLY.search(data):
            self._next()

    def hurry(self) -> None:
        """Send the first command now, unless it was sent: the connection may have to end at any moment."""
        if self._draining:
            self._next()

    def stop(self) -> None:
        """Stop, since the connection is gone."""
        self._timer.clear()

    def _next(self) -> None:
        self.stop()
        self._draining = False
        command = next(self._commands, None)
        if command is None:
            self._done()
            return
        self._timer.set(STEP_S, self._next)
        self._write(command)
