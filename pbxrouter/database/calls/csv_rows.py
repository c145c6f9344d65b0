"""The history as CSV for a spreadsheet: a line for each call, with the times of the PBX's time zone."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Final

from pbxrouter.config import Zone
from pbxrouter.database.calls.history import CallRow, english_of
from pbxrouter.text import csv_line, csv_lines, safe_text

BOM: Final = "\ufeff"
"""By it Excel reads the file as UTF-8."""
UNKNOWN_TALK: Final = "unknown"
"""The cell that stands for talk that is not known."""
_TIMES: Final = ("began", "ended")
_NAMES: Final = tuple(name for name in CallRow.__match_args__ if name != "asterisk")  # without call_key
_EPOCH: Final = tuple(f"{name}_epoch" for name in _TIMES)
"""The same times in epoch seconds, for programs: the hour that is there twice in autumn is told apart."""


class CallsCsv:
    """Formats calls as CSV.

    Args:
        zone: the time zone of the columns ``began`` and ``ended``.
        bom: begin with a byte order mark.
    """

    def __init__(self, zone: Zone, bom: bool = False) -> None:
        self._zone = zone
        self._bom = bom

    def heading(self) -> str:
        """The line with the names of the columns."""
        return (BOM if self._bom else "") + csv_line([*_NAMES, *_EPOCH, "asterisk"])

    def lines(self, rows: Iterable[CallRow]) -> str:
        """A line for each call."""
        return csv_lines(map(self._cells, rows)).encode("utf-8", "replace").decode()

    def _cells(self, row: CallRow) -> list[object]:
        talk_s = row.talk_s
        return [
            self._zone.text(row.began),
            self._zone.text(row.ended),
            safe_text(row.uniqueid),
            safe_text(row.caller),
            _safe(row.caller_name),
            safe_text(row.number),
            _safe(row.verdict),
            _safe(row.pattern),
            _safe(row.application),
            _safe(row.data),
            _safe(row.granted_by),
            _safe(row.outcome),
            _safe(row.cause),
            UNKNOWN_TALK if talk_s is None else talk_s,
            _english(row.trace),
            _safe(row.forwarded_by),
            row.began,
            row.ended,
            _safe(row.asterisk),
        ]


_safe: Final = functools.lru_cache(maxsize=10_000)(safe_text)
"""For columns in which many calls have the same."""


@functools.lru_cache(maxsize=10_000)
def _english(trace: str) -> str:
    """A trace as safe English text; the calls of one caller to one number mostly have the same."""
    return safe_text(english_of(trace))
