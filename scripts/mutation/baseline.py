"""The tests without any mutant: that they pass, how long each takes, which lines each reaches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from .pool import Job, Pool, Result
from .source import Mutant
from .targets import CATALOGUE, Target, mirrors, related

MODULE_TIMEOUT_S: Final = 600.0
_START_S: Final = 15.0
"""Time to import everything, on a loaded machine."""
_TIMES: Final = 10
"""How much longer than without a mutant tests may take."""


class RedBaseline(Exception):
    """A test fails without any mutant."""


class Baseline:
    """Duration and reach of the tests of some test modules."""

    def __init__(self) -> None:
        self._seconds: dict[str, dict[str, float]] = {}
        self._reached: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))

    def learn(self, pool: Pool, modules: Iterable[str]) -> Iterator[str]:
        """Run test modules; yields the name of each as it is done.

        Raises:
            RedBaseline: a test fails, or does not end.
        """
        jobs = (Job(module, (module,), None, MODULE_TIMEOUT_S, cover=True) for module in modules)
        for result in pool.run(jobs):
            self._add(result)
            yield result.job.name

    def _add(self, result: Result) -> None:
        name, outcome = result.job.name, result.outcome
        if outcome is None:
            how = f"takes longer than {MODULE_TIMEOUT_S:.0f} s" if result.too_long else "ends its process"
            raise RedBaseline(f"{name} {how}\n{result.output}")
        if outcome["failed"]:
            raise RedBaseline(f"{outcome['failed']} fails\n{outcome['why']}")
        self._seconds[name] = outcome["seconds"]
        for file, lines in outcome["reached"].items():
            for line, names in lines.items():
                self._reached[file][int(line)].update(names)

    def job(self, mutant: Mutant, target: Target) -> Job | None:
        """The tests that may notice a mutant, the likely ones first; None if none reaches it.

        Likely are those that reach its lines, and among them those of the module's own test module. The others
        that reach its function follow: below a call that throws into a coroutine a tracer may see nothing.
        A test module that was added since the tests without a mutant is left out, since nothing is known of it.
        Sentences are compared with the catalogue of translations last.
        """
        known = related(target, self._seconds)
        own = [name for name in mirrors(mutant.path) if name in known]
        modules = [*own, *(name for name in known if name not in own)]
        exact = self._reaching(mutant.path, mutant.lines)
        if mutant.edit.operator == "sentence" and CATALOGUE in self._seconds:
            modules.append(CATALOGUE)
        if mutant.on_import or "" in exact:
            return self._job(mutant, modules, [{test for name in modules for test in self._seconds[name]}])
        reaching = [exact, self._reaching(mutant.path, mutant.body) - exact]
        if mutant.edit.operator == "sentence":
            reaching.append(set(self._seconds.get(CATALOGUE, ())))
        return self._job(mutant, modules, reaching)

    def _job(self, mutant: Mutant, modules: list[str], reaching: list[set[str]]) -> Job | None:
        """Tests of some modules, those of the first set first."""
        wanted, needed, seconds = [], set(), 0.0
        for chosen in reaching:
            for module in modules:
                found = [test for test in self._seconds[module] if test in chosen]
                found.sort(key=lambda test: self._seconds[module][test] > 1)
                if found:
                    wanted += found
                    needed.add(module)
                    seconds += sum(self._seconds[module][test] for test in found)
        if not wanted:
            return None
        return Job(
            mutant, tuple(name for name in modules if name in needed), wanted, _START_S + _TIMES * seconds, mutant
        )

    def _reaching(self, path: Path, lines: tuple[int, int]) -> set[str]:
        reached = self._reached.get(path.as_posix(), {})
        return set().union(*(reached[line] for line in range(lines[0], lines[1] + 1) if line in reached))
