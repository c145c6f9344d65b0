"""`pbxrouter token`: creates, lists and revokes tokens of the HTTP API."""

import datetime
import time
from typing import TYPE_CHECKING

import click

from pbxrouter.cli.options import config_option, database_option, open_database, read_config

if TYPE_CHECKING:
    from pbxrouter.config import Zone
    from pbxrouter.database import Connection

SCOPES = ("read", "rules", "dial", "admin")
"""The scopes of pbxrouter.security.tokens; a test keeps them equal."""


@click.command()
@click.argument("action", type=click.Choice(["create", "list", "revoke"]))
@click.argument("name", required=False)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="A scope of the new token; may be repeated.  [default: dial]",
)
@config_option
@database_option
def token(
    action: str, name: str | None, scopes: tuple[str, ...], config_file: str | None, database: str | None
) -> None:
    """Create, list and revoke tokens of the HTTP API.

    `create NAME` prints the new token once; only its hash is stored. Programs send it as `Authorization:
    Bearer TOKEN`. `revoke NAME` makes it invalid from the next request on. `list` shows name, scopes, and
    when each token was created, last used and revoked.
    """
    if (name is None) != (action == "list"):
        wanted = "no name" if action == "list" else "the token's name"
        raise click.UsageError(f"{action} takes {wanted}")
    if scopes and action != "create":
        raise click.UsageError("--scope is for create")
    config = read_config(config_file, database)
    with open_database(config) as connection:
        if name is None:
            _list(connection, config.web.timezone)
        elif action == "create":
            _create(connection, name, scopes or ("dial",))
        else:
            _revoke(connection, name)


def _create(connection: "Connection", name: str, scopes: tuple[str, ...]) -> None:
    from pbxrouter.cli.actor import system_actor
    from pbxrouter.database.access import add_token
    from pbxrouter.security import Scope, hash_token, new_token

    token = new_token()
    add_token(connection, system_actor(), time.time(), name, hash_token(token), frozenset(map(Scope, scopes)))
    click.echo(token)


def _list(connection: "Connection", timezone: str) -> None:
    from pbxrouter.config import Zone
    from pbxrouter.database.access import list_tokens
    from pbxrouter.security import scopes_text
    from pbxrouter.text import printable

    zone = Zone(timezone)
    found = list_tokens(connection)
    if not found:
        click.echo("there are no tokens yet; `pbxrouter token create NAME` creates one", err=True)
    for token_info in found:
        scopes = scopes_text(token_info.scopes).replace(" ", ", ") or "nothing"
        name, created, last_used, revoked_at = (
            printable(text or "")
            for text in (
                token_info.name,
                *(_local(text, zone) for text in (token_info.created, token_info.last_used, token_info.revoked)),
            )
        )
        used = f"last used {last_used}" if last_used else "never used"
        revoked = f", revoked {revoked_at}" if revoked_at else ""
        click.echo(f"{name}: for {scopes}; created {created}, {used}{revoked}")


def _local(text: str | None, zone: "Zone") -> str | None:
    """A time that the table stores in UTC, in the zone; another text as it is."""
    try:
        seconds = datetime.datetime.fromisoformat(text or "").timestamp()
    except (ValueError, OverflowError):
        return text
    return zone.local(seconds).strftime("%Y-%m-%d %H:%M")


def _revoke(connection: "Connection", name: str) -> None:
    from pbxrouter.cli.actor import system_actor
    from pbxrouter.database.access import revoke_token, valid_token

    revoke_token(connection, system_actor(), time.time(), valid_token(connection, name))
    click.echo(f"{name} is revoked")
