"""`pbxrouter debug`: prints the AGI dialogue of the running gateway's calls."""

import click

from pbxrouter.cli.gateway import answers
from pbxrouter.cli.options import config_option, read_config
from pbxrouter.errors import PbxrouterError


@click.command()
@click.option("--from", "caller", metavar="CALLER", help="Only calls from this number.")
@click.option("--to", "number", metavar="NUMBER", help="Only calls to this dialplan extension.")
@config_option
def debug(caller: str | None, number: str | None, config_file: str | None) -> None:
    """Show the AGI dialogue of the running gateway's calls.

    Runs until Ctrl-C. Keyed digits are masked.
    """
    for answer in answers(read_config(config_file).control, "watch", {"caller": caller, "extension": number}):
        if "watching" in answer:
            click.echo("watching; Ctrl-C ends it", err=True)
        elif "skipped" in answer:
            click.echo(f"({answer['skipped']} lines skipped: this terminal is too slow)", err=True)
        else:
            click.echo("{uniqueid} {caller}->{extension} {direction} {text}".format_map(answer))
    raise PbxrouterError("the gateway has stopped")
