"""`pbxrouter import`: imports the 2006 workshop's five tables, and hashes the PINs."""

import pathlib
import time

import click

from pbxrouter.cli.options import config_option, database_option, open_database, pin_hasher, read_config


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option("--again", is_flag=True, help="Merge the file even if the same content was imported before.")
@config_option
@database_option
def import_(file: str, again: bool, config_file: str | None, database: str | None) -> None:
    """Import the tables of the 2006 workshop from FILE.

    FILE is the workshop's SQL, or an SQLite database with its tables. Existing rows stay as they are; importing
    the same file again changes nothing.
    """
    from pbxrouter import workshop
    from pbxrouter.cli.actor import system_actor
    from pbxrouter.drivers import DriverApplications, DriversOnDemand

    config = read_config(config_file, database)
    path = pathlib.Path(file)
    tables = workshop.read_file(path)
    with open_database(config) as connection:
        report = workshop.import_tables(
            connection,
            system_actor(),
            time.time(),
            tables,
            pin_hasher(config),
            path.name,
            again,
            DriverApplications(DriversOnDemand(config)),
        )
    for line in report.lines():
        click.echo(line)
