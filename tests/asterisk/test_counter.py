"""The call counter against a real Asterisk: every call is counted once, through lost connections, kills and restarts.

What is right is known twice: from the calls that were placed, and from what a second AMI connection heard
(its own Linkedids, and Asterisk's Cdr events).
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from typing import Any

from tests.asterisk.ami import Ami, EventListener
from tests.asterisk.harness import PROJECT, AsteriskTest, mapping_inserts, the_lab, why_not
from tests.waiting import wait_for

LONG_S = 600.0
"""A call that the test ends itself."""

CONFIG = """
[dial]
timeout = 2

[technologies]
IAX2 = "IAX2/loop"

[[asterisk]]
name = "lab"
ami = "tcp:127.0.0.1:AMI_PORT"
username = "gateway"
secret_file = "ami.secret"

[fastagi]
"""

MAPPINGS = {
    "60": ("dial", "Local/answer@callee"),
    "61": ("dial", "Local/busy@callee"),
    "62": ("dial", "Local/reject@callee"),
    "63": ("dial", "Local/congestion@callee"),
    "64": ("dial", "Local/noanswer@callee"),
    "65": ("conference", ""),
    "67": ("dial", "Local/unallocated@callee"),
}


class Listener(EventListener):
    """Counts the calls by their events, without the gateway."""

    def __init__(self, port: int) -> None:
        self.calls: set[str] = set()
        self.answered: set[str] = set()
        self.live: set[str] = set()
        self._channels: dict[str, str] = {}
        super().__init__(port)

    def _heard(self, message: dict[str, str]) -> None:
        event, uniqueid = message.get("Event"), message.get("Uniqueid", "")
        if event == "Newchannel":
            self.calls.add(message["Linkedid"])
            self._channels[uniqueid] = message["Linkedid"]
            self.live.add(uniqueid)
        elif event == "Hangup":
            self.live.discard(uniqueid)
        elif event == "Cdr" and message["Disposition"] == "ANSWERED" and message["DestinationChannel"]:
            self.answered.add(self._channels.get(message["UniqueID"], message["UniqueID"]))


class WithheldTest(AsteriskTest):
    """An AMI user from whom manager.conf withholds an event."""

    config = CONFIG.replace('"gateway"', '"deaf"')

    def setUp(self) -> None:
        """Give the lab a user like the gateway's, without Newchannel."""
        if why_not() is None:
            lab = the_lab()
            conf = lab.run / "etc/manager.conf"
            if "[deaf]" not in conf.read_text():
                user = conf.read_text().partition("[gateway]")[2].partition("\n[")[0]
                with conf.open("a") as file:
                    file.write(f"\n[deaf]{user}\neventfilter = !Event: Newchannel\n")
                lab.cli("manager reload")
        super().setUp()

    def _counter(self) -> str:
        return self.gateway.command("counter", "--minutes", "1")

    def test_unknown(self) -> None:
        """After two calls it is clear: figures are U, the log warns, and the doctor names the setting."""
        wait_for("the gateway counts", lambda: "active:0" in self._counter())
        for _ in range(2):
            self.lab.ami.originate("Local/busy@callee", CallerID="33")
        wait_for("a warning", lambda: any("withholds Newchannel" in line for line in self.complaints()))
        wait_for("U", lambda: self._counter().startswith("calls:U answered:U active:U"))
        program = [sys.executable, "-m", "pbxrouter", "doctor", "--config", str(self.gateway.config)]
        said = subprocess.run(program, cwd=PROJECT, capture_output=True, text=True, check=False).stdout
        self.assertIn("deaf does not get Newchannel", said)
        self.assertIn("eventfilter of [deaf]", said)


class CounterTest(AsteriskTest):
    """Tests with a gateway that counts, and mappings for every kind of result."""

    config = CONFIG
    maxDiff = None

    def setUp(self) -> None:
        """Note the counts before the test; start to listen."""
        super().setUp()
        if not getattr(self.gateway, "has_counter_rules", False):
            self.gateway.change_rules(
                *mapping_inserts(MAPPINGS),
                "INSERT OR IGNORE INTO extensions_mappings (extension_id, map_id)"
                " SELECT 1, map_id FROM applications_mappings",
            )
            self.gateway.has_counter_rules = True  # type: ignore[attr-defined]
        self._in_sync()
        self._before = self._figures()
        self.listener = Listener(self.lab.base + 38)
        self.addCleanup(lambda: self.listener.close())

    # --- what was counted ---

    def _all(self) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.gateway.command("counter", "--day", "--json"))
        return shown

    def _figures(self) -> Counter[str]:
        """All figures of today in one flat table; midnight is not handled."""
        shown = self._all()
        flat = Counter({name: shown[name] or 0 for name in ("calls", "answered", "finished", "failed", "served")})
        flat.update({f"why {name}": count or 0 for name, count in shown["reasons"].items()})
        for kind in ("mappings", "users", "extensions"):
            flat.update({f"{kind} {name}": counts["calls"] or 0 for name, counts in shown[kind].items()})
        return flat

    def counted(self) -> dict[str, int]:
        """The counts since the test began, without zeros."""
        now = self._figures()
        now.subtract(self._before)
        return {name: count for name, count in now.items() if count}

    def _in_sync(self) -> None:
        wait_for("the gateway counts", lambda: self._age() < 3)

    def _age(self) -> float:
        return time.time() - self._last_seen()

    def _last_seen(self) -> float:
        with closing(sqlite3.connect(self.gateway.database)) as connection:
            row = connection.execute("SELECT last_seen FROM counter_asterisks").fetchone()
        return float(row[0]) if row else 0.0

    def gaps(self) -> int:
        """The number of gaps recorded so far."""
        with closing(sqlite3.connect(self.gateway.database)) as connection:
            count: int = connection.execute("SELECT count(*) FROM counter_gaps").fetchone()[0]
        return count

    def _silence(self) -> None:
        """Wait until there is no channel, and the counts are written."""
        wait_for("all calls over", lambda: not self.lab.channels())
        over = time.time()
        wait_for("counts are written of all that came until now", lambda: self._last_seen() > over)

    # --- calls ---

    def originate(self, target: str, wait_s: float = 60, half: str = "/n", ring_s: float = 60) -> None:
        """Originate a Local channel; it hangs up ``wait_s`` after the answer, or ``ring_s`` without one."""
        ring_ms = int(ring_s * 1000)
        self.lab.ami.originate(f"Local/{target}{half}", Data=str(wait_s), CallerID="33", Timeout=ring_ms)

    def drop_ami(self) -> None:
        """Make Asterisk end the gateway's AMI connection."""
        rows = [line.split() for line in self.lab.cli("manager show connected").splitlines()]
        for row in rows:
            if row and row[0] == "gateway":
                self.lab.cli(f"manager kick session {row[4]}")

    # --- tests ---

    def test_mixed(self) -> None:
        """Some hundred calls of every kind: counts, reasons and mappings are right."""
        rounds = 12
        fates: list[tuple[Any, ...]] = [
            ("60@pbxrouter", 60, "/n"),  # answered, the callee hangs up
            ("60@pbxrouter", 60, ""),
            ("60@pbxrouter", 1.0, "/n"),  # answered, the caller hangs up
            ("61@pbxrouter", 60, "/n"),
            ("62@pbxrouter", 60, "/n"),
            ("63@pbxrouter", 60, "/n"),
            ("64@pbxrouter", 60, "/n"),
            ("64@pbxrouter", 60, "/n", 0.5),  # the caller gives up
            ("67@pbxrouter", 60, "/n"),
            ("999@pbxrouter", 60, "/n"),
            ("31@pbxrouter", 60, "/n"),  # over the IAX loop: the far leg is a call, too
            ("twice@counted", 60, "/n"),
        ]
        placed = [fate for fate in fates for _ in range(rounds)]
        random.Random(1).shuffle(placed)
        for fate in placed:
            self.originate(*fate)
            time.sleep(0.03)
        with self.phone(21, "answer", "-t", "500", "-m", "3"):
            said = [self.call("21", "-t", "3000") for _ in range(3)]
        self.assertEqual(said, ["answered, hung up by the far end"] * 3)
        for _ in range(2):
            self.originate("65@pbxrouter", 3)
        self._silence()
        total = len(placed) + rounds + 3 + 2
        talked = 3  # the other callees are prompts, and who is in the conference is no person's channel
        served = 6 * rounds + 2
        counted = self.counted()
        # Who has given up before the gateway asks who makes the Local channel has no extension: that half is gone.
        gone = self.gateway.log(self._gateway_mark).count("33 forwarded by unknown -> 64: HANGUP")
        counted["extensions 33"] += gone
        # Of those who give up before the Dial does, one may come late on a slow machine.
        gave_up, in_vain = (counted.pop(f"why {reason}", 0) for reason in ("cancelled", "noanswer"))
        self.assertEqual((gave_up + in_vain, gave_up > rounds // 2), (2 * rounds, True), (gave_up, in_vain))
        self.assertEqual(
            counted,
            {
                "calls": total,
                "finished": total,
                "answered": talked,
                "served": served,
                "failed": total - talked - served,
                "why busy": rounds,
                "why rejected": rounds,
                "why congestion": rounds,
                "why unallocated": rounds,
                "why invalid": rounds,
                "mappings 2X": 3,
                "mappings 3X": rounds,
                "mappings 60": 3 * rounds,
                "mappings 61": rounds,
                "mappings 62": rounds,
                "mappings 63": rounds,
                "mappings 64": 2 * rounds,
                "mappings 65": 2,
                "mappings 67": rounds,
                "extensions 33": total - 2 * rounds,
            },
        )
        self.assertEqual(len(self.listener.calls), total)
        # Cdr counts prompts that answered, too; of two in a conference it shows the other side to one of them at most.
        self.assertIn(len(self.listener.answered), (5 * rounds + 3 + more for more in range(3)))

    def test_dropped_connections(self) -> None:
        """AMI is lost three times during a hundred calls: none is lost or counted twice, gaps are recorded."""
        gaps = self.gaps()
        # Calls outlast the outages: the third time the gateway waits some seconds before it tries again.
        for number in range(100):
            self.originate(*(("talk@counted", 14.0), ("hold@callee", 15.0))[number % 2])
            time.sleep(0.06)
            if number in (20, 50, 80):
                self.drop_ami()
        self._silence()
        counted = self.counted()
        # Of a call that was answered during a gap it may be unknown, or seem that the caller gave up.
        reasons = {name: counted.pop(name) for name in ("why unknown", "why cancelled") if name in counted}
        failed = counted.pop("failed", 0)
        self.assertEqual((sum(reasons.values()), failed <= 5), (failed, True), (counted, reasons))
        self.assertEqual(counted, {"calls": 100, "finished": 100, "served": 100 - failed})
        self.assertEqual(len(self.listener.calls), 100)
        self.assertEqual(len(self.listener.answered), 50)
        # Two cuts are one gap where the second finds the gateway not back yet, as on a slow machine.
        self.assertIn(self.gaps() - gaps, (1, 2, 3))

    def test_holding_bridge(self) -> None:
        """Two calls that wait in one holding bridge are not answered, nor by the list of a new connection."""
        self.lab.cli("dialplan add extension bridgewait,1,BridgeWait into callee replace")
        for _ in range(2):
            self.originate("bridgewait@callee", LONG_S)
        waiting = re.compile(r" 2 +\S+ +holding_bridge ")
        wait_for("both wait in it", lambda: waiting.search(self.lab.cli("bridge show all")))
        wait_for("both are kept", lambda: self._live() == 2)
        for _ in range(2):  # what Asterisk tells is in order: what came before a heartbeat's answer has arrived
            beat = self.lab.ami.getvar("PBXROUTER_HEARTBEAT")
            wait_for("a heartbeat", lambda beat=beat: self.lab.ami.getvar("PBXROUTER_HEARTBEAT") != beat)  # type: ignore[misc]
        gaps = self.gaps()
        self.drop_ami()
        wait_for("the gateway was connected anew", lambda: self.gaps() > gaps)
        self.assertEqual(self._live("WHERE answered IS NOT NULL"), 0)
        self.lab.cli("channel request hangup all")
        self._silence()
        self.assertEqual(self.counted(), {"calls": 2, "finished": 2, "served": 2})

    def test_gateway_killed(self) -> None:
        """kill -9 of the gateway: calls go on, end, and begin meanwhile; each counts once."""
        gaps = self.gaps()
        for _ in range(5):
            self.originate("talk@counted", LONG_S)
        wait_for("they are kept", lambda: self._live() == 5)
        ending = [channel for channel in self.lab.channels() if re.fullmatch(r"Local/talk@.*;1", channel)]
        self.assertEqual(len(ending), 5)
        for _ in range(5):
            self.originate("talk@counted", LONG_S)
        wait_for("all are kept, and answered", lambda: self._live("WHERE dial_status = 'ANSWER'") == 10)
        self.gateway.kill()
        self.assertEqual(self._all()["active"], 10)  # so soon the command cannot know
        for channel in ending:  # these end while it is dead
            self.lab.cli(f"channel request hangup {channel}")
        for _ in range(5):  # these begin while it is dead, and are there afterwards
            self.originate("hold@callee", LONG_S)
        wait_for("five are over", lambda: not set(ending) & set(self.lab.channels()))
        started = time.time()
        self.gateway.start()
        wait_for("the gateway counts again", lambda: self._last_seen() > started)
        wait_for("they are found", lambda: self._live() == 10)
        self.lab.cli("channel request hangup all")
        self._silence()
        self.assertEqual(
            self.counted(),
            {"calls": 15, "finished": 15, "served": 15},
        )
        self.assertEqual(self.gaps(), gaps + 1)
        self._sockets = self.gateway.sockets()

    def _live(self, where: str = "") -> int:
        with closing(sqlite3.connect(self.gateway.database)) as connection:
            count: int = connection.execute(f"SELECT count(*) FROM counter_live {where}").fetchone()[0]
        return count

    def test_asterisk_killed(self) -> None:
        """kill -9 of Asterisk: its calls are over, the new one's are counted, the time between is unknown."""
        gaps = self.gaps()
        for _ in range(6):
            self.originate("talk@counted", LONG_S)
        wait_for("they are kept", lambda: self._live() == 6)
        self._kill_asterisk()
        time.sleep(1)
        self.lab.script("start")
        self.lab.ami = Ami(self.lab.base + 38)
        self.lab.cli("agi set debug on")
        self._mark = 0
        self._in_sync()
        wait_for("they are over", lambda: self._live() == 0)
        self.listener = Listener(self.lab.base + 38)
        for _ in range(4):
            self.originate("61@pbxrouter")
        self._silence()
        self.assertEqual(
            self.counted(),
            {"calls": 10, "finished": 10, "served": 6, "failed": 4, "why busy": 4}
            | {"mappings 61": 4, "extensions 33": 4},
        )
        self.assertEqual(self.gaps(), gaps + 1)
        self.assertIn("was restarted", self.gateway.log(self._gateway_mark))

    def _kill_asterisk(self) -> None:
        pid = int((self.lab.run / "asterisk.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        wait_for("Asterisk is gone", lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid))
        (self.lab.run / "asterisk.pid").unlink()  # a zombie counts as running

    def test_unknown(self) -> None:
        """While the gateway is down the figures are unknown, not zero."""
        self.gateway.stop()
        wait_for("it shows", lambda: self._all()["active"] is None)
        line = self.gateway.command("counter", "--minutes", "1")
        self.assertRegex(line, r"\bactive:U\b")
        self.gateway.start()


def _is_zombie(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "Z"
