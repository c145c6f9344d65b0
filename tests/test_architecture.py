"""Rules of the architecture that the import contracts in pyproject.toml cannot say, mostly read from the source."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.paths import ROOT

PACKAGE = ROOT / "pbxrouter"
TESTS = ROOT / "tests"

# Pure modules may name a path (pathlib), but not look at what is there.
IMPURE_MODULES = ("urllib.error", "urllib.request")
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__"})
IMPURE_METHODS = frozenset(
    "open read_text read_bytes write_text write_bytes exists is_file is_dir stat unlink mkdir touch iterdir "
    "glob resolve expanduser cwd home chmod rename".split()
)

# Programs written for StarPy name no reactor: theirs is the process's.
REACTOR_USERS = frozenset({"tap", "worker", "cli", "compat"})

PARTS = re.compile(
    r"(AMI|API|FastAGI|MAGI|PIN guard|PIN calls|PINs|alarms|call \{uniqueid\}|calls|changepin|click to dial|clock|"
    r"console|control|counter|dashboard|database|descriptors|doctor|drivers|gateway|heartbeat|history|journal|originate|"
    r"pbxrouter|prompts|reload|rules|state|web|workers)[ :.]"
)
HANDED_ON = "{line}"
"""A log line whose text, with its part, was made elsewhere."""


@functools.cache
def modules() -> list[Path]:
    """Every source file of the package, except an ``__init__`` that has only a docstring."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py" or len(tree_of(path).body) > 1]


def short_name(path: Path) -> str:
    """``pbxrouter/drivers/dial.py`` → ``drivers.dial``; a package's ``__init__`` bears the package's name."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path: Path) -> Iterator[str]:
    """Full names of what a module imports, in functions and under TYPE_CHECKING too.

    ``from a import b`` gives ``a.b``: b may be a module, and callers compare the beginning of the name.
    """
    package = ("pbxrouter", *path.relative_to(PACKAGE).parent.parts) if path.is_relative_to(PACKAGE) else ()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def names_imported(path: Path) -> Iterator[tuple[str, str]]:
    """Each of our names that a module imports, with the module that it comes from."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pbxrouter."):
            yield from ((node.module, alias.name) for alias in node.names)


def is_logger(called: ast.expr) -> bool:
    """Whether a method that is called is one of a logger."""
    return ast.unparse(called).lower().endswith(("log", "logger"))


class ImportTests(SynchronousTestCase):
    """Which modules may import which."""

    maxDiff = None

    def test_the_package_itself_imports_nothing(self) -> None:
        """``import pbxrouter`` imports nothing, so that it is cheap and can make no circle."""
        self.assertEqual(list(imported(PACKAGE / "__init__.py")), [])

    def test_pure_modules_do_no_io(self) -> None:
        """A module that the contracts call pure calls nothing that reads or writes."""
        contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
        pure = next(row["source_modules"] for row in contracts if row["name"].startswith("Pure modules"))
        self.assertGreater(len(pure), 20)
        impure = []
        for path in modules():
            name = f"pbxrouter.{short_name(path)}"
            if not any(name == module or name.startswith(f"{module}.") for module in pure):
                continue
            impure += [f"{name} imports {target}" for target in imported(path) if target.startswith(IMPURE_MODULES)]
            for node in ast.walk(tree_of(path)):
                if not isinstance(node, ast.Call):
                    continue
                called = node.func
                if isinstance(called, ast.Name) and called.id in IMPURE_CALLS:
                    impure.append(f"{name}:{node.lineno} calls {called.id}()")
                elif isinstance(called, ast.Attribute) and called.attr in IMPURE_METHODS:
                    impure.append(f"{name}:{node.lineno} calls .{called.attr}()")
        self.assertEqual(impure, [])

    def test_packages_are_used_by_their_faces(self) -> None:
        """From another package only names in ``__all__`` are imported, from the package itself."""
        faces = {name: set(names) for name, names in self.faces()}
        self.assertGreater(len(faces), 15)
        around = []
        for path in modules():
            importer = f"pbxrouter.{short_name(path)}"
            if importer == "pbxrouter.verbs":  # the public address of a module of agi
                continue
            for origin, name in names_imported(path):
                inner = [face for face in faces if f"{origin}.".startswith(f"{face}.")]
                face = max(inner, key=len, default="")
                if not face or f"{importer}.".startswith(f"{face}."):
                    continue
                if origin != face or name not in faces[face]:
                    around.append(f"{importer} imports {name} from {origin}")
        self.assertEqual(around, [])

    def test_faces_offer_what_is_there(self) -> None:
        """Each name in a package's ``__all__`` can be imported, those that are imported lazily too."""
        for package, names in self.faces():
            module = importlib.import_module(package)
            for name in names:
                if not hasattr(module, name):
                    importlib.import_module(f"{package}.{name}")

    def faces(self) -> Iterator[tuple[str, list[str]]]:
        """Each package that has an ``__all__``, and the names in it."""
        for path in sorted(PACKAGE.rglob("__init__.py")):
            for node in tree_of(path).body:
                match node:
                    case ast.Assign(targets=[ast.Name("__all__")], value=ast.List() as names):
                        yield f"pbxrouter.{short_name(path)}", ast.literal_eval(names)
                    case _:
                        pass

    def test_the_reactor_is_passed_in(self) -> None:
        """Only the edges that start a process import the global reactor: tap, cli, tac/, the plug-in, compat."""
        guilty = [
            short_name(path)
            for path in modules()
            if short_name(path).partition(".")[0] not in REACTOR_USERS
            and any(name.startswith("twisted.internet.reactor") for name in imported(path))
        ]
        self.assertEqual(guilty, [])


class HabitTests(SynchronousTestCase):
    """Habits of all modules: size, tests, logging."""

    maxDiff = None

    def test_the_tests_have_the_same_folders(self) -> None:
        """The tests of a package are in the folder of the same name."""
        missing = []
        for path in modules():
            folder = TESTS / path.relative_to(PACKAGE).parent
            if not list(folder.glob("test_*.py")) and folder not in (
                TESTS / "compat/starpy",
                TESTS / "upgrades",
            ):
                missing.append(str(folder.relative_to(ROOT)))
        self.assertEqual(sorted(set(missing)), [])

    def test_no_folder_of_tests_without_a_package(self) -> None:
        """Folders of tests are named as packages are, but for fuzzing and for those that need Asterisk or a browser."""
        folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
        packages = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
        self.assertEqual(folders - packages, {Path("asterisk"), Path("browser"), Path("fuzz")})

    def test_every_module_says_what_it_is_for(self) -> None:
        """Each module opens with a docstring."""
        silent = [str(path.relative_to(ROOT)) for path in modules() if not ast.get_docstring(tree_of(path))]
        self.assertEqual(silent, [])

    def test_docstrings_say_what_the_thing_is(self) -> None:
        """No docstring is a single word, a mere reference, or names its object by a pronoun alone."""
        riddle = re.compile(r"\S+$|See |\w+ (it|both|them|one)\.$|(A|The) (new|other) one\b")
        riddles = []
        for path in (*sorted(PACKAGE.rglob("*.py")), *sorted(TESTS.rglob("*.py"))):
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
                    said = (
                        (ast.get_docstring(node, clean=False) or "not documented").lstrip().partition("\n")[0].rstrip()
                    )
                    riddles += [f"{path.relative_to(ROOT)}: {said}"] if riddle.match(said) else []
        self.assertEqual(riddles, [])

    def test_log_calls_have_structured_fields(self) -> None:
        """A log call's message is a plain string with {fields}: an f-string's braces would be read twice."""
        levels = {"debug", "info", "warn", "error", "critical", "failure"}
        formatted = []
        for path in modules():
            for node in ast.walk(tree_of(path)):
                match node:
                    case ast.Call(func=ast.Attribute(value=logger, attr=level), args=[ast.JoinedStr(), *_]):
                        if level in levels and is_logger(logger):
                            formatted.append(f"{path.relative_to(ROOT)}:{node.lineno}")
                    case _:
                        pass
        self.assertEqual(formatted, [])

    def test_log_lines_name_their_part(self) -> None:
        """A log line begins with the part that it is of, so that an owner can search for it."""
        levels = {"debug", "info", "warn", "error", "critical", "failure"}
        nameless = []
        for path in modules():
            if path.is_relative_to(PACKAGE / "compat"):  # the lines that StarPy logs
                continue
            for node in ast.walk(tree_of(path)):
                match node:
                    case ast.Call(func=ast.Attribute(value=logger, attr=level), args=[ast.Constant(str(line)), *_]):
                        if level in levels and is_logger(logger) and line != HANDED_ON and not PARTS.match(line):
                            nameless.append(f"{path.relative_to(ROOT)}:{node.lineno}: {line}")
                    case _:
                        pass
        self.assertEqual(nameless, [])

    def test_no_test_patches(self) -> None:
        """Tests hand in fakes; mock.patch is not used."""
        patching = [
            path.name
            for path in sorted((ROOT / "tests").rglob("*.py"))
            if "mock" in path.read_text(encoding="utf-8")
            and any(name.startswith(("unittest.mock", "mock")) for name in imported(path))
        ]
        self.assertEqual(patching, [])
