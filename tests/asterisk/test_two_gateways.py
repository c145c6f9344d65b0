"""Two gateways on one Asterisk and one database: each call is served once; one is killed, and the other goes on."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from tests.asterisk.harness import PROJECT
from tests.asterisk.test_magi import CONFIG, MagiTest
from tests.waiting import wait_for

TWO_CONFIG = CONFIG + "\n# two gateways\n"
CALLS = 10


class TwoGatewaysTests(MagiTest):
    """The gateway of the other tests, and a second one with the same settings on another port."""

    config = TWO_CONFIG

    def setUp(self) -> None:
        """Start the second, and wait until it stands by."""
        super().setUp()
        self.second_log = self.gateway.folder / "log-of-the-second"
        wait_for("the first serves the calls", lambda: self.claim("pbxrouter-magi").count("/") == 5)
        twistd = [
            sys.executable,
            "-c",
            "from twisted.scripts.twistd import run; run()",
            "-n",
            "--pidfile=",
            "pbxrouter",
        ]
        with self.second_log.open("wb") as log:
            self.second = subprocess.Popen(
                [*twistd, "--config", str(self.gateway.config), "--listen", "tcp:0:interface=127.0.0.1"],
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.addCleanup(self.stop_second)
        wait_for("the second stands by", lambda: "on this database writes" in self.second_said() and self.stands_by())

    def stop_second(self) -> None:
        """Stop the second gateway."""
        self.second.terminate()
        self.second.wait(60)

    def second_said(self) -> str:
        """What the second gateway has logged."""
        return self.second_log.read_text(errors="replace")

    def stands_by(self) -> bool:
        """Whether the second has said that it stands by for the calls of phone 34."""
        return bool(re.search("serves the calls in pbxrouter-magi; this one stands by", self.second_said()))

    def claim(self, context: str) -> str:
        """Who serves a context's calls, as Asterisk has it."""
        return self.lab.ami.getvar(f"PBXROUTER_MAGI_{context}")

    def rows(self, query: str) -> list[tuple[int, ...]]:
        """The rows of a query on the database of both."""
        with contextlib.closing(sqlite3.connect(Path(self.gateway.database))) as connection:
            return connection.execute(query).fetchall()

    def calls_since(self, began: float) -> tuple[int, int]:
        """The number of rows in the history since a time, and of different calls."""
        ((rows, calls),) = self.rows(f"SELECT count(*), count(DISTINCT uniqueid) FROM calls WHERE began >= {began}")
        return rows, calls

    def counted(self) -> int:
        """The calls that the counter has written as finished."""
        ((finished,),) = self.rows("SELECT total(finished) FROM counter_minutes WHERE kind = 'all'")
        return int(finished)

    def test_each_call_once(self) -> None:
        """Ten calls make ten rows and are counted as ten; killed, the first is followed by the second at once."""
        counted, began = self.counted(), time.time()
        for _ in range(CALLS):
            self.call("54")
        wait_for("the history", lambda: self.calls_since(began)[0] >= CALLS)
        self.assertEqual(self.calls_since(began), (CALLS, CALLS))
        wait_for("the counts", lambda: self.counted() >= counted + CALLS)
        self.assertEqual(self.counted(), counted + CALLS)
        self.gateway.kill()
        began = time.time()
        self.call("54")
        wait_for("the history", lambda: self.calls_since(began) == (1, 1))
        self.assertIn("this one takes over the calls in pbxrouter-magi", self.second_said())
        wait_for("the counts go on", lambda: "wrote the counts of all calls has ended" in self.second_said())

        # The first comes back, and stands by; the second is stopped, and the first goes on without a wait.
        since = self.gateway.log_size()
        self.gateway.start()
        wait_for("it stands by", lambda: "pbxrouter-magi; this one stands by" in self.gateway.log(since))
        self.stop_second()
        began = time.time()
        self.call("54")
        wait_for("the history", lambda: self.calls_since(began) == (1, 1))
        self._sockets = self.gateway.sockets() + 1
