"""Asks Asterisk for a variable of a channel, in one action with a time limit."""

from __future__ import annotations

import re
from typing import Final
from weakref import WeakSet

from twisted.logger import Logger

from pbxrouter.ami.account import with_reporting_hint
from pbxrouter.ami.channel_check import NO_SUCH_CHANNEL
from pbxrouter.ami.connection import AMIConnection
from pbxrouter.errors import ActionFailed, ManagerError

ASK_S: Final = 3.0
"""Seconds for the answer."""

_UNIQUEID: Final = re.compile(r"[\x21-\x7e]{1,149}")
"""What Asterisk accepts as the Uniqueid of a channel; an empty one would list all channels."""

_complained: Final[WeakSet[AMIConnection]] = WeakSet()
"""Connections of which it was logged that the action is not permitted."""
log: Final = Logger(namespace="pbxrouter.ami.channel_variable")


async def has_variable(manager: AMIConnection, uniqueid: str, name: str, value: str) -> bool | None:
    """Whether a channel of this Asterisk has a variable with that value; None if Asterisk cannot be asked now.

    Args:
        uniqueid: of the channel.
    """
    if not _UNIQUEID.fullmatch(uniqueid):
        return False
    try:
        answer = await manager.action_list("Status", [("Channel", uniqueid), ("Variables", name)], ASK_S)
    except ActionFailed as error:
        if NO_SUCH_CHANNEL in str(error):
            return False
        if manager not in _complained:
            _complained.add(manager)
            log.warn(
                "AMI {name}: the channels of calls with a PIN cannot be checked: {error}",
                name=manager.name,
                error=with_reporting_hint(error).english,
            )
        return None
    except ManagerError:
        return None
    return any(f"{name}={value}" in item.all("Variable") for item in answer)
