"""The doctor inside a running gateway: every check is made, and the reactor is not blocked."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any, cast

import msgspec
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from pbxrouter.config import parsing
from pbxrouter.config import schema as settings
from pbxrouter.config.schema import Asterisk, Config, FastAGI
from pbxrouter.doctor import Finding
from pbxrouter.doctor.examine import _proof, examine
from pbxrouter.security.keyfile import create_key
from tests.cli.test_events import PlayedAmi
from tests.databases import sample_database
from tests.fakes import hash_pin

reactor = cast(Any, the_reactor)


class Metrics(Resource):
    """A page that answers as the gateway's does."""

    isLeaf = True

    def render_GET(self, request: object) -> bytes:
        """Answer with any text."""
        return b"up 1\n"


class Queues(Protocol):
    """The control socket of a gateway in which nothing waits."""

    def dataReceived(self, data: bytes) -> None:
        """Tell of one queue in which nothing waits."""
        assert self.transport is not None
        self.transport.write(b'{"queues": [{"name": "history", "length": 0}]}\n')


class ExamineTests(TestCase):
    """examine, with the sockets and the thread pool of the running reactor."""

    def setUp(self) -> None:
        """Make a good installation, which this reactor serves."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        agi = self.serves(reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1"))
        web = self.serves(reactor.listenTCP(0, Site(Metrics()), interface="127.0.0.1"))
        # A short path, since a socket's path may not be long.
        control = Path(self.mktemp()).name
        self.serves(reactor.listenUNIX(control, Factory.forProtocol(Queues)))
        self.config = parsing.resolved(
            Config(
                fastagi=FastAGI(listen=f"tcp:{agi.port}:interface=127.0.0.1"),
                web=settings.Web(f"tcp:{web.port}:interface=127.0.0.1"),
            ),
            folder,
        )
        self.config = msgspec.structs.replace(self.config, control=control)
        sample_database(Path(self.config.database), lambda pin: (hash_pin(pin).encode().hex() + "0" * 64)[:64])
        with contextlib.closing(sqlite3.connect(self.config.database)) as connection, connection:
            connection.execute("UPDATE users SET user_pin = NULL")  # all weak PINs would be compared with it
        create_key(Path(self.config.pin_key_file))

    def serves(self, port: Any) -> Any:
        """Open a port, which is closed at the end; returns its address."""
        self.addCleanup(port.stopListening)
        return port.getHost()

    async def states(self) -> dict[str, str]:
        """The worst finding of each area."""
        self.found = found = await examine(self.config, reactor)
        for finding in found:
            self.assertTrue(f"{finding.area}{finding.what}{finding.todo}".isprintable(), finding)
        severity = ["ok", "unknown", "wrong"]
        return {row.area: row.state for row in sorted(found, key=lambda row: severity.index(row.state))}

    async def test_unexpected(self) -> None:
        """A check that fails unexpectedly is unknown, and the others are made."""

        def breaks(*_: object) -> list[Finding]:
            raise RuntimeError("on purpose")

        self.patch(sys.modules["pbxrouter.doctor.examine"], "check_files", breaks)
        found = await self.states()
        self.assertEqual((found["database"], found["gateway"], found["FastAGI"]), ("unknown", "ok", "ok"))
        self.assertIn("RuntimeError: on purpose", self.found[0].what)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_endless(self) -> None:
        """A check that does not end is unknown, and the others are made."""
        going_on = threading.Event()
        self.addCleanup(going_on.set)

        def hangs(*_: object) -> list[Finding]:
            going_on.wait()
            return []

        self.patch(sys.modules["pbxrouter.doctor.examine"], "check_gateway", hangs)
        self.patch(sys.modules["pbxrouter.doctor.examine"], "STEP_S", 0.2)
        found = await self.states()
        self.assertEqual(found["gateway"], "unknown")
        self.assertIn("did not end", next(row.what for row in self.found if row.area == "gateway"))
        self.assertEqual(found["AMI"], "unknown")

    async def test_no_connection(self) -> None:
        """What follows the log-in to an Asterisk is unknown if there is none, for any reason."""
        secret = Path(self.config.database).with_name("secret")
        secret.write_text("s3cret\n")
        secret.chmod(0o600)
        refusing = PlayedAmi(refuse=True).port
        for ami, secret_file in (
            ("tcp:127.0.0.1:1", str(secret)),
            (f"tcp:127.0.0.1:{refusing}", str(secret)),
            ("tcp:127.0.0.1:5038", ""),
            ("tcp:127.0.0.1:5038", "missing"),
        ):
            asterisk = Asterisk("lab", ami=ami, secret_file=secret_file)
            self.config = msgspec.structs.replace(self.config, asterisk=[asterisk], trunks=("PJSIP/out",))
            found = await self.states()
            for area, state in (
                ("AMI lab", "wrong"),
                ("dialplan lab", "unknown"),
                ("sounds lab", "unknown"),
                ("trunks", "unknown"),
            ):
                self.assertEqual(found[area], state, (ami, area))

    def test_good(self) -> Deferred[None]:
        """The gateway can examine itself, and respond to its own questions."""

        async def look() -> None:
            self.assertEqual(
                await self.states(),
                {
                    "PIN key": "ok",
                    "database": "ok",
                    "rules": "ok",
                    "extensions": "unknown",
                    "gateway": "ok",
                    "queues": "ok",
                    "descriptors": "ok",
                    "FastAGI": "ok",
                    "web": "ok",
                    "PINs": "unknown",
                    "AMI": "unknown",
                },
            )

        return Deferred.fromCoroutine(look())

    def test_goes_on(self) -> Deferred[None]:
        """While a check waits for a locked database the reactor goes on."""
        ticks = 0

        def tick() -> None:
            nonlocal ticks
            ticks += 1

        async def look() -> None:
            with contextlib.closing(sqlite3.connect(self.config.database, isolation_level=None)) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                ticking = LoopingCall(tick)
                ticking.start(0.01)
                found = await self.states()
                ticking.stop()
            self.assertEqual(found["database"], "unknown")
            # Two hundred on a quiet machine; one or two if the check blocked the reactor.
            self.assertGreater(ticks, 10)

        return Deferred.fromCoroutine(look())

    def test_asterisks(self) -> Deferred[None]:
        """Each Asterisk is examined, also after one that refuses; findings are reported as they come."""
        secret = Path(self.config.database).with_name("secret")
        secret.write_text("s3cret\n")
        secret.chmod(0o600)
        port = PlayedAmi(refuse=True).port
        asterisks = [
            Asterisk("open"),
            Asterisk("gone", secret_file=str(secret) + "x"),
            Asterisk("strict", ami=f"tcp:127.0.0.1:{port}", secret_file=str(secret)),
        ]
        self.config = msgspec.structs.replace(self.config, asterisk=asterisks)
        told: list[Finding] = []

        async def look() -> None:
            found = await examine(self.config, reactor, told.append)
            self.assertEqual(found, told)
            words = {finding.area: finding.what for finding in found if finding.state == "wrong"}
            self.assertEqual(set(words), {"AMI open", "AMI gone", "AMI strict"})
            self.assertIn("no secret_file", words["AMI open"])
            self.assertIn("cannot be read", words["AMI gone"])
            self.assertIn("Authentication failed", words["AMI strict"])
            (open_one,) = (finding for finding in found if finding.area == "AMI open")
            spanish = {"AMI {name}": "AMI de {name}"}
            self.assertEqual(open_one.area_sentence.translated(lambda text: spanish[text]), "AMI de open")

        return Deferred.fromCoroutine(look())


class ProofTests(SynchronousTestCase):
    """Whether calls that key a PIN can be proven to be Asterisk's."""

    def test_each(self) -> None:
        """It is said unless each Asterisk has an AMI connection, or calls must pass the secret."""
        connected, silent = Asterisk("pbx", secret_file="ami.secret"), Asterisk("other")
        said: dict[tuple[Asterisk, ...], bool] = {
            (): True,
            (silent,): True,
            (connected, silent): True,
            (connected,): False,
            (connected, connected): False,
        }
        for asterisks, is_said in said.items():
            self.assertEqual([bool(list(_proof(Config(asterisk=asterisks))))], [is_said])
        with_secret = Config(fastagi=FastAGI(secret_file="fastagi.secret"))
        self.assertEqual(list(_proof(with_secret)), [])
