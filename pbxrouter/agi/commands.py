"""AGI commands: writing a command line, and the properties of each kind of command.

Source: docs/asterisk.md A2, A5, A6.
"""

from __future__ import annotations

import re
from typing import Final

from pbxrouter.agi.messages import AGIReply, encode
from pbxrouter.errors import CommandRefused, InvalidArgument

MAX_COMMAND: Final = 8190
"""Bytes of the longest command line; Asterisk cuts a longer one into several (docs/asterisk.md A6)."""

REPLY_TIMEOUT_S: Final = 30.0
"""Seconds for the reply to a command that takes no time."""
KEYING_TIMEOUT_S: Final = 600.0
"""Seconds for the reply to a command that plays or waits for keys; Asterisk bounds those itself."""

_PLAIN_WORD: Final = re.compile(r"[A-Za-z0-9_./@,:=+*#&-]+")
_UNSENDABLE: Final = re.compile(r"[\r\n\0]")
_IS_EXEC: Final = re.compile(r"exec\b", re.IGNORECASE)
_IS_DIAL: Final = re.compile(r"exec dial\b", re.IGNORECASE)
_TAKES_TIME: Final = re.compile(
    r"(?:answer|get data|get option|(?:control )?stream|wait for digit|say |record file|receive |gosub)",
    re.IGNORECASE,
)


def quote(argument: str) -> str:
    """Quote an argument for an AGI command line, if it needs quoting.

    Raises:
        InvalidArgument: the argument holds CR, LF or NUL, which no quoting makes safe.
    """
    if _PLAIN_WORD.fullmatch(argument):
        return argument
    match = _UNSENDABLE.search(argument)
    if match:
        raise InvalidArgument(f"an AGI argument may not hold {match.group()!r}: {argument[:60]!a}")
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def command(name: str, *arguments: str | int) -> str:
    """Make a command line: the name as it is, and each argument quoted where that is needed.

    Raises:
        InvalidArgument: as quote.
    """
    return " ".join(
        [name, *[str(argument) if isinstance(argument, int) else quote(argument) for argument in arguments]]
    )


def encode_command(line: str) -> bytes:
    """Encode a command line, line end included.

    Raises:
        InvalidArgument: the line holds CR, LF or NUL, or is longer than Asterisk reads.
    """
    match = _UNSENDABLE.search(line)
    if match:
        raise InvalidArgument(f"an AGI command may not hold {match.group()!r}: {line[:60]!a}")
    data = encode(line)
    if len(data) > MAX_COMMAND:
        raise InvalidArgument(
            f"an AGI command has {len(data)} bytes; Asterisk reads at most {MAX_COMMAND}: {line[:60]!a}"
        )
    return data + b"\n"


_DEAD_ALLOWED: Final = re.compile(
    r"(?:noop|get variable|get full variable|set variable|verbose|exec|database \w+)\b", re.IGNORECASE
)


def allowed_when_hung_up(line: str) -> bool:
    """Whether Asterisk carries out this command on a dead channel (docs/asterisk.md A5)."""
    return bool(_DEAD_ALLOWED.match(line))


_KEYED: Final = re.compile(
    r"(?:get data|stream file|control stream file|wait for digit|get option|say |exec read)", re.IGNORECASE
)
_GOOD_REPLY: Final = re.compile(
    r"200 result=[^\s(]*(?: \(timeout\)| endpos=[0-9]+)?|5[0-9][0-9][ -](?:Invalid|Command|End)?[^0-9]*", re.ASCII
)
_KEYED_RESULT: Final = re.compile(r"(?<=result=)(?!(?:-1|0)(?:\s|$))[^\s(]+")


def masked_reply(line: str, reply: str) -> str:
    """A reply for people to read: the digits that the caller keyed are starred."""
    if not is_keyed(line):
        return reply
    return _KEYED_RESULT.sub("***", reply) if _GOOD_REPLY.fullmatch(reply) else "***"


def is_keyed(line: str) -> bool:
    """Whether the reply to this command holds what the caller keyed, perhaps a PIN."""
    return bool(_KEYED.match(line))


def refused(reply: AGIReply, line: str) -> CommandRefused:
    """The exception for a reply 510 or 520; quotes nothing that a caller may have keyed."""
    text = "" if is_keyed(line) else reply.text.split("\n")[0]
    return CommandRefused(reply.code, " ".join(line.split(" ")[:2]), text)


def outlives_caller(line: str) -> bool:
    """Whether this is a Dial, whose result can still be read from a dead channel."""
    return bool(_IS_DIAL.match(line))


def reply_timeout_s(line: str) -> float | None:
    """Seconds that the reply may take; None for an application, which may run without bound."""
    if _IS_EXEC.match(line):
        return None
    return KEYING_TIMEOUT_S if _TAKES_TIME.match(line) else REPLY_TIMEOUT_S


def is_application(line: str) -> bool:
    """Whether this runs an application of the dialplan, which goes on in Asterisk if the gateway goes away."""
    return bool(_IS_EXEC.match(line))


def takes_time(line: str) -> bool:
    """Whether this command runs for as long as an application, a sound or the caller's keys take."""
    return bool(_IS_EXEC.match(line) or _TAKES_TIME.match(line))


def may_mean_hangup(line: str) -> bool:
    """Whether a reply ``-1`` to this command may mean that the caller hung up."""
    return takes_time(line)
