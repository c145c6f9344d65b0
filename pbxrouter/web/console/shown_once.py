"""Secrets that are shown once, after the form that made them: a PIN, a password, a token, a signed address.

The form redirects to the page that shows the secret, so that reloading that page makes no other one. The
secret is kept in memory, for the session that made it, until another page is opened or the session is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

KEPT_S: Final = 600.0
"""Seconds after which a secret is forgotten, though its page is still open."""
MAX_KEPT: Final = 1000


@dataclass(slots=True)
class _Kept:
    path: str
    value: Any
    until: float
    was_shown: bool = False


class ShownOnce:
    """The secrets that may still be shown: one for each session, the last.

    Args:
        seconds: the reactor's time.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._kept: dict[str, _Kept] = {}  # by session, the latest last

    @property
    def count(self) -> int:
        """How many are kept."""
        return len(self._kept)

    def put(self, session: str, path: str, value: Any) -> None:
        """Keep a value for a session's page; the page's path has neither query nor fragment."""
        self.forget(session)
        self._kept[session] = _Kept(path, value, self._seconds() + KEPT_S)
        if len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]

    def get(self, session: str, path: str) -> Any:
        """The value for a session's page; None if there is none any more."""
        self._drop_old()
        kept = self._kept.get(session)
        if kept is None or kept.path != path:
            return None
        kept.was_shown = True
        return kept.value

    def leave(self, session: str, path: str) -> None:
        """Forget a session's value, unless this is its page, and those of all sessions that are too old.

        One that was not shown yet is kept: a page in another tab, which reloads itself, may come in between.
        """
        self._drop_old()
        kept = self._kept.get(session)
        if kept is not None and kept.path != path and kept.was_shown:
            del self._kept[session]

    def forget(self, session: str) -> None:
        """Forget a session's value, as the session is closed."""
        self._kept.pop(session, None)

    def _drop_old(self) -> None:
        now = self._seconds()
        while self._kept and (oldest := next(iter(self._kept.items())))[1].until <= now:
            del self._kept[oldest[0]]
