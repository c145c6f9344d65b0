"""The house rules that a machine can check, read from the source.

Not here: whether the modules work. Nothing in pbxrouter is imported by these tests.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.paths import ROOT

PACKAGE = ROOT / "pbxrouter"

# Programs written for StarPy name no reactor: theirs is the process's.
REACTOR_USERS = frozenset({"tap", "cli", "compat"})
# Modules whose tests bear another name.
MIRRORS = {
    "live": "counter",
    "verbs": "tap",
    "adapters": "adapters_starpy",
    "pattern_index": "patterns",
    "call_record": "callflow",
    "__main__": "cli",
}


def modules() -> list[Path]:
    """Every source file of the package, but for an ``__init__`` that is nothing but a docstring."""
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "__init__.py" or len(tree_of(path).body) > 1
    ]


def short_name(path: Path) -> str:
    """``pbxrouter/drivers/dial.py`` → ``drivers.dial``; a package's ``__init__`` bears the package's name."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def tree_of(path: Path) -> ast.Module:
    """The module, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path: Path) -> Iterator[str]:
    """Full names of what a module imports, in functions and under TYPE_CHECKING too.

    ``from a import b`` gives ``a.b``: b may be a module, and whoever asks looks at the beginning of the name.
    """
    package = ("pbxrouter", *path.relative_to(PACKAGE).parent.parts) if path.is_relative_to(PACKAGE) else ()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


class FloorTests(SynchronousTestCase):
    """Imports go down."""

    maxDiff = None

    def test_the_package_itself_imports_nothing(self) -> None:
        """``import pbxrouter`` costs nothing and can make no circle."""
        self.assertEqual(list(imported(PACKAGE / "__init__.py")), [])

    def test_the_reactor_is_passed_in(self) -> None:
        """Only the edges that start a process import the global reactor: tap, cli, tac/, the plug-in."""
        guilty = [
            short_name(path)
            for path in modules()
            if short_name(path).partition(".")[0] not in REACTOR_USERS
            and any(name.startswith("twisted.internet.reactor") for name in imported(path))
        ]
        self.assertEqual(guilty, [])


class HabitTests(SynchronousTestCase):
    """Size, tests, logging."""

    maxDiff = None

    def test_every_package_has_its_tests(self) -> None:
        """pbxrouter/x/ has tests in tests/x/, or tests/test_x*.py."""
        untested = []
        for path in modules():
            package = path.relative_to(PACKAGE).parts[0].removesuffix(".py").partition("_")[0]
            named = (ROOT / "tests").glob(f"test_{MIRRORS.get(package, package)}*.py")
            if package and not any(named) and not (ROOT / "tests" / package).is_dir():
                untested.append(str(path.relative_to(ROOT)))
        self.assertEqual(untested, [])

    def test_every_module_says_what_it_is_for(self) -> None:
        """Each module opens with a docstring."""
        silent = [str(path.relative_to(ROOT)) for path in modules() if not ast.get_docstring(tree_of(path))]
        self.assertEqual(silent, [])

    def test_log_calls_have_structured_fields(self) -> None:
        """A log call's message is a plain string with {fields}: an f-string's braces would be read twice."""
        levels = {"debug", "info", "warn", "error", "critical", "failure"}
        formatted = []
        for path in modules():
            for node in ast.walk(tree_of(path)):
                match node:
                    case ast.Call(func=ast.Attribute(value=logger, attr=level), args=[ast.JoinedStr(), *_]):
                        if level in levels and ast.unparse(logger).lower().endswith(("log", "logger")):
                            formatted.append(f"{path.relative_to(ROOT)}:{node.lineno}")
                    case _:
                        pass
        self.assertEqual(formatted, [])

    def test_no_test_patches(self) -> None:
        """Tests hand in fakes; mock.patch is not used."""
        patching = [
            path.name
            for path in sorted((ROOT / "tests").rglob("*.py"))
            if any(name.startswith(("unittest.mock", "mock")) for name in imported(path))
        ]
        self.assertEqual(patching, [])
