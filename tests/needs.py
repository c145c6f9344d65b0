"""Requirements of tests on the machine: where one is missing the test is skipped with the reason; in CI it fails."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Final, NoReturn
from unittest import SkipTest

PATIENCE_S: Final = 120.0
"""Seconds to wait for what comes within one on a quiet machine, before a test fails."""


def missing(reason: str) -> NoReturn:
    """Skip the calling test; fail it under CI=true, where nothing may be missing."""
    if os.environ.get("CI") == "true":
        raise AssertionError(f"missing, though CI has everything: {reason}")
    raise SkipTest(reason)


def program(name: str) -> None:
    """Need a program on the path, such as curl."""
    if shutil.which(name) is None:
        missing(f"{name} is not installed here")


def proc() -> None:
    """Skip a test where there is no Linux /proc."""
    if not Path("/proc/self/stat").exists():
        missing("there is no /proc here")


def terminal() -> tuple[int, int]:
    """Need a pseudo-terminal. Returns both ends; the caller closes them."""
    try:
        return os.openpty()
    except OSError as error:
        missing(f"no pseudo-terminal can be opened here ({error})")


def interrupts() -> None:
    """Need that Ctrl-C reaches the programs that are started; a shell's background jobs ignore it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        missing("SIGINT is ignored here, as in a background job of a shell")
