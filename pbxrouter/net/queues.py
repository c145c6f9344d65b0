"""Figures of the queues in the gateway: what waits to be written or sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pbxrouter.text import Sentence, joined, sentence

LATE_S: Final = 30.0
"""Seconds that the oldest entry of a queue may wait before that is a problem."""


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """A queue at one moment.

    Attributes:
        name: such as ``history``, or ``counter main``.
        length: what waits in it, what is being written now included.
        oldest_s: seconds that the oldest entry has waited; 0 if nothing waits.
        set_aside: entries since the gateway started that could not be written, while others could.
        lost: entries since then that were given up.
    """

    name: str
    length: int
    oldest_s: float = 0.0
    set_aside: int = 0
    lost: int = 0

    @property
    def is_late(self) -> bool:
        """Whether the oldest entry has waited too long."""
        return self.oldest_s > LATE_S

    @property
    def state(self) -> Literal["good", "plain", "bad"]:
        """How the console shows it: bad while it lags, plain if it has lost anything or set it aside."""
        return "bad" if self.is_late else "plain" if self.set_aside or self.lost else "good"

    @property
    def sentence(self) -> Sentence:
        """Its state as a sentence."""
        parts = []
        if self.length:
            parts.append(
                sentence("{count} waiting, the oldest for {seconds} s", count=self.length, seconds=round(self.oldest_s))
            )
        if self.set_aside:
            parts.append(sentence("{count} set aside", count=self.set_aside))
        if self.lost:
            parts.append(sentence("{count} lost", count=self.lost))
        return joined(parts, ", ") if parts else Sentence("nothing waits")
