"""Each program in examples/ as a process of its own, on a real Asterisk."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.asterisk.harness import PROJECT, AsteriskTest
from tests.needs import PATIENCE_S
from tests.waiting import wait_for


class ExamplesTest(AsteriskTest):
    """No gateway runs: the examples stand alone."""

    config = None

    def _environment(self, username: str = "fsl", secret: str = "junio2006") -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "AGI_LISTEN": f"tcp:{self.lab.agi_port}:interface=127.0.0.1",
            "AMI": f"tcp:127.0.0.1:{self.lab.base + 38}",
            "AMI_USERNAME": username,
            "AMI_SECRET": secret,
        }

    def _program(self, name: str, *arguments: str) -> list[str]:
        return [sys.executable, str(PROJECT / "examples" / name), *arguments]

    def _done(self, name: str, *arguments: str, **account: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            self._program(name, *arguments),
            env=self._environment(**account),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    @contextlib.contextmanager
    def _running(self, name: str) -> Iterator[Path]:
        """Run a program while the body runs; gives the file with its output. It must end when interrupted."""
        descriptor, path = tempfile.mkstemp()
        said = Path(path)
        self.addCleanup(said.unlink)
        with open(descriptor, "wb") as output:
            program = subprocess.Popen(
                self._program(name),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield said
            self.assertIsNone(program.poll(), said.read_text())
        finally:
            program.terminate()
            program.wait(PATIENCE_S)
        self.assertNotIn("Traceback", said.read_text())

    @contextlib.contextmanager
    def _serving(self, name: str) -> Iterator[Path]:
        """A program that answers FastAGI calls."""
        with self._running(name) as said:
            wait_for(f"{name} listens", lambda: "waiting for calls" in said.read_text())
            yield said

    @contextlib.contextmanager
    def _watching(self, name: str) -> Iterator[Path]:
        """A program that watches over AMI; it is logged in when the body begins."""
        mark = self.lab.log_size()
        with self._running(name) as said:
            wait_for(f"{name} logged in", lambda: "Manager 'fsl' logged on" in self.lab.log(mark))
            yield said

    # FastAGI

    def test_hello_world(self) -> None:
        """The caller hears the sound."""
        with self._serving("hello_world.py"):
            self.assertEqual(self.call("21"), "answered, hung up by the far end")
        self.assertEqual(self.played(), ["hello-world en"])

    def test_variables(self) -> None:
        """All variables of each call are shown, and calls are counted."""
        with self._serving("variables.py") as said:
            self.call("21")
            self.call("22")
            wait_for("both calls", lambda: "call 2: 33 dialled 22" in said.read_text())
        text = said.read_text()
        self.assertIn("call 1: 33 dialled 21", text)
        self.assertRegex(text, r"\n  context +pbxrouter\n")
        self.assertRegex(text, r"\n  threadid +\d+\n")

    def test_first_router(self) -> None:
        """By pattern: a phone, an invalid number, and the technologies of the others."""
        with self._serving("first_router.py") as said:
            with self.phone(22, "answer"):
                self.assertEqual(self.call("22", "-t", "1000"), "answered, hung up by the caller")
            for number in ("31", "12345678", "999"):
                self.call(number)
            wait_for("the last call", lambda: "no such number" in said.read_text())
        self.assertEqual(self.dialled(), ["PJSIP/22", "IAX2/31", "DAHDI/1/12345678"])
        self.assertEqual(self.played(), ["invalid en"])
        self.assertIn("22: ANSWER", said.read_text())
        self.assertIn("12345678: CHANUNAVAIL", said.read_text())

    # AMI

    def test_ping(self) -> None:
        """The program prints the banner, and Pong."""
        done = self._done("ping.py")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("Asterisk Call Manager/", done.stdout)
        self.assertIn("Ping: Pong", done.stdout)

    def test_refused(self) -> None:
        """A wrong secret: one line, which does not show it, and status 1."""
        done = self._done("ping.py", secret="not-the-secret")
        self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
        self.assertIn("fsl", done.stderr)
        self.assertNotIn("not-the-secret", done.stderr)

    def test_originate(self) -> None:
        """An answered call, and one that is not."""
        done = self._done("originate.py", "Local/answer@callee", "localline", "1")
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("answered\n", "", 0))
        self.lab.cli("channel request hangup all")
        done = self._done("originate.py", "Local/busy@callee", "localline", "1")
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("not answered\n", "", 0))

    def test_originate_refused(self) -> None:
        """Asterisk's own message, in one line."""
        done = self._done("originate.py", "Local/answer@callee", "nowhere", "1")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"\AOriginate: Extension does not exist\.\n\Z")

    def test_events(self) -> None:
        """All events of a call, with their headers."""
        with self._watching("events.py") as said:
            self.lab.ami.originate("Local/busy@callee")
            wait_for("the hang-up", lambda: "Event: Hangup" in said.read_text())
        text = said.read_text()
        self.assertIn("Event: Newchannel", text)
        self.assertIn("Channel: Local/busy@callee", text)

    def test_new_channels(self) -> None:
        """A line for each channel: a Local channel has two."""
        with self._watching("new_channels.py") as said:
            self.lab.ami.originate("Local/busy@callee")
            wait_for("both lines", lambda: said.read_text().count("\n") >= 2)
        lines = said.read_text().splitlines()
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertRegex(line, r"^New Channel: Local/busy@callee-\w+;[12]$")

    def test_magi_printer(self) -> None:
        """The variables of a call that waits in AGI(agi:async), and its end."""
        with self._watching("magi_printer.py") as said:
            self.lab.ami.originate("Local/21@pbxrouter-magi/n")
            wait_for("the beginning", lambda: "AsyncAGIStart" in said.read_text())
            self.lab.cli("channel request hangup all")
            wait_for("the end", lambda: "AsyncAGIEnd" in said.read_text())
        self.assertIn("  agi_extension: 21\n", said.read_text())
