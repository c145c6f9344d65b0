"""Names of Asterisks, and what is written for one of several of them: ``madrid:33``, ``madrid:PJSIP/33``."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_ASTERISK_NAME: Final = 40
"""Characters of an Asterisk's name."""
_NAME: Final = re.compile(r"[^\W_](?:[\w .-]*[\w.-])?")


def is_asterisk_name(text: str) -> bool:
    """Whether an Asterisk may have this name: letters, digits, ``_ . -`` and blanks between; so no ``:`` or ``/``."""
    return (
        len(text) <= MAX_ASTERISK_NAME
        and _NAME.fullmatch(text) is not None
        and text.isprintable()
        and unicodedata.is_normalized("NFKC", text)
    )


def at_asterisk(asterisk: str, text: str) -> str:
    """A number or an endpoint on one Asterisk, as it is written; unchanged if the Asterisk is not known (``""``)."""
    return f"{asterisk}:{text}" if asterisk else text


def split_asterisk(text: str) -> tuple[str, str]:
    """The Asterisk that is named in front, ``""`` if none is, and what is behind it; ``at_asterisk`` the other way."""
    asterisk, colon, rest = text.partition(":")
    return (asterisk, rest) if colon and is_asterisk_name(asterisk) else ("", text)
