"""Small Twisted tools: timers, outages, listening ports, limits on connections and open files."""

from pbxrouter.net.filelimit import MAX_WEB_CONNECTIONS, call_connections, raise_file_limit, web_connections
from pbxrouter.net.listener import Listener, with_backlog
from pbxrouter.net.outage import Outage
from pbxrouter.net.places import PLACE_REASONS, Bounds, Place, Places
from pbxrouter.net.timers import Deadline, Timer, every

__all__ = [
    "MAX_WEB_CONNECTIONS",
    "PLACE_REASONS",
    "Bounds",
    "Deadline",
    "Listener",
    "Outage",
    "Place",
    "Places",
    "Timer",
    "call_connections",
    "every",
    "raise_file_limit",
    "web_connections",
    "with_backlog",
]
