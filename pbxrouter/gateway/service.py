"""Builds the gateway: all services of the configuration, in one MultiService."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger

from pbxrouter import __version__, database
from pbxrouter.adapters import demand_starpy
from pbxrouter.agi import DialogueWatch
from pbxrouter.alarms import AlarmService, targets_of
from pbxrouter.ami import AMIConnection
from pbxrouter.call import (
    ActiveCalls,
    AsteriskFinder,
    CallFlow,
    CallJournal,
    CallProofs,
    HistoryWriter,
    PinCalls,
    PinChanges,
    PinGuard,
    Refusals,
    RepeatedCalls,
    Reports,
)
from pbxrouter.config import (
    DEFAULT_LISTEN,
    Config,
    PostgreSQLPlace,
    Zone,
    beside,
    gateway_id,
    read_alarm_secret,
    read_fastagi_secret,
)
from pbxrouter.control import (
    ControlCommand,
    ControlService,
    OriginateCommand,
    QueuesCommand,
    ReloadCommand,
    WatchCommand,
)
from pbxrouter.counter import CallCounter, FileTurn, RecordsOfCounters, ServerTurn, TalkOfCalls
from pbxrouter.database import LimitedDatabase, Store, open_store
from pbxrouter.database.rules import read_rules
from pbxrouter.drivers import DriverApplications, load_drivers
from pbxrouter.errors import StoreError
from pbxrouter.fastagi import DRAIN_TIMEOUT_S, Admission, FastAGIFactory, StandstillGuard, bounds_of
from pbxrouter.gateway import reload_parts
from pbxrouter.gateway.asterisk_service import AsteriskService
from pbxrouter.gateway.call_log import CallLog, DialogueLog
from pbxrouter.gateway.drain import Drain, LastRecords
from pbxrouter.gateway.readiness import WhenRouting
from pbxrouter.gateway.reload import Reload
from pbxrouter.gateway.sequential import SequentialService
from pbxrouter.gateway.state import state_of
from pbxrouter.health import HealthProbe
from pbxrouter.net import (
    UNSHARED,
    Bounds,
    ClockWatch,
    DescriptorWatch,
    Lateness,
    Listener,
    OtherProcesses,
    SharedBoard,
    SharedBounds,
    Worker,
    at_most,
    call_connections,
    every,
    raise_file_limit,
)
from pbxrouter.originate import Originator
from pbxrouter.rules import RulesEngine, RuleSet, RulesReloader
from pbxrouter.security import parse_network, pins, read_key
from pbxrouter.workers import MainJournal, MainParts, SharedWatch, WorkerPool, demand_sharable

if TYPE_CHECKING:
    from pbxrouter.web import WebServer

FORGET_EVERY_S: Final = 3600.0
"""Seconds between deletions of wrong PINs that are forgiven."""
CALL_WAIT_S: Final = 3.0
"""Seconds for which a call waits for the database: to count a PIN, or to change it. Without an answer it goes on."""
LOAD_S: Final = 3.0
"""Seconds for which a change of rules waits until the workers have loaded them."""
MAX_RESERVE: Final = 512
"""FastAGI connections beyond those that have a place, at most."""


def read_first_rules(config: Config) -> RuleSet:
    """Read the rules before the reactor runs.

    Raises:
        KeyFileError: the PIN key cannot be read.
        StoreError: the database cannot be read now.
    """
    with contextlib.closing(database.connect(config.place)) as connection:
        return read_rules(connection, functools.partial(pins.hash_pin, read_key(Path(config.pin_key_file))))


def _connected(finder: AsteriskFinder, manager: AMIConnection) -> None:
    finder.connected(str(manager.name), manager.peer)


def rules_if_readable(config: Config) -> RuleSet | None:
    """The rules; None if the database cannot be read now, which RulesReloader reports."""
    try:
        return read_first_rules(config)
    except StoreError:
        return None


def build(
    config: Config,
    reactor: Any,
    first_rules: Callable[[Config], RuleSet | None] = rules_if_readable,
    read: Callable[[], Config] | None = None,
) -> GatewayService:
    """Build all services that the configuration asks for.

    Calls are taken when there are rules: from the start with first_rules, else when RulesReloader has loaded some.

    Args:
        first_rules: returns the rules to begin with.
        read: reads the settings again, for a reload; None: they stay as they are.

    Raises:
        ConfigError: an AMI endpoint or secret file cannot be used.
        KeyFileError: the PIN key cannot be read.
    """
    key = read_key(Path(config.pin_key_file))
    hash_pin = functools.partial(pins.hash_pin, key)
    drivers = load_drivers(config)
    reload = Reload(config, read or (lambda: config))
    applications = DriverApplications(drivers)
    engine = RulesEngine(applications)
    rules = first_rules(config)
    if rules is not None:
        engine.replace(rules)
    demand_sharable(config.fastagi.listen, config.gateway.workers)
    is_shared = config.gateway.workers > 1
    watch = SharedWatch() if is_shared else DialogueWatch()
    reload.add(reload_parts.dialogue_log(watch, DialogueLog(), config.fastagi.debug))
    store = open_store(config.place, hash_pin, reactor)
    reports, recorded = Reports(), Reports()
    recorded.add(CallLog(len(config.asterisk) > 1).report)
    alarms = AlarmService(targets_of(config, reactor, time.time), reactor, time.time)
    refusals = Refusals(reports, alarm=alarms.raise_alarm)
    reports.add(refusals.report)
    active_calls = ActiveCalls()
    at_hand = LimitedDatabase(store, CALL_WAIT_S, reactor)
    guard = PinGuard(at_hand, config.trunks, time.time, alarms.raise_alarm, has_several=len(config.asterisk) > 1)
    pin_calls = PinCalls(at_hand, time.time)
    reloader = RulesOfAll(store, engine, reactor) if is_shared else RulesReloader(store, engine, reactor)
    changes = PinChanges(at_hand, guard, hash_pin, reloader.reload, time.time)
    secret = read_fastagi_secret(config)
    proofs = CallProofs(has_secret=bool(secret), allows_others=bool(config.fastagi.allow), key=key)
    finder = AsteriskFinder(reload_parts.hosts_of(config), time.monotonic, proofs.is_simulated)
    worker = Worker(reactor, "journal")
    own_id = gateway_id(config)
    journal = (MainJournal if is_shared else CallJournal)(beside(config.place, ""), time.time, worker.run, own_id)
    history = HistoryWriter(store, config.history.keep_days, reactor, time.time, journal)
    talk = TalkOfCalls(reactor, history)
    flow = CallFlow(
        engine,
        drivers,
        config.prompts,
        reports,
        active_calls,
        guard=guard,
        pin_calls=pin_calls,
        pin_changes=changes,
        trunks=config.trunks,
        journal=journal,
        proofs=proofs,
        talks=talk,
        cdr_field=config.history.cdr_field,
        asterisk_of=finder.of,
    )

    reload.add(reload_parts.calls(flow, guard, drivers, applications))
    reload.add(reload_parts.pin_key(key))
    reload.add(reload_parts.alarms(alarms, reactor, time.time, read_alarm_secret(config)))
    gateway = GatewayService(reactor, flow, engine, reload)  # stopped in reverse: calls first, the database last
    alarms.setServiceParent(gateway)
    descriptors = DescriptorWatch(reactor)
    descriptors.setServiceParent(gateway)
    ClockWatch(reactor).setServiceParent(gateway)
    StoreService(store).setServiceParent(gateway)
    WorkerService(worker).setServiceParent(gateway)
    every(FORGET_EVERY_S, guard.forget, reactor, gateway)
    every(PinCalls.WRITE_EVERY_S, pin_calls.write, reactor, gateway)
    history.setServiceParent(gateway)
    talk.setServiceParent(gateway)
    recorded.add(talk.report)
    repeats = RepeatedCalls(recorded, history.leave_out, reactor)
    repeats.setServiceParent(gateway)
    reports.add(repeats.report)
    reloader.setServiceParent(gateway)
    LastRecords(flow, reactor).setServiceParent(gateway)
    board = SharedBoard.create(config.gateway.workers) if is_shared else None
    standstill = StandstillGuard(reactor, board)
    standstill.setServiceParent(gateway)
    lateness = Lateness(reactor)
    lateness.setServiceParent(gateway)
    admitted = admission(
        config,
        reactor,
        lambda: lateness.seconds,
        lambda: [manager.peer for manager in proofs.managers if manager.peer],
        secret,
        board,
    )
    fastagi = fastagi_factory(config)(flow.serve, reactor, watch, admitted, refusals.refused, own_id, standstill)
    fastagi.new_key = journal.reserve
    listening = WhenRouting(engine, reactor)
    listening.setServiceParent(gateway)
    pool = None
    if (
        isinstance(watch, SharedWatch)
        and isinstance(reloader, RulesOfAll)
        and isinstance(journal, MainJournal)
        and board is not None
    ):
        parts = MainParts(
            reports,
            refusals,
            guard,
            pin_calls,
            proofs,
            talk,
            journal,
            history,
            active_calls,
            watch,
            alarms.raise_alarm,
            reloader.reload,
        )
        settings = functools.partial(worker_settings, reload, key, secret, own_id)
        pool = WorkerPool(config.gateway.workers, board, parts, settings, fastagi, reactor)
        reloader.others = pool.load_rules
        reload.add(reload_parts.workers(pool))
    fastagi_port = FastAGIService(config.fastagi.listen, fastagi, reactor, standstill, pool)
    fastagi_port.setServiceParent(listening)
    reload.add(reload_parts.fastagi(fastagi.admission, proofs, fastagi_port, fastagi_limits, secret))
    asterisks = [
        AsteriskService(
            asterisk,
            flow.serve,
            engine,
            config.technologies,
            watch,
            reactor,
            refusals.refused,
            own_id,
            journal.reserve,
        )
        for asterisk in config.asterisk
    ]
    for asterisk in asterisks:
        asterisk.setServiceParent(gateway)
    managers = [asterisk.manager for asterisk in asterisks if asterisk.manager is not None]
    proofs.managers = managers
    for manager in managers:
        manager.on_connect(functools.partial(_connected, finder, manager))
    proofs.is_complete = len(proofs.managers) == len(asterisks)
    counters = talk.counters = add_counters(config, asterisks, store, reports, reactor)
    reload.add(reload_parts.days(history, counters))
    reload.add(reload_parts.asterisks(asterisks, finder))
    originators = {asterisk.name: asterisk.originator for asterisk in asterisks if asterisk.originator is not None}
    health = HealthProbe(
        [(asterisk.name, asterisk.manager) for asterisk in asterisks],
        counters,
        engine,
        reloader,
        history,
        config.fastagi.listen,
        fastagi if pool is None else pool,
        time.time,
        time.monotonic,
        descriptors,
        lambda: [store.figures, *alarms.queues],
        {asterisk.name: asterisk.claims for asterisk in asterisks if asterisk.claims is not None},
        lambda: None if pool is None else pool.trouble,
    )
    if config.web.listen is not None:
        web = web_service(
            config,
            key,
            store,
            engine,
            reloader,
            applications,
            originators,
            counters,
            active_calls,
            refusals,
            health,
            guard,
            reactor,
        )
        web.setServiceParent(gateway)
        reload.add(reload_parts.web(web))
    commands: dict[str, ControlCommand] = {
        "watch": WatchCommand(watch),
        "originate": OriginateCommand(originators),
        "queues": QueuesCommand(
            health.queues, lambda: {counter.asterisk: counter.withheld for counter in counters if counter.withheld}
        ),
        "reload": ReloadCommand(lambda: gateway.reload_all()),
    }
    ControlService(config.control, commands, reactor).setServiceParent(gateway)
    workers = () if pool is None else (pool,)
    gateway.state = functools.partial(state_of, flow, fastagi, asterisks, history, engine, workers)
    ready = WhenRouting(engine, reactor)
    ready.setServiceParent(gateway)
    Banner(config).setServiceParent(ready)
    for part in workers:
        part.setServiceParent(gateway)
    gateway.in_progress = lambda: flow.in_progress + sum(part.in_progress for part in workers)
    Drain(flow, [fastagi_port, *workers, *asterisks], reactor).setServiceParent(gateway)
    return gateway


def worker_settings(reload: Reload, key: bytes, secret: str, own_id: str) -> dict[str, Any]:
    """The settings, key and secret that a worker gets at its start, by a socket pair between the two processes."""
    return {"config": msgspec.to_builtins(reload.config), "key": key, "secret": secret, "gateway": own_id}


def fastagi_factory(config: Config) -> type[FastAGIFactory]:
    """The FastAGI factory that ``fastagi.library`` asks for.

    Raises:
        ConfigError: StarPy is asked for and not installed.
    """
    if config.fastagi.library != "starpy":
        return FastAGIFactory
    demand_starpy("fastagi.library")
    from pbxrouter.adapters.starpy_fastagi import StarpyFactory  # imports StarPy

    return StarpyFactory


def admission(
    config: Config,
    reactor: Any,
    lateness: Callable[[], float] = lambda: 0.0,
    trusted: Callable[[], Iterable[str]] = tuple,
    secret: str | None = None,
    others: OtherProcesses | None = None,
    limits: reload_parts.Limits | None = None,
) -> Admission:
    """The admission that ``[fastagi]`` configures.

    Args:
        lateness: see Admission, as the next one, and ``others``.
        secret: that of calls; None: it is read from its file.
        limits: by default those of the main process.

    Raises:
        ConfigError: the secret file cannot be used.
    """
    networks = [network for network in map(parse_network, config.fastagi.allow) if network is not None]
    secret = read_fastagi_secret(config) if secret is None else secret
    bounds, reserve, shared = (limits or fastagi_limits)(config)
    return Admission(reactor, networks, secret, bounds, reserve, lateness, trusted, others, shared)


def fastagi_limits(config: Config) -> tuple[Bounds, int, SharedBounds]:
    """The bounds of FastAGI connections, how many more may be told that the gateway is busy, and the common bounds."""
    files = raise_file_limit()
    return fastagi_bounds(config, files), fastagi_reserve(config, files), shared_bounds(config)


def shared_bounds(config: Config) -> SharedBounds:
    """The bounds of the FastAGI connections of all processes together: as configured.

    By default each process has those that its open files allow.
    """
    most, of_peer = config.fastagi.max_connections, config.fastagi.max_connections_per_peer
    if config.gateway.workers == 1:
        return UNSHARED
    return SharedBounds(most, of_peer or (max(1, most * 3 // 4) if most else 0))


def fastagi_reserve(config: Config, files: int) -> int:
    """How many further connections may be told that the gateway is busy: an eighth of what open files allow."""
    return max(8, min(MAX_RESERVE, call_connections(files, config.web.listen is not None) // 8))


def fastagi_bounds(config: Config, files: int) -> Bounds:
    """The bounds of FastAGI connections: as configured, and within the limit of open files.

    By default one peer may have three quarters: few gateways serve more than one Asterisk, and the rest stays free
    if another peer takes its share.
    """
    room = call_connections(files, config.web.listen is not None) - fastagi_reserve(config, files)
    most = min(room, config.fastagi.max_connections or room)
    of_peer = config.fastagi.max_connections_per_peer or max(1, most * 3 // 4)
    return bounds_of(most, min(most, of_peer))


def add_counters(
    config: Config,
    asterisks: Iterable[AsteriskService],
    store: Store,
    reports: Reports,
    reactor: Any,
    now: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> list[CallCounter]:
    """Add a call counter to each Asterisk with an AMI connection."""
    counters = []
    for asterisk in asterisks:
        if asterisk.manager is not None:
            name = str(asterisk.manager.name)
            turn: FileTurn | ServerTurn = (
                ServerTurn(store, name, monotonic)
                if isinstance(config.place, PostgreSQLPlace)
                else FileTurn(config.place, name)
            )
            counter = CallCounter(asterisk.manager, store, reactor, config.counter.keep_days, now, monotonic, turn)
            counter.setServiceParent(asterisk)
            counters.append(counter)
    reports.add(RecordsOfCounters(counters).report)
    return counters


def web_service(
    config: Config,
    key: bytes,
    store: Store,
    engine: RulesEngine,
    reloader: RulesReloader,
    applications: DriverApplications,
    originators: Mapping[str, Originator],
    counters: list[CallCounter],
    active_calls: ActiveCalls,
    refusals: Refusals,
    health: HealthProbe,
    guard: PinGuard,
    reactor: Any,
) -> WebServer:
    """Build the web server.

    Args:
        key: the PIN key.

    Raises:
        ConfigError: ``[web]`` cannot be used.
    """
    # Its libraries import the global reactor: not before it is needed.
    from pbxrouter.web import WebContext, build_web

    hash_pin = functools.partial(pins.hash_pin, key)
    web = WebContext(
        config=config,
        reading=open_store(config.place, hash_pin, reactor),
        writing=store,
        engine=engine,
        reloader=reloader,
        applications=applications,
        hash_pin=hash_pin,
        key=key,
        originators=originators,
        counters=counters,
        active_calls=active_calls,
        health=health,
        zone=Zone(config.web.timezone),
        now=time.time,
        reactor=reactor,
        refused_calls=lambda: refusals.total,
        pin_guard=guard,
    )
    return build_web(web)


class GatewayService(SequentialService):
    """The whole gateway.

    Attributes:
        flow: the calls in progress.
        engine: tells when calls can be routed.
        reload: the settings in force, and their reload.
        state: describes the state of the parts, a line each.
        in_progress: returns the number of calls in progress, in all processes.
        reload_all: reloads the settings, and what else the process holds open; by default the settings alone.
    """

    def __init__(self, reactor: Any, flow: CallFlow, engine: RulesEngine, reload: Reload) -> None:
        super().__init__(reactor)
        self.flow = flow
        self.engine = engine
        self.reload = reload
        self.reload_all: Callable[[], list[str]] = reload.run
        self.state: Callable[[], Iterable[str]] = tuple
        self.in_progress: Callable[[], int] = lambda: flow.in_progress


class StoreService(Service):
    """Closes the store when the gateway stops."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def stopService(self) -> Deferred[None]:
        """Close the database."""
        super().stopService()
        return self._store.close()


class WorkerService(Service):
    """Ends a worker's thread when the gateway stops."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def stopService(self) -> None:
        """End the thread."""
        super().stopService()
        self._worker.stop()


class FastAGIService(Listener):
    """The FastAGI port; when stopped, lets the commands in progress finish first.

    Args:
        description: a server endpoint string.
        guard: is told of the port.
        pool: likewise; the workers share it.
    """

    def __init__(
        self,
        description: str,
        factory: FastAGIFactory,
        reactor: Any,
        guard: StandstillGuard,
        pool: WorkerPool | None = None,
    ) -> None:
        super().__init__("fastagi.listen", description, DEFAULT_LISTEN, factory, reactor, self._listens)
        self._guard = guard
        self._pool = pool
        self._factory = factory
        self._patience_s = DRAIN_TIMEOUT_S

    def _listens(self, port: Any) -> None:
        self._guard.listen(port)
        if self._pool is not None:
            self._pool.listen(port)

    def refuse_new(self) -> None:
        """Close the port; calls in progress go on."""
        self._guard.deaf()
        for port in list(self):
            port.disownServiceParent()
        self._patience_s = 0.0

    def stopService(self) -> Deferred[Any]:
        """Stop listening, and close the calls in progress: after their current command, or at once after refuse_new."""
        self._guard.deaf()
        stopped = super().stopService()
        return DeferredList([stopped, self._factory.drain(self._patience_s)])


class RulesOfAll(RulesReloader):
    """Loads the rules of the main process, and whenever it has, those of its workers, which do not look themselves.

    Attributes:
        others: has the workers load them; fires when they have.
    """

    def __init__(self, store: Store, engine: RulesEngine, clock: Any) -> None:
        super().__init__(store, engine, clock)
        self._rules = engine
        self._time = clock
        self._loading: Deferred[Any] = succeed(None)
        self.others: Callable[[], Deferred[Any]] = lambda: succeed(None)

    async def poll(self) -> None:
        """Load the rules if they have changed, and have the workers load them. Never fails."""
        before = self._rules.rules
        await super().poll()
        if self._rules.rules is not before:
            self._loading = self.others()

    async def reload(self) -> None:
        """Load the rules now in all processes, and wait for that for some seconds at most. Never fails."""
        await super().reload()
        if not await at_most(LOAD_S, self._loading, self._time):
            self.log.warn("rules: a worker takes longer than {seconds:.0f} s to load them", seconds=LOAD_S)


class Banner(Service):
    """Logs that the gateway is up and takes calls, and what to type next."""

    log = Logger()

    def __init__(self, config: Config) -> None:
        self._config = config

    def startService(self) -> None:
        """Log the lines; all other services have started."""
        super().startService()
        self.log.info(
            "pbxrouter {version} (gateway {gateway}) is up: FastAGI at {listen}, rules in {database}",
            version=__version__,
            gateway=gateway_id(self._config),
            listen=self._config.fastagi.listen,
            database=self._config.place,
        )
        self.log.info(
            "gateway: next, in another terminal:  pbxrouter call 21 --from 33   (or make call NUMBER=21 FROM=33)"
        )
