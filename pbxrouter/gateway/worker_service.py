"""Builds a worker: what serves FastAGI calls beside the main process, at the port of both (``workers``)."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger

from pbxrouter import database
from pbxrouter.call import AsteriskFinder, CallFlow, CallProofs, PinChanges, Reports
from pbxrouter.config import Config, beside
from pbxrouter.database import LimitedDatabase, Store, open_store
from pbxrouter.database.rules import read_rules
from pbxrouter.drivers import DriverApplications, load_drivers
from pbxrouter.errors import PbxrouterError, ProcessAway, StoreError
from pbxrouter.fastagi import DRAIN_TIMEOUT_S, FastAGIFactory, StandstillGuard
from pbxrouter.gateway import reload_parts
from pbxrouter.gateway.call_log import CallLog
from pbxrouter.gateway.drain import Drain, LastRecords
from pbxrouter.gateway.readiness import WhenRouting
from pbxrouter.gateway.reload import Prepare
from pbxrouter.gateway.sequential import SequentialService
from pbxrouter.gateway.service import (
    CALL_WAIT_S,
    LOAD_S,
    StoreService,
    WorkerService,
    admission,
    fastagi_factory,
    fastagi_limits,
)
from pbxrouter.net import (
    Bounds,
    ClockWatch,
    DescriptorWatch,
    Lateness,
    SharedBoard,
    SharedBounds,
    Worker,
    at_most,
    every,
)
from pbxrouter.rules import RulesEngine, RulesReloader
from pbxrouter.security import pins
from pbxrouter.text import Sentence
from pbxrouter.workers import (
    FinishedCalls,
    Link,
    MainProcess,
    RemoteManager,
    RemotePinCalls,
    RemotePinGuard,
    ReportedCalls,
    Reporter,
    WorkerHistory,
    WorkerJournal,
    WorkerWatch,
    packed_sentence,
    send_alarm,
    send_line,
)


class WorkerGateway(SequentialService):
    """One worker: FastAGI calls, by the rules of the database, with the main process for what only that knows.

    Args:
        settings: what the main process tells a worker at its start; see ``service.worker_settings``.
        port: descriptor of the listening socket; it is kept.

    Raises:
        PbxrouterError: the settings cannot be used.
    """

    log = Logger(namespace="pbxrouter.gateway.worker")

    def __init__(self, settings: Mapping[str, Any], link: Link, board: SharedBoard, port: int, reactor: Any) -> None:
        super().__init__(reactor)
        config = self.config = msgspec.convert(settings["config"], Config)
        key: bytes = settings["key"]
        secret: str = settings["secret"]
        self._reactor = reactor
        self._link = link
        self._parts: list[Prepare] = []
        hash_pin = functools.partial(pins.hash_pin, key)
        drivers = load_drivers(config)
        applications = DriverApplications(drivers)
        self.engine = RulesEngine(applications)
        with contextlib.suppress(StoreError), contextlib.closing(database.connect(config.place)) as connection:
            self.engine.replace(read_rules(connection, hash_pin))
        main = self.main = MainProcess(link, board, reactor, time.monotonic)
        self.watch = WorkerWatch(functools.partial(send_line, link))
        store = open_store(config.place, hash_pin, reactor)
        at_hand = LimitedDatabase(store, CALL_WAIT_S, reactor)
        raise_alarm = functools.partial(send_alarm, link)
        guard = RemotePinGuard(
            main, at_hand, config.trunks, time.time, raise_alarm, has_several=len(config.asterisk) > 1
        )
        pin_calls = RemotePinCalls(main, at_hand, time.time)
        self.reloader = RulesAsTold(main, store, self.engine, reactor)
        changes = PinChanges(at_hand, guard, hash_pin, self._load_rules_everywhere, time.time)
        self.proofs = CallProofs(
            has_secret=bool(secret), allows_others=bool(config.fastagi.allow), key=key, ask=RemoteManager.has_variable
        )
        finder = self._finder = AsteriskFinder(reload_parts.hosts_of(config), time.monotonic, self.proofs.is_simulated)
        worker = Worker(reactor, "journal")
        self.journal = WorkerJournal(beside(config.place, ""), time.time, worker.run, settings["gateway"])
        history = WorkerHistory(store, config.history.keep_days, reactor, time.time, self.journal)
        self.finished = FinishedCalls(main, self.journal, history, CallLog(len(config.asterisk) > 1).report)
        history.found = self.finished.send
        calls = ReportedCalls()
        reports = Reports()
        reports.add(self.finished.report)
        self.flow = flow = CallFlow(
            self.engine,
            drivers,
            config.prompts,
            reports,
            calls,
            guard=guard,
            pin_calls=pin_calls,
            pin_changes=changes,
            trunks=config.trunks,
            journal=self.journal,
            proofs=self.proofs,
            cdr_field=config.history.cdr_field,
            asterisk_of=finder.of,
        )
        self._parts.append(reload_parts.calls(flow, guard, drivers, applications))
        self._parts.append(reload_parts.days(history, ()))
        # Stopped in reverse: calls first, the database last.
        main.setServiceParent(self)
        self._descriptors = DescriptorWatch(reactor)
        self._descriptors.setServiceParent(self)
        ClockWatch(reactor).setServiceParent(self)
        StoreService(store).setServiceParent(self)
        WorkerService(worker).setServiceParent(self)
        every(pin_calls.WRITE_EVERY_S, pin_calls.write, reactor, self)
        history.setServiceParent(self)
        self.finished.setServiceParent(self)
        self.reloader.setServiceParent(self)
        LastRecords(flow, reactor).setServiceParent(self)
        standstill = StandstillGuard(reactor, board)
        standstill.setServiceParent(self)
        lateness = Lateness(reactor)
        lateness.setServiceParent(self)
        admitted = admission(
            config,
            reactor,
            lambda: lateness.seconds,
            lambda: [manager.peer for manager in self.proofs.managers if manager.peer],
            secret,
            board,
            worker_limits,
        )
        self.fastagi = fastagi_factory(config)(
            flow.serve, reactor, self.watch, admitted, self.finished.refused, settings["gateway"], standstill
        )
        self.fastagi.new_key = self.journal.reserve
        shared = SharedPort(port, self.fastagi, reactor, lambda: link.tell("ready"))
        self._parts.append(reload_parts.fastagi(admitted, self.proofs, shared, worker_limits, secret))
        Reporter(link, calls, self._figures, reactor).setServiceParent(self)
        listening = WhenRouting(self.engine, reactor)
        listening.setServiceParent(self)
        shared.setServiceParent(listening)
        Drain(flow, [shared], reactor).setServiceParent(self)

    # --- what the main process tells and asks ---

    def use_asterisks(self, found: Sequence[Sequence[str]], is_complete: bool) -> None:
        """Use the Asterisks with AMI, each by its name and the address that AMI is connected to."""
        managers = [RemoteManager(self.main, place, name, peer) for place, (name, peer) in enumerate(found)]
        for name, peer in found:
            if peer:
                self._finder.connected(name, peer)
        self.proofs.managers = managers
        self.proofs.is_complete = is_complete
        self.journal.tell_of = functools.partial(self._link.tell, "begun") if managers else None

    def reload(self, settings: Mapping[str, Any]) -> None:
        """Use other settings, which the main process has checked and uses."""
        new = msgspec.convert(settings, Config)
        try:
            prepared = [prepare(self.config, new) for prepare in self._parts]
        except PbxrouterError as error:
            self.log.error("reload: refused by a worker; its settings in force stay: {error}", error=str(error))
            return
        for part in prepared:
            part.apply()
        self._finder.set_hosts(reload_parts.hosts_of(new))
        self.config = new

    def load_rules(self) -> Deferred[None]:
        """Load the rules now."""
        return Deferred.fromCoroutine(self.reloader.reload())

    async def _load_rules_everywhere(self) -> None:
        """Load the rules after a change by a caller: here, and in the other processes."""
        await self.reloader.reload()
        everywhere = Deferred.fromCoroutine(self.main.ask("load_rules"))
        everywhere.addErrback(lambda failure: failure.trap(ProcessAway) and None)
        await at_most(LOAD_S, everywhere, self._reactor)

    def _figures(self) -> list[Any]:
        fastagi, flow = self.fastagi, self.flow
        trouble = self._trouble()
        return [
            fastagi.served,
            fastagi.open_calls,
            fastagi.last_call,
            dict(fastagi.refused_connections),
            flow.in_progress,
            flow.talking,
            None if trouble is None else packed_sentence(trouble),
        ]

    def _trouble(self) -> Sentence | None:
        outages = (self._descriptors.outage, self.reloader.outage, self.journal.outage)
        return next((outage.trouble for outage in outages if outage.trouble is not None), None)


class RulesAsTold(RulesReloader):
    """Loads the rules when the main process says that they have changed; looks itself while that is away.

    Looking tells only that something in the database has changed, and the main process writes calls there each second.
    """

    def __init__(self, main: MainProcess, store: Store, engine: RulesEngine, clock: Any) -> None:
        super().__init__(store, engine, clock)
        self._main = main
        self._wanted = True

    async def poll(self) -> None:
        """Load the rules if they may have changed. Never fails."""
        if self._wanted or not self._main.is_there:
            self._wanted = False  # one that is told meanwhile loads them once more
            await super().poll()
            self._wanted = self._wanted or self.outage.away_since is not None

    async def reload(self) -> None:
        """Load the rules now. Never fails."""
        self._wanted = True
        await super().reload()


def worker_limits(config: Config) -> tuple[Bounds, int, SharedBounds]:
    """The limits of a worker's connections; its open files are for calls, since it serves no web."""
    return fastagi_limits(msgspec.structs.replace(config, web=msgspec.structs.replace(config.web, listen=None)))


class SharedPort(Service):
    """The port of the main process, at which this one accepts calls too.

    Args:
        descriptor: of the listening socket; it is kept.
        listens: called when it accepts calls.
    """

    def __init__(
        self, descriptor: int, factory: FastAGIFactory, reactor: Any, listens: Callable[[], object] = lambda: None
    ) -> None:
        self._descriptor = descriptor
        self._factory = factory
        self._reactor = reactor
        self._listens = listens
        self._port: Any = None
        self._patience_s = DRAIN_TIMEOUT_S

    def prepare_certificates(self) -> None:
        """There are none: a shared port has no TLS."""
        return

    def startService(self) -> None:
        """Accept calls."""
        super().startService()
        with socket.socket(fileno=os.dup(self._descriptor)) as shared:
            family = shared.family
        os.set_blocking(self._descriptor, False)
        self._port = self._reactor.adoptStreamPort(self._descriptor, family, self._factory)
        os.close(self._descriptor)
        self._listens()

    def refuse_new(self) -> Deferred[Any]:
        """Accept no further call; those in progress go on, and so does the port of the other processes."""
        port, self._port = self._port, None
        self._patience_s = 0.0
        return maybeDeferred(port.stopListening if port is not None else lambda: None)

    def stopService(self) -> Deferred[Any]:
        """Accept no call, and close those in progress: after their current command, or at once after refuse_new."""
        super().stopService()
        patience_s = self._patience_s
        return DeferredList([self.refuse_new(), self._factory.drain(patience_s)])
