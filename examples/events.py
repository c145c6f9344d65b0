"""All events of the PBX as they come, and every header of each."""

from pbxrouter.library import AMIMessage, Session, printable, run


def show(event: AMIMessage) -> None:
    """One event."""
    for name, value in event:
        print(f"{name}: {printable(value)}")
    print(flush=True)


async def watch(session: Session) -> None:
    """Until the connection ends, or we are interrupted."""
    session.subscribe("*", show)
    await session.lost


if __name__ == "__main__":
    run(watch)
