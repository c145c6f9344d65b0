"""Runs all checks of the doctor, for the command line and the running gateway.

Checks that block run in a thread. Use: ``findings = await examine(config, reactor)``.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger, LogLevel

from pbxrouter.ami import account_of
from pbxrouter.config import Asterisk, Config, gateway_id, host_of_ami, of_endpoint
from pbxrouter.doctor.asterisk import check_asterisk
from pbxrouter.doctor.claims import check_claims
from pbxrouter.doctor.dialplan import HERE, check_dialplan
from pbxrouter.doctor.files import check_files, load_names, not_allowed, phones_of, tied_extensions
from pbxrouter.doctor.finding import AS_OWNER, Finding, unknown, wrong
from pbxrouter.doctor.forwarding import check_forwarding, check_options
from pbxrouter.doctor.identity import check_endpoints, unknown_endpoints
from pbxrouter.doctor.probe import area_of, log_in
from pbxrouter.doctor.running import check_gateway
from pbxrouter.doctor.sounds import check_sounds
from pbxrouter.drivers import GROUP
from pbxrouter.errors import ConfigError, ManagerError
from pbxrouter.text import Sentence, printable, sentence

AT_ONCE: Final = 4
"""Asterisks that are examined at a time."""
STEP_S: Final = 60.0
"""Seconds that the checks of files, of the gateway, or of one Asterisk may take."""

_EXTENSIONS: Final = Sentence("extensions")
_log: Final = Logger(namespace=__name__)

T = TypeVar("T")
Tell = Callable[[Finding], object]


async def examine(config: Config, reactor: Any, tell: Tell | None = None, sounds: str | None = None) -> list[Finding]:
    """Check settings, database, gateway, Asterisk and dialplan; nothing is changed, no call is made.

    Problems are findings, not exceptions. It takes up to a minute if many parts do not answer.

    Args:
        reactor: for connections, and for its thread pool.
        tell: called with each finding as soon as it is made.
        sounds: the folder of Asterisk's sounds on this machine; None is the folder that Asterisk names.
    """
    found: list[Finding] = []
    untold: list[Exception] = []  # what tell has raised

    def note(findings: Iterable[Finding]) -> None:
        for finding in findings:
            found.append(finding)
            if tell is not None:
                try:
                    tell(finding)
                except Exception as error:
                    untold.append(error)
                    raise

    async def step(
        area: Sentence,
        work: Coroutine[Deferred[Any], Any, T],
        otherwise: T,
        note: Callable[[Iterable[Finding]], None] = note,
    ) -> T:
        """Make some checks; one that fails unexpectedly, or does not end, is a finding and stops no other."""
        try:
            return await Deferred.fromCoroutine(work).addTimeout(STEP_S, reactor)
        except defer.TimeoutError:
            why = sentence("the check did not end within {seconds} s", seconds=f"{STEP_S:.0f}")
            note([unknown(area, why, Sentence("run this again; a disk or a server that it needs may not answer"))])
        except Exception as error:
            if error in untold:
                raise
            _log.failure("doctor: a check failed unexpectedly", level=LogLevel.error)
            why = sentence("the check failed: {why}", why=printable(f"{type(error).__name__}: {error}"))
            note([unknown(area, why, Sentence("this is a bug in pbxrouter: please report it"))])
        return otherwise

    async def files() -> None:
        points = await _in_thread(reactor, lambda: entry_points(group=GROUP))
        drivers = load_names(config, points)  # not in a thread: drivers may expect the reactor's
        note(await _in_thread(reactor, lambda: list(check_files(config, drivers))))

    async def gateway() -> None:
        note(await _in_thread(reactor, lambda: list(check_gateway(config, connect))))

    async def tied_to() -> Mapping[str, str] | None:
        return await _in_thread(reactor, lambda: tied_extensions(config.place))

    await step(Sentence("database"), files(), None)
    await step(Sentence("gateway"), gateway(), None)
    note(check_options(config, Sentence("settings")))
    if not config.asterisk:
        note([_no_asterisk()])
    note(_proof(config))
    tied = await step(_EXTENSIONS, tied_to(), None)
    endpoints = {*config.trunks, *(tied or {}).values()}
    # Several at a time, since of twenty some may not answer; what was found is told in the order of the settings.
    places = DeferredSemaphore(AT_ONCE)
    kept: dict[str, list[Finding]] = {asterisk.name: [] for asterisk in config.asterisk}

    async def examine_one(asterisk: Asterisk) -> frozenset[str] | None:
        def keep(findings: Iterable[Finding]) -> None:
            kept[asterisk.name] += findings

        work = _examine_asterisk(config, asterisk, reactor, keep, sounds, endpoints)
        return await step(area_of(asterisk), work, None, keep)

    examined = {
        asterisk.name: places.run(lambda asterisk: Deferred.fromCoroutine(examine_one(asterisk)), asterisk)
        for asterisk in config.asterisk
    }
    missing = {}
    for name, examination in examined.items():
        missing[name] = await examination
        note(kept[name])
    note(check_endpoints(config.trunks, tied, missing))
    return found


def connect(listen: str, timeout_s: float) -> socket.socket:
    """Connect to the place where an endpoint string listens; see running.Connect."""
    return of_endpoint(listen).connect(timeout_s)


async def _in_thread(reactor: Any, work: Callable[[], T]) -> T:
    return await deferToThreadPool(reactor, reactor.getThreadPool(), work)


def _no_asterisk() -> Finding:
    return unknown(
        Sentence("AMI"),
        Sentence(
            "no [[asterisk]] is in the settings: no counter, no click-to-dial, no MAGI, no heartbeat; dialplan, sounds "
            "and trunks were not checked"
        ),
        Sentence("docs/configuration.md explains how to add one; FastAGI calls need none"),
    )


def _proof(config: Config) -> Iterator[Finding]:
    """Whether calls that come without the secret can be proven to be Asterisk's, when they key a PIN."""
    if config.fastagi.secret_file or (config.asterisk and all(asterisk.secret_file for asterisk in config.asterisk)):
        return
    yield unknown(
        Sentence("PINs"),
        Sentence("without a connection to AMI, calls that key a PIN cannot be proven to be Asterisk's"),
        Sentence("add [[asterisk]] with its secret_file for each Asterisk, or set fastagi.secret_file"),
    )


def _not_checked(asterisk: Asterisk) -> list[Finding]:
    """What was not checked of an Asterisk to which there is no connection."""
    todo = sentence("see {area}, then run this again", area=area_of(asterisk))
    return [
        unknown(
            sentence("dialplan {name}", name=asterisk.name),
            Sentence("what follows the log-in was not checked: version, clock, heartbeat, rights, dialplan, fallback"),
            todo,
        ),
        unknown(
            sentence("sounds {name}", name=asterisk.name),
            Sentence("the prompts were not checked, since Asterisk could not be asked for their folder"),
            todo,
        ),
    ]


async def _examine_asterisk(
    config: Config,
    asterisk: Asterisk,
    reactor: Any,
    note: Callable[[Iterable[Finding]], None],
    sounds: str | None,
    endpoints: Collection[str],
) -> frozenset[str] | None:
    """Check an Asterisk; returns those of the endpoints that it does not have, None if that is not known."""
    area = area_of(asterisk)
    if not asterisk.secret_file:
        note(
            [
                *_not_checked(asterisk),
                wrong(
                    area,
                    Sentence("no secret_file is set, so the gateway cannot log in"),
                    Sentence(
                        "write the secret of its user in manager.conf into a file of mode 0600, and name "
                        "that in asterisk.secret_file"
                    ),
                ),
            ]
        )
        return None
    try:
        account = await _in_thread(reactor, lambda: account_of(asterisk))
    except ConfigError as error:
        why = await _in_thread(reactor, lambda: not_allowed(Path(asterisk.secret_file)))
        note([wrong(area, error.sentence) if why is None else unknown(area, why, AS_OWNER), *_not_checked(asterisk)])
        return None
    probe = await log_in(asterisk, account, reactor, time.time)
    if isinstance(probe, Finding):
        note([probe, *_not_checked(asterisk)])
        return None
    try:
        note(await check_asterisk(probe))
        note(await check_claims(probe, gateway_id(config)))
        note(await check_dialplan(probe, config, aside=lambda look: _in_thread(reactor, look)))
        phones = await _in_thread(reactor, lambda: phones_of(config.place, asterisk.name))
        note(
            await check_forwarding(
                probe, config, sentence("dialplan {name}", name=asterisk.name), {*endpoints, *phones}
            )
        )
        data = await probe.variable("ASTDATADIR")
        is_here = host_of_ami(asterisk.ami) in HERE  # a folder of that name here is not that of another machine
        folder = Path(sounds) if sounds else Path(data) / "sounds" if data and is_here else None
        heard = sentence("sounds {name}", name=asterisk.name)
        note(await _in_thread(reactor, lambda: list(check_sounds(config, folder, heard))))
        return await unknown_endpoints(probe, endpoints)
    except ManagerError as error:
        note(
            [
                wrong(area, error.sentence, Sentence("run this again; Asterisk's log may say more")),
                *_not_checked(asterisk),
            ]
        )
        return None
    finally:
        probe.protocol.close()
