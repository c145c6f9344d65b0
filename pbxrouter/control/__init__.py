"""The unix socket through which the command line asks the running gateway."""

from pbxrouter.control.commands import OriginateCommand, QueuesCommand, ReloadCommand, WatchCommand
from pbxrouter.control.server import ControlCommand, ControlService

__all__ = [
    "ControlCommand",
    "ControlService",
    "OriginateCommand",
    "QueuesCommand",
    "ReloadCommand",
    "WatchCommand",
]
