"""The AMI connection on a real Asterisk: the sample user and its classes, TLS, a frozen Asterisk."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from pbxrouter.ami.account import Account
from pbxrouter.ami.connection import AMIConnection
from pbxrouter.ami.heartbeat import HEARTBEAT_VARIABLE
from pbxrouter.errors import ActionFailed, ManagerUnavailable
from tests.asterisk.harness import PROJECT, AsteriskTest
from tests.needs import PATIENCE_S
from tests.waiting import wait_for

reactor: Any = the_reactor
SAMPLE = PROJECT / "dialplan/manager.conf.sample"
SECRET = "marzo2007"

BREAKS = {
    ("read", "system"): "a restart is heard of",
    ("read", "call"): "a call's channels are heard of",
    ("read", "agi"): "a MAGI call is heard of",
    ("write", "call"): "the heartbeat is set",
    ("write", "agi"): "a MAGI call is commanded",
    ("write", "originate"): "a call is originated",
    ("write", "reporting"): "the channels are listed",
}
"""What fails, and nothing else, when a class is taken away from the sample's user."""


class AmiTest(AsteriskTest):
    """Tests with an Asterisk and no gateway."""

    config = None

    async def connected(self, username: str, endpoint: str = "", secret: str = SECRET) -> AMIConnection:
        """An AMIConnection to the lab's Asterisk, connected."""
        manager = self.connecting(username, endpoint, secret)
        await self.until("the connection", lambda: manager.is_up, 15)
        return manager

    def connecting(self, username: str, endpoint: str = "", secret: str = SECRET) -> AMIConnection:
        """An AMIConnection to the lab's Asterisk, not connected yet."""
        where = endpoint or f"tcp:127.0.0.1:{self.lab.base + 38}"
        manager = AMIConnection("lab", where, Account(username, lambda: secret), reactor)
        self.addCleanup(manager.stopService)
        manager.startService()
        return manager

    async def until(self, what: str, condition: Any, seconds: float = PATIENCE_S) -> None:
        """Let the reactor run until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, f"not within {seconds} s: {what}")
            await deferLater(reactor, 0.05)


class SampleUserTest(AmiTest):
    """dialplan/manager.conf.sample has exactly the classes that are needed."""

    def setUp(self) -> None:
        """Give the lab the sample's user, and one user without each class."""
        super().setUp()
        sample = SAMPLE.read_text().partition("[pbxrouter]")[2].replace("CHANGE-ME", SECRET)
        users = {"sample": sample}
        for kind, taken in BREAKS:

            def without(found: re.Match[str], taken: str = taken) -> str:
                return found[1] + ",".join(part for part in found[2].split(",") if part != taken)

            users[f"no-{kind}-{taken}"] = re.sub(rf"(?m)^({kind} = )(.*)$", without, sample)
        conf = self.lab.run / "etc/manager.conf"
        if "[sample]" not in conf.read_text():
            with conf.open("a") as file:
                file.writelines(f"\n[{name}]{text}" for name, text in users.items())
        self.lab.cli("manager reload")
        time.sleep(0.2)

    async def works(self, manager: AMIConnection) -> set[str]:
        """The parts of the gateway that work for this user."""
        heard: set[str] = set()
        for name in ("Newchannel", "AsyncAGIStart", "FullyBooted"):
            manager.subscribe(name, lambda event: heard.add(event.name))
        uniqueid = f"{manager.new_id()}-1"
        done: set[str] = set()

        async def tried(what: str, waiting: Deferred[Any]) -> None:
            try:
                await waiting
            except ActionFailed as error:
                self.assertIn("ermission denied", str(error), what)
            else:
                done.add(what)

        self.lab.ami.action(
            "Originate",
            Channel="Local/21@magi-other/n",
            Application="Wait",
            Data="20",
            Async="true",
            ChannelId=uniqueid,
            OtherChannelId=uniqueid[:-1] + "2",
        )
        await deferLater(reactor, 0.5)
        command = [("Channel", uniqueid[:-1] + "2"), ("Command", "NOOP")]
        await tried("a MAGI call is commanded", manager.action("AGI", command))
        await tried(
            "the heartbeat is set", manager.action("Setvar", [("Variable", HEARTBEAT_VARIABLE), ("Value", "0")])
        )
        headers = [("Channel", "Local/busy@callee"), ("Application", "Wait"), ("Data", "1"), ("Async", "true")]
        await tried("a call is originated", manager.action("Originate", headers))
        await tried("the channels are listed", manager.action_list("CoreShowChannels"))
        if "Newchannel" in heard:
            done.add("a call's channels are heard of")
        if "AsyncAGIStart" in heard:
            done.add("a MAGI call is heard of")
        self.hang_up_all()
        return done

    async def test_sample(self) -> None:
        """With the sample's classes all parts work."""
        manager = await self.connected("sample")
        self.assertEqual(await self.works(manager), set(BREAKS.values()) - {BREAKS["read", "system"]})

    async def test_each_class(self) -> None:
        """Without a class exactly the parts that need it fail."""
        for (kind, taken), what in BREAKS.items():
            if taken == "system":
                continue  # see test_system
            manager = await self.connected(f"no-{kind}-{taken}")
            missing = set(BREAKS.values()) - await self.works(manager) - {BREAKS["read", "system"]}
            self.assertEqual(missing, {what}, f"{kind} = {taken}")
            await manager.stopService()
            wait_for("all channels gone", lambda: not self.lab.channels())

    async def test_system(self) -> None:
        """FullyBooted, which reports a boot, comes to the sample's user, and not without system."""
        for username, expected in (("sample", 1), ("no-read-system", 0)):
            heard: list[object] = []
            manager = self.connecting(username)
            manager.subscribe("FullyBooted", heard.append)
            await self.until("the connection", lambda manager=manager: manager.is_up)
            await deferLater(reactor, 0.5)
            self.assertEqual(len(heard), expected, username)

    async def test_access_list(self) -> None:
        """The login works only from the addresses that the sample permits, even with the secret."""
        await self.connected("sample")
        port = self.lab.base + 38
        manager = self.connecting("sample", f"tcp:127.0.0.1:{port}:bindAddress=127.0.0.3")
        await deferLater(reactor, 3)
        self.assertFalse(manager.is_up)


class ConnectionTest(AmiTest):
    """The connection to a real Asterisk's AMI."""

    async def test_tls(self) -> None:
        """By `tls:` with the certificate as trust root; without it the client refuses the connection."""
        trust = Path(tempfile.mkdtemp())
        (trust / "pbx.pem").write_bytes((self.lab.run / "etc/ami.crt").read_bytes())
        port = self.lab.base + 39
        manager = await self.connected("gateway", f"tls:localhost:{port}:trustRoots={trust}", "enero2007")
        self.assertTrue((await manager.action("Ping")).is_success)
        strict = self.connecting("gateway", f"tls:localhost:{port}", "enero2007")
        other = self.connecting("gateway", f"tls:example.org:{port}:trustRoots={trust}", "enero2007")
        await deferLater(reactor, 2)
        self.assertFalse(strict.is_up or other.is_up)

    async def test_plain(self) -> None:
        """The plain login, if configured."""
        where = f"tcp:127.0.0.1:{self.lab.base + 38}"
        manager = AMIConnection("lab", where, Account("gateway", lambda: "enero2007", plain=True), reactor)
        self.addCleanup(manager.stopService)
        manager.startService()
        await self.until("the connection", lambda: manager.is_up)

    async def test_output_lines(self) -> None:
        """A Command's output has one header for each line."""
        manager = await self.connected("fsl", secret="junio2006")
        answer = await manager.action("Command", [("Command", "core show version")])
        self.assertRegex(answer.all("Output")[0], r"^Asterisk [1-9][0-9]\.")

    async def test_frozen(self) -> None:
        """A frozen Asterisk is given up before the time-out of an action; resumed, it is reconnected."""
        manager = await self.connected("gateway", secret="enero2007")
        pid = int((self.lab.run / "asterisk.pid").read_text())
        os.kill(pid, signal.SIGSTOP)
        try:
            await deferLater(reactor, 0.3)  # until all its threads have stopped
            with self.assertRaises(ManagerUnavailable):
                await manager.action("CoreShowChannels", timeout_s=60)
            self.assertFalse(manager.is_up)
        finally:
            os.kill(pid, signal.SIGCONT)
        await self.until("the connection", lambda: manager.is_up)

    async def test_hundreds_in_flight(self) -> None:
        """Five hundred actions in flight each get their own response."""
        manager = await self.connected("gateway", secret="enero2007")
        for number in range(500):
            manager.action("Setvar", [("Variable", f"N{number}"), ("Value", str(number))])
        asked = [manager.action("Getvar", [("Variable", f"N{number}")]) for number in range(500)]
        for number, waiting in enumerate(asked):
            self.assertEqual((await waiting).get("Value"), str(number))
