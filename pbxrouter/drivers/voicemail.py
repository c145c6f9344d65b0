"""voicemail: opens the caller's own mailbox.

``application_data`` is the voicemail context, ``default`` if empty. Asterisk asks for
the mailbox's password: a caller's number does not prove who calls.
"""

from __future__ import annotations

import re
from typing import Final

from pbxrouter.agi import verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.errors import ApplicationFailed
from pbxrouter.rules import normalise_number

NOT_ENTERED: Final = "NOTENTERED"
"""The outcome if no right password was keyed."""


class Voicemail:
    """Lets the caller listen to a mailbox by Asterisk's VoiceMailMain()."""

    connects = False

    def __init__(self, config: Config) -> None:
        pass

    async def run(self, call: Call) -> Outcome:
        """Answer and let the caller listen to the messages of their mailbox, if they key its password."""
        mailbox = normalise_number(call.caller or "")
        if mailbox is None:
            raise ApplicationFailed("the call shows no number, so it has no mailbox")
        context = call.data or "default"
        if not re.fullmatch(r"[\w-]+", context, re.ASCII):
            raise ApplicationFailed(f"a mapping to voicemail takes a voicemail context as its data, not {call.data!r}")
        await verbs.answer(call.channel)
        reply = await verbs.run_application(call.channel, "VoiceMailMain", f"{mailbox}@{context}")
        if reply.result == "-1":  # a wrong password, or none; or the caller has hung up
            await verbs.raise_if_hung_up(call.channel)
            return Outcome(NOT_ENTERED)
        return Outcome()
