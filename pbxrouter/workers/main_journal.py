"""The journal of the main process, which leaves the calls of workers to the journals of those."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pbxrouter.call import CallJournal
from pbxrouter.database.calls import CallRow


class MainJournal(CallJournal):
    """The journal of the main process.

    A call of a worker stays in that worker's journal until the history has it: the main process, which writes the
    history, tells the worker so. A call that was asked about twice may be in the journals of two.
    """

    def __init__(self, database: Path, now: Callable[[], float], aside: Any, gateway: str = "") -> None:
        super().__init__(database, now, aside, gateway)
        self._of_workers: dict[str, list[Callable[[str], object]]] = {}

    def leave_to(self, key: str, written: Callable[[str], object]) -> bool:
        """Leave a call to the worker that has it in its journal; returns whether it was left to one before.

        Args:
            written: is told the key when the history has the call, or it was given up.
        """
        was_left = key in self._of_workers
        self._of_workers.setdefault(key, []).append(written)
        return was_left

    def take_over(self, row: CallRow) -> None:
        """Keep a call whose worker ends, unless the history has it by now."""
        if row.call_key in self._of_workers:
            kept = super().finish(row)
            write = super().written
            self._of_workers[row.call_key].append(lambda key: write([kept]))

    def finish(self, row: CallRow) -> CallRow:
        """Write a call that is over, if it is one of this process; as in CallJournal."""
        return row if row.call_key in self._of_workers else super().finish(row)

    def written(self, rows: Iterable[CallRow]) -> None:
        """Forget calls that are in the history; as in CallJournal."""
        own = []
        for row in rows:
            left = self._of_workers.pop(row.call_key, None)
            if left is None:
                own.append(row)
            for tell in left or ():
                tell(row.call_key)
        super().written(own)
