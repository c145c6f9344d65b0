"""All events of the PBX as they come, and every header of each."""

from pbxrouter.library import AMIMessage, Session, printable, run


def show(event: AMIMessage) -> None:
    """Show an event."""
    for name, value in event:
        print(f"{name}: {printable(value)}")
    print(flush=True)


async def watch(session: Session) -> None:
    """Watch until the connection ends or the program is interrupted."""
    session.subscribe("*", show)
    await session.lost


if __name__ == "__main__":
    run(watch)
