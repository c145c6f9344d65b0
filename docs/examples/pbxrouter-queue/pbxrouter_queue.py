"""queue: puts the caller into a queue of Asterisk's; ``application_data`` is the queue's name."""

from pbxrouter import verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.errors import ApplicationFailed


class Queue:
    """Asterisk's Queue()."""

    def __init__(self, config: Config) -> None:
        pass

    async def run(self, call: Call) -> Outcome:
        """Wait until an agent answers, or the queue times out."""
        if not call.data.isalnum():
            raise ApplicationFailed(f"a mapping to queue needs a queue's name as its data, not {call.data!r}")
        await verbs.answer(call.channel)
        await verbs.run_application(call.channel, "Queue", call.data)
        return Outcome(await verbs.get_variable(call.channel, "QUEUESTATUS") or "DONE")
