"""`pbxrouter console`: the way in when nobody can log in, and who may."""

import datetime
import pathlib
import secrets
import time

import click

from pbxrouter.cli.options import config_option, database_option, read_config
from pbxrouter.errors import ConfigError


@click.command()
@click.argument("action", type=click.Choice(["link", "list"]))
@config_option
@database_option
def console(action: str, config_file: str | None, database: str | None) -> None:
    """Print a one-time link into the web console, or list who may log in.

    `link` prints an address that makes one more admin, once, within a day; links printed before are void. It
    is for the first log-in and for passwords that were lost. `list` shows login, role and last log-in.
    """
    from pbxrouter import database as databases
    from pbxrouter.database.people import list_console_users, put_setup_link
    from pbxrouter.security import hash_token
    from pbxrouter.web import base_url, setup_url

    config = read_config(config_file, database)
    if action == "link" and config.web.listen is None:
        raise ConfigError(
            "web.listen is not set, so there is no console; accepted is for example tcp:8080:interface=127.0.0.1"
        )
    connection = databases.connect(pathlib.Path(config.database))
    try:
        if action == "link":
            link = secrets.token_urlsafe(24)
            put_setup_link(connection, hash_token(link), time.time())
            click.echo(setup_url(base_url(config.web.url, config.web.listen or ""), link))
            return
        people = list_console_users(connection)
    finally:
        connection.close()
    if not people:
        click.echo("nobody may log in yet; `pbxrouter console link` prints a way in", err=True)
    for person in people:
        last = f"last login {_time(person.last_login_at)}" if person.last_login_at else "never logged in"
        click.echo(f"{person.login}: {person.role.value}, {last}{'' if person.enabled else ', may not log in'}")


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
