"""`pbxrouter reload`: the running gateway reads its settings again."""

import click

from pbxrouter.cli.gateway import answers
from pbxrouter.cli.options import config_option, database_option, read_config


@click.command()
@config_option
@database_option
def reload(config_file: str | None, database: str | None) -> None:
    """Let the running gateway reload its settings, secrets and certificates.

    Prints a line for each setting that was reloaded, and for each that needs a restart. No call is disturbed. If the
    settings have an error nothing is changed, and the exit status is 2. A SIGHUP does the same; its lines are in the
    gateway's log.
    """
    config = read_config(config_file, database)
    for answer in answers(config.control, "reload", {}):
        click.echo(answer["line"])
