"""The process's limit of open files and connections, raised as far as the system allows.

Calls and browsers share it, and systems start processes with a low limit (1024) though they allow far more.
"""

from __future__ import annotations

import resource


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard limit; returns the limit that now holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):  # some systems refuse their own hard limit
        return soft
    return hard
