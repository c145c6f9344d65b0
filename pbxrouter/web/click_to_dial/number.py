"""Parses the number that a person enters, and the refusal of a click-to-dial request."""

from __future__ import annotations

import re
from typing import Final

from pbxrouter.errors import PbxrouterError
from pbxrouter.originate import MAX_NUMBER
from pbxrouter.rules import normalise_number
from pbxrouter.text import Sentence, sentence

# Separators in a number as people write it: blanks, dots, dashes, parentheses.
_FILLING: Final = re.compile(r"[ \u00a0\u2009\u202f.()\u2010-\u2015-]")
_OF_VISITORS: Final = re.compile(r"\+?[0-9]+", re.ASCII)


class ClickRefused(PbxrouterError):
    """A click-to-dial request was refused.

    Attributes:
        status: the HTTP status.
        field: the form field concerned; empty if none.
        sites: origins that may show the answer in a frame.
        wait_s: seconds after which to try again; 0 if unknown.
    """

    def __init__(self, why: Sentence, status: int = 400, field: str = "", sites: str = "", wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.status = status
        self.field = field
        self.sites = sites
        self.wait_s = wait_s


def read_number(text: str, for_visitor: bool) -> str:
    """Parse a number as people write it.

    Args:
        for_visitor: whether only digits and a leading + are accepted, no ``*`` and ``#``.

    Raises:
        ClickRefused: it is not a number.
    """
    bare = _FILLING.sub("", text) if len(text) <= 2 * MAX_NUMBER else text
    number = normalise_number(bare)
    if not bare:
        raise ClickRefused(sentence("enter the number to call"), 400, "number")
    if number is None or len(number) > MAX_NUMBER or not re.search("[0-9]", number):
        raise ClickRefused(_no_number(text), 400, "number")
    if for_visitor and not _OF_VISITORS.fullmatch(number):
        raise ClickRefused(_no_number(text), 400, "number")
    return number


def _no_number(text: str) -> Sentence:
    return sentence(
        "{number} is not a telephone number; enter one such as 600 112 233 or +34 600 112 233",
        number=ascii(text[:60]),
    )
