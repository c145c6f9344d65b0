"""dial: connects the caller with the dialled number, or with a phone that the mapping names.

``application_data`` is a technology, as in the workshop (``SIP``, ``IAX2``, ``Zap/1``: the number is put behind it), a
phone (``PJSIP/21``), or a template with ``{number}`` and ``{caller}`` (``PJSIP/{number:1}@trunk``); several, joined by
``&``, ring together. Settings may follow: ``timeout=30 options=tT callerid=600112233`` (drivers.dial_data).
``[technologies]`` in the configuration says what a technology is called on this Asterisk. A called phone cannot forward
the call, unless ``[dial] forwarding`` allows it; who is called outside never can.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from typing import Final

from pbxrouter.agi import option_letters, verbs
from pbxrouter.config import Config
from pbxrouter.drivers import Call, Outcome
from pbxrouter.drivers.dial_data import DialData, read_dial_data
from pbxrouter.errors import ApplicationFailed
from pbxrouter.rules import Action
from pbxrouter.text import Sentence

IGNORE_FORWARDING: Final = "i"
"""Dial()'s option to ignore forwarding requests of called phones."""

_LOCAL: Final = re.compile(r"(?:\A|&)Local/", re.IGNORECASE)
KEPT: Final = 4096
"""How many mappings' data are kept parsed."""


class Dial:
    """Dials by Asterisk's Dial()."""

    def __init__(self, config: Config) -> None:
        self._dial = config.dial
        self._trunks = frozenset(trunk.lower() for trunk in config.trunks)
        self._technologies = config.technologies
        self._read = functools.lru_cache(KEPT)(self._read_anew)

    def _read_anew(self, data: str) -> DialData:
        return read_dial_data(data, self._technologies)

    def data_problem(self, data: str) -> Sentence | None:
        """What is wrong with the data."""
        try:
            read_dial_data(data, self._technologies, strict=True)
        except ApplicationFailed as error:
            return error.sentence
        return None

    def action(self, data: str, number: str, caller: str | None) -> Action:
        """The Dial() of a call."""
        target, timeout_s, options = self._arguments(data, number, caller)
        return Action("Dial", verbs.dial_argument(target, timeout_s, options))

    async def run(self, call: Call) -> Outcome:
        """Dial; returns DIALSTATUS, cause and seconds of talk."""
        target, timeout_s, options = self._arguments(call.data, call.number, call.caller)
        talk_is_known = await self._tells_talk(call, target)
        result = await verbs.dial(call.channel, target, timeout_s, options)
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

    def _arguments(self, data: str, number: str, caller: str | None) -> tuple[str, int, str]:
        """The dial string, the seconds that it may ring, and the options."""
        read = self._read(data)
        target = read.dial_string(number, caller)
        shown = read.shown_caller(number, caller)
        given = self._dial.options if read.options is None else read.options
        is_outside = any(goes_outside(part, self._trunks) for part in target.split("&"))
        options = dial_options(given, self._dial.forwarding and not is_outside) + (f"f({shown})" if shown else "")
        return target, self._dial.timeout if read.timeout_s is None else read.timeout_s, options


def dial_options(options: str, forwarding: bool) -> str:
    """The options of Dial(): those of the settings, with ``i`` unless called phones may forward calls."""
    if forwarding or IGNORE_FORWARDING in option_letters(options):
        return options
    if options.count("(") != options.count(")"):  # what follows a parenthesis that is not closed is its argument
        return f"{IGNORE_FORWARDING}{options}"
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
        ApplicationFailed: the data is no technology, phone or template, or needs a caller's number that the call does
            not show.
    """
    return read_dial_data(data, technologies).dial_string(number, caller)
