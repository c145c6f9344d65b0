"""hangup: ends the call at once.

``application_data`` may be a Q.850 cause: 17 gives the caller the busy tone.
"""

from __future__ import annotations

import re

from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.errors import ApplicationFailed


class Hangup:
    """AGI's HANGUP, or with a cause Asterisk's Hangup()."""

    connects = False

    def __init__(self, config: Config) -> None:
        pass

    async def run(self, call: Call) -> Outcome:
        """Return an outcome that makes the call flow hang up, with the cause if there is one."""
        if call.data and not (re.fullmatch(r"[0-9]{1,3}", call.data) and int(call.data) < 128):
            raise ApplicationFailed(f"a mapping to hangup takes a cause from 0 to 127 as its data, not {call.data!r}")
        return Outcome(cause=call.data, hang_up=True)
