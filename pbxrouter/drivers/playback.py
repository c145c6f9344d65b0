"""playback: plays the sound that ``application_data`` names, as the workshop's hello-world does."""

from __future__ import annotations

from pbxrouter.agi import is_prompt_name, verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.errors import ApplicationFailed


class Playback:
    """Plays a sound file by Asterisk's Playback()."""

    connects = False

    def __init__(self, config: Config) -> None:
        pass

    async def run(self, call: Call) -> Outcome:
        """Answer the call and play the sound to its end."""
        if not is_prompt_name(call.data):
            raise ApplicationFailed(f"a mapping to playback needs the name of a sound as its data, not {call.data!r}")
        if not await verbs.playback(call.channel, call.data):
            await verbs.raise_if_hung_up(call.channel)
        return Outcome()
