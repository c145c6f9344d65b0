"""The workshop's watcher: a line for each new channel."""

from pbxrouter.library import Session, printable, run


async def watch(session: Session) -> None:
    """Watch until the connection ends or the program is interrupted."""
    session.subscribe("Newchannel", lambda event: print(f"New Channel: {printable(event.get('Channel'))}", flush=True))
    await session.lost


if __name__ == "__main__":
    run(watch, events="call")
