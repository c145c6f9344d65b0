"""`pbxrouter originate`: calls a phone and connects it with a number (click-to-dial)."""

import json
from typing import Any

import click

from pbxrouter.cli.gateway import answers
from pbxrouter.cli.options import config_option, read_config
from pbxrouter.errors import PbxrouterError

_SUCCEEDED = frozenset({"answered", "connected", "ended"})


@click.command()
@click.argument("channel")
@click.option("--to", "number", metavar="EXTEN", required=True, help="The number to connect with.")
@click.option("--context", metavar="CONTEXT", required=True, help="The dialplan context in which EXTEN is dialled.")
@click.option(
    "--ring",
    metavar="SECONDS",
    type=click.IntRange(1, 300),
    default=30,
    show_default=True,
    help="How long the phone may ring.",
)
@click.option("--wait", is_flag=True, help="Report the call's progress until it ends.")
@click.option(
    "--asterisk", metavar="NAME", help="The Asterisk to use; by default, of several, the one that has the phone."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
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
    """Call the phone CHANNEL and connect it with a number.

    CHANNEL is for example PJSIP/33, or madrid:PJSIP/33 to name one of several Asterisks; the rules apply as if
    that phone had dialled. The command ends when the phone was answered or could not be reached, with --wait when
    the call is over. The exit status is 1 if the phone, or with --wait the number, could not be reached.
    """
    request: dict[str, Any] = {"channel": channel, "to": number, "context": context, "ring": ring, "wait": wait}
    request["asterisk"] = asterisk
    state = ""
    for answer in answers(read_config(config_file).control, "originate", request):
        if "state" not in answer:  # lines were skipped because this terminal is too slow
            continue
        state = str(answer["state"])
        click.echo(json.dumps(answer) if as_json else f"{answer['state']}: {answer['why']}")
    if not state:
        raise PbxrouterError("the gateway stopped before the result of the call was known")
    return 0 if state in _SUCCEEDED else 1
