"""What the process writes that makes CSV of the history; tests.web.test_csv_export starts it from the console."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.config import Zone
from pbxrouter.database.calls import CallsCsv, CsvOrder, Search, add_calls, csv_process, find_calls
from pbxrouter.database.calls.csv_process import AT_ONCE, CSV_PROGRAM, FAILED, read_order, write_calls
from pbxrouter.errors import ConfigError, DatabaseMissing
from tests.database.calls.test_history import row
from tests.database.postgresql import OnBothEngines


class System:
    """The module ``os``, which notes what it is asked for.

    Args:
        refused: the one thing that the system does not allow.
    """

    SCHED_BATCH, sched_param = os.SCHED_BATCH, os.sched_param

    def __init__(self, done: list[tuple[Any, ...]], refused: str = "") -> None:
        self._done = done
        self._refused = refused

    def __getattr__(self, name: str) -> Callable[..., None]:
        def ask(*values: Any) -> None:
            self._done.append((name, *values))
            if name == self._refused:
                raise PermissionError(name)

        return ask


class NoReader(io.BytesIO):
    """An output whose reader has gone."""

    def flush(self) -> None:
        """Refuse to write."""
        raise BrokenPipeError


class CsvProcessTests(OnBothEngines):
    """write_calls on a database."""

    def test_order(self) -> None:
        """An order comes back as it was."""
        order = CsvOrder("/a b/ñ.sqlite", Search("3*", since=1.5, forwarded_by="'\udcff"), 7, "Europe/Madrid", True)
        self.assertEqual(read_order(order.packed()), order)

    def test_all_that_are_wanted(self) -> None:
        """All calls of the search up to the limit, as the history command has them; without calls the heading."""
        place = self.new_place()
        csv = CallsCsv(Zone("Asia/Tokyo"), bom=True)
        connection = self.open(place)
        add_calls(connection, (row(float(second), str(second % 2)) for second in range(2 * AT_ONCE + 5)))
        for search, limit in (
            (Search(), 10**6),
            (Search(caller="1"), 10**6),
            (Search(), AT_ONCE),
            (Search(), AT_ONCE + 1),
            (Search(caller="9"), 10**6),
        ):
            output = io.BytesIO()
            write_calls(CsvOrder.of(place, search, limit, "Asia/Tokyo", True), output)
            lines = csv.heading() + csv.lines(find_calls(connection, search, limit))
            self.assertEqual(output.getvalue().decode(), lines, (search, limit))

    def test_what_cannot_be_read(self) -> None:
        """It fails before a line is written."""
        output = io.BytesIO()
        order = CsvOrder(str(Path(self.mktemp()).absolute()), Search(), 1)
        self.assertRaises(DatabaseMissing, write_calls, order, output)
        self.assertRaises(ConfigError, write_calls, CsvOrder(order.database, Search(), 1, "Mars/Base"), output)
        self.assertEqual(output.getvalue(), b"")


class ProgramTests(SynchronousTestCase):
    """The program that the console starts."""

    def run_program(self, order: CsvOrder) -> subprocess.CompletedProcess[bytes]:
        """Run the program by its file's name, as the console does."""
        return subprocess.run([sys.executable, CSV_PROGRAM], input=order.packed(), capture_output=True, check=False)

    def test_program(self) -> None:
        """The program writes what standard input orders, with status 0; else it says why, with another status."""
        path = Path(self.mktemp()).absolute()
        database.create(path)
        with closing(database.connect(path)) as connection:
            add_calls(connection, [row(5.0)])
        done = self.run_program(CsvOrder(str(path), Search(), 10))
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        csv = CallsCsv(Zone(""))
        self.assertEqual(done.stdout.decode(), csv.heading() + "".join(csv.lines([row(5.0)])))
        path.unlink()
        done = self.run_program(CsvOrder(str(path), Search(), 10))
        self.assertEqual((done.returncode, done.stdout), (FAILED, b""))
        (line,) = done.stderr.decode().splitlines()
        self.assertTrue(line.startswith("DatabaseMissing: "), line)

    def test_gives_way(self) -> None:
        """The process lets the gateway come first in all that the system offers, also where it allows only some."""
        done: list[tuple[Any, ...]] = []
        asked = [("setsid",), ("sched_setscheduler", 0, os.SCHED_BATCH, os.sched_param(0)), ("nice", 10)]
        score = Path(self.mktemp())
        score.touch()
        opened: list[str] = []

        def open_other(path: str, mode: str, encoding: str) -> IO[str]:
            opened.append(path)
            return cast(IO[str], score.open(mode, encoding=encoding))

        csv_process.open = open_other  # type: ignore[attr-defined]
        self.addCleanup(delattr, csv_process, "open")
        for refused in ("", "setsid", "sched_setscheduler", "nice"):
            score.write_text("0")
            self.patch(csv_process, "os", System(done, refused))
            csv_process.give_way()
            self.assertEqual((done, score.read_text()), (asked, "500"), refused)
            done.clear()
        self.assertEqual(opened, ["/proc/self/oom_score_adj"] * 4)

    def ordered(self, order: CsvOrder, output: io.BytesIO) -> tuple[int, str, list[tuple[Any, ...]]]:
        """Run main in this process; returns its status, what it says, and what it asks the system for."""
        done: list[tuple[Any, ...]] = []
        told = io.StringIO()
        self.patch(csv_process, "os", System(done))
        self.patch(csv_process, "give_way", lambda: done.append(("give_way",)))
        self.patch(csv_process, "gc", SimpleNamespace(disable=lambda: done.append(("gc.disable",))))
        streams = SimpleNamespace(
            stdin=SimpleNamespace(buffer=io.BytesIO(order.packed())),
            stdout=SimpleNamespace(buffer=output),
            stderr=told,
        )
        self.patch(csv_process, "sys", streams)
        return csv_process.main(), told.getvalue(), done

    def test_main(self) -> None:
        """It gives way, hides what it may write, and ends at once without a reader; an error is one line."""
        path = Path(self.mktemp()).absolute()
        database.create(path)
        order, begun = CsvOrder(str(path), Search(), 10), [("give_way",), ("umask", 0o077), ("gc.disable",)]
        output = io.BytesIO()
        self.assertEqual(self.ordered(order, output), (0, "", begun))
        self.assertEqual(output.getvalue().decode(), CallsCsv(Zone("")).heading())
        self.assertEqual(self.ordered(order, NoReader())[2], [*begun, ("_exit", FAILED)])
        order = CsvOrder(f"{path}\nx", Search(), 10)
        status, told, done = self.ordered(order, output)
        self.assertEqual((status, done), (FAILED, begun))
        self.assertRegex(told, r"\ADatabaseMissing: .*x.*\n\Z")
