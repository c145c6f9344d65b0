"""Decoding of AsyncAGI replies, and of the 2006 patch's event.

Asterisk reads a command's reply from a pipe, once, at most 1023 bytes, encodes it and cuts the result
at 2047 bytes: what it did not read precedes the next reply (docs/asterisk.md C). A shorter reply leaves
nothing behind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from pbxrouter.agi import AGIReply, AGIRequest, decode, encode
from pbxrouter.ami import AMIMessage
from pbxrouter.errors import ForgedRequest

BLOCK_END: Final = b"\n\n"
FLUSH: Final = "NOOP"
"""The command whose reply is preceded by what is left in the pipe."""
FLUSHED: Final = b"200 result=0\n"
"""The reply of FLUSH itself."""

_PIPE: Final = 1023
_ENCODED: Final = 2045  # 2047, less a %XX that would not fit

_HISTORICAL: Final = "request channel language type uniqueid callerid context extension priority enhanced".split()
_STREAM: Final = re.compile(r'STREAM FILE (\S+|"(?:[^"\\]|\\.)*") 0123456789\*#', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a reply that one event brought.

    Attributes:
        more: whether the rest may still be in the pipe.
        lost: whether a part will never come.
    """

    data: bytes
    more: bool
    lost: bool


def piece(encoded: str) -> Piece:
    """Decode the value of ``Result`` or ``Env``."""
    data = unquote_to_bytes(encode(encoded))
    lost = len(encoded) >= _ENCODED
    return Piece(data, lost or len(data) >= _PIPE, lost)


def without_progress(answer: bytes) -> bytes:
    """Remove ``100`` lines that precede a reply."""
    while answer.startswith(b"100 "):
        answer = answer.partition(b"\n")[2]
    return answer


def without_break_on_error(command: str) -> str:
    """Replace a command by one that does the same and does not end AsyncAGI on an error.

    A STREAM FILE whose sound is missing ends the run (docs/asterisk.md C); a GET DATA for one key does not.
    """
    found = _STREAM.fullmatch(command)
    return f"GET DATA {found[1]} 1 1" if found else command


def as_reply_to(reply: AGIReply, command: str, sent: str) -> AGIReply:
    """Convert the reply to the replacement into a reply to the original command."""
    if command == sent or reply.code != 200 or reply.result == "-1":
        return reply
    key = reply.result[:1] or ("" if reply.timed_out else "#")
    result = str(ord(key)) if key else "0"
    return AGIReply(200, result, text=f"result={result}")


def historical_request(event: AMIMessage) -> AGIRequest | None:
    """Parse the request from the 2006 patch's ``MAGIExec`` event; None if it contains none.

    The workshop reads ``Channel``, and the ``agi_*`` block in ``Result``.

    Raises:
        ForgedRequest: the block is incomplete, or of another channel or none.
    """
    lines = unquote_to_bytes(encode(event.get("Result"))).replace(b"\r\n", b"\n").strip(b"\n").split(b"\n")
    if not lines[0].startswith(b"agi_"):
        return None
    variables: dict[str, str] = {}
    for name, value in (*(_split(line) for line in lines), *event):
        if name.startswith("agi_"):
            if name[4:] in variables:
                raise ForgedRequest(f"{name[:60]!a} stands twice in it")
            variables[name[4:]] = value
    missing = [name for name in _HISTORICAL if name not in variables]
    if missing:
        raise ForgedRequest(f"agi_{missing[0]} is not in it")
    if not variables["channel"]:
        raise ForgedRequest("agi_channel is empty")
    if variables["channel"] != event.get("Channel"):
        raise ForgedRequest("it is of another channel")
    return AGIRequest(variables)


def _split(line: bytes) -> tuple[str, str]:
    name, _, value = line.partition(b":")
    return decode(name), decode(value.removeprefix(b" "))
