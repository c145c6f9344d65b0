"""`pbxrouter import`: brings the workshop's five tables over, PINs hashed."""

import pathlib
import time

import click

from pbxrouter.cli.options import config_option, database_option, pin_hasher, read_config


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("--again", is_flag=True, help="Merge it even if the same content was imported before.")
@config_option
@database_option
def import_(file: str, again: bool, config_file: str | None, database: str | None) -> None:
    """Bring over the workshop's tables from FILE: its SQL, or an SQLite database of that shape.

    What is there already stays as it is, and a second import of the same file changes nothing.
    """
    from pbxrouter import database as databases
    from pbxrouter import workshop
    from pbxrouter.cli.actor import system_actor

    config = read_config(config_file, database)
    path = pathlib.Path(file)
    tables = workshop.read_file(path)
    connection = databases.connect(pathlib.Path(config.database))
    try:
        report = workshop.import_tables(
            connection, system_actor(), time.time(), tables, pin_hasher(config), path.name, again
        )
    finally:
        connection.close()
    for line in report.words():
        click.echo(line)
