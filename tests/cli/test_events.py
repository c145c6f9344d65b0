"""`pbxrouter events` and `pbxrouter doctor` as processes, against an AMI that the test plays on a real port."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.cli.doctor import STATUS, headline
from pbxrouter.doctor import Counts
from tests import needs
from tests.cli.test_app import start
from tests.needs import PATIENCE_S

SECRET = "s3cret-of-the-test"
EVENTS = (
    b"Event: Newchannel\r\nChannel: PJSIP/33-1\r\nExten: 21\r\n\r\n"
    b"Event: DTMFEnd\r\nChannel: PJSIP/33-1\r\nDigit: 7\r\n\r\n"
    b"Event: Newchannel\r\nChannel: PJSIP/22-1\r\nExten: \r\n\r\n"
)


class PlayedAmi:
    """An AMI that accepts, or refuses, one login at a time, and then sends what it was given.

    Args:
        after: what comes behind the login.
        refuse: whether logins are refused.
        banner: the first line.
        stay: whether the connection stays open behind that.
    """

    def __init__(
        self,
        after: bytes = b"",
        *,
        refuse: bool = False,
        banner: bytes = b"Asterisk Call Manager/11.0.0\r\n",
        stay: bool = True,
    ) -> None:
        self._after, self._refuse, self._banner, self._stay = after, refuse, banner, stay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.masks: list[str] = []
        self.accepted = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted.set()
                with connection, contextlib.suppress(OSError):
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        connection.sendall(self._banner)
        lines = connection.makefile("rb")
        action: dict[str, str] = {}
        for raw in lines:
            name, _, value = raw.decode().strip().partition(": ")
            if name:
                action[name] = value
                continue
            if action["Action"] == "Login":
                self.masks.append(action["Events"])
            failed = action["Action"] == "Login" and self._refuse
            answer = "Error\r\nMessage: Authentication failed" if failed else "Success\r\nChallenge: 1"
            connection.sendall(f"Response: {answer}\r\nActionID: {action['ActionID']}\r\n\r\n".encode())
            if action["Action"] == "Login":
                connection.sendall(b"" if failed else self._after)
                if failed or not self._stay:
                    return
            action = {}

    def close(self) -> None:
        """Close the server and its connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_S)


class CommandCase(SynchronousTestCase):
    """Test case with a directory and settings."""

    def setUp(self) -> None:
        """Make the directory and the secret."""
        folder = tempfile.TemporaryDirectory(prefix="pbxr-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "secret").touch(0o600)
        (self.folder / "secret").write_text(f"{SECRET}\n")

    def play(self, ami: PlayedAmi) -> PlayedAmi:
        """Start this AMI, and name it in the settings."""
        self.addCleanup(ami.close)
        self.settings(ami.port)
        return ami

    def settings(self, port: int, more: str = "") -> None:
        """Write settings with one Asterisk."""
        (self.folder / "pbxrouter.toml").write_text(
            f'[[asterisk]]\nname = "lab"\nami = "tcp:127.0.0.1:{port}"\nusername = "gateway"\n'
            f'secret_file = "secret"\n{more}'
        )

    def command(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Run a command line in a process of its own."""
        process = start(*arguments, cwd=self.folder)

        def end() -> None:
            if process.poll() is None:
                process.kill()
            process.communicate()

        self.addCleanup(end)
        return process

    def read(self, stream: Any, count: int) -> list[str]:
        """Read so many lines."""
        found = b""
        deadline = time.monotonic() + PATIENCE_S
        while found.count(b"\n") < count:
            ready, _, _ = select.select([stream], [], [], max(0, deadline - time.monotonic()))
            self.assertTrue(ready, found)
            data = os.read(stream.fileno(), 65536)
            self.assertTrue(data, found)
            found += data
        return found.decode().splitlines()

    def assert_one_line(self, process: subprocess.Popen[bytes], words: str) -> None:
        """Check that the command ended with status 2 and one line with these words, without the secret."""
        out, err = process.communicate(timeout=PATIENCE_S)
        said = [line for line in err.decode().splitlines() if not line.startswith("watching ")]
        self.assertEqual((process.returncode, len(said)), (2, 1), (out, err))
        self.assertTrue(said[0].startswith("pbxrouter: "), said)
        self.assertIn(words, said[0])
        self.assertNotIn(SECRET, err.decode())


class EventsTests(CommandCase):
    """The command `pbxrouter events`."""

    def test_all(self) -> None:
        """All events of all classes are printed as they come; Ctrl-C ends the command silently."""
        needs.interrupts()
        ami = self.play(PlayedAmi(EVENTS))
        process = self.command("events")
        found = self.read(process.stdout, 3)
        self.assertEqual(
            found,
            [
                "Newchannel Channel=PJSIP/33-1 Exten=21",
                "DTMFEnd Channel=PJSIP/33-1 Digit=*",
                "Newchannel Channel=PJSIP/22-1",
            ],
        )
        self.assertEqual(ami.masks, ["on"])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
        self.assertEqual((process.returncode, out, err), (130, b"", b"watching lab; Ctrl-C ends it\n"))

    def test_chosen(self) -> None:
        """Events can be chosen by name, in any case, and by a header's value; JSON is one object a line."""
        self.play(PlayedAmi(EVENTS + b"Event: Hangup\r\nExten: 99\r\n\r\n"))
        for arguments, expected in (
            (["newchannel", "HANGUP"], ["21", "", "99"]),
            (["--filter", "exten=21"], ["21"]),
            (["Newchannel", "Hangup", "--filter", "Exten="], [""]),
            (["--filter", "Exten=21", "--filter", "Channel=PJSIP/33-1"], ["21"]),
        ):
            process = self.command("events", "--json", *arguments)
            found = [json.loads(line)["Exten"] for line in self.read(process.stdout, len(expected))]
            self.assertEqual(found, expected)
            process.kill()
            process.communicate()

    def test_closed_pipe(self) -> None:
        """When the reader closes standard output the command ends silently, with events and without."""
        self.play(PlayedAmi(EVENTS))
        for names in ([], ["NoSuchEvent"]):
            process = self.command("events", *names)
            self.read(process.stderr, 1)
            assert process.stdout is not None and process.stderr is not None
            process.stdout.close()
            self.assertEqual(process.wait(PATIENCE_S), 1)
            self.assertEqual(process.stderr.read(), b"")
            process.stdout = None

    def test_refused(self) -> None:
        """A missing listener, a wrong secret, another program and a lost connection are one line each."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.settings(port)
        self.assert_one_line(self.command("events"), "no answer at")
        for ami, words in (
            (PlayedAmi(refuse=True), "Authentication failed"),
            (PlayedAmi(banner=b"220 mail.example.org ESMTP\r\n"), "Asterisk Call Manager"),
            (PlayedAmi(stay=False), "was lost"),
        ):
            self.play(ami)
            self.assert_one_line(self.command("events"), words)

    def test_settings(self) -> None:
        """No Asterisk, several, none of that name, no secret, an invalid endpoint or filter."""
        for text, arguments, words in (
            ("", [], "no Asterisk is configured"),
            ('[[asterisk]]\nname="a"\n[[asterisk]]\nname="b"\n', [], "choose one of these Asterisks: a, b"),
            ('[[asterisk]]\nname="a"\n', ["--asterisk", "c"], "choose one of these Asterisks: a"),
            ("[[asterisk]]\n", [], "no secret_file"),
            ('[[asterisk]]\nsecret_file="no"\n', [], "no: cannot be read"),
            ("", ["--filter", "x"], "HEADER=VALUE"),
            ("[asterisk", [], "not TOML"),
        ):
            (self.folder / "pbxrouter.toml").write_text(text)
            # In a process of its own: the command runs the reactor, which cannot be run again here.
            self.assert_one_line(self.command("events", *arguments), words)
        (self.folder / "pbxrouter.toml").write_text('[[asterisk]]\nsecret_file="secret"\nami="bogus"\n')
        self.assert_one_line(self.command("events"), "not a client endpoint")


class DoctorTests(CommandCase):
    """The command `pbxrouter doctor`."""

    def test_refused(self) -> None:
        """Every problem is listed with what to do, and none stops the other checks; the secret is not shown."""
        self.play(PlayedAmi(refuse=True))
        process = self.command("doctor")
        out, err = process.communicate(timeout=PATIENCE_S)
        said = out.decode()
        self.assertEqual((process.returncode, err), (1, b""))
        for words in (
            "WRONG PIN key",
            "WRONG database",
            "WRONG gateway",
            "Authentication failed",
            "problems found",
        ):
            self.assertIn(words, said)
        self.assertNotIn(SECRET, said)

    def test_unknown(self) -> None:
        """What could not be checked is neither a problem nor well: a headline and an exit status of its own."""
        for states, line, status in (
            (["ok"], "no problems found", 0),
            (["ok", "unknown"], "no problems found, but 1 check could not be made", 3),
            (["ok", "unknown", "unknown"], "no problems found, but 2 checks could not be made", 3),
            (["wrong", "unknown"], "1 problem found; 1 check could not be made", 1),
            (["wrong", "wrong"], "2 problems found", 1),
            ([], "nothing could be checked", 3),
        ):
            counts = Counts(*(states.count(state) for state in ("ok", "wrong", "unknown")))
            self.assertEqual((headline(counts), STATUS[counts.state]), (line, status))

    def test_json(self) -> None:
        """--json prints the same as one object."""
        self.settings(1)
        process = self.command("doctor", "--json")
        out, _ = process.communicate(timeout=PATIENCE_S)
        report = json.loads(out)
        self.assertEqual((process.returncode, report["ok"]), (1, False))
        self.assertEqual(set(report["findings"][0]), {"area", "state", "what", "todo"})

    def test_silent_ami(self) -> None:
        """An Asterisk that stops answering is reported, and the command ends."""
        self.play(PlayedAmi(stay=False))
        process = self.command("doctor")
        out, err = process.communicate(timeout=PATIENCE_S)
        self.assertEqual((process.returncode, err), (1, b""))
        self.assertIn("was lost", out.decode())

    def test_no_asterisk(self) -> None:
        """Missing [[asterisk]] and a missing secret are reported with their effect."""
        (self.folder / "pbxrouter.toml").write_text("")
        self.assertIn("no [[asterisk]]", self.command("doctor").communicate(timeout=PATIENCE_S)[0].decode())
        (self.folder / "pbxrouter.toml").write_text("[[asterisk]]\n")
        self.assertIn("no secret_file is set", self.command("doctor").communicate(timeout=PATIENCE_S)[0].decode())

    def test_cannot_begin(self) -> None:
        """Settings that cannot be read: status 2 and one line."""
        (self.folder / "pbxrouter.toml").write_text("databse = 1\n")
        self.assert_one_line(self.command("doctor"), "databse: no such key")

    def test_interrupted(self) -> None:
        """Ctrl-C ends a wait for AMI."""
        needs.interrupts()
        ami = self.play(PlayedAmi(banner=b""))
        process = self.command("doctor")
        self.read(process.stdout, 2)
        self.assertTrue(ami.accepted.wait(PATIENCE_S))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
        self.assertEqual(process.returncode, 130)
