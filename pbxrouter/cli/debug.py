"""`pbxrouter debug`: the AGI dialogue of the running gateway's calls, as it happens."""

import json
import pathlib
import socket
from collections.abc import Iterator

import click

from pbxrouter.cli.options import config_option, read_config
from pbxrouter.errors import PbxrouterError

_CONNECT_TIMEOUT_S = 5.0


@click.command()
@click.option("--from", "caller", metavar="CALLER", help="Only calls from this number.")
@click.option("--to", "number", metavar="NUMBER", help="Only calls to this extension of the dialplan.")
@config_option
def debug(caller: str | None, number: str | None, config_file: str | None) -> None:
    """Show what Asterisk and the gateway say to each other about each call.

    Goes on until Ctrl-C. What callers key in is starred.
    """
    path = pathlib.Path(read_config(config_file).control)
    wish = {"watch": {"caller": caller, "extension": number}}
    with _connected(path) as connection:
        connection.sendall(json.dumps(wish).encode("ascii") + b"\n")
        for message in _messages(connection):
            _show(message)
    raise PbxrouterError("the gateway has stopped")


def _connected(path: pathlib.Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_CONNECT_TIMEOUT_S)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        why = error.strerror or str(error)
        raise PbxrouterError(
            f"no gateway answers at {path}: {why}; start it with `twistd -n pbxrouter`, as the same user"
        ) from None
    connection.settimeout(None)
    return connection


def _messages(connection: socket.socket) -> Iterator[dict[str, object]]:
    with connection.makefile("rb") as lines:
        for line in lines:
            yield json.loads(line)


def _show(message: dict[str, object]) -> None:
    if "watching" in message:
        click.echo("watching; Ctrl-C ends it", err=True)
    elif "skipped" in message:
        click.echo(f"({message['skipped']} lines were left out: this terminal did not keep up)", err=True)
    elif "error" in message:
        raise PbxrouterError(str(message["error"]))
    else:
        click.echo("{uniqueid} {caller}->{extension} {direction} {text}".format_map(message))
