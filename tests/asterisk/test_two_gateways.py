"""Two gateways on one Asterisk: one of them serves the calls in agi:async, and the other takes over."""

from __future__ import annotations

import contextlib
import sqlite3
from types import SimpleNamespace
from typing import Any

from tests.asterisk.harness import Gateway
from tests.asterisk.test_magi import CONFIG, MagiTest
from tests.waiting import wait_for

SECOND_PORT = 76
TAKES_OVER = "serves the calls in agi:async from now on"


class TwoGatewaysTest(MagiTest):
    """The gateway of the other tests, and a second one with a database of its own."""

    config = CONFIG

    def setUp(self) -> None:
        """Start the second one, which stands by."""
        super().setUp()
        place: Any = SimpleNamespace(base=self.lab.base, agi_port=self.lab.base + SECOND_PORT)
        self.second = Gateway(place, CONFIG)
        self.addCleanup(self.second.remove)
        with contextlib.closing(sqlite3.connect(self.second.database)) as connection, connection:
            connection.execute("UPDATE extensions SET extension_number = '34' WHERE extension_number = '33'")
        wait_for("the second gateway to stand by", lambda: "this one stands by" in self.second.log())

    def _history(self, gateway: Gateway) -> int:
        with contextlib.closing(sqlite3.connect(gateway.database)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM calls").fetchone()
        return int(count)

    def _rings(self, count: int) -> None:
        """Place calls one after the other; each is dialled once."""
        before = self._dials()
        with self.phone(21, "busy", "-m", str(count)):
            for _ in range(count):
                self.call("21")
        self.assertEqual(self._dials() - before, count)

    def _dials(self) -> int:
        """How often phone 21 was dialled, by any gateway."""
        return self.log().count("Application: (Dial) Options: (PJSIP/21,")

    def test_each_call_once(self) -> None:
        """Each call is served by one gateway; when that is killed, or stops, by the other."""
        first, second = self.gateway, self.second
        before = self._history(first)
        self._rings(3)
        wait_for("the calls in the first history", lambda: self._history(first) == before + 3)
        self.assertEqual(self._history(second), 0)

        first.kill()
        wait_for("the second gateway to take over", lambda: TAKES_OVER in second.log())
        self._rings(2)
        wait_for("the calls in the second history", lambda: self._history(second) == 2)

        mark = first.log_size()
        first.start()
        wait_for("the first gateway to stand by", lambda: "this one stands by" in first.log(mark))
        second.stop()
        wait_for("the first gateway to take over", lambda: TAKES_OVER in first.log(mark))
        self._rings(2)
        wait_for("the calls in the first history", lambda: self._history(first) == before + 5)
        self.assertEqual(self._history(second), 2)
        first.settle()
        self._sockets = first.sockets()
