"""Outages: since when a part of the gateway has not worked and why, logged once."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from pbxrouter.errors import sentence_of
from pbxrouter.text import Sentence


class Outage:
    """The outage of something that a part of the gateway needs, such as the database.

    One log line says that an outage has begun, one that it is over.

    Args:
        log: the part's logger.
        now: returns the time in epoch seconds.
        failed: format of the log line when an outage begins. It begins with the part's name; ``{error}`` is why.
        recovered: format of the log line when the outage is over. It begins with the part's name.
        fields: further fields for both lines.

    Attributes:
        away_since: when the outage began, epoch seconds; None while there is none.
        trouble: why it lasts, as of the last failure; None while there is none.
    """

    def __init__(self, log: Logger, now: Callable[[], float], failed: str, recovered: str, **fields: object) -> None:
        self._log = log
        self._now = now
        self._failed = failed
        self._recovered = recovered
        self._fields = fields
        self._logged = False
        self.away_since: float | None = None
        self.trouble: Sentence | None = None

    def failed(self, error: Exception, line: str | None = None) -> None:
        """Record a failure: an outage begins or goes on.

        Args:
            line: format of the log line if an outage begins now; by default that of the outage.
        """
        self.note(sentence_of(error))
        if not self._logged:
            self._logged = True
            self._log.error(line or self._failed, error=str(error), **self._fields)

    def note(self, trouble: Sentence) -> None:
        """Record a failure that the caller has logged, such as a bug with its traceback."""
        self.trouble = trouble
        if self.away_since is None:
            self.away_since = self._now()

    def over(self) -> None:
        """Record a success: an outage, if there was one, is over."""
        if self.away_since is None:
            return
        self.away_since = self.trouble = None
        self._logged = False
        self._log.info(self._recovered, **self._fields)
