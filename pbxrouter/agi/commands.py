"""AGI's commands: how a line is written, and what is known of each kind of command.

Source: docs/asterisk.md A2, A5, A6. Pure; not here: replies (agi) and what to say to a caller (verbs).
"""

from __future__ import annotations

import re
from typing import Final

from pbxrouter.agi.messages import AGIReply, encode
from pbxrouter.errors import CommandRefused, InvalidArgument

MAX_COMMAND: Final = 8190
"""Bytes of the longest command line; Asterisk cuts a longer one into several (docs/asterisk.md A6)."""

REPLY_TIMEOUT_S: Final = 30.0
"""For commands that take no time."""
KEYING_TIMEOUT_S: Final = 600.0
"""For commands that play something or wait for keys; Asterisk bounds those itself."""

_PLAIN_WORD: Final = re.compile(r"[A-Za-z0-9_./@,:=+*#&-]+")
_UNSENDABLE: Final = re.compile(r"[\r\n\0]")
_IS_EXEC: Final = re.compile(r"exec\b", re.IGNORECASE)
_IS_DIAL: Final = re.compile(r"exec dial\b", re.IGNORECASE)
_TAKES_TIME: Final = re.compile(
    r"(?:answer|get data|get option|(?:control )?stream|wait for digit|say |record file|receive |gosub)",
    re.IGNORECASE,
)


def quote(argument: str) -> str:
    """An argument as AGI needs it to arrive as it is; a plain word needs nothing.

    Raises:
        InvalidArgument: it holds CR, LF or NUL, which no quoting makes safe.
    """
    if _PLAIN_WORD.fullmatch(argument):
        return argument
    found = _UNSENDABLE.search(argument)
    if found:
        raise InvalidArgument(f"an AGI argument may not hold {found.group()!r}: {argument[:60]!a}")
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def command(name: str, *arguments: str | int) -> str:
    """A command line: the name as it is, each argument quoted where it must be.

    Raises:
        InvalidArgument: as quote.
    """
    return " ".join(
        [name, *[str(argument) if isinstance(argument, int) else quote(argument) for argument in arguments]]
    )


def encode_command(line: str) -> bytes:
    """A command line as bytes, line end included.

    Raises:
        InvalidArgument: CR, LF or NUL in it, or longer than Asterisk reads.
    """
    found = _UNSENDABLE.search(line)
    if found:
        raise InvalidArgument(f"an AGI command may not hold {found.group()!r}: {line[:60]!a}")
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
    """Whether Asterisk still does this command on a channel that is hung up (docs/asterisk.md A5)."""
    return bool(_DEAD_ALLOWED.match(line))


_KEYED: Final = re.compile(
    r"(?:get data|stream file|control stream file|wait for digit|get option|say |exec read)", re.IGNORECASE
)
_GOOD_REPLY: Final = re.compile(r"(?:200 result=|5\d\d[ -](?:Invalid|Command|End|$))")
_KEYED_RESULT: Final = re.compile(r"(?<=result=)(?!(?:-1|0)(?:\s|$))[^\s(]+")


def masked_reply(line: str, reply: str) -> str:
    """A reply fit to be shown: what the caller keyed in answer to a command is starred."""
    if not is_keyed(line):
        return reply
    return _KEYED_RESULT.sub("***", reply) if _GOOD_REPLY.match(reply) else "***"


def is_keyed(line: str) -> bool:
    """Whether the answer to this command holds what a caller keyed, perhaps a PIN."""
    return bool(_KEYED.match(line))


def refused(reply: AGIReply, line: str) -> CommandRefused:
    """The failure for a 510 or 520; quotes nothing that a caller may have keyed."""
    text = "" if is_keyed(line) else reply.text.split("\n")[0]
    return CommandRefused(reply.code, " ".join(line.split(" ")[:2]), text)


def outlives_caller(line: str) -> bool:
    """Whether this is a Dial: what became of it can be asked of a channel that is hung up, too."""
    return bool(_IS_DIAL.match(line))


def reply_timeout_s(line: str) -> float | None:
    """How long a reply may take, in seconds; None if an application runs as long as it likes."""
    if _IS_EXEC.match(line):
        return None
    return KEYING_TIMEOUT_S if _TAKES_TIME.match(line) else REPLY_TIMEOUT_S


def may_mean_hangup(line: str) -> bool:
    """Whether a reply ``-1`` to this command may mean that the caller has gone."""
    return bool(_IS_EXEC.match(line) or _TAKES_TIME.match(line))
