"""The workshop's first router: the pattern of the number dialled says by which technology it goes."""

from pbxrouter.library import Channel, Pattern, serve, verbs

ROUTES = [
    (Pattern.parse("3X"), "IAX2"),
    (Pattern.parse("2X"), "PJSIP"),
    (Pattern.parse("XXXXXXXX"), "DAHDI/1"),
]


async def route(channel: Channel) -> None:
    """Route a call."""
    number = channel.request.extension
    for pattern, technology in ROUTES:
        if pattern.matches(number):
            result = await verbs.dial(channel, f"{technology}/{number}", timeout_s=30)
            print(f"{number}: {result.status}", flush=True)
            return
    print("no such number", flush=True)
    await verbs.playback(channel, "invalid")


if __name__ == "__main__":
    serve(route)
