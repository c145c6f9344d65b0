"""Who changes something by a command, for the audit log."""

import os
import pwd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pbxrouter.database.audit import Actor


def system_actor() -> "Actor":
    """The system's user that runs this process, as the system knows it; no variable can say otherwise."""
    from pbxrouter.database.audit import Actor

    number = os.getuid()
    try:
        return Actor(pwd.getpwuid(number).pw_name, "command")
    except KeyError:
        return Actor(str(number), "command")
