"""The report of an import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_KINDS: Final = ("mappings", "extensions", "users", "grants")


@dataclass(slots=True)
class ImportReport:
    """The result of an import.

    Attributes:
        source: the file's name.
        done_before: whether the content was imported before; then nothing was changed.
        added: the numbers of new rows, by kind: mappings, extensions, users, grants.
        found: the numbers of rows that existed already.
        warnings: rows that were left out or look wrong, as sentences without PINs.
        holds_pins: whether the file has PINs in clear.
    """

    source: str
    done_before: bool = False
    added: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KINDS, 0))
    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KINDS, 0))
    warnings: list[str] = field(default_factory=list)
    holds_pins: bool = False

    @property
    def title(self) -> str:
        """The file and the numbers of new rows: the name of the entry in the audit log."""
        return f"{self.source}: {', '.join(f'{self.added[kind]} {kind}' for kind in _KINDS)}"

    def lines(self) -> list[str]:
        """The report as lines."""
        if self.done_before:
            lines = [f"{self.source} was imported before: nothing is changed (--again merges it anyway)"]
        else:
            lines = [f"{kind}: {self.added[kind]} added, {self.found[kind]} there already" for kind in _KINDS]
        lines += [f"warning: {warning}" for warning in self.warnings]
        if self.holds_pins:
            lines.append(f"{self.source} holds PINs in clear: delete it, or make it readable by you alone")
        return lines
