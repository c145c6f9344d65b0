"""contrib/fail2ban: the filters find in our log the peers that they are for, and no others."""

from __future__ import annotations

import configparser
import io
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from unittest import SkipTest

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, capturedLogs, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import AGIRequest, Channel, DialogueWatch
from pbxrouter.call import PinGuard
from pbxrouter.call.pin_guard import PinSource
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
            """Serve a call; none comes."""

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

    def test_pins_of_several_asterisks(self) -> None:
        """With several Asterisks the lines end with the call's own, and are found in the same way."""
        guard = PinGuard(None, (), lambda: 1000.0, seconds=lambda: 1000.0, has_several=True)
        with capturedLogs() as events:
            for number in range(8):
                request = AGIRequest({"channel": f"PJSIP/33-0000001{number}", "callerid": "33"})
                source = PinSource(asterisk="the office")
                attempt = self.successResultOf(Deferred.fromCoroutine(guard.admit(request, 3, source)))
                guard.wrong(attempt, request, "192.0.2.1", "34")
        log = self.written(events)
        self.assertIn('locked out endpoint "the office:PJSIP/33" after', log)
        self.assertTrue(all(line.endswith(', asterisk "the office"') for line in log.splitlines()))
        found = found_by("pbxrouter-pins.conf", log)
        self.assertEqual((set(found), len(found)), ({"PJSIP/33"}, len(log.splitlines())))

    def test_what_callers_write(self) -> None:
        """No text of a caller hides a line, or makes the filters find another channel or address than the true one."""
        victim = "PJSIP/66-0000000a"
        line = f"PIN guard: wrong PIN from 203.0.113.9, channel {victim}, caller 66, number 34"
        odd = [
            "",
            " ",
            ",",
            '"',
            "\\",
            '\\"',
            '", caller 1, number 2',
            f", channel {victim}, caller 66, number 34",
            f'", channel {victim}, caller 66, number 34',
            f'\\", channel {victim}, caller 66, number 34',
            f"x\n2026-11-29T12:00:00+0000 [pbxrouter.call.pin_guard.PinGuard#info] {line}",
            f"x\u2028[pbxrouter.call.pin_guard.PinGuard#info] {line}",
            "x after wrong PINs from 203.0.113.9, channel PJSIP/66-0000000a, caller 1, number 2",
            "a,b",
            "\udcff",
        ]
        for text in odd:
            for channel in (f"PJSIP/{text}-0000001a", text):
                with self.subTest(channel=channel), capturedLogs() as events:
                    guard = PinGuard(None, (), lambda: 1000.0, seconds=lambda: 1000.0)
                    for _ in range(6):
                        request = AGIRequest({"channel": channel, "callerid": text})
                        attempt = self.successResultOf(Deferred.fromCoroutine(guard.admit(request, 3)))
                        guard.wrong(attempt, request, "192.0.2.1", text)
                log = self.written(events)
                found = found_by("pbxrouter-pins.conf", log)
                self.assertEqual((len(log.splitlines()), len(found), len(set(found))), (6, 6, 1), log)
                self.assertNotIn("PJSIP/66", found)
                self.assertEqual(set(found_by("pbxrouter-pin-peers.conf", log)), {"192.0.2.1"})
                self.assertEqual(found_by("pbxrouter.conf", log), [])

    def test_forged_uniqueid(self) -> None:
        """A Uniqueid that a program makes up cannot have another machine taken for a refused peer."""

        async def serve(channel: Channel) -> None:
            """Do nothing."""

        factory = FastAGIFactory(serve, Clock(), DialogueWatch(), Admission(Clock()))
        for uniqueid in (b"(unknown) from 203.0.113.9 refused:", b"(unknown)"):
            genuine = SimulatedCall("21", caller="33", uniqueid=uniqueid.decode()).environment()
            address = IPv4Address("TCP", "192.0.2.1", 1)
            with capturedLogs() as events:
                protocol = factory.buildProtocol(address)
                assert protocol is not None
                protocol.makeConnection(StringTransport(peerAddress=address))
                protocol.dataReceived(genuine.replace(b"agi_dnid", b"agi_callerid: 22\nagi_dnid"))
            log = self.written(events)
            self.assertIn(" refused: ", log)
            self.assertEqual(found_by("pbxrouter.conf", log), [])

    def test_forged_call(self) -> None:
        """A call whose channel Asterisk does not have is found by its peer."""
        log = (
            "2026-11-29T12:00:00+0000 [pbxrouter.call.flow.CallFlow#warn] "
            "PIN guard: refused a call from 198.51.100.7, whose channel Asterisk does not have\n"
        )
        self.assertEqual(found_by("pbxrouter.conf", log), ["198.51.100.7"])

    def test_debian(self) -> None:
        """Debian's fail2ban reads the filters as these tests do; skipped where it is not installed."""
        program = shutil.which("fail2ban-regex")
        if program is None:
            raise SkipTest("fail2ban is not installed")
        guard = PinGuard(None, (), lambda: 1000.0, seconds=lambda: 1000.0)
        with capturedLogs() as events:
            for channel in ("PJSIP/33-0000001a", "", 'a, "b"-0000001a'):
                for _ in range(6):
                    request = AGIRequest({"channel": channel, "callerid": f", channel x{channel}"})
                    attempt = self.successResultOf(Deferred.fromCoroutine(guard.admit(request, 3)))
                    guard.wrong(attempt, request, "192.0.2.1", "34")
        path = Path(self.mktemp())
        path.write_text(self.written(events))
        for name, count in (("pbxrouter-pins.conf", 18), ("pbxrouter-pin-peers.conf", 15), ("pbxrouter.conf", 0)):
            said = subprocess.run(
                [program, str(path.resolve()), str(FILTERS / name)], capture_output=True, text=True, check=False
            ).stdout
            self.assertIn(f"18 lines, 0 ignored, {count} matched", said)

    def written(self, events: Iterable[LogEvent]) -> str:
        """The text of a log file with these events."""
        file = io.StringIO()
        observer = textFileLogObserver(file)
        for event in events:
            observer(event)
        return file.getvalue()
