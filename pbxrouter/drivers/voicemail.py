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
from pbxrouter.rules import Action, normalise_number
from pbxrouter.text import Sentence, sentence

NOT_ENTERED: Final = "NOTENTERED"
"""The outcome if no right password was keyed."""


class Voicemail:
    """Lets the caller listen to a mailbox by Asterisk's VoiceMailMain()."""

    connects = False

    def __init__(self, config: Config) -> None:
        pass

    def data_problem(self, data: str) -> Sentence | None:
        """What is wrong with the data."""
        if re.fullmatch(r"[\w-]*", data, re.ASCII):
            return None
        return sentence(
            "a mapping to voicemail takes a voicemail context as its data, of letters, digits, - and _, or nothing, not"
            " {data}",
            data=repr(data),
        )

    def action(self, data: str, number: str, caller: str | None) -> Action:
        """The VoiceMailMain() of a call."""
        mailbox = normalise_number(caller or "")
        if mailbox is None:
            raise ApplicationFailed(Sentence("the call shows no number, so it has no mailbox"))
        why = self.data_problem(data)
        if why is not None:
            raise ApplicationFailed(why)
        return Action("VoiceMailMain", f"{mailbox}@{data or 'default'}")

    async def run(self, call: Call) -> Outcome:
        """Answer and let the caller listen to the messages of their mailbox, if they key its password."""
        action = self.action(call.data, call.number, call.caller)
        await verbs.answer(call.channel)
        reply = await verbs.run_application(call.channel, action.application, action.arguments)
        await verbs.raise_if_hung_up(call.channel)  # the result does not tell: it may be 0, too
        return Outcome(NOT_ENTERED if reply.result == "-1" else "DONE")  # a wrong password, or none
