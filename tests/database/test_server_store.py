"""The store on PostgreSQL: a real server, which is stopped and started under it."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from pbxrouter import database
from pbxrouter.database import Connection, open_store
from pbxrouter.errors import DatabaseForeign, DatabaseLocked, StoreError
from tests.database.postgresql import Cluster, cluster, own_cluster
from tests.held_time import until

reactor: Any = the_reactor


def add(number: str) -> Any:
    """Work that adds an extension."""

    def work(connection: Connection) -> None:
        with database.transaction(connection):
            connection.execute("INSERT INTO extensions (extension_number) VALUES (:number)", {"number": number})

    return work


def numbers(connection: Connection) -> list[str]:
    """Work that reads the extensions."""
    rows = connection.execute("SELECT extension_number FROM extensions ORDER BY extension_id")
    return [number for (number,) in rows]


class StoreTests(TestCase):
    """A store on a database of a running server."""

    def setUp(self) -> None:
        """Make a database, and open a store on it."""
        server = cluster()
        self.place = server.new_database()
        self.store = self.opened()
        self.addCleanup(server.drop, self.place)

    def opened(self, **named: Any) -> Any:
        """Open a store, which is closed when the test ends."""
        store = open_store(self.place, str, reactor, **named)
        self.addCleanup(store.close)
        return store

    async def test_work(self) -> None:
        """Work is done in turn; what it leaves uncommitted is undone, as what fails is."""
        await self.store.run(add("33"))
        await self.store.run(lambda c: c.execute("INSERT INTO extensions (extension_number) VALUES ('34')"))
        self.assertEqual(await self.store.run(numbers), ["33"])
        await self.assertFailure(self.store.run(add(" ")), *database.CONSTRAINT_ERRORS)
        self.assertIn("nothing_like_it", await self.why("SELECT * FROM nothing_like_it"))
        self.assertEqual(await self.store.run(numbers), ["33"])

    async def why(self, statement: str) -> str:
        """The error of a statement."""
        error = await self.assertFailure(self.store.run(lambda c: c.execute(statement)), StoreError)
        return str(error)

    async def test_locked(self) -> None:
        """While another writer has a transaction, writing fails with DatabaseLocked after the time limit."""
        with database.transaction(self.other()):
            store = self.opened(timeout_s=0.05)
            await self.assertFailure(store.run(add("33")), DatabaseLocked)
        await store.run(add("33"))

    def other(self) -> Connection:
        """Another program's connection."""
        connection = database.connect(self.place)
        self.addCleanup(connection.close)
        return connection

    async def test_changes_are_heard(self) -> None:
        """A change of rules by another connection changes the version; the store's own and other rows' do not."""
        before = await self.store.version()
        other = self.other()
        with database.transaction(other):
            other.execute("INSERT INTO pin_guesses (scope, name, forgiven_at, last_at) VALUES ('a', 'b', 1, 1)")
        await self.store.run(add("33"))
        with database.transaction(other):
            other.execute("INSERT INTO users (user_name) VALUES ('ana')")
            other.execute("INSERT INTO extensions (extension_number) VALUES ('34')")
        await self.version_other_than(before)
        connections, heard = await self.store.version()
        self.assertEqual((connections, heard), (before[0], before[1] + 1))

    async def version_other_than(self, before: object) -> tuple[int, ...]:
        """Wait for another version."""
        found: list[Any] = []

        def look() -> bool:
            def note(version: Any) -> None:
                if version != before:
                    found.append(version)

            waiting: Deferred[Any] = self.store.version()
            waiting.addCallbacks(note, lambda failure: failure.trap(StoreError) and None)
            return bool(found)

        await until(look)
        version: tuple[int, ...] = found[0]
        return version

    async def test_without_tables(self) -> None:
        """An empty database, and one that is not there, are said as what they are."""
        self.place = cluster().new_database(empty=True)
        error = await self.assertFailure(self.opened().run(numbers), DatabaseForeign)
        self.assertIn("pbxrouter init", str(error))
        self.place = cluster().place("nowhere")
        error = await self.assertFailure(self.opened().run(numbers), StoreError)
        self.assertIn("does not exist on the server", str(error))


class AwayTests(TestCase):
    """A store on a server of its own, which goes away."""

    server: Cluster

    def setUp(self) -> None:
        """Start a server."""
        self.server = own_cluster()
        self.addCleanup(self.server.remove)
        self.place = self.server.new_database()
        self.store: Any = open_store(self.place, str, reactor)
        self.addCleanup(self.store.close)

    async def test_restart(self) -> None:
        """After a restart of the server the first work connects again; while it is away, work fails at once."""
        await self.store.run(add("33"))
        self.server.stop()
        await self.assertFailure(self.store.run(numbers), StoreError)
        await self.assertFailure(self.store.run(numbers), StoreError)
        self.server.start()

        async def back() -> bool:
            try:
                return bool(await self.store.run(numbers))
            except StoreError:
                return False

        for _ in range(100):
            if await back():
                break
            await wait(0.1)
        self.assertEqual(await self.store.run(numbers), ["33"])

    async def test_restart_while_idle(self) -> None:
        """A server that was restarted while nothing was asked is not noticed by the next work."""
        await self.store.run(add("33"))
        self.server.stop("fast")
        self.server.start()
        self.assertEqual(await self.store.run(numbers), ["33"])


def wait(seconds: float) -> Deferred[None]:
    """Fires after so many seconds."""
    waiting: Deferred[None] = Deferred()
    reactor.callLater(seconds, waiting.callback, None)
    return waiting


class ListenerTests(TestCase):
    """The connection that hears of changed rules, which is lost again and again."""

    def setUp(self) -> None:
        """Start a server, and begin to listen."""
        self.server = own_cluster()
        self.addCleanup(self.server.remove)
        self.place = self.server.new_database()
        self.store: Any = open_store(self.place, str, reactor)
        self.addCleanup(self.store.close)

    async def connections(self) -> int:
        """How many connections there have been; 0 while there is none."""
        try:
            version: tuple[int, ...] = await self.store.version()
        except StoreError:
            return 0
        return version[0]

    async def test_restarts(self) -> None:
        """Each restart is an outage with the server's words, and then another connection; no descriptor is confused."""
        for number in range(1, 4):
            while await self.connections() != number:
                await wait(0.01)
            self.server.stop()
            while await self.connections():
                await wait(0.01)
            # What takes the number of the socket that libpq has closed is not touched.
            pairs = [socket.socketpair() for _ in range(20)]
            heard: list[bytes] = []
            readers = [Reader(theirs, heard) for _, theirs in pairs]
            self.server.start()
            while await self.connections() != number + 1:
                await wait(0.01)
            for ours, _ in pairs:
                ours.sendall(b"x")
            while len(heard) < len(pairs):
                await wait(0.01)
            for reader in readers:
                reader.stop()
            for ours, _ in pairs:
                ours.close()
        self.assertEqual(self.flushLoggedErrors(), [])


@implementer(IReadDescriptor)
class Reader:
    """A socket that the reactor watches."""

    def __init__(self, watched: socket.socket, heard: list[bytes]) -> None:
        self._watched = watched
        self._heard = heard
        reactor.addReader(self)

    def stop(self) -> None:
        """Close the socket, and watch it no more."""
        reactor.removeReader(self)
        self._watched.close()

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._watched.fileno()

    def logPrefix(self) -> str:
        """A name for Twisted's log."""
        return "test"

    def doRead(self) -> None:
        """Note what came."""
        self._heard.append(self._watched.recv(10))

    def connectionLost(self, reason: object) -> None:
        """The other end was closed."""
