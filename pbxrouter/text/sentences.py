"""Why something came out so, in steps that people can read.

A step is a sentence with places in it and what stands in them, so that the same
trace can be shown in another language. Not here: what the steps say; those who
decide say it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pbxrouter.text.printable import printable


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a trace.

    Attributes:
        message: an English sentence with ``{places}``; the key for translations.
        values: what stands in the places: text, or a step within the step. Never a PIN.
    """

    message: str
    values: Mapping[str, str | Step] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The sentence in English."""
        return self.message.format_map(self.values)

    def __str__(self) -> str:
        return self.words

    def said(self, translate: Callable[[str], str]) -> str:
        """The sentence in another language, the steps within it too.

        Args:
            translate: gives for an English message that of the language.
        """
        values = {
            name: value.said(translate) if isinstance(value, Step) else value
            for name, value in self.values.items()
        }
        return translate(self.message).format_map(values)


def step(message: str, **values: object) -> Step:
    """A step whose values are shown as text, line ends and other controls made visible.

    A value that is a step itself is kept as one, so that it is translated, too.
    """
    return Step(
        message,
        {name: value if isinstance(value, Step) else printable(str(value)) for name, value in values.items()},
    )


def in_a_row(steps: Iterable[Step], between: str = "; ") -> Step:
    """Several steps as one, each after the other in one line."""
    values = {f"step_{place}": each for place, each in enumerate(steps)}
    return Step(between.join(f"{{{name}}}" for name in values), values)
