"""The process's limit of open files and connections, raised as far as the system allows.

Calls and browsers share it, and systems start processes with a low limit (1024) though they allow far more.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Final

MAX_WEB_CONNECTIONS: Final = 4096
FILES_FOR_CALLS: Final = 512
"""Open files that the web server leaves for calls."""
OTHER_FILES: Final = 64
"""Open files for the database, AMI, sounds and the log."""


def raise_file_limit(set_limit: Callable[[int, tuple[int, int]], object] = resource.setrlimit) -> int:
    """Raise the soft limit of open files to the hard limit; returns the limit that now holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        set_limit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):  # some systems refuse their own hard limit
        return soft
    return hard


def web_connections(files: int) -> int:
    """Maximum number of browser connections for a limit of open files."""
    return max(16, min(MAX_WEB_CONNECTIONS, files - FILES_FOR_CALLS, files // 2))


def call_connections(files: int, with_web: bool) -> int:
    """Maximum number of FastAGI connections for a limit of open files: what the web server and others leave."""
    return max(16, files - OTHER_FILES - (web_connections(files) if with_web else 0))
