"""Small Twisted tools: timers, outages, listening ports, the limit of open files."""

from pbxrouter.net.filelimit import raise_file_limit
from pbxrouter.net.listener import Listener, with_backlog
from pbxrouter.net.outage import Outage
from pbxrouter.net.timers import Deadline, Timer, every

__all__ = [
    "Deadline",
    "Listener",
    "Outage",
    "Timer",
    "every",
    "raise_file_limit",
    "with_backlog",
]
