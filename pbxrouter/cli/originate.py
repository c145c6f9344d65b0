"""`pbxrouter originate`: a phone rings, and is connected with a number (click-to-dial)."""

import json
from typing import Any

import click

from pbxrouter.cli.gateway import answers
from pbxrouter.cli.options import config_option, read_config
from pbxrouter.errors import PbxrouterError

_WENT_WELL = frozenset({"answered", "connected", "ended"})


@click.command()
@click.argument("channel")
@click.option("--to", "number", metavar="EXTEN", required=True, help="The number to connect with.")
@click.option("--context", metavar="CONTEXT", required=True, help="The dialplan context where it is dialled.")
@click.option(
    "--ring",
    metavar="SECONDS",
    type=click.IntRange(1, 300),
    default=30,
    help="How long the phone may ring; 30 unless told.",
)
@click.option("--wait", is_flag=True, help="Tell what happens until the call is over.")
@click.option("--asterisk", metavar="NAME", help="Which Asterisk, if several are configured.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@config_option
def originate(
    channel: str,
    number: str,
    context: str,
    ring: int,
    wait: bool,
    asterisk: str | None,
    as_json: bool,
    config_file: str | None,
) -> int:
    """Call CHANNEL, such as PJSIP/33, and connect it with EXTEN.

    The rules apply as if that phone had dialled. Ends when the phone was answered, or could not be; exit
    status 1 if it could not, or with --wait if the number could not.
    """
    asked: dict[str, Any] = {"channel": channel, "to": number, "context": context, "ring": ring, "wait": wait}
    asked["asterisk"] = asterisk
    state = ""
    for answer in answers(read_config(config_file).control, "originate", asked):
        if "state" not in answer:  # that some were left out, as this terminal did not keep up
            continue
        state = str(answer["state"])
        click.echo(json.dumps(answer) if as_json else f"{answer['state']}: {answer['why']}")
    if not state:
        raise PbxrouterError("the gateway stopped before it said what became of the call")
    return 0 if state in _WENT_WELL else 1
