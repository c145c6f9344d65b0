"""README and documentation agree with the code.

Commands and code on a page are run (docs_runner); lists are compared with the code:
settings, commands, options, variables, messages, links. A setting without documentation fails here, as does
documentation of one that is not there.
"""

from __future__ import annotations

import ast
import pathlib
import re
import tomllib
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_type_hints

import click
import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.cli import app
from pbxrouter.config import parsing, schema
from pbxrouter.tap import Options
from tests import needs
from tests.docs_runner import RUN, Page, blocks, commands, fits
from tests.paths import ROOT

DOCS = ROOT / "docs"
PAGES = [
    page
    for page in (
        ROOT / "README.md",
        ROOT / "README.es.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "dialplan" / "README.md",
        *sorted(DOCS.rglob("*.md")),
    )
    if page.exists()
]

# How a setting's type is named, by the type of its default.
KINDS = {str: 'text|"', type(None): "text", int: "whole number", bool: "true or false", tuple: "list of"}


def read(path: pathlib.Path) -> str:
    """The text of a file."""
    return path.read_text(encoding="utf-8")


def rows(text: str) -> Iterator[list[str]]:
    """The cells of the rows of a page's tables."""
    for line in text.splitlines():
        if line.startswith("|") and not re.match(r"\|[\s|:-]+\|$", line):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def section(text: str, heading: str) -> str:
    """The text beneath a heading, up to the next heading of its level."""
    _, found, rest = text.partition(f"\n## {heading}\n")
    return re.split(r"^## ", rest, flags=re.MULTILINE)[0] if found else ""


class PagesTests(SynchronousTestCase):
    """The pages, run as they are written."""


def _page_test(path: pathlib.Path) -> Callable[[PagesTests], None]:
    def test(self: PagesTests) -> None:
        if re.search(r"^\$ .*\bcurl ", read(path), re.MULTILINE):
            needs.program("curl")
        page = Page(path)
        try:
            page.run()
        finally:
            page.close()
        fences = re.findall(r"^```(\w+)", read(path), re.MULTILINE)
        self.assertEqual(sum(page.ran.values()), sum(kind in RUN for kind in fences))

    test.__doc__ = f"All blocks of {path.name} that can be run are run, with the output shown."
    return test


for _path in PAGES:
    _name = "_".join(_path.relative_to(ROOT).with_suffix("").parts)
    setattr(PagesTests, f"test_{_name.lower().replace('-', '_').replace('.', '_')}", _page_test(_path))


class RunnerTests(SynchronousTestCase):
    """The runner of the documents' examples itself."""

    def test_ellipsis(self) -> None:
        """A … matches part of a line, or lines; anything else must be equal."""
        self.assertTrue(fits("a … c\n…\nz\n", "a b c\nd\ne\nz\n"))
        self.assertTrue(fits("…\nz", "z\n"))
        self.assertFalse(fits("a … c\n", "a b d\n"))
        self.assertFalse(fits("a\n", "a\nb\n"))

    def test_blocks(self) -> None:
        """Blocks are found with their kind, file and line; commands with their output."""
        found = blocks("x\n```sql rules.sql\nSELECT 1;\n```\n\n```console\n$ a\nb\n$ c\n```\n")
        self.assertEqual(
            [(block.kind, block.file, block.line) for block in found],
            [("sql", "rules.sql", 2), ("console", "", 6)],
        )
        self.assertEqual(list(commands(found[1])), [("a", "b\n"), ("c", "")])


class LinkTests(SynchronousTestCase):
    """Links and file names in the pages."""

    def test_links(self) -> None:
        """Every relative link leads to a file or directory, and to a heading where it names one."""
        for page in PAGES:
            prose = re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
            for target in re.findall(r"\]\(([^)\s]+)\)", prose):
                if re.match(r"[a-z]+:", target):
                    continue
                path, _, anchor = target.partition("#")
                file = (page.parent / path) if path else page
                self.assertTrue(file.exists(), f"{page.name}: {target}")
                if anchor:
                    headings = re.findall(r"^#+ (.*)$", read(file), re.MULTILINE)
                    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                    self.assertIn(anchor, slugs, f"{page.name}: {target}")

    def test_index(self) -> None:
        """Every page in docs/ is reached from its index."""
        index = read(DOCS / "index.md")
        for page in DOCS.rglob("*.md"):
            if page.name != "index.md":
                self.assertIn(f"({page.relative_to(DOCS)})", index)

    def test_examples(self) -> None:
        """A block with a file's name, in drivers.md, is that file of the example package."""
        named = {block.file: block.text for block in blocks(read(DOCS / "drivers.md")) if block.file}
        example = DOCS / "examples" / "pbxrouter-queue"
        self.assertEqual(named, {path.name: read(path) for path in example.iterdir() if path.is_file()})

    def test_make_targets(self) -> None:
        """Every make target that a page mentions exists."""
        targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.MULTILINE))
        for page in PAGES:
            for code in re.findall(r"(?:`|^\s{4,}|^\$ |^)make ([a-z-]+)", read(page), re.MULTILINE):
                self.assertIn(code, targets, page.name)


class SettingsTests(SynchronousTestCase):
    """configuration.md and the sample file have every setting."""

    def test_every_setting(self) -> None:
        """Each key is in the page's tables once with its true default, and no other is."""
        told = {
            row[0].strip("`"): (row[1], row[2].strip("`"))
            for row in rows(read(DOCS / "configuration.md"))
            if row[0].startswith("`")
        }
        base = pathlib.Path("/etc/pbxrouter")
        defaults = dict(_settings(parsing.resolved(schema.Config(), base), ""))
        self.assertEqual(sorted(told), sorted(defaults))
        for key, default in defaults.items():
            kind, text = told[key]
            shown = None if text == "none" else tomllib.loads(f"value = {text}")["value"]
            if isinstance(default, str) and f"{default}/".startswith(f"{base}/"):
                shown = str(base / str(shown))
            self.assertEqual(shown, list(default) if isinstance(default, tuple) else default, key)
            self.assertRegex(kind, KINDS[type(default)], key)

    def test_the_sample(self) -> None:
        """Every setting of the sample file is on the page."""
        told = read(DOCS / "configuration.md")
        for key in re.findall(r"^#([\w-]+) =", read(ROOT / "pbxrouter.sample.toml"), re.MULTILINE):
            self.assertIn(key, told)


def _settings(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every key with its default; of a list of tables that is empty, the keys of one table."""
    if isinstance(value, msgspec.Struct):
        hints = get_type_hints(type(value))
        for field in msgspec.structs.fields(value):
            inner = getattr(value, field.name)
            structs = [
                hint
                for hint in get_args(hints[field.name])
                if isinstance(hint, type) and issubclass(hint, msgspec.Struct)
            ]
            if inner == () and structs:
                inner = structs[0]()
            yield from _settings(inner, f"{path}.{field.encode_name}" if path else field.encode_name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}.{key}", inner
    else:
        yield path, value


def _options(command: click.Command) -> set[str]:
    return {name for param in command.params if isinstance(param, click.Option) for name in param.opts}


def _twistd_options() -> set[str]:
    found = {name for long, short, *_ in Options.optParameters for name in (f"--{long}", f"-{short}")}
    return found | {name for long, short, *_ in Options.optFlags for name in (f"--{long}", f"-{short}")}


class CommandsTests(SynchronousTestCase):
    """commands.md has every command and option, and no page has others."""

    def setUp(self) -> None:
        context = click.Context(app.pbxrouter)
        found = {name: app.pbxrouter.get_command(context, name) for name in app.COMMANDS}
        self.commands = {name: command for name, command in found.items() if command is not None}

    def test_every_option(self) -> None:
        """The table of each command has its options, all of them and no other."""
        page = read(DOCS / "commands.md")
        expected = {f"pbxrouter {name}": _options(command) for name, command in self.commands.items()}
        expected["twistd pbxrouter"] = _twistd_options()
        for heading, options in expected.items():
            table = section(page, heading)
            self.assertTrue(table, f"no section {heading}")
            told = {name for row in rows(table) for name in re.findall(r"(?<!\w)--?[a-z][\w-]*", row[0])}
            self.assertEqual(told, options - {"--help"}, heading)

    def test_no_other(self) -> None:
        """Wherever a page shows a command line, command and options are there."""
        for page in PAGES:
            for line in re.findall(r"(?:^\$ .*|`[^`\n]+`)", read(page), re.MULTILINE):
                for name, rest in re.findall(r"(?:^\$ |`|\| |/bin/)pbxrouter ([a-z]+)\b([^|>`]*)", line):
                    given = set(re.findall(r"(?<![\w'])--?[a-zA-Z][\w-]*", rest))
                    if re.search(r"twistd\b.* pbxrouter", line):
                        continue
                    self.assertIn(name, self.commands, f"{page.name}: {line}")
                    allowed = _options(self.commands[name]) | {"--help", "-h"}
                    self.assertEqual(given - allowed, set(), f"{page.name}: {line}")
                for rest in re.findall(r"twistd\b[^`]*? pbxrouter( [^|>`]*)", line):
                    given = set(re.findall(r"(?<!\w)--?[a-zA-Z][\w-]*", rest))
                    self.assertEqual(given - _twistd_options(), set(), f"{page.name}: {line}")


class WordsTests(SynchronousTestCase):
    """Variables and messages in the pages are those of the code."""

    def test_no_pin_on_a_command_line(self) -> None:
        """No page shows a PIN as an argument, which the process list would show."""
        for page in (*PAGES, ROOT / "Makefile"):
            self.assertEqual(re.findall(r"--pin[ =]'?[0-9$].*|\bmake \w+ .*PIN=.*", read(page)), [], page.name)

    def test_variables(self) -> None:
        """Every PBXROUTER variable of gateway and dialplan is documented, and no others are."""
        pattern = re.compile(r"\bPBXROUTER(?:_[A-Z0-9]+)*\b")
        sources = [*(ROOT / "pbxrouter").rglob("*.py"), ROOT / "dialplan" / "pbxrouter.conf"]
        known = {name for source in sources for name in pattern.findall(read(source))}
        pages = (DOCS / "protocol.md", DOCS / "dialplan.md", ROOT / "dialplan" / "README.md")
        told = {name for page in pages for name in pattern.findall(read(page))}
        self.assertEqual(known - told, set())
        # Variables of the set-up may be mentioned.
        known |= set(pattern.findall(read(ROOT / "scripts" / "setup-venv")))
        for page in PAGES:
            self.assertEqual(set(pattern.findall(read(page))) - known, set(), page.name)

    def test_messages(self) -> None:
        """Every message in troubleshooting.md is one that the code can say."""
        templates = {
            template
            for source in (ROOT / "pbxrouter").rglob("*.py")
            for template in _templates(ast.parse(read(source)))
        }
        told = re.findall(r"^### `+ ?(.*?) ?`+$", read(DOCS / "troubleshooting.md"), re.MULTILINE)
        self.assertTrue(told)
        for line in told:
            parts = line.split("…")
            pattern = re.compile(".*?".join(map(re.escape, parts)), re.DOTALL)
            longest = max(parts, key=len)
            self.assertTrue(any(longest in text and pattern.search(text) for text in templates), line)


def _templates(tree: ast.AST) -> Iterator[str]:
    """The texts of a module, with … in place of their values."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"\{\w+\}", "…", node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
