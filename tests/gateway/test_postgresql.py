"""Rules of a PostgreSQL server at several gateways: a change is in force at each, and an outage at none."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pbxrouter.config import Config
from pbxrouter.database import open_store
from pbxrouter.drivers import DriverApplications, load_drivers
from pbxrouter.rules import RulesEngine, RulesReloader
from tests.database.postgresql import own_cluster
from tests.held_time import until

reactor: Any = the_reactor
ADD = "INSERT INTO applications_mappings (application_name, application_data, pattern) VALUES ('hangup', '', '{}')"


class Part:
    """What a gateway has of the rules.

    Attributes:
        loads: how often rules were read.
    """

    def __init__(self, place: Any) -> None:
        self.store = open_store(place, str, reactor)
        self.engine = RulesEngine(DriverApplications(load_drivers(Config())))
        self.loads = 0
        self.reloader = RulesReloader(self, self.engine, reactor)
        self.reloader.startService()

    def version(self) -> Deferred[tuple[int, ...]]:
        """As the store's."""
        return self.store.version()

    def load_rules(self) -> Deferred[Any]:
        """As the store's, counted."""
        self.loads += 1
        return self.store.load_rules()

    def patterns(self) -> set[str]:
        """The patterns in force."""
        rules = self.engine.rules
        return set() if rules is None else {mapping.pattern for _, mapping in rules.entries.values()}

    def stop(self) -> Deferred[None]:
        """Stop the reloader and close the store."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.reloader.stopService()
        await self.store.close()


class SeveralGatewaysTests(TestCase):
    """Three gateways on one server."""

    def setUp(self) -> None:
        """Start a server and three gateways."""
        self.server = own_cluster()
        self.addCleanup(self.server.remove)
        self.place = self.server.new_database()
        self.gateways = [Part(self.place) for _ in range(3)]
        for gateway in self.gateways:
            self.addCleanup(gateway.stop)

    def sql(self, statement: str) -> None:
        """Change rules as any client does."""
        self.server.execute(self.server.name_of(self.place), statement)

    async def in_force(self, *patterns: str) -> None:
        """Wait until each gateway has these patterns."""
        await until(lambda: all(gateway.patterns() == set(patterns) for gateway in self.gateways))

    async def test_changes_and_an_outage(self) -> None:
        """A change is read once by each gateway; without a server the last rules stay, and it is told."""
        self.sql(ADD.format("2X"))
        await self.in_force("2X")
        await until(lambda: all(gateway.loads in (1, 2) for gateway in self.gateways))
        loads = [gateway.loads for gateway in self.gateways]
        self.sql(ADD.format("3X"))
        await self.in_force("2X", "3X")
        self.assertEqual([gateway.loads for gateway in self.gateways], [count + 1 for count in loads])
        self.server.stop()
        await until(lambda: all(gateway.reloader.outage.trouble for gateway in self.gateways))
        await self.in_force("2X", "3X")
        self.server.start()
        self.sql(ADD.format("4X"))
        await self.in_force("2X", "3X", "4X")
        await until(lambda: not any(gateway.reloader.outage.trouble for gateway in self.gateways))
