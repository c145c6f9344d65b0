"""Translatable sentences, used for decision traces and error messages.

A sentence keeps its message and its values apart, so that the same trace can be shown in
another language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pbxrouter.text.printable import printable


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

    A value that is a sentence is kept as one, so that it is translated, too.
    """
    return Sentence(
        message,
        {name: value if isinstance(value, Sentence) else printable(str(value)) for name, value in values.items()},
    )


def joined(sentences: Iterable[Sentence], between: str = "; ") -> Sentence:
    """Join several sentences into one."""
    values = {f"step_{place}": part for place, part in enumerate(sentences)}
    return Sentence(between.join(f"{{{name}}}" for name in values), values)
