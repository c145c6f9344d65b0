"""`pbxrouter originate` and `pbxrouter debug` against a gateway that the test plays on the control socket."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.cli.app import pbxrouter
from tests.needs import PATIENCE_S

RINGING = {"state": "ringing", "why": "the phone rings", "uniqueid": "id-1"}
ANSWERED = {"state": "answered", "why": "the phone was answered", "uniqueid": "id-1"}


class PlayedGateway:
    """Takes one connection, reads a line, sends the given answers, and closes."""

    def __init__(self, path: Path, answers: bytes) -> None:
        self.asked: dict[str, Any] = {}
        self._answers = answers
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(PATIENCE_S)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as connection:
            self.asked = json.loads(connection.makefile("rb").readline())
            connection.sendall(self._answers)

    def join(self) -> None:
        """Wait until the connection was served."""
        self._thread.join()


class SocketCase(SynchronousTestCase):
    """Has settings with a control socket."""

    def setUp(self) -> None:
        """Make the directory; its path is short, since a socket's path has at most 107 bytes."""
        folder = tempfile.TemporaryDirectory(prefix="pbxr-")
        self.addCleanup(folder.cleanup)
        self.control = Path(folder.name) / "s"
        self.config = Path(folder.name) / "pbxrouter.toml"
        self.config.write_text('control = "s"\n')

    def run_command(self, *arguments: str) -> Result:
        """Run a command line."""
        return CliRunner().invoke(pbxrouter, [arguments[0], "--config", str(self.config), *arguments[1:]])

    def played(self, *answers: dict[str, Any] | bytes) -> PlayedGateway:
        """Start a gateway that gives these answers."""
        lines = [answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n" for answer in answers]
        gateway = PlayedGateway(self.control, b"".join(lines))
        self.addCleanup(gateway.join)
        return gateway

    def assert_one_line(self, result: Result, words: str) -> None:
        """Check that the command failed with one line that has these words."""
        self.assertEqual(result.exit_code, 2, result.output)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertTrue(result.stderr.startswith("pbxrouter: "))
        self.assertIn(words, result.stderr)


class OriginateTests(SocketCase):
    """The command `pbxrouter originate`."""

    ARGUMENTS = ("originate", "PJSIP/33", "--to", "21", "--context", "phones")

    def test_good(self) -> None:
        """Each step is printed as a line; the request has the values given."""
        gateway = self.played(RINGING, ANSWERED)
        result = self.run_command(*self.ARGUMENTS, "--ring", "9")
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        self.assertEqual(result.stdout, "ringing: the phone rings\nanswered: the phone was answered\n")
        gateway.join()
        request = {"channel": "PJSIP/33", "to": "21", "context": "phones", "ring": 9, "wait": False}
        self.assertEqual(gateway.asked, {"originate": {**request, "asterisk": None}})

    def test_json(self) -> None:
        """--json prints the answers as they came, without the count of answers left out."""
        self.played(RINGING, {"skipped": 2}, ANSWERED)
        result = self.run_command(*self.ARGUMENTS, "--json", "--wait")
        self.assertEqual([json.loads(line) for line in result.stdout.splitlines()], [RINGING, ANSWERED])

    def test_status(self) -> None:
        """The exit status is 0 for a good call, and 1 if the last step was a failure."""
        for state, status in (
            *(("answered", 0), ("connected", 0), ("ended", 0), ("busy", 1), ("rejected", 1), ("noanswer", 1)),
            *(("unavailable", 1), ("congestion", 1), ("failed", 1), ("ringing", 1)),
        ):
            self.setUp()
            self.played({**RINGING, "state": state})
            self.assertEqual(self.run_command(*self.ARGUMENTS).exit_code, status, state)

    def test_refused(self) -> None:
        """A refusal is printed in the gateway's own words."""
        self.played({"error": "33 may not dial 999: no pattern matches"})
        self.assert_one_line(self.run_command(*self.ARGUMENTS), "33 may not dial 999")

    def test_gateway_dies(self) -> None:
        """A gateway that ends before its first answer is an error."""
        self.played()
        self.assert_one_line(self.run_command(*self.ARGUMENTS), "the gateway stopped before")

    def test_gateway_killed(self) -> None:
        """A gateway that ends in the middle of a line is an error."""
        self.played(RINGING, b'{"state": "answ')
        result = self.run_command(*self.ARGUMENTS)
        self.assertEqual(result.stdout, "ringing: the phone rings\n")
        self.assert_one_line(result, "stopped in the middle")

    def test_no_gateway(self) -> None:
        """Without a gateway, or with a path too long for a socket, the command fails."""
        self.assert_one_line(self.run_command(*self.ARGUMENTS), "no gateway answers at")
        self.config.write_text(f'control = "{"x" * 120}"\n')
        self.assert_one_line(self.run_command(*self.ARGUMENTS), "no gateway answers at")

    def test_wrong_options(self) -> None:
        """Missing options, and values out of range, are named."""
        self.assert_one_line(self.run_command("originate", "PJSIP/33", "--to", "21"), "--context")
        self.assert_one_line(self.run_command(*self.ARGUMENTS, "--ring", "0"), "--ring")

    def test_odd_arguments(self) -> None:
        """All arguments are sent as one line of JSON: the gateway validates them."""
        gateway = self.played(RINGING)
        self.run_command("originate", "PJSIP/33&x", "--to", '21\r\n{"watch": {}}', "--context", "ñ\udcff")
        gateway.join()
        self.assertEqual(gateway.asked["originate"]["to"], '21\r\n{"watch": {}}')
        self.assertEqual(gateway.asked["originate"]["context"], "ñ\udcff")


class DebugTests(SocketCase):
    """The command `pbxrouter debug`."""

    def test_lines(self) -> None:
        """Each line is printed; lines that were left out are counted, and the gateway's end is reported."""
        line = {"uniqueid": "1.2", "caller": "33", "extension": "21", "direction": ">", "text": "ANSWER"}
        gateway = self.played({"watching": True}, line, {"skipped": 3})
        result = self.run_command("debug", "--from", "33")
        self.assertEqual(result.stdout, "1.2 33->21 > ANSWER\n")
        self.assertEqual(
            result.stderr.splitlines(),
            [
                "watching; Ctrl-C ends it",
                "(3 lines skipped: this terminal is too slow)",
                "pbxrouter: the gateway has stopped",
            ],
        )
        gateway.join()
        self.assertEqual(gateway.asked, {"watch": {"caller": "33", "extension": None}})
