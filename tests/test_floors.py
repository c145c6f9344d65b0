"""The house rules that a machine can check, read from the source: who imports whom, how long a module is.

Not here: whether the modules work. Nothing in pbxrouter is imported by these tests.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pbxrouter"

# Imports go to the same floor or a lower one. What holds for a package holds for every module in it.
FLOORS = tuple(
    frozenset(names.split())
    for names in (
        # 0, pure: values in, values out.
        "errors patterns pattern_index trace rules explained outcomes csvtext networks pins agi agi_commands "
        "agi_reader ami event_text shadows rule_warnings magi_wire calls counting counter_clock tokens "
        "ratelimit config config_messages prompts roles hours signing phones",
        # 1, transports and stores.
        "channel fastagi fastagi_factory oneshot refusal sender manager manager_watchdog manager_service "
        "manager_once magi magi_channel magi_waiting watch settings keyfile database store counter_rows "
        "counter_report workshop compat adapters passwords filelimit",
        # 2, the call.
        "rule_survey engine drivers verbs call_record callflow live live_calls health history heartbeat "
        "reports counter_writer counter_service",
        # 3, the edges.
        "library sequential listener asterisk_service metrics web simulator service tap control "
        "control_wishes originate originate_progress doctor cli __main__",
    )
)

# Floor 0 may name a path (pathlib), but not look at what is there.
IMPURE_MODULES = frozenset(
    "asyncio ctypes fcntl glob http io logging multiprocessing os queue select selectors shutil signal "
    "socket socketserver sqlite3 ssl subprocess tempfile threading twisted urllib.error urllib.request "
    "zope".split()
)
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__"})
IMPURE_METHODS = frozenset(
    "open read_text read_bytes write_text write_bytes exists is_file is_dir stat unlink mkdir touch iterdir "
    "glob resolve expanduser cwd home chmod rename".split()
)

# Programs written for StarPy name no reactor: theirs is the process's.
REACTOR_USERS = frozenset({"tap", "cli", "compat"})
MAX_LINES = 300
# Modules whose tests bear another name.
MIRRORS = {
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


def floor_of(name: str) -> int | None:
    """The floor of a module, by its own name or by the package it is in; None when nobody gave it one."""
    for floor, names in enumerate(FLOORS):
        if name.partition(".")[0] in names:
            return floor
    return None


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


def own(full_names: Iterator[str]) -> set[str]:
    """The modules of ours among imported names, short: ``pbxrouter.rules.Facts`` → ``rules``."""
    return {
        name.split(".")[1]
        for name in full_names
        # `from pbxrouter import __version__` is no module.
        if name.startswith("pbxrouter.") and not name.startswith("pbxrouter.__")
    }


class FloorTests(SynchronousTestCase):
    """Imports go down."""

    maxDiff = None

    def test_every_module_has_a_floor(self) -> None:
        """A new module is put on a floor in this file, knowingly."""
        homeless = [
            short_name(path) for path in modules() if short_name(path) and floor_of(short_name(path)) is None
        ]
        self.assertEqual(homeless, [], "give each a floor in FLOORS, tests/test_floors.py")

    def test_imports_go_down(self) -> None:
        """No module imports one from a higher floor, wherever in the file the import stands."""
        upward = []
        for path in modules():
            floor = floor_of(short_name(path))
            for name in own(imported(path)):
                target = floor_of(name)
                if floor is not None and target is not None and target > floor:
                    upward.append(f"{short_name(path)} (floor {floor}) imports {name} (floor {target})")
        self.assertEqual(upward, [])

    def test_the_package_itself_imports_nothing(self) -> None:
        """``import pbxrouter`` costs nothing and can make no circle."""
        self.assertEqual(list(imported(PACKAGE / "__init__.py")), [])

    def test_floor_0_is_pure(self) -> None:
        """The ground floor imports nothing that does I/O, Twisted included, and calls nothing that does."""
        impure = []
        for path in modules():
            if floor_of(short_name(path)) != 0:
                continue
            name = short_name(path)
            impure += [
                f"{name} imports {it}" for it in imported(path) if it.partition(".")[0] in IMPURE_MODULES
            ]
            for node in ast.walk(tree_of(path)):
                if not isinstance(node, ast.Call):
                    continue
                called = node.func
                if isinstance(called, ast.Name) and called.id in IMPURE_CALLS:
                    impure.append(f"{name}:{node.lineno} calls {called.id}()")
                elif isinstance(called, ast.Attribute) and called.attr in IMPURE_METHODS:
                    impure.append(f"{name}:{node.lineno} calls .{called.attr}()")
        self.assertEqual(impure, [])

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

    def test_modules_are_short(self) -> None:
        """A module that grew past 300 lines is two modules."""
        long = []
        for path in [*modules(), *sorted((ROOT / "twisted").rglob("*.py"))]:
            count = len(path.read_text(encoding="utf-8").splitlines())
            if count > MAX_LINES:
                long.append(f"{path.relative_to(ROOT)} has {count} lines")
        self.assertEqual(long, [], f"at most {MAX_LINES}")

    def test_every_module_has_its_tests(self) -> None:
        """pbxrouter/x.py has tests/test_x.py; x_part.py, and a module in a package x, may share that file."""
        untested = []
        for path in modules():
            words = short_name(path).replace(".", "_").split("_")
            names = {"_".join(words[: count + 1]) for count in range(len(words))} - {""}
            mirrors = sorted(f"test_{MIRRORS.get(name, name)}.py" for name in names)
            if mirrors and not any((ROOT / "tests" / mirror).exists() for mirror in mirrors):
                untested.append(f"{path.relative_to(ROOT)}: {' or '.join(mirrors)}")
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
