"""Watches how many file descriptors are free: without one no connection, file or look-up can be opened."""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Callable
from typing import Final

from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pbxrouter.errors import DescriptorsUsedUp
from pbxrouter.net.outage import Outage
from pbxrouter.net.timers import every

LOOK_EVERY_S: Final = 2.0
FEW: Final = 4
"""Free descriptors below which new connections are in danger."""
ENOUGH: Final = 12
"""Free descriptors from which on that is over."""

_OPEN: Final = "/proc/self/fd"


def free_descriptors(listing: str = _OPEN) -> int:
    """How many more descriptors this process may open; the limit where the system does not tell how many are open.

    Args:
        listing: the folder in which the system lists the open ones.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        # What the listing itself opens is counted, too.
        return max(0, limit - len(os.listdir(listing)) + 1)
    except OSError as error:
        return 0 if error.errno in (errno.EMFILE, errno.ENFILE) else limit


class DescriptorWatch(MultiService):
    """Looks regularly whether descriptors are used up, and says so once.

    The reactor keeps one in reserve, by which connections are accepted and closed at once then: the dialplan is not
    left waiting, and goes on to its fallback.

    Args:
        now: returns epoch seconds.
        free: counts the free descriptors.

    Attributes:
        outage: of opening anything.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], float] = time.time,
        free: Callable[[], int] = free_descriptors,
    ) -> None:
        super().__init__()
        self._free = free
        self.outage = Outage(
            self.log,
            now,
            "descriptors: {error}",
            "descriptors: there are enough again; calls are taken",
        )
        every(LOOK_EVERY_S, self.look, clock, self)

    async def look(self) -> None:
        """Look once. Never fails."""
        free = self._free()
        if free < FEW:
            self.outage.failed(DescriptorsUsedUp(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
        elif free >= ENOUGH:
            self.outage.over()
