"""Several processes at one FastAGI port, for real: what one does the others know, and what kills one harms no other."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.cli.conversation import converse
from pbxrouter.database import list_guesses
from pbxrouter.security.guess_limits import FREE_GUESSES
from pbxrouter.simulator import Script, SimulatedAsterisk, SimulatedCall
from tests.gateway.process import Quiet
from tests.gateway.workers_process import GatewayOfWorkers, variable
from tests.needs import PATIENCE_S, proc
from tests.waiting import wait_for


class WorkersTests(SynchronousTestCase):
    """A gateway with ``workers = 2``: the main process and one worker."""

    def setUp(self) -> None:
        """Start a gateway when a test asks for one."""
        proc()

    def start(self, settings: str = "", fastagi: str = "") -> GatewayOfWorkers:
        """Start a gateway, and wait until both processes take calls."""
        gateway = GatewayOfWorkers(settings, fastagi)
        self.addCleanup(gateway.clean)
        gateway.start()
        gateway.wait_until_up()
        return gateway

    def prompt(self, gateway: GatewayOfWorkers, process: int) -> socket.socket:
        """A call of 33 that one of the processes asks for a PIN."""
        connection = gateway.connect_to(process)
        self.addCleanup(connection.close)
        connection.settimeout(PATIENCE_S)
        connection.sendall(SimulatedCall("34", caller="33").environment())
        while b"GET DATA" not in (data := connection.recv(4096)):
            self.assertTrue(data, gateway.log())
            connection.sendall(b"200 result=1\n" * data.count(b"\n"))
        return connection

    def test_calls_of_both(self) -> None:
        """Each process serves calls; history and log have each once, and a stop leaves no journal and status 143."""
        gateway = self.start()
        worker = gateway.wait_for_worker(1)
        for process in (gateway.main, worker, worker, gateway.main):
            self.assertEqual(variable(gateway.call_by(process), "PBXROUTER_OUTCOME"), "ANSWER")
        self.assertEqual(gateway.wait_for_history(4), [("33", "21", "ANSWER")] * 4)
        self.assertEqual(gateway.log().count("33 -> 21: ANSWER"), 4)
        self.assertEqual(gateway.stop(), -signal.SIGTERM)
        self.assertEqual(gateway.journals(), [])
        self.assertFalse(is_alive(worker))
        self.assertEqual(len(gateway.history()), 4)

    def test_killed_in_a_pin_dialogue(self) -> None:
        """A worker that is killed costs its caller the connection alone: the history has the call as cut, the other
        process takes calls at once, and another worker takes the place of the first."""
        gateway = self.start()
        worker = gateway.wait_for_worker(1)
        connection = self.prompt(gateway, worker)
        os.kill(worker, signal.SIGKILL)
        while connection.recv(4096):
            pass
        self.assertEqual(variable(gateway.call(), "PBXROUTER_OUTCOME"), "ANSWER")
        second = gateway.wait_for_worker(2)
        gateway.call_by(second)
        found = gateway.wait_for_history(3)
        self.assertEqual(sorted(outcome for _, _, outcome in found), ["ANSWER", "ANSWER", "UNKNOWN"])
        self.assertIn("workers: worker 2 has ended", gateway.log())

    def test_finished_calls_of_a_killed_worker(self) -> None:
        """A call that was over when its worker was killed is in the history once, with its outcome."""
        gateway = self.start()
        worker = gateway.wait_for_worker(1)
        gateway.call_by(worker)
        os.kill(worker, signal.SIGKILL)
        gateway.wait_for_worker(2)
        self.assertEqual(gateway.wait_for_history(1), [("33", "21", "ANSWER")])
        gateway.stop()
        self.assertEqual(gateway.history(), [("33", "21", "ANSWER")])

    def test_killed_main_process(self) -> None:
        """When the main process is killed, the worker takes no further call, lets its caller end, writes the call and
        ends; meanwhile the port is free for the next start."""
        gateway = self.start()
        worker = gateway.wait_for_worker(1)
        connection = self.prompt(gateway, worker)
        os.kill(gateway.main, signal.SIGKILL)
        assert gateway.process is not None
        gateway.process.wait()

        def is_free() -> bool:
            with contextlib.suppress(OSError), socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", gateway.port))
                probe.listen()
                return True
            return False

        wait_for("the port is free", is_free)
        connection.sendall(b"200 result=-1\nHANGUP\n")
        while connection.recv(4096):
            connection.sendall(b"200 result=-1\n")
        wait_for("the worker has ended", lambda: not is_alive(worker))
        self.assertEqual(gateway.history(), [("33", "34", "HANGUP")])
        self.assertEqual([path.name for path in gateway.journals()], ["x.db.calls"])  # that of the killed one
        gateway.start()
        gateway.wait_for_worker(2)
        self.assertEqual(variable(gateway.call(), "PBXROUTER_OUTCOME"), "ANSWER")

    def test_guesses_over_all_processes(self) -> None:
        """Wrong PINs count together, whichever process asks: the same number of them is checked as with one."""
        gateway = self.start()
        worker = gateway.wait_for_worker(1)
        for process in (worker, gateway.main, worker, gateway.main, worker):
            gateway.call_by(process, "34", "1111", "2222", "3333")
        wait_for("five calls are in the history", lambda: len(gateway.history()) == 5)
        outcomes = [outcome for _, _, outcome in gateway.history()]
        self.assertEqual(outcomes[0], "DENIED")
        self.assertEqual(outcomes[-1], "LOCKEDOUT")
        with contextlib.closing(database.connect(gateway.database)) as connection:
            locked = [found for found in list_guesses(connection, time.time()) if found.is_locked]
        self.assertEqual([found.total for found in locked if found.key.scope == "endpoint"], [FREE_GUESSES])
        self.assertEqual(gateway.log().count("PIN guard: wrong PIN from"), FREE_GUESSES)
        self.assertEqual(gateway.log().count("PIN guard: locked out endpoint"), 1)

    def test_limits_over_all_processes(self) -> None:
        """fastagi.max_connections bounds the connections of all processes together."""
        gateway = self.start(fastagi="max_connections = 4\nmax_connections_per_peer = 4")
        worker = gateway.wait_for_worker(1)
        for process in (worker, gateway.main, worker, gateway.main):
            self.prompt(gateway, process)
        turned_away = gateway.call_by(worker)
        self.assertEqual(variable(turned_away, "PBXROUTER"), "busy")
        turned_away = gateway.call_by(gateway.main)
        self.assertEqual(variable(turned_away, "PBXROUTER"), "busy")

    def test_a_frozen_worker(self) -> None:
        """The calls of a worker that stands still are ended after two seconds, and the other process takes all others;
        it is named in the state."""
        gateway = self.start()
        worker = gateway.wait_for_worker(1)
        connection = self.prompt(gateway, worker)
        os.kill(worker, signal.SIGSTOP)
        self.addCleanup(resume, worker)
        while connection.recv(4096):
            pass
        for _ in range(5):
            self.assertEqual(variable(gateway.call(), "PBXROUTER_OUTCOME"), "ANSWER")
        os.kill(worker, signal.SIGCONT)
        wait_for("its call is in the history", lambda: ("33", "34", "LOST") in gateway.history())
        gateway.call_by(worker)

    def test_a_frozen_main_process(self) -> None:
        """While the main process stands still, a worker serves calls that need a PIN, and the history has them then."""
        gateway = self.start()
        worker = gateway.wait_for_worker(1)
        os.kill(gateway.main, signal.SIGSTOP)
        try:
            asterisk = SimulatedAsterisk(SimulatedCall("34", caller="33"), Script(keys=("1234",)))
            with gateway.connect() as connection:
                converse(connection, asterisk, Quiet(), PATIENCE_S)
            self.assertEqual(variable(asterisk, "PBXROUTER_OUTCOME"), "DENIED")
        finally:
            os.kill(gateway.main, signal.SIGCONT)
        gateway.wait_for_history(1)
        self.assertEqual(len(gateway.history()), 1)
        gateway.call_by(worker)
        gateway.wait_for_history(2)

    def test_changed_rules_and_settings(self) -> None:
        """A change of the rules holds in each process, and so do reloaded settings."""
        gateway = self.start()
        worker = gateway.wait_for_worker(1)
        with contextlib.closing(database.connect(gateway.database)) as connection:
            connection.execute("UPDATE applications_mappings SET application_data = 'Zap' WHERE pattern = '2X'")
            connection.commit()
        for process in (gateway.main, worker):
            wait_for("the change holds", lambda process=process: self.has(gateway, process, b"DAHDI/21"))  # type: ignore[misc]
        settings = gateway.folder / "settings.toml"
        settings.write_text(settings.read_text() + "[dial]\ntimeout = 7\n")
        os.kill(gateway.main, signal.SIGHUP)
        gateway.wait_for_log("dial.timeout: reloaded")
        for process in (gateway.main, worker):
            wait_for("the timeout holds", lambda process=process: self.has(gateway, process, b",7,"))  # type: ignore[misc]

    def has(self, gateway: GatewayOfWorkers, process: int, word: bytes) -> bool:
        """Whether a call that one process serves has a word in its commands."""
        return word in b"".join(gateway.call_by(process).commands)

    def test_watchers_see_the_calls_of_all(self) -> None:
        """``pbxrouter watch`` shows the dialogue of a worker's call."""
        gateway = self.start()
        worker = gateway.wait_for_worker(1)
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(PATIENCE_S)
            control.connect(str(gateway.folder / "c"))
            control.sendall(b'{"watch": {"caller": "33"}}\n')
            shown = control.recv(1 << 16)
            self.assertEqual(json.loads(shown), {"watching": True})

            def is_shown() -> bool:
                nonlocal shown
                gateway.call_by(worker)  # the worker may not have been told yet that somebody watches
                while select.select([control], [], [], 1)[0]:
                    shown += control.recv(1 << 16)
                return b"PBXROUTER done" in shown

            wait_for("the worker's call is shown", is_shown)

    def test_a_terminated_worker(self) -> None:
        """SIGTERM has one worker end its calls and end; another one takes its place, and nothing is lost."""
        gateway = self.start()
        worker = gateway.wait_for_worker(1)
        gateway.call_by(worker)
        os.kill(worker, signal.SIGTERM)
        gateway.wait_for_worker(2)
        self.assertEqual(gateway.wait_for_history(1), [("33", "21", "ANSWER")])
        self.assertEqual(gateway.stop(), -signal.SIGTERM)
        self.assertEqual(gateway.journals(), [])

    def test_a_second_signal(self) -> None:
        """A second SIGTERM ends all processes at once; the number of calls that it cut is that of all."""
        gateway = self.start()
        worker = gateway.wait_for_worker(1)
        self.prompt(gateway, worker)
        os.kill(gateway.main, signal.SIGUSR2)
        wait_for("the main process knows of the call", lambda: self.in_progress(gateway))
        os.kill(gateway.main, signal.SIGTERM)
        gateway.wait_for_log("gateway: stopping")
        self.assertEqual(gateway.stop(), 3)
        gateway.wait_for_log("calls that it cut: 1")
        wait_for("the worker has ended", lambda: not is_alive(worker))

    def in_progress(self, gateway: GatewayOfWorkers) -> bool:
        """Whether the state in the log has a call of the worker; asks for the next one."""
        os.kill(gateway.main, signal.SIGUSR2)
        return "takes calls; last" in gateway.log() and "of them in a conversation: 1" in gateway.log()

    def test_no_secret_is_in_the_process_list(self) -> None:
        """The command line of a worker has descriptors and numbers only; its environment nothing of the service
        manager's."""
        gateway = self.start()
        worker = gateway.wait_for_worker(1)
        arguments = Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0")
        self.assertEqual(arguments[1:], [b"-P", b"-m", b"pbxrouter.worker", b"3", b"4", b"5", b"2", b"2", b""])


def is_alive(process: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def resume(process: int) -> None:
    """Let a stopped process go on, if it is there."""
    with contextlib.suppress(OSError):
        os.kill(process, signal.SIGCONT)
