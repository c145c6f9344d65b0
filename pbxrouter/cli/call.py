"""`pbxrouter call`: simulates a call to the running gateway and shows the conversation."""

import contextlib
import os
import re
import time
from pathlib import Path

import click

from pbxrouter.cli.app import complain
from pbxrouter.cli.options import caller_option, config_option, given_pin, read_config

_DIALSTATUS = (
    "ANSWER",
    "BUSY",
    "NOANSWER",
    "CHANUNAVAIL",
    "CONGESTION",
    "CANCEL",
    "DONTCALL",
    "TORTURE",
    "INVALIDARGS",
)
_ROLES = {
    "ask_pin": "PIN prompt",
    "wrong_pin": "wrong-PIN prompt",
    "invalid_number": "invalid-number prompt",
    "goodbye": "goodbye",
    "technical_failure": "technical-failure prompt",
    "ask_number": "number prompt",
}
_FAULTY = 1
_LONGEST_S = 86400


@click.command(epilog="Write -- before a NUMBER that begins with a dash.")
@click.argument("number")
@caller_option
@click.option(
    "--pin",
    "pins",
    metavar="PIN",
    multiple=True,
    help="The digits keyed at a PIN prompt; repeat it for more prompts. `-` reads one from standard input. "
    "At further prompts the caller keys nothing.",
)
@click.option("--name", metavar="NAME", help="The caller's name.")
@click.option("--dnid", metavar="DNID", help="The dialled number as the trunk sent it.  [default: NUMBER]")
@click.option(
    "--extension",
    metavar="EXTENSION",
    help="The dialplan extension: `s` for an analogue line, `h` for a call that has ended.  [default: NUMBER]",
)
@click.option("--channel", metavar="CHANNEL", help="The channel's name.  [default: PJSIP/CALLER-00000001]")
@click.option("--language", metavar="CODE", default="en", show_default=True, help="The channel's language.")
@click.option("--context", metavar="CONTEXT", default="pbxrouter", show_default=True, help="The dialplan context.")
@click.option("--asterisk", metavar="NAME", default="", help="The Asterisk that it comes from, of several.")
@click.option(
    "--dialstatus",
    type=click.Choice(_DIALSTATUS, case_sensitive=False),
    metavar="STATUS",
    multiple=True,
    help=f"How a Dial ends: {', '.join(_DIALSTATUS)}. Repeat it for several Dials.  [default: ANSWER]",
)
@click.option(
    "--hangup-at",
    type=click.IntRange(min=1),
    metavar="N",
    help="The caller hangs up while the Nth prompt plays.",
)
@click.option(
    "--hangup-in",
    metavar="APPLICATION",
    help="The caller hangs up during this application, such as Dial or ConfBridge.",
)
@click.option(
    "--connect", metavar="HOST:PORT", help="Where the gateway listens.  [default: fastagi.listen of the settings]"
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the gateway's next command.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show all AGI variables of the call.")
@config_option
def call(
    number: str,
    caller: str,
    pins: tuple[str, ...],
    name: str | None,
    dnid: str | None,
    extension: str | None,
    channel: str | None,
    language: str,
    context: str,
    asterisk: str,
    dialstatus: tuple[str, ...],
    hangup_at: int | None,
    hangup_in: str | None,
    connect: str | None,
    timeout_s: float,
    verbose: bool,
    config_file: str | None,
) -> int:
    """Simulate a call: CALLER dials NUMBER.

    It needs the running gateway but no Asterisk, whose side is simulated. Lines with > are the gateway's
    commands, lines with < are Asterisk's. The exit status is 0 if the conversation ended as it should, 1 if
    the gateway made a mistake, 2 if no gateway listens.
    """
    import msgspec

    from pbxrouter.agi import ASTERISK, NOT_SHOWN, SECRET
    from pbxrouter.cli import conversation
    from pbxrouter.cli.transcript import Transcript, story
    from pbxrouter.config import address, read_fastagi_secret
    from pbxrouter.errors import KeyFileError, PinError
    from pbxrouter.rules import normalise_number
    from pbxrouter.security import call_mark, read_key
    from pbxrouter.simulator import Script, SimulatedAsterisk, SimulatedCall

    if not timeout_s <= _LONGEST_S:  # true of NaN, too
        raise click.BadParameter(f"{timeout_s} is not in the range 0<x<={_LONGEST_S}", param_hint="'--timeout'")
    config = read_config(config_file)
    place = address.of_option(connect) if connect else address.of_endpoint(config.fastagi.listen)
    extension = number if extension is None else extension
    dnid = number if dnid is None else dnid
    keyed = [given_pin(pin) for pin in pins]
    if not all(re.fullmatch("[0-9*#]*", pin) for pin in keyed):
        raise PinError("--pin: accepted are the keys of a phone, 0 to 9, * and #")
    names = [known.name for known in config.asterisk]
    if asterisk and asterisk not in names:
        accepted = ", ".join(names) or "none: the settings have no [[asterisk]]"
        raise click.BadParameter(
            f"{asterisk!r} is not in the settings; accepted is {accepted}", param_hint="'--asterisk'"
        )
    secret = read_fastagi_secret(config)
    channel = channel or f"PJSIP/{caller or 'unknown'}-00000001"
    uniqueid = f"{int(time.time())}.{os.getpid()}"
    if not secret:  # by a mark the gateway knows that the call is no forgery
        with contextlib.suppress(KeyFileError):
            mark = read_key(Path(config.pin_key_file))
            secret = call_mark(mark, uniqueid, channel, None if caller in ("", NOT_SHOWN) else caller)
    # Neither holds a number: the gateway asks for it first.
    asked = not (normalise_number(extension) or normalise_number(dnid))
    simulated = SimulatedAsterisk(
        SimulatedCall(
            extension,
            caller=caller,
            name=name,
            dnid=dnid,
            channel=channel,
            language=language,
            context=context,
            uniqueid=uniqueid,
            address="localhost" if place.path else str(place),
            arguments=(
                *((f"{ASTERISK}{asterisk}",) if asterisk else ()),
                *((f"{SECRET}{secret}",) if secret else ()),
            ),
            dead=extension == "h",
        ),
        Script(
            keys=tuple(f"{digits}#" if digits else "" for digits in ([number] if asked else []) + keyed),
            dialstatus=dialstatus,
            hangup_at=hangup_at,
            hangup_in=hangup_in,
        ),
    )
    try:
        connection = place.connect(timeout_s)
    except (OSError, UnicodeError) as error:  # UnicodeError: the host name is not valid
        why = getattr(error, "strerror", None) or error
        return complain(
            f"no gateway listens at {place} ({why}): start it with `make run` or `twistd -n pbxrouter`, "
            "or name its address with --config FILE or --connect HOST:PORT"
        )
    with connection:
        click.echo(f"connected to the gateway at {place}")
        transcript = Transcript(keyed, number_asked=asked, verbose=verbose)
        ending = conversation.converse(connection, simulated, transcript, timeout_s)
    roles = {
        getattr(config.prompts, field.name).replace("{language}", language): _ROLES[field.name]
        for field in msgspec.structs.fields(config.prompts)
        if field.name in _ROLES
    }
    found = conversation.faults(simulated, ending, timeout_s)
    click.echo(transcript.masked(story(simulated, roles)))
    for fault in found:
        complain(transcript.masked(fault))
    return _FAULTY if found else 0
