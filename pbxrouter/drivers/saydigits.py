"""saydigits: says the dialled number back to the caller; ``application_data`` is not used."""

from __future__ import annotations

from pbxrouter.agi import verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.rules import Action


class SayDigits:
    """Says digits by AGI's SAY DIGITS."""

    connects = False

    def __init__(self, config: Config) -> None:
        pass

    def action(self, data: str, number: str, caller: str | None) -> Action:
        """What is said, as the application SayDigits() would."""
        return Action("SayDigits", number)

    async def run(self, call: Call) -> Outcome:
        """Answer and say the number."""
        await verbs.answer(call.channel)
        await verbs.say_digits(call.channel, call.number)
        return Outcome()
