"""What each part of a running gateway does with reloaded settings."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import AGIRequest
from pbxrouter.call import AsteriskFinder
from pbxrouter.config import parsing
from pbxrouter.config.schema import Config
from pbxrouter.database.access import add_console_user
from pbxrouter.database.audit import Actor
from pbxrouter.errors import ConfigError
from pbxrouter.gateway import reload_parts, service
from pbxrouter.gateway.service import GatewayService
from pbxrouter.rules import Facts
from pbxrouter.security import Role, keyfile
from pbxrouter.security.guess_limits import FREE_GUESSES
from pbxrouter.simulator import SimulatedCall
from tests.certificates import write_certificate
from tests.fakes import workshop_rules
from tests.gateway.test_composition import SOCKET, CompositionCase, Page
from tests.held_time import until


class PartsTests(CompositionCase):
    """A whole gateway, whose settings change."""

    text = ""

    def read(self) -> Config:
        """Read the settings as they are now."""
        return parsing.parse(f'database = "x.db"\ncontrol = "c"\n{self.text}\n', "x", Path.cwd())

    def begin(self, settings: str) -> GatewayService:
        """Start a gateway that can be reloaded."""
        self.text = settings
        gateway = service.build(self.read(), reactor, read=self.read)
        gateway.privilegedStartService()
        gateway.startService()

        def stop() -> Any:
            return gateway.stopService() if gateway.running else None

        self.addCleanup(stop)
        return gateway

    def reload(self, gateway: GatewayService, settings: str) -> list[str]:
        """Change the settings and reload them."""
        self.text = settings
        return gateway.reload_all()

    async def test_what_is_said_of_a_call(self) -> None:
        """After a reload, what a call would run is told with the new settings too, not only run."""
        gateway = self.begin(SOCKET)
        gateway.engine.replace(workshop_rules())
        self.assertEqual((await gateway.engine.decide(Facts("33", "21"))).action, "Dial(PJSIP/21,60,i)")
        self.reload(gateway, SOCKET + '[technologies]\nSIP = "IAX2"\n[dial]\ntimeout = 7\n')
        self.assertEqual((await gateway.engine.decide(Facts("33", "21"))).action, "Dial(IAX2/21,7,i)")

    async def test_calls(self) -> None:
        """Technologies, Dial's arguments, prompts (a driver's too) and trunks count for the next call."""
        gateway = self.begin(SOCKET)
        self.assertEqual(
            self.reload(
                gateway,
                'trunks = ["PJSIP/out"]\n' + SOCKET + '[technologies]\nSIP = "IAX2"\n[dial]\ntimeout = 7\n'
                '[prompts]\nask-pin = "our-question"\nnew-pin = "our-new"\n',
            ),
            [
                "dial.timeout: reloaded",
                "prompts.ask-pin: reloaded",
                "prompts.new-pin: reloaded",
                "technologies.SIP: reloaded",
                "trunks: reloaded",
            ],
        )
        self.assertEqual((await self.run_call(SimulatedCall("21", caller="33"))).dials[0][0], "IAX2/21,7,i")
        outside = await self.run_call(SimulatedCall("21", caller="33", channel="PJSIP/out-00000001"), "000000#")
        self.assertEqual((outside.prompts[0], outside.dials), ("our-question", []))
        scopes = dict(self.connection.execute("SELECT scope, name FROM pin_guesses").fetchall())
        self.assertEqual(scopes["trunk"], "PJSIP/out 33")

    async def test_drivers_fail(self) -> None:
        """A driver that cannot be made with the new settings stays as it was."""
        gateway = self.begin(SOCKET)

        def broken(config: Config, found: object) -> dict[str, Any]:
            return {}

        self.reload(gateway, SOCKET + "[dial]\ntimeout = 8\n")
        self.patch(reload_parts, "load_drivers", broken)
        lines = self.reload(gateway, SOCKET + "[dial]\ntimeout = 7\n")
        failed = [line.split()[1] for line in lines if line.endswith(" cannot be loaded anew: the one in force stays")]
        self.assertIn("dial", failed)
        self.assertGreater(len(failed), 5)
        self.assertEqual(failed, sorted(failed))
        self.assertEqual((await self.run_call(SimulatedCall("21", caller="33"))).dials[0][0], "PJSIP/21,8,i")

    async def test_dialogues(self) -> None:
        """fastagi.debug is switched on and off, once for any number of reloads."""
        gateway = self.begin(SOCKET)
        for debug in (True, True, False):
            self.reload(gateway, f"{SOCKET}debug = {str(debug).lower()}\n")
            with capturedLogs() as logs:
                await self.run_call(SimulatedCall("21", caller="33"))
            lines = [str(event["line"]) for event in logs if event["log_namespace"].endswith("DialogueLog")]
            self.assertEqual(sum("> EXEC Dial" in line for line in lines), int(debug))

    def test_pin_key(self) -> None:
        """A PIN key that has changed, or cannot be read, stays as it is in memory, and is told of."""
        gateway = self.begin(SOCKET)
        Path("x.db.pinkey").unlink()
        (line,) = self.reload(gateway, SOCKET)
        self.assertIn("pin_key_file: the key in force stays: PIN key", line)
        keyfile.create_key(Path("x.db.pinkey"))
        (line,) = self.reload(gateway, SOCKET)
        self.assertRegex(line, "^pin_key_file: the key in .* has changed, needs a restart$")

    async def test_alarms(self) -> None:
        """Alarms go to the new target."""
        gateway = self.begin(SOCKET)
        told = Path("told").absolute()
        self.reload(gateway, SOCKET + self.alarm_command(f'echo "$ALARM_KIND" >> {told}'))
        for _ in range(FREE_GUESSES + 1):
            await self.run_call(SimulatedCall("34", caller="33"), "000000#")
        await until(told.exists)
        await until(told.read_text)
        self.assertEqual(told.read_text().strip(), "pin-lockout")

    def test_alarm_secret(self) -> None:
        """The webhook's secret is told of when it changes in its file; one that cannot be used refuses the reload."""
        secret = Path("alarm-secret")
        secret.write_text("a" * 20)
        settings = SOCKET + '[alarm]\nwebhook = "http://127.0.0.1:1/"\nsecret_file = "alarm-secret"\n'
        gateway = self.begin(settings)
        self.assertEqual(self.reload(gateway, settings), ["no setting has changed"])
        secret.write_text("b" * 20)
        (line,) = self.reload(gateway, settings)
        self.assertEqual(line, f"alarm.secret_file: reloaded: the secret in {secret.absolute()} has changed")
        self.assertEqual(self.reload(gateway, settings), ["no setting has changed"])
        secret.write_text("b")
        self.assertRaises(ConfigError, self.reload, gateway, settings)

    async def page(self, path: str, host: str) -> bytes:
        """The status line of a page."""
        page = Page(path)
        page.host = host
        await connectProtocol(clientFromString(reactor, "unix:w"), page)
        await page.over
        return page.came.partition(b"\r\n")[0]

    async def test_web(self) -> None:
        """Host names and time zone count for the next request; a time zone that there is not refuses the reload."""
        add_console_user(self.connection, Actor("ana", "command"), 1.0, "ana", "h", Role.ADMIN)
        settings = SOCKET + '[web]\nlisten = "unix:w"\n'
        gateway = self.begin(settings)
        self.assertIn(b"421", await self.page("/metrics", "pbx.example.org"))
        self.assertRaises(ConfigError, self.reload, gateway, settings + 'hosts = ["a"]\ntimezone = "Europe/Nowhere"\n')
        lines = self.reload(gateway, settings + 'hosts = ["pbx.example.org"]\ntimezone = "Asia/Tokyo"\n')
        self.assertEqual(lines, ["web.hosts: reloaded", "web.timezone: reloaded"])
        self.assertIn(b"200", await self.page("/metrics", "pbx.example.org"))

    async def test_certificate(self) -> None:
        """The certificate of an ssl: endpoint is loaded again for new connections; a bad one leaves the old one."""
        add_console_user(self.connection, Actor("ana", "command"), 1.0, "ana", "h", Role.ADMIN)
        write_certificate("one")
        settings = SOCKET + '[web]\nlisten = "ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"\n'
        with capturedLogs() as logs:
            gateway = self.begin(settings)
        port = next(
            int(str(event["log_text"]).rpartition(" ")[2])
            for event in logs
            if "BoundedSite" in str(event.get("log_text", "")) and "starting on" in event["log_text"]
        )

        def name() -> bytes:
            return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))

        first = await deferToThread(name)
        self.assertIn(b"one", first)
        self.assertEqual(self.reload(gateway, settings), ["web.listen: the certificate is loaded again"])
        write_certificate("two")
        self.reload(gateway, settings)
        second = await deferToThread(name)
        self.assertIn(b"two", second)
        write_certificate("three", key_file="other.pem")  # a key that does not belong to it
        error = self.assertRaises(ConfigError, self.reload, gateway, settings)
        self.assertIn("web.listen: the certificate cannot be loaded again: ", str(error))
        Path("cert.pem").unlink()
        self.assertRaises(ConfigError, self.reload, gateway, settings)
        self.assertEqual(await deferToThread(name), second)


class SinglePartTests(SynchronousTestCase):
    """Parts of the test's, which take their settings when all have been checked."""

    def config(self, text: str = "") -> Config:
        """The settings of a file with this text."""
        return parsing.parse(f'database = "x.db"\n{text}', "x", Path.cwd())

    def test_days(self) -> None:
        """The days for which history and each counter keep rows are taken over."""
        history, counters = SimpleNamespace(keep_days=1), [SimpleNamespace(keep_days=2) for _ in range(2)]
        new = self.config("[history]\nkeep_days = 7\n[counter]\nkeep_days = 9\n")
        prepared = reload_parts.days(history, counters)(self.config(), new)  # type: ignore[arg-type]
        self.assertEqual([part.keep_days for part in (history, *counters)], [1, 2, 2])
        prepared.apply()
        self.assertEqual(([part.keep_days for part in (history, *counters)], list(prepared.news)), ([7, 9, 9], []))

    def test_fastagi_certificates(self) -> None:
        """The certificates of FastAGI's port are loaded before anything changes, and used when all does."""
        done: list[str] = []
        port = SimpleNamespace(prepare_certificates=lambda: lambda: done.append("renewed"))
        admission = SimpleNamespace(reconfigure=lambda *_: done.append("admission"))
        proofs = SimpleNamespace(reconfigure=lambda **named: done.append(str(sorted(named.items()))))
        prepare = reload_parts.fastagi(admission, proofs, port, lambda config: (None, 0, None), "")  # type: ignore[arg-type, return-value]
        prepared = prepare(self.config(), self.config('[fastagi]\nallow = ["192.0.2.1"]\n'))
        self.assertEqual((done, list(prepared.news)), ([], ["fastagi.listen: the certificate is loaded again"]))
        prepared.apply()
        self.assertEqual(done, ["admission", "[('allows_others', True), ('has_secret', False)]", "renewed"])

    def test_fastagi_secret(self) -> None:
        """A secret that has changed in its file is told of once."""
        secret = Path(self.mktemp()).absolute()
        secret.write_text("0123456789abcdef\n")
        config = self.config(f'[fastagi]\nsecret_file = "{secret}"\n')
        nothing: Any = SimpleNamespace(prepare_certificates=lambda: None, reconfigure=lambda *given, **named: None)
        prepare = reload_parts.fastagi(
            nothing, nothing, nothing, lambda config: (nothing, 0, nothing), "the one before 16"
        )
        for lines in (1, 0):
            prepared = prepare(config, config)
            self.assertEqual(len(prepared.news), lines)
            prepared.apply()

    def test_asterisks(self) -> None:
        """Each Asterisk is checked with its own settings, and takes them, and its address, when all are."""
        taken: list[tuple[str, object]] = []

        def service_of(name: str) -> Any:
            def prepare_reload(config: Any, technologies: object) -> Any:
                return lambda: taken.append((config.name, technologies)), [f"news of {config.name}"]

            return SimpleNamespace(name=name, prepare_reload=prepare_reload)

        text = '[[asterisk]]\nname = "a"\n[[asterisk]]\nname = "b"\nami = "tcp:192.0.2.7:5038"\n'
        text += '[technologies]\nSIP = "PJSIP"\n'
        finder = AsteriskFinder({"a": "", "b": "192.0.2.8"}, lambda: 0.0)
        peer: Any = SimpleNamespace(peer="192.0.2.7", request=AGIRequest({}))
        prepare = reload_parts.asterisks([service_of("b"), service_of("a")], finder)
        prepared = prepare(self.config(), self.config(text))
        self.assertEqual(finder.of(peer), "")
        self.assertEqual((taken, list(prepared.news)), ([], ["news of b", "news of a"]))
        prepared.apply()
        technologies = self.config(text).technologies
        self.assertEqual(technologies["SIP"], "PJSIP")
        self.assertEqual(taken, [("b", technologies), ("a", technologies)])
        self.assertEqual(finder.of(peer), "b")
