"""Parses the numbers of extensions, the names of phones and endpoints (``PJSIP/33``), and of dialplan contexts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import Final

from pbxrouter.errors import EditRefused
from pbxrouter.security import as_written, endpoint_of
from pbxrouter.text import Sentence, at_asterisk, sentence, split_asterisk

MAX_ENDPOINT: Final = 80
"""The longest endpoint, in characters; Asterisk has no longer name of a channel."""

_PHONE: Final = re.compile(r"([A-Za-z][A-Za-z0-9]*)/([A-Za-z0-9][A-Za-z0-9_.-]{0,63})")
_CONTEXT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,78}")
# Channel technologies that a phone can be on; Local, CBAnn, AudioSocket and such are none.
_OF_PHONES: Final = frozenset({"pjsip", "sip", "iax2", "dahdi", "zap", "sccp", "skinny", "mgcp", "unistim"})

_ENDPOINT: Final = re.compile(r"([A-Za-z]\w*)/[\w./:@+-]+", re.ASCII)


_DIALLED: Final = re.compile(r"[0-9*#+-]*")


def extension_number(text: str) -> str:
    """The number of an extension as a call shows it, of a row that may spell it in another way.

    Blanks around it, characters that cannot be seen, blanks between its digits, and digits of another width or script
    make no other extension: ``" 33 "``, ``"3 3"``, 33 in full-width digits or with a zero-width space are all ``33``.
    Upper and lower case, leading zeros and ``+`` do: a call from ``033`` is none of ``33``. So does the name of an
    Asterisk in front: ``madrid:33``.
    """
    asterisk, number = split_asterisk(text.strip())
    if asterisk:
        return at_asterisk(asterisk, extension_number(number))
    if not (text.isascii() and text.isprintable()):
        plain = unicodedata.normalize("NFKC", text)
        digits = (str(unicodedata.decimal(character, character)) for character in plain)
        text = "".join(" " if character.isspace() else character for character in digits)
        text = "".join(character for character in text if unicodedata.category(character) not in _UNSEEN)
    joined = text.replace(" ", "")
    return joined if _DIALLED.fullmatch(joined) else text.strip()


def extension_problem(number: str, asterisks: Collection[str] | None = None) -> Sentence | None:
    """Why no call can come from an extension of this number; None if one can.

    Args:
        asterisks: the names of all Asterisks in the settings; None: any will do.
    """
    asterisk, number = split_asterisk(number)
    if asterisk and asterisks is not None and asterisk not in asterisks:
        return sentence(
            "{number} is an extension of an Asterisk that is not in the settings; accepted in front are: {names}"
            if asterisks
            else "{number} is an extension of an Asterisk that is not in the settings",
            number=at_asterisk(asterisk, number),
            names=", ".join(asterisks),
        )
    if _SHOWN.fullmatch(number):
        return None
    technology, slash, name = number.partition("/")
    if slash and technology.isalnum() and _SHOWN.fullmatch(name):
        return sentence(
            "{number} is a phone, not the number that its calls show; accepted is a number such as {name}, which may "
            "be tied to an endpoint such as {number}",
            number=number,
            name=name,
        )
    return sentence(
        "{number} is not a number that a call can show; accepted are digits, letters and * # + . _ - without blanks",
        number=repr(number),
    )


_SHOWN: Final = re.compile(r"(?:[^\W_]|[*#+._-])+")
"""A caller's number as Asterisk shows it; PJSIP's may be the name of a user, such as ``anonymous``."""

_UNSEEN: Final = frozenset({"Cc", "Cf", "Mn", "Me", "Cn"})
"""Unicode's categories of controls, formats such as the zero-width space, marks, and what is no character."""


def read_endpoint(text: str, field: str = "endpoint") -> str:
    """Parse an endpoint such as ``PJSIP/33``; its technology is returned as Asterisk writes it.

    Args:
        field: the field of the form that holds it.

    Raises:
        EditRefused: it is not an endpoint.
    """
    text = text.strip()
    found = _ENDPOINT.fullmatch(text)
    if found is None or len(text) > MAX_ENDPOINT or found[1].lower() == "local":
        raise EditRefused(
            sentence(
                "{text} is not an endpoint; accepted is a technology and a name, such as PJSIP/33",
                text=text or "(nothing)",
            ),
            field,
        )
    # The name of an IAX2 endpoint may itself end as its channels do, such as IAX2/branch-1.
    endpoint = text if text[:5].lower() == "iax2/" else endpoint_of(text)
    if endpoint != text:
        raise EditRefused(
            sentence("{text} is a channel; accepted is its endpoint, {endpoint}", text=text, endpoint=endpoint), field
        )
    return as_written(text)


def read_phone(text: str, technologies: Mapping[str, str]) -> tuple[str, str] | None:
    """Split a phone such as ``PJSIP/33`` into its technology on this Asterisk and its name; None if it is not a phone.

    Args:
        technologies: what a technology is called on this Asterisk.
    """
    phone = _PHONE.fullmatch(text)
    # Configured names count as they are written, or else in any case, as Asterisk reads them.
    known = {name.lower(): name for name in technologies}
    real = {value.partition("/")[0].lower() for value in technologies.values()}
    accepted = (_OF_PHONES | known.keys() | real) - {"local"}
    if phone is None or phone[1].lower() not in accepted:
        return None
    name = phone[1] if phone[1] in technologies else known.get(phone[1].lower(), phone[1])
    return technologies.get(name, name).partition("/")[0], phone[2]


def is_context(text: str) -> bool:
    """Whether the text can be the name of a dialplan context."""
    return _CONTEXT.fullmatch(text) is not None
