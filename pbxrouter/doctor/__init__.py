"""Checks an installation for problems, and says what to change; it changes nothing itself."""

from pbxrouter.doctor.examine import examine
from pbxrouter.doctor.finding import (
    Finding,
    ok,
    unknown,
    wrong,
)

__all__ = [
    "Finding",
    "examine",
    "ok",
    "unknown",
    "wrong",
]
