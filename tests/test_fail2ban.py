"""contrib/fail2ban: the filters find in our log the peers that they are for, and no others."""

from __future__ import annotations

import configparser
import io
import re
from collections.abc import Iterable
from pathlib import Path

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, capturedLogs, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import AGIRequest, Channel, DialogueWatch
from pbxrouter.call import PinGuard
from pbxrouter.fastagi import Admission, FastAGIFactory, bounds_of
from pbxrouter.security import parse_network
from pbxrouter.simulator import SimulatedCall

FILTERS = Path(__file__).parent.parent / "contrib" / "fail2ban"
SECRET = "0123456789abcdef"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}")


def found_by(name: str, log: str) -> list[str]:
    """The addresses or names that a filter finds in a log, as fail2ban reads it: without the time."""
    parser = configparser.ConfigParser()
    parser.read(FILTERS / name)
    patterns = [
        re.compile(line.replace("<HOST>", r"(?P<id>[0-9a-f.:]+)").replace("<F-ID>", "(?P<id>").replace("</F-ID>", ")"))
        for line in parser["Definition"]["failregex"].split("\n")
    ]
    lines = [TIME.sub("", line) for line in log.splitlines() if TIME.match(line)]
    return [found["id"] for line in lines for pattern in patterns if (found := pattern.search(line))]


class FilterTests(SynchronousTestCase):
    """The filters of contrib/fail2ban."""

    def test_peers(self) -> None:
        """Refused peers are found; an Asterisk that passes a forged call on is not."""

        async def serve(channel: Channel) -> None:
            """Do nothing."""

        network = parse_network("192.0.2.0/24")
        assert network is not None
        clock = Clock()
        admission = Admission(clock, [network], SECRET, bounds_of(8, 6))
        factory = FastAGIFactory(serve, clock, DialogueWatch(), admission)

        def connect(host: str, says: bytes) -> None:
            """Open a connection that sends something."""
            address = IPv4Address("TCP", host, 1)
            protocol = factory.buildProtocol(address)
            if protocol is not None:
                protocol.makeConnection(StringTransport(peerAddress=address))
                protocol.dataReceived(says)

        genuine = SimulatedCall("21", caller="33", arguments=(f"secret={SECRET}",)).environment()
        with capturedLogs() as events:
            connect("198.51.100.7", b"")
            connect("192.0.2.8", SimulatedCall("21", caller="33").environment())
            connect("192.0.2.9", SimulatedCall("21", caller="33", arguments=("secret=x",)).environment())
            connect("192.0.2.11", b"GET / HTTP/1.0\n\n")
            connect("192.0.2.1", genuine.replace(b"agi_dnid", b"agi_callerid: 22\nagi_dnid"))
            connect("192.0.2.1", genuine)
            for _ in range(4):
                connect("192.0.2.10", b"")
        self.assertEqual(
            found_by("pbxrouter.conf", self.written(events)),
            ["198.51.100.7", "192.0.2.8", "192.0.2.9", "192.0.2.11", "192.0.2.10"],
        )
        self.assertEqual(found_by("pbxrouter-pins.conf", self.written(events)), [])

    def test_pins(self) -> None:
        """Wrong PINs and lock-outs are found by the endpoint, without the serial number of its channel."""
        guard = PinGuard(None, (), lambda: 1000.0, seconds=lambda: 1000.0)
        with capturedLogs() as events:
            for number in range(8):
                request = AGIRequest({"channel": f"PJSIP/33-0000001{number}", "callerid": "33"})
                attempt = self.successResultOf(Deferred.fromCoroutine(guard.admit(request, 3)))
                guard.wrong(attempt, request, "192.0.2.1", "34")
        log = self.written(events)
        self.assertIn("locked out", log)
        found = found_by("pbxrouter-pins.conf", log)
        self.assertEqual((set(found), len(found)), ({"PJSIP/33"}, len(log.splitlines())))
        self.assertEqual(found_by("pbxrouter.conf", log), [])

    def written(self, events: Iterable[LogEvent]) -> str:
        """The text of a log file with these events."""
        file = io.StringIO()
        observer = textFileLogObserver(file)
        for event in events:
            observer(event)
        return file.getvalue()
