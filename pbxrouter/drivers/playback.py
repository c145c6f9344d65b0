"""playback: plays the sound that ``application_data`` names, as the workshop's hello-world does."""

from __future__ import annotations

import re
from typing import Final

from pbxrouter.agi import is_prompt_name, verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.errors import ApplicationFailed
from pbxrouter.rules import Action
from pbxrouter.text import Sentence, sentence

_ENDING: Final = re.compile(
    r"\.(gsm|wav|wav16|wav49|ulaw|ul|mu|pcm|alaw|al|sln|sln[0-9]+|slin|raw|g722|g723|g723sf|g726-[0-9]+|g729|g719|siren7|"
    r"siren14|ilbc|ogg|opus|mp3|vox|au|h263|h264)\Z",
    re.IGNORECASE,
)
"""What ends the names of sound files, and of no sound: Playback() puts the ending behind the name itself."""


class Playback:
    """Plays a sound file by Asterisk's Playback()."""

    connects = False

    def __init__(self, config: Config) -> None:
        pass

    def data_problem(self, data: str) -> Sentence | None:
        """What is wrong with the data."""
        if is_prompt_name(data):
            ending = _ENDING.search(data)
            if ending is None:
                return None
            return sentence(
                "a mapping to playback needs the name of a sound without the ending of its file, {name} and not {data}",
                name=repr(data[: ending.start()]),
                data=repr(data),
            )
        return _no_sound(data)

    def action(self, data: str, number: str, caller: str | None) -> Action:
        """The Playback() of a call, in which ``{language}`` stands for the channel's."""
        return Action("Playback", data)

    async def run(self, call: Call) -> Outcome:
        """Answer the call and play the sound to its end."""
        if not is_prompt_name(call.data):
            raise ApplicationFailed(_no_sound(call.data))
        if not await verbs.playback(call.channel, call.data):
            await verbs.raise_if_hung_up(call.channel)
        return Outcome()


def _no_sound(data: str) -> Sentence:
    return sentence("a mapping to playback needs the name of a sound as its data, not {data}", data=repr(data))
