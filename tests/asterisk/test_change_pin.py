"""Changing a PIN by phone, with a real phone and Asterisk's sounds in both languages."""

from __future__ import annotations

import contextlib
import sqlite3
import time

from pbxrouter.security.guess_limits import FREE_GUESSES, GUESSES_AN_HOUR
from tests.asterisk.test_pin_guessing import GuessingCase
from tests.waiting import wait_for

OLD, NEW, NEWEST = "123456", "804726", "917354"


ASTERISK = """
[[asterisk]]
name = "lab"
ami = "tcp:127.0.0.1:AMI_PORT"
username = "gateway"
secret_file = "ami.secret"
magi = ["pbxrouter-magi"]
"""


class ChangePinCase(GuessingCase):
    """*99 leads to changepin, for 33 and 34, and for 35, who hears Spanish."""

    def setUp(self) -> None:
        """Add the rule for changepin, once."""
        super().setUp()
        if getattr(self.gateway, "has_change_rule", False):
            return
        self.gateway.change_rules(
            "INSERT INTO applications_mappings (map_id, application_name, pattern) VALUES (99, 'changepin', '*99')",
            "INSERT OR IGNORE INTO extensions (extension_number) VALUES ('33'), ('34'), ('35')",
            "INSERT INTO extensions_mappings (extension_id, map_id)"
            " SELECT extension_id, 99 FROM extensions WHERE extension_number IN ('33', '34', '35')",
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


class ChangePinTest(ChangePinCase):
    """PINs that are changed, by FastAGI."""

    config = "# with changepin\n"

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


class RefusedChangeTest(ChangePinCase):
    """With an AMI connection: PINs that are not changed, what is counted, and changes over MAGI."""

    config = "# with changepin\n" + ASTERISK

    def setUp(self) -> None:
        """Give two users PINs."""
        super().setUp()
        wait_for("the AMI connection", lambda: "AMI lab: connected" in self.gateway.log())
        self._sockets = self.gateway.sockets()
        self.gateway.sql("DELETE FROM users WHERE user_name = 'eva'")
        self.gateway.sql("INSERT INTO users (user_name) VALUES ('eva')")
        self.old = self.gateway.command("pin", "moises silva", "--generate").strip()
        self.others = self.gateway.command("pin", "eva", "--generate").strip()
        self.new = self.gateway.command("pin", "eva", "--generate").strip()
        self.others = self.gateway.command("pin", "eva", "--generate").strip()  # and so the one before is free

    def dial(self, sound: str, digits: str, caller: str = "33") -> list[str]:
        """Dial *99 and key, until a sound is played; returns the sounds."""
        self._mark = self.lab.log_size()
        self.call_until(lambda: self.has_played(f"{sound} en"), "*99", "-f", caller, "-d", digits)
        return [sound.removesuffix(" en") for sound in self.played()]

    def test_over_magi(self) -> None:
        """Over AGI(agi:async) it is as over FastAGI, and no variable is set to prove the channel."""
        before = self.changes()
        played = self.dial("vm-passchanged", f"{self.old}#p{self.new}#p{self.new}#", "34")
        self.assertEqual(played, ["agent-pass", "vm-newpassword", "vm-reenterpassword", "vm-passchanged"])
        self.assertEqual(self.changes(), before + 1)
        self.assertNotIn("PBXROUTER_PROOF", self.log())

    def test_wrong_old_pin(self) -> None:
        """It counts as a wrong PIN; the right one after it changes the PIN."""
        before = self.changes()
        played = self.dial("vm-passchanged", f"900001#ppppp{self.old}#p{self.new}#p{self.new}#")
        self.assertEqual(played[:3], ["agent-pass", "vm-incorrect", "agent-pass"])
        self.assertEqual(self.counted("endpoint", "PJSIP/33"), (1, 0))
        self.assertEqual(self.changes(), before + 1)

    def test_mismatch(self) -> None:
        """Two new PINs that differ change nothing, and count for nothing."""
        before = self.changes()
        played = self.dial("vm-mismatch", f"{self.old}#p{self.new}#p{self.new[:-1]}#")
        self.assertEqual(played, ["agent-pass", "vm-newpassword", "vm-reenterpassword", "vm-mismatch"])
        self.assertEqual((self.changes(), self.counted("endpoint", "PJSIP/33")), (before, (0, 0)))

    def test_no_oracle(self) -> None:
        """A weak PIN and another user's bring the same sounds and commands, and count the same."""
        before = self.changes()
        brought = []
        for pin in ("111111", self.others):
            self.gateway.sql("DELETE FROM pin_guesses")
            played = self.dial("vm-invalid-password", f"{self.old}#p{pin}#p{pin}#")
            commands = [line for line in self.commands() if "PBXROUTER_PROOF" not in line]
            brought.append((played, commands, self.counted("endpoint", "PJSIP/33")))
        self.assertEqual(brought[0], brought[1])
        self.assertEqual(brought[0][0][-1], "vm-invalid-password")
        self.assertEqual((brought[0][2], self.changes()), ((1, 0), before))

    def test_locked_out(self) -> None:
        """While locked out the right old PIN is a wrong one, after the same time; the history tells why."""
        before = self.changes()
        self.gateway.sql(
            "INSERT INTO pin_guesses (scope, name, forgiven_at, wrong, last_at)"
            f" VALUES ('endpoint', 'PJSIP/33', {time.time() + FREE_GUESSES * 3600 / GUESSES_AN_HOUR}, 5, 0)"
        )
        played = self.dial("vm-incorrect", f"{self.old}#")
        self.assertEqual(played, ["agent-pass", "vm-incorrect"])
        self.assertEqual([line for line in self.applications() if line.startswith("Wait")], ["Wait 8"])
        self.assertEqual((self.changes(), self.counted("endpoint", "PJSIP/33")), (before, (5, 1)))
        wait_for("the history", lambda: self.last_outcome() == "LOCKEDOUT")
