"""Why something came out so, in steps that people can read.

A step is a sentence with places in it and what stands in them, so that the same
trace can be shown in another language. Not here: what the steps say; those who
decide say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a trace.

    Attributes:
        message: an English sentence with ``{places}``; the key for translations.
        values: what stands in the places. Never a PIN.
    """

    message: str
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The sentence in English."""
        return self.message.format_map(self.values)


def step(message: str, **values: object) -> Step:
    """A step whose values are shown as text, line ends and other controls made visible."""
    return Step(message, {name: printable(str(value)) for name, value in values.items()})


def printable(text: str) -> str:
    """Text from outside as one line that can stand in a log or on a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )
