"""Begin a call, and say what became of it: originate.py PJSIP/33 hello-world s."""

import secrets
import sys

from twisted.internet.defer import Deferred

from pbxrouter.library import AMIMessage, Session, run


async def originate(session: Session) -> None:
    """Ring the channel; when it answers it goes to the extension in the context."""
    channel, context, extension = sys.argv[1:]
    call_id = f"example-{secrets.token_hex(8)}"  # unique, so that another program's call is not taken for this one
    over: Deferred[AMIMessage] = Deferred()

    def outcome(event: AMIMessage) -> None:
        if event.get("Uniqueid") == call_id:
            over.callback(event)

    session.subscribe("OriginateResponse", outcome)
    headers = [("Channel", channel), ("Context", context), ("Exten", extension), ("Priority", "1")]
    await session.action("Originate", [*headers, ("ChannelId", call_id), ("Async", "true")])
    print("answered" if (await over).get("Response") == "Success" else "not answered")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: originate.py CHANNEL CONTEXT EXTENSION")
    run(originate, events="call")
