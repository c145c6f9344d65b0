"""Calls that begin with the gateway."""

from pbxrouter.originate.originator import (
    MAX_NUMBER,
    RING_S,
    CallRequest,
    Originator,
    originator_for,
)
from pbxrouter.originate.progress import Progress

__all__ = [
    "MAX_NUMBER",
    "RING_S",
    "CallRequest",
    "Originator",
    "Progress",
    "originator_for",
]
