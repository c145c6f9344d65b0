"""AMI: whether the far end of a connection still lives.

A connection over which nothing comes looks the same whether Asterisk is idle, frozen,
or behind a network that is gone; so it is asked (Ping). One that still talks may have
ceased to read what we send; its answers are then missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pbxrouter.net import Timer
from pbxrouter.text import Sentence, sentence

BANNER_TIMEOUT_S: Final = 5.0
"""A connect may succeed during a restart and no banner ever come (facts B1)."""
LOOK_EVERY_S: Final = 4.0
"""How often the peer is looked after."""
PING_AFTER_S: Final = 8.0
"""How long after the last question it is asked again whether it lives."""
DEAD_AFTER_S: Final = 20.0
"""Silence after which it is given up."""
DEAF_AFTER_S: Final = 16.0
"""How long a peer that still talks may leave a Ping unanswered: it does not read what we send."""


class Watchdog:
    """Looks after one connection.

    Args:
        ping: asks the peer, which fires in any case, with or without an answer; takes
            how long that may last.
        give_up: told why the connection is of no use any more.

    Attributes:
        greeted: set when the banner came.
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
        self._timer.set(BANNER_TIMEOUT_S, self._look)
        self.greeted = False
        self.may_ask = False

    def heard(self) -> None:
        """Something came."""
        self._heard = self._clock.seconds()

    def stop(self) -> None:
        """The connection is gone."""
        self._timer.clear()

    def _look(self) -> None:
        now = self._clock.seconds()
        if not self.greeted:
            self._give_up(sentence("no banner came in {count} s", count=f"{BANNER_TIMEOUT_S:.0f}"))
        elif now - self._heard >= DEAD_AFTER_S:
            silent_s = f"{now - self._heard:.0f}"
            self._give_up(sentence("Asterisk has been silent for {count} s", count=silent_s))
        elif self._asking and now - self._asked >= DEAF_AFTER_S:
            deaf_s = f"{now - self._asked:.0f}"
            self._give_up(sentence("Asterisk has answered nothing for {count} s", count=deaf_s))
        else:
            self._timer.set(LOOK_EVERY_S, self._look)
            if self.may_ask and not self._asking and now - self._asked >= PING_AFTER_S:
                self._asking, self._asked = True, now
                self._ping(DEAF_AFTER_S + LOOK_EVERY_S).addBoth(self._answered)

    def _answered(self, _: object) -> None:
        self._asking = False
