"""Small Twisted tools: timers, listening ports, the file limit."""

from pbxrouter.net.filelimit import raise_file_limit
from pbxrouter.net.listener import Listener, with_backlog
from pbxrouter.net.timers import Deadline, Timer

__all__ = [
    "Deadline",
    "Listener",
    "Timer",
    "raise_file_limit",
    "with_backlog",
]
