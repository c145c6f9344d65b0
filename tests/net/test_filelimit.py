"""The limit of open files, tried in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

PROGRAM = """
import resource
from pbxrouter.net.filelimit import raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
print(raise_file_limit(), resource.getrlimit(resource.RLIMIT_NOFILE), raise_file_limit())
"""


class FileLimitTests(SynchronousTestCase):
    """raise_file_limit."""

    def test_as_many_as_may_be(self) -> None:
        """The soft limit becomes the hard one."""
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "300 (300, 300) 300\n")
