"""The reload of settings: which keys, in which order, and that an error changes nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import Config
from pbxrouter.config.parsing import parse
from pbxrouter.errors import ConfigError
from pbxrouter.gateway.reload import (
    AT_NEXT_CONNECTION,
    NEEDS_RESTART,
    Prepare,
    Prepared,
    Reload,
    changes,
    demand_file,
    with_settled,
)
from tests.paths import ROOT


def settings(text: str = "") -> Config:
    """Parsed settings."""
    return parse(text, "x.toml", Path("/x"))


CHANGED = """
country = "DE"
database = "postgresql://u@db/x"
database_password_file = "/y/password"
folder = "/y"
pin_key_file = "/y/key"
control = "/y/control"
trunks = ["PJSIP/out"]
[fastagi]
listen = "unix:s"
allow = ["192.0.2.1"]
secret_file = "/y/fastagi"
max_connections = 7
max_connections_per_peer = 5
debug = true
library = "starpy"
[web]
listen = "unix:w"
url = "https://pbx.example.org"
hosts = ["pbx"]
proxies = ["192.0.2.2"]
timezone = "Europe/Madrid"
[history]
keep_days = 5
cdr_field = "userfield"
[counter]
keep_days = 6
[dial]
timeout = 7
options = "m"
forwarding = true
[alarm]
command = ["/bin/true"]
webhook = "https://alarms.example.org/"
secret_file = "/y/alarm"
[technologies]
SIP = "IAX2"
[prompts]
ask-pin = "a"
wrong-pin = "a"
invalid-number = "a"
goodbye = "a"
technical-failure = "a"
new-pin = "a"
repeat-pin = "a"
pins-differ = "a"
pin-refused = "a"
pin-changed = "a"
ask-number = "a"
[[asterisk]]
name = "lab"
ami = "tcp:192.0.2.3:5038"
username = "gateway"
secret_file = "/y/ami"
login = "plain"
magi = ["magi"]
originate = ["phones"]
heartbeat = false
library = "starpy"
[gateway]
workers = 2
"""
BEFORE = '[[asterisk]]\nname = "lab"\nsecret_file = "/x/ami"\n'


class ChangeTests(SynchronousTestCase):
    """changes and with_settled."""

    def told(self) -> dict[str, str]:
        """What is told of each key when all change."""
        found: dict[str, str] = {}
        for line in changes(settings(BEFORE), settings(CHANGED)):
            key, _, what = line.partition(": ")
            self.assertNotIn(key, found)
            found[key.removesuffix(" of lab")] = what
        return found

    def test_every_key(self) -> None:
        """Each key of the schema is reloaded or needs a restart, and is told of."""
        keys = set()
        for field in msgspec.structs.fields(Config):
            section = getattr(settings(BEFORE), field.name)
            if field.name == "asterisk":
                section = section[0]
            if isinstance(section, msgspec.Struct):
                keys |= {f"{field.name}.{inner.encode_name}" for inner in msgspec.structs.fields(type(section))}
            else:
                keys.add("technologies.SIP" if field.name == "technologies" else field.name)
        told = self.told()
        self.assertEqual(told.keys(), keys - {"asterisk.name"})
        for key, what in told.items():
            if key in NEEDS_RESTART:
                self.assertEqual(what, "needs a restart")
            elif key in AT_NEXT_CONNECTION:
                self.assertEqual(what, "reloaded, for the next connection to AMI")
            else:
                self.assertEqual(what, "reloaded")

    def test_documented(self) -> None:
        """docs/configuration.md marks the keys that need a restart, and no others."""
        text = (ROOT / "docs/configuration.md").read_text()
        rows = re.findall(r"^\| `([a-z_.-]+)` \| .*\|$", text, re.MULTILINE | re.IGNORECASE)
        marked = re.findall(r"^\| `([a-z_.-]+)` \| .*\*Restart\.\* \|$", text, re.MULTILINE | re.IGNORECASE)
        self.assertEqual(set(marked), NEEDS_RESTART)
        self.assertEqual(NEEDS_RESTART | AT_NEXT_CONNECTION, (NEEDS_RESTART | AT_NEXT_CONNECTION) & set(rows))

    def test_settled(self) -> None:
        """Keys that need a restart stay; a later reload tells of them again."""
        old, new = settings(BEFORE), settings(CHANGED)
        kept = with_settled(old, new)
        self.assertEqual(
            {line.partition(": ")[0].removesuffix(" of lab") for line in changes(kept, new)},
            NEEDS_RESTART - {"asterisk.name"},
        )
        self.assertEqual({line.rpartition(": ")[2] for line in changes(kept, new)}, {"needs a restart"})

    def test_asterisks(self) -> None:
        """An Asterisk that is added, removed or renamed needs a restart; one without a secret has no connection."""
        one, two = '[[asterisk]]\nname = "a"\n', '[[asterisk]]\nname = "b"\nmagi = ["x"]\n'
        for before, after, lines in (
            (one, one + two, ["[[asterisk]] b is new, which needs a restart"]),
            (one + two, two, ["[[asterisk]] a is no longer in the settings, which needs a restart"]),
            (
                one,
                two,
                [
                    "[[asterisk]] a is no longer in the settings, which needs a restart",
                    "[[asterisk]] b is new, which needs a restart",
                ],
            ),
            (one, one + 'secret_file = "s"\n', ["asterisk.secret_file of a: needs a restart"]),
            (one, one, []),
        ):
            old, new = settings(before), settings(after)
            self.assertEqual(list(changes(old, new)), lines)
            self.assertEqual(with_settled(old, new).asterisk, old.asterisk)

    def test_order(self) -> None:
        """The lines are in the order of the keys, those of each Asterisk after those of the gateway."""
        one = '[[asterisk]]\nname = "b"\nusername = "{0}"\n[[asterisk]]\nname = "a"\nusername = "{0}"\n'
        old, new = settings(one.format("x")), settings('country = "DE"\ntrunks = ["PJSIP/out"]\n' + one.format("y"))
        keys = [line.partition(": ")[0] for line in changes(old, new)]
        self.assertEqual(keys, ["country", "trunks", "asterisk.username of a", "asterisk.username of b"])

    def test_technology_removed(self) -> None:
        """A technology that is no longer in the settings is told of."""
        self.assertEqual(list(changes(settings('[technologies]\nX = "Y"\n'), settings())), ["technologies.X: reloaded"])


class ReloadTests(SynchronousTestCase):
    """Reload, with parts of the test's."""

    def setUp(self) -> None:
        """Settings, of which a reload reads others."""
        self.found = settings("[dial]\ntimeout = 5\n")
        self.applied: list[tuple[str, int]] = []
        self.reload = Reload(settings(), self.read)

    def read(self) -> Config:
        """Read the settings."""
        return self.found

    def part(self, name: str, fails: Exception | None = None, news: tuple[str, ...] = ()) -> Prepare:
        """A part that notes what it gets."""

        def prepare(old: Config, new: Config) -> Prepared:
            if fails is not None:
                raise fails
            return Prepared(lambda: self.applied.append((name, new.dial.timeout)), news)

        return prepare

    def run_it(self) -> list[str]:
        """Reload; returns the lines of the log, of which the first word is taken off."""
        with capturedLogs() as logs:
            self.told = self.reload.run()
        return [formatEvent(event).removeprefix("reload: ") for event in logs]

    def test_applied(self) -> None:
        """All parts get the new settings in turn, and their news are told after the keys."""
        self.reload.add(self.part("a", news=("a secret has changed",)))
        self.reload.add(self.part("b"))
        self.assertEqual(self.run_it(), ["dial.timeout: reloaded", "a secret has changed"])
        self.assertEqual(self.told, ["dial.timeout: reloaded", "a secret has changed"])
        self.assertEqual(self.applied, [("a", 5), ("b", 5)])
        self.assertEqual(self.reload.config.dial.timeout, 5)
        self.assertEqual(self.run_it(), ["a secret has changed"])

    def test_nothing_new(self) -> None:
        """Without a change that is what it tells."""
        self.found = settings()
        self.assertEqual(self.run_it(), ["no setting has changed"])
        self.assertEqual(self.told, ["no setting has changed"])

    def test_refused(self) -> None:
        """A part that cannot use its settings keeps all parts at the old ones."""
        self.reload.add(self.part("a"))
        self.reload.add(self.part("b", fails=ConfigError("x.toml: alarm.secret_file: no")))
        with capturedLogs() as logs:
            self.assertRaises(ConfigError, self.reload.run)
        (line,) = map(formatEvent, logs)
        self.assertEqual(line, "reload: refused; the settings in force stay: x.toml: alarm.secret_file: no")
        self.assertEqual((self.applied, self.reload.config), ([], settings()))

    def test_secret_that_is_no_file(self) -> None:
        """Each secret file that is a named pipe keeps all settings as they are, and is named; so nothing waits."""
        pipe = Path(self.mktemp()).absolute()
        os.mkfifo(pipe)
        for key, text in (
            ("fastagi.secret_file", f'[fastagi]\nsecret_file = "{pipe}"\n'),
            ("alarm.secret_file", f'[alarm]\nsecret_file = "{pipe}"\n'),
            ("asterisk.secret_file of lab", f'[[asterisk]]\nname = "lab"\nsecret_file = "{pipe}"\n'),
        ):
            self.found = settings(text)
            with capturedLogs():
                error = self.assertRaises(ConfigError, self.reload.run)
            self.assertTrue(str(error).startswith(f"{key}: {pipe} is not a file"), error)
            self.assertEqual(self.reload.config, settings())

    def test_bug(self) -> None:
        """So does an unexpected exception, whose traceback is logged."""
        self.reload.add(self.part("a"))
        self.reload.add(self.part("b", fails=RuntimeError("on purpose")))
        error = self.assertRaises(ConfigError, self.reload.run)
        self.assertIn("gateway's log", str(error))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual((self.applied, self.reload.config), ([], settings()))

    def test_bug_later(self) -> None:
        """A part that fails to take its settings does not keep the others from theirs."""

        def prepare(old: Config, new: Config) -> Prepared:
            def fail() -> None:
                raise RuntimeError("on purpose")

            return Prepared(fail)

        self.reload.add(prepare)
        self.reload.add(self.part("b"))
        self.assertIn("a part could not take its new settings: see the gateway's log", self.reload.run()[-1])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.applied, [("b", 5)])


class FileTests(SynchronousTestCase):
    """demand_file refuses what could hold up the gateway."""

    def test_demanded(self) -> None:
        """A file, and a path where nothing is, are accepted; a named pipe, a device and a folder are not."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "file").touch()
        os.mkfifo(folder / "pipe")
        for path in (folder / "file", folder / "nothing", folder / "file" / "below"):
            demand_file(path, "alarm.secret_file")
        for path in (folder / "pipe", folder, Path(os.devnull)):
            error = self.assertRaises(ConfigError, demand_file, path, "alarm.secret_file")
            self.assertEqual(
                str(error),
                f"alarm.secret_file: {path} is not a file, so it is not read again; accepted is the path of a file",
            )
