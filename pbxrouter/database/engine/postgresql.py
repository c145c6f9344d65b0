"""A connection to PostgreSQL by psycopg 3, with the face of ``engine.protocol.Connection``.

What it adds to psycopg: places of values as SQLite writes them, a transaction that opens by itself at the first change,
errors without values of rows in them, and an end to every wait for the server.
"""

from __future__ import annotations

import contextlib
import logging
import re
import select
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Final, NoReturn, TypeVar

import psycopg
from psycopg import postgres
from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumperUnknown

from pbxrouter.config import PostgreSQLPlace
from pbxrouter.database.engine.errors import ConstraintViolated, EngineError
from pbxrouter.database.engine.places import translated
from pbxrouter.database.engine.protocol import Values
from pbxrouter.errors import StoreError
from pbxrouter.text import Sentence, file_text, sentence

# It writes rows that a constraint refuses into its log, with all their values.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)

CONNECT_S: Final = 3
"""Seconds until an attempt to connect is given up, for each address of the server."""
ANSWER_S: Final = 35.0
"""Seconds until a statement without an answer is given up, and the connection with it."""
STATEMENT_S: Final = 30.0
"""Seconds after which the server ends a statement."""
LONG_S: Final = 86_400.0
"""How long an upgrade waits for an answer, in seconds: a large table may be written anew."""
IDLE_S: Final = 10
"""Seconds after which the server ends a transaction in which nothing is asked, as of a gateway that is frozen: it would
keep all others from writing."""

_NETWORK: Final[dict[str, Any]] = {
    "connect_timeout": CONNECT_S,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "pbxrouter",
    "client_encoding": "UTF8",
    "target_session_attrs": "read-write",
    # The default may try Kerberos first, which takes time where there is none.
    "gssencmode": "disable",
}
"""What a connection is made with where the URL does not say otherwise."""

LOCK_CLASS: Final = 0x70627872
"""The first key of the advisory locks of this program ("pbxr"); the second names the schema."""
_LOCK: Final = f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, hashtext(current_schema()))"

_STALE: Final = frozenset({"0A000", "26000"})
"""Codes for a prepared statement whose result has other columns since an upgrade, or that is not there."""
_COLUMNS: Final = re.compile(r"\(([^=]+)\)=\(")
_WORDS: Final = re.compile(r"[a-z_]\w*")

R = TypeVar("R")


class _Psycopg(psycopg.Connection[tuple[Any, ...]]):
    """psycopg's connection; a statement that the server does not answer ends with OperationalError."""

    answer_s = ANSWER_S

    def wait(self, gen: Any, *args: Any, **named: Any) -> Any:
        """Wait for the server, but not longer than ``answer_s``."""
        return super().wait(_until(gen, self.answer_s, self._give_up), *args, **named)

    def _give_up(self) -> NoReturn:
        self.pgconn.finish()  # it may still be answered, and that would be taken for the answer to the next one
        raise psycopg.OperationalError(f"the server has not answered for {self.answer_s:g} s")


def _until(gen: Generator[Any, Any, R], patience_s: float, give_up: Callable[[], NoReturn]) -> Generator[Any, Any, R]:
    """psycopg's generator, which is resumed ten times a second while it waits, until nothing has come for so long."""
    deadline = time.monotonic() + patience_s
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                deadline = time.monotonic() + patience_s
            elif time.monotonic() > deadline:
                gen.close()
                give_up()
            wanted = gen.send(ready)
    except StopIteration as done:
        result: R = done.value
        return result


class PostgreSQLCursor(psycopg.Cursor[tuple[Any, ...]]):
    """psycopg's cursor; after a statement without rows there are none to fetch, as with sqlite3."""

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row; None if there is none."""
        return super().fetchone() if self.description else None

    def fetchmany(self, size: int = 0) -> list[tuple[Any, ...]]:
        """The next rows, at most ``size``."""
        return super().fetchmany(size) if self.description else []

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All further rows."""
        return super().fetchall() if self.description else []


class PostgreSQLConnection:
    """An open connection to a PostgreSQL database.

    Attributes:
        place: where the database is.
        total_changes: how many rows this connection has changed.
    """

    def __init__(self, raw: _Psycopg, place: PostgreSQLPlace) -> None:
        self._raw: Final = raw
        self.place: Final = place
        self.total_changes = 0
        self._is_stale = False

    @property
    def raw(self) -> psycopg.Connection[tuple[Any, ...]]:
        """psycopg's connection."""
        return self._raw

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._raw.info.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN)

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended, or what it has prepared does not fit the tables any more."""
        return self._raw.closed or self._is_stale

    @property
    def pid(self) -> int:
        """The server's process for this connection, which names it in notifications."""
        return self._raw.info.backend_pid

    @property
    def answer_s(self) -> float:
        """How long an answer of the server is waited for, in seconds."""
        return self._raw.answer_s

    @answer_s.setter
    def answer_s(self, seconds: float) -> None:
        self._raw.answer_s = seconds

    def has_ended(self) -> bool:
        """Whether the server has closed the connection while it was not used; nothing is asked."""
        for _ in range(3):  # the server may tell why before it closes it
            if self._raw.closed:
                return True
            looking = select.poll()
            looking.register(self._raw.pgconn.socket, select.POLLIN)
            if not looking.poll(0):
                return False
            try:
                self._raw.pgconn.consume_input()
            except psycopg.Error:
                return True
        return self._raw.closed

    def set_lock_timeout(self, seconds: float) -> None:
        """Set how long to wait for what another transaction has locked."""
        self.run_script(f"SET lock_timeout = {_lock_timeout(seconds)}")

    def wait_long(self, seconds: float) -> None:
        """Let the statements of the open transaction take as long as they need, and wait so long for locks."""
        self.run_script(f"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {_lock_timeout(seconds)}")
        self.answer_s = LONG_S

    # --- for a reactor, which must not wait ---

    def fileno(self) -> int:
        """The socket; -1 if it is closed."""
        return -1 if self._raw.closed else self._raw.pgconn.socket

    def send_ping(self) -> None:
        """Send an empty statement, whose answer comes to ``received``."""
        with _errors_of_ours():
            self._raw.pgconn.nonblocking = 1
            self._raw.pgconn.send_query(b"")
            self._raw.pgconn.flush()

    def received(self) -> list[int]:
        """Take what has come: the notifications, each as the pid of the connection that has sent it.

        Raises:
            EngineError: the connection is lost.
        """
        connection = self._raw.pgconn
        pids: list[int] = []
        with _errors_of_ours():
            connection.consume_input()
            while not connection.is_busy() and connection.get_result() is not None:
                pass
            while (notification := connection.notifies()) is not None:
                pids.append(notification.be_pid)
            if self._raw.closed:
                raise psycopg.OperationalError("server closed the connection")
        return pids

    def execute(self, sql: str, parameters: Values = (), /) -> PostgreSQLCursor:
        """Run one statement; see engine.protocol.Connection."""
        statement = translated(sql)
        with self._errors():
            if statement.changes_rows:
                self._begin_if_idle()
            cursor = PostgreSQLCursor(self._raw)
            cursor.execute(statement.text, parameters)
        if statement.changes_rows:
            self.total_changes += max(cursor.rowcount, 0)
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Values], /) -> PostgreSQLCursor:
        """Run a statement for each element, in one go; see engine.protocol.Connection."""
        statement = translated(sql)
        with self._errors():
            self._begin_if_idle()
            cursor = PostgreSQLCursor(self._raw)
            cursor.executemany(statement.text, parameters)
        self.total_changes += max(cursor.rowcount, 0)
        return cursor

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn psycopg's errors into EngineErrors."""
        try:
            with _errors_of_ours():
                yield
        except EngineError as error:
            self._is_stale = self._is_stale or error.sqlstate in _STALE
            raise

    def run_script(self, sql: str) -> None:
        """Run one or more statements of PostgreSQL without values, as they are written."""
        with _errors_of_ours():
            self._raw.execute(sql.encode("utf-8"))

    def begin_writing(self, outlasts_power: bool) -> None:
        """Open a transaction, and wait until no other writer of this program has one.

        Lock-outs and counts are decided by what is read and written in one transaction, as on SQLite.

        Args:
            outlasts_power: whether commit waits until it is on the server's disk.
        """
        self._demand_idle()
        quick = "" if outlasts_power else "SET LOCAL synchronous_commit = off;"
        try:
            self.run_script(f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;{quick}{_LOCK}")
        except EngineError:
            self.rollback()  # another writer has the lock, and this one waits no longer
            raise

    def begin_reading(self) -> None:
        """Open a transaction in which all statements see the same rows, and none can change any."""
        self._demand_idle()
        self.run_script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def _demand_idle(self) -> None:
        if self.in_transaction:
            raise EngineError("a transaction is open already", "25001")

    def commit(self) -> None:
        """Commit the transaction that is open, if one is.

        Raises:
            EngineError: a statement of it had failed, so that PostgreSQL would undo it without a word; or it is not
                known whether it was committed, because the connection was lost.
        """
        with _errors_of_ours():
            if self._raw.info.transaction_status == TransactionStatus.INERROR:
                self._raw.rollback()
                raise EngineError("the transaction was undone: a statement of it had failed", "25P02")
            self._raw.commit()

    def rollback(self) -> None:
        """Undo the transaction that is open, if one is; a lost connection has none."""
        with contextlib.suppress(psycopg.Error):
            self._raw.rollback()

    def close(self) -> None:
        """Close the connection; what is not committed is lost."""
        self._raw.close()

    def _begin_if_idle(self) -> None:
        if self._raw.info.transaction_status == TransactionStatus.IDLE:
            self.begin_writing(outlasts_power=True)


def connect_to_server(
    place: PostgreSQLPlace, lock_timeout_s: float, answer_s: float = ANSWER_S
) -> PostgreSQLConnection:
    """Connect to a database and set the session up; its tables are not looked at.

    Args:
        lock_timeout_s: how long to wait for what another transaction has locked, in seconds.
        answer_s: how long to wait for an answer of the server, in seconds.

    Raises:
        EngineError: there is no connection.
        StoreError: the file with the password cannot be read.
    """
    settings = {**_NETWORK, "password": _password(place)}
    with _errors_of_ours():
        named = psycopg.conninfo.conninfo_to_dict(place.url)
        raw = _Psycopg.connect(
            place.url,
            autocommit=True,
            context=_ADAPTERS,
            **{key: value for key, value in settings.items() if key not in named and value is not None},
        )
    raw.answer_s = answer_s
    connection = PostgreSQLConnection(raw, place)
    try:
        connection.run_script(
            f"SET lock_timeout = {_lock_timeout(lock_timeout_s)};"
            f"SET statement_timeout = {int(min(STATEMENT_S, answer_s) * 1000)};"
            f"SET idle_in_transaction_session_timeout = {IDLE_S * 1000};"
            "SET client_min_messages = warning; SET TimeZone = 'UTC';"
            "SET default_transaction_isolation = 'read committed'"
        )
    except BaseException:
        connection.close()
        raise
    return connection


def _lock_timeout(seconds: float) -> int:
    """Milliseconds; 0 would be without end."""
    return max(1, int(seconds * 1000))


def _password(place: PostgreSQLPlace) -> str | None:
    """The first line of the file with the password, if there is one."""
    if place.password_file is None:
        return None
    path = place.password_file
    try:
        password = file_text(path.read_bytes()).partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or Sentence("it is not text")
        raise StoreError(
            sentence("database_password_file: {path}: cannot be read: {why}", path=path, why=why)
        ) from None
    if not password:
        raise StoreError(
            sentence("database_password_file: {path} is empty; accepted is the password in the first line", path=path)
        )
    return password


@contextlib.contextmanager
def _errors_of_ours() -> Iterator[None]:
    """Turn psycopg's errors into EngineErrors. They are not chained: their texts have values of rows in them."""
    try:
        yield
    except psycopg.Error as error:
        raise _error_of_ours(error) from None


def _error_of_ours(error: psycopg.Error) -> EngineError:
    state = error.sqlstate or ""
    if not state and isinstance(error, psycopg.ProgrammingError | psycopg.DataError):
        state = "22000"  # psycopg itself refuses a value, such as one of a type that no column has
    message = error.diag.message_primary or str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
    if state.startswith("23"):
        return _violation(error, state, message)
    return EngineError(message, state)


def _violation(error: psycopg.Error, state: str, message: str) -> EngineError:
    """The error for a violated constraint, named as SQLite does."""
    diagnosis = error.diag
    table, constraint = diagnosis.table_name or "", diagnosis.constraint_name or ""
    match state:
        case "23505" | "23P01":
            # The detail names columns and values, in the server's language: Key (user_pin)=(…) already exists.
            found = _COLUMNS.search(diagnosis.message_detail or "")
            columns = [name for name in _WORDS.findall(found[1]) if name not in _NO_COLUMNS] if found else [constraint]
            message = f"UNIQUE constraint failed: {', '.join(f'{table}.{column}' for column in columns)}"
        case "23514":
            message = f"CHECK constraint failed: {constraint}"
        case "23503" | "23001":
            message = "FOREIGN KEY constraint failed"
        case "23502":
            message = f"NOT NULL constraint failed: {table}.{diagnosis.column_name or ''}"
    return ConstraintViolated(message, state, constraint)


_NO_COLUMNS: Final = frozenset({"ascii_lower", "lower", "text"})


# --- values -----------------------------------------------------------------


class _Int(Int8Dumper):
    """A whole number or a flag, as bigint."""

    def dump(self, obj: int) -> bytes:
        if not -(2**63) <= obj < 2**63:
            raise OverflowError("whole number too large for the database")
        return b"%d" % obj


class _Text(StrDumperUnknown):
    """Text; PostgreSQL has no NUL in a text, so one is written as ``\\x00``."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", r"\x00") if "\0" in obj else obj)


class _Numeric(Loader):
    """A numeric, such as the sum of whole numbers, as int or float."""

    def load(self, data: Any) -> int | float:
        text = bytes(data)
        try:
            return int(text)
        except ValueError:
            return float(text)


class _Flag(Loader):
    """A boolean as 1 or 0, as SQLite has it."""

    def load(self, data: Any) -> int:
        return int(bytes(data) == b"t")


def _adapters() -> AdaptersMap:
    adapters = AdaptersMap(psycopg.adapters)
    dumpers: tuple[tuple[type, type[Dumper]], ...] = ((int, _Int), (bool, _Int), (str, _Text))
    for kind, dumper in dumpers:
        adapters.register_dumper(kind, dumper)
    for name, loader in (("numeric", _Numeric), ("bool", _Flag)):
        adapters.register_loader(postgres.types[name].oid, loader)
    return adapters


class _Context:
    """Has the adapters for a connection, as psycopg asks for them."""

    adapters: Final = _adapters()
    connection: Final = None


_ADAPTERS: Final[Any] = _Context()
