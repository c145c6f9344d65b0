"""Parts of a worker: when it loads the rules, and the port that it shares."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import Config
from pbxrouter.errors import StoreError
from pbxrouter.gateway.worker_service import RulesAsTold, SharedPort, worker_limits
from pbxrouter.rules import RulesEngine
from pbxrouter.text import Sentence
from tests.fakes import workshop_rules


class FakeSource:
    """A source of rules.

    Attributes:
        asked: how often the version was asked for.
        error: what reading fails with; None: it does not.
    """

    def __init__(self) -> None:
        self.asked = self.loaded = 0
        self.error: StoreError | None = None

    def version(self) -> Deferred[tuple[int, ...]]:
        """Another version each time, as while another process writes calls."""
        self.asked += 1
        if self.error is not None:
            raise self.error
        return succeed((self.asked,))

    def load_rules(self) -> Deferred[Any]:
        """The workshop's rules."""
        self.loaded += 1
        return succeed(workshop_rules())


class RulesAsToldTests(SynchronousTestCase):
    """RulesAsTold beside a main process."""

    def setUp(self) -> None:
        """A reloader that runs beside a main process which is there."""
        self.clock, self.source = Clock(), FakeSource()
        self.main: Any = SimpleNamespace(is_there=True)
        self.engine = RulesEngine(["dial"])
        self.rules = RulesAsTold(self.main, self.source, self.engine, self.clock)  # type: ignore[arg-type]
        self.rules.startService()
        self.addCleanup(self.rules.stopService)

    def test_told(self) -> None:
        """The rules are loaded at the start and when that is said, not when something else was written."""
        self.clock.pump([0.1] * 20)
        self.assertEqual((self.source.loaded, self.source.asked), (1, 1))
        self.successResultOf(Deferred.fromCoroutine(self.rules.reload()))
        self.clock.pump([0.1] * 20)
        self.assertEqual((self.source.loaded, self.source.asked), (2, 2))

    def test_alone(self) -> None:
        """While the main process is away, the worker looks itself."""
        self.main.is_there = False
        self.clock.pump([0.1] * 5)
        self.assertGreater(self.source.loaded, 4)

    def test_a_database_that_is_away(self) -> None:
        """What could not be loaded is tried again until it can."""
        self.source.error = StoreError(Sentence("away"))
        self.successResultOf(Deferred.fromCoroutine(self.rules.reload()))
        self.clock.pump([0.1] * 5)
        self.assertEqual(self.source.loaded, 1)
        self.source.error = None
        self.clock.pump([0.1] * 5)
        self.assertEqual(self.source.loaded, 2)


class SharedPortTests(SynchronousTestCase):
    """SharedPort from its start to its end."""

    def test_life(self) -> None:
        """It adopts the socket, says so, and closes its copy alone; calls in progress get their time."""
        drained: list[float] = []
        closed: list[bool] = []
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        port = SimpleNamespace(stopListening=lambda: closed.append(True))
        adopted: list[Any] = []

        def adopt(descriptor: int, family: int, factory: Any) -> Any:
            adopted.append((family, factory))
            return port

        def drain(seconds: float) -> Deferred[None]:
            drained.append(seconds)
            return succeed(None)

        factory: Any = SimpleNamespace(drain=drain)
        told: list[bool] = []
        reactor = SimpleNamespace(adoptStreamPort=adopt)
        shared = SharedPort(os.dup(listening.fileno()), factory, reactor, lambda: told.append(True))
        shared.startService()
        self.assertEqual((adopted, told), ([(socket.AF_INET, factory)], [True]))
        self.successResultOf(shared.stopService())
        self.assertEqual((closed, drained), ([True], [3.0]))
        shared.refuse_new()
        self.successResultOf(shared.stopService())
        self.assertEqual((closed, drained), ([True], [3.0, 0.0]))
        self.assertIsNone(shared.prepare_certificates())  # type: ignore[func-returns-value]


class LimitsTests(SynchronousTestCase):
    """Limits of a worker's connections."""

    def test_common_bounds(self) -> None:
        """Configured limits are those of all processes; by default each has its own."""

        def settings(**fastagi: int) -> Config:
            return msgspec.convert({"gateway": {"workers": 2}, "fastagi": fastagi}, Config)

        shared = [
            (found.most, found.of_network)
            for *_, found in map(
                worker_limits,
                (settings(), settings(max_connections=8), settings(max_connections=8, max_connections_per_peer=2)),
            )
        ]
        self.assertEqual(shared, [(0, 0), (8, 6), (8, 2)])
