"""Calls begun with a click, and what has become of each: kept for an hour, told to whoever waits.

Each has an id that cannot be guessed: who has it may see the call. Bounded in number and
time; in memory only, for a call is no longer than the gateway's connection to Asterisk.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError

from pbxrouter.originate import Progress

MAX_ATTEMPTS: Final = 2000
KEEP_S: Final = 3600.0
"""How long after the last that was heard of it."""
MAX_WAITING: Final = 8
"""How many may wait for one call's next step; more are answered at once."""


@dataclass(eq=False, slots=True)
class DialAttempt:
    """One call.

    Attributes:
        owner: whose it is: ("link", its number) or ("user", theirs).
        number: what is to be connected.
        phone: what rings first.
        began: epoch seconds.
        changed: epoch seconds of the last step.
        form: of the form that it was asked by; a form sent twice makes one call.
        back: where a visitor came from.
        sites: which sites may show it in a frame.
        steps: what has become of it so far.
    """

    attempt_id: str
    owner: tuple[str, int]
    number: str
    phone: str
    began: float
    changed: float
    form: str = ""
    back: str = ""
    sites: str = ""
    steps: list[Progress] = field(default_factory=list)
    waiting: list[Deferred[None]] = field(default_factory=list, repr=False)

    @property
    def last(self) -> Progress | None:
        """The last step; None before the first."""
        return self.steps[-1] if self.steps else None

    @property
    def state(self) -> str:
        """The last step's state; ``asked`` before the first."""
        return self.steps[-1].state if self.steps else "asked"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return bool(self.steps) and self.steps[-1].is_last

    def has_been(self, state: str) -> bool:
        """Whether it has come so far."""
        return any(step.state == state for step in self.steps)

    def tell(self, progress: Progress, now: float) -> None:
        """Something became of it."""
        self.steps.append(progress)
        self.changed = now
        waiting, self.waiting = self.waiting, []
        for deferred in waiting:
            deferred.callback(None)

    async def news(self, seen: int, wait_s: float, clock: Any) -> None:
        """Wait until there are more steps than were seen, or so long.

        Args:
            clock: IReactorTime.
        """
        if len(self.steps) > seen or self.is_over or len(self.waiting) >= MAX_WAITING:
            return
        told: Deferred[None] = Deferred()
        self.waiting.append(told)
        try:
            await told.addTimeout(wait_s, clock)
        except TimeoutError:
            pass
        finally:
            if told in self.waiting:
                self.waiting.remove(told)


class Attempts:
    """All that there are.

    Args:
        now: epoch seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._all: OrderedDict[str, DialAttempt] = OrderedDict()

    def add(
        self, owner: tuple[str, int], number: str, phone: str, form: str = "", back: str = "", sites: str = ""
    ) -> DialAttempt:
        """One more; those that are long over are forgotten, and the oldest if there are too many."""
        now = self._now()
        for outdated in [attempt for attempt in self._all.values() if attempt.changed < now - KEEP_S]:
            self.forget(outdated)
        while len(self._all) >= MAX_ATTEMPTS:
            self._all.popitem(last=False)
        made = DialAttempt(secrets.token_urlsafe(18), owner, number, phone, now, now, form, back, sites)
        self._all[made.attempt_id] = made
        return made

    def forget(self, attempt: DialAttempt) -> None:
        """It was never begun, or is long over."""
        self._all.pop(attempt.attempt_id, None)

    def find(self, attempt_id: str, owner: tuple[str, int]) -> DialAttempt | None:
        """The one of an id, if it is theirs."""
        found = self._all.get(attempt_id)
        return found if found is not None and found.owner == owner else None

    def of_form(self, form: str, owner: tuple[str, int]) -> DialAttempt | None:
        """The one that was asked for by this form."""
        return next(
            (attempt for attempt in self._all.values() if attempt.form == form and attempt.owner == owner), None
        )

    def latest(self, owner: tuple[str, int], most: int) -> list[DialAttempt]:
        """The last ones of somebody, newest first."""
        found = [attempt for attempt in reversed(self._all.values()) if attempt.owner == owner]
        return found[:most]
