"""The process beside the gateway that writes the history as CSV.

Making a million lines takes 20 seconds of a processor, of which the gateway's calls must not notice anything: in a
thread of the gateway it would hold Python's lock. The process is started by the file's name; what it writes is on its
standard input, as JSON, since the list of processes must not show which numbers were searched for. The lines go to its
standard output as fast as they are read there. Its exit status is 0 only if all of them are written; otherwise one line
on its standard error says why.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pbxrouter.config import Place
    from pbxrouter.database.calls import Search

CSV_PROGRAM = __file__
"""The file by which the process is started."""
NICE = 10
"""By how much it gives way to the gateway, and to Asterisk."""
AT_ONCE = 500
"""Calls that are written at once."""
FAILED = 2
"""The exit status if the calls cannot be read."""


@dataclass(frozen=True, slots=True)
class CsvOrder:
    """What is to be written.

    Attributes:
        database: the file, or the URL of PostgreSQL.
        search: which calls.
        limit: how many of them, at most.
        zone: the name of the time zone of the times; ``""`` is the system's.
        bom: whether a byte order mark comes first.
        password_file: the file with the password; ``""`` if there is none.
    """

    database: str
    search: Search
    limit: int
    zone: str = ""
    bom: bool = False
    password_file: str = ""

    @classmethod
    def of(cls, place: Place, search: Search, limit: int, zone: str, bom: bool) -> CsvOrder:
        """An order for a database of either engine."""
        from pbxrouter.config import PostgreSQLPlace

        if isinstance(place, PostgreSQLPlace):
            return cls(place.url, search, limit, zone, bom, str(place.password_file or ""))
        return cls(str(place), search, limit, zone, bom)

    def packed(self) -> bytes:
        """The order for the standard input of the process."""
        return json.dumps(asdict(self)).encode("ascii")


def read_order(packed: bytes) -> CsvOrder:
    """Read an order as ``CsvOrder.packed`` makes it."""
    from pbxrouter.database.calls import Search

    values = json.loads(packed)
    return CsvOrder(**{**values, "search": Search(**values["search"])})


def write_calls(order: CsvOrder, output: IO[bytes]) -> None:
    """Write all lines.

    Raises:
        StoreError: the database cannot be read.
        ConfigError: there is no such time zone.
        OSError: the output cannot be written.
    """
    from pbxrouter.config import Zone, place_at
    from pbxrouter.database.calls import CallsCsv, find_calls
    from pbxrouter.database.connection import connect_read_only

    csv = CallsCsv(Zone(order.zone), order.bom)
    with contextlib.closing(connect_read_only(place_at(order.database, Path(), order.password_file))) as connection:
        rows = find_calls(connection, order.search, order.limit)
        text = csv.heading()
        while text:
            output.write(text.encode())
            output.flush()
            text = csv.lines(itertools.islice(rows, AT_ONCE))


def give_way() -> None:  # pragma: no cover - in a process of its own, without the packages that measure
    """Let the gateway and Asterisk come first, as far as the system allows it."""
    with contextlib.suppress(OSError):
        os.setsid()  # a stop from the gateway's terminal is not for this process
    with contextlib.suppress(OSError, AttributeError):  # not everywhere
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # also where the gateway has real-time priority
    with contextlib.suppress(OSError):
        os.nice(NICE)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")  # if there is too little memory for all, this process goes


def main() -> int:  # pragma: no cover - in a process of its own, without the packages that measure
    """Write what standard input orders; returns the exit status."""
    give_way()
    os.umask(0o077)
    gc.disable()  # nothing here refers to itself
    try:
        write_calls(read_order(sys.stdin.buffer.read()), sys.stdout.buffer)
    except BrokenPipeError:  # the reader has gone
        os._exit(FAILED)
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {error}".replace("\n", " ") + "\n")
        return FAILED
    return 0


if __name__ == "__main__":  # pragma: no cover - in a process of its own, without the packages that measure
    sys.path.append(str(Path(__file__).absolute().parents[3]))  # the gateway's own pbxrouter, wherever it is
    sys.exit(main())
