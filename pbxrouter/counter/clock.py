"""Converts Asterisk's timestamps to the gateway's clock."""

from __future__ import annotations

import re
from typing import Final

AGREE_S: Final = 1.0
"""Seconds by which the clocks may differ and still count as equal."""
LATEST_S: Final = 300.0
"""Maximum age of an event, in seconds; an older one, or one from the future, is taken as of now."""

_TIMESTAMP: Final = re.compile(r"\d{9,11}(?:\.\d{1,9})?")


class AsteriskClock:
    """Tracks how far one Asterisk's clock is ahead of the gateway's.

    Attributes:
        ahead_s: seconds; 0 if the clocks agree.
    """

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._doubtful = False

    def compare(self, timestamp: str, sent: float, answered: float) -> None:
        """Compare the clocks by a response's Timestamp and the epoch seconds of request and response."""
        if 0 <= answered - sent < AGREE_S and _TIMESTAMP.fullmatch(timestamp):
            ahead_s = float(timestamp) - (sent + answered) / 2
            self.ahead_s = 0.0 if abs(ahead_s) < AGREE_S else ahead_s
            self._doubtful = False

    def was_set(self) -> None:
        """Note that the gateway's clock was set: until the clocks are compared again, events are taken as of now."""
        self._doubtful = True

    def to_local(self, timestamp: str, now: float) -> float:
        """Convert an event's Timestamp to local epoch seconds; ``now`` if it is missing or implausible."""
        if self._doubtful or not _TIMESTAMP.fullmatch(timestamp):
            return now
        when = float(timestamp) - self.ahead_s
        return when if -LATEST_S < when - now < 2 * AGREE_S else now
