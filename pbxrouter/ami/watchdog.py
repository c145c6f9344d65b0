"""Detects a dead peer on an AMI connection.

A silent connection looks the same whether Asterisk is idle, frozen, or unreachable, so the peer is
pinged. A peer that still sends may have stopped reading; its responses are then missing. Time in which this
process itself stood still is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pbxrouter.net import GRACE_S, Timer
from pbxrouter.text import Sentence, sentence

BANNER_TIMEOUT_S: Final = 5.0
"""Seconds to wait for the banner: during a restart of Asterisk it may never come (docs/asterisk.md B1)."""
LOOK_EVERY_S: Final = 4.0
"""Seconds between two checks of the peer."""
PING_AFTER_S: Final = 8.0
"""Seconds between two Pings."""
DEAD_AFTER_S: Final = 20.0
"""Seconds of silence after which the connection is closed."""
DEAF_AFTER_S: Final = 16.0
"""Seconds that a peer that still sends may leave a Ping unanswered before it counts as not reading."""


class Watchdog:
    """Watches one connection.

    Args:
        ping: sends a Ping with a timeout in seconds; its Deferred fires in any case.
        give_up: called with the reason when the connection is dead.

    Attributes:
        greeted: set when the banner has come.
        may_ask: set when the peer accepts a Ping.
    """

    def __init__(
        self, clock: IReactorTime, ping: Callable[[float], Deferred[Any]], give_up: Callable[[Sentence], None]
    ) -> None:
        self._clock = clock
        self._ping = ping
        self._give_up = give_up
        self._heard = self._asked = clock.seconds()
        self._asking = False
        self._timer = Timer(clock)
        self._look_after(BANNER_TIMEOUT_S)
        self.greeted = False
        self.may_ask = False

    def heard(self) -> None:
        """Record that bytes have come."""
        self._heard = self._clock.seconds()

    def stop(self) -> None:
        """Stop watching: the connection is closed."""
        self._timer.clear()

    def _look_after(self, seconds: float) -> None:
        self._due = self._clock.seconds() + seconds
        self._timer.set(seconds, self._look)

    def _look(self) -> None:
        now = self._clock.seconds()
        late_s = now - self._due
        if late_s > GRACE_S:
            self._heard, self._asked = min(now, self._heard + late_s), min(now, self._asked + late_s)
        if not self.greeted:
            self._give_up(sentence("no banner came in {count} s", count=f"{BANNER_TIMEOUT_S:.0f}"))
        elif now - self._heard >= DEAD_AFTER_S:
            silent_s = f"{now - self._heard:.0f}"
            self._give_up(sentence("Asterisk has been silent for {count} s", count=silent_s))
        elif self._asking and now - self._asked >= DEAF_AFTER_S:
            deaf_s = f"{now - self._asked:.0f}"
            self._give_up(sentence("Asterisk has not answered for {count} s", count=deaf_s))
        else:
            self._look_after(LOOK_EVERY_S)
            if self.may_ask and not self._asking and now - self._asked >= PING_AFTER_S:
                self._asking, self._asked = True, now
                self._ping(DEAF_AFTER_S + LOOK_EVERY_S).addBoth(self._answered)

    def _answered(self, _: object) -> None:
        self._asking = False
