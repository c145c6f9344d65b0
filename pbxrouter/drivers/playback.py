"""playback: plays the sound that ``application_data`` names, as the workshop's hello-world does."""

from __future__ import annotations

from pbxrouter.agi import is_prompt_name, verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.errors import ApplicationFailed
from pbxrouter.rules import Action
from pbxrouter.text import Sentence, sentence


class Playback:
    """Plays a sound file by Asterisk's Playback()."""

    connects = False

    def __init__(self, config: Config) -> None:
        pass

    def data_problem(self, data: str) -> Sentence | None:
        """What is wrong with the data."""
        if is_prompt_name(data):
            return None
        return sentence("a mapping to playback needs the name of a sound as its data, not {data}", data=repr(data))

    def action(self, data: str, number: str, caller: str | None) -> Action:
        """The Playback() of a call, in which ``{language}`` stands for the channel's."""
        return Action("Playback", data)

    async def run(self, call: Call) -> Outcome:
        """Answer the call and play the sound to its end."""
        why = self.data_problem(call.data)
        if why is not None:
            raise ApplicationFailed(why)
        if not await verbs.playback(call.channel, call.data):
            await verbs.raise_if_hung_up(call.channel)
        return Outcome()
