"""conference: a conference room for each number dialled.

``application_data`` is what ConfBridge() takes behind the room (a bridge profile,
then a user profile); usually empty.
"""

from __future__ import annotations

import re
from typing import Final

from pbxrouter.agi import verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.errors import ApplicationFailed, ChannelHungUp, ConnectionClosed
from pbxrouter.rules import Action
from pbxrouter.text import Sentence, sentence

_PROFILES: Final = re.compile(r"(?:{0}(?:,{0}){{0,2}})".format(r"(?:[\w.-]+(?: +[\w.-]+)*)?"))
"""A bridge profile, a user profile and a menu, each of which may be left out. ConfBridge() takes blanks around one for
a part of its name, which no profile has."""

KICKED: Final = "KICKED"
"""The outcome if the caller was put out of the conference; ConfBridge() has the same word for it."""


class Conference:
    """Puts the caller into a conference by Asterisk's ConfBridge()."""

    def __init__(self, config: Config) -> None:
        pass

    def data_problem(self, data: str) -> Sentence | None:
        """What is wrong with the data."""
        if _PROFILES.fullmatch(data):
            return None
        return sentence(
            "a mapping to conference takes profiles of ConfBridge() as its data, such as {example}, not {data}",
            example="quiet_bridge,guest",
            data=repr(data),
        )

    def action(self, data: str, number: str, caller: str | None) -> Action:
        """The ConfBridge() of a call."""
        return Action("ConfBridge", number + (f",{data}" if data else ""))

    async def run(self, call: Call) -> Outcome:
        """Answer, and put the caller into the room with the dialled number."""
        action = self.action(call.data, call.number, call.caller)
        await verbs.answer(call.channel)
        try:
            await verbs.run_application(call.channel, action.application, action.arguments)
            result = await verbs.get_variable(call.channel, "CONFBRIDGE_RESULT")
        except ConnectionClosed:
            raise
        except ChannelHungUp:  # a conference is left by hanging up
            result = None
        if result == "FAILED":
            raise ApplicationFailed(f"ConfBridge could not put the caller into the room {call.number}")
        return Outcome(KICKED if result == KICKED else "DONE")
