"""`pbxrouter call`: the conversation that it shows, and its errors for a gateway that misbehaves.

Against gateways of a few lines, and against the real one in a process of its own.
"""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

from click.testing import Result
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import address
from pbxrouter.errors import ConfigError
from tests import needs
from tests.cli.test_app import CommandTestCase, run, start
from tests.needs import PATIENCE_S
from tests.paths import ROOT

Gateway = Callable[["Caller"], None]
DONE = "SET VARIABLE PBXROUTER done"


class Caller:
    """A gateway's end of the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.file = connection.makefile("rwb")
        self.environment = b""
        while not self.environment.endswith(b"\n\n"):
            self.environment += self.file.readline()

    def say(self, command: str) -> str:
        """Send a command; returns the first line of the reply."""
        self.file.write(command.encode() + b"\n")
        self.file.flush()
        return self.file.readline().decode().rstrip("\n")


@contextlib.contextmanager
def gateway(behaviour: Gateway) -> Iterator[str]:
    """Start a gateway for one call; returns its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                behaviour(Caller(connection))

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(PATIENCE_S)


def call(behaviour: Gateway, *arguments: str) -> Result:
    """Run `pbxrouter call` with a gateway that behaves so."""
    with gateway(behaviour) as place:
        return run("call", *arguments, "--connect", place)


class AddressTests(SynchronousTestCase):
    """Addresses of gateways that `pbxrouter call` connects to."""

    def test_endpoints(self) -> None:
        """Endpoint strings for servers become addresses for clients."""
        for listen, place in [
            ("tcp:4573:interface=127.0.0.1", "127.0.0.1:4573"),
            ("tcp:4573", "127.0.0.1:4573"),
            ("tcp:port=5000:interface=0.0.0.0", "127.0.0.1:5000"),
            ("tcp6:4573", "[::1]:4573"),
            (r"tcp:4573:interface=\:\:1", "[::1]:4573"),
            (r"tcp:4573:interface=\:\:", "[::1]:4573"),
            ("tcp:4573:interface=10.0.0.5:backlog=100", "10.0.0.5:4573"),
            ("unix:/run/pbxrouter.sock:mode=660", "/run/pbxrouter.sock"),
            ("unix:address=/run/a\\:b", "/run/a:b"),
        ]:
            self.assertEqual(str(address.of_endpoint(listen)), place, listen)

    def test_endpoints_that_cannot_be_called(self) -> None:
        """An endpoint that cannot be called is refused with what to do."""
        for listen in ("ssl:4573", "systemd:domain=INET:index=0", "tcp:0", "tcp:x", "tcp", "unix:", ""):
            error = self.assertRaises(ConfigError, address.of_endpoint, listen)
            self.assertIn("--connect HOST:PORT", str(error))

    def test_option(self) -> None:
        """HOST:PORT is accepted in its forms."""
        for text, place in [
            ("pbx.example", "pbx.example:4573"),
            ("10.0.0.5:5000", "10.0.0.5:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("[fe80::1%eth0]", "[fe80::1%eth0]:4573"),
        ]:
            self.assertEqual(str(address.of_option(text)), place)
        for text in ("", ":5000", "::1", "host:", "host:x", "host:0", "host:65536", "a b:1"):
            self.assertIn("accepted", str(self.assertRaises(ConfigError, address.of_option, text)), text)


class ConversationTests(SynchronousTestCase):
    """Calls to gateways that behave."""

    def test_dial(self) -> None:
        """Both sides of the conversation are shown, then the outcome."""

        def behaviour(caller: Caller) -> None:
            caller.say("EXEC Dial PJSIP/21,60")
            caller.say("GET VARIABLE DIALSTATUS")
            caller.say("SET VARIABLE PBXROUTER_OUTCOME BUSY")
            caller.say(DONE)

        result = call(behaviour, "21", "--from", "33", "--dialstatus", "busy")
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        lines = result.stdout.splitlines()
        self.assertIn("< agi_extension: 21", lines)
        self.assertIn("> EXEC Dial PJSIP/21,60", "\n".join(lines))
        self.assertIn("< 200 result=1 (BUSY)", lines)
        self.assertEqual(lines[-1], "Dial PJSIP/21,60 -> BUSY, back to the dialplan with PBXROUTER=done (outcome BUSY)")

    def test_facts(self) -> None:
        """The options reach the AGI environment."""
        seen: list[bytes] = []

        def behaviour(caller: Caller) -> None:
            seen.append(caller.environment)
            caller.say(DONE)

        result = call(
            behaviour,
            *("*72#", "--from", "33", "--name", "Ana", "--dnid", "5", "--channel", "DAHDI/1-1"),
            *("--language", "es", "--context", "ctx", "--extension", "s", "--verbose"),
        )
        self.assertEqual(result.exit_code, 0, result.output)
        for line in [
            b"agi_callerid: 33",
            b"agi_calleridname: Ana",
            b"agi_dnid: 5",
            b"agi_channel: DAHDI/1-1",
            b"agi_type: DAHDI",
            b"agi_language: es",
            b"agi_context: ctx",
            b"agi_extension: s",
        ]:
            self.assertIn(line + b"\n", seen[0])
            self.assertIn(line.decode(), result.stdout)

    def test_numbers(self) -> None:
        """Every number that can be dialled is accepted."""
        for number in ("*72#", "#5", "+5215512345678", "-5"):
            result = call_number(number)
            self.assertEqual(result.exit_code, 0, result.output)
            self.assertIn(f"< agi_extension: {number}", result.stdout)

    def test_secret(self) -> None:
        """The secret that the settings name goes to the gateway, and is not shown, not even with --verbose."""
        folder = pathlib.Path(self.mktemp())
        folder.mkdir()
        (folder / "s").write_text("0123456789abcdef\n")
        (folder / "x.toml").write_text("[fastagi]\nsecret_file = 's'\n")
        seen: list[bytes] = []

        def behaviour(caller: Caller) -> None:
            seen.append(caller.environment)
            caller.say("ANSWER")
            caller.say(DONE)

        result = call(behaviour, "21", "--from", "33", "--verbose", "--config", str(folder / "x.toml"))
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertTrue(seen[0].endswith(b"agi_arg_1: secret=0123456789abcdef\n\n"))
        self.assertIn("agi_arg_1: secret=***", result.output)
        self.assertNotIn("0123456789", result.output)

    def test_pins(self) -> None:
        """Each PIN answers one prompt and is masked everywhere; then the caller keys nothing."""
        given: list[str] = []

        def behaviour(caller: Caller) -> None:
            caller.say("ANSWER")
            for _ in range(3):
                given.append(caller.say("GET DATA agent-pass 5000 20"))
                caller.say("STREAM FILE vm-incorrect 0123456789")
            caller.say("VERBOSE 123456 3")
            caller.say(DONE)

        result = call(behaviour, "34", "--from", "33", "--pin", "123456", "--pin=777")
        self.assertEqual(given, ["200 result=123456", "200 result=777", "200 result= (timeout)"])
        self.assertEqual(result.stdout.count("< 200 result=****"), 2)
        self.assertNotIn("123456 3", result.stdout)
        self.assertNotIn("777", re.sub(r"connected to the gateway at \S+", "", result.stdout))  # a port may have it
        self.assertIn("STREAM FILE vm-incorrect 0123456789", result.stdout)
        self.assertIn("three PIN prompts, three wrong-PIN prompts, back to", result.stdout)

    def test_pin_from_stdin(self) -> None:
        """`-` reads one line of standard input for each PIN."""
        given: list[str] = []

        def behaviour(caller: Caller) -> None:
            caller.say("ANSWER")
            given.extend([caller.say("GET DATA a"), caller.say("GET DATA a"), caller.say(DONE)])

        with gateway(behaviour) as place:
            arguments = ("34", "--from", "33", "--pin", "-", "--pin", "-", "--connect", place)
            result = run("call", *arguments, stdin="1111\n2222\n")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(given[:2], ["200 result=1111", "200 result=2222"])

    def test_number_asked(self) -> None:
        """Where neither extension nor DNID is a number the caller keys NUMBER first."""
        given: list[str] = []

        def behaviour(caller: Caller) -> None:
            caller.say("ANSWER")
            given.extend([caller.say("GET DATA a"), caller.say("GET DATA b"), caller.say(DONE)])

        result = call(behaviour, *"34 --from 33 --extension s --dnid s --pin 1234".split())
        self.assertEqual(given[:2], ["200 result=34", "200 result=1234"])
        self.assertIn("< 200 result=34 ", result.stdout)
        self.assertNotIn("1234", result.stdout)

    def test_caller_hangs_up(self) -> None:
        """At a prompt or in an application the caller's hang-up is -1 and HANGUP; the gateway may then close."""
        for option, command in [
            (("--hangup-at", "1"), "GET DATA agent-pass"),
            (("--hangup-in", "ConfBridge"), "EXEC ConfBridge 75"),
            (("--dialstatus", "CANCEL"), "EXEC Dial PJSIP/1"),
        ]:
            result = call(lambda caller, say=command: void(caller.say(say)), "75", "--from", "33", *option)  # type: ignore[misc]
            self.assertEqual((result.exit_code, result.stderr), (0, ""), option)
            self.assertIn("< 200 result=-1", result.stdout)
            self.assertIn("< HANGUP", result.stdout)
            self.assertTrue(result.stdout.rstrip().endswith("the caller hung up"), result.stdout)

    def test_gateway_hangs_up(self) -> None:
        """The last line says that the gateway hung up."""

        def behaviour(caller: Caller) -> None:
            caller.say("EXEC Playback vm-goodbye")
            caller.say("HANGUP")

        result = call(behaviour, "34", "--from", "33")
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(result.stdout.splitlines()[-1], "goodbye, hung up")

    def test_dead_channel(self) -> None:
        """In the extension h the call is over before it begins."""
        replies: list[str] = []
        result = call(lambda caller: replies.append(caller.say("ANSWER")), "34", "--from", "33", "--extension", "h")
        self.assertEqual(replies[0][:3], "511")
        self.assertEqual(result.exit_code, 0, result.output)

    def test_odd_bytes(self) -> None:
        """Control characters of either side are not printed."""

        def behaviour(caller: Caller) -> None:
            caller.say('VERBOSE "\x1b[31m" 1')
            caller.say(DONE)

        result = call(behaviour, "9\nagi_callerid: 22\x1b", "--from", "33")
        self.assertNotIn("\x1b", result.stdout)
        self.assertIn("\\x1b[31m", result.stdout)

    def test_unix_socket(self) -> None:
        """The settings may name a Unix socket."""
        directory = pathlib.Path(self.mktemp())
        directory.mkdir(parents=True)
        # A Unix socket's path has little room.
        previous = os.getcwd()
        os.chdir(directory)
        self.addCleanup(os.chdir, previous)
        pathlib.Path("settings.toml").write_text('[fastagi]\nlisten = "unix:s"\n')
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("s")
            server.listen()
            thread = threading.Thread(target=lambda: Caller(server.accept()[0]).say(DONE))
            thread.start()
            result = run("call", "21", "--from", "33", "-c", "settings.toml", "--timeout", "5")
            thread.join(PATIENCE_S)
        self.assertIn("back to the dialplan", result.stdout)


class MisbehaviourTests(SynchronousTestCase):
    """Calls to gateways that misbehave: exit status 1, and a line that says why."""

    def fault(self, behaviour: Gateway, *arguments: str) -> str:
        """The error line for a gateway that behaves so."""
        result = call(behaviour, "34", "--from", "33", *arguments)
        self.assertEqual(result.exit_code, 1, result.output)
        return result.stderr

    def test_closes_early(self) -> None:
        """A gateway that closes at once, or without marking the call as done, is a fault."""
        self.assertIn("PBXROUTER is not set", self.fault(lambda caller: None))
        self.assertIn(
            "PBXROUTER is dialling",
            self.fault(lambda caller: void(caller.say("SET VARIABLE PBXROUTER dialling"))),
        )

    def test_failed(self) -> None:
        """A gateway that marks the call as failed is a fault."""
        self.assertIn("see its log", self.fault(lambda caller: void(caller.say("SET VARIABLE PBXROUTER failed"))))

    def test_silent(self) -> None:
        """A gateway that neither sends nor closes is a fault."""
        enough = threading.Event()
        with gateway(lambda caller: void(enough.wait(PATIENCE_S))) as place:
            result = run("call", "34", "--from", "33", "--connect", place, "--timeout", "0.2")
            enough.set()
        self.assertEqual(result.exit_code, 1)
        self.assertIn("said nothing for 0.2 s", result.stderr)

    def test_keeps_a_dead_call(self) -> None:
        """A gateway that does not close after the hang-up is a fault."""
        enough = threading.Event()

        def behaviour(caller: Caller) -> None:
            caller.say("HANGUP")
            enough.wait(PATIENCE_S)

        with gateway(behaviour) as place:
            result = run("call", "34", "--from", "33", "--connect", place, "--timeout", "0.2")
            enough.set()
        self.assertIn("a real Asterisk would hold it for ever", result.stderr)

    def test_bad_commands(self) -> None:
        """Commands that Asterisk would not understand are a fault."""

        def behaviour(caller: Caller) -> None:
            caller.say("FROB 123456")
            caller.say(DONE)

        said = self.fault(behaviour, "--pin", "123456")
        self.assertIn("sent an unknown command", said)
        self.assertNotIn("123456", said)

    def test_pipelining(self) -> None:
        """A second command before the reply is a fault."""

        def behaviour(caller: Caller) -> None:
            caller.say(f"NOOP\n{DONE}")
            caller.say("NOOP")

        self.assertIn("before the reply", self.fault(behaviour))

    def test_half_a_line(self) -> None:
        """A command that is not finished is a fault."""

        def behaviour(caller: Caller) -> None:
            caller.connection.sendall(b"ANSW")

        self.assertIn("in the middle of a line", self.fault(behaviour))


class NoGatewayTests(SynchronousTestCase):
    """Calls without a gateway: exit status 2, and what to do."""

    def test_refused(self) -> None:
        """A port, a Unix socket or a host that does not exist is named."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        for place in (f"127.0.0.1:{port}", f"[::1]:{port}", "no-such-host.invalid"):
            result = run("call", "21", "--from", "33", "--connect", place, "--timeout", "5")
            self.assertEqual((result.exit_code, result.stdout), (2, ""), place)
            self.assertEqual(result.stderr.count("\n"), 1)
            self.assertIn("no gateway listens at", result.stderr)
            self.assertIn("twistd", result.stderr)

    def test_no_host_at_all(self) -> None:
        """An invalid host name and an invalid timeout are refused."""
        for arguments in (
            ("--connect", "x" * 300),
            ("--connect", "a..b"),
            ("--timeout", "nan"),
            ("--timeout", "inf"),
        ):
            result = run("call", "21", "--from", "33", *arguments)
            self.assertEqual((result.exit_code, result.stdout), (2, ""), arguments)
            self.assertNotIn("fault", result.stderr)

    def test_interrupted(self) -> None:
        """Ctrl-C during a conversation ends the command silently."""
        needs.interrupts()
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(PATIENCE_S)
            process = start("call", "21", "--from", "33", "--connect", f"127.0.0.1:{server.getsockname()[1]}", cwd=ROOT)
            self.addCleanup(process.kill)
            connection, _ = server.accept()
            with connection:
                environment = b""
                while not environment.endswith(b"\n\n"):
                    environment += connection.recv(4096)
                time.sleep(0.1)
                process.send_signal(signal.SIGINT)
                self.assertEqual(process.communicate()[1], b"")
        self.assertEqual(process.returncode, 130)


class RealGatewayTests(CommandTestCase):
    """The workshop's calls to a real gateway."""

    def setUp(self) -> None:
        """Start a gateway on the workshop's rules."""
        super().setUp()
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        self.write(f'database = "rules.sqlite"\n[fastagi]\nlisten = "tcp:{self.port}:interface=127.0.0.1"\n')
        self.good("init", "--sample")
        self.log = self.directory / "log"
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "twisted", "pbxrouter", "--config", self.config],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        end = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), PATIENCE_S).close()
                return
            time.sleep(0.05)
        self.fail(self.log.read_text())

    def test_table(self) -> None:
        """The workshop's table: caller, number, keys, and what happens."""
        three = "three PIN prompts, three wrong-PIN prompts, goodbye, hung up (outcome DENIED)"
        for arguments, ending in [
            ("21 --from 33", "Dial PJSIP/21,60,i -> ANSWER, "),
            ("34 --from 33 --pin 123456", "PIN prompt, Dial IAX2/34,60,i -> ANSWER, "),
            (
                "34 --from 33 --pin 000000 --pin 123456",
                "two PIN prompts, wrong-PIN prompt, Dial IAX2/34,60,i -> ANSWER, ",
            ),
            ("34 --from 35 --pin 000 --pin 111 --pin 222 --pin 123456", three),
            ("66 --from 33 --pin 123456", "PIN prompt, VoiceMailMain 33@default, "),
            ("75 --from 33 --pin 123456", "PIN prompt, ConfBridge 75, "),
            ("12345678 --from 36 --pin 123456", three),
            ("999 --from 33", "invalid-number prompt, hung up (outcome INVALID)"),
            ("21 --from 44 --pin 123456", "PIN prompt, Dial PJSIP/21,60,i -> ANSWER, "),
            ("21 --from unknown --pin 123456", "PIN prompt, Dial PJSIP/21,60,i -> ANSWER, "),
            ("34 --from 33 --hangup-at 1", "PIN prompt, the caller hung up"),
            ("21 --from 33 --extension s", "Dial PJSIP/21,60,i -> ANSWER, "),
            ("21 --from 33 --extension s --dnid s", "number prompt, Dial PJSIP/21,60,i -> ANSWER, "),
        ]:
            printed = self.good("call", *arguments.split())
            self.assertTrue(printed.splitlines()[-1].startswith(ending), f"{arguments}:\n{printed}")
        self.assertNotIn("123456 ", self.log.read_text())


def void(value: object) -> None:
    """A function for commands that return nothing."""


def call_number(number: str) -> Result:
    """Call a number, which may begin with a dash."""
    with gateway(lambda caller: void(caller.say(DONE))) as place:
        return run("call", "--from", "33", "--connect", place, "--", number)
