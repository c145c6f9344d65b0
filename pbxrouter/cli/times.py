"""Times as the command line prints them."""

from __future__ import annotations

import datetime
from typing import Final

LATEST_S: Final = 221_845_392_000.0
"""The latest time that is shown, in epoch seconds; rows may have been written by hand."""


def local_time(seconds: float) -> datetime.datetime:
    """The local time at an epoch second, with its offset; from 1970 to the year 9000."""
    return datetime.datetime.fromtimestamp(min(max(0.0, seconds), LATEST_S)).astimezone()
