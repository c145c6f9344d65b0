"""The actor of a command, for the audit log."""

import os
import pwd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pbxrouter.database.audit import Actor


def system_actor() -> "Actor":
    """The system's user that runs this process, by its user ID; environment variables do not count."""
    from pbxrouter.database.audit import Actor

    number = os.getuid()
    try:
        return Actor(pwd.getpwuid(number).pw_name, "command")
    except KeyError:
        return Actor(str(number), "command")
