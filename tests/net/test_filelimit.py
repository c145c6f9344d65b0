"""The limit of open files, changed in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.net import call_connections, web_connections
from pbxrouter.net.filelimit import raise_file_limit

PROGRAM = """
import resource
from pbxrouter.net.filelimit import raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
print(raise_file_limit(), resource.getrlimit(resource.RLIMIT_NOFILE), raise_file_limit())
"""


class FileLimitTests(SynchronousTestCase):
    """raise_file_limit raises the limit of open files."""

    def test_as_many_as_may_be(self) -> None:
        """The soft limit becomes the hard one."""
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "300 (300, 300) 300\n")

    def test_raised(self) -> None:
        """The soft and hard limits are set to the hard one, which is returned."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limits: list[object] = []
        self.assertEqual(raise_file_limit(lambda *limit: limits.append(limit)), hard)
        self.assertEqual(limits, [(resource.RLIMIT_NOFILE, (hard, hard))])

    def test_refused(self) -> None:
        """A system that refuses its own hard limit keeps the soft one."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        for error in (ValueError("current limit exceeds maximum limit"), PermissionError(1, "not permitted")):

            def refuse(which: int, limits: tuple[int, int], error: Exception = error) -> None:
                raise error

            self.assertEqual(raise_file_limit(refuse), soft)


class SharesTests(SynchronousTestCase):
    """web_connections and call_connections divide the open files."""

    def test_files_are_left_for_calls(self) -> None:
        """Web connections leave files for calls, however few there are."""
        self.assertEqual([web_connections(value) for value in (256, 1024, 4096, 1 << 20)], [16, 512, 2048, 4096])

    def test_calls(self) -> None:
        """Calls have the files that the web server and others leave."""
        self.assertEqual([call_connections(value, True) for value in (64, 256, 1024, 4096)], [16, 176, 448, 1984])
        self.assertEqual([call_connections(value, False) for value in (64, 256, 1024)], [16, 192, 960])
