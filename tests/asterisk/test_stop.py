"""What calls experience when the gateway stops or reloads its settings: FastAGI and MAGI."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess

from tests.asterisk.test_magi import CONFIG, MagiTest
from tests.needs import PATIENCE_S
from tests.waiting import wait_for


class StopTest(MagiTest):
    """A gateway that serves calls both ways; the contexts say what the dialplan finds afterwards."""

    config = CONFIG

    contexts = ("after", "magi-after")
    """Where a call is served by FastAGI, and by MAGI."""

    def begins_to_stop(self) -> subprocess.Popen[bytes]:
        """Send SIGTERM, and wait until the gateway takes no new call."""
        process = self.gateway.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        wait_for("the heartbeat's end", lambda: self.lab.ami.getvar("PBXROUTER_HEARTBEAT") == "0")
        return process

    def has_stopped(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the gateway has ended by the signal, and start another."""
        self.assertEqual(process.wait(PATIENCE_S), -signal.SIGTERM)
        self.gateway.process = None
        self.assertEqual(self.complaints(), [])

    def starts_again(self) -> None:
        """Start it for the next test or call."""
        mark = self.gateway.log_size()
        self.gateway.start()
        self._until_up(mark)
        self._gateway_mark = self.gateway.log_size()
        self._mark = self.lab.log_size()
        self._sockets = self.gateway.sockets()

    def outcome(self) -> str:
        """The outcome of the last call in the history."""
        with contextlib.closing(sqlite3.connect(self.gateway.database)) as connection:
            row = connection.execute("SELECT outcome FROM calls ORDER BY began DESC LIMIT 1").fetchone()
        return str(row[0])

    def test_conversation_ends(self) -> None:
        """A caller at the PIN prompt may key the PIN after the stop has begun, and is connected."""
        for context in self.contexts:
            self.originate("34", context)
            self.asked()
            process = self.begins_to_stop()
            self.press("123456#")
            wait_for("the Dial", lambda: "IAX2/loop/34" in self.dialled())
            self.has_stopped(process)
            self.assertEqual(self.outcome(), "LEFT")
            self.assertEqual(self.until_report().split()[:2], ["dialling", "3X"], context)
            self.starts_again()

    def test_conversation_does_not_end(self) -> None:
        """A caller who keys nothing is cut after ten seconds; the dialplan goes on, the history says who cut it."""
        for context in self.contexts:
            self.originate("34", context)
            self.asked()
            process = self.begins_to_stop()
            self.has_stopped(process)
            self.assertEqual(self.until_report().split()[0], "routing", context)
            self.assertEqual(self.outcome(), "STOPPED")
            self.starts_again()

    def test_new_calls(self) -> None:
        """While the gateway waits for conversations, a new call goes to the fallback at once."""
        self.originate("34", "after")
        self.asked()
        process = self.begins_to_stop()
        self.originate("34", "pbxrouter-phones")
        wait_for("the fallback", lambda: any(line.startswith("34@fallback:1") for line in self.executed()))
        self.assertIsNone(process.poll())
        self.hang_up_all()
        self.has_stopped(process)
        self.starts_again()

    def test_talk_goes_on(self) -> None:
        """Two who talk go on talking; the gateway does not wait for them, and says so in the history."""
        for context in self.contexts:
            with self.phone(21, "answer", "-t", "6000"):
                self.originate("21", context)
                wait_for("the talk", lambda: "answered Local/21" in self.log())
                process = self.begins_to_stop()
                self.has_stopped(process)
                self.assertEqual(self.outcome(), "LEFT")
                self.assertEqual(self.report(), "", "they still talk")
                self.assertEqual(self.until_report().split()[0], "dialling", context)
            if context == "magi-after":
                self.assertIn("DIALSTATUS=ANSWER", self.log())
            self.starts_again()

    def test_reload_during_a_talk(self) -> None:
        """A reload disturbs no call; the next one hears the new prompt."""
        text = self.gateway.config.read_text()
        self.addCleanup(self.gateway.config.write_text, text)
        for context in self.contexts:
            with self.phone(21, "answer", "-t", "3000"):
                self.originate("21", context)
                wait_for("the talk", lambda: "answered Local/21" in self.log())
                self._reload(text + '[prompts]\nask-pin = "vm-password"\n')
                self.assertEqual(self.until_report().split()[:2], ["done", "ANSWER"], context)
            self.originate("34", context)
            wait_for("the new prompt", lambda: "vm-password en" in self.played())
            self.hang_up_all()
            wait_for("the end", lambda: not self.lab.channels())
            self._reload(text)
            self._mark = self.lab.log_size()
        self.assertNotIn("the connection is lost", self.gateway.log(self._gateway_mark))
        self.assertEqual(self.complaints(), [])

    def _reload(self, text: str) -> None:
        self.gateway.config.write_text(text)
        told = self.gateway.command("reload")
        self.assertIn("prompts.ask-pin: reloaded", told)
