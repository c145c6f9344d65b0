"""The options of Dial(): letters, each with an argument in parentheses or without."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

LETTERS: Final = frozenset("AabBCcdDeEfFgGhHiIjkKLmMnNoOpPQrRsStTuUwWxXz")
"""The options of Dial() on Asterisk 16 to 22 (main/app_dial.c); M is not on 21 and later."""

_SPENT: Final = re.compile(r"\([^()]*\)")


def option_letters(options: str) -> str:
    """The options without their arguments, which may have parentheses of their own.

    What stands behind a parenthesis that is not closed is its argument.
    """
    while (shorter := _SPENT.sub("", options)) != options:
        options = shorter
    return options.partition("(")[0]


def option_arguments(options: str) -> Iterator[tuple[str, str]]:
    """The options that have an argument, each with it."""
    depth, begins = 0, 0
    for place, sign in enumerate(options):
        depth += (sign == "(") - (sign == ")")
        if sign == "(" and depth == 1:
            begins = place
        elif sign == ")" and depth == 0:
            yield options[begins - 1 : begins], options[begins + 1 : place]


def options_problem(options: str) -> str:
    """What Dial() would not understand of its options: letters, or a parenthesis; ``""`` if it understands all."""
    while (shorter := _SPENT.sub("", options)) != options:
        options = shorter
    return "".join(sorted({letter for letter in options if letter not in LETTERS}))
