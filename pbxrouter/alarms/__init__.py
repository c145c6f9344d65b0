"""Alarms for the owner: attacks are reported to a command and a signed webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxrouter.alarms.message import Alarm
from pbxrouter.lazy import lazy_names

if TYPE_CHECKING:
    from pbxrouter.alarms.delivery import AlarmService, notice_of, targets_of

__all__ = [
    "Alarm",
    "AlarmService",
    "notice_of",
    "targets_of",
]

__getattr__ = lazy_names(__name__, {"AlarmService": "delivery", "notice_of": "delivery", "targets_of": "delivery"})
