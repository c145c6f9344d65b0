"""What became of calls, as Asterisk's log tells it by their call ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

SILENCE_S: Final = 5.0
"""A caller may hear nothing for so long after the far end of his call has gone."""

NEW_CALL_S: Final = 2.0
"""A new call may wait so long for a gateway that is gone."""

TOLERANCE_S: Final = 1.0

_LINE: Final = re.compile(r"\[([\d-]+ [\d:.]+)\] \w+\[\d+\]\[(C-[0-9a-f]+)\] \S+: (.*)")
_EXECUTING: Final = re.compile(r'Executing \[(\S+)@(\S+):\d+\] (\w+)\("([^"]*)"')
_PLAYING: Final = re.compile(r"<([^>]+)> Playing '([^']+)'")
_TONES: Final = ("Congestion", "Busy")
_DIAL_ENDS: Final = ("Nobody picked up", "Everyone is busy/congested", "No one is available", "Spawn extension")


@dataclass
class Call:
    """A call of phone 36: the lines of Asterisk's log with its id, with their times."""

    call_id: str
    number: str
    channel: str
    lines: list[tuple[float, str]] = field(default_factory=list)

    @property
    def began(self) -> float:
        """When it entered the dialplan."""
        return self.lines[0][0]

    @property
    def ended(self) -> float | None:
        """When its channel left the dialplan; None if it is still there."""
        end: float | None = None
        for at, text in self.lines:
            if text.startswith("Executing [h@") or (
                text.startswith("Spawn extension") and text.endswith(f"'{self.channel}'")
            ):
                end = at if end is None else end
            elif (step := _EXECUTING.match(text)) and step[4] == self.channel:
                end = None  # the step before led here
        return end

    def has(self, text: str) -> bool:
        """Whether a line has this text."""
        return any(text in line for _, line in self.lines)

    def first(self, *texts: str) -> float | None:
        """When the first line with one of these texts came."""
        return next((at for at, line in self.lines if any(text in line for text in texts)), None)

    def kind(self) -> str:
        """What became of it: routed, fallback, refused, or ended (before anything of these)."""
        if self.first("@fallback:1]", "@pbxrouter-fallback:1]") is not None:
            return "fallback"
        if self.first("Executing [CONGESTION@pbxrouter-outcome", "Executing [REFUSED@pbxrouter-outcome") is not None:
            return "refused"
        if self.first("@pbxrouter-outcome:1]", "Called ", "Playing '", "Executing Application: (") is not None:
            return "routed"
        return "ended"

    def heard(self, length: Callable[[str], float], keys_count: bool) -> list[tuple[float, float]]:
        """The times in which its caller heard a sound, ringing, a talk or a tone, each with its end.

        Args:
            length: how long a sound of this name is, in seconds.
            keys_count: whether the time for keys after a prompt counts, too.
        """
        heard = []
        dialling: float | None = None
        for at, text in self.lines:
            if match := _PLAYING.match(text):
                if match[1] == self.channel:
                    end = at + length(match[2])
                    heard.append((at, max(end, self._asked_until(at)) if keys_count else end))
            elif (match := _EXECUTING.match(text)) and match[3] in _TONES and match[4] == self.channel:
                heard.append((at, at + 10.0))
            elif text.startswith("Called ") or " is ringing" in text or f"Channel {self.channel} joined" in text:
                dialling = at if dialling is None else dialling
            elif dialling is not None and (
                f"Channel {self.channel} left" in text or text.startswith(_DIAL_ENDS) or text.endswith(" is busy")
            ):
                heard.append((dialling, at))
                dialling = None
        if dialling is not None:
            heard.append((dialling, self.ended or float("inf")))
        return heard

    def _asked_until(self, since: float) -> float:
        """When the command that plays a prompt ended, with the time for keys."""
        return next((at for at, text in self.lines if at > since and "AGI Tx >> 200 result" in text), since)

    def silence(
        self, since: float, until: float, length: Callable[[str], float], keys_count: bool
    ) -> tuple[float, float]:
        """The longest time from ``since`` to ``until`` in which its caller heard nothing: how long, and its begin."""
        at = max(since, self.began)
        until = min(until, self.ended or until)
        longest, begin = 0.0, at
        for start, end in [*sorted(self.heard(length, keys_count)), (until, until)]:
            if min(start, until) - at > longest:
                longest, begin = min(start, until) - at, at
            at = max(at, end)
        return longest, begin


def sounds(root: str) -> Callable[[str], float]:
    """A function for the length of Asterisk's sounds, by the sizes of their files below ``root``."""
    import os

    rates = {"gsm": 33 / 0.02, "ulaw": 8000.0, "alaw": 8000.0, "wav": 16000.0, "sln": 16000.0, "g722": 8000.0}

    def length(name: str) -> float:
        kind = name.rpartition(".")[2]
        for folder in (root, f"{root}/en", f"{root}/en_US_f_Allison"):
            path = f"{folder}/{name}"
            if os.path.exists(path):
                return os.stat(path).st_size / rates.get(kind, 8000.0)
        return 0.0

    return length


def read_calls(log: Iterable[str]) -> list[Call]:
    """The calls that came in by the context pbxrouter-phones, in order; Asterisk may have begun its ids anew."""
    calls: list[Call] = []
    current: dict[str, Call] = {}
    for line in log:
        match = _LINE.match(line)
        if match is None:
            if "Asterisk Ready" in line:
                current.clear()
            continue
        when, call_id, text = match.groups()
        at = datetime.fromisoformat(when).timestamp()
        if (step := _EXECUTING.match(text)) and step[2] == "pbxrouter-phones":
            call = current.get(call_id)
            if call is None or call.channel != step[4]:
                call = current[call_id] = Call(call_id, step[1], step[4])
                calls.append(call)
        if call_id in current:
            current[call_id].lines.append((at, text))
    return calls
