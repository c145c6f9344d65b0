"""The PBX's time zone, the setting ``web.timezone``."""

from __future__ import annotations

import datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pbxrouter.errors import ConfigError

_QUARTER_S: Final = 900
_MOST_QUARTERS: Final = 10_000
_MINUTES: Final = tuple(f"{second // 60:02}:{second % 60:02}" for second in range(3600))
"""The last part of a time, by the second of the hour."""


class Zone:
    """The PBX's time zone: of the console, the commands, the counter's days and CSV.

    Args:
        name: such as Europe/Madrid; ``""`` is the system's time zone.

    Attributes:
        name: that of the zone in force.

    Raises:
        ConfigError: there is no such time zone.
    """

    LATEST_S: Final = 221_845_392_000.0
    """The latest time that is shown, in epoch seconds; rows may have been written by hand."""

    name: str

    def __init__(self, name: str = "") -> None:
        self.set(name)

    def set(self, name: str) -> None:
        """Change to another time zone.

        Raises:
            ConfigError: there is no such time zone; nothing is changed.
        """
        if name and not self.is_known(name):
            raise ConfigError(f"web.timezone: there is no time zone {name!r}; accepted is such as Europe/Madrid")
        self.name = name
        self._zone = ZoneInfo(name) if name else None
        # After the zone: a thread that still reads the one before fills a dict that is dropped.
        self._quarters: dict[int, tuple[str, int] | None] = {}

    @staticmethod
    def is_known(name: str) -> bool:
        """Whether there is a time zone of this name."""
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return False
        return True

    def local(self, seconds: float) -> datetime.datetime:
        """The PBX's wall clock time at an epoch second, with its offset; from 1970 to the year 9000."""
        seconds = min(max(0.0, seconds or 0.0), self.LATEST_S)
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone(self._zone)

    def text(self, seconds: float) -> str:
        """The PBX's wall clock time at an epoch second, as ``2026-11-23 14:30:59``.

        It is as ``local`` has it, and fast for many times: within a quarter of an hour only minutes and seconds change.
        """
        if 0 <= seconds < self.LATEST_S:
            quarters, whole = self._quarters, int(seconds)
            quarter = whole // _QUARTER_S
            try:
                found = quarters[quarter]
            except KeyError:
                found = self._quarter(quarter)
                if len(quarters) >= _MOST_QUARTERS:
                    quarters.clear()
                quarters[quarter] = found
            if found is not None:
                hour, began = found
                return hour + _MINUTES[began + whole % _QUARTER_S]
        return f"{self.local(seconds):%Y-%m-%d %H:%M:%S}"

    def _quarter(self, quarter: int) -> tuple[str, int] | None:
        """The text up to the hour, and the second of the hour in which the quarter begins; None if that changes."""
        first, last = self.local(quarter * _QUARTER_S), self.local(quarter * _QUARTER_S + _QUARTER_S - 1)
        offset = first.utcoffset()
        if offset is None or offset != last.utcoffset() or offset.total_seconds() % _QUARTER_S:
            return None  # as in Liberia until 1972, with an offset of odd minutes
        return f"{first:%Y-%m-%d %H:}", first.minute * 60

    def seconds(self, wall: datetime.datetime) -> float:
        """The epoch second of a (naive) wall clock time of the PBX."""
        return wall.replace(tzinfo=self._zone).timestamp()

    def midnight(self, seconds: float, days: int = 0) -> float:
        """The epoch second at which the day of an epoch second began, or the day so many days later."""
        day = self.local(seconds).date() + datetime.timedelta(days=days)
        return self.seconds(datetime.datetime.combine(day, datetime.time()))
