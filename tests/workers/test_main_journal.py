"""The main process's journal: its own calls are in its file, those of workers only when they are handed over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.call import ActiveCalls, row_of
from pbxrouter.workers import MainJournal
from tests.workers.test_codec import RECORD


class MainJournalTests(SynchronousTestCase):
    """MainJournal with calls of its own and of workers."""

    def setUp(self) -> None:
        """Open a journal."""
        self.database = Path(self.mktemp())
        self.journal = MainJournal(self.database, lambda: 1.0, lambda work: succeed(work()))
        self.journal.open()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.journal.close()))
        self.written: list[str] = []
        self.row = row_of(RECORD)

    def file(self) -> bytes:
        """What is in the file."""
        return Path(f"{self.database}.calls").read_bytes().rstrip(b"\0")

    def test_own(self) -> None:
        """A call of this process is written to the file, and forgotten when the history has it."""
        row = self.journal.finish(self.row)
        self.assertIn(b"ab-1", self.file())
        self.assertEqual(self.journal.calls, 1)
        self.journal.written([row])
        self.assertEqual(self.journal.calls, 0)

    def test_of_a_worker(self) -> None:
        """A worker's call is not; each worker that has it is told when the history has it."""
        self.assertFalse(self.journal.leave_to("ab-1", self.written.append))
        self.assertTrue(self.journal.leave_to("ab-1", self.written.append))
        self.assertIs(self.journal.finish(self.row), self.row)
        self.assertNotIn(b"ab-1", self.file())
        self.journal.written([replace(self.row, answered_s=9)])
        self.assertEqual((self.written, self.journal.calls), (["ab-1", "ab-1"], 0))
        self.assertFalse(self.journal.leave_to("ab-1", self.written.append))

    def test_handed_over(self) -> None:
        """A call that a worker hands over is in the file until the history has it; one that it has by then is not."""
        self.journal.leave_to("ab-1", self.written.append)
        self.journal.take_over(self.row)
        self.journal.take_over(replace(self.row, call_key="known"))
        self.assertIn(b"ab-1", self.file())
        self.assertEqual(self.journal.calls, 1)
        self.journal.written([replace(self.row, answered_s=9)])
        self.assertEqual((self.written, self.journal.calls), (["ab-1"], 0))


class SharedKeysTests(SynchronousTestCase):
    """Keys that a dialplan was told by one process of a gateway, and comes back with to another."""

    def key(self, journal: MainJournal, key: str, name: str = "call") -> str:
        """The key that a call gets which passes one."""
        request = RECORD.request
        listed = ActiveCalls().add(request, 1.0)
        return journal.begin(listed, replace(request, arguments=(f"{name}={key}",))).key

    def test_of_another_process(self) -> None:
        """Such a key is used, once in each process; one of another gateway is not, but for a second turn."""
        one, other = (MainJournal(Path(self.mktemp()), lambda: 1.0, succeed, "0123abcd") for _ in range(2))
        stranger = MainJournal(Path(self.mktemp()), lambda: 1.0, succeed, "ffff0000")
        key = one.reserve()
        self.assertEqual(self.key(other, key), key)
        self.assertNotEqual(self.key(other, key), key)
        self.assertEqual(self.key(other, key, "again"), key)
        self.assertNotEqual(self.key(stranger, key), key)
        self.assertEqual(self.key(stranger, key, "again"), key)
