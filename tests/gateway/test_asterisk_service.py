"""The service for one Asterisk: its parts, its stop, and one line for settings that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.channel import Channel
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.ami.account import read_secret
from pbxrouter.config.schema import Asterisk
from pbxrouter.errors import ConfigError
from pbxrouter.gateway.asterisk_service import LEAVING_S, AsteriskService
from pbxrouter.rules.engine import RulesEngine
from tests.ami_fakes import AmiEnd

# The key of this certificate was thrown away.
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBgDCCASWgAwIBAgIUKVwkLWRvNxgFqVdvYEnm3O3ATgIwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzA4MDgxN1oYDzIxMjYxMDMw
MDgwODE3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATq2LjRIZFggkeRgNBryrIsLi/BnIE6wcv5ORN0xtehORkgbIKEoAHU
dmkgDrlw7ODB4OaGjsLSAJodHjCbB93Oo1MwUTAdBgNVHQ4EFgQUcxXQCLlo/eKh
7RoX/LJ9bRyGr6AwHwYDVR0jBBgwFoAUcxXQCLlo/eKh7RoX/LJ9bRyGr6AwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEA1gDdzoGsJLVygh1ZdVVU
ocW1pLnQydC8NsniRlY6ym4CIQD/zn63y+Q/4WGBMIQbqsZ36fX29x5CvUJ7VmQw
mZZScQ==
-----END CERTIFICATE-----
"""


async def serve(channel: Channel) -> None:
    """Serve no call."""


class AsteriskServiceTest(SynchronousTestCase):
    """Has a directory with a secret."""

    def setUp(self) -> None:
        """Make both."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.secret = self.folder / "ami.secret"
        self.secret.write_text("s3cret\nanother line\n")
        self.reactor = MemoryReactorClock()

    def make(self, **settings: Any) -> AsteriskService:
        """Make the service for these settings."""
        config = Asterisk(**{"secret_file": str(self.secret), **settings})
        return AsteriskService(config, serve, RulesEngine(()), {}, DialogueWatch(), self.reactor)

    def refusal(self, make: Callable[[], object]) -> str:
        """Check that the service cannot be made; returns the one line."""
        line = str(self.assertRaises(ConfigError, make))
        self.assertTrue(line.isprintable(), line)
        return line


class PartsTests(AsteriskServiceTest):
    """The parts of the service."""

    def kinds(self, service: AsteriskService) -> list[str]:
        """The types of its parts."""
        return [type(part).__name__ for part in service]

    def test_parts(self) -> None:
        """The service has connection, heartbeat and MAGI; the heartbeat can be turned off."""
        self.assertTrue({"AMIConnection", "Heartbeat", "MagiService"} <= set(self.kinds(self.make())))
        self.assertNotIn("Heartbeat", self.kinds(self.make(heartbeat=False)))

    def test_no_secret_file(self) -> None:
        """Without a secret file there is no connection, and the log says so."""
        service = self.make(secret_file="")
        self.assertIsNone(service.manager)
        service.startService()
        self.successResultOf(service.stopService())
        self.assertEqual(self.reactor.tcpClients, [])

    def test_connects(self) -> None:
        """A started service connects to the address of the settings."""
        service = self.make(ami="tcp:pbx.test:5099")
        service.startService()
        host, port, *_ = self.reactor.tcpClients[0]
        self.assertEqual((host, port), ("pbx.test", 5099))
        self.successResultOf(service.stopService())


class StopTests(AsteriskServiceTest):
    """Stopping in order."""

    def connected(self) -> tuple[AsteriskService, AmiEnd]:
        """Log in, and take what was sent since."""
        service = self.make(magi=("pbxrouter-magi",))
        service.startService()
        wrapper: Any = self.reactor.tcpClients[0][2].buildProtocol(None)
        end = AmiEnd(wrapper)
        end.logs_in()
        end.hears()
        return service, end

    def test_farewell_first(self) -> None:
        """The heartbeat's 0 is answered before the connection is closed."""
        service, end = self.connected()
        stopped = service.stopService()
        (farewell,) = end.hears()
        self.assertEqual((farewell["Action"], farewell["Value"]), ("Setvar", "0"))
        self.assertFalse(end.transport.disconnecting)
        end.says("Response: Success", f"ActionID: {farewell['ActionID']}")
        self.assertTrue(end.transport.disconnecting)
        end.goes()
        self.successResultOf(stopped)

    def test_frozen_asterisk(self) -> None:
        """An Asterisk that answers nothing is disconnected within seconds."""
        service, _ = self.connected()
        stopped = service.stopService()
        self.reactor.pump([LEAVING_S, LEAVING_S, LEAVING_S])
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class ConfigTests(AsteriskServiceTest):
    """Settings that cannot be used are an error of one line."""

    def test_endpoints(self) -> None:
        """Text that is no client endpoint is refused."""
        for ami in (
            "",
            "pbx:5038",
            "tcp:pbx",
            "tcp:pbx:five",
            "bogus:pbx:1",
            "tls:pbx:5039:trustRoots=/nosuch",
        ):
            line = self.refusal(lambda ami=ami: self.make(ami=ami))  # type: ignore[misc]
            self.assertIn("asterisk.ami", line)

    def test_trust(self) -> None:
        """A directory of certificates without any is refused, since each connection would fail without a reason."""
        trust = self.folder / "trust"
        trust.mkdir()
        ami = f"tls:localhost:5039:trustRoots={trust}"
        self.assertIn(str(trust), self.refusal(lambda: self.make(ami=ami)))
        (trust / "ami.pem").write_text("not one\n")
        self.assertIn(str(trust), self.refusal(lambda: self.make(ami=ami)))
        (trust / "ami.pem").write_text("-----BEGIN CERTIFICATE-----\nhalf\n")
        self.assertIn(str(trust), self.refusal(lambda: self.make(ami=ami)))
        (trust / "ami.pem").write_text(CERTIFICATE)
        self.make(ami=ami)

    def test_secrets(self) -> None:
        """The secret is the first line of the file; a missing, empty or binary file is refused without its content."""
        config = Asterisk(secret_file=str(self.secret))
        self.assertEqual(read_secret(config), "s3cret")
        self.secret.write_bytes(b"\xff\xfe")
        self.assertIn("not text", self.refusal(lambda: self.make()))
        self.secret.write_text("\n")
        self.assertIn("empty", self.refusal(lambda: self.make()))
        self.secret.unlink()
        self.assertIn("No such file", self.refusal(lambda: self.make()))
