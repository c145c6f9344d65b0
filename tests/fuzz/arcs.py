"""Watches which steps from line to line of the package an input takes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import pbxrouter

PACKAGE: Final = str(Path(pbxrouter.__file__).parent)

Arc = tuple[CodeType, int, int]
"""A code object, the line before and the line after."""


class Arcs:
    """The steps taken so far.

    Attributes:
        seen: all of them.
        fresh: how many of the last input were new.
    """

    def __init__(self) -> None:
        self.seen: set[Arc] = set()
        self.fresh = 0
        self._mine: dict[CodeType, bool] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while the body runs."""
        known = len(self.seen)
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)
            self.fresh = len(self.seen) - known

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        mine = self._mine.get(code)
        if mine is None:
            mine = self._mine[code] = code.co_filename.startswith(PACKAGE)
        if not mine:
            return None
        last = 0
        seen = self.seen

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                line = frame.f_lineno
                seen.add((code, last, line))
                last = line
            return step

        return step
