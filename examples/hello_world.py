"""The workshop's first program: plays "hello world" to each caller."""

from pbxrouter.library import Channel, serve, verbs


async def hello(channel: Channel) -> None:
    """Serve a call."""
    await verbs.answer(channel)
    await verbs.playback(channel, "hello-world")


if __name__ == "__main__":
    serve(hello)
