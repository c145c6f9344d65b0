"""File descriptors that are used up."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.net.descriptors import LOOK_EVERY_S, DescriptorWatch, free_descriptors
from tests import needs

COUNTING = """
import os, resource
from pbxrouter.net.descriptors import free_descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
before = free_descriptors()
taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)]
print(before - free_descriptors())
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
print(free_descriptors())
for number in taken[:5]:
    os.close(number)
print(free_descriptors())
"""


class Counting(SynchronousTestCase):
    """free_descriptors counts what may still be opened."""

    def test_counts(self) -> None:
        """It counts to zero, and needs no descriptor for that."""
        needs.proc()
        done = subprocess.run([sys.executable, "-c", COUNTING], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.split(), ["10", "0", "5"])

    def test_listed(self) -> None:
        """It is the limit without what the system lists, but for the listing itself; where it lists nothing, all."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        folder = Path(self.mktemp())
        folder.mkdir()
        for number in range(5):
            (folder / str(number)).touch()
        self.assertEqual(free_descriptors(str(folder)), soft - 4)
        self.assertEqual(free_descriptors(str(folder / "missing")), soft)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            free = free_descriptors(str(folder))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual(free, 0)


class Watching(SynchronousTestCase):
    """DescriptorWatch tells once that descriptors are used up."""

    def test_used_up(self) -> None:
        """Too few are reported once, with what happens then; enough again end that."""
        clock = Clock()
        clock.advance(1000)
        self.free = 100
        watch = DescriptorWatch(clock, clock.seconds, lambda: self.free)
        told = []
        with capturedLogs() as logs:
            watch.startService()
            for self.free in (3, 0, 4, 11, 12, 100):
                clock.advance(LOOK_EVERY_S)
                told.append(watch.outage.away_since)
        self.assertEqual(told, [1002.0] * 4 + [None] * 2)
        used_up, enough = logs
        self.assertEqual((used_up["log_level"], enough["log_level"]), (LogLevel.error, LogLevel.info))
        self.assertRegex(
            formatEvent(used_up), r"^descriptors: all \d+ file descriptors are in use: new calls are closed at once$"
        )
        self.assertEqual(formatEvent(enough), "descriptors: there are enough again; calls are taken")
        self.successResultOf(watch.stopService())
