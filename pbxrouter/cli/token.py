"""`pbxrouter token`: makes, lists and revokes the tokens of the HTTP API."""

import pathlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import click

from pbxrouter.cli.options import config_option, database_option, read_config


@contextmanager
def _opened(config_file: str | None, database: str | None) -> Iterator[sqlite3.Connection]:
    from pbxrouter import database as databases

    connection = databases.connect(pathlib.Path(read_config(config_file, database).database))
    try:
        yield connection
    finally:
        connection.close()


@click.group()
def token() -> None:
    """Make, list and revoke the tokens that let programs use the HTTP API."""


@token.command()
@click.argument("name")
@config_option
@database_option
def create(name: str, config_file: str | None, database: str | None) -> None:
    """Make a token called NAME, and print it this once.

    Programs send it as `Authorization: Bearer TOKEN`. Only a hash of it is kept.
    """
    from pbxrouter.database.tokens import add_token
    from pbxrouter.tokens import hash_token, new_token

    made = new_token()
    with _opened(config_file, database) as connection:
        add_token(connection, name, hash_token(made))
    click.echo(made)


@token.command(name="list")
@config_option
@database_option
def list_(config_file: str | None, database: str | None) -> None:
    """List all tokens: name, when made, last used, and revoked."""
    from pbxrouter.database.tokens import list_tokens

    with _opened(config_file, database) as connection:
        found = list_tokens(connection)
    if not found:
        click.echo("no tokens yet; `pbxrouter token create NAME` makes one", err=True)
    for each in found:
        used = f"last used {each.last_used}" if each.last_used else "never used"
        revoked = f", revoked {each.revoked}" if each.revoked else ""
        click.echo(f"{each.name}: made {each.created}, {used}{revoked}")


@token.command()
@click.argument("name")
@config_option
@database_option
def revoke(name: str, config_file: str | None, database: str | None) -> None:
    """Make the token called NAME invalid, from the next request on."""
    from pbxrouter.database.tokens import revoke_token

    with _opened(config_file, database) as connection:
        revoke_token(connection, name)
    click.echo(f"{name} is revoked")
