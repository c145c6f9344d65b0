"""queue: puts the caller into a queue of Asterisk's; ``application_data`` is the queue's name."""

from pbxrouter import verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Action, Call, Outcome
from pbxrouter.errors import ApplicationFailed
from pbxrouter.text import Sentence, sentence


class Queue:
    """Asterisk's Queue()."""

    def __init__(self, config: Config) -> None:
        pass

    def data_problem(self, data: str) -> Sentence | None:
        """What is wrong with the data."""
        if data.isalnum():
            return None
        return sentence("a mapping to queue needs a queue's name as its data, not {data}", data=repr(data))

    def action(self, data: str, number: str, caller: str | None) -> Action:
        """What Asterisk runs for a call."""
        return Action("Queue", data)

    async def run(self, call: Call) -> Outcome:
        """Wait until an agent answers, or the queue times out."""
        why = self.data_problem(call.data)
        if why is not None:
            raise ApplicationFailed(why)
        await verbs.answer(call.channel)
        await verbs.run_application(call.channel, "Queue", call.data)
        return Outcome(await verbs.get_variable(call.channel, "QUEUESTATUS") or "DONE")
