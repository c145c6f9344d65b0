"""How Asterisk takes the service records of hagi:// (docs/dialplan.md): which gateway gets a call."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from pathlib import Path

from twisted.trial import unittest

from tests import needs
from tests.asterisk.harness import ASTERISK_ROOT, why_not
from tests.asterisk.hosts import network
from tests.asterisk.hosts.dns import SRV, NameServer, Service
from tests.asterisk.hosts.network import Host, Network
from tests.asterisk.hosts.site import SiteAsterisk
from tests.needs import PATIENCE_S
from tests.waiting import wait_for

PORT = 4573
NAME = "_agi._tcp.gateways.example"
RESOLVER = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"


class Server:
    """A FastAGI server on a host that closes each connection, or with ``is_silent`` keeps it."""

    def __init__(self, host: Host, *, is_silent: bool = False) -> None:
        self.calls = 0
        self._is_silent = is_silent
        self._kept: list[socket.socket] = []
        with host.entered():
            self._server = socket.create_server(("0.0.0.0", PORT))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.calls += 1
            if self._is_silent:
                self._kept.append(connection)
                continue
            with connection, connection.makefile("rb") as stream:
                while stream.readline().strip():
                    pass

    def close(self) -> None:
        """Stop, and close what was kept."""
        with contextlib.suppress(OSError):  # it is closed already
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self._kept:
            connection.close()


class HagiTest(unittest.TestCase):
    """An Asterisk with a name server of its own."""

    timeout = 5 * PATIENCE_S

    def setUp(self) -> None:
        """Start hosts, name server and Asterisk."""
        if reason := why_not() or network.why_not():
            needs.missing(reason)
        self.network = Network("pbx", "down", "one", "two", "frozen")
        self.addCleanup(self.network.close)
        hosts = self.network.hosts
        folder = tempfile.TemporaryDirectory(prefix="pbxrouter-")
        self.addCleanup(folder.cleanup)
        resolver = Path(folder.name) / "resolv.conf"
        resolver.write_text(RESOLVER)
        with hosts["pbx"].entered():
            port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            port.bind(("127.0.0.1", 53))
        addresses = {f"{name}.example": host.address for name, host in hosts.items()}
        self.records: dict[str, list[Service]] = {}
        self.names = NameServer(port, addresses, self.records)
        self.addCleanup(self.names.close)
        self.servers = {name: Server(hosts[name], is_silent=name == "frozen") for name in ("one", "two", "frozen")}
        for server in self.servers.values():
            self.addCleanup(server.close)
        self.asterisk = SiteAsterisk(hosts["pbx"])
        mount = f'mount --bind "{resolver}" "{ASTERISK_ROOT}/etc/resolv.conf" && exec "$@"'
        self.asterisk.setup = ["sh", "-c", mount, "sh"]  # seen by what runs on this host alone
        self.addCleanup(self.asterisk.stop)
        self.asterisk.start()

    def _call(self, name: str = "gateways.example") -> None:
        """Have a channel ask hagi:// once."""
        headers = {"Application": "AGI", "Data": f"hagi://{name}/x"}
        self.asterisk.ami.originate("Local/answer@callee/n", **headers)

    def _goes_to(self, *records: Service) -> str:
        """Which server a call goes to with these records."""
        self.records[NAME] = list(records)
        before = {name: server.calls for name, server in self.servers.items()}
        self._call()

        def found() -> list[str]:
            return [name for name, server in self.servers.items() if server.calls > before[name]]

        wait_for("the call", found)
        wait_for("its end", lambda: found() == ["frozen"] or not self.asterisk.channels())
        (server,) = found()
        return server

    def _said(self, text: str) -> bool:
        return any(text in line for line in self.asterisk.log())

    def test_next_record(self) -> None:
        """The next record is tried after a refusal, without an answer, and without an address."""
        then = Service(20, 0, PORT, "one.example")
        self.assertEqual(self._goes_to(Service(10, 0, PORT, "down.example"), then), "one")
        self.network.order("down", "cut")
        self.assertEqual(self._goes_to(Service(10, 0, PORT, "down.example"), then), "one")
        self.assertTrue(self._said("timed out after MAX_AGI_CONNECT"))
        self.assertEqual(self._goes_to(Service(10, 0, PORT, "nobody.example"), then), "one")
        self.assertEqual(self._goes_to(then, Service(10, 0, PORT, "two.example")), "two")

    def test_frozen(self) -> None:
        """A target that accepts the connection and is silent is kept; no further record is tried."""
        asked = len(self.names.asked)
        records = (Service(10, 0, PORT, "frozen.example"), Service(20, 0, PORT, "one.example"))
        self.assertEqual(self._goes_to(*records), "frozen")
        self.assertNotIn("one.example", [name for name, _ in self.names.asked[asked:]])
        self.servers["frozen"].close()
        wait_for("its end", lambda: not self.asterisk.channels())
        self.assertEqual(self.servers["one"].calls, 0)

    def test_equal_records(self) -> None:
        """Of two records with the same priority and weight all calls go to one."""
        records = (Service(10, 50, PORT, "one.example"), Service(10, 50, PORT, "two.example"))
        self.assertEqual(len({self._goes_to(*records) for _ in range(10)}), 1)

    def test_no_records(self) -> None:
        """Without service records the call fails; the name's own address is not tried."""
        self._call("one.example")
        wait_for("the failure", lambda: self._said("SRV lookup failed for hagi://one.example/x"))
        self.assertIn(("_agi._tcp.one.example", SRV), self.names.asked)
        self.assertEqual(self.servers["one"].calls, 0)
