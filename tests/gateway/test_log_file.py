"""twistd's log file, and opening it again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import ConfigError
from pbxrouter.gateway.log_file import TwistdLog


def handler_of(logFile: object) -> Callable[[int, object], None]:
    """A handler such as twistd installs, which rotates its file."""

    def rotate(number: int, frame: object) -> None:
        logFile.rotate()  # type: ignore[attr-defined]

    return rotate


class LogFileTests(SynchronousTestCase):
    """TwistdLog reopens twistd's log file."""

    def setUp(self) -> None:
        """Make a log file with a line."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.path = folder / "log"
        self.file = LogFile.fromFullPath(str(self.path))
        self.addCleanup(self.file.close)
        self.file.write("one\n")

    def test_moved(self) -> None:
        """After it was moved away, lines go to a new file at its path."""
        self.path.rename(self.path.with_name("moved"))
        self.assertEqual(TwistdLog(handler_of(self.file)).reopen(), str(self.path))
        self.file.write("two\n")
        self.assertEqual((self.path.read_text(), self.path.with_name("moved").read_text()), ("two\n", "one\n"))

    def test_not_moved(self) -> None:
        """If it was not, they are appended."""
        TwistdLog(handler_of(self.file)).reopen()
        self.file.write("two\n")
        self.assertEqual(self.path.read_text(), "one\ntwo\n")

    def test_cannot_be_opened(self) -> None:
        """If it cannot be opened, they go on into the old file."""
        self.path.parent.rename(self.path.parent.with_suffix(".moved"))
        error = self.assertRaises(ConfigError, TwistdLog(handler_of(self.file)).reopen)
        self.assertIn(f"the log file {self.path} cannot be opened again: No such file", str(error))
        self.file.write("two\n")
        self.assertEqual((self.path.parent.with_suffix(".moved") / "log").read_text(), "one\ntwo\n")

    def test_no_regular_file(self) -> None:
        """A device is never renamed, however much is written; a file is, as twistd does."""
        device = self.path.with_name("device")
        device.symlink_to(os.devnull)
        for path, renamed in ((device, False), (self.path, True)):
            file = LogFile.fromFullPath(str(path), rotateLength=10)
            self.addCleanup(file.close)
            TwistdLog(handler_of(file))
            for _ in range(3):
                file.write("0123456789\n")
            self.assertEqual(path.with_name(f"{path.name}.1").exists(), renamed, path)

    def test_none(self) -> None:
        """Without a log file of twistd's there is nothing to open."""
        for handler in (None, signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, handler_of(object()), print):
            self.assertIsNone(TwistdLog(handler).reopen())
