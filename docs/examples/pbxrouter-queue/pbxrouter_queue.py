"""queue: puts the caller into a queue of Asterisk's; ``application_data`` is what Queue() takes: ``support,,,,60``."""

import re

from pbxrouter import verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Action, Call, Outcome
from pbxrouter.errors import ApplicationFailed, ChannelHungUp, ConnectionClosed
from pbxrouter.text import Sentence, sentence

DATA = re.compile(r"[\w.-]+(?:,[A-Za-z]*(?:,[^,]*(?:,[\w/-]*(?:,[0-9]*)?)?)?)?", re.ASCII)
"""A queue's name, and what may stand behind it: options, URL, announcement, seconds to wait."""


class Queue:
    """Asterisk's Queue()."""

    def __init__(self, config: Config) -> None:
        pass

    def data_problem(self, data: str) -> Sentence | None:
        """What is wrong with the data."""
        if DATA.fullmatch(data):
            return None
        return sentence(
            "a mapping to queue needs a queue's name as its data, such as {example} or, for a minute at most, {other},"
            " not {data}",
            example="support",
            other="support,,,,60",
            data=repr(data),
        )

    def action(self, data: str, number: str, caller: str | None) -> Action:
        """What Asterisk runs for a call."""
        return Action("Queue", data)

    async def run(self, call: Call) -> Outcome:
        """Wait until an agent answers, or the queue times out."""
        why = self.data_problem(call.data)
        if why is not None:
            raise ApplicationFailed(why)
        await verbs.answer(call.channel)
        try:
            await verbs.run_application(call.channel, "Queue", call.data)
        except ConnectionClosed:
            raise
        except ChannelHungUp:  # the caller may have talked; one who gave up has not
            if await verbs.get_variable(call.channel, "ABANDONED") == "TRUE":
                raise
            return Outcome("ANSWER")
        # Asterisk says why a caller has left the queue, unless an agent has talked with them.
        return Outcome(await verbs.get_variable(call.channel, "QUEUESTATUS") or "ANSWER")
