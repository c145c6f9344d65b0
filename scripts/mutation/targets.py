"""The modules that are mutated, and the tests that must notice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent.parent


CATALOGUE: Final = "tests.web.test_catalogue"
"""Compares the sentences of the sources with their translations, so it notices a changed one without reaching it."""


class Target(NamedTuple):
    """A part of the core: its modules, and the tests that are related beside those of its own folder.

    Names are paths without `.py`, below pbxrouter/ and tests/; a folder stands for all in it, and what
    does not exist is passed over.
    """

    modules: str
    tests: str


TARGETS: Final = {
    "agi": Target(
        "agi", "agi fastagi/test_protocol magi/test_channel call/test_flow drivers/test_dial_data test_limits"
    ),
    "fastagi": Target(
        "fastagi config/secret",
        "fastagi agi/test_channel gateway/test_service config/test_secret test_limits",
    ),
    "ami": Target(
        "ami", "ami magi/test_service gateway/test_asterisk_service test_library net/test_keepalive test_limits"
    ),
    "magi": Target("magi", "magi agi/test_channel test_limits"),
    "net": Target("net", "net fastagi/test_admission fastagi/test_protocol fastagi/test_sender test_limits"),
    "rules": Target(
        "rules", "rules call/test_flow database/rules database/test_store drivers/test_applications test_limits"
    ),
    "call": Target("call", "call gateway/test_service database/calls counter/test_talk test_limits"),
    "drivers": Target("drivers library", "drivers test_library call/test_flow test_limits"),
    "counter": Target("counter", "counter call/test_active_calls test_limits"),
    "database": Target("database", "database rules/test_engine security/test_tokens counter/test_service test_limits"),
    "gateway": Target("gateway", "gateway test_health call/test_refusals adapters/test_starpy test_limits"),
}


def modules(target: Target) -> list[Path]:
    """The modules to mutate, as paths below the root."""
    return [path for path in _files("pbxrouter", target.modules) if path.name != "__main__.py"]


def tests(target: Target) -> list[str]:
    """The related test modules, as dotted names, in the order of the table."""
    return [dotted(path) for path in _files("tests", target.tests) if path.name.startswith("test_")]


def related(target: Target, names: Iterable[str]) -> list[str]:
    """Those of some test modules that are related, in the order of the table; looks at no file."""
    places = [f"tests.{name.replace('/', '.')}." for name in target.tests.split()]
    found = ((place, name) for name in names for place, start in enumerate(places) if f"{name}.".startswith(start))
    return list(dict.fromkeys(name for _, name in sorted(found)))


def dotted(path: Path) -> str:
    """A file's name for import."""
    return ".".join(path.with_suffix("").parts)


def mirrors(module: Path) -> tuple[str, ...]:
    """The names that a module's own test module may have."""
    parts = list(module.with_suffix("").parts[1:])
    if parts[-1] == "__init__":
        parts.pop()
    nested = ".".join(["tests", *parts[:-1], f"test_{parts[-1]}"])
    return nested, f"tests.test_{'_'.join(parts)}", f"tests.test_{parts[0]}"


def _files(top: str, names: str) -> Iterator[Path]:
    found: dict[Path, None] = {}
    for name in names.split():
        path = ROOT / top / name
        if path.is_dir():
            found.update(dict.fromkeys(sorted(path.rglob("*.py"))))
        elif path.with_suffix(".py").is_file():
            found[path.with_suffix(".py")] = None
    for path in found:
        yield path.relative_to(ROOT)
