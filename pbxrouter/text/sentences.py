"""Translatable sentences, used for decision traces and error messages.

A sentence keeps its message and its values apart, so that the same trace can be shown in
another language.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pbxrouter.text.printable import printable

MAX_VALUE: Final = 2000
"""Characters of a value of a sentence; a longer one is cut."""
MAX_DEPTH: Final = 8
"""Sentences within each other that are read back from where they were stored."""
MAX_VALUES: Final = 100
"""Values of a sentence that is read back."""

_PLACE: Final = re.compile(r"\{([^\W\d]\w*)\}")  # format_map takes one that begins with a digit for a position


@dataclass(frozen=True, slots=True)
class Sentence:
    """A translatable message with values for its placeholders.

    Attributes:
        message: English, with ``{placeholders}``; the key for translations.
        values: by placeholder, text or another sentence. Never a PIN.
    """

    message: str
    values: Mapping[str, str | Sentence] = field(default_factory=dict)

    @property
    def english(self) -> str:
        """The sentence in English."""
        return self.message.format_map(self.values)

    def __str__(self) -> str:
        return self.english

    def translated(self, translate: Callable[[str], str]) -> str:
        """The sentence in another language, sentences among its values included.

        Args:
            translate: returns the translation of an English message.
        """
        values = {
            name: value.translated(translate) if isinstance(value, Sentence) else value
            for name, value in self.values.items()
        }
        return translate(self.message).format_map(values)


def sentence(message: str, **values: object) -> Sentence:
    """Make a sentence; values become printable text, with line ends and other controls made visible.

    A value that is a sentence is kept as one, so that it is translated, too. A long value is cut at MAX_VALUE.
    """
    return Sentence(
        message,
        {
            name: value if isinstance(value, Sentence) else printable(str(value), MAX_VALUE)
            for name, value in values.items()
        },
    )


def read_sentence(message: object, values: object, depth: int = 0) -> Sentence:
    """A sentence from what was stored of it, which may have been written by hand.

    A message whose placeholders do not fit the values is shown as it is.

    Args:
        values: by placeholder a text, or a list of the message and the values of another sentence.

    Raises:
        ValueError: it is no sentence.
    """
    if not isinstance(message, str) or not isinstance(values, Mapping) or depth > MAX_DEPTH or len(values) > MAX_VALUES:
        raise ValueError("no sentence is stored there")
    read: dict[str, str | Sentence] = {}
    for name, value in values.items():
        if isinstance(value, list):
            if len(value) != 2:
                raise ValueError("no sentence is stored there")
            read[name] = read_sentence(value[0], value[1], depth + 1)
        else:
            read[name] = printable(str(value), MAX_VALUE)
    message = printable(message, MAX_VALUE)
    return Sentence(message, read) if fits(message, frozenset(read)) else Sentence("{text}", {"text": message})


@functools.lru_cache(maxsize=1000)
def fits(message: str, names: frozenset[str]) -> bool:
    """Whether a message has no other placeholders than these, which are not too many, and no single brace."""
    rest = _PLACE.sub(lambda found: "" if found[1] in names else found[0], message)
    return len(names) <= MAX_VALUES and "{" not in rest and "}" not in rest


def joined(sentences: Iterable[Sentence], between: str = "; ") -> Sentence:
    """Join several sentences into one."""
    values = {f"step_{place}": part for place, part in enumerate(sentences)}
    return Sentence(between.join(f"{{{name}}}" for name in values), values)
