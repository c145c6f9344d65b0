"""Loads the rules at the start and again when they have changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pbxrouter.errors import StoreError
from pbxrouter.net import Outage, at_most, every
from pbxrouter.rules.engine import RulesEngine
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.text import Sentence, sentence

POLL_S: Final = 0.1
"""Seconds between two checks whether the rules have changed."""


RELOAD_S: Final = 3.0
"""Seconds for which one who has changed the rules waits until they are in force: a caller may be among them."""
ANSWER_S: Final = 30.0
"""Seconds that reading the rules may take."""
NO_RULES: Final = "rules: cannot be read, and no call is taken until they can: {error}"
"""The log line of an outage before any rules have been loaded."""


T = TypeVar("T")


class RulesSource(Protocol):
    """A source of rules, such as ``database.Store``."""

    def load_rules(self) -> Deferred[RuleSet]:
        """Load all rules. The Deferred fails with StoreError."""
        ...

    def version(self) -> Deferred[tuple[int, ...]]:
        """A version that changes when another connection has written to the database.

        The Deferred fails with StoreError.
        """
        ...


class RulesReloader(MultiService):
    """Loads the rules at the start and again when they have changed.

    While the database cannot be read, the last rules stay in force.

    Args:
        now: returns epoch seconds.

    Attributes:
        outage: of reading the rules from the database.
    """

    log = Logger()

    def __init__(
        self, source: RulesSource, engine: RulesEngine, clock: IReactorTime, now: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self._source = source
        self._engine = engine
        self._clock = clock
        self._loaded: tuple[int, ...] | None = None
        self._problems: tuple[Sentence, ...] = ()
        self.outage = Outage(
            self.log,
            now,
            "rules: cannot be read, the last ones stay in force: {error}",
            "rules: the database can be read again",
        )

        every(POLL_S, self.poll, clock, self)

    async def reload(self) -> None:
        """Load the rules now, after a change by this gateway, and wait for that for RELOAD_S at most. Never fails."""
        self._loaded = None
        if not await at_most(RELOAD_S, Deferred.fromCoroutine(self.poll()), self._clock):
            self.log.warn(
                "rules: loading takes longer than {seconds:.0f} s; the last ones stay in force", seconds=RELOAD_S
            )

    async def poll(self) -> None:
        """Load the rules if they have changed. Never fails."""
        try:
            # Asked before loading: a change in between is found the next time.
            version = await self._in_time(self._source.version())
            if version == self._loaded:
                self.outage.over()
                return
            rules = await self._in_time(self._source.load_rules())
        except StoreError as error:
            self.outage.failed(error, None if self._engine.rules else NO_RULES)
            return
        except Exception:
            self.outage.note(Sentence("reading the rules failed; see the gateway's log"))
            self.log.failure("rules: loading failed unexpectedly, the last ones stay in force")
            return
        self.outage.over()
        self._tell_problems(rules.problems)
        self.log.info("rules loaded") if self._loaded is None else self.log.info("rules changed and loaded again")
        self._loaded = version
        self._engine.replace(rules)

    def _in_time(self, reading: Deferred[T]) -> Deferred[T]:
        """Fail with StoreError what takes longer than ANSWER_S, as on a disk that hangs."""

        def give_up(_: object, timeout: float) -> T:
            raise StoreError(sentence("the database did not answer within {seconds} s", seconds=f"{timeout:g}"))

        return reading.addTimeout(ANSWER_S, self._clock, give_up)

    def _tell_problems(self, problems: tuple[Sentence, ...]) -> None:
        for problem in problems:
            if problem not in self._problems:
                self.log.warn("rules: {problem}", problem=problem.english)
        self._problems = problems
