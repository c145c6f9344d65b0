"""Which settings file is read, and the error if it cannot be."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config.file import read_config
from pbxrouter.errors import ConfigError


class Reading(SynchronousTestCase):
    """Has a working directory of its own."""

    def setUp(self) -> None:
        """Create a folder and change to it."""
        self.here = Path(self.mktemp()).absolute()
        self.here.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.here)

    def refused(self, path: str | None) -> str:
        """Check that reading fails; returns its one line."""
        line = str(self.assertRaises(ConfigError, read_config, path))
        self.assertNotIn("\n", line)
        return line

    def test_nothing_there(self) -> None:
        """Without a file the defaults apply, with paths in the working directory."""
        config = read_config(None)
        self.assertEqual(config.database, str(self.here / "pbxrouter.sqlite"))
        self.assertEqual(config.control, str(self.here / "pbxrouter.sqlite.sock"))

    def test_at_hand(self) -> None:
        """pbxrouter.toml in the working directory is read without being named."""
        (self.here / "pbxrouter.toml").write_text('database = "x.db"')
        self.assertEqual(read_config(None).database, str(self.here / "x.db"))

    def test_named(self) -> None:
        """Paths in a file are relative to its directory."""
        (self.here / "etc").mkdir()
        (self.here / "etc/a.toml").write_text('database = "x.db"')
        self.assertEqual(read_config("etc/a.toml").database, str(self.here / "etc/x.db"))
        self.assertEqual(read_config(str(self.here / "etc/a.toml")).database, str(self.here / "etc/x.db"))

    def test_of_an_editor(self) -> None:
        """A file as Notepad or PowerShell saves it: with a mark, in UTF-16, with other line ends."""
        for encoding in ("utf-8-sig", "utf-16", "utf-16-le"):
            (self.here / "a.toml").write_bytes('# año\r\ndatabase = "x.db"\r\n'.encode(encoding))
            self.assertEqual(read_config("a.toml").database, str(self.here / "x.db"))

    def test_unreadable(self) -> None:
        """Missing, a folder, not UTF-8, not TOML, wrong: the line names the file as it was named."""
        self.assertEqual(self.refused("a.toml"), "a.toml: cannot be read: No such file or directory")
        self.assertIn("Is a directory", self.refused("."))
        (self.here / "a.toml").write_bytes(b"x = '\xff'")
        self.assertEqual(self.refused("a.toml"), "a.toml: not TOML: byte 5 is not UTF-8")
        (self.here / "a.toml").write_text("x =")
        self.assertIn("a.toml: not TOML: ", self.refused("a.toml"))
        (self.here / "pbxrouter.toml").write_text("x = 1")
        self.assertIn("pbxrouter.toml: x: ", self.refused(None))
