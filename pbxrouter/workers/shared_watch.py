"""Watchers of AGI dialogues that see the calls of all processes."""

from __future__ import annotations

import functools
from collections.abc import Callable

from pbxrouter.agi import DialogueLine, DialogueWatch

Wanted = list[tuple[int, str | None, str | None]]
"""Of each watcher a number, the caller and the extension that it asked for; None: any."""


class SharedWatch(DialogueWatch):
    """The watchers of the main process; the workers send them the lines of their calls.

    Attributes:
        changed: called when the watchers have changed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.changed: Callable[[], object] = lambda: None
        self._shared: dict[int, tuple[Callable[[DialogueLine], None], str | None, str | None]] = {}
        self._number = 0

    @property
    def wanted(self) -> Wanted:
        """What the watchers asked for."""
        return [(number, caller, extension) for number, (_, caller, extension) in self._shared.items()]

    def add(
        self, show: Callable[[DialogueLine], None], caller: str | None = None, extension: str | None = None
    ) -> Callable[[], None]:
        """Watch as in DialogueWatch, the calls of the workers too."""
        stop_own = super().add(show, caller, extension)
        self._number += 1
        number = self._number
        self._shared[number] = show, caller, extension
        self.changed()

        def stop() -> None:
            stop_own()
            if self._shared.pop(number, None) is not None:
                self.changed()

        return stop

    def show(self, number: int, line: DialogueLine) -> None:
        """Show a line of a worker's call to the watcher of that number, if it still watches."""
        found = self._shared.get(number)
        if found is not None:
            found[0](line)


class WorkerWatch(DialogueWatch):
    """The watchers of a worker: those of the main process, to which the lines are sent.

    Args:
        send: takes the number of a watcher, and a line.
    """

    def __init__(self, send: Callable[[int, DialogueLine], None]) -> None:
        super().__init__()
        self._send = send
        self._stop: list[Callable[[], None]] = []

    def follow(self, wanted: Wanted) -> None:
        """Watch what is wanted now, and nothing else."""
        for stop in self._stop:
            stop()
        self._stop = [
            self.add(functools.partial(self._send, number), caller, extension) for number, caller, extension in wanted
        ]
