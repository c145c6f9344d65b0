"""Ends a forged call: marks it and hangs it up without trusting any reply.

What such a call still sends is not parsed. The next command is sent when anything that looks like a reply has come,
or after a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from pbxrouter.net import Timer

DRAIN_S: Final = 0.1
"""Seconds to read what Asterisk is still writing: closing with unread bytes would lose the commands sent."""
STEP_S: Final = 1.0
"""Seconds for each reply."""

_COMMANDS: Final = (b"SET VARIABLE PBXROUTER refused\n", b"HANGUP\n")
_LOOKS_LIKE_REPLY: Final = re.compile(rb"^\d\d\d[ -]", re.MULTILINE)


class ForgedCallEnding:
    """Sends the commands that end a forged call, one after the other.

    Args:
        write: sends bytes.
        done: called after the reply to the last command, or its timeout.
        asked: whether an earlier command still waits for its reply.
    """

    def __init__(
        self, write: Callable[[bytes], object], done: Callable[[], object], clock: IReactorTime, asked: bool
    ) -> None:
        self._write = write
        self._done = done
        self._commands = iter(_COMMANDS)
        self._draining = not asked
        self._timer = Timer(clock)
        self._timer.set(STEP_S if asked else DRAIN_S, self._next)

    def data_received(self, data: bytes) -> None:
        """Take bytes as they come."""
        if not self._draining and _LOOKS_LIKE_REPLY.search(data):
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
