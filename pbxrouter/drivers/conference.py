"""conference: a conference room for each number dialled.

``application_data`` is what ConfBridge() takes behind the room (a bridge profile,
then a user profile); usually empty.
"""

from __future__ import annotations

from typing import Final

from pbxrouter.agi import verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.errors import ApplicationFailed, ChannelHungUp, ConnectionClosed

KICKED: Final = "KICKED"
"""The outcome if the caller was put out of the conference; ConfBridge() has the same word for it."""


class Conference:
    """Puts the caller into a conference by Asterisk's ConfBridge()."""

    def __init__(self, config: Config) -> None:
        pass

    async def run(self, call: Call) -> Outcome:
        """Answer, and put the caller into the room with the dialled number."""
        await verbs.answer(call.channel)
        room = call.number + (f",{call.data}" if call.data else "")
        try:
            await verbs.run_application(call.channel, "ConfBridge", room)
            result = await verbs.get_variable(call.channel, "CONFBRIDGE_RESULT")
        except ConnectionClosed:
            raise
        except ChannelHungUp:  # a conference is left by hanging up
            result = None
        if result == "FAILED":
            raise ApplicationFailed(f"ConfBridge could not put the caller into the room {call.number}")
        return Outcome(KICKED if result == KICKED else "DONE")
