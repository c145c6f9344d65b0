"""The corpus: known inputs of each target, in the tree."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).resolve().parent / "corpus"


def inputs(target: str, *more: Path) -> list[bytes]:
    """The inputs of a target, in the order of their names.

    Args:
        more: further folders like CORPUS.
    """
    files: list[Path] = []
    for folder in (CORPUS, *more):
        files += sorted((folder / target).glob("*")) if (folder / target).is_dir() else []
    return [file.read_bytes() for file in files]


def keep(folder: Path, target: str, data: bytes, kind: str) -> Path:
    """Write an input below a folder; its name begins with its kind.

    Returns:
        the file.
    """
    path = folder / target / f"{kind}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
