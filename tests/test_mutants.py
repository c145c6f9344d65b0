"""`make mutants` makes the changes it promises, sees which tests notice, and each exception has a reason."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from scripts.mutation import accepted, choice, literals, targets, worker
from scripts.mutation.baseline import Baseline
from scripts.mutation.finder import mutants
from scripts.mutation.pool import Job, Pool, Result

ROOT = Path(__file__).resolve().parent.parent

# A line, and what a mutant makes of it.
CHANGES = (
    ("comparison", "x = a < b", "x = a <= b"),
    ("comparison", "x = a is not b", "x = a is b"),
    ("comparison", "x = a not in b", "x = a in b"),
    ("comparison", "x = 0 <= a < b", "x = 0 <= a <= b"),
    ("bound", "x = a[:b]", "x = a[:(b) + 1]"),
    ("and, or", "x = a and b", "x = a or b"),
    ("operand left out", "x = a and b", "x = a and True"),
    ("operand left out", "x = a or b", "x = False or b"),
    ("not", "x = not a", "x = a"),
    ("number", "x = 30.0", "x = 31.0"),
    ("number", "x = 30", "x = 29"),
    ("number", "x = 30", "x = 0"),
    ("boolean", "x = True", "x = False"),
    ("string", "x = 'caller'", "x = 'XXcaller'"),
    ("string", "x = 'a caller without a number'", 'x = "XX"'),
    ("string", "x = b''", "x = b'XX'"),
    ("string", "x = f'{a}/{b}'", 'x = "XX"'),
    ("sentence", "x = sentence('{a} is away', a=1)", 'x = sentence("XX", a=1)'),
    ("sentence", "x = Sentence('away')", 'x = Sentence("XX")'),
    ("string", "x = a.strip('()')", 'x = a.strip("XX")'),
    ("member left out", "x = frozenset('abc')", "x = frozenset('bc')"),
    ("member left out", "x = frozenset('abc')", "x = frozenset('ab')"),
    ("number", "x = db.execute('SELECT a FROM b').fetchone()[0]", "x = db.execute('SELECT a FROM b').fetchone()[1]"),
    (
        "number",
        "x = db.execute('SELECT a, c FROM b').fetchone()[0]",
        "x = db.execute('SELECT a, c FROM b').fetchone()[(-1)]",
    ),
    ("string", "x = a.rstrip(b'.')", 'x = a.rstrip(b"XX")'),
    ("arithmetic", "x = a + b", "x = a - b"),
    ("arithmetic", "x = a // b", "x = a * b"),
    ("arithmetic", "x += a", "x -= a"),
    ("arithmetic", "x += a", "x = a"),
    ("arithmetic", "x = -a", "x = a"),
    ("order of parts", "x = a + '/'", "x = '/' + a"),
    ("order of parts", "x = old_gaps + gaps", "x = gaps + old_gaps"),
    ("order of parts", "x = [*a, *b]", "x = [*b, *a]"),
    ("order of parts", "x = (*a, *b)", "x = (*b, *a)"),
    ("order of parts", "q.append(a); q.append(b)", "q.append(b); q.append(a)"),
    ("function", "q.extendleft(reversed(a))", "q.extendleft(iter(a))"),
    ("method", "q.extendleft(reversed(a))", "q.extend(reversed(a))"),
    ("function", "x = min(a, b)", "x = max(a, b)"),
    ("method", "x = q.popleft()", "x = q.pop()"),
    ("method left out", "x = a.strip()", "x = a"),
    ("statement deleted", "self.timer.cancel()", "pass"),
    ("statement deleted", "del a[b]", "pass"),
    ("statement deleted", "raise Refused(a)", "pass"),
    ("statement deleted", "self.log.error('written again')", "pass"),
    ("condition", "x = a if b else c", "x = a if True else c"),
    ("condition", "x = [a for a in b if c]", "x = [a for a in b if True]"),
    ("member left out", "x = {'a', 'b'}", "x = {'b'}"),
    ("member left out", "x = {1: a, 2: b}", "x = {1: a}"),
    ("member left out", "x = a in (b, c)", "x = a in (b,)"),
    ("word of a list removed", "x = 'one two'.split()", "x = ' two'.split()"),
    ("call left out", "x = printable(a)", "x = a"),
    ("argument left out", "x = f(a, timeout_s=b)", "x = f(a)"),
    ("argument left out", "x = f(a, TIMEOUT_S)", "x = f(a)"),
    ("argument left out", "x = a.get(b, c)", "x = a.get(b)"),
    ("member of an enum", "x = Verdict.DENY, Verdict.ALLOW", "x = Verdict.ALLOW, Verdict.ALLOW"),
    ("regular expression", "x = re.compile('a|b')", "x = re.compile('b')"),
    ("regular expression", "x = re.compile('say |(?:get|put)+')", "x = re.compile('say |(?:get)+')"),
    ("regular expression", "x = re.compile('[ab]+$')", "x = re.compile('[ab]+')"),
    ("SQL", "x = 'SELECT a FROM b WHERE c < 1'", "x = 'SELECT a FROM b WHERE c <= 1'"),
    ("SQL", "x = 'SELECT a FROM b ORDER BY c DESC'", "x = 'SELECT a FROM b ORDER BY c'"),
)
# The same within a function, or of more lines than one.
LONG_CHANGES = (
    ("condition", "if a:\n    b()", "if False:"),
    ("condition", "if a:\n    b()", "if not (a):"),
    ("condition", "while a:\n    b()", "while False:"),
    ("loop left out", "for a in b:\n    c()", "for a in ():"),
    ("jump", "for a in b:\n    break", "continue"),
    ("jump", "for a in b:\n    continue", "break"),
    ("except left out", "try:\n    a()\nexcept ValueError:\n    b()", "raise"),
    ("statement deleted", "try:\n    a()\nfinally:\n    b()", "pass"),
    ("finally left out", "try:\n    a()\nfinally:\n    b()\n    c()", "pass"),
    ("member left out", "try:\n    a()\nexcept (KeyError, ValueError):\n    b()", "except (ValueError,):"),
    ("alternative left out", "match a:\n    case 1 | 2:\n        b()", "case 2:"),
    ("condition", "match a:\n    case 1 if b:\n        c()", "case 1 if True:"),
    ("value", "def f():\n    return a", "return None"),
    ("value", "def f():\n    self.a = b(c)", "self.a = None"),
    ("value", "x = lambda: a", "x = lambda: None"),
    ("value", "def f() -> bool:\n    return a", "return None"),
    ("value", "def f() -> bool | None:\n    return False", "return None"),
    ("boolean", "def f() -> bool:\n    return False", "return True"),
    ("statement deleted", "def f():\n    return", "pass"),
    ("statement deleted", "def f():\n    self.failures = 0", "pass"),
    ("statement deleted", "def f():\n    self.collected = self.trying = 0", "self.collected = 0"),
    ("statement deleted", "def f():\n    self.a, self.b = [], c", "self.a, self.b = self.a, c"),
    ("statement deleted", "def f():\n    a = 1\n    a = b", "pass"),
    ("number", "def f(timeout_s=4):\n    pass", "def f(timeout_s=5):"),
)  # fmt: skip

LEFT_ALONE = '''
"""A docstring."""
from __future__ import annotations
__all__ = ["a", "b"]
Rows = dict[str, int] | None
T = TypeVar("T")
if TYPE_CHECKING:
    import a
class A(B[1], frozen=True):
    """Another."""
    __slots__ = ("x", "y")
    x: Literal["a"]
    log = Logger("a")
    def __repr__(self) -> str:
        return "A"
    def f(self, a: Literal["b"]) -> Literal[1]:
        """A third."""
        assert a == "b", "why"
        self.log.debug("words {a}", a=1)
        assert_never(a)
class B(Protocol):
    def f(self, a: int = 0, *, b: bool = True) -> int:
        """What a declaration has as defaults is for the type checker."""
        ...
    def g(self, a: int = 0) -> None:
        """The same without the dots."""
f = functools.lru_cache(maxsize=1000)(g)
rows = zip(a, b, strict=True)
class Number(Enum):
    ONE = 1
class _State(Enum):
    OPENING = "before the first line"
'''

SMALL = "LIMIT = 3\n\n\ndef accepts(count):\n    return count < LIMIT\n"
STRICT_TEST = """
from twisted.trial.unittest import SynchronousTestCase
from pbxrouter.drivers.small import LIMIT, accepts

class Limits(SynchronousTestCase):
    def test_bounds(self):
        self.assertEqual([LIMIT, accepts(2), accepts(3)], [3, True, False])
"""


class Changes(SynchronousTestCase):
    """Which changes are made."""

    def test_each_kind(self) -> None:
        """Each kind of change is made, on each form that it is for."""
        for operator, line, changed in CHANGES:
            found = mutants(Path("a.py"), line.encode())
            made = {(mutant.edit.operator, mutant.after.rstrip()) for mutant in found if mutant.is_valid()}
            self.assertIn((operator, changed), made, line)

    def test_each_kind_of_statement(self) -> None:
        """Each kind of change is made in compound statements and in functions."""
        for operator, text, changed in LONG_CHANGES:
            found = mutants(Path("a.py"), text.encode())
            made = {(mutant.edit.operator, mutant.after) for mutant in found if mutant.is_valid()}
            self.assertIn((operator, changed), made, text)

    def test_left_alone(self) -> None:
        """Docstrings, types, declarations, log words, assertions and __repr__ are not changed."""
        self.assertEqual([mutant.after for mutant in mutants(Path("a.py"), LEFT_ALONE.encode())], [])

    def test_log_words(self) -> None:
        """A log line can be missed, its words and fields cannot be wrong."""
        found = mutants(Path("a.py"), b"self.log.warn('{name}: lost', name=1)")
        self.assertEqual([mutant.after for mutant in found], ["pass"])
        found = mutants(Path("a.py"), b"log_failure('{name}: lost', name=1)")
        self.assertEqual([mutant.after for mutant in found], ["pass"])
        found = mutants(Path("a.py"), b"d.addErrback(lambda f: self.log.failure('it broke', f))")
        self.assertNotIn("XX", " ".join(mutant.after for mutant in found))

    def test_assertions_of_zip(self) -> None:
        """That nothing lacks a partner is an assertion of zip; that something may is not, nor is what is paired."""
        found = {mutant.after for mutant in mutants(Path("a.py"), b"zip(a[1:], b, strict=True)")}
        self.assertEqual(found, {"pass", "zip(a[2:], b, strict=True)", "zip(a[0:], b, strict=True)"})
        found = {mutant.after for mutant in mutants(Path("a.py"), b"zip(a, b, strict=False)")}
        self.assertIn("zip(a, b, strict=True)", found)
        self.assertNotIn("zip(a, b)", found)  # which is the same
        found = {mutant.after for mutant in mutants(Path("a.py"), b"convert(a, strict=True)")}
        self.assertLessEqual({"convert(a, strict=False)", "convert(a)"}, found)

    def test_rows_of_one_column(self) -> None:
        """The last column of a row that has one is the first."""
        for query in ("PRAGMA synchronous", "SELECT count(*) FROM a WHERE b IN (1, 2)", "select a.b\\n from a"):
            found = mutants(Path("a.py"), f"x = db.execute('{query}', c).fetchone()[0]".encode())
            changed = [mutant.after.rpartition("[")[2] for mutant in found if mutant.edit.operator == "number"]
            self.assertEqual([text for text in changed if text in ("1]", "(-1)]")], ["1]"], query)

    def test_answers(self) -> None:
        """What a function says to a question is negated; None in its place would be the same to who asks for truth."""
        for answer in ("True", "False"):
            found = mutants(Path("a.py"), f"def f() -> bool:\n    return {answer}\n".encode())
            self.assertEqual([mutant.edit.operator for mutant in found], ["boolean"])

    def test_defaults(self) -> None:
        """The defaults of a function that does something are changed, also if it is one line."""
        found = {mutant.after for mutant in mutants(Path("a.py"), b"def f(a=True):\n    return a\n")}
        self.assertIn("def f(a=False):", found)

    def test_alternatives(self) -> None:
        """Bars in sets and behind backslashes part nothing; those of inner groups do."""
        written = r"r'a|[|]x\|y|(?:p|q|r)'"
        cut = [written[:start] + written[end:] for start, end in literals.alternatives(written)]
        self.assertEqual(
            sorted(cut),
            sorted(
                [
                    r"r'[|]x\|y|(?:p|q|r)'",
                    r"r'a|(?:p|q|r)'",
                    r"r'a|[|]x\|y'",
                    r"r'a|[|]x\|y|(?:q|r)'",
                    r"r'a|[|]x\|y|(?:p|r)'",
                    r"r'a|[|]x\|y|(?:p|q)'",
                ]
            ),
        )

    def test_place(self) -> None:
        """A mutant knows its function, its line, the lines to reach, and whether it runs on import."""
        text = "A = 1\nclass B:\n def c(self, é='é'):\n  if self.d(\n    2\n  ):\n   self.e()\n"
        found = mutants(Path("a.py"), text.encode())
        told = {(m.edit.operator, m.function, m.line, m.lines, m.on_import, m.after) for m in found}
        self.assertIn(("number", "", 1, (1, 1), True, "A = 2"), told)
        self.assertIn(("string", "B.c", 3, (4, 7), False, "def c(self, é='XXé'):"), told)
        self.assertIn(("number", "B.c", 5, (4, 6), False, "3"), told)
        self.assertIn(("statement deleted", "B.c", 7, (7, 7), False, "pass"), told)

    def test_body(self) -> None:
        """A mutant knows the lines of its function's body; code that runs on import has none."""
        text = "A = 1\ndef f(b=2):\n    '''Doc.'''\n    def g():\n        return 3\n    return g\n"
        found = mutants(Path("a.py"), text.encode())
        told = {(mutant.edit.operator, mutant.line, mutant.body) for mutant in found}
        self.assertIn(("number", 1, (0, -1)), told)
        self.assertIn(("number", 2, (3, 6)), told)
        self.assertIn(("number", 5, (5, 5)), told)
        self.assertIn(("value", 6, (3, 6)), told)

    def test_which_tests(self) -> None:
        """Tests that reach the line come first, the module's own before others; then those of the function.

        What runs when the module is imported concerns all tests.
        """
        path = Path("pbxrouter/drivers/dial.py")
        text = "def f():\n    a()\n    b()\n    return c\n\n\ndef g():\n    return d\n\n\ndef h():\n    return e\n"
        found = {mutant.line: mutant for mutant in mutants(path, text.encode())}
        baseline = Baseline()
        lines = {2: ["other", "slow", "own"], 3: ["other", "own"], 4: ["slow"], 12: [""]}
        modules = {"tests.test_library": ["other"], "tests.drivers.test_drivers": ["slow", "own", "far"]}
        for name, tests in modules.items():
            outcome = worker.Outcome(
                failed="",
                why="",
                seconds={test: 2.0 if test == "slow" else 0.5 for test in tests},
                reached={
                    path.as_posix(): {line: [t for t in reach if t in ["", *tests]] for line, reach in lines.items()}
                },
            )
            job = Job(name, (name,), None, 1.0)
            result = Result(job, outcome, False, "")
            pool = cast(Pool, SimpleNamespace(run=lambda jobs, result=result: [result]))
            self.assertEqual(list(baseline.learn(pool, [name])), [name])
        target = targets.Target("drivers", "drivers test_library")
        for line, wanted in (
            (2, ["own", "slow", "other"]),
            (3, ["own", "other", "slow"]),
            (4, ["slow", "own", "other"]),
        ):
            chosen = baseline.job(found[line], target)
            assert chosen is not None
            self.assertEqual(chosen.wanted, wanted, line)
            self.assertEqual(chosen.modules, ("tests.drivers.test_drivers", "tests.test_library"))
        self.assertIsNone(baseline.job(found[8], target))
        self.assertEqual(self.job_of_a_sentence(baseline, target, path).wanted, ["own", "other", "slow", "all"])
        on_import = baseline.job(found[12], target)
        assert on_import is not None
        self.assertEqual(on_import.wanted, ["own", "far", "slow", "other"])

    def job_of_a_sentence(self, baseline: Baseline, target: targets.Target, path: Path) -> Job:
        """The job of a mutant whose sentence the catalogue has, too: that is looked at last."""
        outcome = worker.Outcome(failed="", why="", seconds={"all": 3.0}, reached={})
        result = Result(Job(targets.CATALOGUE, (), None, 1.0), outcome, False, "")
        list(baseline.learn(cast(Pool, SimpleNamespace(run=lambda _: [result])), []))
        text = b"def f():\n    a()\n    return sentence('b')\n"
        (mutant,) = [found for found in mutants(path, text) if found.edit.operator == "sentence"]
        job = baseline.job(mutant, target)
        assert job is not None
        self.assertEqual(job.modules[-1], targets.CATALOGUE)
        return job

    def test_module_added_meanwhile(self) -> None:
        """A test module that the baseline does not know is skipped; one that was removed since is run."""
        path = Path("pbxrouter/drivers/dial.py")
        mutant = next(iter(mutants(path, b"def f():\n    a()\n")))
        baseline = Baseline()
        outcome = worker.Outcome(failed="", why="", seconds={"one": 0.5}, reached={path.as_posix(): {2: ["one"]}})
        result = Result(Job("tests.drivers.test_gone", (), None, 1.0), outcome, False, "")
        self.assertEqual(
            list(baseline.learn(cast(Pool, SimpleNamespace(run=lambda _: [result])), [])), [result.job.name]
        )
        target = targets.TARGETS["drivers"]
        self.assertIn("tests.drivers.test_drivers", targets.tests(target))
        chosen = baseline.job(mutant, target)
        assert chosen is not None
        self.assertEqual((chosen.modules, chosen.wanted), (("tests.drivers.test_gone",), ["one"]))

    def test_related(self) -> None:
        """Test modules are related by the table's files and folders, not by the beginning of a name."""
        target = targets.Target("drivers", "test_library drivers call/test_flow")
        names = ["tests.call.test_flow", "tests.drivers.test_b", "tests.drivers.deep.test_a", "tests.test_library"]
        others = ["tests.call.test_flows", "tests.driversother.test_a", "tests.test_library2", "tests.call.test_record"]
        self.assertEqual(targets.related(target, [*others, *names]), [names[3], names[2], names[1], names[0]])

    def test_key_outlives_moved_lines(self) -> None:
        """What names a mutant does not change when lines above come."""
        text = b"def f():\n    self.a = 1\n"
        keys = {mutant.key for mutant in mutants(Path("a.py"), text)}
        moved = {mutant.key for mutant in mutants(Path("a.py"), b"import b\n\n\n" + text)}
        self.assertEqual(moved, keys)
        self.assertIn(("a.py", "f", "self.a = 1", "pass"), keys)

    def test_choice(self) -> None:
        """A seed gives the same mutants again; each line has one before any has two; none comes twice."""
        found = choice.candidates(targets.TARGETS, ("pbxrouter/errors.py", str(_a_module("agi"))))
        self.assertTrue(found)
        self.assertEqual({mutant.path for _, mutant in found}, {_a_module("agi")})
        lines = {mutant.line for _, mutant in found if mutant.is_valid()}
        first, again = (list(choice.shuffled(list(found), 7)) for _ in range(2))
        other = list(choice.shuffled(list(found), 8))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)
        self.assertEqual({mutant.line for _, mutant in first[: len(lines)]}, lines)
        self.assertEqual(len({mutant.edit for _, mutant in first}), len(first))
        self.assertTrue(all(mutant.is_valid() for _, mutant in first))


def _a_module(target: str) -> Path:
    """A module of middling size."""
    paths = sorted(targets.modules(targets.TARGETS[target]), key=lambda path: (ROOT / path).stat().st_size)
    return paths[len(paths) // 2]


class Exceptions(SynchronousTestCase):
    """Exceptions from testing, each with its reason."""

    def test_targets_are_there(self) -> None:
        """Each part of the core has modules and tests, and no module is of two parts."""
        for name, target in targets.TARGETS.items():
            self.assertTrue(targets.modules(target), name)
            self.assertTrue(targets.tests(target), name)
        paths = [path for target in targets.TARGETS.values() for path in targets.modules(target)]
        self.assertEqual(len(set(paths)), len(paths))

    def test_accepted(self) -> None:
        """Each accepted survivor has a reason, and is still a change that could be made."""
        entries = accepted.read()
        self.assertEqual([key for key, reason in entries.items() if not reason], [])
        files = {key[0] for key in entries}
        there = {
            mutant.key
            for file in files
            if (ROOT / file).exists()
            for mutant in mutants(Path(file), (ROOT / file).read_bytes())
        }
        self.assertEqual(sorted(set(entries) - there), [])

    def test_saved_form(self) -> None:
        """Survivors are saved as entries that are read again, quotes and backslashes included."""
        found = mutants(Path("a.py"), b"x = 'caf\xc3\xa9 \\\\ \"' + a\n")
        path = Path(self.mktemp())
        path.write_text(accepted.written(found), encoding="utf-8")
        self.assertEqual(accepted.read(path), {mutant.key: "" for mutant in found})
        tomllib.loads(path.read_text(encoding="utf-8").replace('reason = ""', 'reason = "equal"'))

    def test_no_cover_has_a_reason(self) -> None:
        """`pragma: no cover` is followed by why, on its line: `# pragma: no cover - only on Windows`."""
        self.assertEqual(_unexplained("a()  # pragma: no cover\n"), [1])
        self.assertEqual(_unexplained("a()  # pragma: no cover -\n"), [1])
        self.assertEqual(_unexplained("a()  # pragma: no cover - the kernel kills us first\n"), [])
        bare = [
            f"{path.relative_to(ROOT)}:{line}"
            for top in ("pbxrouter", "scripts", "examples", "twisted", "bench", "lab")
            for path in sorted((ROOT / top).rglob("*.py"))
            for line in _unexplained(path.read_text(encoding="utf-8"))
        ]
        self.assertEqual(bare, [])


def _unexplained(text: str) -> list[int]:
    """The lines that leave something out of the coverage and do not say why."""
    pragma = re.compile(r"#\s*pragma:\s*no\s*(?:cover|branch)(?P<why>.*)", re.IGNORECASE)
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if (found := pragma.search(line)) and not re.search(r"\w+ \w+", found["why"])
    ]


class Runs(SynchronousTestCase):
    """The command, on a small project of one module and its test."""

    def project(self, module: str, test: str) -> Path:
        """A project with the tool in it."""
        root = Path(self.mktemp()).resolve() / "project"
        shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "scripts" / "mutants.accepted.toml").write_text("", encoding="utf-8")
        for name in ("pbxrouter", "pbxrouter/drivers", "tests", "tests/drivers"):
            (root / name).mkdir()
            (root / name / "__init__.py").touch()
        (root / "pbxrouter/drivers/small.py").write_text(module, encoding="utf-8")
        (root / "tests/drivers/test_small.py").write_text(test, encoding="utf-8")
        return root

    def run_in(self, root: Path, *options: str) -> tuple[int, str]:
        """Run the command; returns the exit status and its output."""
        ended = subprocess.run(
            [sys.executable, "scripts/mutants", "-t", "drivers", "--count", "0", "--seed", "1", *options],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr

    def test_all_killed(self) -> None:
        """Tests that look at each bound kill every mutant; the sources stay as they are."""
        root = self.project(SMALL, STRICT_TEST)
        status, said = self.run_in(root)
        self.assertEqual(status, 0, said)
        count = len([m for m in mutants(Path("a.py"), SMALL.encode()) if m.is_valid()])
        self.assertRegex(said, rf"\ndrivers +{count} +{count} +100\.0 ")
        self.assertEqual((root / "pbxrouter/drivers/small.py").read_text(encoding="utf-8"), SMALL)

    def test_survivors(self) -> None:
        """A change that no test notices is shown and fails; saved, given a reason, it is left out."""
        blind = STRICT_TEST.replace("accepts(3)", "accepts(4)")
        root = self.project(SMALL + "\n\ndef never():\n    return accepts(1)\n", blind)
        status, said = self.run_in(root, "--save", str(root / "saved.toml"))
        self.assertEqual(status, 1, said)
        self.assertIn("small.py:5 in accepts: comparison, survived\n", said)
        self.assertIn("  - return count < LIMIT\n  + return count <= LIMIT\n", said)
        self.assertIn("small.py:9 in never: value, not reached\n", said)
        saved = (root / "saved.toml").read_text(encoding="utf-8")
        status, said = self.run_in(root, "--again", "saved.toml", "--at-least", "0")
        self.assertEqual(status, 0, said)
        self.assertRegex(said, r"\nall +0 +(\d+) +0\.0 ")
        accepted_file = root / "scripts" / "mutants.accepted.toml"
        accepted_file.write_text(saved.replace('reason = ""', 'reason = "so"'), encoding="utf-8")
        status, said = self.run_in(root)
        self.assertEqual(status, 0, said)
        self.assertRegex(said, rf"\nall .* 100\.0  0, {saved.count('[[survivor]]')}, 0\n")

    def test_red_baseline(self) -> None:
        """Nothing is tried while a test fails by itself."""
        status, said = self.run_in(self.project(SMALL, STRICT_TEST.replace("True", "False")))
        self.assertEqual(status, 2, said)
        self.assertIn("tests.drivers.test_small.Limits.test_bounds fails", said)

    def test_no_such_place(self) -> None:
        """A file that is no part of the core is named as a mistake."""
        status, said = self.run_in(self.project(SMALL, STRICT_TEST), "pbxrouter/other.py")
        self.assertEqual(status, 2, said)
        self.assertIn("no mutants there", said)

    def test_ends_what_does_not_end(self) -> None:
        """A mutant that does not end is stopped in its time; the next job finds the original again."""
        root = self.project(SMALL, STRICT_TEST)
        script = (
            "from pathlib import Path\n"
            "from scripts.mutation import worker\n"
            "from scripts.mutation.pool import Job, Pool\n"
            "from scripts.mutation.source import Edit, Mutant, Source\n"
            "worker.preload()\n"
            "data = Path('pbxrouter/drivers/small.py').read_bytes()\n"
            "edit = Edit('loop', 0, 0, 'while True: pass\\n')\n"
            "mutant = Mutant(Source(Path('pbxrouter/drivers/small.py'), data), edit, '', (1, 1), True)\n"
            "Path('../pool').mkdir()\n"
            "job = Job('loop', ('tests.drivers.test_small',), None, 1.5, mutant)\n"
            "whole = Job('whole', ('tests.drivers.test_small',), None, 60.0)\n"
            "for result in Pool(Path.cwd(), Path('../pool').resolve(), 1).run(iter([job, whole])):\n"
            "    print(result.job.name, result.too_long, result.outcome and result.outcome['failed'])\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=120, check=False
        )
        self.assertEqual(ended.stdout, "loop True None\nwhole False \n", ended.stderr)
