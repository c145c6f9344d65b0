"""AGI's messages: the opening block and replies, as bytes and as values.

Asterisk opens with one ``agi_key: value`` line for each variable and an empty line.
Then the gateway sends one command line at a time, and Asterisk answers each with

* ``200 result=N``, perhaps with `` (text)`` or `` endpos=N`` behind it,
* ``510 …`` unknown command, ``511 …`` not on a dead channel,
* ``520-…``, lines of any text, and ``520 …``: bad syntax,
* ``100 …``: the command runs, its reply follows.

A bare line ``HANGUP`` may come at any moment and answers nothing.
Source: docs/asterisk.md A1 to A7, seen on Asterisk 22.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import parse_qs

from pbxrouter.errors import ForgedRequest, ProtocolViolation
from pbxrouter.text import cut

HANGUP: Final = b"HANGUP"

BOUNDED: Final = "bounded"
"""The argument of AGI() by which the dialplan says that TIMEOUT(absolute) runs (dialplan/pbxrouter.conf)."""
GATEWAY_VARIABLE: Final = "PBXROUTER_ID"
"""The channel variable with the gateway's id, for the dialplan."""
PROBE: Final = "alive"
"""The argument of AGI() by which the dialplan only asks whether the gateway answers."""
KEY_VARIABLE: Final = "PBXROUTER_CALL"
"""The channel variable with the call's key, which the dialplan passes on to a second gateway."""
KEYED: Final = "call"
"""The argument of AGI() by which the dialplan asks for the call's key, and with ``=`` passes it back."""
AGAIN: Final = "again"
"""The argument that passes the key of a call that another gateway was asked about first."""

NOT_SHOWN: Final = "unknown"
"""What Asterisk writes for a missing number; a caller's name may be the same text.

Source: docs/asterisk.md A1.
"""

MAX_FIELD: Final = 1024
"""Characters that are kept of each variable of the opening block; Asterisk cuts most at 79 bytes."""
MAX_ARGUMENT: Final = 8192
"""Characters that are kept of each argument of AGI()."""
MAX_ARGUMENTS: Final = 128
"""Arguments of AGI() that Asterisk passes on at most."""

# The keys in the order in which Asterisk writes them (docs/asterisk.md A1); True: always there.
_KEYS: Final = (
    (b"agi_network", False),
    (b"agi_network_script", False),
    (b"agi_request", True),
    (b"agi_channel", True),
    (b"agi_language", True),
    (b"agi_type", True),
    (b"agi_uniqueid", True),
    (b"agi_version", True),
    (b"agi_callerid", True),
    (b"agi_calleridname", True),
    (b"agi_callingpres", True),
    (b"agi_callingani2", True),
    (b"agi_callington", True),
    (b"agi_callingtns", True),
    (b"agi_dnid", True),
    (b"agi_rdnis", True),
    (b"agi_context", True),
    (b"agi_extension", True),
    (b"agi_priority", True),
    (b"agi_enhanced", True),
    (b"agi_accountcode", True),
    (b"agi_threadid", True),
)
# Exactly as Asterisk writes them: a caller has 79 bytes to forge with, and this leaves
# too few to complete a block and put a reply behind it.
_INTEGER: Final = re.compile(rb"-?[0-9]+")
_SECONDS: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
_KEY: Final = re.compile(r"[0-9a-f]{12,16}-[0-9]{1,9}", re.ASCII)
_FORMS: Final = {
    "callingpres": _INTEGER,
    "callingani2": _INTEGER,
    "callington": _INTEGER,
    "callingtns": _INTEGER,
    "priority": _INTEGER,
    "enhanced": re.compile(rb"[01]\.0"),
    "threadid": _INTEGER,
}
_ARGUMENT: Final = re.compile(rb"agi_arg_([1-9][0-9]*): (.*)", re.DOTALL)


def _block_pattern() -> re.Pattern[str]:
    lines = []
    for key, always in _KEYS:
        name = key[4:].decode("ascii")
        form = _FORMS.get(name)
        line = f"agi_{name}: (?P<{name}>{'.*' if form is None else form.pattern.decode('ascii')})\n"
        lines.append(line if always else f"(?:{line})?")
    return re.compile("".join(lines) + r"(?P<arguments>(?:agi_arg_[1-9][0-9]*: .*\n)*)")


_BLOCK: Final = _block_pattern()
_REPLY: Final = re.compile(r"(200|510|511|520)(?: result=(-?[^\s(]*))?(.*)", re.DOTALL)
_ENDPOS: Final = re.compile(r" endpos=([0-9]{1,18})(?![0-9])")


ASTERISK: Final = "asterisk="
"""How the argument of AGI() begins by which the dialplan names its Asterisk (dialplan/pbxrouter.conf)."""
SECRET: Final = "secret="
"""How the argument of AGI() begins that holds the shared secret."""
_SECRET: Final = re.compile(f"({re.escape(SECRET)}).*", re.DOTALL | re.IGNORECASE)


def masked_secret(text: str) -> str:
    """Text with the shared secret masked, from ``secret=`` to its end; ``Secret=``, a mistake, is masked, too."""
    return _SECRET.sub(r"\1***", text)


def decode(data: bytes) -> str:
    """Decode bytes from Asterisk; those that are not UTF-8 become surrogate escapes, which ``encode`` reverses."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Encode text for Asterisk, the opposite of ``decode``."""
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class AGIRequest:
    """The opening block of a call: what Asterisk sends before the first command.

    A value that is longer than MAX_FIELD or MAX_ARGUMENT is cut, and says so at its end.

    Attributes:
        variables: the ``agi_*`` variables, without that prefix; ``arg_N`` left out.
        arguments: what the dialplan passed to AGI() after the address; to be shown by masked_secret only.
    """

    variables: Mapping[str, str]
    arguments: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if any(len(value) > MAX_FIELD for value in self.variables.values()):
            kept = {name: cut(value, MAX_FIELD) for name, value in self.variables.items()}
            object.__setattr__(self, "variables", kept)
        if any(len(value) > MAX_ARGUMENT for value in self.arguments):
            object.__setattr__(self, "arguments", tuple(cut(value, MAX_ARGUMENT) for value in self.arguments))

    @property
    def secret(self) -> str | None:
        """The shared secret: what follows ``secret=`` in the first argument that begins so; None if none does."""
        return next((text.removeprefix(SECRET) for text in self.arguments if text.startswith(SECRET)), None)

    @property
    def asterisk(self) -> str:
        """What the dialplan says it is: what follows ``asterisk=`` in the first argument that begins so; or ``""``."""
        return next((text.removeprefix(ASTERISK) for text in self.arguments if text.startswith(ASTERISK)), "")

    @property
    def caller(self) -> str | None:
        """The calling number; None if the call shows none."""
        caller = self.variables.get("callerid")
        return None if caller in ("", NOT_SHOWN) else caller

    @property
    def caller_name(self) -> str:
        """The caller's name; ``""`` if the call shows none."""
        name = self.variables.get("calleridname", "")
        return "" if name == NOT_SHOWN else name

    @property
    def extension(self) -> str:
        """The dialplan's extension: the dialled number, or a name such as ``s`` or ``h``."""
        return self.variables.get("extension", "")

    @property
    def dnid(self) -> str | None:
        """The number the caller dialled, where the channel knows; else None."""
        dnid = self.variables.get("dnid")
        return None if dnid in ("", NOT_SHOWN) else dnid

    @property
    def channel(self) -> str:
        """The channel's name, such as ``PJSIP/33-00000000``; it may change during the call."""
        return self.variables.get("channel", "")

    @property
    def uniqueid(self) -> str:
        """The channel's Uniqueid, which does not change."""
        return self.variables.get("uniqueid", "")

    @property
    def language(self) -> str:
        """The channel's language, such as ``en`` or ``es``."""
        return self.variables.get("language", "")

    @property
    def script(self) -> str:
        """The path of the ``agi://`` address, before any ``?``."""
        return self.variables.get("network_script", "").partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The query of the ``agi://`` address; of a repeated key the first value."""
        query = self.variables.get("network_script", "").partition("?")[2]
        return {key: values[0] for key, values in parse_qs(query, keep_blank_values=True).items()}

    @property
    def is_bounded(self) -> bool:
        """Whether the dialplan limits the call by TIMEOUT(absolute), to be lifted before an application runs."""
        return BOUNDED in self.arguments

    @property
    def talk_s(self) -> float | None:
        """Seconds that the talk before an application may take, if TIMEOUT(absolute) is the gateway's to set.

        The first argument that begins with ``bounded=`` has them; none or 0 after it: no limit but the gateway's own.
        None: TIMEOUT(absolute) is not the gateway's to set.
        """
        given = next((text for text in self.arguments if text.startswith(f"{BOUNDED}=")), None)
        if given is None:
            return None
        seconds = given.removeprefix(f"{BOUNDED}=")
        return float(seconds) if _SECONDS.fullmatch(seconds) and float(seconds) else math.inf

    @property
    def wants_key(self) -> bool:
        """Whether the dialplan asks for the call's key."""
        return KEYED in self.arguments

    @property
    def call_key(self) -> str:
        """The call's key, as the dialplan passes it; ``""`` if it passes none, or what is no key."""
        return self._argument(KEYED) or self._argument(AGAIN)

    @property
    def is_second_turn(self) -> bool:
        """Whether another gateway was asked about the call first, and did not serve it."""
        return bool(self._argument(AGAIN))

    def with_key(self, key: str, name: str = KEYED) -> AGIRequest:
        """The same request with a key for the call, as if the dialplan had passed it as the argument of this name."""
        return replace(self, arguments=(*self.arguments, f"{name}={key}"))

    def _argument(self, name: str) -> str:
        given = next((text for text in self.arguments if text.startswith(f"{name}=")), "")
        key = given.removeprefix(f"{name}=")
        return key if _KEY.fullmatch(key) else ""

    @property
    def is_probe(self) -> bool:
        """Whether the dialplan only asks if the gateway is alive; there is no call to serve."""
        return self.arguments[:1] == (PROBE,)

    @property
    def is_hung_up(self) -> bool:
        """Whether this is the extension ``h``, which the dialplan runs on a dead channel."""
        return self.extension == "h"


def parse_request(block: bytes) -> AGIRequest:
    """Parse the opening block, without the empty line that ends it.

    Only Asterisk's own keys are accepted, in Asterisk's order, once each: a caller
    can put line ends into a number and so add lines, but not in the right places
    without the true ones following (docs/asterisk.md A7).

    Raises:
        ForgedRequest: a key is out of order, repeated, missing or unknown.
        ProtocolViolation: the first line is no ``agi_key: value``.
    """
    if block.count(b"\n") >= len(_KEYS) + MAX_ARGUMENTS:
        raise ForgedRequest(f"the opening block has more than {len(_KEYS) + MAX_ARGUMENTS} lines")
    match = _BLOCK.fullmatch(decode(block) + "\n")
    if match is None:
        raise _violation(block)
    variables = match.groupdict()
    arguments = variables.pop("arguments").split("\n")[:-1]
    for number, line in enumerate(arguments, 1):
        if not line.startswith(f"agi_arg_{number}: "):
            raise _out_of_order(encode(line), True)
    if variables["network"] is None or variables["network_script"] is None:
        variables = {name: value for name, value in variables.items() if value is not None}
    return AGIRequest(variables, tuple([line.split(": ", 1)[1] for line in arguments]))


def genuine_start(block: bytes) -> AGIRequest:
    """The part of a forged opening block that precedes anything a caller can choose: channel and Uniqueid."""
    variables: dict[str, str] = {}
    place = 0
    for line in block.split(b"\n", len(_KEYS))[: len(_KEYS)]:
        key, _, value = line.partition(b": ")
        while key != _KEYS[place][0] and not _KEYS[place][1]:
            place += 1
        if key != _KEYS[place][0] or key == b"agi_callerid":
            break
        if key in (b"agi_channel", b"agi_uniqueid"):
            variables[decode(key[4:])] = decode(value)
        place += 1
    return AGIRequest(variables)


def _violation(block: bytes) -> ProtocolViolation:
    """The exception that describes what is wrong with a block that Asterisk would not write.

    A block of which no line is wrong ends too early: with all keys it would have been accepted.
    """
    position = 0
    for line in block.split(b"\n"):
        key, colon, value = line.partition(b": ")
        if not colon or not key.startswith(b"agi_"):
            return _out_of_order(line, position > 0)
        while position < len(_KEYS) and key != _KEYS[position][0] and not _KEYS[position][1]:
            position += 1
        if position < len(_KEYS):
            form = _FORMS.get(key[4:].decode("ascii", "replace"))
            if key != _KEYS[position][0] or (form is not None and not form.fullmatch(value)):
                return _out_of_order(line, True)
            position += 1
        elif not _ARGUMENT.fullmatch(line):
            return _out_of_order(line, True)
    return ForgedRequest(f"the opening block ends before {_KEYS[position][0].decode('ascii')}")


def _out_of_order(line: bytes, forged: bool) -> ProtocolViolation:
    shown = ascii(masked_secret(decode(line))[:60])
    if forged:
        return ForgedRequest(f"the opening block holds {shown} where Asterisk would not write it")
    return ProtocolViolation(f"the opening block begins with {shown}; expected is agi_network: yes")


def format_request(variables: Mapping[str, str], arguments: Iterable[str] = ()) -> bytes:
    """Make an opening block as Asterisk writes it, empty line included."""
    lines = [
        key + b": " + encode(variables[key[4:].decode("ascii")])
        for key, _ in _KEYS
        if key[4:].decode("ascii") in variables
    ]
    lines.extend(b"agi_arg_%d: %s" % (number, encode(value)) for number, value in enumerate(arguments, 1))
    return b"\n".join(lines) + b"\n\n"


# --- replies -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AGIReply:
    """Asterisk's answer to one command.

    Attributes:
        code: 200, 510, 511 or 520.
        result: the text behind ``result=``; may be ``""``.
        data: the text in the outer brackets; None without brackets.
        endpos: samples played, where the command plays; else None.
        text: the reply as it came, without the code.
    """

    code: int
    result: str = ""
    data: str | None = None
    endpos: int | None = None
    text: str = ""

    @property
    def timed_out(self) -> bool:
        """Whether GET DATA ended by its timeout."""
        return self.data == "timeout"


_COMMON_REPLIES: Final = {
    b"200 result=%d" % result: AGIReply(200, str(result), text=f"result={result}") for result in (-1, 0, 1)
}
"""Replies to most commands, parsed in advance; none holds what a caller keyed."""


def parse_reply(reply: bytes) -> AGIReply:
    """Parse one whole reply, of a 520 all lines.

    Raises:
        ProtocolViolation: the reply begins with none of Asterisk's codes, or is a 200
            without ``result=``.
    """
    if (common := _COMMON_REPLIES.get(reply)) is not None:
        return common
    text = decode(reply)
    match = _REPLY.fullmatch(text)
    if match is None:
        raise ProtocolViolation(f"{text[:60]!a} is no reply of Asterisk's")
    code, result, rest = int(match[1]), match[2], match[3]
    if code == 200 and result is None:
        raise ProtocolViolation(f"{text[:60]!a} has no result=")
    opening, closing = rest.find("("), rest.rfind(")")
    data = rest[opening + 1 : closing] if 0 <= opening < closing else None
    position = _ENDPOS.search(rest) if data is None else None
    return AGIReply(code, result or "", data, int(position[1]) if position else None, text[4:])
