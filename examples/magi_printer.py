"""Calls that wait in AGI(agi:async), as AMI tells of them: what the workshop did with MAGI()."""

from urllib.parse import unquote

from pbxrouter.library import AMIMessage, Session, printable, run


def show(event: AMIMessage) -> None:
    """Show an event; its multi-line value is percent-encoded."""
    print(f"{event.name} {printable(event.get('Channel'))}")
    for line in unquote(event.get("Env") or event.get("Result")).splitlines():
        if line:
            print(f"  {printable(line)}")
    print(flush=True)


async def watch(session: Session) -> None:
    """Watch until the connection ends or the program is interrupted."""
    for name in ("AsyncAGIStart", "AsyncAGIExec", "AsyncAGIEnd", "MAGIExec"):
        session.subscribe(name, show)
    await session.lost


if __name__ == "__main__":
    run(watch, events="agi")
