"""The handlers of signals, called by the test: tests.gateway.test_signals sends signals to a process."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import ConfigError, ControlRefused
from pbxrouter.gateway import out_of_memory
from pbxrouter.gateway.log_file import TwistdLog
from pbxrouter.gateway.signals import IGNORED, STATUS_CUT, STOP, STOP_S, Signals, hold
from pbxrouter.gateway.state import state_of
from pbxrouter.text import sentence

Handler = Callable[[int, object], object]


class Exited(BaseException):
    """The process has ended with a status."""


class FakeReactor(Clock):
    """A reactor that begins at once, and does what other threads ask for when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Callable[[], object]] = []
        self.stopped_by: list[int] = []

    def callWhenRunning(self, work: Callable[[], object]) -> None:
        """It runs already."""
        work()

    def callFromThread(self, work: Callable[..., object], *arguments: Any) -> None:
        """Keep what is asked for."""
        self.asked.append(lambda: work(*arguments))

    def turn(self) -> None:
        """Let the reactor do its work once."""
        asked, self.asked = self.asked, []
        for work in asked:
            work()

    def sigInt(self, number: int) -> None:
        """Stop, as Twisted does on SIGINT."""
        self.stopped_by.append(number)

    def sigTerm(self, number: int) -> None:
        """Stop, as Twisted does on SIGTERM."""
        self.stopped_by.append(number)


class FakeGateway:
    """What the handlers need of a gateway."""

    def __init__(self) -> None:
        self.in_progress = lambda: 3
        self.engine = SimpleNamespace(on_ready=lambda tell: self.ready.append(tell))
        self.ready: list[Callable[[], object]] = []
        self.reload = SimpleNamespace(run=self._reload)
        self.reloads = 0
        self.refuses = False
        self.reload_all: Callable[[], list[str]] | None = None

    def _reload(self) -> list[str]:
        self.reloads += 1
        if self.refuses:
            raise ConfigError("x.toml: no")
        return ["trunks: reloaded"]

    def state(self) -> list[str]:
        """Its state."""
        return ["calls in progress: 3"]


class SignalsCase(SynchronousTestCase):
    """Handlers that are installed nowhere but in ``self.handlers``."""

    def setUp(self) -> None:
        """Install the handlers."""
        self.handlers: dict[int, Any] = {}
        self.alarms: list[int] = []
        self.masks: list[tuple[int, tuple[int, ...]]] = []
        self.written = 0
        self.patch(signal, "signal", self.handlers.__setitem__)
        self.patch(signal, "alarm", self.alarms.append)
        self.patch(signal, "pthread_sigmask", lambda how, which: self.masks.append((how, tuple(which))))
        self.patch(os, "_exit", self.exit)
        self.reactor, self.gateway = FakeReactor(), FakeGateway()
        self.told: list[str] = []
        self.log_file: Any = None
        self.patch(TwistdLog, "of_process", lambda: self.log_file)
        self.signals = Signals(self.gateway, self.reactor, self.write_log)  # type: ignore[arg-type]
        self.signals._manager._send = self.told.append  # type: ignore[method-assign, assignment]

    def exit(self, status: int) -> None:
        """End the process."""
        raise Exited(status)

    def write_log(self) -> None:
        """Note that the log is written."""
        self.written += 1

    def send(self, number: int, turn: bool = True) -> list[str]:
        """Deliver a signal; returns the log lines that it caused."""
        with capturedLogs() as logs:
            self.handlers[number](number, None)
            if turn:
                self.reactor.turn()
        return [formatEvent(event) for event in logs]

    def exits(self, number: int) -> tuple[object, list[str]]:
        """Deliver a signal that ends the process; returns its status and the log lines."""
        with capturedLogs() as logs:
            exited = self.assertRaises(Exited, self.handlers[number], number, None)
        return exited.args[0], [formatEvent(event) for event in logs]


class InstallTests(SignalsCase):
    """When which handlers are there."""

    def test_hold(self) -> None:
        """While the gateway starts, signals that are handled later wait; SIGINT ends it as it does other programs."""
        for before, after in ((signal.default_int_handler, {signal.SIGINT: signal.SIG_DFL}), (signal.SIG_IGN, {})):
            self.handlers.clear()
            self.patch(signal, "getsignal", lambda number: before)  # noqa: B023
            hold()
            self.assertEqual(self.handlers, after)
        self.assertEqual(self.masks, [(signal.SIG_BLOCK, (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2))] * 2)

    def test_installed(self) -> None:
        """All are installed when the reactor runs, and those that waited are let in; rules make the gateway ready."""
        self.assertEqual(self.handlers, {})
        self.signals.startService()
        handled = {*STOP, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, *IGNORED}
        self.assertEqual(set(self.handlers), handled)
        self.assertEqual(self.masks, [(signal.SIG_UNBLOCK, (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2))])
        self.assertEqual(self.told, [])
        for tell in self.gateway.ready:
            tell()
        self.assertEqual(self.told, ["READY=1"])
        self.assertTrue(self.signals.running)
        self.signals.stopService()
        self.assertFalse(self.signals.running)
        self.assertEqual(self.told, ["READY=1", "STOPPING=1"])

    def test_ignored(self) -> None:
        """A signal that means nothing is one line."""
        self.signals.startService()
        for number in IGNORED:
            self.assertEqual(self.send(number), [f"gateway: {signal.Signals(number).name} ignored"])


class StopTests(SignalsCase):
    """A stop, and what cuts it."""

    def setUp(self) -> None:
        """Install the handlers."""
        super().setUp()
        self.signals.startService()

    def test_stop(self) -> None:
        """SIGTERM and SIGQUIT stop the reactor as SIGTERM, SIGINT as SIGINT; the stop has its time."""
        for number, stopped_by in (
            (signal.SIGTERM, signal.SIGTERM),
            (signal.SIGQUIT, signal.SIGTERM),
            (signal.SIGINT, signal.SIGINT),
        ):
            self.setUp()
            self.assertEqual(self.send(number), [])
            self.assertEqual(self.reactor.stopped_by, [stopped_by])
            self.assertEqual(self.alarms, [STOP_S])

    def test_second(self) -> None:
        """A second signal ends the process at once; the last line has the calls that it cut, and is written."""
        self.send(signal.SIGTERM)
        status, lines = self.exits(signal.SIGINT)
        self.assertEqual(
            (status, lines),
            (STATUS_CUT, ["gateway: a second signal, SIGINT, ended the gateway at once; calls that it cut: 3"]),
        )
        self.assertEqual((self.written, self.alarms), (1, [STOP_S, 2]))
        self.assertEqual(self.reactor.stopped_by, [signal.SIGTERM])

    def test_third(self) -> None:
        """A further signal, or a log that is not written in time, ends it without the line."""
        self.send(signal.SIGTERM)
        self.exits(signal.SIGTERM)
        for number in (*STOP, signal.SIGALRM):
            self.assertEqual(self.exits(number), (STATUS_CUT, []))
        self.assertEqual(self.written, 1)

    def test_endless(self) -> None:
        """A stop that takes too long is cut."""
        self.send(signal.SIGTERM)
        self.assertEqual(
            self.exits(signal.SIGALRM),
            (STATUS_CUT, [f"gateway: the stop took longer than {STOP_S} s and was cut; calls that it cut: 3"]),
        )

    def test_no_memory(self) -> None:
        """A failure since no memory is left ends the process by the reactor; after the service's end none does."""
        self.addCleanup(self.signals.stopService)
        self.patch(out_of_memory, "PROBE", sys.maxsize)
        failing = Logger()
        failing.failure("x", Failure(MemoryError()))
        (end,) = self.reactor.asked
        self.reactor.asked.clear()
        with capturedLogs() as logs:
            exited = self.assertRaises(Exited, end)
        self.assertEqual(exited.args[0], STATUS_CUT)
        self.assertEqual(
            formatEvent(logs[-1]),
            "gateway: no memory is left, which ended the gateway at once; calls that it cut: 3",
        )
        other = Signals(self.gateway, self.reactor)  # type: ignore[arg-type]
        other.startService()
        other.stopService()
        self.reactor.asked.clear()
        failing.failure("x", Failure(MemoryError()))
        self.assertEqual(self.reactor.asked, [])
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 2)

    def test_log_that_fails(self) -> None:
        """The process ends also if the last line cannot be written."""

        def fail() -> None:
            raise OSError

        self.signals._write_log = fail
        self.send(signal.SIGTERM)
        self.assertEqual(self.exits(signal.SIGTERM)[0], STATUS_CUT)

    def test_stopped_by_another(self) -> None:
        """A stop that no signal began, as that of a reactor which ends, is one all the same."""
        self.signals.stopService()
        self.assertEqual(self.send(signal.SIGHUP), ["gateway: SIGHUP ignored, since the gateway stops"])
        self.assertRaises(ControlRefused, self.signals.reload)
        self.assertEqual(self.gateway.reloads, 0)
        self.assertEqual(self.exits(signal.SIGTERM)[0], STATUS_CUT)

    def test_during_a_stop(self) -> None:
        """Other signals are ignored while the gateway stops; a reload by command is refused."""
        self.send(signal.SIGTERM)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            name = signal.Signals(number).name
            self.assertEqual(self.send(number), [f"gateway: {name} ignored, since the gateway stops"])
        assert self.gateway.reload_all is not None
        error = self.assertRaises(ControlRefused, self.gateway.reload_all)
        self.assertEqual(str(error), "the gateway stops; nothing was reloaded")
        self.assertEqual((self.gateway.reloads, self.told), (0, []))


class ReloadTests(SignalsCase):
    """SIGHUP, SIGUSR1 and SIGUSR2."""

    def setUp(self) -> None:
        """Install the handlers; twistd has no log file."""
        super().setUp()
        self.log_file = TwistdLog(None)
        self.signals.startService()

    def test_reload(self) -> None:
        """SIGHUP reloads the settings and opens the log file; the service manager knows how long."""
        self.assertEqual(self.send(signal.SIGHUP), ["reload: there is no log file to open again"])
        self.assertEqual(self.gateway.reloads, 1)
        self.assertRegex(self.told[0], r"^RELOADING=1\nMONOTONIC_USEC=[0-9]+$")
        self.assertEqual(self.told[1:], ["READY=1"])
        assert self.gateway.reload_all is not None
        lines = self.gateway.reload_all()
        self.assertEqual(lines, ["there is no log file to open again", "trunks: reloaded"])

    def test_refused(self) -> None:
        """Settings that cannot be used are told of by the reload itself; the service manager waits no longer."""
        self.gateway.refuses = True
        self.assertEqual(self.send(signal.SIGHUP), ["reload: there is no log file to open again"])
        self.assertEqual((self.gateway.reloads, self.told[-1]), (1, "READY=1"))
        assert self.gateway.reload_all is not None
        self.assertRaises(ConfigError, self.gateway.reload_all)

    def test_many(self) -> None:
        """Signals that come before the reactor has done the work are one; one that comes during it is another."""
        for _ in range(3):
            self.send(signal.SIGHUP, turn=False)
        self.reactor.turn()
        self.assertEqual(self.gateway.reloads, 1)
        self.send(signal.SIGHUP)
        self.assertEqual(self.gateway.reloads, 2)

    def test_log_file(self) -> None:
        """SIGUSR1 opens the log file again, and reloads nothing; a file that cannot be opened is named."""
        path = os.path.abspath(self.mktemp())
        os.mkdir(path)
        file = LogFile("log", path)
        self.addCleanup(file.close)
        log_file = TwistdLog(None)
        log_file._file = file
        self.signals._log_file = log_file
        self.assertEqual(self.send(signal.SIGUSR1), [f"reload: the log file {path}/log is opened again"])
        os.rename(path, f"{path}.away")
        (line,) = self.send(signal.SIGUSR1)
        self.assertIn(f"reload: the log file {path}/log cannot be opened again: ", line)
        self.assertEqual(self.gateway.reloads, 0)

    def test_log_file_that_cannot_be_opened(self) -> None:
        """A reload tells that the log file cannot be opened again; the settings are reloaded."""

        def refuse() -> str:
            raise ConfigError("log file x.log cannot be opened")

        self.log_file = SimpleNamespace(reopen=refuse)
        self.signals.startService()
        self.addCleanup(self.signals.stopService)
        with capturedLogs() as logs:
            lines = self.signals.reload()
        self.assertEqual(lines, ["log file x.log cannot be opened", "trunks: reloaded"])
        self.assertEqual(formatEvent(logs[0]), "reload: log file x.log cannot be opened")

    def test_before_the_reactor_runs(self) -> None:
        """A reload by command that comes before the handlers are installed opens no log file."""
        early = Signals(self.gateway, FakeReactor())  # type: ignore[arg-type]
        early._manager._send = self.told.append  # type: ignore[method-assign, assignment]
        self.assertEqual(early.reload(), ["there is no log file to open again", "trunks: reloaded"])

    def test_state(self) -> None:
        """SIGUSR2 logs the gateway's state, the reactor's timers, and where each thread is."""
        self.reactor.callLater(5, print)
        lines = self.send(signal.SIGUSR2)
        self.assertEqual(lines[:2], ["state: calls in progress: 3", "state: delayed calls of the reactor: 1"])
        self.assertRegex(lines[2], r"^state: threads: [1-9]")
        self.assertTrue(any(re.search(r" > signals\.py:[0-9]+ _state$", line) for line in lines[3:]), lines)
        for line in lines[3:]:
            self.assertRegex(line, r"^state: thread [0-9]+: ")
            self.assertLessEqual(line.count(" > "), 2)


class StateTests(SynchronousTestCase):
    """state_of describes the parts."""

    def lines(self, rules: object, *managers: object) -> list[str]:
        """The lines for these AMI connections."""
        parts: Any = (
            SimpleNamespace(in_progress=4, talking=1),
            SimpleNamespace(open_calls=2, served=9),
            [
                SimpleNamespace(
                    name=f"a{number}", manager=manager, claims=SimpleNamespace(notes=notes) if manager else None
                )
                for number, (manager, notes) in enumerate(
                    zip(managers, ([], [], [sentence("stands by")]), strict=False)
                )
            ],
            SimpleNamespace(queued=5, lost=6),
            SimpleNamespace(rules=rules),
        )
        return list(state_of(*parts))

    def test_lines(self) -> None:
        """Calls, connections, each Asterisk with its trouble, rules, history and memory have a line each."""
        lines = self.lines(
            object(),
            None,
            SimpleNamespace(is_up=True, trouble=None),
            SimpleNamespace(is_up=False, trouble=sentence("login refused")),
        )
        self.assertEqual(
            lines[:-1],
            [
                "calls in progress: 4, of them in a conversation: 1",
                "FastAGI connections: 2; calls served since the start: 9",
                "AMI a0: not configured",
                "AMI a1: connected",
                "AMI a2: not connected: login refused",
                "MAGI a2: stands by",
                "rules: loaded",
                "history: 5 calls wait to be written, 6 were lost",
            ],
        )
        self.assertRegex(lines[-1], r"^memory: [1-9][0-9]* MB at most since the start$")

    def test_no_rules(self) -> None:
        """Rules that are not loaded yet are told of."""
        self.assertIn("rules: not loaded yet", self.lines(None))
