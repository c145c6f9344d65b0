"""`pbxrouter token`: makes, lists and revokes the tokens of the HTTP API."""

import pathlib
import sqlite3

import click

from pbxrouter.cli.options import config_option, database_option, read_config


@click.command()
@click.argument("action", type=click.Choice(["create", "list", "revoke"]))
@click.argument("name", required=False)
@config_option
@database_option
def token(action: str, name: str | None, config_file: str | None, database: str | None) -> None:
    """Make, list and revoke the tokens that let programs use the HTTP API.

    `create NAME` prints the new token this once; only a hash of it is kept. Programs send it as
    `Authorization: Bearer TOKEN`. `revoke NAME` makes it invalid from the next request on. `list` shows
    name, when made, last used, and revoked.
    """
    if (name is None) != (action == "list"):
        wanted = "no name" if action == "list" else "the token's name"
        raise click.UsageError(f"{action} takes {wanted}")
    from pbxrouter import database as databases

    connection = databases.connect(pathlib.Path(read_config(config_file, database).database))
    try:
        if name is None:
            _list(connection)
        elif action == "create":
            _create(connection, name)
        else:
            _revoke(connection, name)
    finally:
        connection.close()


def _create(connection: sqlite3.Connection, name: str) -> None:
    from pbxrouter.database.tokens import add_token
    from pbxrouter.tokens import hash_token, new_token

    made = new_token()
    add_token(connection, name, hash_token(made))
    click.echo(made)


def _list(connection: sqlite3.Connection) -> None:
    from pbxrouter.database.tokens import list_tokens

    found = list_tokens(connection)
    if not found:
        click.echo("no tokens yet; `pbxrouter token create NAME` makes one", err=True)
    for each in found:
        used = f"last used {each.last_used}" if each.last_used else "never used"
        revoked = f", revoked {each.revoked}" if each.revoked else ""
        click.echo(f"{each.name}: made {each.created}, {used}{revoked}")


def _revoke(connection: sqlite3.Connection, name: str) -> None:
    from pbxrouter.database.tokens import revoke_token

    revoke_token(connection, name)
    click.echo(f"{name} is revoked")
