"""What an import did, for the command line to print."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_KINDS: Final = ("mappings", "extensions", "users", "grants")


@dataclass(slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        source: the file's name.
        done_before: this content was imported earlier, and nothing was changed.
        added: how many rows are new: mappings, extensions, users, grants.
        found: how many were there already.
        warnings: what was left out or looks wrong, in words, without any PIN.
        holds_pins: the file has PINs in clear.
    """

    source: str
    done_before: bool = False
    added: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KINDS, 0))
    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KINDS, 0))
    warnings: list[str] = field(default_factory=list)
    holds_pins: bool = False

    @property
    def title(self) -> str:
        """The file and how many rows are new, in short: what the audit log calls it."""
        return f"{self.source}: {', '.join(f'{self.added[kind]} {kind}' for kind in _KINDS)}"

    def lines(self) -> list[str]:
        """The report as lines."""
        if self.done_before:
            lines = [f"{self.source} was imported before: nothing is changed (--again merges it anyway)"]
        else:
            lines = [f"{kind}: {self.added[kind]} added, {self.found[kind]} there already" for kind in _KINDS]
        lines += [f"warning: {warning}" for warning in self.warnings]
        if self.holds_pins:
            lines.append(f"{self.source} holds PINs in clear: delete it, or let nobody else read it")
        return lines
