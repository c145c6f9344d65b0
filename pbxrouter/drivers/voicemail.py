"""voicemail: opens the caller's own mailbox.

``application_data`` is the voicemail context, ``default`` if empty. Asterisk asks for
the mailbox's password: a caller's number does not prove who calls.
"""

from __future__ import annotations

import re

from pbxrouter.agi import verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.errors import ApplicationFailed
from pbxrouter.rules import normalise_number


class Voicemail:
    """Lets the caller listen to a mailbox by Asterisk's VoiceMailMain()."""

    def __init__(self, config: Config) -> None:
        pass

    async def run(self, call: Call) -> Outcome:
        """Answer and let the caller listen to the messages of their mailbox."""
        mailbox = normalise_number(call.caller or "")
        if mailbox is None:
            raise ApplicationFailed("the call shows no number, so it has no mailbox")
        context = call.data or "default"
        if not re.fullmatch(r"[\w-]+", context, re.ASCII):
            raise ApplicationFailed(f"a mapping to voicemail takes a voicemail context as its data, not {call.data!r}")
        await verbs.answer(call.channel)
        await verbs.run_application(call.channel, "VoiceMailMain", f"{mailbox}@{context}")
        return Outcome()
