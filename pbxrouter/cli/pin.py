"""`pbxrouter pin`: sets a user's PIN, which is never an argument of the process."""

import time

import click

from pbxrouter.cli.options import (
    STDIN,
    config_option,
    database_option,
    given_pin,
    open_database,
    pin_hasher,
    read_config,
)

_TRIES = 20


@click.command(context_settings={"allow_extra_args": True})
@click.argument("user")
@click.option("--generate", is_flag=True, help="Generate a PIN, and print it once.")
@config_option
@database_option
@click.pass_context
def pin(context: click.Context, user: str, generate: bool, config_file: str | None, database: str | None) -> None:
    """Set a user's PIN.

    USER is the user's name. At a terminal the PIN is prompted for twice, without echo; otherwise one line of
    standard input is read.
    """
    if context.args:
        # click's own message would show the arguments, and one of them may be the PIN.
        raise click.UsageError(
            "accepted is one argument, the user's name, in quotes if it has blanks; the PIN is prompted for"
        )
    from pbxrouter.cli.actor import system_actor
    from pbxrouter.database.rules import set_pin
    from pbxrouter.errors import PinError
    from pbxrouter.security import check_pin, generate_pin

    config = read_config(config_file, database)
    hash_pin = pin_hasher(config)
    actor = system_actor()
    with open_database(config) as connection:
        if not generate:
            new = check_pin(given_pin(STDIN, twice=True))
            set_pin(connection, actor, time.time(), user, hash_pin(new))
            click.echo(f"{user} has a new PIN")
            return
        for left in reversed(range(_TRIES)):
            new = generate_pin()
            try:
                set_pin(connection, actor, time.time(), user, hash_pin(new))
            except PinError:  # by chance another user's
                if not left:
                    raise
                continue
            click.echo(new)
            return
