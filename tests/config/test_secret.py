"""The secret of FastAGI calls, read from its file."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import Config, read_fastagi_secret
from pbxrouter.config.schema import FastAGI
from pbxrouter.errors import ConfigError


class SecretTests(SynchronousTestCase):
    """read_fastagi_secret reads and checks the secret's file."""

    def setUp(self) -> None:
        """Name a file in the settings."""
        self.file = Path(self.mktemp())
        self.config = Config(fastagi=FastAGI(secret_file=str(self.file)))

    def test_none(self) -> None:
        """Without a file there is no secret."""
        self.assertEqual(read_fastagi_secret(Config()), "")

    def test_first_line(self) -> None:
        """The secret is the first line, without blanks around it."""
        self.file.write_text(" abcdefgh01234567 \r\nmore\n")
        self.assertEqual(read_fastagi_secret(self.config), "abcdefgh01234567")

    def test_of_an_editor(self) -> None:
        """A file as Notepad or PowerShell saves it has the same secret."""
        for encoding in ("utf-8-sig", "utf-16"):
            self.file.write_bytes("abcdefgh01234567\r\n".encode(encoding))
            self.assertEqual(read_fastagi_secret(self.config), "abcdefgh01234567")

    def test_accepted(self) -> None:
        """16 to 128 letters, digits and a few signs; the last line may lack its end."""
        for secret in ("a" * 16, "Z" * 128, "._~+/=-0123456789", "QWxhZGRpbjpvcGVu=="):
            self.file.write_text(secret)
            self.assertEqual(read_fastagi_secret(self.config), secret)

    def test_refused(self) -> None:
        """A missing file, one that is not text, and an unusable secret are one line, without the secret."""
        for content, expected in (
            (None, "cannot be read: No such file"),
            (b"\xff\xfe\xff", "cannot be read: it is not text"),
            (b"", "no usable secret"),
            (b"\nabcdefgh01234567", "no usable secret"),
            (b"abcdefgh0123456", "no usable secret"),
            (b"a" * 129, "no usable secret"),
            (b"abcdefgh,01234567", "no usable secret"),
            (b"abcdefgh 01234567", "no usable secret"),
            (b"abcdefgh${01234567}", "no usable secret"),
            ("abcdefgh0123456ñ".encode(), "no usable secret"),
            (b"abcdefgh\x000123456", "no usable secret"),
        ):
            if content is not None:
                self.file.write_bytes(content)
            line = str(self.assertRaises(ConfigError, read_fastagi_secret, self.config))
            self.assertIn(f"fastagi.secret_file: {self.file}", line)
            self.assertIn(expected, line)
            self.assertNotIn("abcdefgh", line)
            self.assertNotIn("\n", line)
