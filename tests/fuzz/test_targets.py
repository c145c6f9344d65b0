"""Each parser takes the corpus, and the fuzzer finds what it is for."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.command import main
from tests.fuzz.corpus import CORPUS, inputs, keep
from tests.fuzz.fuzzer import SLOW_S, fuzz, problem, shortened
from tests.fuzz.mutation import MAX_INPUT, mutated
from tests.fuzz.targets import TARGETS, Target


def _rounds(count: int) -> Callable[[], bool]:
    """Goes on so many times."""
    left = iter(range(count))
    return lambda: next(left, None) is not None


class CorpusTests(SynchronousTestCase):
    """The corpus in the tree."""

    def test_replayed(self) -> None:
        """Every input of the corpus is parsed or refused as documented."""
        for name, target in TARGETS.items():
            for data in inputs(name):
                self.assertIs(problem(target, data, lambda: 0.0), None, f"{name}: {data!r}")

    def test_each_target_has_inputs(self) -> None:
        """Each target has a folder of its own with inputs, and there is no other folder."""
        self.assertEqual({path.name for path in CORPUS.iterdir()}, set(TARGETS))
        self.assertEqual([name for name in TARGETS if not inputs(name)], [])

    def test_kept(self) -> None:
        """An input that is kept is among those of its target."""
        with tempfile.TemporaryDirectory() as folder:
            path = keep(Path(folder), "hours", b"\xff", "found")
            self.assertEqual((path.parent.name, path.name[:6], path.read_bytes()), ("hours", "found-", b"\xff"))
            self.assertEqual(inputs("hours", Path(folder)), [*inputs("hours"), b"\xff"])


class FuzzerTests(SynchronousTestCase):
    """Mutation, guidance and findings."""

    def test_mutation(self) -> None:
        """A seed always makes the same inputs; they differ, and none is too long."""
        corpus = [b"Event: Hangup\r\n\r\n", b"x" * MAX_INPUT]
        first, second = ([mutated(Random(seed), corpus, [b"Event: "]) for seed in range(500)] for _ in range(2))
        self.assertEqual(first, second)
        self.assertGreater(len(set(first)), 400)
        self.assertLessEqual(max(map(len, first)), MAX_INPUT)

    def test_found_and_shortened(self) -> None:
        """A parser that fails on one byte is found out, and the input is cut down to that byte."""

        def run(data: bytes) -> None:
            if b"\xff" in data:
                raise ValueError("no such byte")

        outcome = fuzz(Target(run, ()), [b"200 result=1 (value)\n"], _rounds(100), 1)
        assert outcome.finding is not None
        self.assertEqual(outcome.finding.data, b"\xff")
        self.assertIn("ValueError: no such byte", outcome.finding.why)

    def test_guided(self) -> None:
        """Inputs that take new steps through the package are kept and built on."""
        outcome = fuzz(TARGETS["hours"], [b"mon 9-18"], _rounds(20), 1)
        self.assertIs(outcome.finding, None)
        self.assertEqual(outcome.tried, 1 + 20 * 64)
        self.assertGreater(len(outcome.new), 5)
        self.assertEqual(len(set(outcome.new)), len(outcome.new))
        again = fuzz(TARGETS["hours"], [b"mon 9-18", *outcome.new], _rounds(0), 1)
        self.assertEqual((again.tried, again.new), (1 + len(outcome.new), []))
        self.assertGreaterEqual(outcome.steps, again.steps)

    def test_corpus_first(self) -> None:
        """A known input that fails ends the fuzzing before any change is tried."""

        def run(data: bytes) -> None:
            assert data != b"known"

        outcome = fuzz(Target(run, ()), [b"a", b"known", b"b"], _rounds(9), 1)
        assert outcome.finding is not None
        self.assertEqual((outcome.finding.data, outcome.new), (b"known", []))

    def test_slow(self) -> None:
        """An input that takes more processor time than the bound is a finding."""
        target = Target(lambda data: None, ())
        for took, expected in ((SLOW_S / 2, None), (2 * SLOW_S, "slow")):
            found = problem(target, b"", iter((1.0, 1.0 + took)).__next__)
            self.assertEqual(found and found[0], expected)

    def test_same_problem(self) -> None:
        """Shortening does not trade one problem for another."""

        def run(data: bytes) -> None:
            if len(data) < 4:
                raise KeyError("short")
            if b"a" in data:
                raise ValueError("a")

        found = problem(Target(run, ()), b"xxxxaxxxx")
        assert found is not None
        self.assertEqual(len(shortened(Target(run, ()), b"xxxxaxxxx", found[0])), 4)


class CommandTests(SynchronousTestCase):
    """The command ``scripts/fuzz``."""

    def test_one_target(self) -> None:
        """It tells what it tried, and that nothing was found."""
        with contextlib.redirect_stdout(io.StringIO()) as said:
            self.assertEqual(main(["--seconds", "0", "--jobs", "1", "--seed", "7", "control"]), 0)
        lines = said.getvalue().splitlines()
        self.assertEqual(lines[0], "fuzz: 1 targets, 0 s each, seed 7")
        self.assertRegex(lines[1], r"^control: [0-9]+ inputs, [0-9]+ steps, [0-9]+ new$")
        self.assertEqual(lines[2], "fuzz: nothing found")

    def test_number_of_inputs(self) -> None:
        """A number of inputs instead of seconds, and the same ones each time."""
        said = []
        for _ in range(2):
            with contextlib.redirect_stdout(io.StringIO()) as told:
                self.assertEqual(main(["--inputs", "100", "--jobs", "1", "--seed", "7", "control"]), 0)
            said.append(told.getvalue().splitlines())
        self.assertEqual(said[0], said[1])
        self.assertEqual(said[0][0], "fuzz: 1 targets, 100 inputs each, seed 7")
        self.assertEqual(said[0][1].split()[1], str(len(inputs("control")) + 128))

    def test_refused(self) -> None:
        """What is not accepted is named, with what is."""
        for arguments, why in (
            (["sip"], "accepted are agi-opening, agi-reply"),
            (["--jobs", "0"], "--jobs from 1"),
            (["--inputs", "-1"], "--inputs from 0"),
        ):
            with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit):
                main(arguments)
            self.assertIn(why, said.getvalue())
