"""Small Twisted tools: timers, listening ports, places for connections, the file limit."""

from pbxrouter.net.filelimit import MAX_WEB_CONNECTIONS, call_connections, raise_file_limit, web_connections
from pbxrouter.net.listener import Listener, with_backlog
from pbxrouter.net.places import PLACE_REASONS, Bounds, Place, Places
from pbxrouter.net.timers import Deadline, Timer

__all__ = [
    "MAX_WEB_CONNECTIONS",
    "PLACE_REASONS",
    "Bounds",
    "Deadline",
    "Listener",
    "Place",
    "Places",
    "Timer",
    "call_connections",
    "raise_file_limit",
    "web_connections",
    "with_backlog",
]
