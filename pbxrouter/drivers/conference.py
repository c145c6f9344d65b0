"""conference: a conference room for each number dialled.

``application_data`` is what ConfBridge() takes behind the room (a bridge profile,
then a user profile); usually empty.
"""

from __future__ import annotations

from pbxrouter.agi import verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome


class Conference:
    """Puts the caller into a conference by Asterisk's ConfBridge()."""

    def __init__(self, config: Config) -> None:
        pass

    async def run(self, call: Call) -> Outcome:
        """Answer, and put the caller into the room with the dialled number."""
        await verbs.answer(call.channel)
        room = call.number + (f",{call.data}" if call.data else "")
        await verbs.run_application(call.channel, "ConfBridge", room)
        return Outcome()
