"""`pbxrouter console`: prints a set-up link for the web console, or lists its users."""

import secrets
import time
from typing import TYPE_CHECKING

import click

from pbxrouter.cli.options import config_option, database_option, open_database, read_config
from pbxrouter.errors import ConfigError

if TYPE_CHECKING:
    from pbxrouter.config import Zone


@click.command()
@click.argument("action", type=click.Choice(["link", "list"]))
@config_option
@database_option
def console(action: str, config_file: str | None, database: str | None) -> None:
    """Print a link that creates a console admin, or list users.

    `link` prints a one-time address where an admin can be created, valid for a day; links printed before are
    void. Use it for the first login and for lost passwords. `list` shows the users with role and last login.
    """
    from pbxrouter.config import Zone
    from pbxrouter.database.access import list_console_users, put_setup_link
    from pbxrouter.security import hash_token
    from pbxrouter.text import printable
    from pbxrouter.web import base_url, setup_url

    config = read_config(config_file, database)
    if action == "link" and config.web.listen is None:
        raise ConfigError(
            "web.listen is not set, so there is no console; accepted is for example tcp:8080:interface=127.0.0.1"
        )
    with open_database(config) as connection:
        if action == "link":
            link = secrets.token_urlsafe(24)
            put_setup_link(connection, hash_token(link), time.time())
            click.echo(setup_url(base_url(config.web.url, config.web.listen or ""), link))
            return
        users = list_console_users(connection)
    if not users:
        click.echo("there are no console users yet; `pbxrouter console link` creates the first", err=True)
    zone = Zone(config.web.timezone)
    for user in users:
        last = f"last login {_time(user.last_login_at, zone)}" if user.last_login_at else "never logged in"
        click.echo(f"{printable(user.login)}: {user.role.value}, {last}{'' if user.enabled else ', disabled'}")


def _time(seconds: float, zone: "Zone") -> str:
    return zone.local(seconds).strftime("%Y-%m-%d %H:%M")
