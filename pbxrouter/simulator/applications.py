"""The dialplan applications that a simulated Asterisk runs for EXEC.

Each is a function of the simulated channel and the application's one argument; what it returns is the
number in `200 result=`. An application that is not in `APPLICATIONS` does not exist (`200 result=-2`). The
AGI commands themselves are in `pbxrouter.simulator.commands`.
"""

import re
from collections.abc import Callable

from pbxrouter.simulator.channel import SimulatedChannel

# Technologies of the workshop's time that are no longer part of Asterisk.
GONE_TECHNOLOGIES = frozenset({"SIP", "ZAP"})

# DIALSTATUS -> (result, HANGUPCAUSE); any other word ends like a call that was never made.
_DIAL_ENDINGS = {
    "ANSWER": (-1, "16"),
    "CANCEL": (-1, ""),
    "BUSY": (0, "17"),
    "NOANSWER": (0, "0"),
    "CHANUNAVAIL": (0, "3"),
    "CONGESTION": (0, "34"),
}
_TALKED_S, _DIALLED_S = "5", "8"


Application = Callable[[SimulatedChannel, str], int]


def _nothing(call: SimulatedChannel, argument: str) -> int:
    return 0


def _answer(call: SimulatedChannel, argument: str) -> int:
    call.answer()
    return 0


def _stay(call: SimulatedChannel, argument: str) -> int:
    """An application that the caller leaves by its own menu, unless the script makes the caller hang up in it."""
    if call.dead:
        return -1
    call.answer()
    return 0


def _until_hangup(call: SimulatedChannel, argument: str) -> int:
    call.caller_leaves()
    return -1


def _hangup(call: SimulatedChannel, argument: str) -> int:
    """Hangup with a cause: the channel ends with the run, so AGI goes on and no HANGUP line comes."""
    call.set_variable("HANGUPCAUSE", argument or "16")
    return -1


def _playback(call: SimulatedChannel, argument: str) -> int:
    """Playback answers by itself; a missing sound only shows in PLAYBACKSTATUS."""
    sounds, _, options = argument.partition(",")
    if not call.dead and "noanswer" not in options:
        call.answer()
    status = "SUCCESS"
    for sound in sounds.split("&"):
        heard = call.play(sound)
        if heard is None:
            call.set_variable("PLAYBACKSTATUS", "FAILED")
            return -1
        if not heard:
            status = "FAILED"
    call.set_variable("PLAYBACKSTATUS", status)
    return 0


def _set(call: SimulatedChannel, argument: str) -> int:
    name, equals, value = argument.partition("=")
    if equals:
        call.set_variable(name, value)
    return 0


def _confbridge(call: SimulatedChannel, argument: str) -> int:
    result = _stay(call, argument)
    call.set_variable("CONFBRIDGE_RESULT", "FAILED" if result else "HANGUP")
    return result


def _dial(call: SimulatedChannel, argument: str) -> int:
    target, *rest = argument.split(",")
    options = re.sub(r"\([^)]*\)", "", rest[1]) if len(rest) > 1 else ""
    if call.dead:
        forced: str | None = "CANCEL"
    elif "/" not in target or "|" in target:
        forced = "CHANUNAVAIL"
    else:
        gone = target.partition("/")[0].upper() in GONE_TECHNOLOGIES
        forced = "CHANUNAVAIL" if gone and not call.script.dialstatus else None
    status = call.next_dialstatus(argument, forced)
    result, cause = _DIAL_ENDINGS.get(status, (0, "0"))
    if forced == "CHANUNAVAIL":
        cause = "66" if "/" in target and "|" not in target else "0"
    call.set_variable("DIALSTATUS", status)
    call.set_variable("HANGUPCAUSE", cause)
    call.set_variable("ANSWEREDTIME", _TALKED_S if status == "ANSWER" else "")
    call.set_variable("DIALEDTIME", _DIALLED_S if status == "ANSWER" else "")
    if status == "ANSWER":
        call.answer()
    if status == "CANCEL" and not call.dead:
        call.caller_leaves()
    return 0 if status == "ANSWER" and "g" in options else result


APPLICATIONS: dict[str, Application] = {
    "answer": _answer,
    "background": _playback,
    "busy": _until_hangup,
    "confbridge": _confbridge,
    "congestion": _until_hangup,
    "dial": _dial,
    "directory": _stay,
    "echo": _stay,
    "goto": _nothing,
    "hangup": _hangup,
    "log": _nothing,
    "musiconhold": _stay,
    "noop": _nothing,
    "playback": _playback,
    "proceeding": _nothing,
    "progress": _nothing,
    "queue": _stay,
    "ringing": _nothing,
    "saydigits": _nothing,
    "saynumber": _nothing,
    "set": _set,
    "userevent": _nothing,
    "verbose": _nothing,
    "voicemail": _stay,
    "voicemailmain": _stay,
    "wait": _nothing,
}
