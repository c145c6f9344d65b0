"""The account on AMI: the secret's file, the directory of trusted certificates, and the error for a bad one."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami import account_of, read_secret
from pbxrouter.ami.account import check_trust
from pbxrouter.config import Asterisk
from pbxrouter.errors import ConfigError

CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


class FolderCase(SynchronousTestCase):
    """Test case with an empty directory."""

    def setUp(self) -> None:
        """Create the folder for the secret file."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()


class SecretTests(FolderCase):
    """The secret, read from the first line of its file."""

    def setUp(self) -> None:
        """Choose the path of the secret's file."""
        super().setUp()
        self.file = self.folder / "secret"
        self.config = Asterisk(name="lab", username="gateway", secret_file=str(self.file))

    def test_first_line(self) -> None:
        """The secret is the first line of the file, without blanks around it."""
        for text in ("s3cret", "s3cret\n", "  s3cret \r\nother\n"):
            self.file.write_text(text)
            self.assertEqual(read_secret(self.config), "s3cret")
        self.file.write_text("contraseña", encoding="utf-8")
        self.assertEqual(read_secret(self.config), "contraseña")

    def test_of_an_editor(self) -> None:
        """A file as Notepad or PowerShell saves it has the same secret."""
        for encoding in ("utf-8-sig", "utf-16"):
            self.file.write_bytes("contraseña\r\n".encode(encoding))
            self.assertEqual(read_secret(self.config), "contraseña")

    def refusal(self) -> str:
        """Check that the secret is refused; returns the error, which is one line."""
        line = str(self.assertRaises(ConfigError, read_secret, self.config))
        self.assertTrue(line.isprintable())
        self.assertIn(f"asterisk.secret_file: {self.file}", line)
        return line

    def test_missing(self) -> None:
        """A missing file is refused with the system's reason."""
        self.assertIn("cannot be read: No such file", self.refusal())

    def test_no_text(self) -> None:
        """A secret with bytes that are not UTF-8 is refused."""
        self.file.write_bytes(b"\xff\xff")
        self.assertIn("cannot be read: it is not text", self.refusal())

    def test_empty(self) -> None:
        """A file whose first line is empty is refused with what is accepted; the lines below it are not shown."""
        for text in ("", "\n", "  \ns3cret\n"):
            self.file.write_text(text)
            line = self.refusal()
            self.assertIn("is empty; accepted is one line", line)
            self.assertNotIn("s3cret", line)

    def test_account(self) -> None:
        """An account has the user and the secret of the settings; the secret is read once, and not in its repr."""
        self.file.write_text("s3cret\n")
        account = account_of(self.config)
        self.file.unlink()
        self.assertEqual((account.username, account.secret(), account.plain), ("gateway", "s3cret", False))
        self.assertNotIn("s3cret", repr(account))

    def test_plain(self) -> None:
        """The secret is sent in the clear only if the setting says so."""
        self.file.write_text("s3cret\n")
        config = Asterisk(name="lab", secret_file=str(self.file), login="plain")
        self.assertTrue(account_of(config).plain)

    def test_account_without_certificates(self) -> None:
        """A trusted directory without certificates is refused when the account is made."""
        self.file.write_text("s3cret\n")
        config = Asterisk(secret_file=str(self.file), ami=f"tls:pbx.example.org:5039:trustRoots={self.folder}")
        self.assertIn("no certificate in", str(self.assertRaises(ConfigError, account_of, config)))


class TrustTests(FolderCase):
    """The directory that ``trustRoots`` names."""

    def endpoint(self) -> str:
        """A client endpoint that trusts the directory, with options after it."""
        return f"tls:pbx.example.org:5039:trustRoots={self.folder}:timeout=5"

    def refusal(self) -> str:
        """Check that the endpoint is refused; returns the error."""
        line = str(self.assertRaises(ConfigError, check_trust, self.endpoint()))
        self.assertIn("asterisk.ami", line)
        self.assertIn(str(self.folder), line)
        self.assertNotIn("timeout", line)
        return line

    def test_nothing_to_check(self) -> None:
        """Other endpoints, and those that trust the system's certificates, need no directory."""
        for description in (
            "tcp:127.0.0.1:5038",
            "tls:pbx.example.org:5039",
            f"tcp:pbx.example.org:5039:trustRoots={self.folder}",
            f"tcp:pbx.tls:5039:trustRoots={self.folder}",
        ):
            check_trust(description)

    def test_certificates(self) -> None:
        """A directory needs one certificate; .pem may be in capitals, and other files are ignored."""
        (self.folder / "a.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
        self.assertIn("no certificate in", self.refusal())
        for name in ("b.PEM", "c.Pem"):
            (self.folder / name).write_bytes(b"# ours\n" + CERTIFICATE)
            check_trust(self.endpoint())
            (self.folder / name).unlink()
            self.assertIn("*.pem", self.refusal())

    def test_no_pem(self) -> None:
        """A certificate in a file of another name than .pem does not count, since Twisted does not read it."""
        (self.folder / "ca.crt").write_bytes(CERTIFICATE)
        self.assertIn("no certificate in", self.refusal())

    def test_unreadable(self) -> None:
        """A file that cannot be read is named, with the reason."""
        (self.folder / "ca.pem").mkdir()
        line = self.refusal()
        self.assertIn(str(self.folder / "ca.pem"), line)
        self.assertIn("cannot be read: Is a directory", line)

    def test_no_folder(self) -> None:
        """An empty path is the working directory, as for Twisted."""
        line = str(self.assertRaises(ConfigError, check_trust, "tls:pbx.example.org:5039:trustRoots="))
        self.assertIn("no certificate in .;", line)
