"""The workshop's rules, as ``pbxrouter init --sample`` adds them."""

from __future__ import annotations

from pbxrouter.database.rules import add_sample
from pbxrouter.errors import StoreError
from tests.database.postgresql import OnBothEngines


class SampleTests(OnBothEngines):
    """add_sample on a new database."""

    def setUp(self) -> None:
        """Make the database, with the sample."""
        self.connection = self.database()
        add_sample(self.connection, lambda pin: pin.rjust(64, "0"))

    def test_rows(self) -> None:
        """Every row of the five tables has the workshop's numbers, and the PIN is hashed."""
        rows = {
            table: [tuple(row) for row in self.connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2")]
            for table, columns in (
                ("applications_mappings", "map_id, application_name, application_data, pattern"),
                ("extensions", "extension_id, extension_number"),
                ("users", "user_id, user_name, user_pin"),
                ("extensions_mappings", "extension_id, map_id"),
                ("users_mappings", "user_id, map_id"),
            )
        }
        self.assertEqual(
            rows,
            {
                "applications_mappings": [
                    (1, "dial", "IAX2", "3X"),
                    (2, "dial", "SIP", "2X"),
                    (3, "dial", "Zap", "XXXXXXXX"),
                    (4, "voicemail", "", "66"),
                    (5, "conference", "", "7X"),
                ],
                "extensions": [(1, "33")],
                "users": [(1, "moises silva", "123456".rjust(64, "0"))],
                "extensions_mappings": [(1, 2)],
                "users_mappings": [(1, 1), (1, 2), (1, 4), (1, 5)],
            },
        )

    def test_only_once(self) -> None:
        """A database that has rules is left as it is, and named."""
        refused = self.assertRaises(StoreError, add_sample, self.connection, str)
        self.assertIn("has rules already; the sample is for a new one", str(refused))
        self.assertEqual(self.connection.execute("SELECT count(*) FROM users").fetchone()[0], 1)
