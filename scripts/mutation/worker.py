"""Runs tests in a forked process, against the copy of the project that the process is given.

The parent has imported what all tests need of other people's (`preload`), and nothing of pbxrouter; so a
process is ready at once, and imports the mutated module itself. Trial stops at the first failure, as with
`trial --exitfirst`.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TextIO, TypedDict

_THIRD_PARTY: Final = (
    "argon2 click.testing hypothesis jinja2 msgspec prometheus_client sqlite3 ssl "
    "twisted.application.internet twisted.application.service twisted.enterprise.adbapi "
    "twisted.internet.endpoints twisted.internet.task twisted.internet.testing twisted.plugin "
    "twisted.protocols.basic twisted.trial.reporter twisted.trial.runner twisted.trial.unittest"
)
_MEMORY: Final = 4 * 1024**3
"""Bytes that a process may have: a mutant may loop and fill a list."""


class Outcome(TypedDict):
    """The outcome of the tests.

    Attributes:
        failed: the first test that failed; "" if all passed.
        why: the end of its traceback.
        seconds: how long each test took.
        reached: the tests that reached each line of each file, if that was asked for; "" if it ran before any.
    """

    failed: str
    why: str
    seconds: dict[str, float]
    reached: dict[str, dict[int, list[str]]]


def preload() -> None:
    """Import what many tests need, so that forked processes have it; no reactor, no pbxrouter."""
    for name in _THIRD_PARTY.split():
        importlib.import_module(name)
    for name in ("twisted.internet.reactor", "pbxrouter"):
        if name in sys.modules:
            raise RuntimeError(f"{name} is imported already, and forked processes would share it")


def run(
    project: Path,
    directory: Path,
    answer: Path,
    modules: Iterable[str],
    wanted: list[str] | None,
    cover: bool,
) -> None:
    """Run test modules and write the outcome; never returns to the caller's program.

    Args:
        project: the copy of the project to import from.
        directory: an empty directory to run in.
        answer: where the outcome goes, as JSON.
        wanted: the tests to run, in this order; None for all.
        cover: whether to learn which test reaches which line.
    """
    _settle(project, directory)
    outcome = _tests(project, modules, wanted, cover)
    answer.with_suffix(".part").write_text(json.dumps(outcome), encoding="utf-8")
    answer.with_suffix(".part").rename(answer)


def _settle(project: Path, directory: Path) -> None:
    os.chdir(directory)
    silence = os.open("output", os.O_RDWR | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(silence, stream)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    # Programs that the tests start import the same copy. What is compiled of a mutant is not kept.
    sys.path.insert(0, str(project))
    os.environ["PYTHONPATH"] = str(project)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ["COVERAGE_CORE"] = "ctrace"
    sys.dont_write_bytecode = True
    random.seed(0)


def _tests(project: Path, modules: Iterable[str], wanted: list[str] | None, cover: bool) -> Outcome:
    from twisted.trial import runner, unittest
    from twisted.trial.reporter import Reporter

    coverage: Any = None
    if cover:
        from coverage import Coverage

        coverage = Coverage(data_file=None, config_file=False, include=[f"{project}/pbxrouter/*"])
        coverage.start()
    outcome = Outcome(failed="", why="", seconds={}, reached={})

    class Recorder(Reporter):
        """Keeps the first failure, and how long each test takes."""

        def startTest(self, method: Any) -> None:
            super().startTest(method)
            if coverage is not None:
                coverage.switch_context(method.id())
            self._began = time.monotonic()

        def stopTest(self, method: Any) -> None:
            super().stopTest(method)
            outcome["seconds"][method.id()] = time.monotonic() - self._began

        def addError(self, test: Any, error: Any) -> None:
            _keep(outcome, test, error)
            super().addError(test, error)

        def addFailure(self, test: Any, fail: Any) -> None:
            _keep(outcome, test, fail)
            super().addFailure(test, fail)

    def reporter(*arguments: Any) -> Reporter:
        return Recorder(*arguments)

    loader = runner.TestLoader()
    cases = [case for module in modules for case in _cases(loader.loadByName(module))]
    if wanted is not None:
        place = {name: index for index, name in enumerate(wanted)}
        # A test that cannot be loaded is there under another name, and fails.
        cases = [case for case in cases if case.id() in place or isinstance(case, runner.ErrorHolder)]
        cases.sort(key=lambda case: place.get(case.id(), -1))
    stream: TextIO = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    trial = runner.TrialRunner(reporter, stream=stream, exitFirst=not cover, workingDirectory="trial")
    trial.run(unittest.TestSuite(cases))
    if coverage is not None:
        coverage.stop()
        outcome["reached"] = _reached(project, coverage.get_data())
    return outcome


def _cases(suite: Any) -> Iterator[Any]:
    """The tests of a suite, one by one."""
    try:
        inner = iter(suite)
    except TypeError:
        yield suite
        return
    for part in inner:
        yield from _cases(part)


def _keep(outcome: Outcome, test: Any, fault: Any) -> None:
    if outcome["failed"]:
        return
    outcome["failed"] = test.id()
    text = fault.getTraceback() if hasattr(fault, "getTraceback") else str(fault[1])
    outcome["why"] = text[-2000:]


def _reached(project: Path, data: Any) -> dict[str, dict[int, list[str]]]:
    reached = {}
    for file in data.measured_files():
        name = str(Path(file).relative_to(project))
        reached[name] = dict(data.contexts_by_lineno(file))
    return reached
