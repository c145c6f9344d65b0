"""PostgreSQL for tests: a private cluster for each process of tests, and a fresh database for each test.

The cluster is made with initdb in a temporary folder, listens on a Unix socket alone, and does not wait for the disk.
Its databases are copies of one that ``create`` has made, which takes a few milliseconds.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import glob
import itertools
import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.database import Connection, Place, PostgreSQLPlace
from tests import needs
from tests.databases import new_database

if TYPE_CHECKING:
    from pbxrouter.database.engine.postgresql import PostgreSQLConnection

_SETTINGS: Final = (
    "listen_addresses=",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    "max_connections=50",
    "autovacuum=off",
    "log_min_messages=fatal",
)
_DROP_CHECKS: Final = """DO $$
DECLARE
    checked record;
BEGIN
    FOR checked IN SELECT conrelid::regclass AS name, conname FROM pg_constraint
        WHERE contype IN ('c', 'f') AND connamespace = 'public'::regnamespace
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', checked.name, checked.conname);
    END LOOP;
END $$"""
TEMPLATE: Final = "pbxrouter_new"
"""The database that those of tests are copied from."""


class Cluster:
    """A running PostgreSQL.

    Attributes:
        folder: where it is; its socket, too.
    """

    def __init__(self, programs: Path, method: str = "trust", password: str = "") -> None:
        self._programs = programs
        self._password = password
        self._user = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="pbxrouter-pg-", dir=_memory()))
        self._numbers = itertools.count(1)
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self.folder.chmod(0o755)  # the tests' user connects to the socket
        self._data = self.folder / "data"
        self._warden = self._watched()
        arguments = ["-U", "pbxrouter", "-A", method, "-E", "UTF8", "--no-sync", "--locale=C.UTF-8"]
        if password:
            file = self.folder / "password"
            file.write_text(password)
            arguments.append(f"--pwfile={file}")
        self._program("initdb", "-D", self._data, *arguments)
        self.start()
        self.execute("postgres", f"CREATE DATABASE {TEMPLATE}")
        with self._its_password():
            database.create(self.place(TEMPLATE))

    @contextlib.contextmanager
    def _its_password(self) -> Iterator[None]:
        """Let libpq find the password, as in an owner's environment."""
        if self._password:
            os.environ["PGPASSWORD"] = self._password
        try:
            yield
        finally:
            os.environ.pop("PGPASSWORD", None)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = " ".join(f"-c {setting}" for setting in (*_SETTINGS, f"unix_socket_directories={self.folder}"))
        self._program("pg_ctl", "start", "-w", "-s", "-D", self._data, "-l", self.folder / "log", "-o", settings)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: ``immediate`` as by kill -9, ``fast`` after an end of all transactions."""
        self._program("pg_ctl", "stop", "-w", "-s", "-m", mode, "-D", self._data)

    def remove(self) -> None:
        """Stop it and delete its folder."""
        self._warden.communicate(timeout=120)

    def _watched(self) -> subprocess.Popen[bytes]:
        """A process that removes the cluster at the end of its standard input: also if this process is killed."""
        script = 'read -r _; "$1" stop -s -m immediate -D "$2/data"; rm -rf -- "$2"'
        command = ["sh", "-c", script, "sh", str(self._programs / "pg_ctl"), str(self.folder)]
        return subprocess.Popen(
            self._as_user(command),
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def place(self, name: str, user: str = "pbxrouter") -> PostgreSQLPlace:
        """A database of the cluster."""
        url = f"postgresql://{user}@/{name}?host={quote(str(self.folder), safe='/')}"
        return PostgreSQLPlace(url, Path(tempfile.gettempdir()) / f"{self.folder.name}-{name}")

    def new_database(self, empty: bool = False) -> PostgreSQLPlace:
        """Make a database: one as ``create`` leaves it, or one without tables."""
        name = f"test_{next(self._numbers)}"
        self.execute(
            "postgres", f"CREATE DATABASE {name} TEMPLATE {'template0' if empty else TEMPLATE} STRATEGY file_copy"
        )
        return self.place(name)

    def drop(self, place: PostgreSQLPlace) -> None:
        """Delete a database, and the connections to it."""
        self.execute("postgres", f"DROP DATABASE IF EXISTS {self.name_of(place)} WITH (FORCE)")

    @staticmethod
    def name_of(place: PostgreSQLPlace) -> str:
        """The name of a database."""
        return f"test_{place.url.rpartition('/test_')[2].partition('?')[0]}"

    def execute(self, name: str, sql: str) -> None:
        """Run a statement in a database, outside of a transaction."""
        import psycopg

        with psycopg.connect(self.place(name).url, autocommit=True, password=self._password or None) as connection:
            connection.execute(sql.encode())

    def _program(self, name: str, *arguments: Any) -> None:
        subprocess.run(
            self._as_user([str(self._programs / name), *map(str, arguments)]),
            check=True,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )

    def _as_user(self, command: list[str]) -> list[str]:
        """The command by which a command is run as the user that PostgreSQL runs as."""
        if not self._user:
            return command
        return ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--init-groups", *command]


def _unprivileged() -> str:
    """The user that PostgreSQL runs as, which cannot be root; ``""`` for the tests' own."""
    if os.geteuid() != 0:
        return ""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    needs.missing("PostgreSQL does not run as root, and there is neither a user postgres nor nobody here")


def _programs() -> Path:
    """The folder with initdb and pg_ctl."""
    here = [Path(path).parent for path in sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=_version)]
    found = shutil.which("initdb")
    if found:
        here.append(Path(found).resolve().parent)
    if not here:
        needs.missing("PostgreSQL is not installed here: scripts/setup-postgresql")
    return here[-1]


def _version(path: str) -> int:
    version = Path(path).parent.parent.name
    return int(version) if version.isdigit() else 0


@functools.cache
def cluster() -> Cluster:
    """The cluster of this process of tests; skips the test where there is no PostgreSQL or no psycopg."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        needs.missing("psycopg is not installed here")
    made = Cluster(_programs())
    atexit.register(made.remove)
    return made


def own_cluster(method: str = "trust", password: str = "") -> Cluster:
    """A cluster that a test may stop; the test removes it. Skips the test where there is no PostgreSQL.

    Args:
        method: how users are let in, as pg_hba.conf names it.
        password: of its user.
    """
    cluster()
    return Cluster(_programs(), method, password)


class OnBothEngines(SynchronousTestCase):
    """The base of tests that run on SQLite and on PostgreSQL: ``class RuleTests(OnBothEngines)``.

    Each class with tests gets a second one beside it, with ``PostgreSQL`` behind its name. A test asks for an open
    database with ``self.database()``, or for the place of one with ``self.new_place()``.
    """

    engine: ClassVar[str] = "SQLite"

    def __init_subclass__(cls, **named: Any) -> None:
        """Make the class for PostgreSQL."""
        super().__init_subclass__(**named)
        if cls.engine != "SQLite" or "engine" in cls.__dict__:
            return
        import sys

        other = type(f"{cls.__name__}PostgreSQL", (cls,), {"engine": "PostgreSQL", "__module__": cls.__module__})
        other.__qualname__ = other.__name__
        vars(sys.modules[cls.__module__])[other.__name__] = other

    @property
    def is_sqlite(self) -> bool:
        """Whether the test runs on SQLite."""
        return self.engine == "SQLite"

    def new_place(self) -> Place:
        """A new database, with tables and without rows; it goes with the test."""
        if self.is_sqlite:
            path = Path(self.mktemp())
            new_database(path)
            return path
        return self.server_database()

    def server_database(self, empty: bool = False) -> PostgreSQLPlace:
        """A new database of PostgreSQL, if asked without tables; it goes with the test."""
        server = cluster()
        place = server.new_database(empty)
        self.addCleanup(server.drop, place)
        return place

    def open(self, place: Place, **named: Any) -> Connection:
        """A connection that is closed with the test."""
        connection = database.connect(place, **named)
        self.addCleanup(connection.close)
        return connection

    def database(self) -> Connection:
        """A connection to a new database."""
        return self.open(self.new_place())


def change_by_hand(connection: Connection, script: str) -> None:
    """Run statements with references unchecked, as another program may."""
    if isinstance(connection, sqlite3.Connection):
        connection.executescript(f"PRAGMA foreign_keys = OFF; {script}; PRAGMA foreign_keys = ON")
    else:
        cast("PostgreSQLConnection", connection).run_script(
            f"SET session_replication_role = replica; {script}; SET session_replication_role = DEFAULT"
        )


def uncheck(connection: Connection) -> None:
    """Let a connection, on PostgreSQL all of them, write what the constraints of tables refuse."""
    if isinstance(connection, sqlite3.Connection):
        connection.executescript("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF")
    else:
        cast("PostgreSQLConnection", connection).run_script(_DROP_CHECKS)


def listen(connection: Connection, heard: Callable[[str], object] | None) -> None:
    """Have ``heard`` called with the text of each statement before it is run; None ends that."""
    if isinstance(connection, sqlite3.Connection):
        connection.set_trace_callback(heard)
        return
    for name in ("execute", "run_script"):
        method = getattr(type(connection), name)

        def run(sql: str, *values: Any, method: Any = method) -> Any:
            if heard is not None:
                heard(sql)
            return method(connection, sql, *values)

        vars(connection)[name] = run


def option_of(place: Place) -> str:
    """A place as the settings, or a command line, name it."""
    return place.url if isinstance(place, PostgreSQLPlace) else str(place.absolute())


def dump(connection: Connection) -> dict[str, list[Any]]:
    """All rows of all tables, by table, in order."""
    if isinstance(connection, sqlite3.Connection):
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    else:
        query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    return {
        name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}").fetchall()))
        for (name,) in connection.execute(query).fetchall()
    }


def _memory() -> str | None:
    """A folder in memory if there is one, for speed."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None
