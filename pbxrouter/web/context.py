"""The context of pages and endpoints: database, rules, calls, Asterisks, time.

Reads use a database connection and thread of the web server's own, so that a slow query delays neither
calls, nor rules, nor the history. Writes use the gateway's connection: written by another one, the
rules would have to be loaded again after each log-in, too.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from pbxrouter.call import ActiveCalls, PinGuard
from pbxrouter.config import Config, Zone
from pbxrouter.counter import CallCounter
from pbxrouter.database import Connection, LimitedDatabase, Store
from pbxrouter.doctor import Finding, LastRun
from pbxrouter.errors import EditRefused
from pbxrouter.health import Health
from pbxrouter.originate import Originator
from pbxrouter.rules import Applications, RulesEngine, RulesReloader, RuleSurveyor, read_phone
from pbxrouter.security import PasswordHashes
from pbxrouter.text import sentence, split_asterisk
from pbxrouter.web.csv_export import CsvExports

ANSWER_S: Final = 30.0
"""Seconds for which a page or the API waits for the database."""

MAX_PHONE: Final = 60
"""Characters of what was entered as a phone that a refusal shows."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WebContext:
    """The context of the web server's pages and endpoints.

    Attributes:
        reading: the web server's own store, for reads.
        writing: the gateway's store, for writes.
        applications: what drivers provide, and what they do with data.
        hash_pin: hashes a PIN for storage.
        key: the gateway's PIN key, from which others are derived.
        originators: by Asterisk's name.
        active_calls: the calls that the gateway is serving.
        health: takes a Health from memory.
        now: returns epoch seconds.
        examine: runs the doctor, passing on each finding; by default the one for ``config``.
        examined: what the last run of the doctor has found.
        refused_calls: number of calls that the gateway has refused as forged.
        pin_guard: limits wrong PINs; has what it has seen since the gateway started.
        passwords: hashes console passwords.
        exports: the downloads of the history.
        surveyor: the warnings about the rules; shared, since a survey of very many rules takes a while.
    """

    config: Config
    reading: Store
    writing: Store
    engine: RulesEngine
    reloader: RulesReloader
    applications: Applications
    hash_pin: Callable[[str], str]
    key: bytes
    originators: Mapping[str, Originator]
    counters: Sequence[CallCounter]
    active_calls: ActiveCalls
    health: Callable[[], Health]
    zone: Zone
    now: Callable[[], float]
    reactor: Any
    examine: Callable[[Callable[[Finding], object]], Awaitable[object]] | None = None
    examined: LastRun = field(default_factory=LastRun)
    refused_calls: Callable[[], int] = lambda: 0
    pin_guard: PinGuard = field(default_factory=lambda: PinGuard(None, (), time.time))
    passwords: PasswordHashes = field(default_factory=PasswordHashes)
    exports: CsvExports = field(init=False)
    surveyor: RuleSurveyor = field(init=False)

    def __post_init__(self) -> None:
        """Make the surveyor and the exports."""
        object.__setattr__(self, "exports", CsvExports(self.reactor))
        surveyor = RuleSurveyor(lambda: self.engine.rules, self.applications, self.reactor, self.asterisks)
        object.__setattr__(self, "surveyor", surveyor)

    def reconfigure(self, config: Config) -> None:
        """Use other settings from now on.

        Raises:
            ConfigError: there is no such time zone; nothing is changed.
        """
        self.zone.set(config.web.timezone)
        object.__setattr__(self, "config", config)

    def check_phone(self, phone: str, stored: str = "") -> None:
        """Check a phone that is entered, such as ``PJSIP/33``, with or without an Asterisk in front; empty is no phone.

        Args:
            stored: the value that it replaces, which may stay as it is.

        Raises:
            EditRefused: it is not a phone; the field is phone.
        """
        phone = phone.strip()
        asterisk, alone = split_asterisk(phone)
        if asterisk and asterisk not in self.asterisks:
            alone = phone
        if phone and phone != stored and read_phone(alone, self.config.technologies) is None:
            raise EditRefused(
                sentence("{phone} is not a phone; enter one such as PJSIP/33", phone=phone[:MAX_PHONE]), "phone"
            )

    @property
    def asterisks(self) -> tuple[str, ...]:
        """The names of all Asterisks in the settings."""
        return tuple(asterisk.name for asterisk in self.config.asterisk)

    def in_thread(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Run a blocking function in the reactor's thread pool."""
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), function, *arguments)

    def _limited(self, store: Store) -> LimitedDatabase:
        return LimitedDatabase(store, ANSWER_S, self.reactor)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Read from the database.

        Raises:
            StoreError: it cannot be read now.
        """
        return await self._limited(self.reading).run(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Write to the database, except rules.

        Raises:
            StoreError: the database cannot be written now.
            EditRefused: as ``work`` raises it.
        """
        return await self._limited(self.writing).run(work)

    async def change(self, work: Callable[[Connection], T]) -> T:
        """Change rules; when this returns, calls are decided by the changed rules.

        Raises:
            StoreError: the database cannot be written now.
            EditRefused: as ``work`` raises it.
        """
        done = await self._limited(self.writing).run(work)
        await self.reloader.reload()
        return done
