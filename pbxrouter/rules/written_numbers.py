"""Parses telephone numbers as people write them: ``+49 (0) 30 1234567``, ``030/1234567``, ``(600) 11 22 33``.

What separates digits is dropped. Where the country of the PBX is set, or a number begins with a country code and has a
``(0)``, the library phonenumbers tells what is dialled. In doubt the number that is probably meant is told, and the
person is to be asked.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pbxrouter.rules.model import MAX_NUMBER, normalise_number

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

# Blanks, dots, dashes, slashes, parentheses.
_FILLING: Final = re.compile(r"[ \u00a0\u2000-\u200a\u202f\u205f\u3000./()\u2010-\u2015\u2212-]")
_PREFIX: Final = re.compile(r"tel:", re.IGNORECASE)
_OPTIONAL_ZERO: Final = re.compile(r"\(\s*([0-9]{1,2})\s*\)")
"""The digits in parentheses that are dialled within the country only."""
_INTERNATIONAL: Final = "00"
LONGEST: Final = 16
"""Characters of the longest number with its country code and the ``+`` (ITU-T E.164)."""
SHORT: Final = 7
"""A number with fewer digits is one of the PBX, or a service of the network: it is dialled as it is written."""


@dataclass(frozen=True, slots=True)
class WrittenNumber:
    """What a person wrote as a number.

    Attributes:
        digits: what is dialled if it is taken as it is written; ``""`` if that is no number.
        is_doubtful: whether the person is to be asked first.
        meant: if it is doubtful, the number that is probably meant, as people write it; ``""`` if none is known.
    """

    digits: str
    is_doubtful: bool = False
    meant: str = ""


def country_exists(code: str) -> bool:
    """Whether a country has this code of two letters, such as DE, and numbers that are known."""
    from phonenumbers import SUPPORTED_REGIONS

    return code.upper() in SUPPORTED_REGIONS


def read_written(text: str, country: str = "") -> WrittenNumber:
    """Parse a number.

    Args:
        country: where the PBX is, such as DE; ``""`` if that is not set.
    """
    visible = "".join(character for character in text if unicodedata.category(character) != "Cf")
    visible = _PREFIX.sub("", visible.strip(" "), count=1)
    if len(visible) > 2 * MAX_NUMBER:
        return WrittenNumber("")
    bare = _FILLING.sub("", visible)
    digits = normalise_number(bare) or ""
    has_zero = _OPTIONAL_ZERO.search(visible) is not None
    if not digits:
        return _lettered(visible, country)
    if "+" in digits[1:] or digits == "+":  # such as two numbers with a blank between
        return WrittenNumber("")
    if not re.fullmatch(r"\+?[0-9]+", digits):
        return WrittenNumber(digits)  # a service, such as *72
    before, slash, _ = visible.rpartition("/")
    if slash and _parsed(before, country) is not None:  # no area code: another number, or another ending, follows
        return WrittenNumber(digits, True)
    if digits[0] == "+":
        return _abroad(visible, digits, "", country)
    if country:
        return _at_home(visible, digits, country)
    if "/" in visible:  # it may as well separate two numbers
        return WrittenNumber("")
    if has_zero and not visible.startswith("("):
        if digits.startswith(_INTERNATIONAL):
            return _abroad(visible, digits, _INTERNATIONAL, country)
        found = _parsed(f"+{visible}", "")
        return WrittenNumber(digits, True, "" if found is None else _shown(found))
    # Longer than any number, with what may stand before it: probably two numbers with a blank between.
    return WrittenNumber(digits, bare != visible and len(digits) >= LONGEST + len(_INTERNATIONAL))


def _parsed(text: str, country: str) -> PhoneNumber | None:
    """The number in a text; None if it can be none."""
    import phonenumbers

    try:
        found = phonenumbers.parse(text, country.upper() or None)
    except phonenumbers.NumberParseException:
        return None
    return found if phonenumbers.is_possible_number(found) and phonenumbers.is_valid_number(found) else None


def _shown(number: PhoneNumber) -> str:
    """A number with its country code, as people write it."""
    import phonenumbers

    bare = phonenumbers.PhoneNumber(
        country_code=number.country_code,
        national_number=number.national_number,
        italian_leading_zero=number.italian_leading_zero,
        number_of_leading_zeros=number.number_of_leading_zeros,
    )
    return phonenumbers.format_number(bare, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def _digits(number: PhoneNumber) -> str:
    """The country code and the number behind it."""
    import phonenumbers

    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).removeprefix("+")


def _lettered(visible: str, country: str) -> WrittenNumber:
    """A text with letters or other signs; one such as 1-800-FLOWERS, or with an extension, may mean a number."""
    if not country or not visible.isascii() or not visible.isprintable() or re.search(r"[&,;@:<>\"'\\|=%$]", visible):
        return WrittenNumber("")
    found = _parsed(visible, country)
    return WrittenNumber("") if found is None else WrittenNumber("", True, _shown(found))


def _abroad(visible: str, digits: str, prefix: str, country: str) -> WrittenNumber:
    """A number with a country code, behind ``+`` or an international prefix."""
    rest = visible.lstrip("( ").removeprefix("+") if not prefix else _without_prefix(visible, prefix)
    found = _parsed(f"+{rest}", "")
    sign = prefix or "+"
    without = _OPTIONAL_ZERO.sub("", visible)
    if found is None and without != visible:
        again = _parsed(f"+{_OPTIONAL_ZERO.sub('', rest)}", "")
        return WrittenNumber(digits, True, "" if again is None else _shown(again))
    if found is None:  # without a country the person is trusted, but for what is too long for any
        return WrittenNumber(digits, bool(country) or len(digits) > LONGEST)
    meant = f"{sign}{_digits(found)}"
    # Digits in parentheses that are left out are no doubt: that is what the parentheses say.
    if meant in (digits, normalise_number(_FILLING.sub("", without))):
        return WrittenNumber(meant)
    return WrittenNumber(digits, True, _shown(found))


def _without_prefix(visible: str, prefix: str) -> str:
    """The text behind an international prefix, whose digits may be separated."""
    pattern = r"[^0-9]*".join(map(re.escape, prefix))
    return re.sub(rf"^[^0-9]*{pattern}", "", visible, count=1)


def _at_home(visible: str, digits: str, country: str) -> WrittenNumber:
    """A number without ``+``, dialled in a country."""
    import phonenumbers

    if len(digits) < SHORT:
        return WrittenNumber(digits)
    try:
        parsed = phonenumbers.parse(visible, country.upper(), keep_raw_input=True)
    except phonenumbers.NumberParseException:
        return WrittenNumber(digits, True)
    found = _parsed(visible, country)
    if found is None:
        return WrittenNumber(digits, True)
    if parsed.country_code_source == phonenumbers.CountryCodeSource.FROM_NUMBER_WITH_IDD:
        full = _digits(found)
        at = digits.find(full[: len(str(found.country_code))])
        return _abroad(visible, digits, digits[:at], country)
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(country.upper())
    own = phonenumbers.national_significant_number(found)
    national = phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.NATIONAL)
    prefix = "" if metadata is None else metadata.national_prefix or ""
    if digits in (re.sub("[^0-9]", "", national), prefix + own):
        return WrittenNumber(digits)
    return WrittenNumber(digits, True, national if digits == own else _shown(found))
