"""`pbxrouter events`: the PBX's events as they come (the workshop's watcher)."""

import select
import sys
from typing import TYPE_CHECKING, Any

import click

from pbxrouter.cli.asterisks import chosen_asterisk
from pbxrouter.cli.options import config_option, read_config
from pbxrouter.errors import ManagerUnavailable, PbxrouterError

if TYPE_CHECKING:
    from pbxrouter.ami import AMIMessage, EventHandler
    from pbxrouter.config import Asterisk

_LOOK_EVERY_S = 0.5
_INTERRUPTED = 130


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--asterisk", metavar="NAME", help="Which Asterisk, if several are configured.")
@click.option(
    "--filter",
    "filters",
    metavar="HEADER=VALUE",
    multiple=True,
    help="Only events with this header of this value; of several, all must be there.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@config_option
def events(
    names: tuple[str, ...],
    asterisk: str | None,
    filters: tuple[str, ...],
    as_json: bool,
    config_file: str | None,
) -> int:
    """Print the events of Asterisk as they come, one a line: all, or those named, such as Newchannel.

    It has an AMI connection of its own, with the account of the settings; that user's classes (manager.conf,
    `read`) decide which events come. The gateway need not run. What callers key in is starred. Goes on until
    Ctrl-C.
    """
    wanted = [_pair(filter_) for filter_ in filters]
    chosen = chosen_asterisk(read_config(config_file), asterisk)
    printer = _Printer({name.lower() for name in names}, wanted, as_json)
    return _watch(chosen, printer)


def _pair(text: str) -> tuple[str, str]:
    header, equals, value = text.partition("=")
    if not equals or not header:
        raise PbxrouterError(f"--filter {text!a}: accepted is HEADER=VALUE, such as Context=pbxrouter-phones")
    return header, value


class _Printer:
    """Prints the events that are wanted."""

    def __init__(self, names: set[str], filters: list[tuple[str, str]], as_json: bool) -> None:
        from pbxrouter.cli.event_text import as_json as json_of
        from pbxrouter.cli.event_text import as_line

        self._names = names
        self._filters = filters
        self._text = json_of if as_json else as_line
        self.failed: OSError | None = None

    def event(self, event: "AMIMessage") -> None:
        """An event came. Never fails: whoever reads may have gone."""
        if self.failed is not None or (self._names and event.name.lower() not in self._names):
            return
        if any(value not in event.all(header) for header, value in self._filters):
            return
        try:
            sys.stdout.write(f"{self._text(event)}\n")
            sys.stdout.flush()
        except OSError as error:
            self.failed = error


def _watch(asterisk: "Asterisk", printer: _Printer) -> int:
    from twisted.internet import reactor as the_reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.task import LoopingCall

    from pbxrouter.ami import account_of, connect_once

    reactor: Any = the_reactor
    ended: list[BaseException] = []

    async def watch() -> None:
        handlers: dict[bytes, list[EventHandler]] = {b"*": [printer.event]}
        protocol = await connect_once(asterisk.ami, account_of(asterisk), reactor, handlers, "on")
        click.echo(f"watching {asterisk.name}; Ctrl-C ends it", err=True)
        await protocol.lost
        raise ManagerUnavailable(f"the connection to {asterisk.name} was lost")

    def look() -> None:
        """Whoever reads may have gone while no event came."""
        if printer.failed is not None or _is_closed():
            ended.append(printer.failed or BrokenPipeError())
            reactor.stop()

    def over(failure: Any) -> None:
        if reactor.running and not ended:
            ended.append(failure.value)
            reactor.stop()

    def begin() -> None:
        LoopingCall(look).start(_LOOK_EVERY_S)
        Deferred.fromCoroutine(watch()).addErrback(over)

    reactor.callWhenRunning(begin)
    reactor.run()
    if ended:
        raise ended[0]
    return _INTERRUPTED


def _is_closed() -> bool:
    """Whether nobody reads standard output any more."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(flags & (select.POLLERR | select.POLLNVAL) for _, flags in poll.poll(0))
    except (AttributeError, OSError, ValueError):
        return False
