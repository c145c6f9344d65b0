"""Small Twisted tools: timers, outages, listening ports, limits on connections and open files."""

from pbxrouter.net.connection_limits import LIMIT_REASONS, Bounds, ConnectionLimits, ConnectionSlot
from pbxrouter.net.filelimit import MAX_WEB_CONNECTIONS, call_connections, raise_file_limit, web_connections
from pbxrouter.net.lateness import Lateness
from pbxrouter.net.listener import Listener, with_backlog
from pbxrouter.net.outage import Outage
from pbxrouter.net.timers import Deadline, Timer, every

__all__ = [
    "LIMIT_REASONS",
    "MAX_WEB_CONNECTIONS",
    "Bounds",
    "ConnectionLimits",
    "ConnectionSlot",
    "Deadline",
    "Lateness",
    "Listener",
    "Outage",
    "Timer",
    "call_connections",
    "every",
    "raise_file_limit",
    "web_connections",
    "with_backlog",
]
