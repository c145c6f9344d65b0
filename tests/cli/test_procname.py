"""Hiding PINs in the list of processes."""

import pathlib
import socket
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.cli.procname import hide_pins, pin_spans
from tests import needs
from tests.cli.test_app import start
from tests.needs import PATIENCE_S
from tests.paths import ROOT


class SpanTests(SynchronousTestCase):
    """Which bytes of the arguments are a PIN."""

    def hidden(self, *arguments: str) -> str:
        """The arguments with each PIN overwritten."""
        memory = bytearray("".join(f"{argument}\0" for argument in arguments).encode())
        for offset, length in pin_spans(bytes(memory)):
            memory[offset : offset + length] = b"*" * length
        return memory.decode().rstrip("\0").replace("\0", " ")

    def test_forms(self) -> None:
        """Each form of the option is hidden, several of them too; similar arguments are not."""
        for arguments, left in [
            ("explain 34 --pin 123456 --json", "explain 34 --pin ****** --json"),
            ("explain 34 --pin=123456 --json", "explain 34 --pin=****** --json"),
            ("call --pin 1 --pin 22 --pin=333 34", "call --pin * --pin ** --pin=*** 34"),
            ("explain --pin - 34", "explain --pin - 34"),
            ("explain --pin=- 34", "explain --pin=- 34"),
            ("explain --pin= 34", "explain --pin= 34"),
            ("explain 34 --pin", "explain 34 --pin"),
            ("explain --pinned 34", "explain --pinned 34"),
            ("pin moises --generate", "pin moises --generate"),
            ("explain --pin --pin 34", "explain --pin ***** 34"),
        ]:
            self.assertEqual(self.hidden(*arguments.split()), left)

    def test_bytes(self) -> None:
        """A PIN is overwritten by its bytes, not its letters."""
        self.assertEqual(list(pin_spans("--pin\0é\0x\0".encode())), [(6, 2)])

    def test_this_process(self) -> None:
        """Without a PIN among the arguments nothing is changed."""
        hide_pins(["pbxrouter", "--help"])


class ProcessTests(SynchronousTestCase):
    """The arguments of a real process, as other users see them."""

    def setUp(self) -> None:
        """Skip where the system cannot: hide_pins needs Linux and /proc."""
        needs.proc()

    def test_own_arguments(self) -> None:
        """hide_pins removes them from the process list at once; sys.argv still has them."""
        program = (
            "import sys; from pbxrouter.cli.procname import hide_pins; hide_pins(sys.argv)\n"
            "print(sys.argv[1:]); print(open('/proc/self/cmdline', 'rb').read().split(b'\\0')[3:-1])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, "--pin", "123456", "--pin=77", "x"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        self.assertEqual(
            done.stdout.splitlines(),
            ["['--pin', '123456', '--pin=77', 'x']", "[b'--pin', b'******', b'--pin=**', b'x']"],
            done.stderr,
        )

    def test_command(self) -> None:
        """A `pbxrouter call` that waits for a gateway shows no PIN."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(PATIENCE_S)
            port = server.getsockname()[1]
            process = start(
                *f"call 34 --from 33 --pin 123456 --pin=654321 --connect 127.0.0.1:{port}".split(), cwd=ROOT
            )
            self.addCleanup(process.communicate)
            self.addCleanup(process.kill)
            connection, _ = server.accept()
            with connection:
                arguments = pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes()
        self.assertIn(b"\x0034\x00--from\x0033\x00--pin\x00******\x00--pin=******\x00", arguments)
