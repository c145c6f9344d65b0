"""Parsing of AMI messages, and formatting of actions.

A message is lines ``Header: value``, ended by ``\\r\\n``, and an empty line. It is an event, the
response to an action, or an item of a list that answers one. A busy PBX sends tens of thousands of
events a second of which few are wanted, so a message's headers are parsed only when asked for.

Source: docs/asterisk.md B1, B2. Numbers in events are raw, so a caller can forge whole events
(B6); those are parsed like any other.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Final

from pbxrouter.agi import decode, encode
from pbxrouter.errors import InvalidAction, ManagerProtocolError

MAX_MESSAGE: Final = 1 << 20
"""Maximum bytes of a message; a longer one is refused."""
MAX_LINE: Final = 1022
"""Maximum bytes of a line that Asterisk reads (docs/asterisk.md B2)."""
MAX_LINES: Final = 128
"""Maximum lines of an action (docs/asterisk.md B2)."""

MAX_BANNER: Final = 1024
"""Maximum bytes of the banner."""

_LINE_END: Final = b"\r\n"
_END: Final = _LINE_END + _LINE_END
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_UNSENDABLE: Final = re.compile(r"[\r\n\0]")


class AMIMessage:
    """One message; its headers are parsed when first asked for.

    Attributes:
        raw: the bytes, without the empty line.
    """

    __slots__ = ("_headers", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._headers: list[tuple[str, str]] | None = None

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All headers in order, repeated ones included; names as Asterisk spells them."""
        if self._headers is None:
            self._headers = [_header(line) for line in self.raw.split(_LINE_END)]
        return self._headers

    def get(self, name: str, default: str = "") -> str:
        """The first value of a header, ``""`` if there is none; names are case-insensitive.

        Most events are asked for two or three of their twenty headers, so only those are parsed.
        """
        raw, key = self.raw, _key(name)
        lowered = raw.lower()
        start = -2 if lowered.startswith(key[2:]) else lowered.find(key)
        if start == -1:
            return default
        end = raw.find(_LINE_END, start + len(key))
        return decode(raw[start + len(key) : end if end >= 0 else None].removeprefix(b" "))

    def all(self, name: str) -> list[str]:
        """All values of a header that may be repeated, such as ``Output``."""
        wanted = name.lower()
        return [value for header, value in self.headers if header.lower() == wanted]

    def __contains__(self, name: str) -> bool:
        wanted = name.lower()
        return any(header.lower() == wanted for header, _ in self.headers)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.headers)

    @property
    def kind(self) -> str:
        """``Event`` or ``Response``; ``""`` if it is neither."""
        first = self.raw[:10].lower()
        return "Event" if first.startswith(b"event:") else "Response" if first.startswith(b"response:") else ""

    @property
    def name(self) -> str:
        """The value of the first line: ``Newchannel``, ``Success``."""
        return decode(self.raw.partition(_LINE_END)[0].partition(b":")[2].strip(b" "))

    @property
    def action_id(self) -> str:
        """The ActionID; ``""`` if there is none."""
        return self.get("ActionID")

    @property
    def is_success(self) -> bool:
        """Whether a response reports success."""
        return self.kind == "Response" and self.name in ("Success", "Goodbye", "Follows")

    def __repr__(self) -> str:
        return f"<{self.kind or 'Message'} {self.name!a}>"


@functools.lru_cache(maxsize=256)
def _key(name: str) -> bytes:
    """The bytes with which a header begins, the preceding line end included."""
    return _LINE_END + encode(name).lower() + b":"


def _header(line: bytes) -> tuple[str, str]:
    name, _, value = line.partition(b":")
    return decode(name), decode(value.removeprefix(b" "))


class AMIReader:
    """Splits a stream of bytes into messages.

    The banner, Asterisk's first line, comes before any message and is taken by ``banner``.
    """

    def __init__(self) -> None:
        self.banner: str | None = None
        self._parts: list[bytes] = []
        self._kept = 0
        self._tail = b""

    def feed(self, data: bytes) -> list[AMIMessage]:
        """Feed bytes; returns the messages completed by them.

        Raises:
            ManagerProtocolError: the first line is not Asterisk's banner, or a message is too long.
        """
        return [AMIMessage(raw) for raw in self.cut(data)]

    def cut(self, data: bytes) -> list[bytes]:
        """Like ``feed``, but returns the raw bytes of each message."""
        end = _END if self.banner is not None else _LINE_END
        if end not in self._tail + data[: len(_END)] and end not in data:
            self._keep(data)
            return []
        buffer = b"".join((*self._parts, data))
        if self.banner is None:
            line, _, buffer = buffer.partition(_LINE_END)
            self.banner = _banner(line)
        whole = buffer.split(_END)
        self._parts, self._kept, self._tail = [], 0, b""
        self._keep(whole.pop())
        # A line end too many, as a caller can forge one, belongs to no message.
        return [raw.removeprefix(_LINE_END) for raw in whole if raw and raw != _LINE_END]

    def _keep(self, rest: bytes) -> None:
        """Keep an incomplete message, without copying it each time that more of it comes."""
        self._kept += len(rest)
        if self._kept > MAX_MESSAGE or (self.banner is None and self._kept > MAX_BANNER):
            raise ManagerProtocolError(f"the far end sent {self._kept} bytes without an end")
        self._parts.append(rest)
        self._tail = (self._tail + rest[-len(_END) :])[1 - len(_END) :]


def _banner(line: bytes) -> str:
    if not line.startswith(b"Asterisk Call Manager/"):
        raise ManagerProtocolError(f"{decode(line[:60])!a} is not how AMI begins; expected is Asterisk Call Manager/…")
    return decode(line)


def format_action(name: str, headers: Iterable[tuple[str, str]], action_id: str) -> bytes:
    """Format an action.

    Args:
        name: such as ``Originate``.
        headers: in order; a header may stand several times (``Variable``).
        action_id: repeated by Asterisk in the response.

    Raises:
        InvalidAction: a name or value that would become another header or another
            action (CR, LF, NUL), or more than Asterisk reads.
    """
    lines = [_line("Action", name), _line("ActionID", action_id)]
    lines.extend(_line(header, value) for header, value in headers)
    if len(lines) > MAX_LINES:
        raise InvalidAction(f"action {name} has {len(lines)} lines; Asterisk reads at most {MAX_LINES}")
    return b"\r\n".join(lines) + _END


def _line(name: str, value: str) -> bytes:
    if not _NAME.fullmatch(name):
        raise InvalidAction(f"{name[:60]!a} is no name of an AMI header")
    found = _UNSENDABLE.search(value)
    if found:
        raise InvalidAction(f"the AMI header {name} may not hold {found.group()!r}")
    try:
        line = encode(f"{name}: {value}")
    except UnicodeEncodeError:  # half a surrogate pair, as JSON can hold
        raise InvalidAction(f"the AMI header {name} holds what is no character") from None
    if len(line) > MAX_LINE:
        raise InvalidAction(f"the AMI header {name} has {len(line)} bytes; Asterisk reads at most {MAX_LINE}")
    return line


def variable(name: str, value: str) -> str:
    """Format a value of the header ``Variable`` that sets one variable only (docs/asterisk.md B2)."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{escaped}"'


_SNAPSHOT: Final = (
    "Channel ChannelState ChannelStateDesc CallerIDNum CallerIDName ConnectedLineNum ConnectedLineName "
    "Language AccountCode Context Exten Priority Uniqueid Linkedid"
).split()


def is_whole(event: AMIMessage, *also: str) -> bool:
    """Whether a channel's event has each of its headers exactly once.

    A caller has 79 bytes to forge with: too few for an event with all of these headers, and what is
    inserted into a genuine event stands beside the genuine headers (docs/asterisk.md A7, B6).
    """
    names = [name.lower() for name, _ in event]
    return all(names.count(name.lower()) == 1 for name in (*_SNAPSHOT, *also))
