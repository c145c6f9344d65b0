"""Runs jobs in several processes, each with its own copy of the project and a time-out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from . import worker
from .source import Mutant

_IGNORED: Final = (
    "venv",
    ".venv",
    ".git",
    "build",
    "dist",
    "_trial_temp*",
    ".hypothesis",
    ".mypy_cache",
    ".ruff_cache",
)
_LOOK_EVERY_S: Final = 0.01


@dataclass(frozen=True)
class Job:
    """Tests to run, against a mutant if there is one.

    Attributes:
        name: whose job it is, to be known by.
        wanted: the tests, in their order; None for all of the modules.
        timeout_s: how long they may take.
    """

    name: Any
    modules: tuple[str, ...]
    wanted: list[str] | None
    timeout_s: float
    mutant: Mutant | None = None
    cover: bool = False


@dataclass(frozen=True)
class Result:
    """The result of a job; without an outcome if it took too long or its process died."""

    job: Job
    outcome: worker.Outcome | None
    too_long: bool
    output: str


@dataclass
class _Slot:
    """A copy of the project, and the process that works there now."""

    directory: Path
    job: Job | None = None
    process: int = 0
    began: float = 0.0
    kept: tuple[Path, bytes, int] | None = field(default=None)

    @property
    def project(self) -> Path:
        return self.directory / "p"

    @property
    def answer(self) -> Path:
        return self.directory / "answer"


class Pool:
    """Runs jobs in forked processes.

    Args:
        root: the project; it is copied once for each process, and never written to.
        directory: where the copies go; short, for sockets are made below it.
    """

    def __init__(self, root: Path, directory: Path, processes: int) -> None:
        self._slots = [_Slot(directory / str(index)) for index in range(processes)]
        for slot in self._slots:
            slot.directory.mkdir()
            shutil.copytree(root, slot.project, ignore=shutil.ignore_patterns(*_IGNORED), symlinks=True)

    def run(self, jobs: Iterator[Job]) -> Iterator[Result]:
        """The results, as they come; takes a job when a process is free."""
        more = True
        try:
            while True:
                for slot in self._slots:
                    if slot.job is None and more:
                        job = next(jobs, None)
                        more = job is not None
                        if job is not None:
                            self._begin(slot, job)
                busy = [slot for slot in self._slots if slot.job is not None]
                if not busy:
                    return
                results = [result for slot in busy if (result := self._look(slot)) is not None]
                yield from results
                if not results:
                    time.sleep(_LOOK_EVERY_S)
        finally:
            for slot in self._slots:
                if slot.job is not None:
                    self._end(slot)

    def _begin(self, slot: _Slot, job: Job) -> None:
        work = slot.directory / "w"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        slot.answer.unlink(missing_ok=True)
        if job.mutant is not None:
            path = slot.project / job.mutant.path
            modified = path.stat().st_mtime_ns
            slot.kept = (path, path.read_bytes(), modified)
            path.write_bytes(job.mutant.data)
            # The compiled files of the original have another time, so that they are not used.
            os.utime(path, ns=(modified, modified + 10**12))
        slot.job, slot.began = job, time.monotonic()
        slot.process = os.fork()
        if slot.process == 0:
            _work(slot, job, work)
        with suppress(OSError):
            os.setpgid(slot.process, slot.process)

    def _look(self, slot: _Slot) -> Result | None:
        assert slot.job is not None
        done, _status = os.waitpid(slot.process, os.WNOHANG)
        too_long = not done and time.monotonic() - slot.began > slot.job.timeout_s
        if not done and not too_long:
            return None
        job = slot.job
        self._end(slot, reap=not done)
        outcome = json.loads(slot.answer.read_text(encoding="utf-8")) if done and slot.answer.exists() else None
        output = slot.directory / "w" / "output"
        said = output.read_text(encoding="utf-8", errors="replace")[-2000:] if output.exists() else ""
        return Result(job, outcome, too_long, said)

    def _end(self, slot: _Slot, *, reap: bool = True) -> None:
        """End the process and all that it started, and put the original back."""
        with suppress(ProcessLookupError):
            os.killpg(slot.process, signal.SIGKILL)
        if reap:
            os.waitpid(slot.process, 0)
        if slot.kept is not None:
            path, data, modified = slot.kept
            path.write_bytes(data)
            os.utime(path, ns=(modified, modified))
        slot.job, slot.kept = None, None


def _work(slot: _Slot, job: Job, work: Path) -> None:
    """Work in the forked process; always ends the process, which must not continue as its parent."""
    status = 1
    try:
        with suppress(OSError):
            os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        worker.run(slot.project, work, slot.answer, job.modules, job.wanted, job.cover)
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)
