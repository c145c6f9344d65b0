"""What a person may write where a number is asked for, and how a wish for a call is refused. Pure."""

from __future__ import annotations

import re
from typing import Final

from pbxrouter.errors import PbxrouterError
from pbxrouter.originate import MAX_NUMBER
from pbxrouter.rules import normalise_number
from pbxrouter.text import Sentence, sentence

# What people write into a number that is not part of it: blanks, dots, dashes, parentheses.
_FILLING: Final = re.compile(r"[ \u00a0\u2009\u202f.()\u2010-\u2015-]")
_OF_VISITORS: Final = re.compile(r"\+?[0-9]+", re.ASCII)


class ClickRefused(PbxrouterError):
    """No call was begun.

    Attributes:
        status: of HTTP.
        field: of the form; empty if it is none of its fields.
        sites: which sites may show this in a frame.
        wait_s: seconds after which it may be tried again; 0 if that is not known.
    """

    def __init__(self, why: Sentence, status: int = 400, field: str = "", sites: str = "", wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.status = status
        self.field = field
        self.sites = sites
        self.wait_s = wait_s


def read_number(text: str, for_visitor: bool) -> str:
    """The number that somebody wrote, as people write numbers.

    Args:
        for_visitor: whether only digits and a + in front are accepted, no ``*`` and ``#``.

    Raises:
        ClickRefused: it is none.
    """
    bare = _FILLING.sub("", text) if len(text) <= 2 * MAX_NUMBER else text
    number = normalise_number(bare)
    if not bare:
        raise ClickRefused(sentence("which number shall be called?"), 400, "number")
    if number is None or len(number) > MAX_NUMBER or not re.search("[0-9]", number):
        raise ClickRefused(_no_number(text), 400, "number")
    if for_visitor and not _OF_VISITORS.fullmatch(number):
        raise ClickRefused(_no_number(text), 400, "number")
    return number


def _no_number(text: str) -> Sentence:
    return sentence(
        "{number} is no telephone number; accepted is such as 600 112 233 or +34 600 112 233",
        number=ascii(text[:60]),
    )
