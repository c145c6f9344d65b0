"""`pbxrouter lockouts`: lists wrong PINs by their source, and lifts lock-outs."""

import dataclasses
import json
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pbxrouter.database import Connection

from pbxrouter.cli.options import config_option, database_option, open_database, read_config

SCOPES = ("endpoint", "number", "trunk", "unnamed", "peer", "mapping", "gateway")


@click.command()
@click.argument("action", type=click.Choice(["list", "lift"]), default="list")
@click.argument("scope", required=False, type=click.Choice(SCOPES))
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@config_option
@database_option
def lockouts(
    action: str, scope: str | None, name: str | None, as_json: bool, config_file: str | None, database: str | None
) -> None:
    """List sources of wrong PINs, and lift lock-outs.

    After five wrong PINs, only ten PINs per hour are checked for an endpoint or number. `lift endpoint PJSIP/33`
    or `lift number 5551234` forgives them; `lift gateway` ends the alarm. It takes effect with the next PIN.
    """
    if action == "list" and scope is not None:
        raise click.UsageError("list takes no scope and no name")
    if action == "lift" and (scope is None or (name is None) != (scope == "gateway")):
        raise click.UsageError("lift takes a scope and a name, such as: lift endpoint PJSIP/33; or: lift gateway")
    with open_database(read_config(config_file, database)) as connection:
        if scope is None:
            _list(connection, as_json)
        else:
            _lift(connection, scope, name or "")


def _list(connection: "Connection", as_json: bool) -> None:
    from pbxrouter.database import list_guesses
    from pbxrouter.text import printable

    now = time.time()
    found = list_guesses(connection, now)
    if not found and not as_json:
        click.echo("no wrong PINs lately", err=True)
    for row in found:
        if as_json:
            click.echo(json.dumps(dataclasses.asdict(row)))
            continue
        state = ("locked out" if row.key.may_lock else "attacked") if row.is_locked else "not locked"
        who = f"{row.key.scope} {printable(row.key.name)}".strip()
        minutes = (row.forgiven_at - now) / 60
        click.echo(
            f"{who}: {state}, {row.open} wrong PINs held against it, {row.unchecked} not checked; "
            f"all forgiven in {minutes:.0f} min"
        )


def _lift(connection: "Connection", scope: str, name: str) -> None:
    from pbxrouter.cli.actor import system_actor
    from pbxrouter.database import lift_lockout
    from pbxrouter.errors import NotThere
    from pbxrouter.security import GuessKey
    from pbxrouter.text import sentence

    who = f"{scope} {name}".strip()
    try:
        lift_lockout(connection, system_actor(), time.time(), GuessKey(scope, name))
    except NotThere:
        raise NotThere(sentence("there are no wrong PINs of {who}; see pbxrouter lockouts", who=who)) from None
    click.echo(f"{who}: lifted")
