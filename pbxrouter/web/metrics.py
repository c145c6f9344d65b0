"""Prometheus metrics of the call counter, read from memory at each scrape.

Counters begin at zero when the gateway starts, as Prometheus expects; the permanent counts are in the
database. Users' names are left out, since anyone who reaches the port may read the metrics. The number
of names is bounded (counts.MAX_NAMES of a kind).

Prometheus sees what a counter has grown by only from the second sample on. So the series of mappings and extensions are
there before their first call, at zero, and those of mappings with all reasons why a call may fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from klein import Klein
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from twisted.internet.threads import deferToThreadPool
from twisted.web.iweb import IRequest

from pbxrouter import __version__
from pbxrouter.call import PinStatistics
from pbxrouter.counter import ALL, REASONS, CallCounter, Counts, label_name
from pbxrouter.doctor import LastRun
from pbxrouter.net import QueueFigures, in_slices
from pbxrouter.rules import RuleSet
from pbxrouter.text import split_asterisk
from pbxrouter.web.http.site import AddRoutes, header

FEW_SAMPLES: Final = 1000
"""Samples that become text at once, without a thread."""
PART: Final = 1000
"""Samples that are collected at once."""
EXTENSION: Final = "extension"
MAPPING: Final = "mapping"
SHOWN_KINDS: Final = (EXTENSION, MAPPING)

_COUNTED = (
    ("started", "Calls that began", lambda counts: counts.started),
    ("answered", "Calls in which two parties were connected", lambda counts: counts.answered),
    ("finished", "Calls that ended", lambda counts: counts.finished),
    (
        "served",
        "Calls that ended without an answer and without a failure, such as voicemail",
        lambda counts: counts.served,
    ),
)
_FAILED = "Calls that failed, by reason"
_TALK = "Time from answer to end of the calls that ended"
_EVERY = "."
_ROUTED = ", of those that the gateway routed, by mapping and by extension."


def registry_of(
    counters: Sequence[CallCounter],
    refused: Callable[[], Mapping[str, int]] = dict,
    pins: PinStatistics | None = None,
    refused_calls: Callable[[], int] = lambda: 0,
    web_refused: Callable[[], Mapping[str, int]] = dict,
    examined: LastRun | None = None,
    queues: Callable[[], Sequence[QueueFigures]] = tuple,
    standing_by: Callable[[], Mapping[str, int]] = dict,
    rules: Callable[[], RuleSet | None] = lambda: None,
    gateway: str = "",
) -> CollectorRegistry:
    """Make a registry with the counters of all Asterisks and the metrics of the process.

    Args:
        refused: returns how many FastAGI connections were refused, by reason.
        pins: wrong PINs and lock-outs.
        refused_calls: returns how many calls were refused as forged.
        web_refused: returns how many of the web server's connections were refused, by reason.
        examined: what the last run of the doctor has found.
        queues: returns the figures of all queues.
        standing_by: returns how many contexts' calls another gateway serves, by Asterisk.
        rules: returns the rules in force, whose mappings and extensions have series before their first call.
        gateway: the gateway's id.
    """
    registry = CollectorRegistry()
    registry.register(StandbyCollector(standing_by))
    registry.register(CounterCollector(counters, refused, refused_calls, web_refused, RuleNames(rules), gateway))
    registry.register(QueueCollector(queues))
    if pins is not None:
        registry.register(PinCollector(pins))
    if examined is not None:
        registry.register(DoctorCollector(examined))
    ProcessCollector(registry=registry)
    return registry


class DoctorCollector(Collector):
    """Collects what the last run of the doctor has found; before the first, that nothing is known."""

    def __init__(self, examined: LastRun) -> None:
        self._examined = examined

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the last run."""
        counts, ended = self._examined.counts, self._examined.ended
        findings = GaugeMetricFamily(
            "pbxrouter_doctor_findings", "Findings of the doctor's last run, by state.", labels=["state"]
        )
        state = GaugeMetricFamily(
            "pbxrouter_doctor_state",
            "1 for the state of the doctor's last run; unknown if something could not be checked, or before a run.",
            labels=["state"],
        )
        for name, count in (("ok", counts.ok), ("wrong", counts.wrong), ("unknown", counts.unknown)):
            findings.add_metric([name], count)
            state.add_metric([name], float(name == counts.state))
        yield findings
        yield state
        last = GaugeMetricFamily(
            "pbxrouter_doctor_last_run_timestamp_seconds", "When the doctor's last run ended; missing before a run."
        )
        if ended is not None:
            last.add_metric([], ended)
        yield last


class PinCollector(Collector):
    """Collects what the PIN guard has seen as metrics."""

    def __init__(self, statistics: PinStatistics) -> None:
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of PINs, for prometheus_client."""
        for name, text, value in (
            ("wrong", "PINs that were wrong.", self._statistics.wrong),
            ("unchecked", "PINs that were not checked, since the caller was locked out.", self._statistics.unchecked),
            ("lockouts", "Endpoints and numbers that were locked out.", self._statistics.lockouts),
            ("alarms", "Attacks from many places.", self._statistics.alarms),
        ):
            metric = CounterMetricFamily(f"pbxrouter_pins_{name}", text)
            metric.add_metric([], value)
            yield metric


class StandbyCollector(Collector):
    """Collects whether this gateway stands by for another as a metric.

    Args:
        standing_by: returns how many contexts' calls another gateway serves, by Asterisk.
    """

    def __init__(self, standing_by: Callable[[], Mapping[str, int]]) -> None:
        self._standing_by = standing_by

    def collect(self) -> Iterator[Metric]:
        """Read the numbers now."""
        family = GaugeMetricFamily(
            "pbxrouter_magi_standby",
            "Dialplan contexts whose calls by agi:async another gateway serves, while this one stands by.",
            labels=["asterisk"],
        )
        for name, number in self._standing_by().items():
            family.add_metric([name], number)
        yield family


class QueueCollector(Collector):
    """Collects the figures of the gateway's queues as metrics.

    Args:
        queues: returns them.
    """

    def __init__(self, queues: Callable[[], Sequence[QueueFigures]]) -> None:
        self._queues = queues

    def collect(self) -> Iterator[Metric]:
        """Read the figures of all queues."""
        length = GaugeMetricFamily("pbxrouter_queue_length", "Entries that wait in this queue.", labels=["queue"])
        oldest = GaugeMetricFamily(
            "pbxrouter_queue_oldest_seconds", "Time for which the oldest of them has waited.", labels=["queue"]
        )
        set_aside = CounterMetricFamily(
            "pbxrouter_queue_set_aside",
            "Entries that could not be written, while others could; they are in a file beside the database.",
            labels=["queue"],
        )
        lost = CounterMetricFamily("pbxrouter_queue_lost", "Entries that were given up.", labels=["queue"])
        for queue in self._queues():
            for family, value in (
                (length, queue.length),
                (oldest, queue.oldest_s),
                (set_aside, queue.set_aside),
                (lost, queue.lost),
            ):
                family.add_metric([queue.name], value)
        yield from (length, oldest, set_aside, lost)


class RuleNames:
    """The names that calls may be counted under, by the rules in force.

    Args:
        rules: returns them; None before they have been loaded.
    """

    def __init__(self, rules: Callable[[], RuleSet | None] = lambda: None) -> None:
        self._rules = rules
        self._named: RuleSet | None = None
        self._names: dict[str, list[str]] = {}
        self._extensions: dict[str, list[str]] = {}  # by Asterisk

    def of(self, kind: str, asterisk: str) -> Sequence[str]:
        """The names of one of SHOWN_KINDS that calls of an Asterisk may be counted under."""
        rules = self._rules()
        if rules is not self._named and rules is not None:
            patterns = (mapping.pattern for _, mapping in rules.entries.values() if mapping.enabled)
            self._names = {
                MAPPING: list(dict.fromkeys(map(label_name, patterns))),
                EXTENSION: list(map(label_name, rules.extensions)),
            }
            self._named = rules
            self._extensions.clear()
        names = self._names.get(kind, ())
        if kind != EXTENSION:
            return names
        if asterisk not in self._extensions:
            self._extensions[asterisk] = [name for name in names if split_asterisk(name)[0] in ("", asterisk)]
        return self._extensions[asterisk]


class CounterCollector(Collector):
    """Collects the call counters as metrics.

    Args:
        counters: one for each Asterisk.
        refused: returns how many FastAGI connections were refused, by reason.
        refused_calls: returns how many calls were refused as forged.
        web_refused: the same of the web server's connections.
        names: the names that have series before their first call.
        gateway: the gateway's id.
    """

    def __init__(
        self,
        counters: Sequence[CallCounter],
        refused: Callable[[], Mapping[str, int]],
        refused_calls: Callable[[], int],
        web_refused: Callable[[], Mapping[str, int]],
        names: RuleNames,
        gateway: str = "",
    ) -> None:
        self._gateway = gateway
        self._counters = counters
        self._refused = refused
        self._refused_calls = refused_calls
        self._web_refused = web_refused
        self._names = names

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of calls and connections, for prometheus_client."""
        info = InfoMetricFamily("pbxrouter_build", "The gateway that this is.")
        info.add_metric([], {"version": __version__, "gateway": self._gateway})
        yield info
        refused = CounterMetricFamily("pbxrouter_calls_refused", "Calls that were refused as forged.")
        refused.add_metric([], self._refused_calls())
        yield refused
        yield from self._connections()
        yield _refused("fastagi", "FastAGI", self._refused())
        yield _refused("web", "Web", self._web_refused())
        everything = [([counter.asterisk], counter.counting.totals[ALL]) for counter in self._counters]
        yield from _families("pbxrouter_calls", ["asterisk"], _EVERY, everything)
        routed = [
            ([counter.asterisk, kind, name], counts)
            for counter in self._counters
            for kind in SHOWN_KINDS
            for name, counts in counter.counting.totals_of(kind, self._names.of(kind, counter.asterisk))
        ]
        yield from _families("pbxrouter_routed_calls", ["asterisk", "kind", "name"], _ROUTED, routed)

    def _connections(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "pbxrouter_asterisk_up",
            "1 while there is a connection to this Asterisk's AMI and its calls are counted.",
            labels=["asterisk"],
        )
        active = GaugeMetricFamily(
            "pbxrouter_calls_active",
            "Calls in progress; missing while unknown.",
            labels=["asterisk"],
        )
        database = GaugeMetricFamily(
            "pbxrouter_database_up",
            "1 if the last counts could be written to the database.",
            labels=["asterisk"],
        )
        unknown = CounterMetricFamily(
            "pbxrouter_unknown_seconds",
            "Time in which this Asterisk's calls were not counted.",
            labels=["asterisk"],
        )
        gaps = CounterMetricFamily(
            "pbxrouter_unknown_gaps",
            "Times that the connection to this Asterisk came back, and calls may have been missed.",
            labels=["asterisk"],
        )
        restarts = CounterMetricFamily(
            "pbxrouter_asterisk_restarts",
            "Times that this Asterisk was found restarted.",
            labels=["asterisk"],
        )
        forged = CounterMetricFamily(
            "pbxrouter_forged_events",
            "AMI events that would have started or ended a call, and that Asterisk contradicted when asked.",
            labels=["asterisk"],
        )
        for counter in self._counters:
            name = [counter.asterisk]
            up.add_metric(name, counter.in_sync)
            if counter.active is not None:
                active.add_metric(name, counter.active)
            database.add_metric(name, counter.database_up)
            unknown.add_metric(name, counter.unknown_s)
            gaps.add_metric(name, counter.gaps)
            restarts.add_metric(name, counter.restarts)
            forged.add_metric(name, counter.forged_events)
        yield from (up, active, database, unknown, gaps, restarts, forged)


def _refused(part: str, title: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(
        f"pbxrouter_{part}_refused",
        f"{title} connections that were refused, or closed to make room, by reason.",
        labels=["reason"],
    )
    for reason, count in counts.items():
        family.add_metric([reason], count)
    return family


def _families(
    prefix: str, labels: list[str], which: str, found: Iterable[tuple[list[str], Counts]]
) -> Iterator[Metric]:
    """The families of counts; those with many samples in parts, one after the other."""
    found = list(found)
    for name, help_text, value in _COUNTED:
        for part in _parts(found, PART):
            family = CounterMetricFamily(f"{prefix}_{name}", help_text + which, labels=labels)
            for values, counts in part:
                family.add_metric(values, value(counts))
            yield family
    for part in _parts(found, PART):
        talk = CounterMetricFamily(f"{prefix}_talk_seconds", _TALK + which, labels=labels)
        for values, counts in part:
            talk.add_metric(values, counts.talk_s)
        yield talk
    for part in _parts(found, PART // len(REASONS)):
        failed = CounterMetricFamily(f"{prefix}_failed", _FAILED + which, labels=[*labels, "reason"])
        for values, counts in part:
            is_extension = values[1:2] == [EXTENSION]  # there are many of them
            for reason in counts.failed if is_extension else REASONS:
                failed.add_metric([*values, reason], counts.failed.get(reason, 0))
        yield failed


def _parts(found: list[tuple[list[str], Counts]], size: int) -> Iterator[list[tuple[list[str], Counts]]]:
    """Parts of so many; at least one, since a family without samples is described, too."""
    return (found[place : place + size] for place in range(0, max(1, len(found)), size))


class _Collected:
    """Metrics that were collected, in the place of a registry."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        """The metrics."""
        return self._metrics


def metrics_route(registry: CollectorRegistry, reactor: Any) -> AddRoutes:
    """Make the route ``/metrics``, in the format that the client prefers.

    With thousands of names the metrics are collected one after the other, with calls between them, and become text in
    a thread.
    """

    def add_routes(app: Klein) -> None:
        @app.route("/metrics", methods=["GET", "HEAD"])
        async def metrics(request: IRequest) -> bytes:
            encode, content_type = choose_encoder(header(request, "Accept"))
            request.setHeader("Content-Type", content_type)
            found: list[Metric] = []
            async for metric in in_slices(registry.collect(), 1, reactor):
                if found and found[-1].name == metric.name:
                    found[-1].samples += metric.samples
                else:
                    found.append(metric)
            collected: Any = _Collected(found)
            if sum(len(metric.samples) for metric in found) <= FEW_SAMPLES:
                return encode(collected)
            return await deferToThreadPool(reactor, reactor.getThreadPool(), encode, collected)

    return add_routes
