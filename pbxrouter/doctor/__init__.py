"""Checks an installation for problems, and says what to change; it changes nothing itself."""

from pbxrouter.doctor.examine import examine
from pbxrouter.doctor.finding import (
    Counts,
    Finding,
    State,
    ok,
    unknown,
    wrong,
)
from pbxrouter.doctor.last_run import LastRun

__all__ = [
    "Counts",
    "Finding",
    "LastRun",
    "State",
    "examine",
    "ok",
    "unknown",
    "wrong",
]
