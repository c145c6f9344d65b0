"""The place of the fault table: a lab, a gateway behind a proxy, callers and phones, and the judgement of a case."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.asterisk.ami import Ami
from tests.asterisk.chaos.calls import NEW_CALL_S, SILENCE_S, TOLERANCE_S, Call, read_calls, sounds
from tests.asterisk.chaos.proxy import Proxy
from tests.asterisk.harness import ASTERISK_ROOT, LAB, LOOP, TWISTD, Gateway, Lab
from tests.waiting import wait_for

WAYS = ("fastagi", "magi")

CONFIG = (
    LOOP
    + """
[dial]
timeout = 20
[[asterisk]]
name = "lab"
ami = "tcp:127.0.0.1:%d"
username = "gateway"
secret_file = "ami.secret"
magi = ["pbxrouter-ask"]
[web]
listen = "tcp:%d:interface=127.0.0.1"
"""
)

STUCK_S = 60.0
"""A call that is there so long after the fault is stuck."""


@dataclass
class Result:
    """What a case brought."""

    name: str
    kinds: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """Asterisk's log of the lost calls."""
    history: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counts = ", ".join(f"{self.kinds[kind]} {kind}" for kind in ("routed", "fallback", "refused", "ended"))
        history = ", ".join(f"{number} {outcome}" for outcome, number in sorted(self.history.items())) or "nothing"
        calls = sum(self.kinds.values())
        return f"{self.name}: {calls} calls in, {counts}, {len(self.lost)} lost; history: {history}"


class Bench:
    """One gateway on the lab, reached by FastAGI or MAGI through the shipped dialplan.

    Args:
        lab: the Asterisk.
        way: one of WAYS.
        seed: of what is random in faults.
        program: the Python program that runs the gateway.
        within: the folder for its files.
        clock: the file by which its clock is set.

    Attributes:
        wrong: what else is wrong with the gateway, a line each.
        marked: where the gateway's log was when the fault began.
    """

    def __init__(
        self,
        lab: Lab,
        way: str,
        seed: int,
        program: str = TWISTD,
        within: Path | None = None,
        clock: Path | None = None,
    ) -> None:
        self.clock = clock
        self.lab = lab
        self.way = way
        self.random = random.Random(seed)
        self.proxy = Proxy(lab.base + 38, seed)
        self._callers: list[subprocess.Popen[bytes]] = []
        self._length = sounds(str(ASTERISK_ROOT / "usr/share/asterisk/sounds"))
        self._uniqueids: dict[str, set[str]] = {}
        self.wrong: list[str] = []
        self.web_port = lab.base + 81
        self.gateway = Gateway(lab, CONFIG % (self.proxy.port, self.web_port), program, within)
        self.gateway.change_rules(
            "INSERT INTO extensions (extension_number) VALUES ('36')",
            "INSERT INTO extensions_mappings (extension_id, map_id)"
            " SELECT extension_id, map_id FROM extensions, applications_mappings"
            " WHERE extension_number = '36' AND pattern = '2X'",
        )
        self.set_url()
        self.until_connected()
        self.mark = lab.log_size()
        self.marked = 0

    def set_url(self) -> None:
        """Set the dialplan's way to the gateway."""
        url = "agi:async" if self.way == "magi" else f"agi://127.0.0.1:{self.lab.agi_port}/pbxrouter"
        self.lab.ami.action("Setvar", Variable="PBXROUTER_URL", Value=url)

    def until_connected(self) -> None:
        """Wait for a heartbeat that is later than now."""
        now = int(time.time())
        wait_for("the gateway's heartbeat", lambda: int(self.lab.ami.getvar("PBXROUTER_HEARTBEAT") or "0") > now)

    @property
    def pid(self) -> int:
        """The gateway's process."""
        assert self.gateway.process is not None
        return self.gateway.process.pid

    def signal(self, number: int) -> None:
        """Send the gateway a signal."""
        os.kill(self.pid, number)

    def memory_kb(self, what: str) -> int:
        """What /proc says of the gateway's memory, such as its peak, VmHWM."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1])
        raise AssertionError(f"/proc says nothing of {what}")

    def said(self) -> str:
        """The gateway's log since the fault began."""
        return self.gateway.log(self.marked)

    def reload(self, before: str, after: str) -> None:
        """Have the gateway read changed settings."""
        since = self.gateway.log_size()
        self.gateway.config.write_text(self.gateway.config.read_text().replace(before, after))
        self.signal(signal.SIGHUP)
        wait_for("the changed settings", lambda: "reload: " in self.gateway.log(since))

    def restart(self) -> None:
        """Start the gateway again, after it has been ended."""
        if self.gateway.process is not None:
            self.gateway.process.wait(60)
        self.gateway.start()
        self.until_connected()

    # Calls

    def calls(self) -> list[Call]:
        """The calls of this case until now."""
        return read_calls(self.lab.log(self.mark).splitlines())

    def place(self, number: str, *options: str) -> None:
        """Place a call from phone 36 that stays until it is ended, and return."""
        audio = self.lab.base + 700 + 4 * len(self._callers)
        self._callers.append(
            subprocess.Popen(
                [LAB / "call", "-f", "36", "-t", "58000", "-a", str(audio), *options, "--", number],
                env=self.lab.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    def place_at(self, number: str, mark: str, *options: str) -> None:
        """Place a call, and wait until a line of its log shows that it has come so far."""
        before = len(self.calls())
        self.place(number, *options)
        wait_for(f"{mark} of the call to {number}", lambda: any(call.has(mark) for call in self.calls()[before:]))

    @contextlib.contextmanager
    def phones(self) -> Iterator[None]:
        """Phone 21 rings for 8 s and talks 2 s, 22 talks 8 s, 34 talks 1 s; each for any number of calls."""
        manners = (("21", "8000", "2000"), ("22", "300", "8000"), ("34", "300", "1000"))
        phones = [
            subprocess.Popen(
                [LAB / "phone", "-m", "1000", "-r", ring, "-t", talk, number, "answer"],
                env=self.lab.environment,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for number, ring, talk in manners
        ]
        time.sleep(0.5)
        try:
            yield
        finally:
            for phone in phones:
                phone.terminate()
            for phone in phones:
                phone.wait(60)

    def watch(self, seconds: float) -> None:
        """Let so much time pass, and note the ids of the channels."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.note_channels()
            time.sleep(0.25)

    def note_channels(self) -> list[str]:
        """The channels there are; none while Asterisk cannot be asked."""
        try:
            lines = [line.split("!") for line in self.lab.cli("core show channels concise").splitlines() if line]
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                self.lab.ami = Ami(self.lab.base + 38)
            return []
        for line in lines:
            self._uniqueids.setdefault(line[0], set()).add(line[-1])
        return [line[0] for line in lines]

    # Judgement

    def until_over(self, since: float) -> None:
        """Wait until all calls are over, or a minute after the fault."""
        while time.time() < since + STUCK_S and (
            self.note_channels() or any(caller.poll() is None for caller in self._callers)
        ):
            time.sleep(0.25)

    def judge(self, name: str, fault_at: float, gone: tuple[float, float] | None, died_at: float | None) -> Result:
        """Tell what became of the calls of a case.

        Args:
            name: of the case.
            fault_at: when the fault began.
            gone: from when to when there was no gateway.
            died_at: when Asterisk itself was killed: the calls of then have ended.
        """
        result = Result(name, lost=list(self.wrong))
        now = time.time()
        left = set(self.note_channels())
        for call in self.calls():
            kind = call.kind()
            cut = died_at if died_at is not None and call.began < died_at else None
            if cut is not None and call.ended is None:
                kind = "ended"
            since, limit = fault_at, SILENCE_S
            if gone and gone[0] <= call.began <= gone[1]:
                since, limit = call.began, NEW_CALL_S
            # While the gateway lives it is Asterisk that waits for the caller's keys, as in any prompt.
            silent, began = call.silence(since, cut or now, self._length, gone is None)
            where = f"{call.call_id} to {call.number}"
            already = len(result.lost)
            if call.channel in left and cut is None and call.ended is None:
                result.lost.append(f"{where}: still there {now - fault_at:.0f} s after the fault")
            elif silent > limit + TOLERANCE_S:
                result.lost.append(f"{where}: silent for {silent:.1f} s from {began - fault_at:+.1f} s on ({kind})")
            result.kinds[kind] += 1
            recorded = self._in_history(call)
            if recorded.endswith("rows for one call"):
                result.lost.append(f"{where}: {recorded}")
            result.history[recorded] += 1
            if len(result.lost) > already:
                result.lines += [f"{call.call_id} {at - fault_at:+7.2f} {text}" for at, text in call.lines]
        return result

    def history_of_all(self) -> list[str]:
        """What the history says of each call."""
        return [self._in_history(call) for call in self.calls()]

    def _in_history(self, call: Call) -> str:
        # A restarted Asterisk gives the names of channels again; a Uniqueid begins with the second of its channel.
        uniqueids = [name for name in self._uniqueids.get(call.channel, ()) if abs(float(name) - call.began) < 5]
        uniqueid = uniqueids[0] if len(uniqueids) == 1 else ""
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.gateway.database}?mode=ro", uri=True)) as connection:
                query = "SELECT outcome, call_key FROM calls WHERE uniqueid = ? ORDER BY call_id"
                rows = connection.execute(query, (uniqueid,)).fetchall()
        except sqlite3.Error as problem:
            return f"unreadable ({problem})"
        runs = {str(key).partition("-")[0] for _, key in rows}
        if len(rows) == len(runs) == 2 and rows[0][0] == "UNKNOWN":
            return f"UNKNOWN, then {rows[1][0]} by the next run"
        if len(rows) > 1:
            return f"{len(rows)} rows for one call"
        return str(rows[0][0]) if rows else "no row"

    def close(self) -> None:
        """End the calls, the gateway and the proxy, also after a failure."""
        for caller in self._callers:
            if caller.poll() is None:
                caller.terminate()
        with contextlib.suppress(OSError):
            self.lab.cli("channel request hangup all")
        if self.gateway.process is not None and self.gateway.process.poll() is None:
            self.signal(signal.SIGCONT)
        self.gateway.remove()
        self.proxy.close()
        for caller in self._callers:
            caller.wait(60)
