"""The FastAGI server: Asterisk connects to it, one connection for each AGI run."""

from pbxrouter.fastagi.admission import Admission, bounds_of, host_of
from pbxrouter.fastagi.protocol import ENDING_TIMEOUT_S, HANGUP_GRACE_S, OPENING_TIMEOUT_S, SETTLE_S
from pbxrouter.fastagi.refusal import BUSY, ForgedCallEnding
from pbxrouter.fastagi.sender import DirectWriter
from pbxrouter.fastagi.server import DRAIN_TIMEOUT_S, FastAGIFactory
from pbxrouter.fastagi.standstill import StandstillGuard

__all__ = [
    "BUSY",
    "DRAIN_TIMEOUT_S",
    "ENDING_TIMEOUT_S",
    "HANGUP_GRACE_S",
    "OPENING_TIMEOUT_S",
    "SETTLE_S",
    "Admission",
    "DirectWriter",
    "FastAGIFactory",
    "ForgedCallEnding",
    "StandstillGuard",
    "bounds_of",
    "host_of",
    "protocol",
    "server",
]
