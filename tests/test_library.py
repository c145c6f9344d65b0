"""The library for scripts: a session over AMI, a FastAGI server, and one line when it fails."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import subprocess
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import library
from pbxrouter.errors import ChannelHungUp, CommandRefused, LoginRefused, ManagerUnavailable
from pbxrouter.simulator import SimulatedCall
from tests.needs import PATIENCE_S
from tests.paths import ROOT

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
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(session.lost)
        self.successResultOf(Deferred.fromCoroutine(session.leave()))

    def test_refused(self) -> None:
        """A wrong secret closes the connection."""
        self._reach()
        self._answer("Response: Success", "Challenge: 1")
        self._answer("Response: Error", "Message: Authentication failed")
        self.assertIn("fsl", str(self.failureResultOf(self.done, LoginRefused).value))
        self.assertTrue(self.transport.disconnected or self.transport.disconnecting)

    def test_no_listener(self) -> None:
        """Nothing listens: one line with the address."""
        factory = self.reactor.tcpClients[0][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        line = str(self.failureResultOf(self.done, ManagerUnavailable).value)
        self.assertIn("tcp:10.0.0.1:5038", line)


class ServeTests(SynchronousTestCase):
    """serve."""

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
        """A hang-up is no error; a command that Asterisk refuses is one line."""
        for error in (ChannelHungUp(), CommandRefused(510, "X", "Invalid")):

            async def handler(channel: library.Channel, error: Exception = error) -> None:
                raise error

            self.assertTrue(self._call(handler).disconnecting)
            self.assertEqual(self.said.getvalue().count("\n"), 0 if isinstance(error, ChannelHungUp) else 1)


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
        """Without an Asterisk: one line, status 1."""
        status, _, said = self._start("ping.py", AMI="tcp:127.0.0.1:1")
        self.assertEqual((status, said.count("\n")), (1, 1), said)
        self.assertIn("tcp:127.0.0.1:1", said)

    def test_bad_endpoint(self) -> None:
        """An invalid endpoint: one line, status 1."""
        for name, variable in (("ping.py", "AMI"), ("hello_world.py", "AGI_LISTEN")):
            status, _, said = self._start(name, **{variable: "nonsense:1"})
            self.assertEqual((status, said.count("\n")), (1, 1), said)

    def test_usage(self) -> None:
        """A program that needs arguments says which."""
        status, _, said = self._start("originate.py")
        self.assertEqual((status, said[:6]), (1, "usage:"))

    def test_each_is_short_and_listed(self) -> None:
        """Ten to thirty lines, a docstring, a row in the list; nothing of the gateway is imported."""
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
