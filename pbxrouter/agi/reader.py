"""Splits what Asterisk sends over FastAGI into requests, replies and hang-up lines.

The bytes may be cut anywhere. A block or a reply that exceeds MAX_BUFFER is refused, not kept.
Source: docs/asterisk.md A1, A2, A6, A7.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Final

from pbxrouter.agi.commands import is_keyed
from pbxrouter.agi.messages import (
    HANGUP,
    AGIReply,
    AGIRequest,
    decode,
    genuine_start,
    masked_secret,
    parse_reply,
    parse_request,
)
from pbxrouter.errors import ForgedRequest, ProtocolViolation

MAX_BUFFER: Final = 1 << 20
"""Bytes that a block or a reply may have at most."""
MAX_TRYING: Final = 100
"""Lines ``100`` that may come before one reply; Asterisk sends one."""

MAX_LINES: Final = 1000
"""Lines that a reply may have at most."""
MAX_HANGUPS: Final = 20
"""Lines ``HANGUP`` that may come in one conversation; Asterisk sends two or three."""

_ANSWERS_MANY_LINES: Final = re.compile(r"(?:get variable|get full variable|database get)\b", re.IGNORECASE)


class HangupLine(enum.Enum):
    """The bare line ``HANGUP``."""

    SEEN = "HANGUP"


AGIEvent = AGIRequest | AGIReply | HangupLine


class AGIReader:
    """Reads Asterisk's side of one FastAGI conversation.

    Attributes:
        command: the command that waits for its reply; ``""`` if none does. The owner sets it when it sends, the
            reader clears it when the reply is complete.
        request: what is known of the call; of a forged opening block its channel and Uniqueid at most.

    Args:
        on_line: called for each line after the opening block, with the command that it may answer.
    """

    __slots__ = (
        "_buffer",
        "_collected",
        "_hangups",
        "_lines",
        "_on_line",
        "_opened",
        "_searched",
        "_trying",
        "command",
        "request",
    )

    def __init__(self, on_line: Callable[[str, bytes], None] = lambda command, line: None) -> None:
        self.command = ""
        self.request = AGIRequest({})
        self._on_line = on_line
        self._buffer = bytearray()
        self._searched = 0
        self._opened = False
        self._lines: list[bytes] = []  # of a reply of many lines, so far
        self._collected = 0
        self._trying = 0
        self._hangups = 0

    @property
    def waiting(self) -> int:
        """Number of bytes that belong to an event that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Append bytes to the buffer."""
        self._buffer += data

    def next_event(self) -> AGIEvent | None:
        """Return the next complete event; None if more bytes are needed.

        Raises:
            ForgedRequest: there are lines that Asterisk would not write there.
            ProtocolViolation: the bytes are no AGI, or too many.
        """
        if not self._opened:
            return self._opening()
        if not self._buffer:
            return None
        while (line := self._line()) is not None:
            self._on_line(self.command, line)
            event = self._line_event(line)
            if event is not None:
                return event
        return None

    def _opening(self) -> AGIRequest | None:
        if self._buffer[:4] != b"agi_"[: len(self._buffer)]:
            raise ProtocolViolation(
                f"{masked_secret(decode(bytes(self._buffer[:60])))!a} is not how Asterisk opens a call"
            )
        end = self._buffer.find(b"\n\n", max(0, self._searched - 1))
        if end < 0:
            self._searched = len(self._buffer)
            self._demand_bound(self._searched)
            return None
        block = bytes(self._buffer[:end])
        self.request = genuine_start(block)
        request = parse_request(block)
        del self._buffer[: end + 2]
        self._searched = 0
        self._opened = True
        self._demand_nothing_more(ForgedRequest)
        self.request = request
        return request

    def _demand_nothing_more(self, violation: type[ProtocolViolation]) -> None:
        """Refuse bytes that follow: without a command Asterisk sends nothing but HANGUP."""
        if self._buffer and not b"HANGUP\nHANGUP\n".startswith(self._buffer):
            raise violation("something follows that Asterisk was not asked")

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            self._demand_bound(self._searched)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def _line_event(self, line: bytes) -> AGIEvent | None:
        if line == HANGUP:
            self._hangups += 1
            if self._hangups > MAX_HANGUPS:
                raise ProtocolViolation("a hang-up is told without end")
            return HangupLine.SEEN
        if not self.command:
            raise ProtocolViolation("a line came that answers no command")
        if line.startswith(b"100") and not self._lines:
            self._trying += 1
            if self._trying > MAX_TRYING:
                raise ProtocolViolation("a command is said to be in progress without end")
            return None  # the reply follows
        self._collected += len(line) + 1
        self._demand_bound(self._collected)
        if self._lines or self._has_many(line):
            self._lines.append(line)
            if len(self._lines) > MAX_LINES:
                raise ProtocolViolation(f"a reply has more than {MAX_LINES} lines")
            if self._needs_more(line):
                return None
            reply = b"\n".join(self._lines)
            self._lines.clear()
        else:
            reply = line
        self._collected = self._trying = 0
        command, self.command = self.command, ""
        self._demand_nothing_more(ProtocolViolation)
        try:
            return parse_reply(reply)
        except ProtocolViolation:
            if is_keyed(command):  # what came may be a PIN: not to be quoted
                raise ProtocolViolation("the answer to a question for digits is no reply of Asterisk's") from None
            raise

    def _has_many(self, first: bytes) -> bool:
        """Whether a reply with this first line may have more lines."""
        if first.startswith(b"200 result=1 ("):
            return _ANSWERS_MANY_LINES.match(self.command) is not None
        return first.startswith(b"520-")

    def _needs_more(self, line: bytes) -> bool:
        """Whether a reply of many lines has more after this one."""
        if self._lines[0].startswith(b"520-"):
            return not line.startswith(b"520 ")
        return not line.endswith(b")")  # a variable's value may hold line ends

    def _demand_bound(self, size: int) -> None:
        if size > MAX_BUFFER:
            raise ProtocolViolation(f"Asterisk's side sent more than {MAX_BUFFER} bytes without an end")
