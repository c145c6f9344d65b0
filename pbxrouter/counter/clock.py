"""Asterisk's clock against ours: when an event happened, by our time.

Pure.
"""

from __future__ import annotations

import re
from typing import Final

AGREE_S: Final = 1.0
"""Asterisk's clock is taken for ours unless it is further off than this."""
LATEST_S: Final = 300.0
"""An event may have waited so long; one that says to be older, or from the future, came just now."""

_TIMESTAMP: Final = re.compile(r"\d{9,11}(?:\.\d{1,9})?")


class AsteriskClock:
    """How far one Asterisk's clock is ahead of ours.

    Attributes:
        ahead_s: seconds; 0 if the clocks agree.
    """

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def compare(self, timestamp: str, asked: float, answered: float) -> None:
        """Take the Timestamp of an answer, with our epoch seconds of question and answer."""
        if answered - asked < AGREE_S and _TIMESTAMP.fullmatch(timestamp):
            ahead_s = float(timestamp) - (asked + answered) / 2
            self.ahead_s = 0.0 if abs(ahead_s) < AGREE_S else ahead_s

    def to_local(self, timestamp: str, now: float) -> float:
        """Our epoch seconds for an event's Timestamp; ``now`` if it has none, or none to be believed."""
        if not _TIMESTAMP.fullmatch(timestamp):
            return now
        when = float(timestamp) - self.ahead_s
        return when if -LATEST_S < when - now < 2 * AGREE_S else now
