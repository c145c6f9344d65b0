"""The example driver of docs/drivers.md, which puts callers into a queue."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from tests.asterisk.harness import PROJECT
from tests.asterisk.test_shapes import CONFIG, Row, ShapeCase
from tests.waiting import wait_for

PACKAGE: Final = PROJECT / "docs/examples/pbxrouter-queue"
INSTALLED: Final = {
    "METADATA": "Metadata-Version: 2.1\nName: pbxrouter-queue\nVersion: 1.0\n",
    "entry_points.txt": "[pbxrouter.drivers]\nqueue = pbxrouter_queue:Queue\n",
}
MAPPINGS: Final = {
    "61": ("queue", "support"),
    "62": ("queue", "sales"),
    "63": ("queue", "service,,,,3"),
    "64": ("queue", "closed"),
}
QUEUED: Final = (
    Row("801", "61", "ANSWER", (("801", "856"),)),
    Row("802", "61", "ANSWER", (("802", "857"),)),
    Row("803", "62", "HANGUP"),
    Row("804", "63", "TIMEOUT"),
    Row("805", "64", "JOINEMPTY"),
)


class QueueCase(ShapeCase):
    """A gateway that has the driver."""

    mappings = MAPPINGS

    def setUp(self) -> None:
        """Put the package where the gateway finds it, as pip does."""
        folder = Path(tempfile.mkdtemp())
        for name, text in INSTALLED.items():
            (folder / "pbxrouter_queue-1.0.dist-info").mkdir(exist_ok=True)
            (folder / "pbxrouter_queue-1.0.dist-info" / name).write_text(text)
        (folder / "pbxrouter_queue.py").write_text((PACKAGE / "pbxrouter_queue.py").read_text())
        before = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{before}"
        try:
            super().setUp()
        finally:
            os.environ["PYTHONPATH"] = before

    def queue_up(self) -> None:
        """Two who are served, of whom one hangs up first; one who gives up, one who waits too long, one kept out."""
        for queue, number in (("support", 856), ("sales", 858), ("service", 860)):
            self.lab.ami.action("QueueAdd", Queue=queue, Interface=f"PJSIP/{number}")
        served = self.phones.call("801", "61")
        self.phones.called("856").ring().answer(2.2)
        served.until_ended()
        self._replace_agent("856", "857")
        leaves_first = self.phones.call("802", "61")
        agent = self.phones.called("857").ring().answer()
        agent.until_lasted(2.3)
        leaves_first.hang_up()
        agent.until_ended()
        self._replace_agent("857", "856")
        gives_up = self.phones.call("803", "62")
        self.phones.called("858").ring()
        gives_up.until_answered().hang_up_after(0.8).until_ended()
        waits = self.phones.call("804", "63")
        self.phones.called("860").ring()
        waits.until_ended()
        self.phones.call("805", "64").until_ended()

    def _replace_agent(self, old: str, new: str) -> None:
        self.lab.ami.action("QueueRemove", Queue="support", Interface=f"PJSIP/{old}")
        self.lab.ami.action("QueueAdd", Queue="support", Interface=f"PJSIP/{new}")


class QueueTest(QueueCase):
    """With AMI."""

    config = CONFIG

    def test_outcomes(self) -> None:
        """Each caller's ending and talk."""
        self.queue_up()
        self.await_history(*QUEUED)


class QueueWithoutAmiTest(QueueCase):
    """Without AMI."""

    config = "[dial]\ntimeout = 30\n\n[fastagi]\n"

    def test_outcomes(self) -> None:
        """The same endings; the talk is not known."""
        self.queue_up()
        wait_for("the history", lambda: len(self.rows("SELECT 1 FROM calls")) == len(QUEUED))
        found = {row[0]: row[1] for row in self.rows("SELECT caller, outcome FROM calls")}
        self.assertEqual(found, {row.caller: row.outcome for row in QUEUED})
        talk = self.rows("SELECT caller, answered_s FROM calls WHERE answered_s IS NOT NULL AND answered_s <> 0")
        self.assertEqual(talk, [])
