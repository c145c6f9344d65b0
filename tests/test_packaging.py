"""However pbxrouter is installed, both commands work and the schema is included.

These are tests of real installs: one environment is made with what the project needs, and the four ways in
(wheel, source archive, ``pip install .``, ``pip install -e .``) are tried in it one after the other. What the
project needs is what requirements/run.txt lists and no more, taken from where the set-up has installed it from
PyPI. With PBXROUTER_UNLOCKED=yes (`make test-latest`) pip takes the newest versions from PyPI that pyproject.toml
accepts; where PyPI cannot be reached the tests are skipped then; under CI=true that is a failure.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import unittest
import venv
import zipfile
from importlib import metadata, resources
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import parsing, schema
from tests import needs
from tests.needs import PATIENCE_S
from tests.paths import ROOT

TABLES = {"applications_mappings", "extensions", "extensions_mappings", "users", "users_mappings"}

# Run in the installed environment: tells where the package is, what twistd and the drivers' group find.
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

# Run there, too: starts a gateway with a console, far from the checkout, and tells what its pages say.
CONSOLE = """
import pathlib, re, socket, subprocess, sys, time, urllib.request

with socket.socket() as probe, socket.socket() as other:
    probe.bind(("127.0.0.1", 0)), other.bind(("127.0.0.1", 0))
    agi, web = (listener.getsockname()[1] for listener in (probe, other))
scripts = pathlib.Path(sys.executable).parent
at = 'listen = "tcp:{}:interface=127.0.0.1"'
settings = ["[fastagi]", at.format(agi), "[web]", at.format(web), ""]
pathlib.Path("pbxrouter.toml").write_text(chr(10).join(settings))
subprocess.run([scripts / "pbxrouter", "init", "--sample"], check=True, stdout=subprocess.DEVNULL)
gateway = subprocess.Popen([scripts / "twistd", "-n", "--pidfile=", "pbxrouter"], stdout=subprocess.DEVNULL)

def page(path, language):
    request = urllib.request.Request(f"http://127.0.0.1:{web}{path}", headers={"Accept-Language": language})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read().decode()

try:
    for _ in range(1200):
        try:
            english = page("/login", "en")
            break
        except OSError:
            assert gateway.poll() is None, "the gateway has ended"
            time.sleep(0.1)
    files = re.findall('"(/static/[^"]+)"', english)
    print(sorted({name.rpartition(".")[2] for name in files if page(name, "en")}))
    print("Log in" in english, "Iniciar sesi\\u00f3n" in page("/login", "es"))
finally:
    gateway.terminate()
    gateway.wait(120)
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
        timeout=10 * PATIENCE_S,
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
        as_it_is = parsing.parse(text, "pbxrouter.sample.toml", ROOT)
        defaults = schema.Config(web=schema.Web(listen="tcp:8080:interface=127.0.0.1"))  # set there
        self.assertEqual(as_it_is, parsing.resolved(defaults, ROOT))
        # A setting stands right behind its "#", prose one blank further.
        lines = [line.removeprefix("#") if line[1:2].strip() else line for line in text.splitlines()]
        in_force = parsing.parse("\n".join(lines), "pbxrouter.sample.toml, uncommented", ROOT)
        # These do nothing unless they are set, so no default can be shown.
        examples = {"asterisk": (), "web": schema.Web(), "alarm": schema.AlarmSettings()}
        self.assertEqual(msgspec.structs.replace(in_force, **examples), msgspec.structs.replace(as_it_is, **examples))

    def test_the_sample_settings_are_all(self) -> None:
        """Each key that does something is in pbxrouter.sample.toml."""
        text = (ROOT / "pbxrouter.sample.toml").read_text(encoding="utf-8")
        told = set(re.findall(r"^#?([\w-]+) = ", text, re.MULTILINE)) | set(re.findall(r"\[(\w+)\]", text))
        parts = (schema.Config, schema.FastAGI, schema.Asterisk, schema.DialSettings, type(schema.Config().prompts))
        keys = {field.encode_name for part in parts for field in msgspec.structs.fields(part)}
        self.assertEqual(keys - told, set())


class Environment:
    """A directory with a copy of the checkout, both archives built from it, and a Python to install them in.

    Attributes:
        checkout: the copy; what a gateway leaves lying about in a checkout is in it too.
        python: the interpreter of an environment that has what pbxrouter needs.
        elsewhere: a directory that has nothing to do with pbxrouter.
    """

    def __init__(self, workplace: Path) -> None:
        """Raises SkipTest where PyPI is needed and cannot be reached, AssertionError when a step fails."""
        self._workplace = workplace
        self.checkout = workplace / "checkout"
        self.python = workplace / "environment" / "bin" / "python"
        self.elsewhere = workplace / "elsewhere"
        self.elsewhere.mkdir()
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        self._builds_with: list[str] = project["build-system"]["requires"]
        self._locked = os.environ.get("PBXROUTER_UNLOCKED") != "yes"
        if not self._locked:
            self._reach_pypi()
        unwanted = (".git", ".venv", "build", "dist", "*.egg-info", "_trial_temp*", "__pycache__", ".*_cache")
        ignore = shutil.ignore_patterns(*unwanted, "dropin.cache", "*.sock", ".hypothesis")
        shutil.copytree(ROOT, self.checkout, symlinks=True, ignore=ignore)
        (self.checkout / "twisted" / "plugins" / "dropin.cache").write_bytes(b"stale")
        (self.checkout / "pbxrouter" / "left.sqlite").write_bytes(b"rules")
        (self.checkout / "lab" / "run").mkdir(exist_ok=True)
        (self.checkout / "lab" / "run" / "left").write_bytes(b"who called whom")
        build = [sys.executable, "-m", "build", *(["--no-isolation"] if self._locked else [])]
        run(*build, "--outdir", workplace / "dist", self.checkout, cwd=workplace)
        venv.create(workplace / "environment", symlinks=True)
        if self._locked:
            for name in locked():
                self._link(metadata.distribution(name))
        else:
            self._pip("install", self.built("*.whl"))
        if shutil.which("git"):
            run("git", "init", "--quiet", cwd=self.checkout)
            run("git", "add", ".", cwd=self.checkout)

    def check(self) -> None:
        """Let pip check that all packages have what they need. Fails with what is missing."""
        self._pip("check")

    def changes(self) -> str:
        """What git sees in the checkout that was not there at first. Needs git."""
        needs.program("git")
        commands = ("ls-files", "--others", "--exclude-standard"), ("diff", "--name-only")
        return "".join(run("git", *command, cwd=self.checkout) for command in commands)

    def _link(self, distribution: metadata.Distribution) -> None:
        """Put a package of this Python there, too: links to its files, and its scripts."""
        files = distribution.files
        assert files, f"{distribution.name} has no list of its files"
        packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(self.python.parent.parent)}))
        for file in files:
            source, target = Path(str(file.locate())), Path(os.path.normpath(packages / file))
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.parent == self.python.parent:
                _, _, script = source.read_text(encoding="utf-8").partition("\n")
                target.write_text(f"#!{self.python}\n{script}", encoding="utf-8")
                target.chmod(0o755)
            else:
                target.symlink_to(source.resolve())

    def _pip(self, *arguments: str | Path) -> None:
        # As `pip --python` does it, without a second process.
        pip = (self.python, Path(str(resources.files("pip") / "__pip-runner__.py")))
        run(*pip, arguments[0], "--quiet", *arguments[1:], cwd=self._workplace)

    def _reach_pypi(self) -> None:
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "1")
        try:
            run(*pip, "--timeout", "10", "--dest", self._workplace / "probe", *self._builds_with, cwd=self._workplace)
        except AssertionError as unreachable:
            needs.missing(f"PyPI cannot be reached, so nothing can be installed ({str(unreachable).splitlines()[-1]})")

    def built(self, pattern: str) -> Path:
        """The one archive of that kind."""
        (archive,) = (self._workplace / "dist").glob(pattern)
        return archive

    def install(self, *what: str | Path) -> None:
        """Put another form of pbxrouter in the place of the one that is there; its needs stay."""
        self.add("--force-reinstall", *what)

    def remove(self, name: str) -> None:
        """Uninstall a package."""
        self._pip("uninstall", "--yes", name)

    def add(self, *what: str | Path) -> None:
        """Install a package beside what is there."""
        self._pip("install", "--no-deps", *(["--no-build-isolation"] if self._locked else []), *what)


def locked() -> list[str]:
    """The packages in requirements/run.txt that this Python takes."""
    text = (ROOT / "requirements" / "run.txt").read_text(encoding="utf-8")
    found = [Requirement(line) for line in re.findall(r"^\w[^\\\n]*", text, re.MULTILINE)]
    return [package.name for package in found if package.marker is None or package.marker.evaluate()]


@functools.cache
def environment() -> Environment | Exception:
    """The environment, made when the first test wants it, or why there is none; removed when Python ends.

    Trial calls no setUpClass.
    """
    workplace = Path(tempfile.mkdtemp(prefix="pbxrouter-packaging-"))
    atexit.register(shutil.rmtree, workplace, ignore_errors=True)
    try:
        return Environment(workplace)
    except (AssertionError, unittest.SkipTest) as problem:
        return problem


class InstallTests(SynchronousTestCase):
    """The four ways to install."""

    def setUp(self) -> None:
        """All tests share the slow part."""
        made = environment()
        if isinstance(made, Exception):
            raise made
        self.environment = made
        self.installed = made.python.parent.parent

    def check(self, inside: Path) -> None:
        """Both commands answer, and all parts are there, from a directory that has nothing to do with us."""
        python, elsewhere = self.environment.python, self.environment.elsewhere
        scripts = python.parent
        self.assertIn("--config", run(scripts / "twistd", "pbxrouter", "--help", cwd=elsewhere))
        self.assertIn("explain", run(scripts / "pbxrouter", "--help", cwd=elsewhere))
        seen = json.loads(run(python, "-c", PROBE, cwd=elsewhere))
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
                "changepin": "ChangePin",
                "hangup": "Hangup",
            },
        )

    def test_wheel(self) -> None:
        """The wheel, itself built from the source archive; its console answers in both languages."""
        self.environment.install(self.environment.built("*.whl"))
        self.environment.check()
        self.check(self.installed)
        place = Path(tempfile.mkdtemp(dir=self.environment.elsewhere))
        said = run(self.environment.python, "-c", CONSOLE, cwd=place)
        self.assertEqual(said.splitlines()[-2:], ["['css', 'js', 'svg']", "True True"], said)

    def test_source_archive(self) -> None:
        """The source archive installs and runs."""
        self.environment.install(self.environment.built("*.tar.gz"))
        self.check(self.installed)

    def test_checkout(self) -> None:
        """A checkout installs by ``pip install .`` and runs; git sees nothing new in it."""
        self.environment.install(self.environment.checkout)
        self.check(self.installed)
        self.assertEqual(self.environment.changes(), "")

    def test_editable(self) -> None:
        """``pip install -e .``: twistd finds the plug-in in the checkout, where git sees nothing new."""
        self.environment.install("--editable", self.environment.checkout)
        self.check(self.environment.checkout)
        self.assertEqual(self.environment.changes(), "")

    def test_example(self) -> None:
        """The example of a driver installs from the checkout, is found, and git sees nothing new."""
        (example,) = (self.environment.checkout / "docs" / "examples").iterdir()
        self.environment.install(self.environment.built("*.whl"))
        self.environment.add(example)
        drivers = json.loads(run(self.environment.python, "-c", PROBE, cwd=self.environment.elsewhere))["drivers"]
        self.environment.remove(example.name)
        self.assertEqual(drivers["queue"], "Queue")
        self.assertTrue((example / "build").exists())
        self.assertEqual(self.environment.changes(), "")

    def test_archives_hold_no_litter(self) -> None:
        """No plug-in cache, no database; the wheel has our packages alone, and the schema is a file."""
        with tarfile.open(self.environment.built("*.tar.gz")) as archive:
            source = {member.name.partition("/")[2]: member for member in archive}
        with zipfile.ZipFile(self.environment.built("*.whl")) as wheel:
            shipped = set(wheel.namelist())
        for name in (*source, *shipped):
            self.assertFalse(name.endswith(("dropin.cache", ".sqlite", ".pyc", ".pinkey", ".log")), name)
            self.assertNotIn("lab/run", name)
        expected = {"LICENSE", "README.md", "schema.sql", "tac/pbxrouter.tac", "requirements/run.txt"}
        self.assertEqual(expected - set(source), set())
        self.assertTrue(source["pbxrouter/schema.sql"].isfile())
        tops = {name.partition("/")[0] for name in shipped if ".dist-info/" not in name}
        self.assertEqual(tops, {"pbxrouter", "twisted"})
        self.assertEqual(
            {name for name in shipped if name.startswith("twisted/")}, {"twisted/plugins/pbxrouter_plugin.py"}
        )
        kinds = ("*.py", "*.sql", "web/templates/**/*.html", "web/static/*", "web/locale/**/*.po")
        on_disk = {str(path.relative_to(ROOT)) for kind in kinds for path in (ROOT / "pbxrouter").rglob(kind)}
        self.assertTrue([name for name in on_disk if name.endswith(".po")])
        self.assertEqual(on_disk - shipped, set())
        self.assertEqual(on_disk - set(source), set())
