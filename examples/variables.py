"""The workshop's exercise: read the variables that Asterisk sends, and keep them in order."""

from pbxrouter.library import AGIRequest, Channel, printable, serve

calls: dict[str, AGIRequest] = {}


async def keep(channel: Channel) -> None:
    """Serve a call: keep its variables under the channel's Uniqueid, and show them."""
    request = channel.request
    calls[request.uniqueid] = request
    print(f"call {len(calls)}: {printable(request.caller or 'unknown')} dialled {printable(request.extension)}")
    for name, value in request.variables.items():
        print(f"  {name:16} {printable(value)}")
    for number, value in enumerate(request.arguments, 1):
        print(f"  argument {number:<7} {printable(value)}")
    print(flush=True)


if __name__ == "__main__":
    serve(keep)
