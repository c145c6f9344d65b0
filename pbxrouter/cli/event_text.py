"""AMI events as text, with keyed digits masked.

Events can hold PINs if the AMI user has many classes (docs/asterisk.md B4): keys one by one, results
of AGI commands, variables that hold digits, arguments of applications. All of them are masked; now
and then a harmless number is masked, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, unquote

from pbxrouter.ami import AMIMessage
from pbxrouter.text import printable

STARS: Final = "***"

# PIN, USERPIN, pin_code; but not MAPPING.
_SECRET_NAME: Final = re.compile(
    r"pin(?![a-z])|pin_?(?:code|no|nr|num)|passw|secret|token|hash$|challenge$", re.IGNORECASE
)
_DIGITS: Final = re.compile(r"[0-9*#]+")
_RUN: Final = re.compile(r"[0-9*#]{3,}")
# Variables whose numbers are not keyed digits.
_OPEN_VARIABLES: Final = re.compile(
    r"(?:PBXROUTER(?:_\w+)?|DIALEDTIME(?:_MS)?|ANSWEREDTIME(?:_MS)?|RINGTIME(?:_MS)?|PROGRESSTIME(?:_MS)?"
    r"|HANGUPCAUSE|DIALEDPEERNUMBER|DIALEDPEERNAME|BRIDGEPEER|QUEUE\w*|RTPAUDIOQOS\w*|LOCALSTATIONID)"
)
# Applications whose argument is a place or a sound, not keyed digits.
_OPEN_APPLICATIONS: Final = frozenset(
    "agi answer appdial appdial2 background bridgewait busy confbridge congestion dial echo gosub goto "
    "hangup playback progress queue return ringing voicemail wait".split()
)
# The secret of fastagi.secret_file among the arguments of AGI(), also as AsyncAGIStart encodes it.
_SECRET_ARGUMENT: Final = re.compile(r"(?<=\bsecret=)[^,\s]+|(?<=secret%3D)(?:(?!%0A)[^,\s])+", re.IGNORECASE)
_KEYS_SENT: Final = re.compile(r"\bD\([^)]*\)")
# -2 to 1 are results of commands; anything else may be keyed digits.
_RESULT: Final = re.compile(r"(?<=result=)(?!(?:-[12]|[01])(?:\s|$))[^\s(]+|(?<=\()[0-9*#]+(?=\))")


def shown(event: AMIMessage) -> Iterator[tuple[str, str]]:
    """An event's headers with secrets masked; the first is its name."""
    name = event.name.lower()
    for header, value in event:
        yield header, _masked(event, name, header.lower(), value)


def as_line(event: AMIMessage) -> str:
    """One line: the name, then ``Header=value``; values with blanks in quotes, empty ones left out."""
    words = []
    for header, value in shown(event):
        header, text = printable(header), printable(value)
        if header.lower() == "event":
            words.append(text)
        elif text and header.lower() != "privilege":
            plain = not re.search(r'[\s"]', text)
            words.append(f"{header}={text if plain else json.dumps(text, ensure_ascii=False)}")
    return " ".join(words)


def as_json(event: AMIMessage) -> str:
    """One line of JSON: an object; the value of a repeated header is a list."""
    found: dict[str, str | list[str]] = {}
    for header, value in shown(event):
        before = found.get(header)
        if before is None:
            found[header] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[header] = [before, value]
    return json.dumps(found)


def _masked(event: AMIMessage, name: str, header: str, value: str) -> str:
    if not value or header == "event":
        return value
    if _SECRET_NAME.search(header):
        return STARS
    if name.startswith("dtmf") and header == "digit":
        return "*"
    if name == "varset" and header == "value":
        return _variable(event.get("Variable"), value)
    if header.startswith("chanvariable") or header.endswith("chanvariable"):
        variable, equals, text = value.partition("=")
        return f"{variable}{equals}{_variable(variable, text)}"
    if header in ("appdata", "lastdata", "applicationdata", "data"):
        application = event.get("Application") or event.get("LastApplication")
        return _argument(application, value)
    if name.startswith(("agiexec", "asyncagi")):
        return _agi(header, value)
    return value


def _variable(name: str, value: str) -> str:
    if value and _SECRET_NAME.search(name):
        return STARS
    if _OPEN_VARIABLES.fullmatch(name):
        return value
    return STARS if _DIGITS.fullmatch(value) else value


def _argument(application: str, data: str) -> str:
    data = _SECRET_ARGUMENT.sub(STARS, _KEYS_SENT.sub(f"D({STARS})", data))
    return data if application.lower() in _OPEN_APPLICATIONS else _RUN.sub(STARS, data)


def _agi(header: str, value: str) -> str:
    if header == "result":
        plain = unquote(value, errors="surrogateescape")
        masked = _RESULT.sub(STARS, plain)
        if plain == value:
            return masked
        return quote(masked, safe="*()-._~", errors="surrogateescape") if masked != plain else value
    if header == "command":
        words = value.split(" ", 3)
        verb = " ".join(words[:2]).lower()
        if verb == "set variable" and len(words) == 4:
            return " ".join((*words[:3], _variable(words[2].strip('"'), words[3].strip('"'))))
        if words[0].lower() == "exec" and len(words) > 2:
            return " ".join((*words[:2], _argument(words[1].strip('"'), " ".join(words[2:]))))
        if verb == "database put":
            return f"{value.rpartition(' ')[0]} {STARS}"
    if header == "env":
        return _SECRET_ARGUMENT.sub(STARS, value)
    return value
