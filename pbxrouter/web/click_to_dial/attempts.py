"""Click-to-dial attempts and their progress, kept in memory for an hour.

Each has an unguessable id: its holder may see the call. Their number is bounded.
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
"""Seconds for which an attempt is kept after its last change."""
MAX_WAITING: Final = 8
"""Maximum number of requests waiting for one attempt's next step; more are answered at once."""


@dataclass(eq=False, slots=True)
class DialAttempt:
    """One attempt to call.

    Attributes:
        owner: ("link", link id) or ("user", console user id).
        number: the number to connect.
        phone: the phone that rings first.
        began: epoch seconds.
        changed: epoch seconds of the last step.
        form: id of the form that requested it; a form sent twice makes one call.
        back: the visitor's previous page.
        sites: origins that may show it in a frame.
        steps: its progress so far.
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
        """Whether it has ended."""
        return bool(self.steps) and self.steps[-1].is_last

    def has_been(self, state: str) -> bool:
        """Whether it has reached a state."""
        return any(step.state == state for step in self.steps)

    def tell(self, progress: Progress, now: float) -> None:
        """Add a step to the attempt's progress and tell the pages that show it."""
        self.steps.append(progress)
        self.changed = now
        waiting, self.waiting = self.waiting, []
        for deferred in waiting:
            deferred.callback(None)

    async def news(self, seen: int, wait_s: float, clock: Any) -> None:
        """Wait until there are more steps than ``seen``, or for a time.

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
    """The click-to-dial attempts of the last hour, by their id.

    Args:
        now: epoch seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._all: OrderedDict[str, DialAttempt] = OrderedDict()

    def add(
        self, owner: tuple[str, int], number: str, phone: str, form: str = "", back: str = "", sites: str = ""
    ) -> DialAttempt:
        """Add an attempt, forgetting those that ended long ago, and the oldest if there are too many."""
        now = self._now()
        for outdated in [attempt for attempt in self._all.values() if attempt.changed < now - KEEP_S]:
            self.forget(outdated)
        while len(self._all) >= MAX_ATTEMPTS:
            self._all.popitem(last=False)
        made = DialAttempt(secrets.token_urlsafe(18), owner, number, phone, now, now, form, back, sites)
        self._all[made.attempt_id] = made
        return made

    def forget(self, attempt: DialAttempt) -> None:
        """Drop an attempt, which can no longer be found."""
        self._all.pop(attempt.attempt_id, None)

    def find(self, attempt_id: str, owner: tuple[str, int]) -> DialAttempt | None:
        """Find an attempt by id, if it belongs to the owner."""
        found = self._all.get(attempt_id)
        return found if found is not None and found.owner == owner else None

    def of_form(self, form: str, owner: tuple[str, int]) -> DialAttempt | None:
        """Find the attempt that a form requested."""
        return next(
            (attempt for attempt in self._all.values() if attempt.form == form and attempt.owner == owner), None
        )

    def latest(self, owner: tuple[str, int], most: int) -> list[DialAttempt]:
        """The latest attempts of an owner, newest first."""
        found = [attempt for attempt in reversed(self._all.values()) if attempt.owner == owner]
        return found[:most]
