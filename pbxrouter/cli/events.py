"""`pbxrouter events`: prints Asterisk's events as they come."""

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
@click.option("--asterisk", metavar="NAME", help="The Asterisk to use, if several are configured.")
@click.option(
    "--filter",
    "filters",
    metavar="HEADER=VALUE",
    multiple=True,
    help="Only events whose HEADER is VALUE; if repeated, all filters must match.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@config_option
def events(
    names: tuple[str, ...],
    asterisk: str | None,
    filters: tuple[str, ...],
    as_json: bool,
    config_file: str | None,
) -> int:
    """Print Asterisk's events as they come, one per line.

    NAMEs, such as Newchannel, select events; without any, all are printed. The command opens an AMI connection
    with the account in the settings; the classes in `read` of that user in manager.conf decide which events
    come. The gateway need not run. Keyed digits are masked. Runs until Ctrl-C.
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
    """Prints the events that match names and filters.

    Attributes:
        failed: why standard output cannot be written; None while it can.
    """

    def __init__(self, names: set[str], filters: list[tuple[str, str]], as_json: bool) -> None:
        from pbxrouter.cli.event_text import as_json as json_of
        from pbxrouter.cli.event_text import as_line

        self._names = names
        self._filters = filters
        self._text = json_of if as_json else as_line
        self.failed: OSError | None = None

    def event(self, event: "AMIMessage") -> None:
        """Print an event if it matches. A failed write is kept in ``failed``."""
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
        """Stop if the reader of standard output has gone, also while no event comes."""
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
    """Whether the reader of standard output has gone."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(flags & (select.POLLERR | select.POLLNVAL) for _, flags in poll.poll(0))
    except (AttributeError, OSError, ValueError):
        return False
