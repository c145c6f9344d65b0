"""A real gateway with a console, and a company's week of calls in its database, for the browser's tests."""

from __future__ import annotations

import contextlib
import functools
import math
import random
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pbxrouter import database
from pbxrouter.agi.messages import parse_request
from pbxrouter.call.history_writer import row_of
from pbxrouter.call.record import OUTCOME_SENTENCES, CallRecord
from pbxrouter.database import admit_guess
from pbxrouter.database.access import add_console_user, add_token
from pbxrouter.database.audit import Actor
from pbxrouter.database.calls.history import add_calls
from pbxrouter.database.rules import (
    MappingValues,
    add_extension,
    add_mapping,
    add_user,
    grant,
    set_enabled,
    set_user_pin,
    update_mapping,
)
from pbxrouter.database.rules.holders import Grant
from pbxrouter.database.rules.loader import read_rules
from pbxrouter.drivers import Outcome
from pbxrouter.rules.model import Facts, Verdict
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.security import Role, Scope, keys_of, pins
from pbxrouter.security.keyfile import read_key
from pbxrouter.simulator import SimulatedAsterisk, SimulatedCall
from tests.browser.asterisk import SECRET, PoliteAsterisk
from tests.needs import PATIENCE_S
from tests.waiting import wait_for

SETTINGS = """\
[fastagi]
listen = "tcp:{agi}:interface=127.0.0.1"

[web]
listen = "tcp:{web}:interface=127.0.0.1"
timezone = "Europe/Madrid"
"""
CALLERS = (
    ("33", "Ana Ruiz"),
    ("34", "Luis Ortega"),
    ("35", "Front desk"),
    ("36", "Workshop"),
    ("37", "Marta Gil"),
    ("912345678", ""),
    ("600123456", "Taxi"),
    ("33", "Ana Ruiz <sales>"),
)
NUMBERS = ("21", "22", "34", "35", "66", "71", "91234567", "93111222", "4444", "0034911223344", "112")
ENDINGS = ("ANSWER",) * 7 + ("BUSY", "NOANSWER", "NOANSWER", "CANCEL", "CHANUNAVAIL")
WEEK_S = 7 * 86_400


def free_ports(count: int) -> list[int]:
    """Free TCP ports on loopback."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(int(probe.getsockname()[1]))
        return found


class Gateway:
    """``twistd pbxrouter`` in a folder of its own.

    Attributes:
        url: where the console is, without a slash at its end.
        setup_url: the link that it printed.

    Args:
        lived_in: whether there are a company's rules and a week of calls, or the workshop's rules alone.
        crowded: whether there are also many rows in every list, with long names.
        bare: whether there are no rules at all.
        asterisk: the one to dial from; it is stopped with the gateway.
    """

    def __init__(
        self,
        lived_in: bool = False,
        asterisk: PoliteAsterisk | None = None,
        crowded: bool = False,
        bare: bool = False,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pbxrouter-browser-"))
        self.expected = ""  # in the complaints that a test brings about
        self.agi_port, self.web_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.web_port}"
        self.asterisk = asterisk
        settings = SETTINGS.format(agi=self.agi_port, web=self.web_port)
        if asterisk is not None:
            settings += asterisk.settings
            (self.folder / "ami.secret").write_text(f"{SECRET}\n", encoding="utf-8")
            (self.folder / "ami.secret").chmod(0o600)
        (self.folder / "pbxrouter.toml").write_text(settings, encoding="utf-8")
        self.database = self.folder / "pbxrouter.sqlite"
        self.command("init", *(() if bare else ("--sample",)))
        if lived_in:
            furnish(self.database)
        if crowded:
            crowd(self.database)
        self._log = (self.folder / "log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TWISTD, "-n", "--pidfile=", "pbxrouter"],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        wait_for("the gateway prints its set-up link", lambda: "/setup/" in self.log() or self._died())
        found = re.search(r"http://\S+/setup/\S+", self.log())
        assert found, self.log()
        self.setup_url = found[0]

    def _died(self) -> bool:
        return self._process.poll() is not None

    def log(self) -> str:
        """The text of the gateway's log."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def complaints(self) -> list[str]:
        """Its log lines above info, and tracebacks."""
        lines = [line for line in self.log().splitlines() if re.search(r"#(error|critical)\b|Traceback", line)]
        return [line for line in lines if not (self.expected and self.expected in line)]

    def command(self, *arguments: str) -> str:
        """Run a pbxrouter command in its folder; returns the output."""
        done = subprocess.run(
            [sys.executable, "-m", "pbxrouter", *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, f"pbxrouter {' '.join(arguments)}: {done.stdout}"
        return done.stdout

    @contextlib.contextmanager
    def calling(self, caller: str, number: str) -> Iterator[None]:
        """Dial a call that lasts while the body runs."""
        asterisk = SimulatedAsterisk(SimulatedCall(number, caller=caller, name=dict(CALLERS[:5]).get(caller, "")))
        with socket.create_connection(("127.0.0.1", self.agi_port), timeout=PATIENCE_S) as connection:
            connection.sendall(asterisk.environment())
            heard = b""
            while b"EXEC" not in heard:
                heard = connection.recv(65536)
                assert heard, "the gateway hung up"
                if b"EXEC" not in heard:
                    connection.sendall(asterisk.receive(heard))
            yield

    def stop(self) -> None:
        """Stop the gateway, and remove its folder."""
        if not self._died():
            self._process.terminate()
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self.asterisk is not None:
            self.asterisk.stop()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


_TWISTD = "from twisted.scripts.twistd import run; run()"


def furnish(path: Path) -> None:
    """Fill a database with rules and calls: the same each time, except for the date."""
    key = read_key(Path(f"{path}.pinkey"))
    hash_pin = functools.partial(pins.hash_pin, key)
    with contextlib.closing(database.connect(path)) as connection:
        _change_rules(connection, hash_pin)
        rules = read_rules(connection, hash_pin)
        add_calls(connection, [row_of(call) for call in _calls(rules, time.time())])
        for phone, count in (("36", 6), ("35", 1)):
            for _ in range(count):
                admit_guess(connection, keys_of(f"PJSIP/{phone}-0000001a", phone, 1, frozenset()), time.time())
        _count(connection, time.time())


LONG: Final = "Wolfeschlegelsteinhausenbergerdorff-Featherstonehaugh y Goikoetxea de la Vega"
"""A name as long as the console accepts, with a part that has no place to break it."""


def crowd(path: Path) -> None:
    """Fill each list of the console with many rows, some of which have long names."""
    key = read_key(Path(f"{path}.pinkey"))
    hash_pin = functools.partial(pins.hash_pin, key)
    actor = Actor("Maximiliane von Wolfeschlegelsteinhausenbergerdorff", "api")
    at = iter(time.time() - 3600 + second for second in range(3600))
    with contextlib.closing(database.connect(path)) as connection:
        for number in range(40):
            pattern = "".join(f"[{first}-9]" for first in range(9)) + f"{number:02}"
            data = "&".join(f"PJSIP/{phone}" for phone in range(2100, 2101 + number % 20))
            add_mapping(connection, actor, next(at), MappingValues(pattern, "dial", data))
            extension = add_extension(connection, actor, next(at), f"{10**14 + number}").value
            grant(connection, actor, next(at), Grant("extension", extension, 1))
            user = add_user(connection, actor, next(at), f"{LONG} {number}"[-80:]).value
            grant(connection, actor, next(at), Grant("user", user, 1))
            add_token(connection, actor, next(at), f"{number} {LONG}"[:60], f"{number}", frozenset(Scope))
            admit_guess(
                connection, keys_of(f"PJSIP/{10**30 + number}-0000001a", f"{10**14}", 1, frozenset()), time.time()
            )
        set_user_pin(connection, actor, next(at), 2, hash_pin("864209"))
        rules = read_rules(connection, hash_pin)
        calls, outcomes = [], tuple(OUTCOME_SENTENCES)
        for number in range(40):
            caller, dialled = f"{10**14 + number}", f"00{10**20}"
            made = SimulatedCall(dialled, caller=caller, name=LONG[:70], uniqueid=f"1.{number}")
            request = parse_request(SimulatedAsterisk(made).environment().removesuffix(b"\n\n"))
            decision = rules.decide(Facts(caller, dialled))
            began = time.time() - 20 * number - 3
            outcome = Outcome(outcomes[number % len(outcomes)], "16", 86_000)
            calls.append(row_of(CallRecord(request, decision, outcome, began, began + 90_000)))
        add_calls(connection, calls)
        # More than a hundred calls a minute.
        connection.execute("UPDATE counter_minutes SET started = 1234 WHERE started > 2")
        connection.commit()


def crowd_users(path: Path) -> None:
    """Add many console users with long names; the first admin is there already."""
    actor = Actor("ana", "console")
    with contextlib.closing(database.connect(path)) as connection:
        for number in range(30):
            login, phone = f"{number} {LONG}"[:60], f"PJSIP/{10**14}"
            add_console_user(connection, actor, time.time(), login, "none", Role.VIEWER, phone)


def _change_rules(connection: sqlite3.Connection, hash_pin: Callable[[str], str]) -> None:
    now = time.time()
    ana, luis = Actor("ana", "console"), Actor("luis", "console")
    at = iter(now - WEEK_S + 7200 * step for step in range(80))
    for pattern, application, data in (
        ("112", "dial", "Zap"),
        ("9XXXXXXXX", "dial", "Zap"),
        ("00.", "dial", "Zap"),
        ("8X", "queue", "sales"),
        ("4X", "playback", "closed-today"),
        ("70", "conference", "board"),
    ):
        number = add_mapping(connection, ana, next(at), MappingValues(pattern, application, data)).value
        if pattern == "4X":
            set_enabled(connection, luis, next(at), number, False)
        elif pattern == "00.":
            update_mapping(connection, luis, next(at), number, MappingValues(pattern, "dial", "Zap/g2"))
        elif pattern == "112":
            emergency = number
    for extension in ("34", "35", "36", "37", "38", "39", "40"):
        holder = add_extension(connection, ana, next(at), extension).value
        grant(connection, ana, next(at), Grant("extension", holder, emergency))
        for map_id in (1, 2, 3, 4)[: int(extension) % 4 + 1]:
            grant(connection, luis, next(at), Grant("extension", holder, map_id))
    for name, pin in (("Marta Gil", "246810"), ("Night watch", ""), ("Jürgen Müller", "135791")):
        user = add_user(connection, ana, next(at), name).value
        if pin:
            set_user_pin(connection, ana, next(at), user, hash_pin(pin))
            grant(connection, ana, next(at), Grant("user", user, 3))


def _count(connection: sqlite3.Connection, now: float) -> None:
    """The calls of today, as the call counter counts them."""
    chance = random.Random(5038)
    # Seen until the gateway is connected, so that there is no gap.
    seen = {"now": now + 60, "first": now - WEEK_S}
    minutes = []
    for minute in range(int(now - 43_200) // 60 * 60, int(now), 60):
        calls = max(0, round(chance.gauss(3 + 2 * math.sin(minute / 1700), 1.5)))
        minutes.append({"minute": minute, "calls": calls, "answered": round(calls * 0.8)})
    with database.transaction(connection):
        connection.execute(
            "INSERT INTO counter_asterisks (asterisk, first_seen, last_seen, started_up)"
            " VALUES ('lab', :first, :now, '2026-11-20 08:00:00')",
            seen,
        )
        connection.executemany(
            "INSERT INTO counter_minutes (minute, asterisk, kind, name, started, answered, finished, talked)"
            " VALUES (:minute, 'lab', 'all', '', :calls, :answered, :calls, :answered)",
            minutes,
        )


def _calls(rules: RuleSet, now: float) -> Iterator[CallRecord]:
    """Some hundred calls of the last days, decided by the rules."""
    chance = random.Random(4573)
    for number in range(420):
        began = now - WEEK_S * (1 - number / 420) ** 1.3 - chance.uniform(0, 600) - 30
        caller, name = chance.choice(CALLERS)
        dialled = chance.choice(NUMBERS)
        environment = SimulatedCall(dialled, caller=caller, name=name, uniqueid=f"{int(began)}.{number}")
        request = parse_request(SimulatedAsterisk(environment).environment().removesuffix(b"\n\n"))
        decision = rules.decide(Facts(caller, dialled))
        outcome, lasted_s = _ending(decision.verdict, chance)
        yield CallRecord(request, decision, outcome, began, began + lasted_s)


def _ending(verdict: Verdict, chance: random.Random) -> tuple[Outcome, float]:
    if verdict is Verdict.ALLOW:
        status = chance.choice(ENDINGS)
        talk_s = chance.randrange(4, 900) if status == "ANSWER" else None
        return Outcome(status, "16" if talk_s else "17", talk_s), 5.0 + (talk_s or chance.randrange(25))
    status = {Verdict.INVALID: "INVALID", Verdict.DENY: "DENIED"}.get(verdict, "HANGUP")
    return Outcome(status), chance.uniform(2, 20)
