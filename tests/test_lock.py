"""requirements/ locks the dependencies in pyproject.toml, direct and indirect, with hashes."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import Environment, Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
_ENTRY = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ]+)(?: ; (?P<marker>[^\\]+?))? \\\n"
    r"(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Locked:
    """An entry of a lock file.

    Attributes:
        marker: where it is installed; None is everywhere.
    """

    name: str
    version: str
    marker: Marker | None

    def applies(self, python: str) -> bool:
        """Whether the entry is installed on that Python on Linux."""
        return self.marker is None or self.marker.evaluate(environment(python))


def environment(python: str) -> dict[str, str]:
    """The environment of markers for a Python on Linux."""
    here: Environment = default_environment()
    return {
        **{name: str(value) for name, value in here.items()},
        "python_version": python,
        "python_full_version": f"{python}.0",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


def text(name: str) -> str:
    """The text of a lock file."""
    return (ROOT / "requirements" / name).read_text(encoding="utf-8")


def locked(name: str) -> list[Locked]:
    """A lock file's entries."""
    return [
        Locked(found["name"], found["version"], Marker(found["marker"]) if found["marker"] else None)
        for found in _ENTRY.finditer(text(name))
    ]


def wanted(*extras: str) -> list[Requirement]:
    """The requirements in pyproject.toml: to build, to run, and of these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in extras:
        lines += project["project"]["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


FILES = {"run.txt": wanted("postgresql"), "dev.txt": wanted("postgresql", "test", "check")}


class LockTests(SynchronousTestCase):
    """The lock files are complete and have hashes."""

    def test_every_entry_has_a_version_and_hashes(self) -> None:
        """There is nothing else in a file but comments: no option, no address, no open range."""
        for name in FILES:
            rest = _ENTRY.sub("", text(name))
            self.assertEqual([line for line in rest.splitlines() if not line.startswith("#")], [], name)
            self.assertNotIn("://", text(name))
            self.assertGreater(len(locked(name)), 20)

    def test_auditor_is_locked(self) -> None:
        """What `make audit` installs has versions and hashes, too; it is at the version that is asked for."""
        rest = _ENTRY.sub("", text("audit.txt"))
        self.assertEqual([line for line in rest.splitlines() if not line.startswith("#")], [])
        versions = {entry.name: Version(entry.version) for entry in locked("audit.txt")}
        for requirement in wanted("audit")[len(wanted()) :]:
            self.assertTrue(requirement.specifier.contains(versions[canonicalize_name(requirement.name)]))

    def test_pip_is_locked(self) -> None:
        """pip, for a Python that has none: one version, at least the wheel's hash."""
        self.assertEqual([entry.name for entry in locked("pip.txt")], ["pip"])
        self.assertEqual(_ENTRY.sub("", text("pip.txt")).replace("#    make lock\n", "").count("\n"), 1)

    def test_what_is_asked_for_is_locked(self) -> None:
        """On each Python, once for each thing, at a version in the range of pyproject.toml."""
        for name, requirements in FILES.items():
            self.assertGreater(len(requirements), 10)
            for python in PYTHONS:
                for requirement in requirements:
                    found = [
                        entry.version
                        for entry in locked(name)
                        if entry.name == canonicalize_name(requirement.name) and entry.applies(python)
                    ]
                    self.assertEqual(len(found), 1, f"{name}, Python {python}: {requirement}; run make lock")
                    self.assertTrue(
                        requirement.specifier.contains(Version(found[0])),
                        f"{name}: {requirement} is locked at {found[0]}; run make lock",
                    )

    def test_indirect_needs_are_locked(self) -> None:
        """What a locked package asks for in turn is locked at a version that it accepts.

        Looked at in the metadata of what is installed here, where that is the locked version. Nothing is
        locked that none of it asks for.
        """
        here = ".".join(default_environment()["python_version"].split(".")[:2])
        for name, requirements in FILES.items():
            versions = {entry.name: entry.version for entry in locked(name) if entry.applies(here)}
            seen: set[tuple[str, frozenset[str]]] = set()
            pending = list(requirements)
            all_known = True
            while pending:
                requirement = pending.pop()
                package, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
                self.assertIn(package, versions, f"{name}: {requirement}; run make lock")
                version = Version(versions[package])
                self.assertTrue(requirement.specifier.contains(version), f"{name}: {requirement}, {version}")
                if (package, extras) not in seen:
                    seen.add((package, extras))
                    needs = self._needs(package, version, extras)
                    all_known = all_known and needs is not None
                    pending += needs or []
            if all_known:
                self.assertEqual(set(versions) - {package for package, _ in seen}, set(), name)

    def _needs(self, package: str, version: Version, extras: frozenset[str]) -> list[Requirement] | None:
        """What an installed package of that version asks for here; None if another version is installed."""
        try:
            found = distribution(package)
        except PackageNotFoundError:
            return None
        if Version(found.version) != version:
            return None
        needs = [Requirement(line) for line in found.requires or []]
        return [
            need
            for need in needs
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        ]

    def test_tests_run_on_what_runs(self) -> None:
        """All of run.txt is in dev.txt, at the same versions."""
        self.assertEqual(set(locked("run.txt")) - set(locked("dev.txt")), set())

    def test_every_python_is_named(self) -> None:
        """The Pythons of the classifiers are those that the lock is looked at for."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
        self.assertEqual(named, list(PYTHONS))
        self.assertEqual(project["requires-python"], f">={PYTHONS[0]}")
