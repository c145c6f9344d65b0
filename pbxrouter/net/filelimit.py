"""How many files and connections the process may have open: as many as the system lets it.

Calls and browsers share them, and systems begin with few (1024) though they allow far more.
"""

from __future__ import annotations

import resource
from typing import Final

MAX_WEB_CONNECTIONS: Final = 4096
FILES_FOR_CALLS: Final = 512
"""Open files that the web server leaves for calls."""
OTHER_FILES: Final = 64
"""Open files for the database, AMI, sounds and the log."""


def raise_file_limit() -> int:
    """Let the process open as many files as it may; returns how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):  # a system that does not let go of what it said
        return soft
    return hard


def web_connections(files: int) -> int:
    """Maximum number of browser connections for a limit of open files."""
    return max(16, min(MAX_WEB_CONNECTIONS, files - FILES_FOR_CALLS, files // 2))


def call_connections(files: int, with_web: bool) -> int:
    """Maximum number of FastAGI connections for a limit of open files: what the web server and others leave."""
    return max(16, files - OTHER_FILES - (web_connections(files) if with_web else 0))
