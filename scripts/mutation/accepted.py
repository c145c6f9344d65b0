"""Survivors that are accepted, read from a file with the reason of each.

An entry names its mutant by file, function and the line before and after the change, so it holds when
lines above come or go. One that names no mutant any more is out of date.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from .source import Mutant
from .targets import ROOT

ACCEPTED: Final = ROOT / "scripts" / "mutants.accepted.toml"
Key = tuple[str, str, str, str]


def read(path: Path = ACCEPTED) -> dict[Key, str]:
    """The reason of each accepted survivor; "" where none is given."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("survivor", [])
    return {
        (entry["file"], entry["function"], entry["before"], entry["after"]): entry.get("reason", "").strip()
        for entry in entries
    }


def written(survivors: Iterable[Mutant]) -> str:
    """Survivors as entries, to be given a reason."""
    return "".join(
        "[[survivor]]\n"
        f"# line {mutant.line}: {mutant.edit.operator}\n"
        f"file = {json.dumps(mutant.path.as_posix())}\n"
        f"function = {json.dumps(mutant.function)}\n"
        f"before = {json.dumps(mutant.before, ensure_ascii=False)}\n"
        f"after = {json.dumps(mutant.after, ensure_ascii=False)}\n"
        'reason = ""\n\n'
        for mutant in survivors
    )
