"""How many files and connections the process may have open: as many as the system lets it.

Calls and browsers share them, and systems begin with few (1024) though they allow far more.
"""

from __future__ import annotations

import resource


def raise_file_limit() -> int:
    """Let the process open as many files as it may; returns how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):  # a system that does not let go of what it said
        return soft
    return hard
