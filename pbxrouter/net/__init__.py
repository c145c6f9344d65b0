"""Small Twisted tools: clocks, timers, a thread, outages, ports, output that does not block, limits."""

from pbxrouter.net.clocks import STEP_S, ClockSteps, ClockWatch, use_monotonic_time
from pbxrouter.net.connection_limits import (
    LIMIT_REASONS,
    UNSHARED,
    Bounds,
    ConnectionLimits,
    ConnectionSlot,
    OtherProcesses,
    SharedBounds,
)
from pbxrouter.net.descriptors import DescriptorWatch
from pbxrouter.net.filelimit import MAX_WEB_CONNECTIONS, call_connections, raise_file_limit, web_connections
from pbxrouter.net.keepalive import keep_alive
from pbxrouter.net.lateness import Lateness, waited_s
from pbxrouter.net.listener import Listener, with_backlog
from pbxrouter.net.outage import Outage
from pbxrouter.net.output import UnblockedOutput, unblock_output
from pbxrouter.net.queues import QueueFigures
from pbxrouter.net.resolver import limit_threads
from pbxrouter.net.shared_board import SharedBoard
from pbxrouter.net.threads import make_leavable
from pbxrouter.net.timers import GRACE_S, LATE_S, Deadline, Timer, at_most, every, in_slices
from pbxrouter.net.worker import Worker

__all__ = [
    "GRACE_S",
    "LATE_S",
    "LIMIT_REASONS",
    "MAX_WEB_CONNECTIONS",
    "STEP_S",
    "UNSHARED",
    "Bounds",
    "ClockSteps",
    "ClockWatch",
    "ConnectionLimits",
    "ConnectionSlot",
    "Deadline",
    "DescriptorWatch",
    "Lateness",
    "Listener",
    "OtherProcesses",
    "Outage",
    "QueueFigures",
    "SharedBoard",
    "SharedBounds",
    "Timer",
    "UnblockedOutput",
    "Worker",
    "at_most",
    "call_connections",
    "every",
    "in_slices",
    "keep_alive",
    "limit_threads",
    "make_leavable",
    "raise_file_limit",
    "unblock_output",
    "use_monotonic_time",
    "waited_s",
    "web_connections",
    "with_backlog",
]
