"""What the doctor could not see is unknown, with the reason and what to do; and so is the whole."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pbxrouter.config import schema as settings
from pbxrouter.config.schema import Asterisk
from pbxrouter.doctor import Counts, Finding, ok, unknown, wrong
from pbxrouter.doctor.asterisk import check_asterisk
from pbxrouter.doctor.dialplan import check_dialplan
from pbxrouter.doctor.files import check_secret, check_user
from pbxrouter.doctor.last_run import LastRun
from pbxrouter.doctor.running import check_gateway
from pbxrouter.doctor.sounds import check_sounds
from pbxrouter.text import Sentence
from tests.doctor.test_findings import AsteriskCase, FakeSocket, FindingCase, InstalledCase

NOBODY = 65534
FINDINGS = {
    "ok": ok(Sentence("a"), Sentence("b")),
    "wrong": wrong(Sentence("a"), Sentence("b")),
    "unknown": unknown(Sentence("a"), Sentence("b"), Sentence("c")),
}


@contextlib.contextmanager
def may_not_read(*paths: Path) -> Iterator[None]:
    """Take the rights to files away while the body runs; root becomes another user, whom they bind."""
    modes = [(path, path.stat().st_mode) for path in paths]
    for path in paths:
        path.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(NOBODY)
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in modes:
            path.chmod(mode)


class CountsTests(FindingCase):
    """The state of the whole."""

    def test_states(self) -> None:
        """The whole is well only if everything is; nothing checked is nothing known."""
        for states, whole in (
            (["ok", "ok"], "ok"),
            (["ok", "unknown"], "unknown"),
            (["ok", "unknown", "wrong"], "wrong"),
            (["wrong"], "wrong"),
            (["unknown"], "unknown"),
            ([], "unknown"),
        ):
            counts = Counts.of(FINDINGS[state] for state in states)
            self.assertEqual(counts.state, whole, states)
            self.assertEqual(
                (counts.ok, counts.wrong, counts.unknown), tuple(map(states.count, ("ok", "wrong", "unknown")))
            )

    def test_last_run(self) -> None:
        """Before the first run nothing is known."""
        last = LastRun()
        self.assertEqual((last.counts.state, last.ended), ("unknown", None))
        last.note([FINDINGS["ok"]], 5.0)
        self.assertEqual((last.counts.state, last.ended), ("ok", 5.0))


class RightsTests(InstalledCase):
    """Files that this user may not read."""

    def setUp(self) -> None:
        """Let others reach the folder."""
        super().setUp()
        for folder in (self.folder, *self.folder.parents):
            if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o055)

    def of_area(self, area: str, found: list[Finding]) -> Finding:
        """The only finding of an area, which must be unknown and say what to do."""
        (finding,) = (row for row in found if row.area == area)
        self.assertEqual(finding.state, "unknown", finding)
        self.assertTrue(finding.todo, finding)
        self.assertNotEqual(Counts.of(found).state, "ok")
        return finding

    def test_key(self) -> None:
        """The PIN key: it is not wrong, and whether PINs are weak is unknown, too."""
        key = Path(self.config.pin_key_file)
        key.chmod(0)
        with may_not_read(key):
            found = self.look()
        key.chmod(0o600)
        self.assertIn("cannot be read by this user", self.of_area("PIN key", found).what)

    def test_weak_pins(self) -> None:
        """Without the key, whether PINs are weak is unknown."""
        Path(self.config.pin_key_file).unlink()
        found = self.look()
        self.assertIn("the PIN key cannot be read", self.of_area("PINs", found).what)

    def test_database(self) -> None:
        """The database, and with it the rules."""
        with may_not_read(self.database):
            found = self.look()
        self.assertIn("cannot be read by this user", self.of_area("database", found).what)
        self.of_area("rules", found)

    def test_folder(self) -> None:
        """A folder that this user may not enter hides all of it."""
        with may_not_read(self.folder):
            found = self.look()
        for area in ("PIN key", "database", "rules"):
            self.of_area(area, found)

    def test_database_of_another(self) -> None:
        """A database that this user may read and not write is not looked at: SQLite would write beside it."""
        if os.geteuid() != 0:
            return
        self.database.chmod(0o644)
        os.seteuid(NOBODY)
        try:
            found = self.look()
        finally:
            os.seteuid(0)
        self.assertIn("belongs to another", self.of_area("database", found).what)
        self.assertIn("whether the gateway's user may read and write", self.of_area("user", found).what)

    def test_user(self) -> None:
        """The doctor's own user is the gateway's, or what it may read says nothing of the gateway."""
        self.assertEqual(list(check_user(self.config)), [])
        if os.geteuid() == 0:
            os.chown(self.database, NOBODY, NOBODY)
            (found,) = check_user(self.config)
            self.assertIn("sudo -u ", found.todo)
            os.chown(self.database, 4_000_000_000, 0)
            (found,) = check_user(self.config)
            self.assertIn("#4000000000", found.what)

    def test_secrets(self) -> None:
        """The secrets of FastAGI, of alarms and of AMI; an alarm's program in a folder that is closed."""
        secret = self.folder / "s"
        secret.write_text("0123456789abcdef\n")
        secret.chmod(0o600)
        closed = self.folder / "closed"
        closed.mkdir()
        program = closed / "alarm"
        program.touch(0o700)
        fastagi = settings.FastAGI(secret_file=str(secret))
        webhook = settings.AlarmSettings(webhook="https://x.example.org/", secret_file=str(secret))
        command = settings.AlarmSettings(command=(str(program),))
        for changed, area in (({"fastagi": fastagi}, "FastAGI secret"), ({"alarm": webhook}, "alarms")):
            before = self.config
            self.config = msgspec.structs.replace(self.config, **changed)
            with may_not_read(secret):
                found = self.look()
            self.assertIn("cannot be read by this user", self.of_area(area, found).what)
            self.config = before
        self.config = msgspec.structs.replace(self.config, alarm=command)
        with may_not_read(closed):
            found = self.look()
        self.of_area("alarms", found)
        with may_not_read(closed):
            (finding,) = check_secret(Asterisk(secret_file=str(closed / "x")))
        self.assertEqual(finding.state, "unknown")

    def test_older_database(self) -> None:
        """Of a database that has to be upgraded, rules and PINs are unknown."""
        self.execute("UPDATE schema_version SET version = 1")
        found = self.look()
        self.assertIn("rules, PINs and lock-outs were not checked", self.of_area("database", found).what)

    def test_damaged(self) -> None:
        """Of one that is damaged, too."""
        self.database.write_text("hello, this is no database at all" * 100)
        found = self.look()
        self.assertEqual([row.state for row in found if row.area == "database"], ["wrong"])
        self.of_area("rules", found)

    def test_locked_for_readers(self) -> None:
        """A database that cannot even be read for a lock is unknown."""
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("BEGIN EXCLUSIVE")
            found = self.look()
        self.assertIn("locked", self.of_area("database", found).what)
        self.of_area("rules", found)

    def test_sounds(self) -> None:
        """Asterisk's sounds: of a folder that is closed nothing is missing, and nothing is there."""
        sounds = self.folder / "sounds"
        (sounds / "en").mkdir(parents=True)
        for closed in (sounds / "en", sounds):
            with may_not_read(closed):
                (finding,) = check_sounds(self.config, sounds, Sentence("sounds"))
            self.assertEqual((finding.state, "cannot be read" in finding.what), ("unknown", True))
            self.assertIn("run this as", finding.todo)

    def test_gateway(self) -> None:
        """Ports and sockets that this user may not open; who listens is unknown while the gateway is."""

        def refuse(listen: str, timeout_s: float) -> None:
            raise PermissionError(13, "Permission denied")

        self.config = msgspec.structs.replace(self.config, web=settings.Web("unix:w"))
        found = list(check_gateway(self.config, refuse))  # type: ignore[arg-type]
        self.assertEqual(
            {row.area: row.state for row in found}, {"gateway": "wrong", "FastAGI": "unknown", "web": "unknown"}
        )


class AmiTests(AsteriskCase):
    """An Asterisk that does not tell."""

    def states(self, found: list[Finding], text: str) -> list[str]:
        """The states of the findings with a text."""
        return [row.state for row in found if text in row.what]

    def test_odd_answers(self) -> None:
        """An answer that tells nothing of a class is no permission."""
        self.answers["Setvar"] = {"Response": "Error", "Message": "the moon is full"}
        found = self.look(check_asterisk)
        self.assertEqual(self.states(found, "whether gateway may write call"), ["unknown"])
        self.assertNotIn("call", next(row.what for row in found if row.what.startswith("gateway may write")))

    def test_no_time(self) -> None:
        """Without Asterisk's time neither its clock nor the age of the heartbeat is known."""
        answer = self._answer

        def without_time(end: object, action: dict[str, str]) -> None:
            if action["Action"] == "Ping":
                end.says("Response: Success", f"ActionID: {action['ActionID']}")  # type: ignore[attr-defined]
            else:
                answer(end, action)

        self._answer = without_time  # type: ignore[method-assign]
        found = self.look(check_asterisk)
        self.assertEqual(self.states(found, "does not report its time"), ["unknown", "unknown"])
        self.assertEqual(self.states(found, "heartbeat is fresh"), [])

    def test_context(self) -> None:
        """A context is missing only if Asterisk says so."""
        self.asterisk = msgspec.structs.replace(self.asterisk, magi=("magi",))
        self.answers["ShowDialPlan"] = {"Response": "Error", "Message": "the moon is full"}
        found = self.look(lambda probe: check_dialplan(probe, self.config, lambda *_: FakeSocket()))  # type: ignore[arg-type]
        self.assertEqual(self.states(found, "whether magi exists"), ["unknown"])
