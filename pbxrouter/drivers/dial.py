"""dial: connects the caller with the dialled number.

``application_data`` is a technology, as in the workshop (``SIP``, ``IAX2``, ``Zap/1``:
the number is put behind it), or a template with ``{number}`` and ``{caller}``
(``PJSIP/{number}@trunk``); several, joined by ``&``, ring together. ``[technologies]``
in the configuration says what a technology is called on this Asterisk. A called phone cannot
forward the call, unless ``[dial] forwarding`` allows it; who is called outside never can.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from pbxrouter.agi import verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.errors import ApplicationFailed
from pbxrouter.rules import normalise_number

IGNORE_FORWARDING: Final = "i"
"""Dial()'s option to ignore forwarding requests of called phones."""

_LOCAL: Final = re.compile(r"(?:\A|&)Local/", re.IGNORECASE)
_ARGUMENT: Final = re.compile(r"\([^)]*\)")


class Dial:
    """Dials by Asterisk's Dial()."""

    def __init__(self, config: Config) -> None:
        self._dial = config.dial
        self._options = dial_options(config.dial.options, config.dial.forwarding)
        self._options_outside = dial_options(config.dial.options, forwarding=False)
        self._trunks = frozenset(trunk.lower() for trunk in config.trunks)
        self._technologies = config.technologies

    async def run(self, call: Call) -> Outcome:
        """Dial; returns DIALSTATUS, cause and seconds of talk."""
        target = dial_string(call.data, call.number, call.caller, self._technologies)
        is_outside = any(goes_outside(part, self._trunks) for part in target.split("&"))
        options = self._options_outside if is_outside else self._options
        talk_is_known = await self._tells_talk(call, target)
        result = await verbs.dial(call.channel, target, self._dial.timeout, options)
        if result.status == "ANSWER":
            return Outcome(result.status, result.cause, result.answered_s if talk_is_known else None)
        return Outcome(result.status, result.cause, 0)

    async def _tells_talk(self, call: Call, target: str) -> bool:
        """Whether Asterisk's ANSWEREDTIME will be the talk: it runs from the caller's own answer.

        Whether a person or a prompt is behind a Local channel it does not tell.
        """
        if call.has_talk or _LOCAL.search(target):
            return False
        return not await verbs.may_be_answered(call.channel)


def dial_options(options: str, forwarding: bool) -> str:
    """The options of Dial(): those of the settings, with ``i`` unless called phones may forward calls."""
    if forwarding or IGNORE_FORWARDING in _ARGUMENT.sub("", options):
        return options
    return f"{options}{IGNORE_FORWARDING}"


def goes_outside(target: str, trunks: Collection[str]) -> bool:
    """Whether a target of Dial() leads outside: a trunk, or a number at an endpoint, as in ``PJSIP/600@provider``.

    A Local channel does not: where its calls go is the dialplan's matter.

    Args:
        trunks: such as ``pjsip/provider``, in lower case.
    """
    technology, _, rest = target.lower().partition("/")
    endpoint, slash, _ = rest.partition("/")
    return technology != "local" and ("@" in rest or bool(slash) or f"{technology}/{endpoint}" in trunks)


def dial_string(data: str, number: str, caller: str | None, technologies: Mapping[str, str]) -> str:
    """Make the dial string for Dial() from a mapping's data.

    Raises:
        ApplicationFailed: the data is no technology and no template, or needs a caller's number that the call
            does not show.
    """
    return "&".join(_one_target(part.strip(), number, caller, technologies) for part in data.split("&"))


def _one_target(part: str, number: str, caller: str | None, technologies: Mapping[str, str]) -> str:
    if not part or "," in part or any(character.isspace() for character in part):
        raise ApplicationFailed(f"a mapping to dial needs a technology or a template as its data, not {part!r}")
    if "{caller}" in part:
        caller_number = normalise_number(caller or "")
        if caller_number is None:
            raise ApplicationFailed(f"{part} needs the caller's number, and the call shows none")
        part = part.replace("{caller}", caller_number)
    part = part.replace("{number}", number) if "{number}" in part else f"{part}/{number}"
    if "{" in part or "}" in part:
        raise ApplicationFailed(f"{part!r} has braces that mean nothing; accepted are {{number}} and {{caller}}")
    technology, slash, rest = part.partition("/")
    return technologies.get(technology, technology) + slash + rest
