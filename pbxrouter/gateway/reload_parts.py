"""What each part of the gateway does when the settings are reloaded: how it checks new ones, and takes them."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from pbxrouter.agi import DialogueWatch
from pbxrouter.alarms import AlarmService, targets_of
from pbxrouter.call import AsteriskFinder, CallFlow, CallProofs, HistoryWriter, PinGuard
from pbxrouter.config import Asterisk, Config, host_of_ami, read_alarm_secret, read_fastagi_secret
from pbxrouter.counter import CallCounter
from pbxrouter.drivers import GROUP, Driver, DriverApplications, load_drivers
from pbxrouter.errors import KeyFileError
from pbxrouter.fastagi import Admission
from pbxrouter.gateway.asterisk_service import AsteriskService
from pbxrouter.gateway.call_log import DialogueLog
from pbxrouter.gateway.reload import Prepare, Prepared
from pbxrouter.net import Bounds, SharedBounds
from pbxrouter.security import parse_network, read_key
from pbxrouter.workers import WorkerPool

_CERTIFICATE: Final = "{}: the certificate is loaded again"

Limits = Callable[[Config], tuple[Bounds, int, SharedBounds]]
"""The bounds of FastAGI connections by the settings, how many more may be told that the gateway is busy, and the bounds
of all processes together."""


class Port(Protocol):
    """The FastAGI port; as net.Listener."""

    def prepare_certificates(self) -> Callable[[], None] | None:
        """Load certificates again; None if there are none."""
        ...


def calls(flow: CallFlow, guard: PinGuard, drivers: Mapping[str, Driver], applications: DriverApplications) -> Prepare:
    """Drivers (for ``dial``, ``technologies`` and those of other packages), prompts, trunks and the CDR's field."""
    in_use = dict(drivers)
    installed = list(entry_points(group=GROUP))  # those of the start: a package that is installed later needs a restart

    def prepare(old: Config, new: Config) -> Prepared:
        if old == new:
            return Prepared(lambda: None)
        loaded = load_drivers(new, installed)
        found = {name: loaded.get(name, driver) for name, driver in in_use.items()}
        failed = sorted(in_use.keys() - loaded.keys())

        def apply() -> None:
            in_use.update(found)
            flow.reconfigure(found, new.prompts, new.trunks, new.history.cdr_field)
            applications.replace(found)
            guard.set_trunks(new.trunks)

        return Prepared(apply, [f"driver {name} cannot be loaded anew: the one in force stays" for name in failed])

    return prepare


def dialogue_log(watch: DialogueWatch, log: DialogueLog, wanted: bool) -> Prepare:
    """Put the setting ``fastagi.debug`` in force.

    Args:
        wanted: whether to log the dialogues from the beginning.
    """
    stop: list[Callable[[], object]] = []

    def follow(wanted: bool) -> None:
        if wanted and not stop:
            stop.append(watch.add(log.tell))
        elif not wanted and stop:
            stop.pop()()

    def prepare(old: Config, new: Config) -> Prepared:
        return Prepared(lambda: follow(new.fastagi.debug))

    follow(wanted)
    return prepare


def days(history: HistoryWriter, counters: Sequence[CallCounter]) -> Prepare:
    """``history.keep_days`` and ``counter.keep_days``."""

    def prepare(old: Config, new: Config) -> Prepared:
        def apply() -> None:
            history.keep_days = new.history.keep_days
            for counter in counters:
                counter.keep_days = new.counter.keep_days

        return Prepared(apply)

    return prepare


def fastagi(admission: Admission, proofs: CallProofs, port: Port, limits: Limits, secret: str) -> Prepare:
    """Who may connect, the secret of calls, and the limits of connections.

    Args:
        proofs: know whether there is a secret, and whether the settings name the peers.
        secret: the one in force.
    """
    in_force = [secret]

    def prepare(old: Config, new: Config) -> Prepared:
        networks = [network for network in map(parse_network, new.fastagi.allow) if network is not None]
        found = read_fastagi_secret(new)
        bounds, reserve, shared = limits(new)
        renew = port.prepare_certificates()

        def apply() -> None:
            in_force[0] = found
            admission.reconfigure(networks, found, bounds, reserve, shared)
            proofs.reconfigure(has_secret=bool(found), allows_others=bool(new.fastagi.allow))
            if renew is not None:
                renew()

        changed = _changed("fastagi.secret_file", found.encode(), in_force[0].encode(), old, new, new.fastagi)
        return Prepared(apply, [*changed, *([_CERTIFICATE.format("fastagi.listen")] if renew else [])])

    return prepare


def _changed(key: str, found: bytes, in_force: bytes, old: Config, new: Config, section: Any) -> list[str]:
    """A line if a secret has changed in its file; that the settings name another file is said elsewhere."""
    if hmac.compare_digest(found, in_force) or getattr(old, key.partition(".")[0]).secret_file != section.secret_file:
        return []
    return [f"{key}: reloaded: the secret in {section.secret_file} has changed"]


def alarms(service: AlarmService, reactor: Any, now: Callable[[], float], secret: bytes) -> Prepare:
    """``[alarm]``, and the secret of the webhook.

    Args:
        secret: the one in force.
    """
    in_force = [secret]

    def prepare(old: Config, new: Config) -> Prepared:
        found = read_alarm_secret(new)
        if old.alarm == new.alarm and found == in_force[0]:
            return Prepared(lambda: None)
        targets = targets_of(new, reactor, now)

        def apply() -> None:
            in_force[0] = found
            service.set_targets(targets)

        return Prepared(apply, _changed("alarm.secret_file", found, in_force[0], old, new, new.alarm))

    return prepare


def hosts_of(config: Config) -> dict[str, str]:
    """The host of each Asterisk's AMI, by name; ``""`` where the settings say nothing of it."""
    default = Asterisk().ami
    return {
        asterisk.name: host_of_ami(asterisk.ami) if asterisk.secret_file or asterisk.ami != default else ""
        for asterisk in config.asterisk
    }


def asterisks(services: Collection[AsteriskService], finder: AsteriskFinder) -> Prepare:
    """Each ``[[asterisk]]``, with its secret, the certificates that its connection trusts, and its address."""

    def prepare(old: Config, new: Config) -> Prepared:
        found = {asterisk.name: asterisk for asterisk in new.asterisk}
        taken = [service.prepare_reload(found[service.name], new.technologies) for service in services]

        def apply() -> None:
            for apply_one, _ in taken:
                apply_one()
            finder.set_hosts(hosts_of(new))

        return Prepared(apply, [line for _, lines in taken for line in lines])

    return prepare


def web(server: Any) -> Prepare:
    """``[web]``, all settings that the console shows, and the certificate."""

    def prepare(old: Config, new: Config) -> Prepared:
        apply, has_certificate = server.prepare_reload(new)
        return Prepared(apply, [_CERTIFICATE.format("web.listen")] if has_certificate else [])

    return prepare


def workers(pool: WorkerPool) -> Prepare:
    """All settings that the workers use."""

    def prepare(old: Config, new: Config) -> Prepared:
        return Prepared(lambda: pool.tell("settings", msgspec.to_builtins(new)))

    return prepare


def pin_key(key: bytes) -> Prepare:
    """The PIN key cannot be reloaded, since all PINs in the database are hashed with it; says if its file differs.

    Args:
        key: the one in force.
    """

    def prepare(old: Config, new: Config) -> Prepared:
        try:
            found = read_key(Path(new.pin_key_file))
        except KeyFileError as error:
            return Prepared(lambda: None, [f"pin_key_file: the key in force stays: {error}"])
        if hmac.compare_digest(found, key):
            return Prepared(lambda: None)
        return Prepared(lambda: None, [f"pin_key_file: the key in {new.pin_key_file} has changed, needs a restart"])

    return prepare
