"""The library for scripts: an AMI session, a FastAGI server, and one line for each failure."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import library
from pbxrouter.errors import ChannelHungUp, CommandRefused, LoginRefused, ManagerUnavailable
from pbxrouter.simulator import SimulatedCall
from tests.ami_fakes import AmiEnd, new_protocol
from tests.fakes import AsteriskEnd
from tests.needs import PATIENCE_S
from tests.paths import ROOT

UNIQUEID = SimulatedCall("21", caller="33").uniqueid
react = task.react
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


class ConnectTests(SynchronousTestCase):
    """connect, and the session."""

    def setUp(self) -> None:
        """Asterisk's end is in memory."""
        self.reactor: Any = MemoryReactorClock()
        self.done = Deferred.fromCoroutine(
            library.connect(self.reactor, "tcp:10.0.0.1:5038", "fsl", "junio2006", "call")
        )
        self.transport = StringTransport()

    def _reach(self) -> None:
        host, port, factory, *_ = self.reactor.tcpClients[0]
        self.assertEqual((host, port), ("10.0.0.1", 5038))
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(b"Asterisk Call Manager/11.0.0\r\n")

    def _answer(self, *lines: str) -> str:
        """Answer the last action; returns it."""
        sent: str = self.transport.value().decode()
        self.transport.clear()
        action_id = next(line for line in sent.split("\r\n") if line.startswith("ActionID"))
        first, *rest = lines
        self.protocol.dataReceived("\r\n".join([first, action_id, *rest, "", ""]).encode())
        return sent

    def _session(self) -> library.Session:
        self._reach()
        self._answer("Response: Success", "Challenge: 1")
        self.assertIn("Events: call", self._answer("Response: Success"))
        return self.successResultOf(self.done)

    def test_session(self) -> None:
        """Actions, lists, events by name and all events, and the end."""
        session = self._session()
        self.assertEqual(session.banner, "Asterisk Call Manager/11.0.0")
        answered = session.action("Ping")
        self._answer("Response: Success", "Ping: Pong")
        self.assertEqual(self.successResultOf(answered).get("Ping"), "Pong")
        listed = session.listing("CoreShowChannels")
        self._answer("Response: Success")
        self.assertEqual(self.successResultOf(listed), [])
        got: list[str] = []
        session.subscribe("Hangup", lambda event: got.append(f"one {event.name}"))
        session.subscribe("*", lambda event: got.append(f"all {event.name}"))
        self.protocol.dataReceived(b"Event: Hangup\r\n\r\nEvent: Other\r\n\r\n")
        self.assertEqual(got, ["one Hangup", "all Hangup", "all Other"])
        left = Deferred.fromCoroutine(session.leave())
        self.assertIn("Action: Logoff", self._answer("Response: Goodbye"))
        self.successResultOf(left)
        self.assertTrue(self.transport.disconnecting)
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(session.lost)
        self.successResultOf(Deferred.fromCoroutine(session.leave()))

    def test_greeted_without_a_banner(self) -> None:
        """A session on a protocol that has read no banner has an empty one."""
        self.assertEqual(library.Session(new_protocol()[0], {}).banner, "")

    def test_refused(self) -> None:
        """A wrong secret fails with one line and closes the connection."""
        self._reach()
        self._answer("Response: Success", "Challenge: 1")
        self._answer("Response: Error", "Message: Authentication failed")
        self.assertIn("fsl", str(self.failureResultOf(self.done, LoginRefused).value))
        self.assertTrue(self.transport.disconnected or self.transport.disconnecting)

    def test_no_listener(self) -> None:
        """Without a listener the error is one line with the address."""
        factory = self.reactor.tcpClients[0][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        line = str(self.failureResultOf(self.done, ManagerUnavailable).value)
        self.assertIn("tcp:10.0.0.1:5038", line)


class ServeTests(SynchronousTestCase):
    """serve, with calls in memory."""

    def _call(self, handler: library.Handler) -> StringTransport:
        reactor: Any = MemoryReactorClock()
        output = io.StringIO()
        self.enterContext(contextlib.redirect_stdout(output))
        self.said = self.enterContext(contextlib.redirect_stderr(io.StringIO()))
        serving = Deferred.fromCoroutine(library._serve(reactor, handler, "tcp:4573"))
        self.assertNoResult(serving)
        self.assertEqual(output.getvalue(), "waiting for calls at tcp:4573\n")
        factory = reactor.tcpServers[0][1]
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(SimulatedCall("21", caller="33").environment())
        return transport

    def test_call(self) -> None:
        """The handler gets the call, and the connection is closed when it returns."""
        numbers = []

        async def handler(channel: library.Channel) -> None:
            numbers.append(channel.request.extension)

        self.assertTrue(self._call(handler).disconnecting)
        self.assertEqual(numbers, ["21"])

    def test_failures(self) -> None:
        """A hang-up is no error; a command that Asterisk refuses is logged in one line."""
        for error in (ChannelHungUp(), CommandRefused(510, "X", "Invalid")):

            async def handler(channel: library.Channel, error: Exception = error) -> None:
                raise error

            self.assertTrue(self._call(handler).disconnecting)
            shown = self.said.getvalue()
            expected = "" if isinstance(error, ChannelHungUp) else f"call {UNIQUEID}: {error}\n"
            self.assertEqual(shown, expected)

    def test_control_characters_in_an_error_line(self) -> None:
        """The line about a call is one line, though a caller can put anything into its Uniqueid."""

        async def handler(channel: library.Channel) -> None:
            channel.request.variables["uniqueid"] = "1\n2"  # type: ignore[index]
            raise CommandRefused(510, "X", "Invalid")

        self._call(handler)
        self.assertEqual(self.said.getvalue().count("\n"), 1)


class ProgramReactor(MemoryReactorClock):
    """The reactor of a program; the test decides what happens while it runs."""

    def __init__(self, events: Callable[[Any], object]) -> None:
        super().__init__()
        self.events = events

    def run(self) -> None:
        """Run what the test gives."""
        super().run()
        self.events(self)


class LastLineTests(SynchronousTestCase):
    """serve and run as the last line of a program: addresses and accounts, and how the process ends."""

    def setUp(self) -> None:
        """No environment, and no output yet."""
        self.environ: dict[str, str] = {}
        self.patch(os, "environ", self.environ)
        self.written = io.BytesIO()
        self.enterContext(contextlib.redirect_stdout(io.TextIOWrapper(self.written)))

    def ends(self, program: Callable[[], object], events: Callable[[Any], object]) -> object:
        """Run a program whose reactor is in memory; returns its exit status, or the line that it ends with."""
        self.reactor = ProgramReactor(events)
        self.patch(task, "react", functools.partial(react, _reactor=self.reactor))
        return self.assertRaises(SystemExit, program).code

    def server(self, listen: str | None = None) -> tuple[int, str]:
        """The port and interface where serve listens."""

        async def handler(channel: library.Channel) -> None:
            pass

        self.assertEqual(self.ends(lambda: library.serve(handler, listen), lambda reactor: None), 0)
        port, _, _, interface = self.reactor.tcpServers[0]
        return port, interface

    def test_where_serve_listens(self) -> None:
        """On loopback at FastAGI's port, at $AGI_LISTEN, or where the program says."""
        self.assertEqual(self.server(), (4573, "127.0.0.1"))
        self.environ["AGI_LISTEN"] = "tcp:4574"
        self.assertEqual(self.server(), (4574, ""))
        self.assertEqual(self.server("tcp:4575"), (4575, ""))

    def test_serve_says_at_once_that_it_waits(self) -> None:
        """The line that the server waits is flushed at once, since another program may wait for it."""
        self.server()
        self.assertEqual(self.written.getvalue(), b"waiting for calls at tcp:4573:interface=127.0.0.1\n")

    def test_stopping_serve(self) -> None:
        """A server that is stopped takes no more calls, and waits for the commands in progress."""
        answered: list[str] = []

        async def handler(channel: library.Channel) -> None:
            answered.append((await channel.execute("NOOP")).result)

        def events(reactor: Any) -> None:
            factory = reactor.tcpServers[0][1]
            end = AsteriskEnd(factory.buildProtocol(None))
            end.says(SimulatedCall("21", caller="33").environment())
            (trigger,) = [
                call
                for call, *_ in reactor.triggers["before"]["shutdown"]
                if getattr(call, "__self__", None) is factory
            ]
            stopped = trigger()
            self.assertNoResult(stopped)
            self.assertIsNone(factory.buildProtocol(None))
            end.says(b"200 result=7\n")
            reactor.advance(1)
            end.goes()
            self.successResultOf(stopped)

        self.ends(lambda: library.serve(handler), events)
        self.assertEqual(answered, ["7"])

    def session(self, program: Callable[[library.Session], Any], **named: str) -> object:
        """Run a program over AMI, with an Asterisk that answers everything; returns how it ends."""
        self.actions: list[dict[str, str]] = []
        self.end: AmiEnd | None = None

        def events(reactor: Any) -> None:
            ((host, port, factory, *_),) = reactor.tcpClients
            self.address = (host, port)
            self.end = end = AmiEnd(factory.buildProtocol(None))
            end.greets()
            while heard := end.hears():
                for action in heard:
                    self.actions.append(action)
                    end.says("Response: Success", f"ActionID: {action['ActionID']}", "Challenge: 1234")

        return self.ends(lambda: library.run(program, **named), events)

    async def program(self, session: library.Session) -> None:
        """Send one action, as a script would."""
        await session.action("Ping")

    def names(self) -> list[str]:
        """The actions that came, by name."""
        return [action["Action"] for action in self.actions]

    def login(self) -> tuple[str, str, str]:
        """The user, the key and the event mask of the login that came."""
        (login,) = [action for action in self.actions if action["Action"] == "Login"]
        return login["Username"], login["Key"], login["Events"]

    def test_run(self) -> None:
        """The program runs on a session that is logged in, then it is logged off; the status is 0."""
        self.assertEqual(self.session(self.program), 0)
        self.assertEqual(self.names(), ["Challenge", "Login", "Ping", "Logoff"])
        assert self.end is not None
        self.assertTrue(self.end.transport.disconnecting or self.end.gone)

    def test_events(self) -> None:
        """All event classes, or those that the program wants."""
        self.session(self.program)
        self.assertEqual(self.login()[2], "on")
        self.session(self.program, events="call,agi")
        self.assertEqual(self.login()[2], "call,agi")

    def test_events_of_connect(self) -> None:
        """A session has all event classes, if nothing else is said."""

        def events(reactor: Any) -> None:
            end = AmiEnd(reactor.tcpClients[0][2].buildProtocol(None))
            end.greets()
            end.answers("Challenge: 1234", to="Challenge")
            self.assertEqual(end.hears()[0]["Events"], "on")

        self.ends(lambda: task.react(lambda reactor: Deferred.fromCoroutine(library.connect(reactor))), events)

    def test_account(self) -> None:
        """Address, user and secret are those of the environment; without any pbxrouter's on loopback."""

        def key(secret: str) -> str:
            return hashlib.md5(b"1234" + secret.encode()).hexdigest()

        self.session(self.program)
        self.assertEqual(self.address, ("127.0.0.1", 5038))
        self.assertEqual(self.login(), ("pbxrouter", key(""), "on"))
        self.environ.update(AMI="tcp:10.0.0.9:5039", AMI_USERNAME="fsl", AMI_SECRET="junio2006")
        self.session(self.program)
        self.assertEqual(self.address, ("10.0.0.9", 5039))
        self.assertEqual(self.login(), ("fsl", key("junio2006"), "on"))

    def test_account_of_connect(self) -> None:
        """What a program passes to connect counts more than the environment, an empty secret too."""
        self.environ.update(AMI="tcp:10.0.0.9:5039", AMI_USERNAME="fsl", AMI_SECRET="junio2006")
        logins: list[dict[str, str]] = []

        async def program(reactor: Any) -> None:
            await library.connect(reactor, "tcp:10.0.0.1:5038", "maria", self.secret)

        def events(reactor: Any) -> None:
            ((host, port, factory, *_),) = reactor.tcpClients
            self.assertEqual((host, port), ("10.0.0.1", 5038))
            end = AmiEnd(factory.buildProtocol(None))
            end.greets()
            end.answers("Challenge: 1234", to="Challenge")
            logins.extend(end.hears())

        for self.secret in ("", "s3"):
            self.ends(lambda: task.react(lambda reactor: Deferred.fromCoroutine(program(reactor))), events)
        expected = [hashlib.md5(b"1234" + secret).hexdigest() for secret in (b"", b"s3")]
        self.assertEqual([(login["Username"], login["Key"]) for login in logins], [("maria", key) for key in expected])

    def test_failing_program(self) -> None:
        """What a user can mend ends the program with one line, after it is logged off; a fault is a traceback."""
        for error in (CommandRefused(510, "X", "no"), FileNotFoundError(2, "No such file", "x"), ValueError("bad")):

            async def fails(session: library.Session, error: Exception = error) -> None:
                raise error

            self.assertEqual(self.session(fails), str(error))
            self.assertEqual(self.names()[-1], "Logoff")

        async def breaks(session: library.Session) -> None:
            raise ZeroDivisionError

        self.assertEqual(self.session(breaks), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ProgramTests(SynchronousTestCase):
    """The examples as programs, without an Asterisk."""

    def _start(self, name: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples" / name), *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        return done.returncode, done.stdout, done.stderr

    def test_no_asterisk(self) -> None:
        """Without an Asterisk a program ends with one line and status 1."""
        status, _, said = self._start("ping.py", AMI="tcp:127.0.0.1:1")
        self.assertEqual((status, said.count("\n")), (1, 1), said)
        self.assertIn("tcp:127.0.0.1:1", said)

    def test_bad_endpoint(self) -> None:
        """An invalid endpoint ends a program with one line and status 1."""
        for name, variable in (("ping.py", "AMI"), ("hello_world.py", "AGI_LISTEN")):
            status, _, said = self._start(name, **{variable: "nonsense:1"})
            self.assertEqual((status, said.count("\n")), (1, 1), said)

    def test_usage(self) -> None:
        """A program that needs arguments says which."""
        status, _, said = self._start("originate.py")
        self.assertEqual((status, said[:6]), (1, "usage:"))

    def test_each_is_short_and_listed(self) -> None:
        """Each example has 10 to 30 lines, a docstring and a row in the list, and imports nothing of the gateway."""
        listed = (ROOT / "examples" / "README.md").read_text("utf-8")
        self.assertEqual(len(EXAMPLES), 8)
        for example in EXAMPLES:
            text = example.read_text("utf-8")
            self.assertTrue(10 <= len(text.splitlines()) <= 30, f"{example.name}: {len(text.splitlines())}")
            self.assertIn(f"]({example.name})", listed)
            tree = ast.parse(text)
            self.assertTrue(ast.get_docstring(tree))
            ours = [
                node.module
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("pbxrouter")
            ]
            self.assertEqual(ours, ["pbxrouter.library"])

    def test_no_gateway(self) -> None:
        """Importing the library brings in neither the gateway nor its database."""
        code = "import sys, pbxrouter.library; print(*(n for n in sys.modules if 'pbxrouter' in n))"
        said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout
        loaded = {name.partition(".")[2].partition(".")[0] for name in said.split()}
        self.assertNotIn("pbxrouter.rules.engine", said)
        self.assertIn("library", loaded)
        self.assertFalse(loaded & {"service", "gateway", "tap", "database", "call", "config", "counter", "web"})
