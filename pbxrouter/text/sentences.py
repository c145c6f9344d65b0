"""Why something came out so, in steps that people can read.

A step is a sentence with places in it and what stands in them, so that the same
trace can be shown in another language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pbxrouter.text.printable import printable


@dataclass(frozen=True, slots=True)
class Sentence:
    """One step of a trace.

    Attributes:
        message: an English sentence with ``{places}``; the key for translations.
        values: what stands in the places: text, or a step within the step. Never a PIN.
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
        """The sentence in another language, the steps within it too.

        Args:
            translate: gives for an English message that of the language.
        """
        values = {
            name: value.translated(translate) if isinstance(value, Sentence) else value
            for name, value in self.values.items()
        }
        return translate(self.message).format_map(values)


def sentence(message: str, **values: object) -> Sentence:
    """A step whose values are shown as text, line ends and other controls made visible.

    A value that is a step itself is kept as one, so that it is translated, too.
    """
    return Sentence(
        message,
        {name: value if isinstance(value, Sentence) else printable(str(value)) for name, value in values.items()},
    )


def joined(steps: Iterable[Sentence], between: str = "; ") -> Sentence:
    """Several steps as one, each after the other in one line."""
    values = {f"step_{place}": part for place, part in enumerate(steps)}
    return Sentence(between.join(f"{{{name}}}" for name in values), values)
