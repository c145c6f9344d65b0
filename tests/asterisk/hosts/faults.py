"""The faults of hosts and network, how a case goes, and its judgement."""

from __future__ import annotations

import importlib.util
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from tests.asterisk.hosts.postgresql import programs
from tests.asterisk.hosts.site import ASTERISKS, DATABASE, GATEWAYS, Site, SiteCall

SHARED: Final = "-shared"
"""The end of a way's name where the gateways share a database of PostgreSQL."""
WAYS: Final = {
    "fastagi": ("gw-a", "gw-b"),
    "magi": ("agi:async", "agi:async"),
}
"""The values of PBXROUTER_URL and PBXROUTER_URL_2, by name. The first is asked, and serves, first."""
EVERY_S: Final = 0.4
"""Seconds between two new calls; the Asterisks have them in turn."""
OVER_S: Final = 60.0
"""Seconds after the fault within which every call is over."""
KEYS_ANYWAY_S: Final = 12.0
"""Seconds after the fault after which a caller keys the PIN without having been asked for it afresh."""
KEYS_S: Final = (0.5, 5.0)
"""Seconds after the beginning of a prompt between which a caller keys it."""
PROVISIONAL: Final = ("UNKNOWN", "LOST", "STOPPED", "LEFT", "MOVED", "FAILED", "HANGUP")

End = Callable[[], None]


@dataclass(frozen=True)
class HostFault:
    """A fault of one host.

    Attributes:
        begin: begins it on the host of this name; returns what ends it.
        hold_s: seconds that it lasts.
        kills_calls: whether the calls of an Asterisk end by it.
        waits: the longest that a new call may wait, by FastAGI and by agi:async.
        misses: whether a gateway does not count the calls meanwhile.
    """

    name: str
    begin: Callable[[Site, str], End]
    hold_s: float = 8.0
    kills_calls: bool = False
    waits: tuple[float, float] = (2.0, 4.5)
    misses: bool = True


def _killed(site: Site, name: str) -> End:
    if site.server is not None and name == DATABASE:
        site.server.kill()
        return site.server.start
    if name in site.asterisks:
        site.asterisks[name].signal(signal.SIGKILL)
        return site.asterisks[name].restart
    gateway = site.gateways[name]
    gateway.signal_all(signal.SIGKILL)

    def end() -> None:
        gateway.ended()
        gateway.start()

    return end


def _stopped(site: Site, name: str) -> End:
    """Stopped as for an upgrade, and started again when it has ended."""
    gateway = site.gateways[name]
    gateway.signal(signal.SIGTERM)

    def end() -> None:
        gateway.ended()
        gateway.start()

    return end


def _frozen(site: Site, name: str) -> End:
    server = site.server
    if server is not None and name == DATABASE:
        server.signal(signal.SIGSTOP)
        return lambda: server.signal(signal.SIGCONT)
    if name in site.asterisks:
        site.asterisks[name].signal(signal.SIGSTOP)
        return lambda: site.asterisks[name].signal(signal.SIGCONT)
    site.gateways[name].signal(signal.SIGSTOP)
    return lambda: site.gateways[name].signal(signal.SIGCONT)


def _cut(site: Site, name: str) -> End:
    site.network.order(name, "cut")
    return lambda: site.network.order(name, "ok")


def _unplugged(site: Site, name: str) -> End:
    site.network.unplug(name)
    return lambda: site.network.plug_in(name)


def _slow(seconds: float) -> Callable[[Site, str], End]:
    def begin(site: Site, name: str) -> End:
        site.network.order(name, f"slow {seconds}")
        return lambda: site.network.order(name, "ok")

    return begin


FAULTS: Final = {
    fault.name: fault
    for fault in (
        HostFault("nothing", lambda site, name: lambda: None, 1, misses=False),
        HostFault("killed", _killed, kills_calls=True),
        HostFault("stopped", _stopped, 12),
        HostFault("frozen", _frozen, 12),
        HostFault("cut", _cut, 15),
        HostFault("unplugged", _unplugged, 15),
        HostFault("slow", _slow(0.2), waits=(4.0, 4.5), misses=False),
        HostFault("very-slow", _slow(2.0), 12, waits=(4.0, 6.0)),
    )
}


@dataclass
class CaseResult:
    """What a case brought.

    Attributes:
        wrong: what must not be, a line each.
    """

    name: str
    kinds: Counter[str] = field(default_factory=Counter)
    fresh: int = 0
    asked: int = 0
    went_on: int = 0
    longest_s: float = 0.0
    silent_s: float = 0.0
    taken_over: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    counted: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{self.kinds[kind]} {kind}" for kind in ("routed", "fallback", "refused", "cut"))
        rows = ", ".join(f"{number} {outcome}" for outcome, number in sorted(self.rows.items()))
        return (
            f"{self.name}: {sum(self.kinds.values())} calls, {kinds}; asked for the PIN: {self.asked}, afresh"
            f" {self.fresh}, after {self.silent_s:.1f} s at most; dialled before: {self.went_on} went on; a new call"
            f" waited {self.longest_s:.1f} s at most; history: {rows}, {self.taken_over} had by both gateways;"
            f" counted: {', '.join(self.counted) or 'not judged'}; {len(self.wrong)} wrong"
        )


class Case:
    """A case: calls at each point of a call, and new ones all the time, on both Asterisks."""

    def __init__(self, site: Site, fault: HostFault, host: str, way: str) -> None:
        self.site = site
        self.fault = fault
        self.host = host
        self.result = CaseResult(f"{host}-{fault.name}/{way}")
        self.way = way
        self._serial = 0
        self._pressed: set[str] = set()
        self._asked: list[SiteCall] = []
        self._dialled: list[SiteCall] = []

    def _place(self, asterisk: str, manner: str) -> SiteCall:
        self._serial += 1
        return self.site.place(asterisk, f"{manner}{self._serial:03}")

    def run(self) -> CaseResult:
        """Have the fault happen under calls, and judge them."""
        site = self.site
        for name in ASTERISKS:
            self._asked += [self._place(name, "73"), self._place(name, "73")]
            self._dialled += [self._place(name, "61"), self._place(name, "62")]
        for call in self._asked:
            site.wait_until("the prompt", call, "prompts")
        for call in self._dialled:
            site.wait_until("the dial", call, "dialled")
        began = time.time()
        end = self.fault.begin(site, self.host)
        self._load(began, began + self.fault.hold_s)
        end()
        over = time.time()
        self._load(began, over + 3)
        while time.time() < began + KEYS_ANYWAY_S + KEYS_S[1] and len(self._pressed) < len(self._asked):
            self._press_keys(began)
            time.sleep(0.2)
        is_over = site.until_over(max(5.0, over + OVER_S - time.time()))
        self._judge_calls(began, over, is_over)
        site.until_connected()
        time.sleep(3)  # talk, history and counts are written a second after the end of a call, as a rule
        for gateway in site.gateways.values():
            gateway.signal(signal.SIGTERM)
        for gateway in site.gateways.values():
            gateway.ended()
        self._judge_history()
        self._judge_counts()
        return self.result

    def _load(self, began: float, until: float) -> None:
        """Place calls until then."""
        while time.time() < until:
            for name in ASTERISKS:
                if self.host != name or self.fault.name not in ("killed", "frozen") or self._is_back(name):
                    self._place(name, "63")
                self._press_keys(began)
                time.sleep(EVERY_S / 2)

    def _is_back(self, name: str) -> bool:
        """Whether an Asterisk that was killed or frozen answers again."""
        return bool(self.site.asterisks[name].answers())

    def _press_keys(self, began: float) -> None:
        """Have each caller key the PIN who has been asked afresh, or has waited for that."""
        due = [call for call in self._asked if call.number not in self._pressed]
        if not due:
            return
        self.site.read()
        for call in due:
            is_asked = KEYS_S[0] < time.time() - call.prompts[-1] < KEYS_S[1]
            is_afresh = len({url for _, url in call.asked}) > 1 or len(call.asked) > 1
            if is_asked and (is_afresh or time.time() > began + KEYS_ANYWAY_S):
                self._pressed.add(call.number)
                if self._is_back(call.asterisk):
                    self.site.press(call)

    # Judgement

    def _judge_calls(self, began: float, over: float, is_over: bool) -> None:
        result, calls = self.result, self.site.read()
        died = {self.host} if self.fault.kills_calls and self.host in ASTERISKS else set()
        is_gateway = self.host in GATEWAYS
        if not is_over:
            result.wrong.append("calls are still there a minute after the fault")
        for call in calls:
            where = f"{call.number} at {call.asterisk}"
            already = len(result.wrong)
            is_cut_off = call.asterisk in died and call.placed < over
            result.kinds[call.kind] += 1
            if len(call.dialled) > 1:
                result.wrong.append(f"{where}: dialled {len(call.dialled)} times")
            if call.kind == "cut" and not is_cut_off:
                result.wrong.append(f"{where}: neither routed nor sent to the fallback")
            if call.dialled and not call.talked and not is_cut_off:
                result.wrong.append(f"{where}: was dialled, and its talk did not come to its end")
            if is_gateway and call.kind in ("fallback", "refused"):
                result.wrong.append(f"{where}: {call.kind}, though a gateway lives")
            if call in self._asked:
                result.asked += 1
                after = [at for at in (*call.prompts, *call.dialled) if at > began]
                if len(call.asked) > 1 and after:
                    result.fresh += 1
                    result.silent_s = max(result.silent_s, after[0] - began)
            elif call in self._dialled:
                result.went_on += call.talked
            elif call.waited is not None:
                result.longest_s = max(result.longest_s, call.waited)
            if len(result.wrong) > already:
                result.lines += [f"{where} {at - began:+7.2f} {text}" for at, text in call.lines]

    def _judge_history(self) -> None:
        history = self.site.history()
        for call in self.site.read():
            rows = history.get(call.uniqueid, [])
            keys = {key for _, key, _ in rows}
            final = [outcome for _, _, outcome in rows if outcome not in PROVISIONAL]
            where = f"{call.number} at {call.asterisk}"
            if call.kind == "routed" and len(keys) != 1:
                self.result.wrong.append(f"{where}: {len(keys)} keys in the history: {rows}")
            if len(final) > 1 or len(rows) > len({gateway for gateway, _, _ in rows}):
                self.result.wrong.append(f"{where}: more than one row of its end: {rows}")
            if call.kind == "routed" or rows:
                self.result.rows[final[0] if final else rows[0][2] if rows else "no row"] += 1
            self.result.taken_over += len({gateway for gateway, _, _ in rows}) > 1

    def _judge_counts(self) -> None:
        """A gateway that could hear its Asterisks all the time has counted each call once."""
        placed = Counter(call.asterisk for call in self.site.read())
        is_shared = self.site.server is not None
        for gateway in GATEWAYS[: 1 if is_shared else None]:
            if ((is_shared and self.host in GATEWAYS) or self.host == gateway) and self.fault.misses:
                continue
            counted = self.site.counted(gateway)
            for asterisk in ASTERISKS:
                if self.host == asterisk and self.fault.misses:
                    continue
                self.result.counted.append(f"{counted[asterisk]} of {placed[asterisk]}")
                if counted[asterisk] != placed[asterisk]:
                    self.result.wrong.append(
                        f"{gateway} has counted {counted[asterisk]} calls of {placed[asterisk]} at {asterisk}"
                    )


def run_case(name: str, way: str, hold_s: float | None = None) -> CaseResult:
    """Run the case of a fault of a host, such as ``gw-a-killed``, with calls by one way.

    Args:
        hold_s: seconds that the fault lasts, if not as long as usual.
    """
    fault, host = next(
        (fault, host)
        for host in (*GATEWAYS, *ASTERISKS, DATABASE)
        for fault in FAULTS.values()
        if name == f"{host}-{fault.name}"
    )
    if hold_s is not None:
        fault = replace(fault, hold_s=hold_s)
    site = Site(*WAYS[way.removesuffix(SHARED)], hosts=[DATABASE] if way.endswith(SHARED) else [])
    try:
        site.start()
        return Case(site, fault, host, way).run()
    finally:
        site.close()


def case_names() -> list[str]:
    """All cases, each with its way: ``gw-a-killed/fastagi``; on a shared database ``gw-a-killed/fastagi-shared``."""
    names = [f"{host}-{fault}" for host in GATEWAYS for fault in FAULTS]
    names += [f"{host}-{fault}" for host in ASTERISKS[:1] for fault in ("killed", "frozen", "cut", "slow")]
    cases = [f"{name}/{way}" for name in names for way in WAYS]
    if programs() is not None and importlib.util.find_spec("psycopg"):
        shared = [
            f"{host}-{fault}" for host in (GATEWAYS[0], DATABASE) for fault in ("killed", "frozen", "cut", "slow")
        ]
        cases += [f"{name}/{way}{SHARED}" for name in shared for way in WAYS]
    return cases
