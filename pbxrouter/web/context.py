"""What console and API work with: the database, the rules in force, the calls, the Asterisks, the time.

One of these is made for the web server and handed to all pages and endpoints. What is read
goes by a database connection and thread of its own, so that a slow query holds up neither
calls, nor the rules, nor the history. What is written goes by the gateway's own connection:
written by another one, the rules would have to be loaded anew after each log-in, too. Not
here: what any page does with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from pbxrouter.call import ActiveCalls
from pbxrouter.config import Config
from pbxrouter.counter import CallCounter
from pbxrouter.database import Store
from pbxrouter.doctor import Finding
from pbxrouter.health import Health
from pbxrouter.originate import Originator
from pbxrouter.rules import RulesEngine, RulesReloader, RuleSurveyor
from pbxrouter.web.language import Zone

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WebContext:
    """The tools of the web server.

    Attributes:
        reading: the web server's own store, for whatever only reads.
        writing: the gateway's store.
        applications: the names that drivers provide, lower case.
        hash_pin: makes of a PIN what is stored of it.
        key: the gateway's key, for deriving others from.
        originators: by the Asterisk's name.
        board: the calls that the gateway has right now.
        health: tells how the gateway is; from memory.
        now: epoch seconds.
        examine: the doctor, telling each finding; None takes the one that looks at ``config``.
        surveyor: what is odd about the rules; one for all, since looking at very many takes a while.
    """

    config: Config
    reading: Store
    writing: Store
    engine: RulesEngine
    reloader: RulesReloader
    applications: frozenset[str]
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
    surveyor: RuleSurveyor = field(init=False)

    def __post_init__(self) -> None:
        """The surveyor looks at what else is here."""
        surveyor = RuleSurveyor(lambda: self.engine.rules, self.applications, self.reactor)
        object.__setattr__(self, "surveyor", surveyor)

    def in_thread(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Call a function that takes long in one of the reactor's threads."""
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), function, *arguments)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Ask the database.

        Raises:
            StoreError: it cannot be read now.
        """
        return await self.reading.run(work)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Write what is no rule.

        Raises:
            StoreError: the database cannot be written now.
            EditRefused: as ``work`` raises it.
        """
        return await self.writing.run(work)

    async def change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Change rules; when this returns, calls are decided by the changed ones.

        Raises:
            StoreError: the database cannot be written now.
            EditRefused: as ``work`` raises it.
        """
        done = await self.writing.run(work)
        await self.reloader.reload()
        return done
