"""The PIN key's file, in trial's directory."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import KeyFileError
from pbxrouter.security.keyfile import create_key, read_key


class KeyFileTests(SynchronousTestCase):
    """Creating and reading the key."""

    def setUp(self) -> None:
        """Choose a path in an empty directory."""
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "pbxrouter.sqlite.pinkey"

    def refused(self, path: Path, environ: dict[str, str] | None = None) -> str:
        """Check that the key is refused; returns the one line."""
        line = str(self.assertRaises(KeyFileError, read_key, path, environ or {}))
        self.assertNotIn("\n", line)
        self.assertIn(str(path), line)
        return line

    def test_what_is_made_can_be_read(self) -> None:
        """A new key has 32 bytes, in a file readable by its owner only, with any umask."""
        before = os.umask(0)
        try:
            key = create_key(self.path)
        finally:
            os.umask(before)
        self.assertEqual(len(key), 32)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(read_key(self.path, {}), key)

    def test_two_keys_differ(self) -> None:
        """Each new key is another one."""
        self.assertNotEqual(create_key(self.path), create_key(self.directory / "other"))

    def test_a_key_is_never_overwritten(self) -> None:
        """An existing key is not overwritten, since PINs were hashed with it."""
        key = create_key(self.path)
        error = self.assertRaises(KeyFileError, create_key, self.path)
        self.assertIn("exists already", str(error))
        self.assertEqual(read_key(self.path, {}), key)

    def test_no_directory(self) -> None:
        """If no file can be created, the error says why."""
        error = self.assertRaises(KeyFileError, create_key, self.directory / "no" / "key")
        self.assertIn("No such file or directory", str(error))

    def test_missing(self) -> None:
        """The error for a missing key says what to do."""
        self.assertIn("restore it from a backup", self.refused(self.path))

    def test_open_to_others(self) -> None:
        """A key that is readable by others is refused with what to type."""
        create_key(self.path)
        for mode in (0o640, 0o604, 0o620, 0o601):
            self.path.chmod(mode)
            self.assertIn(f"type: chmod 600 {self.path}", self.refused(self.path))
        self.path.chmod(0o400)
        read_key(self.path, {})

    def test_no_key(self) -> None:
        """A file without a key is refused, and its content is not shown."""
        for content in (b"", b"\n", b"secret", b"0" * 63, b"0" * 65, b"0" * 5000, b"\xff" * 64):
            self.path.write_bytes(content)
            self.path.chmod(0o600)
            line = self.refused(self.path)
            self.assertIn("accepted are 64 hex digits", line)
            self.assertNotIn("secret", line)

    def test_white_space_around_it(self) -> None:
        """Blanks and a line end around the key are ignored, and capitals accepted."""
        self.path.write_bytes(b"\r\n" + b"aB" * 32 + b"\r\n")
        self.path.chmod(0o600)
        self.assertEqual(read_key(self.path, {}), b"\xab" * 32)

    def test_of_an_editor(self) -> None:
        """A key as Notepad or PowerShell saves it is the same; one that is not text is none."""
        for content in (b"\xef\xbb\xbf" + b"ab" * 32 + b"\r\n", ("ab" * 32).encode("utf-16")):
            self.path.write_bytes(content)
            self.path.chmod(0o600)
            self.assertEqual(read_key(self.path, {}), b"\xab" * 32)
        self.path.write_bytes(b"\xff\xff" + b"ab" * 32)
        self.assertIn("holds no key", self.refused(self.path))

    def test_not_a_file(self) -> None:
        """A directory and a pipe are refused without waiting."""
        self.assertIn("is not a file", self.refused(self.directory).replace("Is a directory", "is not a file"))
        os.mkfifo(self.path, 0o600)
        self.assertIn("is not a file", self.refused(self.path))

    def test_systemd_credential_comes_first(self) -> None:
        """If systemd provides the credential the file is not read; modes that systemd sets are accepted."""
        create_key(self.path)
        credentials = self.directory / "credentials"
        credentials.mkdir()
        environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
        self.assertEqual(read_key(self.path, environ), read_key(self.path, {}))
        (credentials / "pbxrouter.pinkey").write_text("cd" * 32)
        (credentials / "pbxrouter.pinkey").chmod(0o440)
        self.assertEqual(read_key(self.path, environ), b"\xcd" * 32)
