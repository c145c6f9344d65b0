"""changepin: lets a user change the PIN; ``application_data`` is not used.

The caller keys the old PIN, which tells who it is, then the new one twice. A new PIN that is weak and one that
another user has are refused in the same way, and count as wrong PINs do, so that no PIN can be found out by trying.
"""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger

from pbxrouter.agi import verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome, Pins
from pbxrouter.errors import ApplicationFailed, PromptMissing

TRIES: Final = 3
"""Times that the old PIN, and then the new one, is asked for."""


class ChangePin:
    """Asks for the old PIN and for the new one twice."""

    connects = False

    log = Logger()

    def __init__(self, config: Config) -> None:
        self._prompts = config.prompts

    async def run(self, call: Call) -> Outcome:
        """Change a PIN; the call is ended after too many tries."""
        if call.pins is None:
            raise ApplicationFailed("changepin: there is no database to change PINs in")
        await verbs.answer(call.channel)
        if await self._identify(call, call.pins) and await self._change(call, call.pins):
            return Outcome()
        await self._play(call, self._prompts.goodbye)
        return Outcome("DENIED", hang_up=True)

    async def _identify(self, call: Call, pins: Pins) -> bool:
        for _ in range(TRIES):
            pin = await self._ask(call, self._prompts.ask_pin)
            if pin and await pins.identify(pin):
                return True
            await self._play(call, self._prompts.wrong_pin)
        return False

    async def _change(self, call: Call, pins: Pins) -> bool:
        for _ in range(TRIES):
            pin = await self._ask(call, self._prompts.new_pin)
            again = await self._ask(call, self._prompts.repeat_pin)
            if pin != again:
                await self._play(call, self._prompts.pins_differ)
            elif pin and await pins.change(pin):
                await self._play(call, self._prompts.pin_changed)
                return True
            else:
                await self._play(call, self._prompts.pin_refused)
        return False

    async def _ask(self, call: Call, prompt: str) -> str:
        for sound in (prompt, "beep"):
            try:
                return (await verbs.get_digits(call.channel, sound)).digits
            except PromptMissing as error:
                self._log_missing(error)
        return (await verbs.get_digits(call.channel, "")).digits

    async def _play(self, call: Call, prompt: str) -> None:
        try:
            await verbs.playback(call.channel, prompt)
        except PromptMissing as error:
            self._log_missing(error)

    def _log_missing(self, error: PromptMissing) -> None:
        self.log.error("changepin: {error}; install it or name another under [prompts]", error=str(error))
