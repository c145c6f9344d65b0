"""Failures of a PostgreSQL server, of a real one, and what is said of each."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.database import PostgreSQLPlace
from pbxrouter.database.engine import EngineError
from pbxrouter.database.engine.postgresql import connect_to_server
from pbxrouter.database.failures import store_error
from pbxrouter.errors import DatabaseFull, DatabaseLocked, DatabaseMissing, StoreError
from tests.database.postgresql import cluster, own_cluster
from tests.needs import PATIENCE_S
from tests.paths import ROOT

PASSWORD = "s3cr3t"


class ConnectTests(SynchronousTestCase):
    """Connections that cannot be made; the URL of each has a password."""

    def setUp(self) -> None:
        """Find the server."""
        self.server = cluster()
        self.host = quote(str(self.server.folder), safe="/")

    def why(self, url: str, kind: type[StoreError] = StoreError, password_file: Path | None = None) -> str:
        """Why no connection can be made."""
        error = self.assertRaises(kind, database.connect, PostgreSQLPlace(url, Path(self.mktemp()), password_file))
        seen, chain = [], error
        while chain is not None:
            seen.append(f"{chain} {chain.args}")
            chain = chain.__cause__ or chain.__context__
        self.assertNotIn(PASSWORD, " ".join(seen))
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_no_server(self) -> None:
        """Nothing listens, there is no such host, and no such socket."""
        with closing(socket.socket()) as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            why = self.why(f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/x")
        self.assertIn("cannot be reached: Connection refused", why)
        self.assertIn("cannot be reached", self.why(f"postgresql://u:{PASSWORD}@nowhere.invalid/x"))
        self.assertIn("No such file or directory", self.why(f"postgresql://u:{PASSWORD}@/x?host=/nowhere"))

    def test_a_server_that_does_not_answer(self) -> None:
        """A port that takes connections and says nothing is given up."""
        with closing(socket.socket()) as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            port = silent.getsockname()[1]
            why = self.why(f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/x?connect_timeout=2")
        self.assertIn("cannot be reached: connection timeout expired", why)

    def test_another_service(self) -> None:
        """What is no URL that libpq understands is said without the URL."""
        why = self.why(f"postgresql://u:{PASSWORD}@/x?host={self.host}&nonsense=1")
        self.assertIn("nonsense", why)

    def test_no_database(self) -> None:
        """A database, and a user, that are not on the server."""
        self.assertIn(
            "createdb", self.why(f"postgresql://pbxrouter:{PASSWORD}@/none?host={self.host}", DatabaseMissing)
        )
        self.assertIn("does not let this user in", self.why(f"postgresql://none:{PASSWORD}@/postgres?host={self.host}"))

    def test_no_tables(self) -> None:
        """A database without tables, and one of another program."""
        place = self.server.new_database(empty=True)
        self.addCleanup(self.server.drop, place)
        self.assertIn("create them with `pbxrouter init`", self.why(place.url))
        self.server.execute(self.server.name_of(place), "CREATE TABLE others (a int)")
        self.assertIn("database of another program", self.why(place.url))
        error = self.assertRaises(StoreError, database.create, place)
        self.assertIn("exists already", str(error))

    def test_password_file(self) -> None:
        """A file with the password that cannot be read, or is empty, is named."""
        path = Path(self.mktemp())
        self.assertIn(
            f"database_password_file: {path}: cannot be read", self.why("postgresql://u@/x", password_file=path)
        )
        path.write_text("\n")
        self.assertIn("is empty", self.why("postgresql://u@/x", password_file=path))

    def test_encoding(self) -> None:
        """A database that is not UTF8 is refused before anything is created in it."""
        self.server.execute(
            "postgres", "CREATE DATABASE test_latin ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
        place = self.server.place("test_latin")
        self.addCleanup(self.server.drop, place)
        error = self.assertRaises(StoreError, database.create, place)
        self.assertIn("encoding SQL_ASCII; accepted is UTF8", str(error))
        self.assertTrue(database.is_empty(place))

    def test_rights(self) -> None:
        """A user who may not create tables, and one who may only read, are told so."""
        place = self.server.new_database(empty=True)
        self.addCleanup(self.server.drop, place)
        name = self.server.name_of(place)
        self.server.execute(
            "postgres", "DO $$BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN END$$"
        )
        guest = self.server.place(name, "guest")
        error = self.assertRaises(StoreError, database.create, guest)
        self.assertIn("permission denied for schema public", str(error))
        database.create(place)
        self.server.execute(name, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
        with closing(database.connect(guest)) as connection:
            error = self.assertRaises(StoreError, self.add, connection)
        self.assertIn("permission denied", str(error))

    def add(self, connection: Any) -> None:
        """Add an extension."""
        with database.transaction(connection):
            connection.execute("INSERT INTO extensions (extension_number) VALUES ('33')")

    def test_authentication(self) -> None:
        """A wrong password, and none, are told as such; the right one in the file is taken."""
        server = own_cluster("scram-sha-256", PASSWORD)
        self.addCleanup(server.remove)
        host = quote(str(server.folder), safe="/")
        wrong = self.why(f"postgresql://pbxrouter:{PASSWORD}x@/postgres?host={host}")
        self.assertIn("refuses the user or the password", wrong)
        path = Path(self.mktemp())
        path.write_text(f"{PASSWORD}\r\nnot this\n")
        self.assertIn("no tables", self.why(f"postgresql://pbxrouter@/postgres?host={host}", password_file=path))
        self.assertIn("no tables", self.why(f"postgresql://pbxrouter:{PASSWORD}@/postgres?host={host}"))


class StatementTests(SynchronousTestCase):
    """Failures of a connection that was made."""

    def setUp(self) -> None:
        """Open a connection to a new database."""
        self.server = cluster()
        self.place = self.server.new_database()
        self.addCleanup(self.server.drop, self.place)
        self.connection: Any = database.connect(self.place)
        self.addCleanup(self.connection.close)

    def why(self, work: Any, kind: type[StoreError] = StoreError) -> str:
        """Why work cannot be done."""
        try:
            work()
        except EngineError as error:
            found = store_error(error, self.place)
            self.assertIsInstance(found, kind)
            return str(found)
        self.fail("it can")

    def test_ended_by_the_server(self) -> None:
        """A connection that the server's administrator ends is lost; the server's reason is told."""
        with closing(database.connect(self.place)) as other:
            other.execute("SELECT pg_terminate_backend(CAST(:pid AS integer))", {"pid": self.connection.pid})
        why = self.why(lambda: self.connection.execute("SELECT 1"))
        self.assertIn("the connection to the server was lost", why)
        self.assertTrue(self.connection.is_lost)
        self.connection.rollback()

    def test_frozen(self) -> None:
        """A server that stands still is given up after the time for an answer, and its late answer is not taken."""
        connection = connect_to_server(self.place, 1.0, answer_s=0.5)
        self.addCleanup(connection.close)
        os.kill(connection.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, connection.pid, signal.SIGCONT)
        why = self.why(lambda: connection.execute("SELECT 1"))
        self.assertIn("has not answered for 0.5 s", why)
        self.assertTrue(connection.is_lost)

    def test_too_long(self) -> None:
        """A statement that takes too long is ended by the server, and the connection goes on."""
        self.connection.run_script("SET statement_timeout = 50")
        self.assertIn("took too long", self.why(lambda: self.connection.execute("SELECT pg_sleep(60)")))
        self.assertEqual(self.connection.execute("SELECT 1").fetchone(), (1,))

    def test_locked(self) -> None:
        """A row that another transaction holds is DatabaseLocked."""
        with closing(database.connect(self.place, timeout_s=0.05)) as other, database.transaction(self.connection):
            self.connection.execute("LOCK TABLE extensions")
            self.why(lambda: other.execute("SELECT * FROM extensions"), DatabaseLocked)

    def test_read_only(self) -> None:
        """A server that only reads, as a standby does, is told as such."""
        self.connection.run_script("SET default_transaction_read_only = on")
        why = self.why(lambda: self.connection.run_script("CREATE TABLE x (a int)"))
        self.assertIn("standby", why)

    def test_by_code(self) -> None:
        """What cannot be brought about here is told by the server's code."""
        for code, kind, words in (
            ("53100", DatabaseFull, "disk is full"),
            ("40P01", DatabaseLocked, "try again"),
            ("25P03", StoreError, "connection to the server was lost"),
            ("XX000", StoreError, "odd thing"),
        ):
            found = store_error(EngineError("odd thing", code), self.place)
            self.assertIsInstance(found, kind)
            self.assertIn(words, str(found))
        for message, words in {
            "FATAL:  sorry, too many clients already": "no connection left",
            "FATAL:  the database system is starting up": "starting or stopping",
            "session is read-only": "standby",
            'FATAL:  no pg_hba.conf entry for host "192.0.2.1"': "pg_hba.conf",
        }.items():
            self.assertIn(words, str(store_error(EngineError(f"connection failed: {message}"), self.place)))


class WithoutPsycopgTests(SynchronousTestCase):
    """Where psycopg is not installed."""

    def test_without(self) -> None:
        """A database of PostgreSQL is refused in one line that names what to install; one of SQLite is used as ever."""
        program = (
            "import sys, pathlib; sys.modules['psycopg'] = None\n"
            "from pbxrouter import database\n"
            "from pbxrouter.errors import StoreError\n"
            "path = pathlib.Path(sys.argv[1]); database.create(path); database.connect(path).close()\n"
            "place = database.PostgreSQLPlace('postgresql://u:s3cr3t@db/x', path)\n"
            "for use in (database.connect, database.create, lambda place: database.open_store(place, str, None)):\n"
            "    try: use(place)\n"
            "    except StoreError as error: print(error)\n"
        )
        command = [sys.executable, "-c", program, str(Path(self.mktemp()).absolute())]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        line = (
            "database postgresql://u:***@db/x needs psycopg, which is not installed: install `pbxrouter[postgresql]` "
            "with pip\n"
        )
        self.assertEqual((done.stdout, done.stderr), (3 * line, ""))
