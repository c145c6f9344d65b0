"""Changing a PIN by phone, with a real phone and Asterisk's sounds in both languages."""

from __future__ import annotations

import contextlib
import sqlite3

from tests.asterisk.harness import AsteriskTest

OLD, NEW, NEWEST = "123456", "804726", "917354"


class ChangePinTest(AsteriskTest):
    """*99 leads to changepin, for 33 and for 35, who hears Spanish."""

    config = "# with changepin\n"

    def setUp(self) -> None:
        """Add the rule for changepin, once."""
        super().setUp()
        if getattr(self.gateway, "has_change_rule", False):
            return
        self.gateway.change_rules(
            "INSERT INTO applications_mappings (map_id, application_name, pattern) VALUES (99, 'changepin', '*99')",
            "INSERT OR IGNORE INTO extensions (extension_number) VALUES ('33'), ('35')",
            "INSERT INTO extensions_mappings (extension_id, map_id)"
            " SELECT extension_id, 99 FROM extensions WHERE extension_number IN ('33', '35')",
        )
        self.gateway.has_change_rule = True  # type: ignore[attr-defined]

    def changes(self) -> int:
        """How many PINs were changed by phone."""
        with contextlib.closing(sqlite3.connect(self.gateway.database)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM audit_log WHERE via = 'phone'").fetchone()
        return int(count)

    def has_played(self, sound: str) -> bool:
        """Whether the caller has heard it."""
        return sound in self.played()

    def change(self, caller: str, language: str, old: str, new: str) -> None:
        """Change the PIN, and check what the caller hears."""
        before = self.changes()
        self._mark = self.lab.log_size()
        changed = f"vm-passchanged {language}"
        self.call_until(lambda: self.has_played(changed), "*99", "-f", caller, "-d", f"{old}#p{new}#p{new}#")
        asked = [f"{name} {language}" for name in ("agent-pass", "vm-newpassword", "vm-reenterpassword")]
        self.assertEqual(self.played(), [*asked, changed])
        self.assertEqual(self.changes(), before + 1)

    def test_change(self) -> None:
        """Changed in English, again in Spanish, a weak one refused; the sounds are Asterisk's, and no PIN is logged."""
        self.change("33", "en", OLD, NEW)
        self.change("35", "es", NEW, NEWEST)
        before = self.changes()
        self._mark = self.lab.log_size()
        refused = "vm-invalid-password en"
        self.call_until(lambda: self.has_played(refused), "*99", "-d", f"{NEWEST}#p111111#p111111#")
        self.assertEqual(self.changes(), before)
        log = self.gateway.log(self._gateway_mark)
        for pin in OLD, NEW, NEWEST:
            self.assertNotIn(pin, log)
        self.assertEqual(self.complaints(), [])
