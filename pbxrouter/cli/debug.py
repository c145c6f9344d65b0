"""`pbxrouter debug`: the AGI dialogue of the running gateway's calls, as it happens."""

import click

from pbxrouter.cli.gateway import answers
from pbxrouter.cli.options import config_option, read_config
from pbxrouter.errors import PbxrouterError


@click.command()
@click.option("--from", "caller", metavar="CALLER", help="Only calls from this number.")
@click.option("--to", "number", metavar="NUMBER", help="Only calls to this extension of the dialplan.")
@config_option
def debug(caller: str | None, number: str | None, config_file: str | None) -> None:
    """Show what Asterisk and the gateway say to each other about each call.

    Goes on until Ctrl-C. What callers key in is starred.
    """
    for answer in answers(read_config(config_file).control, "watch", {"caller": caller, "extension": number}):
        if "watching" in answer:
            click.echo("watching; Ctrl-C ends it", err=True)
        elif "skipped" in answer:
            click.echo(f"({answer['skipped']} lines left out: this terminal did not keep up)", err=True)
        else:
            click.echo("{uniqueid} {caller}->{extension} {direction} {text}".format_map(answer))
    raise PbxrouterError("the gateway has stopped")
