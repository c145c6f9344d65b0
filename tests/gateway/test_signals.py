"""The signals that a gateway gets, on real processes: what each does, and that none cuts a call without a record."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from pbxrouter.gateway.signals import STATUS_CUT
from pbxrouter.simulator import SimulatedCall
from tests.gateway.process import GatewayProcess
from tests.gateway.signalled import SETTINGS, Caller, ProcessCase
from tests.needs import PATIENCE_S, terminal
from tests.waiting import wait_for


class Reloading(ProcessCase):
    """SIGHUP and `pbxrouter reload`."""

    def reload(self) -> subprocess.CompletedProcess[str]:
        """Run `pbxrouter reload`."""
        program = [sys.executable, "-c", "from pbxrouter.cli import main; main()", "reload"]
        return subprocess.run(program, cwd=self.here, capture_output=True, text=True, check=False)

    def test_hangup(self) -> None:
        """SIGHUP reloads the settings for the next calls; one in progress goes on, and no port is closed."""
        process = self.start()
        waiting = self.call("34", "GET DATA")
        self.assertEqual(waiting.goes_on(), "GET DATA agent-pass 5000 20")
        self.settings('database = "other.sqlite"\n' + SETTINGS + '[prompts]\nask-pin = "our-question"\n')
        process.send_signal(signal.SIGHUP)
        self.wait_for_log("prompts.ask-pin: reloaded")
        self.assertIn("reload: database: needs a restart", self.log())
        self.assertEqual(self.call("35", "GET DATA").goes_on(), "GET DATA our-question 5000 20")
        self.assertEqual(waiting.goes_on("200 result=123456"), "")
        self.assertIn("EXEC Dial IAX2/34,60,i", waiting.commands)
        process.send_signal(signal.SIGHUP)
        self.wait_for_log("database: needs a restart", times=2)
        self.assertEqual(self.log().count("prompts.ask-pin: reloaded"), 1)
        self.assertNotIn("Port s Closed", self.log())
        self.assertEqual(self.complaints(), [])

    def test_bad_settings(self) -> None:
        """Settings with an error change nothing; the log and the command name the error."""
        process = self.start()
        self.settings(SETTINGS + '[prompts]\nask-pin = "our question"\ngoodbye = "bye"\n')
        process.send_signal(signal.SIGHUP)
        self.wait_for_log("reload: refused; the settings in force stay: pbxrouter.toml: prompts.ask-pin: accepted is")
        refused = self.reload()
        self.assertEqual((refused.returncode, refused.stdout), (2, ""))
        self.assertIn("prompts.ask-pin: accepted is", refused.stderr)
        self.assertEqual(self.call("34", "GET DATA").goes_on(), "GET DATA agent-pass 5000 20")
        self.assertNotIn("goodbye: reloaded", self.log())

    def test_files(self) -> None:
        """A secret that has changed in its file is reloaded; one that cannot be used refuses all of it."""
        secret = self.here / "secret"
        secret.write_text("a" * 20 + "\n")
        settings = SETTINGS + 'secret_file = "secret"\n'
        self.settings(settings)
        self.start()
        secret.write_text("b" * 20 + "\n")
        told = self.reload()
        self.assertEqual((told.returncode, told.stderr), (0, ""))
        self.assertIn(f"fastagi.secret_file: reloaded: the secret in {secret} has changed", told.stdout)
        secret.write_text("short\n")
        self.settings(settings + 'allow = ["192.0.2.1"]\n')
        told = self.reload()
        self.assertEqual((told.returncode, told.stdout), (2, ""))
        self.assertIn("holds no usable secret", told.stderr)
        self.assertNotIn("allow: reloaded", self.log())
        for text in ("aaaa", "bbbb", "short"):
            self.assertNotIn(text, self.log())

    def test_pipes(self) -> None:
        """A named pipe in the place of a file is refused, and does not hold up the calls."""
        process = self.start()
        (self.here / "pbxrouter.toml").unlink()
        os.mkfifo(self.here / "pbxrouter.toml")
        process.send_signal(signal.SIGHUP)
        self.wait_for_log("pbxrouter.toml is not a file, so it is not read again")
        self.assertEqual(self.call("34", "GET DATA").goes_on(), "GET DATA agent-pass 5000 20")
        (self.here / "pbxrouter.toml").unlink()
        os.mkfifo(self.here / "secret")
        self.settings(SETTINGS + 'secret_file = "secret"\n')
        process.send_signal(signal.SIGHUP)
        self.wait_for_log("secret is not a file, so it is not read again")
        self.assertEqual(self.call("35", "GET DATA").goes_on(), "GET DATA agent-pass 5000 20")

    def test_many(self) -> None:
        """A thousand signals at once do no harm; a call is served meanwhile."""
        process = self.start()
        for _ in range(1000):
            process.send_signal(signal.SIGHUP)
        self.assertEqual(self.call("34", "GET DATA").goes_on(), "GET DATA agent-pass 5000 20")
        self.wait_for_log("no setting has changed")
        self.assertEqual(self.complaints(), [])

    def test_command(self) -> None:
        """`pbxrouter reload` prints what the log has; without a gateway its status is 2."""
        told = self.reload()
        self.assertEqual(told.returncode, 2)
        self.assertIn("no gateway answers", told.stderr)
        self.start()
        self.settings(SETTINGS + "debug = true\n[history]\nkeep_days = 5\n")
        told = self.reload()
        self.assertEqual((told.returncode, told.stderr), (0, ""))
        lines = ["fastagi.debug: reloaded", "history.keep_days: reloaded"]
        self.assertEqual(told.stdout.splitlines()[1:], lines)
        for line in lines:
            self.assertIn(f"reload: {line}", self.log())

    def test_no_terminal(self) -> None:
        """A gateway whose terminal is closed, or that nohup started, is reloaded by SIGHUP, and goes on."""
        ours, theirs = terminal()
        try:
            process = self.start("-n", "--pidfile=", ignore=(signal.SIGHUP,), output=theirs)
        finally:
            os.close(ours)
            os.close(theirs)
        self.settings(SETTINGS + '[prompts]\nask-pin = "our-question"\n')
        process.send_signal(signal.SIGHUP)

        def has_reloaded() -> bool:
            call = self.call("34", "GET DATA")
            return call.goes_on() == "GET DATA our-question 5000 20"

        wait_for("the reload", has_reloaded)
        self.assertIsNone(process.poll())


class LogFile(ProcessCase):
    """The log file, as logrotate moves it away."""

    def rotate(self, process_id: int, number: int) -> None:
        """Move the log, and have it opened again."""
        log = self.here / "log"
        moved = self.here / f"log.{number}"
        log.rename(moved)
        os.kill(process_id, number)
        wait_for("a new log", log.exists)
        self.wait_for_log("is opened again", "log")
        self.assertEqual(log.stat().st_mode & 0o027, 0)
        before = moved.stat().st_size
        os.kill(process_id, signal.SIGUSR2)
        self.wait_for_log("state: calls in progress: 0", "log")
        self.assertEqual(moved.stat().st_size, before)

    def test_foreground(self) -> None:
        """SIGHUP and SIGUSR1 open it again; a folder that is gone keeps the old one in use."""
        process = self.start("-n", "--pidfile=", "--logfile=log")
        for number in (signal.SIGHUP, signal.SIGUSR1):
            self.rotate(process.pid, number)

    def test_cannot_be_opened(self) -> None:
        """If it cannot be opened again, the log goes on in the old file and says so."""
        (self.here / "logs").mkdir()
        process = self.start("-n", "--pidfile=", "--logfile=logs/log")
        (self.here / "logs").rename(self.here / "moved")
        process.send_signal(signal.SIGUSR1)
        self.wait_for_log("cannot be opened again: No such file or directory", "moved/log")
        process.send_signal(signal.SIGUSR2)
        self.wait_for_log("state: calls in progress: 0", "moved/log")

    def test_daemon(self) -> None:
        """In the background too; the process id is in the file, which a stop removes."""
        starter = self.start("--logfile=log")
        self.assertEqual(starter.wait(PATIENCE_S), 0)
        pid = int((self.here / "twistd.pid").read_text())
        try:
            for number in (signal.SIGHUP, signal.SIGUSR1):
                self.rotate(pid, number)
            self.settings(SETTINGS + "debug = true\n")
            os.kill(pid, signal.SIGHUP)
            self.wait_for_log("fastagi.debug: reloaded", "log")
        finally:
            os.kill(pid, signal.SIGTERM)
        wait_for("the end", lambda: not Path(f"/proc/{pid}").exists())
        self.assertFalse((self.here / "twistd.pid").exists())
        self.assertEqual(self.complaints("log"), [])


class Stopping(ProcessCase):
    """SIGTERM, SIGINT, SIGQUIT."""

    def test_drained(self) -> None:
        """A stop takes no new call, and waits for the conversations; their outcome is recorded as always."""
        for number, status in (
            (signal.SIGTERM, -signal.SIGTERM),
            (signal.SIGINT, -signal.SIGINT),
            (signal.SIGQUIT, -signal.SIGTERM),
        ):
            process = self.start()
            call = self.call("34", "GET DATA")
            call.goes_on()
            process.send_signal(number)
            wait_for("the port is closed", lambda: not self.accepts())
            self.assertEqual(call.goes_on("200 result=123456"), "")
            self.assertIn("EXEC Dial IAX2/34,60,i", call.commands)
            self.assertEqual(call.commands[-1], "SET VARIABLE PBXROUTER done")
            self.assertEqual(process.wait(PATIENCE_S), status)
            self.assertEqual(self.history().keys(), {"1.34"})
            self.assertNotIn(self.history()["1.34"][0], ("HANGUP", "STOPPED", "LEFT"))
            self.assertEqual(self.complaints(), [])

    def accepts(self) -> bool:
        """Whether the gateway takes connections."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.here / "s")) == 0

    def test_left_in_dial(self) -> None:
        """A call in a Dial is left to Asterisk at once, and recorded so."""
        process = self.start()
        call = self.call("21", "EXEC Dial")
        call.goes_on()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(call.goes_on(), "")
        self.assertEqual(process.wait(PATIENCE_S), -signal.SIGTERM)
        outcome, trace = self.history()["1.21"]
        self.assertEqual(outcome, "LEFT")
        self.assertIn("the gateway stopped while {application} ran, which goes on", trace)
        self.assertNotIn("did not end in", self.log())
        self.assertEqual(self.complaints(), [])

    def test_cut(self) -> None:
        """A conversation that does not end in time is cut, and recorded as cut by the stop, not as a hang-up."""
        process = self.start()
        call = self.call("34", "GET DATA")
        call.goes_on()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(call.goes_on(), "")
        self.assertEqual(process.wait(PATIENCE_S), -signal.SIGTERM)
        outcome, trace = self.history()["1.34"]
        self.assertEqual(outcome, "STOPPED")
        self.assertIn("the gateway stopped while it talked with the caller", trace)
        self.assertIn("1 conversations did not end in 10 s and are cut", self.log())

    def test_second_signal(self) -> None:
        """A second signal ends a stop at once, with a status of its own and a line instead of a traceback."""
        for first, second in (
            (signal.SIGTERM, signal.SIGTERM),
            (signal.SIGINT, signal.SIGINT),
            (signal.SIGTERM, signal.SIGINT),
            (signal.SIGQUIT, signal.SIGTERM),
        ):
            process = self.start()
            call = self.call("34", "GET DATA")
            call.goes_on()
            process.send_signal(first)
            wait_for("the port is closed", lambda: not self.accepts())
            process.send_signal(second)
            self.assertEqual(process.wait(PATIENCE_S), STATUS_CUT)
            (line,) = [line for line in self.complaints() if "history: took up" not in line]
            self.assertIn(f"a second signal, {second.name}, ended the gateway at once; calls that it cut: 1", line)
            (self.here / "out").unlink()

    def test_endless(self) -> None:
        """A stop that does not end in STOP_S is ended with the same status, and a line that says so."""
        gateway = GatewayProcess()
        self.addCleanup(gateway.clean)
        gateway.start("import pbxrouter.gateway.signals\npbxrouter.gateway.signals.STOP_S = 1\n")
        gateway.wait_until_up()
        gateway.wait_for_log("is up")
        call = Caller(gateway.folder / "s", SimulatedCall("34", caller="33"), "GET DATA")
        self.addCleanup(call.close)
        call.goes_on()
        self.assertEqual(gateway.stop(), STATUS_CUT)
        self.assertIn("gateway: the stop took longer than 1 s and was cut; calls that it cut: 1", gateway.log())
        self.assertNotIn("Traceback", gateway.log())

    def test_second_signal_without_a_reader(self) -> None:
        """It ends at once even if the log is a pipe that is full."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        process = self.start("-n", "--pidfile=", output=writer)
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x")
        except BlockingIOError:
            pass
        finally:
            os.set_blocking(writer, True)
            os.close(writer)
        process.send_signal(signal.SIGTERM)
        wait_for("the first is taken", lambda: self.blocked(process.pid))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE_S), STATUS_CUT)

    def blocked(self, pid: int) -> bool:
        """Whether the process no longer has a SIGTERM to take."""
        status = Path(f"/proc/{pid}/status").read_text()
        pending = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
        return not any(mask >> (signal.SIGTERM - 1) & 1 for mask in pending)

    def test_during_a_stop(self) -> None:
        """Other signals during a stop change nothing, and a reload is refused."""
        process = self.start()
        call = self.call("34", "GET DATA")
        call.goes_on()
        process.send_signal(signal.SIGTERM)
        wait_for("the port is closed", lambda: not self.accepts())
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            process.send_signal(number)
            self.wait_for_log(f"{number.name} ignored, since the gateway stops")
        call.goes_on("200 result=123456")
        self.assertEqual(process.wait(PATIENCE_S), -signal.SIGTERM)


class Others(ProcessCase):
    """Signals that would end a process by default."""

    def test_state(self) -> None:
        """SIGUSR2 logs the state; a call goes on, and no number or PIN is in it."""
        process = self.start()
        call = self.call("34", "GET DATA")
        call.goes_on()
        process.send_signal(signal.SIGUSR2)
        self.wait_for_log("state: thread")
        self.assertIn("state: calls in progress: 1, of them in a conversation: 1", self.log())
        self.assertEqual(call.goes_on("200 result=123456"), "")
        self.assertIn("EXEC Dial IAX2/34,60,i", call.commands)

    def test_ignored(self) -> None:
        """The others are ignored with a line."""
        process = self.start()
        for name in ("SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR"):
            number = signal.Signals[name]
            process.send_signal(number)
            self.wait_for_log(f"gateway: {number.name} ignored")
        self.assertIsNone(process.poll())

    def test_service_manager(self) -> None:
        """The service manager is told when the gateway is ready, reloads and stops."""
        process = self.start()  # which waits for READY=1
        process.send_signal(signal.SIGHUP)
        state, _, since = self.manager.recv(100).partition(b"\n")
        self.assertEqual(state, b"RELOADING=1")
        self.assertRegex(since, rb"^MONOTONIC_USEC=[0-9]+$")
        self.assertEqual(self.manager.recv(100), b"READY=1")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.manager.recv(100), b"STOPPING=1")
        self.assertEqual(process.wait(PATIENCE_S), -signal.SIGTERM)
