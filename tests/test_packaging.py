"""However pbxrouter is installed, both commands work and the schema came along.

These are tests of real installs: one environment is made with what the project needs from PyPI, and the four
ways in (wheel, source archive, ``pip install .``, ``pip install -e .``) are tried in it one after the other. Where
PyPI cannot be reached they are skipped; under CI=true that is a failure.

Not here: what the commands do, see test_cli and test_tap.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import unittest
import venv
import zipfile
from importlib import resources
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import config

ROOT = Path(__file__).resolve().parent.parent
TABLES = {"applications_mappings", "extensions", "extensions_mappings", "users", "users_mappings"}

# Run inside the installed environment: tells where the package is, and what twistd and the drivers' group find.
PROBE = """
import json, sqlite3, sys
from importlib import metadata, resources
import pbxrouter
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins

database = sqlite3.connect(":memory:")
database.executescript(resources.files("pbxrouter").joinpath("schema.sql").read_text(encoding="utf-8"))
found = metadata.entry_points(group="pbxrouter.drivers")
print(json.dumps({
    "file": pbxrouter.__file__,
    "version": [pbxrouter.__version__, metadata.version("pbxrouter")],
    "typed": resources.files("pbxrouter").joinpath("py.typed").is_file(),
    "plugins": [maker.tapname for maker in getPlugins(IServiceMaker) if maker.tapname == "pbxrouter"],
    "drivers": {entry.name: entry.load().__qualname__ for entry in found},
    "tables": [name for name, in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")],
}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command as a user would, outside of any checkout; its output. Fails with that output."""
    # What the tests' own Python was told about paths is not for the environment that is tried.
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}")
    return done.stdout


class SourceTests(SynchronousTestCase):
    """What can be seen without installing anything."""

    def test_the_plugin_directory_is_no_package(self) -> None:
        """An __init__.py in twisted/ would hide Twisted itself, or our plug-in."""
        self.assertEqual([str(path) for path in (ROOT / "twisted").rglob("__init__.py")], [])

    def test_the_schema_is_one_file(self) -> None:
        """The package's schema is the one at the top, also where a download turned the link into a file."""
        packaged = resources.files("pbxrouter").joinpath("schema.sql").read_text(encoding="utf-8")
        self.assertEqual(packaged, (ROOT / "schema.sql").read_text(encoding="utf-8"))
        database = sqlite3.connect(":memory:")
        self.addCleanup(database.close)
        database.executescript(packaged)
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self.assertEqual(TABLES - names, set())

    def test_the_sample_settings_are_accepted(self) -> None:
        """pbxrouter.sample.toml is read, as it is and with each of its commented lines in force."""
        text = (ROOT / "pbxrouter.sample.toml").read_text(encoding="utf-8")
        as_it_is = config.parse(text, "pbxrouter.sample.toml", ROOT)
        self.assertEqual(as_it_is, config.default(ROOT))
        # A setting stands right behind its "#", prose one blank further.
        lines = [line.removeprefix("#") if line[1:2].strip() else line for line in text.splitlines()]
        config.parse("\n".join(lines), "pbxrouter.sample.toml, uncommented", ROOT)


class InstallTests(SynchronousTestCase):
    """The four ways to install, in one environment that is no checkout's."""

    workplace: Path
    checkout: Path
    python: Path

    @classmethod
    def setUpClass(cls) -> None:
        """Copy the checkout, build both archives, and make the environment with the wheel's needs."""
        cls.workplace = Path(tempfile.mkdtemp(prefix="pbxrouter-packaging-"))
        try:
            cls.prepare()
        except BaseException:
            shutil.rmtree(cls.workplace)
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        """Leave nothing behind."""
        shutil.rmtree(cls.workplace)

    @classmethod
    def prepare(cls) -> None:
        """The slow part, once."""
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "1")
        needs = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"][
            "requires"
        ]
        try:
            run(*pip, "--timeout", "10", "--dest", cls.workplace / "probe", *needs, cwd=cls.workplace)
        except AssertionError as unreachable:
            if os.environ.get("CI") == "true":
                raise
            raise unittest.SkipTest("PyPI cannot be reached, so nothing can be installed") from unreachable
        cls.checkout = cls.workplace / "checkout"
        unwanted = (".git", ".venv", "build", "dist", "*.egg-info", "_trial_temp*", "__pycache__", ".*_cache")
        shutil.copytree(
            ROOT,
            cls.checkout,
            symlinks=True,
            ignore=shutil.ignore_patterns(*unwanted, "dropin.cache", "*.sock", ".hypothesis"),
        )
        # What a gateway run from the checkout leaves there must not be shipped.
        (cls.checkout / "twisted" / "plugins" / "dropin.cache").write_bytes(b"stale")
        (cls.checkout / "pbxrouter" / "left.sqlite").write_bytes(b"rules")
        run(
            sys.executable, "-m", "build", "--outdir", cls.workplace / "dist", cls.checkout, cwd=cls.workplace
        )
        environment = cls.workplace / "environment"
        venv.create(environment, with_pip=True, symlinks=True)
        cls.python = environment / "bin" / "python"
        run(cls.python, "-m", "pip", "install", "--quiet", cls.built("*.whl"), cwd=cls.workplace)

    @classmethod
    def built(cls, pattern: str) -> Path:
        """The one archive of that kind."""
        (archive,) = (cls.workplace / "dist").glob(pattern)
        return archive

    def install(self, *what: str | Path) -> None:
        """Put another form of pbxrouter in the place of the one that is there; its needs stay."""
        pip = (self.python, "-m", "pip")
        run(*pip, "uninstall", "--quiet", "--yes", "pbxrouter", cwd=self.workplace)
        run(*pip, "install", "--quiet", "--no-deps", *what, cwd=self.workplace)

    def check(self, inside: Path) -> None:
        """Both commands answer, and all parts are there, from a directory that has nothing to do with us."""
        elsewhere = self.workplace / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        scripts = self.python.parent
        self.assertIn("--config", run(scripts / "twistd", "pbxrouter", "--help", cwd=elsewhere))
        self.assertIn("explain", run(scripts / "pbxrouter", "--help", cwd=elsewhere))
        seen = json.loads(run(self.python, "-c", PROBE, cwd=elsewhere))
        self.assertTrue(Path(seen["file"]).is_relative_to(inside), f"{seen['file']} is not in {inside}")
        self.assertEqual(seen["version"][0], seen["version"][1])
        self.assertTrue(seen["typed"], "py.typed is missing")
        self.assertEqual(seen["plugins"], ["pbxrouter"])
        self.assertEqual(TABLES - set(seen["tables"]), set())
        self.assertEqual(
            seen["drivers"],
            {
                "dial": "Dial",
                "voicemail": "Voicemail",
                "conference": "Conference",
                "playback": "Playback",
                "saydigits": "SayDigits",
                "hangup": "Hangup",
            },
        )

    def test_wheel(self) -> None:
        """The wheel, which was itself built from the source archive."""
        self.install(self.built("*.whl"))
        self.check(self.python.parent.parent)

    def test_source_archive(self) -> None:
        """The source archive."""
        self.install(self.built("*.tar.gz"))
        self.check(self.python.parent.parent)

    def test_checkout(self) -> None:
        """``pip install .``"""
        self.install(self.checkout)
        self.check(self.python.parent.parent)

    def test_editable(self) -> None:
        """``pip install -e .``: twistd finds the plug-in in the checkout."""
        self.install("--editable", self.checkout)
        self.check(self.checkout)

    def test_archives_hold_no_litter(self) -> None:
        """No plug-in cache, no database; the wheel has our packages alone, the source the schema as a file."""
        with tarfile.open(self.built("*.tar.gz")) as archive:
            source = {member.name.partition("/")[2]: member for member in archive}
        with zipfile.ZipFile(self.built("*.whl")) as wheel:
            shipped = set(wheel.namelist())
        for name in (*source, *shipped):
            self.assertFalse(name.endswith(("dropin.cache", ".sqlite", ".pyc", ".pinkey")), name)
        self.assertEqual({"LICENSE", "README.md", "schema.sql", "tac/pbxrouter.tac"} - set(source), set())
        self.assertTrue(source["pbxrouter/schema.sql"].isfile())
        tops = {name.partition("/")[0] for name in shipped if ".dist-info/" not in name}
        self.assertEqual(tops, {"pbxrouter", "twisted"})
        self.assertEqual(
            {name for name in shipped if name.startswith("twisted/")}, {"twisted/plugins/pbxrouter_plugin.py"}
        )
        on_disk = {str(path.relative_to(ROOT)) for path in (ROOT / "pbxrouter").rglob("*.py")}
        self.assertEqual(on_disk - shipped, set())
