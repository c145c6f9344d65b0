"""How many calls a PIN has open at once, with all gateways on one database together."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pbxrouter.database import CONSTRAINT_ERRORS, Database, begin_pin_call, write_pin_calls
from pbxrouter.errors import StoreError


class PinCalls:
    """Counts the calls in progress that users' PINs have opened.

    What this gateway has is kept in memory and written to the database, where the other gateways' calls are read.
    While the database is away each gateway counts its own.

    Args:
        store: the database; None counts in memory only.
        now: returns epoch seconds.
    """

    log = Logger()
    WRITE_EVERY_S: Final = 20.0
    """How often ``write`` is to be called, so that the other gateways go on counting."""

    def __init__(self, store: Database | None, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._gateway: Final = secrets.token_hex(8)
        self._counts: Counter[str] = Counter()

    async def begin(self, user: str, limit: int) -> bool:
        """Count a call that a user's PIN has opened; False if the user has as many as allowed.

        Without the database only this gateway's calls are counted. Any other error is raised, and nothing is counted.
        """
        if self._counts[user] >= limit:
            return False
        self._counts[user] += 1
        if self._store is None:
            return True
        calls, now = self._counts[user], self._now()
        try:
            begun = await self._store.run(
                lambda connection: begin_pin_call(connection, self._gateway, user, calls, limit, now)
            )
        except (StoreError, *CONSTRAINT_ERRORS) as error:  # the latter by a constraint that is the owner's
            self.log.warn("PIN calls: the database cannot be used, counting in memory: {error}", error=str(error))
            return True
        except BaseException:
            self._forget(user)
            raise
        if not begun:
            self._forget(user)
        return begun

    def end(self, user: str) -> None:
        """Count the end of such a call."""
        self._forget(user)
        Deferred.fromCoroutine(self._write(user))

    async def write(self) -> None:
        """Write all calls that this gateway has, and delete those of gateways that were killed. Never fails."""
        await self._write(None)

    async def _write(self, only: str | None) -> None:
        if self._store is None:
            return
        counts, now = dict(+self._counts), self._now()
        try:
            await self._store.run(lambda connection: write_pin_calls(connection, self._gateway, counts, now, only=only))
        except Exception as error:
            self.log.debug("PIN calls: cannot be written now: {error}", error=str(error))

    def _forget(self, user: str) -> None:
        self._counts[user] -= 1
        if self._counts[user] <= 0:
            del self._counts[user]
