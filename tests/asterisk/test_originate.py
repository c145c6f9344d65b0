"""Originated calls: the reported progress is what happened on a real Asterisk.

Phone 33 is called, and connected with a number that its grants allow.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from pbxrouter.agi import Prompts
from tests.asterisk.harness import PROJECT, AsteriskTest
from tests.needs import PATIENCE_S
from tests.waiting import wait_for

AMI = """
[[asterisk]]
name = "lab"
ami = "tcp:127.0.0.1:AMI_PORT"
username = "gateway"
secret_file = "ami.secret"
magi = ["pbxrouter-magi"]
originate = ["pbxrouter", "nowhere"]
"""


class Command:
    """A running `pbxrouter` command; its output is one JSON object a line."""

    def __init__(self, config: object, name: str, *arguments: str) -> None:
        program = [sys.executable, "-c", "from pbxrouter.cli import main; main()"]
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [*program, name, "--config", str(config), "--json", *arguments],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []

    def until(self, event: str, uniqueid: str = "") -> dict[str, Any]:
        """Read until this state, or this event of a channel; at most half a minute."""
        assert self.process.stdout is not None
        patience = threading.Timer(30, self.process.kill)
        patience.start()
        try:
            while True:
                for line in self.lines:
                    if event in (line.get("state"), line.get("Event")) and uniqueid in (
                        "",
                        line.get("Uniqueid"),
                    ):
                        return line
                text = self.process.stdout.readline()
                if not text:
                    raise AssertionError(f"never {event} {uniqueid}: {self.lines}")
                self.lines.append(json.loads(text))
        finally:
            patience.cancel()

    def end(self) -> tuple[int, str]:
        """Read to the end; returns the status and standard error."""
        assert self.process.stdout is not None and self.process.stderr is not None
        patience = threading.Timer(PATIENCE_S, self.process.kill)
        patience.start()
        try:
            # Not communicate(), which loses what readline() has read ahead.
            with self.process:
                self.lines += [json.loads(text) for text in self.process.stdout]
                err = self.process.stderr.read()
        finally:
            patience.cancel()
        self.took_s = time.monotonic() - self.began
        return self.process.returncode, err

    def states(self) -> list[str]:
        """The reported states, in order."""
        return [line["state"] for line in self.lines]


class OriginateTest(AsteriskTest):
    """`pbxrouter originate`, with phones."""

    config = "[dial]\ntimeout = 3\n" + AMI

    def setUp(self) -> None:
        """Wait until the gateway is on AMI."""
        super().setUp()
        wait_for("AMI", lambda: "AMI lab: connected" in self.gateway.log())

    def originate(self, *arguments: str, channel: str = "PJSIP/33", to: str = "21") -> Command:
        """Originate a call to the lab's context of phones."""
        where = ["--to", to, "--context", "pbxrouter", "--wait", "--ring", "4"]
        return Command(self.gateway.config, "originate", channel, *where, *arguments)

    def assert_told(self, command: Command, status: int, *states: str) -> None:
        """Assert the exit status and the reported states, without errors on stderr or in the log."""
        self.assertEqual((*command.end(), command.states()), (status, "", list(states)))
        self.assertEqual(self.complaints(), [])

    @contextlib.contextmanager
    def events(self, *names: str) -> Iterator[Command]:
        """Watch events with `pbxrouter events` while the body runs."""
        watcher = Command(self.gateway.config, "events", *names)
        assert watcher.process.stderr is not None
        self.assertIn("watching lab", watcher.process.stderr.readline())
        try:
            yield watcher
        finally:
            watcher.process.terminate()
            watcher.end()

    def test_answered(self) -> None:
        """Phone 33 answers, 21 answers, they are connected, 21 hangs up."""
        with self.phone(33, "answer"), self.phone(21, "answer", "-t", "500"):
            self.assert_told(self.originate(), 0, "ringing", "answered", "connected", "ended")
        self.assertEqual(self.dialled(), ["PJSIP/21"])

    def test_first_phone(self) -> None:
        """Without --wait the phone's answer ends the command, not the call."""
        with self.phone(33, "answer"), self.phone(21, "answer"):
            where = ["PJSIP/33", "--to", "21", "--context", "pbxrouter"]
            command = Command(self.gateway.config, "originate", *where)
            self.assert_told(command, 0, "ringing", "answered")
            wait_for("the call goes on", lambda: len(self.lab.channels()) == 2)
            self.hang_up_all()

    def test_busy(self) -> None:
        """The phone 33 is busy."""
        with self.phone(33, "busy"):
            self.assert_told(self.originate(), 1, "busy")

    def test_rejected(self) -> None:
        """The phone 33 declines the call."""
        with self.phone(33, "reject"):
            self.assert_told(self.originate(), 1, "rejected")

    def test_no_answer(self) -> None:
        """33 rings until the time is over."""
        with self.phone(33, "noanswer"):
            self.assert_told(self.originate(), 1, "ringing", "noanswer")

    def test_switched_off(self) -> None:
        """A phone that is not registered: reported differently from one that rang."""
        self.assert_told(self.originate(), 1, "unavailable")

    def test_no_such_phone(self) -> None:
        """An extension with grants but no endpoint fails at once."""
        self.gateway.change_rules(
            "INSERT INTO extensions (extension_number) VALUES ('39')",
            "INSERT INTO extensions_mappings (extension_id, map_id)"
            " SELECT extension_id, map_id FROM extensions, applications_mappings"
            " WHERE extension_number = '39' AND pattern = '2X'",
        )
        try:
            command = self.originate(channel="PJSIP/39")
            self.assert_told(command, 1, "unavailable")
            self.assertLess(command.took_s, PATIENCE_S)
        finally:
            self.gateway.sql(
                "DELETE FROM extensions_mappings WHERE extension_id IN"
                " (SELECT extension_id FROM extensions WHERE extension_number = '39')"
            )
            self.gateway.sql("DELETE FROM extensions WHERE extension_number = '39'")

    def test_number_fails(self) -> None:
        """33 answers, the number fails: its result is reported."""
        for manner, state in ("busy", "busy"), ("reject", "rejected"), ("noanswer", "noanswer"):
            with self.phone(33, "answer"), self.phone(21, manner):
                self.assert_told(self.originate(), 1, "ringing", "answered", state)
            wait_for("silence", lambda: not self.lab.channels())

    def test_hangs_up_while_it_rings(self) -> None:
        """33 answers and gives up while 21 rings."""
        with self.phone(33, "answer", "-t", "700"), self.phone(21, "noanswer"):
            self.assert_told(self.originate(), 0, "ringing", "answered", "ended")

    def test_agrees_with_the_events(self) -> None:
        """The reported states agree with Asterisk's events of the same Uniqueid."""
        for manner, reason, state in (
            ("answer", "4", "ended"),
            ("busy", "0", "busy"),
            ("noanswer", "3", "noanswer"),
        ):
            with self.events() as events, self.phone(33, manner), self.phone(21, "answer", "-t", "300"):
                command = self.originate()
                command.end()
                self.assertEqual(command.states()[-1], state)
                ours = command.lines[0]["uniqueid"]
                response = events.until("OriginateResponse", ours)
                self.assertEqual(response["Reason"], reason)
                self.assertEqual(response["Response"] == "Success", "answered" in command.states())
                events.until("Hangup", ours)
                ringing = [line for line in events.lines if line.get("ChannelState") == "5"]
                self.assertEqual(bool(ringing), "ringing" in command.states())
            self.assertEqual({line["uniqueid"] for line in command.lines}, {ours})

    def test_grants(self) -> None:
        """A call that the rules do not allow never reaches Asterisk; the reason is reported."""
        for channel, number, why in (
            *(("PJSIP/33", "999", "999"), ("PJSIP/33", "75", "33"), ("PJSIP/22", "21", "22 is not among")),
            *(
                ("PJSIP/33", "1e5", "cannot be dialled"),
                ("PJSIP/33", "+", "cannot be dialled"),
                ("Local/33", "21", "is not a phone"),
            ),
            *(
                ("PJSIP/33", "21\r\nAction: Command", "cannot be dialled"),
                ("PJSIP/33&PJSIP/22", "21", "is not a phone"),
            ),
            ("PJSIP/33/n", "21", "is not a phone"),
        ):
            status, said = self.originate(channel=channel, to=number).end()
            self.assertEqual((status, said.count("\n")), (2, 1), said)
            self.assertIn(why, said)
        self.assertNotIn("New", re.sub("NewLine", "", self.log()))
        self.assertEqual(self.lab.channels(), [])

    def test_no_such_context(self) -> None:
        """An unknown context: Asterisk's own message."""
        where = ["PJSIP/33", "--to", "21", "--context", "nowhere"]
        status, said = Command(self.gateway.config, "originate", *where).end()
        self.assertEqual((status, said), (2, "pbxrouter: Originate: Extension does not exist.\n"))

    def test_ami_lost(self) -> None:
        """The AMI connection is lost while the phone rings: the result is reported as unknown; then it reconnects."""
        mark = self.gateway.log_size()
        with self.phone(33, "noanswer"):
            command = self.originate()
            command.until("ringing")
            for handle in re.findall(r"^ *gateway +\S+ +\d+ +\d+ +(\d+)", self.lab.cli("manager show connected"), re.M):
                self.lab.cli(f"manager kick session {handle}")
            status, _ = command.end()
            self.assertEqual((status, command.states()), (1, ["ringing", "failed"]))
            self.hang_up_all()
        wait_for("AMI again", lambda: "AMI lab: connected" in self.gateway.log(mark))
        with self.phone(33, "busy"):
            self.assertEqual(self.originate().end()[0], 1)

    def test_pins_in_events(self) -> None:
        """`pbxrouter events` shows a call by PIN, without the PIN."""
        with self.events() as events:
            self.call("75", "-d", "123456#", "-t", "1500")
            events.until("Hangup")
        names = {line["Event"] for line in events.lines}
        self.assertTrue({"Newchannel", "AGIExecStart", "Hangup"} <= names, names)
        self.assertNotIn("123456", json.dumps(events.lines))

    def test_doctor(self) -> None:
        """With this gateway and Asterisk there is no problem; without the gateway there is."""
        sounds = self.gateway.folder / "sounds" / "en"
        sounds.mkdir(parents=True, exist_ok=True)
        for name in msgspec.structs.asdict(Prompts()).values():
            (sounds / f"{name}.gsm").touch()
        arguments = ["doctor", "--sounds", str(sounds.parent)]
        with contextlib.closing(sqlite3.connect(self.gateway.database)) as connection:
            ((weak,),) = connection.execute("SELECT user_pin FROM users").fetchall()
        self.gateway.sql("UPDATE users SET user_pin = :pin", pin="5" * 64)  # the sample's 123456 is named as obvious
        self.addCleanup(self.gateway.sql, "UPDATE users SET user_pin = :pin", pin=weak)
        wait_for("heartbeat", lambda: self.lab.ami.getvar("PBXROUTER_HEARTBEAT") not in ("", "0"))
        program = [sys.executable, "-m", "pbxrouter", *arguments, "--config", str(self.gateway.config)]
        done = subprocess.run(program, cwd=PROJECT, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (3, ""), done.stdout)  # no trunk is named
        self.assertIn("no problems found", done.stdout)
        self.assertNotIn("enero2007", done.stdout)
        self._doctor_knows_endpoints(program)
        self.gateway.stop()
        done = subprocess.run(program, cwd=PROJECT, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("twistd -n pbxrouter", done.stdout)
        self.gateway.start()
        self._sockets = self.gateway.sockets() + 1

    def _doctor_knows_endpoints(self, program: list[str]) -> None:
        """Trunks and endpoints of extensions that Asterisk does not have are problems; others are none."""
        self.gateway.sql("INSERT INTO extensions_endpoints SELECT extension_id, 'PJSIP/33' FROM extensions")
        self.addCleanup(self.gateway.sql, "DELETE FROM extensions_endpoints")
        config = self.gateway.folder / "trunks.toml"
        settings = self.gateway.config.read_text()
        for trunk, endpoint, problems in (
            ("PJSIP/33", "PJSIP/21", ()),
            ("PJSIP/nowhere", "PJSIP/21", ("Asterisk has no endpoint PJSIP/nowhere",)),
            ("PJSIP/33", "SIP/21", ("extension 33 is tied to SIP/21, which Asterisk does not have",)),
        ):
            config.write_text(f'trunks = ["{trunk}"]\n{settings}')
            self.gateway.sql("UPDATE extensions_endpoints SET endpoint = :endpoint", endpoint=endpoint)
            done = subprocess.run([*program[:-1], str(config)], cwd=PROJECT, capture_output=True, text=True)
            wrong = [line for line in done.stdout.splitlines() if line.startswith("WRONG")]
            self.assertEqual(len(wrong), len(problems), done.stdout)
            for line, problem in zip(wrong, problems, strict=True):
                self.assertIn(problem, line)


class WithoutAmiTest(AsteriskTest):
    """Originating while the AMI port refuses connections."""

    config = AMI.replace("AMI_PORT", "1")

    def test_at_once(self) -> None:
        """Without a connection to AMI the command fails at once, in one line."""
        where = ["PJSIP/33", "--to", "21", "--context", "pbxrouter"]
        command = Command(self.gateway.config, "originate", *where)
        status, said = command.end()
        self.assertEqual((status, said), (2, "pbxrouter: there is no connection to lab now\n"))
        self.assertLess(command.took_s, PATIENCE_S)
