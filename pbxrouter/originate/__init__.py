"""Calls that begin with the gateway."""

from pbxrouter.originate.choice import originator_for
from pbxrouter.originate.originator import (
    MAX_NUMBER,
    RING_S,
    CallRequest,
    Originator,
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
