"""`pbxrouter explain`: what the rules decide about a call, and why, without a gateway."""

import json
import pathlib
from typing import TYPE_CHECKING

import click

from pbxrouter.cli.options import (
    caller_option,
    config_option,
    database_option,
    given_pin,
    pin_hasher,
    read_config,
)
from pbxrouter.trace import printable

if TYPE_CHECKING:
    from pbxrouter.rules import Decision

DRIVERS = "pbxrouter.drivers"
"""The entry points of drivers; importing pbxrouter.drivers for its name would import Twisted."""

_VERDICTS = {
    "allow": "allowed",
    "pin": "a PIN is needed",
    "deny": "denied",
    "invalid": "invalid number",
}


@click.command(epilog="Write -- before a NUMBER that begins with a dash.")
@click.argument("number")
@caller_option
@click.option("--pin", metavar="PIN", help="The PIN that the caller keys; `-` reads it from standard input.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@config_option
@database_option
def explain(
    number: str, caller: str, pin: str | None, as_json: bool, config_file: str | None, database: str | None
) -> None:
    """Say what the rules decide when CALLER dials NUMBER, and why.

    The rules are read as the gateway reads them. Whatever is decided, the exit status is 0.
    """
    from importlib.metadata import entry_points

    from pbxrouter import database as databases
    from pbxrouter.rules import NO_CALLER, Facts

    config = read_config(config_file, database)
    connection = databases.connect(pathlib.Path(config.database))
    try:
        rules = databases.read_rules(connection, pin_hasher(config))
    finally:
        connection.close()
    shown = caller.strip() if caller.strip() not in ("", NO_CALLER) else None
    decision = rules.decide(Facts(shown, number, None if pin is None else given_pin(pin)))
    decision = decision.checked_for_driver({found.name.lower() for found in entry_points(group=DRIVERS)})
    if as_json:
        click.echo(json.dumps(_as_json(decision, shown, [each.words for each in rules.problems]), indent=2))
        return
    click.echo(_headline(decision, shown))
    for sentence in decision.words():
        click.echo(f"  {sentence}")
    for problem in rules.problems:
        click.echo(f"note: {problem.words}")


def _headline(decision: "Decision", caller: str | None) -> str:
    who = printable(caller) if caller else "a caller without number"
    line = f"{_VERDICTS[decision.verdict.value]}: {who} dials {decision.number}"
    if decision.mapping is not None and decision.granted_by is not None:
        line += f", which runs {decision.mapping.application} {decision.mapping.data}".rstrip()
    return line


def _as_json(decision: "Decision", caller: str | None, problems: list[str]) -> dict[str, object]:
    mapping = decision.mapping
    return {
        "number": decision.number,
        "caller": caller,
        "decision": decision.verdict.value,
        "pattern": mapping.pattern if mapping else None,
        "application": mapping.application if mapping else None,
        "data": mapping.data if mapping else None,
        "map_id": mapping.map_id if mapping else None,
        "granted_by": decision.granted_by,
        "trace": decision.words(),
        "problems": problems,
    }
