"""Parses the data of mappings to dial: what is dialled, and with which settings.

The data is one target or several with ``&`` between, then settings with blanks before: ``timeout=``, ``options=``,
``callerid=`` and ``append=``. A target is a technology (the number is appended), a phone (``PJSIP/21``) or a template
with ``{number}`` and ``{caller}``, of which a part is taken as Asterisk's ``${EXTEN:1}`` does: ``{number:1}``,
``{number:-4}``, ``{number:1:3}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pbxrouter.agi import option_arguments, option_letters, options_problem
from pbxrouter.errors import ApplicationFailed
from pbxrouter.rules import MAX_NUMBER, normalise_number
from pbxrouter.text import Sentence, sentence

MAX_TIMEOUT_S: Final = 86400

SETTINGS: Final = ("timeout", "options", "callerid", "append")

_FIXED: Final = {
    name.lower(): name
    for name in (
        "PJSIP Local SCCP Skinny MGCP USTM Console Agent AudioSocket WebSocket MulticastRTP UnicastRTP"
    ).split()
}
"""Technologies whose dial string ends with the phone; to those of others the number is appended, as to ``DAHDI/1``."""
_OTHERS: Final = {
    name.lower(): name
    for name in "DAHDI IAX2 SIP mISDN CAPI Dongle Quectel Khomp Mobile H323 OOH323 Motif VPB Phone".split()
}
KNOWN: Final[Mapping[str, str]] = {**_FIXED, **_OTHERS}
"""The channel technologies that Asterisk has, or has had as modules of others, by their names in lower case."""
_NAMED: Final = "PJSIP, IAX2, DAHDI, Local"

_PLACE: Final = re.compile(r"\{(number|caller)(?::(-?[0-9]{1,3})(?::(-?[0-9]{1,3}))?)?\}")
_CALLER_ID: Final = re.compile(r"[0-9*#+]*")
_OF_DIAL: Final = re.compile(r"[\"'\\|<>;]")
"""What no part of a dial string can hold, except for the parameters of a SIP address."""
_SIP_PARAMETERS: Final = re.compile(r"(?<=/)(sips?:[^;/]+)(?:;[\w.-]+(?:=[\w.-]+)?)+\Z", re.ASCII | re.IGNORECASE)
"""Such as ``sip:600@host;transport=tls`` behind an endpoint of PJSIP."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target, and whether the dialled number is appended to it."""

    template: str
    appends: bool


@dataclass(frozen=True, slots=True)
class DialData:
    """The data of a mapping to dial.

    Attributes:
        targets: what rings, all together.
        timeout_s: how long it may ring; None for the setting's.
        options: of Dial(); None for the setting's.
        caller_id: the template of the number that the called phones are shown; ``""`` for the caller's.
    """

    targets: tuple[Target, ...]
    timeout_s: int | None = None
    options: str | None = None
    caller_id: str = ""

    def dial_string(self, number: str, caller: str | None) -> str:
        """The dial string for a call.

        Raises:
            ApplicationFailed: it needs a caller's number that the call does not show, or a part that the number
                does not have.
        """
        return "&".join(_filled(target, number, caller) for target in self.targets)

    def shown_caller(self, number: str, caller: str | None) -> str:
        """The number that the called phones are shown; ``""`` for the caller's.

        Raises:
            ApplicationFailed: as dial_string.
        """
        return _fill(self.caller_id, number, caller)


def read_dial_data(data: str, technologies: Mapping[str, str], strict: bool = False) -> DialData:
    """Parse the data of a mapping to dial.

    Args:
        technologies: what a technology is called on this Asterisk.
        strict: also refuse what Asterisk itself would refuse for certain, or what it does not have as far as is
            known: a technology, or a phone without a name. A row that is there already is left to Asterisk.

    Raises:
        ApplicationFailed: it cannot be used; the message names what is wrong and what is accepted.
    """
    joined = re.sub(r"\s*&\s*", "&", data.strip())
    if not joined:
        raise _refused(data, Sentence("it is empty"))
    if not data.strip().isprintable():
        raise _refused(data, Sentence("it holds a character that cannot be printed"))
    target_text, *words = joined.split()
    settings = _settings(data, words)
    appends = settings.get("append")
    targets = tuple(_target(data, part, technologies, appends, strict) for part in target_text.split("&"))
    timeout = settings.get("timeout")
    return DialData(
        targets, None if timeout is None else int(timeout), settings.get("options"), settings.get("callerid", "")
    )


def _refused(data: str, why: Sentence) -> ApplicationFailed:
    return ApplicationFailed(
        sentence(
            "a mapping to dial needs a technology or a template as its data, not {data}: {why}",
            data=repr(data),
            why=why,
        )
    )


def _settings(data: str, words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or name not in SETTINGS:
            raise _refused(
                data,
                sentence(
                    "{word} is not a setting; accepted behind a blank are {names}",
                    word=repr(word),
                    names="timeout=30, options=tT, callerid=600112233, append=no",
                ),
            )
        if name in found:
            raise _refused(data, sentence("{name} is there twice", name=f"{name}="))
        found[name] = value
        why = _CHECKS[name](value)
        if why is not None:
            raise _refused(data, why)
    if found.get("callerid") and "f" in option_letters(found.get("options", "")):
        raise _refused(
            data, sentence("option {option} and {name} both say which number is shown", option="f", name="callerid=")
        )
    return found


def _check_timeout(value: str) -> Sentence | None:
    if re.fullmatch("[0-9]{1,5}", value) and 1 <= int(value) <= MAX_TIMEOUT_S:
        return None
    return sentence(
        "{setting} is not a time; accepted are whole seconds from 1 to {most}",
        setting=f"timeout={value}",
        most=MAX_TIMEOUT_S,
    )


def _check_options(value: str) -> Sentence | None:
    if re.search(r"[|\"'\\{}]", value) or re.search("[,&]", _outside_parentheses(value)):
        return sentence(
            "{setting} holds a sign that options cannot have; accepted are letters of Dial()'s options, some with an "
            "argument in parentheses",
            setting=f"options={value}",
        )
    unknown = options_problem(value)
    if not unknown:
        return _check_limit(value)
    if unknown.strip("()") == "":
        return sentence(
            "{setting} has parentheses that do not match; accepted is for example {example}",
            setting=f"options={value}",
            example="options=tTm(default)",
        )
    return sentence(
        "{setting}: Dial() has no option {letters}; accepted are the options of Asterisk's Dial(), such as {example}",
        setting=f"options={value}",
        letters=" ".join(unknown.replace("(", "").replace(")", "")),
        example="tT",
    )


def _outside_parentheses(text: str) -> str:
    """A text without what stands in parentheses, where commas separate no arguments of Dial()."""
    depth, kept = 0, ""
    for character in text:
        depth += character == "("
        kept += "" if depth > 0 else character
        depth -= character == ")"
    return kept


def _check_limit(options: str) -> Sentence | None:
    """Why Dial() would hang up at once, as it does for a limit of the call's length that is none."""
    for option, argument in option_arguments(options):
        if option in ("S", "L") and argument and not re.match(r"\+?0*[1-9]", argument):
            return sentence(
                "{setting}: {option} is no limit of a call's length; accepted are seconds such as {example} and "
                "milliseconds such as {other}",
                setting=f"options={options}",
                option=f"{option}({argument})",
                example="S(3600)",
                other="L(3600000)",
            )
    return None


def _check_caller_id(value: str) -> Sentence | None:
    bare = _PLACE.sub("", value)
    if value and _CALLER_ID.fullmatch(bare):
        return _check_parts(value)
    return sentence(
        "{setting} is not a number to show; accepted are digits, * # +, {number} and {caller}, or parts of them",
        setting=f"callerid={value}",
        number="{number}",
        caller="{caller}",
    )


def _check_append(value: str) -> Sentence | None:
    if value in ("yes", "no"):
        return None
    return sentence("{setting} is not accepted; accepted are yes and no", setting=f"append={value}")


_CHECKS: Final = {
    "timeout": _check_timeout,
    "options": _check_options,
    "callerid": _check_caller_id,
    "append": _check_append,
}


def _target(data: str, part: str, technologies: Mapping[str, str], append: str | None, strict: bool) -> Target:
    """Parse one target, and give its technology the name that it has on this Asterisk."""
    if not part:
        raise _refused(data, sentence("one of the parts that {sign} joins is empty", sign="&"))
    if "," in part:
        raise _refused(
            data,
            sentence(
                "a comma would begin another argument of Dial(); settings stand behind a blank, such as {example}",
                example="timeout=30 options=tT",
            ),
        )
    if re.search("[{}]", _PLACE.sub("", part)):
        raise ApplicationFailed(
            sentence(
                "{part} has braces that mean nothing; accepted are {number} and {caller}, or a part, such as {cut}",
                part=repr(part),
                number="{number}",
                caller="{caller}",
                cut="{number:1}, {number:-4}, {number:1:3}",
            )
        )
    technology, slash, rest = part.partition("/")
    if "{" in technology:
        raise _refused(
            data,
            sentence("{part} does not begin with a technology, such as {example}", part=repr(part), example="PJSIP/"),
        )
    why = _check_parts(part)
    if why is not None:
        raise _refused(data, why)
    real = _real_name(technology, technologies)
    kind = real.partition("/")[0].lower()
    if strict:
        _check_target(data, part, rest if slash else None, kind, technology, technologies)
    appends = "{number" not in part and (append == "yes" or (append is None and not (slash and kind in _FIXED)))
    if append == "no" and not slash:
        raise _refused(data, sentence("{part} names no phone, so the number must be appended", part=repr(part)))
    return Target(real + slash + rest, appends)


def _real_name(technology: str, technologies: Mapping[str, str]) -> str:
    """What a technology is called on this Asterisk: as the settings write it; a name that none has, in any case."""
    if technology in technologies:
        return technologies[technology]
    if technology in KNOWN.values():  # such as Local, beside a LOCAL in the settings
        return technology
    lower = {name.lower(): value for name, value in technologies.items()}
    return lower.get(technology.lower(), technology)


def _check_target(
    data: str, part: str, rest: str | None, kind: str, technology: str, technologies: Mapping[str, str]
) -> None:
    configured = {name.lower() for name in technologies}
    if kind not in KNOWN and technology.lower() not in configured:
        raise _refused(
            data,
            sentence(
                "{technology} is not a technology of Asterisk's; accepted are {names}, and those of [technologies] in "
                "the settings",
                technology=repr(technology),
                names=_NAMED,
            ),
        )
    if rest is None:
        return
    if any(not piece or piece[0] == "@" or piece[-1] == "@" for piece in rest.split("/")):
        raise _refused(
            data,
            sentence(
                "{part} lacks a name between its signs; accepted is for example {example}",
                part=repr(part),
                example="PJSIP/21",
            ),
        )
    found = _OF_DIAL.search(_SIP_PARAMETERS.sub(r"\1", part) if kind == "pjsip" else part)
    if found or "${" in part:
        raise _refused(
            data,
            sentence(
                "{part} holds {sign}, which no phone's name has; several phones are joined by &, such as {example}",
                part=repr(part),
                sign=found[0] if found else "$",
                example="PJSIP/21&PJSIP/22",
            ),
        )


def _check_parts(text: str) -> Sentence | None:
    """Why a part of the number in a template, such as ``{number:30}``, is empty for every number; None if none is."""
    for found in _PLACE.finditer(text):
        offset, length = int(found[2] or 0), None if found[3] is None else int(found[3])
        if not any(substring("0" * size, offset, length) for size in range(1, MAX_NUMBER + 1)):
            return sentence(
                "nothing is left of any number by {cut}; accepted are parts such as {example}",
                cut=found[0],
                example="{number:1}, {number:-4}, {number:1:3}",
            )
    return None


def _filled(target: Target, number: str, caller: str | None) -> str:
    filled = _fill(target.template, number, caller)
    return f"{filled}/{number}" if target.appends else filled


def _fill(template: str, number: str, caller: str | None) -> str:
    def part(found: re.Match[str]) -> str:
        whole: str | None = number
        if found[1] == "caller":
            whole = normalise_number(caller or "")
            if whole is None:
                raise ApplicationFailed(
                    sentence("{template} needs the caller's number, and the call shows none", template=template)
                )
        assert whole is not None
        left = substring(whole, int(found[2] or 0), None if found[3] is None else int(found[3]))
        if not left:
            raise ApplicationFailed(sentence("nothing is left of {number} by {cut}", number=whole, cut=found[0]))
        return left

    return _PLACE.sub(part, template)


def substring(text: str, offset: int, length: int | None = None) -> str:
    """A part of a text, as Asterisk takes it of a variable (``substring`` in main/pbx_variables.c).

    Args:
        offset: characters to leave out; negative: characters to keep, from the end.
        length: characters of what is left; negative: characters to leave out at the end; None for all.
    """
    start = max(0, len(text) + offset) if offset < 0 else offset
    rest = text[start:]
    if length is None:
        return rest
    return rest[:length] if length >= 0 else rest[: max(0, len(rest) + length)]
