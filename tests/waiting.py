"""Waits, in tests of real processes, for what must come."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.needs import PATIENCE_S


def wait_for(what: str, condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds; long, for a loaded machine."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(0.02)
