"""Parses the number that a person enters, and the refusal of a click-to-dial request."""

from __future__ import annotations

import re
from typing import Final

from pbxrouter.errors import PbxrouterError
from pbxrouter.originate import MAX_NUMBER
from pbxrouter.rules import read_written
from pbxrouter.text import Sentence, sentence

MAX_SHOWN: Final = 60
"""Characters of what was entered that a refusal shows."""
_OF_VISITORS: Final = re.compile(r"\+?[0-9]+", re.ASCII)


class ClickRefused(PbxrouterError):
    """A click-to-dial request was refused.

    Attributes:
        status: the HTTP status.
        field: the form field concerned; empty if none.
        sites: origins that may show the answer in a frame.
        wait_s: seconds after which to try again; 0 if unknown.
        meant: the number that is probably meant, for the field; ``""`` if it is not known.
        sure: the number that is called if the same is sent again; ``""`` if none is.
    """

    def __init__(
        self,
        why: Sentence,
        status: int = 400,
        field: str = "",
        sites: str = "",
        wait_s: float = 0.0,
        meant: str = "",
        sure: str = "",
    ) -> None:
        super().__init__(why)
        self.status = status
        self.field = field
        self.sites = sites
        self.wait_s = wait_s
        self.meant = meant
        self.sure = sure


def read_number(text: str, for_visitor: bool, country: str = "", sure: str = "") -> str:
    """Parse a number as people write it.

    Args:
        for_visitor: whether only digits and a leading + are accepted, no ``*`` and ``#``.
        country: where the PBX is, such as DE; ``""`` if that is not set.
        sure: the number about which the person was asked before.

    Raises:
        ClickRefused: it is not a number, or it is doubtful and the person is to be asked.
    """
    if not text.strip():
        raise ClickRefused(sentence("enter the number to call"), 400, "number")
    written = read_written(text, country)
    number = written.digits
    is_number = bool(re.search("[0-9]", number)) and len(number) <= MAX_NUMBER
    if for_visitor and not _OF_VISITORS.fullmatch(number):
        is_number = False
    if written.is_doubtful and not (is_number and number == sure):
        raise _doubtful(text, written.meant, number if is_number else "")
    if not is_number:
        raise ClickRefused(_no_number(text), 400, "number")
    return number


def _doubtful(text: str, meant: str, number: str) -> ClickRefused:
    if meant:
        why = sentence("Did you mean {number}? Send it again to call that number.", number=meant)
    elif number:
        why = sentence("Is {number} the whole number? Check it, and send it again to call it.", number=number)
    else:
        why = _no_number(text)
    return ClickRefused(why, 400, "number", meant=meant, sure=number)


def _no_number(text: str) -> Sentence:
    """What was entered is shown only if it is plain text; visitors must not see codes of characters."""
    if not (text.isascii() and text.isprintable()):
        return sentence("this is not a telephone number; enter one such as 600 112 233 or +34 600 112 233")
    return sentence(
        "{number} is not a telephone number; enter one such as 600 112 233 or +34 600 112 233",
        number=f"'{text[:MAX_SHOWN]}'",
    )
