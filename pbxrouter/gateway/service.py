"""Builds the gateway: all services of the configuration, in one MultiService."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from pbxrouter import __version__
from pbxrouter.adapters import demand_starpy
from pbxrouter.agi import DialogueWatch
from pbxrouter.alarms import AlarmService, targets_of
from pbxrouter.call import ActiveCalls, CallFlow, HistoryWriter, PinCalls, PinChanges, PinGuard, Refusals, Reports
from pbxrouter.config import DEFAULT_LISTEN, Config, read_fastagi_secret
from pbxrouter.control import ControlCommand, ControlService, OriginateCommand, WatchCommand
from pbxrouter.counter import CallCounter
from pbxrouter.database import Store
from pbxrouter.drivers import load_drivers
from pbxrouter.fastagi import Admission, FastAGIFactory, bounds_of
from pbxrouter.gateway.asterisk_service import AsteriskService
from pbxrouter.gateway.call_log import CallLog, DialogueLog
from pbxrouter.gateway.sequential import SequentialService
from pbxrouter.health import HealthProbe
from pbxrouter.net import Bounds, Lateness, Listener, call_connections, every, raise_file_limit
from pbxrouter.originate import Originator
from pbxrouter.rules import RulesEngine, RulesReloader
from pbxrouter.security import parse_network, pins, read_key

FORGET_EVERY_S: Final = 3600.0
"""Seconds between deletions of wrong PINs that are forgiven."""
MAX_RESERVE: Final = 512
"""FastAGI connections beyond those that have a place, at most."""


def build(config: Config, reactor: Any) -> MultiService:
    """Build all services that the configuration asks for.

    Raises:
        ConfigError: an AMI endpoint or secret file cannot be used.
        KeyFileError: the PIN key cannot be read.
    """
    hash_pin = functools.partial(pins.hash_pin, read_key(Path(config.pin_key_file)))
    drivers = load_drivers(config)
    engine = RulesEngine(drivers.keys())
    watch = DialogueWatch()
    if config.fastagi.debug:
        watch.add(DialogueLog().tell)
    store = Store(Path(config.database), hash_pin, reactor)
    reports = Reports()
    reports.add(CallLog().report)
    alarms = AlarmService(targets_of(config, reactor, time.time), reactor, time.time)
    refusals = Refusals(reports, alarm=alarms.raise_alarm)
    reports.add(refusals.report)
    active_calls = ActiveCalls()
    guard = PinGuard(store, config.trunks, time.time, alarms.raise_alarm)
    pin_calls = PinCalls(store, time.time)
    reloader = RulesReloader(store, engine, reactor)
    changes = PinChanges(store, guard, hash_pin, reloader.reload, time.time)
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
    )

    gateway = SequentialService()  # stopped in reverse: calls first, the database last
    alarms.setServiceParent(gateway)
    StoreService(store).setServiceParent(gateway)
    every(FORGET_EVERY_S, guard.forget, reactor, gateway)
    every(PinCalls.WRITE_EVERY_S, pin_calls.write, reactor, gateway)
    history = HistoryWriter(store, config.history.keep_days, reactor, time.time)
    history.setServiceParent(gateway)
    reports.add(history.report)
    reloader.setServiceParent(gateway)
    asterisks = [
        AsteriskService(asterisk, flow.serve, engine, config.technologies, watch, reactor, refusals.refused)
        for asterisk in config.asterisk
    ]
    lateness = Lateness(reactor)
    lateness.setServiceParent(gateway)
    managers = [asterisk.manager for asterisk in asterisks if asterisk.manager is not None]
    admitted = admission(
        config, reactor, lambda: lateness.seconds, lambda: [manager.peer for manager in managers if manager.peer]
    )
    fastagi = fastagi_factory(config)(flow.serve, reactor, watch, admitted, refusals.refused)
    FastAGIService(config.fastagi.listen, fastagi, reactor).setServiceParent(gateway)
    for asterisk in asterisks:
        asterisk.setServiceParent(gateway)
    counters = add_counters(config, asterisks, store, reports, reactor)
    originators = {asterisk.name: asterisk.originator for asterisk in asterisks if asterisk.originator is not None}
    if config.web.listen is not None:
        named = [(asterisk.name, asterisk.manager) for asterisk in asterisks]
        health = HealthProbe(named, counters, engine, reloader, history, config.fastagi.listen, fastagi, reactor)
        web_service(
            config,
            store,
            engine,
            reloader,
            frozenset(drivers),
            originators,
            counters,
            active_calls,
            refusals,
            health,
            guard,
            reactor,
        ).setServiceParent(gateway)
    wishes: dict[str, ControlCommand] = {
        "watch": WatchCommand(watch),
        "originate": OriginateCommand(originators),
    }
    ControlService(config.control, wishes, reactor).setServiceParent(gateway)
    Banner(config).setServiceParent(gateway)
    return gateway


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
) -> Admission:
    """The admission that ``[fastagi]`` configures.

    Args:
        lateness: see Admission, as the next one.

    Raises:
        ConfigError: the secret file cannot be used.
    """
    networks = [network for network in map(parse_network, config.fastagi.allow) if network is not None]
    files = raise_file_limit()
    return Admission(
        reactor,
        networks,
        read_fastagi_secret(config),
        fastagi_bounds(config, files),
        fastagi_reserve(config, files),
        lateness,
        trusted,
    )


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
    config: Config, asterisks: Iterable[AsteriskService], store: Store, reports: Reports, reactor: Any
) -> list[CallCounter]:
    """Add a call counter to each Asterisk with an AMI connection."""
    counters = []
    for asterisk in asterisks:
        if asterisk.manager is not None:
            counter = CallCounter(asterisk.manager, store, reactor, config.counter.keep_days)
            counter.setServiceParent(asterisk)
            reports.add(counter.report)
            counters.append(counter)
    return counters


def web_service(
    config: Config,
    store: Store,
    engine: RulesEngine,
    reloader: RulesReloader,
    applications: frozenset[str],
    originators: Mapping[str, Originator],
    counters: list[CallCounter],
    active_calls: ActiveCalls,
    refusals: Refusals,
    health: HealthProbe,
    guard: PinGuard,
    reactor: Any,
) -> IService:
    """Build the web server.

    Raises:
        ConfigError: ``[web]`` cannot be used.
        KeyFileError: the key cannot be read.
    """
    # Its libraries import the global reactor: not before it is needed.
    from pbxrouter.web import WebContext, Zone, build_web

    key = read_key(Path(config.pin_key_file))
    hash_pin = functools.partial(pins.hash_pin, key)
    web = WebContext(
        config=config,
        reading=Store(Path(config.database), hash_pin, reactor),
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


class StoreService(Service):
    """Closes the store when the gateway stops."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def stopService(self) -> Deferred[None]:
        """Close the database."""
        super().stopService()
        return self._store.close()


class FastAGIService(Listener):
    """The FastAGI port; when stopped, lets the commands in progress finish first.

    Args:
        description: a server endpoint string.
    """

    def __init__(self, description: str, factory: FastAGIFactory, reactor: Any) -> None:
        super().__init__("fastagi.listen", description, DEFAULT_LISTEN, factory, reactor)
        self._factory = factory

    def stopService(self) -> Deferred[Any]:
        """Stop listening, and close the calls in progress after their current command."""
        stopped = super().stopService()
        return DeferredList([stopped, self._factory.drain()])


class Banner(Service):
    """Logs that the gateway is up, and what to type next."""

    log = Logger(namespace="pbxrouter")

    def __init__(self, config: Config) -> None:
        self._config = config

    def startService(self) -> None:
        """Log the lines; all other services have started."""
        super().startService()
        self.log.info(
            "pbxrouter {version} is up: FastAGI at {listen}, rules in {database}",
            version=__version__,
            listen=self._config.fastagi.listen,
            database=self._config.database,
        )
        self.log.info("next, in another terminal:  pbxrouter call 21 --from 33   (or make call NUMBER=21 FROM=33)")
