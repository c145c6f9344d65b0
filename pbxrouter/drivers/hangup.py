"""hangup: ends the call at once.

``application_data`` may be a Q.850 cause: 17 gives the caller the busy tone.
"""

from __future__ import annotations

import re

from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.errors import ApplicationFailed
from pbxrouter.rules import Action
from pbxrouter.text import Sentence, sentence


class Hangup:
    """AGI's HANGUP, or with a cause Asterisk's Hangup()."""

    connects = False

    def __init__(self, config: Config) -> None:
        pass

    def data_problem(self, data: str) -> Sentence | None:
        """What is wrong with the data."""
        if not data or (re.fullmatch(r"[0-9]{1,3}", data) and int(data) < 128):
            return None
        return sentence("a mapping to hangup takes a cause from 0 to 127 as its data, not {data}", data=repr(data))

    def action(self, data: str, number: str, caller: str | None) -> Action:
        """The Hangup() of a call."""
        return Action("Hangup", data)

    async def run(self, call: Call) -> Outcome:
        """Return an outcome that makes the call flow hang up, with the cause if there is one."""
        why = self.data_problem(call.data)
        if why is not None:
            raise ApplicationFailed(why)
        return Outcome(cause=call.data, hang_up=True)
