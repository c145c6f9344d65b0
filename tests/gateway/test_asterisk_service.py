"""The service for one Asterisk: its parts, its stop, and one line for settings that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.channel import Channel
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.ami.account import read_secret
from pbxrouter.config.schema import Asterisk
from pbxrouter.errors import ConfigError, OriginateRefused
from pbxrouter.gateway.asterisk_service import LEAVING_S, AsteriskService
from pbxrouter.gateway.readiness import WhenRouting
from pbxrouter.magi.claim import FREE, LOOK_S, SETTLE_S
from pbxrouter.originate import CallRequest
from pbxrouter.rules.engine import RulesEngine
from tests.ami_fakes import AmiEnd
from tests.fakes import workshop_rules
from tests.magi.test_service import CONTEXT, UNIQUEID, block, snapshot

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
    """Serve a call; none comes."""


class AsteriskServiceTest(SynchronousTestCase):
    """Has a directory with a secret."""

    has_rules = True

    def setUp(self) -> None:
        """Create a secret file and a reactor in memory."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.secret = self.folder / "ami.secret"
        self.secret.write_text("s3cret\nanother line\n")
        self.reactor = MemoryReactorClock()

    def make(self, **settings: Any) -> AsteriskService:
        """Make the service for these settings."""
        config = Asterisk(**{"secret_file": str(self.secret), **settings})
        self.engine = RulesEngine(())
        service = AsteriskService(config, serve, self.engine, {}, DialogueWatch(), self.reactor)
        if self.has_rules:
            self.engine.replace(workshop_rules())
        return service

    def refusal(self, make: Callable[[], object]) -> str:
        """Check that the service cannot be made; returns the one line."""
        line = str(self.assertRaises(ConfigError, make))
        self.assertTrue(line.isprintable(), line)
        return line

    def claim(self, end: AmiEnd, holder: str = "") -> None:
        """Let the gateway claim the calls of CONTEXT on an Asterisk that has no other gateway, or has this one."""
        (asked,) = [action for action in end.hears() if action["Action"] == "Getvar"]
        self.assertEqual(asked["Variable"], f"PBXROUTER_MAGI_{CONTEXT}")
        end.says("Response: Success", f"ActionID: {asked['ActionID']}", f"Value: {holder}")
        if holder:
            return
        (written,) = [action for action in end.hears() if action["Action"] == "Setvar"]
        self.assertEqual(written["Variable"], f"PBXROUTER_MAGI_{CONTEXT}")
        end.says("Response: Success", f"ActionID: {written['ActionID']}")
        self.reactor.advance(SETTLE_S)
        (asked,) = [action for action in end.hears() if action["Action"] == "Getvar"]
        end.says("Response: Success", f"ActionID: {asked['ActionID']}", f"Value: {written['Value']}")


class PartsTests(AsteriskServiceTest):
    """The parts of the service."""

    def kinds(self, service: AsteriskService) -> list[str]:
        """The types of its parts."""
        return [type(part).__name__ for part in self.parts(service)]

    def parts(self, service: MultiService) -> Iterator[IService]:
        """Its parts and theirs."""
        for part in service:
            yield part
            if isinstance(part, WhenRouting):
                yield from self.parts(part)

    def test_parts(self) -> None:
        """The service has connection, heartbeat and MAGI; the heartbeat can be turned off."""
        self.assertTrue({"AMIConnection", "Heartbeat", "MagiService"} <= set(self.kinds(self.make())))
        self.assertNotIn("Heartbeat", self.kinds(self.make(heartbeat=False)))

    def test_no_secret_file(self) -> None:
        """Without a secret file there is no connection, and the log says so."""
        with capturedLogs() as logs:
            service = self.make(name="lab", secret_file="")
        said = [formatEvent(event) for event in logs if event["log_level"] is LogLevel.error]
        self.assertEqual(said, ["AMI lab: not connected: no secret_file is configured"])
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


class SettingsTests(AsteriskServiceTest):
    """What the settings of an Asterisk mean for its parts."""

    def log_in(self, service: AsteriskService, hears: bool = True) -> AmiEnd:
        """Start the service, and accept the login; ``hears``: and read what it sends first."""
        service.startService()
        wrapper: Any = self.reactor.tcpClients[0][2].buildProtocol(None)
        end = AmiEnd(wrapper)
        end.logs_in()
        if hears:
            end.hears()
        return end

    def test_two_gateways(self) -> None:
        """A call that another gateway serves is not taken; its own are left to others when it stops."""
        for holder in ("1a2b3c4d/run/elsewhere/7/1/pbx-b", ""):
            self.reactor = MemoryReactorClock()
            service = self.make(magi=(CONTEXT,), heartbeat=False)
            end = self.log_in(service, hears=False)
            self.claim(end, holder)
            end.hears()
            end.says("Event: AsyncAGIStart", *snapshot(), f"Env: {quote(block(), safe='')}")
            sent = [action["Action"] for action in end.hears() if action["Action"] != "Setvar"]
            self.assertEqual(sent, [] if holder else ["Status"])
            service.refuse_new()
            asked = [action for action in end.hears() if action["Action"] == "Getvar"]
            self.assertEqual(len(asked), 0 if holder else 1)
            if asked:
                assert service.claims is not None
                own = str(service.claims.me)
                end.says("Response: Success", f"ActionID: {asked[0]['ActionID']}", f"Value: {own}")
                (written,) = end.hears()
                self.assertEqual((written["Action"], written["Value"]), ("Setvar", FREE + own))

    def test_originate(self) -> None:
        """Calls may be originated into the contexts of asterisk.originate, not into those of asterisk.magi."""
        engine = RulesEngine(["dial"])
        engine.replace(workshop_rules())
        settings = Asterisk(secret_file=str(self.secret), magi=("served",), originate=("phones",), heartbeat=False)
        service = AsteriskService(settings, serve, engine, {"SIP": "PJSIP"}, DialogueWatch(), self.reactor)
        end = self.log_in(service)
        originator = service.originator
        assert originator is not None
        for context in ("served", "elsewhere"):
            asked = originator.originate(CallRequest("SIP/33", "21", context), lambda _: None)
            self.failureResultOf(Deferred.fromCoroutine(asked), OriginateRefused)
        self.assertEqual(end.hears(), [])
        Deferred.fromCoroutine(originator.originate(CallRequest("SIP/33", "21", "phones"), lambda _: None))
        (action,) = end.hears()
        self.assertEqual((action["Action"], action["Channel"], action["Context"]), ("Originate", "PJSIP/33", "phones"))

    def test_forged_call(self) -> None:
        """A MAGI call that is refused before it is served is reported with the Asterisk that it came by."""
        refused: list[tuple[str, str]] = []
        settings = Asterisk(name="lab", secret_file=str(self.secret), magi=(CONTEXT,), heartbeat=False)
        engine = RulesEngine(())
        engine.replace(workshop_rules())
        service = AsteriskService(
            settings,
            serve,
            engine,
            {},
            DialogueWatch(),
            self.reactor,
            lambda request, violation: refused.append((request.uniqueid, violation.peer)),
        )
        end = self.log_in(service, hears=False)
        self.claim(end)
        forged = block().replace(b"agi_callerid: ", b"agi_caller: ")
        with capturedLogs():
            end.says("Event: AsyncAGIStart", *snapshot(), f"Env: {quote(forged, safe='')}")
            (status,) = [action for action in end.hears() if action["Action"] == "Status"]
            known = f"ActionID: {status['ActionID']}"
            end.says("Response: Success", known, "EventList: start")
            end.says("Event: Status", known, *snapshot(), "DNID: 21")
            end.says("Event: StatusComplete", known, "EventList: Complete")
        self.assertEqual(refused, [(UNIQUEID, "AMI lab")])

    def test_ssl(self) -> None:
        """An ssl: endpoint, which verifies no certificate, is logged as a warning; others are not."""
        for ami, warned in (("ssl:pbx.test:5039", True), ("tcp:pbx.test:5038", False)):
            with capturedLogs() as logs:
                self.make(name="lab", ami=ami)
            said = [formatEvent(event) for event in logs if event["log_level"] is LogLevel.warn]
            line = "AMI lab: ssl: endpoints verify no certificate; tls: endpoints do"
            self.assertEqual(said, [line] if warned else [])


class WithoutRules(AsteriskServiceTest):
    """An Asterisk whose gateway has no rules yet."""

    has_rules = False

    def test_silent(self) -> None:
        """Heartbeat and MAGI wait for the rules: the dialplan sees no gateway until then."""
        service = self.make(magi=(CONTEXT,))
        service.privilegedStartService()
        service.startService()
        wrapper: Any = self.reactor.tcpClients[0][2].buildProtocol(None)
        end = AmiEnd(wrapper)
        end.logs_in()
        sent = [action["Action"] for action in end.hears()]
        self.reactor.pump([1] * 7)
        end.says("Event: AsyncAGIStart", *snapshot(), f"Env: {quote(block(), safe='')}")
        sent += [action["Action"] for action in end.hears()]
        self.assertEqual([name for name in sent if name in ("Setvar", "AGI", "CoreShowChannels", "Status")], [])
        self.engine.replace(workshop_rules())
        asked = end.hears()
        self.assertEqual(sorted(action["Action"] for action in asked), ["Getvar", "Ping"])
        (claim,) = [action for action in asked if action["Action"] == "Getvar"]
        end.says("Response: Error", f"ActionID: {claim['ActionID']}", "Message: Permission denied")
        self.assertEqual([action["Action"] for action in end.hears()], ["CoreShowChannels"])

    def test_stopped_before(self) -> None:
        """A stop before the rules have come leaves nothing, and rules that come later start nothing."""
        service = self.make(magi=(CONTEXT,))
        service.startService()
        self.successResultOf(service.stopService())
        self.engine.replace(workshop_rules())
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class StopTests(AsteriskServiceTest):
    """The order in which parts stop."""

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
        """An Asterisk that answers nothing is disconnected after LEAVING_S, also if its actions may take longer."""
        service, end = self.connected()
        stopped = service.stopService()
        self.reactor.advance(LEAVING_S - 0.1)
        self.assertFalse(end.transport.disconnecting)
        self.reactor.advance(0.1)
        self.assertTrue(end.transport.disconnecting)
        self.reactor.pump([LEAVING_S, LEAVING_S])
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class RefusingTests(AsteriskServiceTest):
    """A service that takes no new calls, since the gateway stops."""

    def test_nothing_to_refuse(self) -> None:
        """Without a connection, or a heartbeat, there is nothing that must tell the dialplan."""
        with capturedLogs():
            service = self.make(secret_file="")
        service.startService()
        service.refuse_new()
        self.successResultOf(service.stopService())
        service = self.make(heartbeat=False)
        service.startService()
        service.refuse_new()
        self.assertTrue(service.running)
        service.stopService()


class SecretTests(AsteriskServiceTest):
    """The secret of the AMI user."""

    def log_in(self) -> AmiEnd:
        """Accept the last connection, and send the banner."""
        wrapper: Any = self.reactor.tcpClients[-1][2].buildProtocol(None)
        end = AmiEnd(wrapper)
        end.greets()
        return end

    def test_read_at_each_log_in(self) -> None:
        """A secret that was changed in its file is used at the next log-in, without a restart."""
        service = self.make(login="plain")
        service.startService()
        end = self.log_in()
        self.assertEqual(end.answers(to="Login")["Secret"], "s3cret")
        self.secret.write_text("changed\n")
        end.goes()
        self.reactor.advance(60)
        self.assertEqual(self.log_in().hears()[0]["Secret"], "changed")


class ReloadTests(AsteriskServiceTest):
    """Other settings for an Asterisk while the gateway runs."""

    def begin(self, **settings: Any) -> None:
        """Start the service with these settings."""
        self.settings = {"secret_file": str(self.secret), "name": "lab", **settings}
        self.service = self.make(**self.settings)
        self.service.startService()

    def reload(self, technologies: dict[str, str] | None = None, **settings: Any) -> list[str]:
        """Reload with some other settings; returns what is told."""
        config = Asterisk(**{**self.settings, **settings})
        apply, news = self.service.prepare_reload(config, technologies or {})
        apply()
        return news

    def connect(self) -> AmiEnd:
        """Accept the last connection, and the login."""
        wrapper: Any = self.reactor.tcpClients[-1][2].buildProtocol(None)
        end = AmiEnd(wrapper)
        end.logs_in()
        end.hears()
        return end

    def fail_to_connect(self) -> None:
        """Refuse the last connection."""
        client: Any = self.reactor.tcpClients[-1][2]
        client.clientConnectionFailed(None, Failure(ConnectionDone()))

    def test_another_secret_file(self) -> None:
        """Of another secret file the setting is told, not that the secret in it has changed; later changes are."""
        self.begin()
        other = self.folder / "other.secret"
        other.write_text("other\n")
        self.assertEqual(self.reload(secret_file=str(other)), [])
        other.write_text("changed\n")
        (line,) = self.reload(secret_file=str(other))
        self.assertTrue(line.endswith(f"the secret in {other} has changed"), line)

    def test_connection_stays(self) -> None:
        """A connection that is up is not touched; the next one goes by the new address and account."""
        self.begin(ami="tcp:one:1")
        end = self.connect()
        self.assertEqual(self.reload(login="plain", ami="tcp:two:2", username="other"), [])
        self.assertEqual((len(self.reactor.tcpClients), end.gone), (1, False))
        self.secret.write_text("changed\n")
        (line,) = self.reload(login="plain", ami="tcp:two:2", username="other")
        self.assertIn("asterisk.secret_file of lab: reloaded, for the next connection to AMI: the secret in ", line)
        self.assertNotIn("changed\n", line.removesuffix("has changed"))
        self.assertEqual(self.reload(login="plain", ami="tcp:two:2", username="other"), [])  # it is told once
        end.goes()
        self.reactor.advance(60)
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("two", 2))
        wrapper: Any = self.reactor.tcpClients[-1][2].buildProtocol(None)
        end = AmiEnd(wrapper)
        end.greets()
        login = end.hears()[0]
        self.assertEqual((login["Username"], login["Secret"]), ("other", "changed"))

    def test_tried_at_once(self) -> None:
        """Without a connection the new account is tried at once, and not after the pause."""
        self.begin(login="plain")
        wrapper: Any = self.reactor.tcpClients[-1][2].buildProtocol(None)
        end = AmiEnd(wrapper)
        end.greets()
        action = end.hears()[0]
        end.says("Response: Error", f"ActionID: {action['ActionID']}", "Message: Authentication failed")
        end.goes()
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.tcpClients), 1)
        self.reload(login="plain", username="right")
        self.assertEqual(len(self.reactor.tcpClients), 2)
        wrapper = self.reactor.tcpClients[-1][2].buildProtocol(None)
        end = AmiEnd(wrapper)
        end.greets()
        self.assertEqual(end.hears()[0]["Username"], "right")

    def test_heartbeat_at_a_stop(self) -> None:
        """A gateway that begins to stop sets its heartbeat to 0 and sends no further one, while calls still go on."""
        self.begin()
        end = self.connect()
        self.service.refuse_new()
        self.assertIn(("Setvar", "0"), [(action["Action"], action.get("Value")) for action in end.hears()])
        self.reactor.advance(5)
        self.assertNotIn("Ping", [action["Action"] for action in end.hears()])

    def test_stop_during_the_pause(self) -> None:
        """A stop ends the pause between two attempts, also after a reload has."""
        self.begin()
        self.fail_to_connect()
        self.reload(username="right")
        self.assertEqual(len(self.reactor.tcpClients), 2)
        self.fail_to_connect()
        self.successResultOf(self.service.stopService())
        self.reactor.advance(60)
        self.assertEqual((len(self.reactor.tcpClients), self.reactor.getDelayedCalls()), (2, []))

    def test_heartbeat(self) -> None:
        """The heartbeat is begun and ended; at its end the variable is 0."""
        self.begin(heartbeat=False)
        end = self.connect()
        self.reload(heartbeat=True)
        self.assertIn("Ping", [action["Action"] for action in end.hears()])
        self.reload(heartbeat=True)
        self.assertEqual(end.hears(), [])
        self.reload(heartbeat=False)
        (action,) = end.hears()
        self.assertEqual((action["Action"], action["Value"]), ("Setvar", "0"))
        self.reactor.advance(60)
        self.assertNotIn("Setvar", [action["Action"] for action in end.hears()])

    def test_contexts(self) -> None:
        """Calls are originated into, and served by MAGI in, the new contexts."""
        self.begin()
        end = self.connect()
        originator = self.service.originator
        assert originator is not None
        request = CallRequest("SIP/33", "21", "phones")
        error = self.failureResultOf(Deferred.fromCoroutine(originator.originate(request, print)), OriginateRefused)
        self.assertIn("lists no context", str(error.value))
        asked = f"PBXROUTER_MAGI_{CONTEXT}"
        self.assertNotIn(asked, [action.get("Variable") for action in end.hears()])
        self.reload({"SIP": "PJSIP"}, originate=("other",), magi=(CONTEXT,))
        self.reactor.advance(LOOK_S)
        self.assertIn(asked, [action.get("Variable") for action in end.hears()])
        error = self.failureResultOf(Deferred.fromCoroutine(originator.originate(request, print)), OriginateRefused)
        self.assertIn("is not one of asterisk.originate: other", str(error.value))

    def test_refused(self) -> None:
        """An endpoint or a secret that cannot be used is refused before anything is changed."""
        self.begin(ami="tcp:one:1")
        self.connect().goes()
        self.assertRaises(ConfigError, self.reload, ami="nonsense")
        self.secret.write_text("\n")
        self.assertRaises(ConfigError, self.reload, ami="tcp:two:2")
        self.reactor.advance(60)
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("one", 1))

    def test_certificates(self) -> None:
        """The certificates that the connection trusts are read again."""
        trust = self.folder / "trust"
        trust.mkdir()
        (trust / "ami.pem").write_text(CERTIFICATE)
        ami = f"tls:localhost:5039:trustRoots={trust}"
        self.begin(ami=ami)
        self.assertIn("the certificates are loaded again", self.reload()[0])
        (trust / "ami.pem").write_text("not one\n")
        self.assertRaises(ConfigError, self.reload)

    def test_no_connection(self) -> None:
        """An Asterisk without a secret has nothing to reload."""
        with capturedLogs():
            self.begin(secret_file="")
        self.assertEqual(self.reload(username="x"), [])


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
        self.secret.write_bytes(b"\xff\xff")
        self.assertIn("not text", self.refusal(lambda: self.make()))
        self.secret.write_text("\n")
        self.assertIn("empty", self.refusal(lambda: self.make()))
        self.secret.unlink()
        self.assertIn("No such file", self.refusal(lambda: self.make()))
