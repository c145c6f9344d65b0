"""The last words to a call that a caller forged: mark it, hang it up, believe nothing.

What such a call still sends is not parsed; anything that looks like a reply lets the
next command go, and so does waiting.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from pbxrouter.net import Timer

DRAIN_S: Final = 0.1
"""What Asterisk is still writing is let come first: closing before it is read would lose our words."""
STEP_S: Final = 1.0
"""How long each reply is waited for."""

_LAST_WORDS: Final = (b"SET VARIABLE PBXROUTER refused\n", b"HANGUP\n")
_LOOKS_LIKE_REPLY: Final = re.compile(rb"^\d\d\d[ -]", re.MULTILINE)


class ForgedCallEnding:
    """Says the last words, one after the other.

    Args:
        write: sends bytes.
        done: called when all is said.
        asked: whether a command of ours still waits for its reply.
    """

    def __init__(
        self, write: Callable[[bytes], object], done: Callable[[], object], clock: IReactorTime, asked: bool
    ) -> None:
        self._write = write
        self._done = done
        self._words = iter(_LAST_WORDS)
        self._draining = not asked
        self._timer = Timer(clock)
        self._timer.set(STEP_S if asked else DRAIN_S, self._next)

    def data_received(self, data: bytes) -> None:
        """Something came."""
        if not self._draining and _LOOKS_LIKE_REPLY.search(data):
            self._next()

    def stop(self) -> None:
        """The connection is gone: say no more."""
        self._timer.clear()

    def _next(self) -> None:
        self.stop()
        self._draining = False
        word = next(self._words, None)
        if word is None:
            self._done()
            return
        self._timer.set(STEP_S, self._next)
        self._write(word)
