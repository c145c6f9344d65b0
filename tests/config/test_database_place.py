"""Tests of where the database is: paths, URLs of PostgreSQL, and passwords that nobody may see."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import Config, parsing
from pbxrouter.config.database_place import PostgreSQLPlace, beside, has_password, shown_url, url_problem
from pbxrouter.errors import ConfigError

SECRET = "s3cr3t"
HIDING = {
    "postgresql://u:s3cr3t@db/x": "postgresql://u:***@db/x",
    "postgresql://u:a%40s3cr3t@db:5433/x": "postgresql://u:***@db:5433/x",
    "postgresql://u:a@s3cr3t@db/x": "postgresql://u:***@db/x",
    "postgresql://u:s3cr3t/@db/x": "postgresql://***",
    "postgresql://u:?s3cr3t@db/x": "postgresql://***",
    "postgresql://u:#s3cr3t@db/x": "postgresql://***",
    "postgresql://u:[s3cr3t@db/x": "postgresql://***",
    "postgresql://u:s3cr3t/x": "postgresql://***",
    "postgresql://u@db/x?password=s3cr3t&sslmode=require": "postgresql://u@db/x?password=***&sslmode=require",
    "postgresql://u@db/x?sslkey=k&sslpassword=s3cr3t": "postgresql://u@db/x?sslkey=k&sslpassword=***",
    "postgresql://u@db/x?PASSWORD=s3cr3t": "postgresql://u@db/x?PASSWORD=***",
    "postgres://u:s3cr3t@a,b:2/x?target_session_attrs=any": "postgres://u:***@a,b:2/x?target_session_attrs=any",
    "postgresql:///x?host=/run/postgresql": "postgresql:///x?host=/run/postgresql",
    "postgresql://db/x": "postgresql://db/x",
    "postgresql:///?service=pbx": "postgresql:///?service=pbx",
}


def parse(text: str) -> Config:
    """Parse settings in /etc/pbx."""
    return parsing.parse(text, "pbx.toml", Path("/etc/pbx"))


class ShownTests(SynchronousTestCase):
    """URLs as people see them."""

    def test_passwords_are_hidden(self) -> None:
        """No form of a URL shows a password; all else is shown as it is written."""
        for url, shown in HIDING.items():
            self.assertEqual(shown_url(url), shown)
            place = PostgreSQLPlace(url, Path("/x/pbxrouter"))
            self.assertEqual(str(place), shown)
            self.assertNotIn(SECRET, f"{place!r} {place} {shown}")
            self.assertEqual(has_password(url), SECRET in url, url)

    def test_problems(self) -> None:
        """What libpq could not read, or not as it was meant, is refused without the URL in the message."""
        for url in (
            "postgresql://u:s3cr3t/@db/x",
            "postgresql://u:?s3cr3t@db/x",
            "postgresql://u:[s3cr3t@db/x",
            "postgresql://u:s3cr3t@db",
            "postgresql://u:s3cr3t@db/",
            "postgresql://u:s3cr3t@db/a/b",
            "postgresql://u:s3cr3t @db/x",
            "postgresql://u:s3cr3t@db/x#y",
            "postgresql://u:50%s3cr3t@db/x",
            "postgresql://u:s3cr3t%00@db/x",
            "postgresql://u:s3cr3t/x",
        ):
            self.assertTrue(url_problem(url), url)
            with self.assertRaises(ConfigError) as raised:
                parse(f"database = '{url}'")
            self.assertNotIn(SECRET, str(raised.exception))
            self.assertTrue(str(raised.exception).startswith("pbx.toml: database: accepted is a URL such as "))
        for url in HIDING.keys() - {url for url in HIDING if HIDING[url] == "postgresql://***"}:
            self.assertEqual(url_problem(url), "", url)


class SettingsTests(SynchronousTestCase):
    """The settings of a database of PostgreSQL."""

    def test_files(self) -> None:
        """What stands beside the file of SQLite is in the folder of the settings, or in the one that they name."""
        config = parse("database = 'postgresql://u@db/x'")
        self.assertEqual(
            (config.pin_key_file, config.control), ("/etc/pbx/pbxrouter.pinkey", "/etc/pbx/pbxrouter.sock")
        )
        self.assertEqual(beside(config.place, ".set-aside"), Path("/etc/pbx/pbxrouter.set-aside"))
        config = parse("database = 'postgresql://u@db/x'\nfolder = '/var/lib/pbx'\ndatabase_password_file = 'pw'")
        self.assertEqual(
            (config.pin_key_file, config.control), ("/var/lib/pbx/pbxrouter.pinkey", "/var/lib/pbx/pbxrouter.sock")
        )
        self.assertEqual(
            config.place,
            PostgreSQLPlace("postgresql://u@db/x", Path("/var/lib/pbx/pbxrouter"), Path("/etc/pbx/pw")),
        )
        self.assertEqual(parse("").place, Path("/etc/pbx/pbxrouter.sqlite"))

    def test_refused(self) -> None:
        """Keys that do not fit the engine, another engine, and two passwords are refused, with what is accepted."""
        for text, message in {
            "database = 'mysql://u@db/x'": "database: accepted is the path of a file, or a URL such as ",
            "folder = 'x'": "folder: accepted is a path only where database is a URL such as ",
            "database_password_file = 'x'": "database_password_file: accepted is a path only where ",
            "database = 'postgresql://u:s3cr3t@db/x'\ndatabase_password_file = 'x'": (
                "database_password_file: accepted is one password: leave out the one in database"
            ),
        }.items():
            with self.assertRaises(ConfigError) as raised:
                parse(text)
            self.assertIn(f"pbx.toml: {message}", str(raised.exception))

    def test_other_database(self) -> None:
        """A URL in place of the settings' database moves the files that are not configured; no password is taken."""
        base = Path("/x")
        moved = parsing.at_database(parse(""), "postgresql://u@db/x", base)
        self.assertEqual((moved.pin_key_file, moved.control), ("/etc/pbx/pbxrouter.pinkey", "/etc/pbx/pbxrouter.sock"))
        back = parsing.at_database(moved, "y.db", base)
        self.assertEqual((back.pin_key_file, str(back.place)), ("/x/y.db.pinkey", "/x/y.db"))
        for url in ("postgresql://u:s3cr3t@db/x", "postgresql://u@db/x?password=s3cr3t", "postgresql://u:/s3cr3t@db/x"):
            with self.assertRaises(ConfigError) as raised:
                parsing.at_database(parse(""), url, base)
            self.assertNotIn(SECRET, str(raised.exception))
