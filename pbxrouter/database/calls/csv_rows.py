"""The history as CSV for a spreadsheet: a line for each call, with the times of the PBX's time zone."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Final

from pbxrouter.config import Zone
from pbxrouter.database.calls.history import CallRow, steps_of
from pbxrouter.text import csv_line

BOM: Final = "\ufeff"
"""By it Excel reads the file as UTF-8."""
_TIMES: Final = ("began", "ended")
_NAMES: Final = CallRow.__match_args__  # without call_key
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
        return (BOM if self._bom else "") + csv_line([*_NAMES, *_EPOCH])

    def lines(self, rows: Iterable[CallRow]) -> str:
        """A line for each call."""
        text = "".join([csv_line(self._cells(row)) for row in rows])
        return text.encode("utf-8", "replace").decode()

    def _cells(self, row: CallRow) -> list[object]:
        values = {name: getattr(row, name) for name in _NAMES}
        values["trace"] = _english(row.trace)
        for name in _TIMES:
            values[name] = f"{self._zone.local(getattr(row, name)):%Y-%m-%d %H:%M:%S}"
        return [*values.values(), *(getattr(row, name) for name in _TIMES)]


@functools.lru_cache(maxsize=10_000)
def _english(trace: str) -> str:
    """A trace as English text; the calls of one caller to one number mostly have the same."""
    return "; ".join(step.english for step in steps_of(trace))
