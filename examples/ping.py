"""The workshop's first AMI program: say who we are, send Ping, show the answer."""

from pbxrouter.library import Session, run


async def ping(session: Session) -> None:
    """Use a connection."""
    print(session.banner)
    for name, value in await session.action("Ping"):
        if name != "ActionID":
            print(f"{name}: {value}")


if __name__ == "__main__":
    run(ping, events="off")
