"""Translates msgspec's validation messages into messages about settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

_TYPES: Final = {
    "str": "text in quotes",
    "int": "a whole number",
    "bool": "true or false",
    "object": "a table",
    "array": "a list of tables, written [[asterisk]]",
    "null": "nothing",
    "float": "a number with a point",
}


def plain(message: str, words_accepted: Callable[[str], Iterable[str]]) -> str:
    """Rewrite a validation message: «fastagi.debug: accepted is true or false, not text in quotes».

    Args:
        message: of msgspec's ValidationError.
        words_accepted: returns the words that a key accepts, if it accepts only some.
    """
    what, _, path = message.partition(" - at `$.")
    where = path.rstrip("`") or "the file"
    choice = re.fullmatch(r"Invalid enum value '(.*)'", what)
    if choice:
        return f"{where}: accepted is {' or '.join(words_accepted(where))}, not {choice[1]!r}"
    bound = re.fullmatch(r"Expected `int` (>=|<=) (\d+)", what)
    if bound:
        return f"{where}: accepted is a whole number, {'at least' if bound[1] == '>=' else 'at most'} {bound[2]}"
    found = re.fullmatch(r"Expected `(.+)`, got `(.+)`", what)
    if found:
        accepted = " or ".join(_TYPES.get(part, part) for part in found[1].split(" | ") if part != "null")
        if found[1] == "array" and where != "asterisk":
            accepted = 'a list of texts, such as ["one", "two"]'
        return f"{where}: accepted is {accepted}, not {_TYPES.get(found[2], found[2])}"
    return f"{where}: {what[0].lower()}{what[1:].replace('`', '')}"
