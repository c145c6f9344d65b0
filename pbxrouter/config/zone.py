"""The PBX's time zone, the setting ``web.timezone``."""

from __future__ import annotations

import datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pbxrouter.errors import ConfigError


class Zone:
    """The PBX's time zone: of the console, the commands, the counter's days and CSV.

    Args:
        name: such as Europe/Madrid; ``""`` is the system's time zone.

    Raises:
        ConfigError: there is no such time zone.
    """

    LATEST_S: Final = 221_845_392_000.0
    """The latest time that is shown, in epoch seconds; rows may have been written by hand."""

    def __init__(self, name: str = "") -> None:
        self.set(name)

    def set(self, name: str) -> None:
        """Change to another time zone.

        Raises:
            ConfigError: there is no such time zone; nothing is changed.
        """
        if name and not self.is_known(name):
            raise ConfigError(f"web.timezone: there is no time zone {name!r}; accepted is such as Europe/Madrid")
        self._zone = ZoneInfo(name) if name else None

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

    def seconds(self, wall: datetime.datetime) -> float:
        """The epoch second of a (naive) wall clock time of the PBX."""
        return wall.replace(tzinfo=self._zone).timestamp()

    def midnight(self, seconds: float, days: int = 0) -> float:
        """The epoch second at which the day of an epoch second began, or the day so many days later."""
        day = self.local(seconds).date() + datetime.timedelta(days=days)
        return self.seconds(datetime.datetime.combine(day, datetime.time()))
