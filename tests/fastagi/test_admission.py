"""Which peers may connect, and how refused ones are counted and logged."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterable
from typing import cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.channel import Channel
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.agi.messages import AGIRequest, parse_request
from pbxrouter.errors import ConnectionClosed
from pbxrouter.fastagi.admission import FORGED_LINES, LOG_EVERY_S, MAX_PEERS, REASONS, Admission, bounds_of
from pbxrouter.fastagi.protocol import ENDING_TIMEOUT_S, OPENING_TIMEOUT_S
from pbxrouter.fastagi.refusal import DRAIN_S, STEP_S
from pbxrouter.fastagi.server import FastAGIFactory
from pbxrouter.net import Bounds
from pbxrouter.security import parse_network
from pbxrouter.simulator import SimulatedCall
from tests.fakes import AsteriskEnd, loud, request_of


def peer(host: str) -> IPv4Address | IPv6Address:
    """The address of a peer."""
    return IPv6Address("TCP", host, 1) if ":" in host else IPv4Address("TCP", host, 1)


def lines(events: Iterable[LogEvent]) -> list[str]:
    """The log lines of warnings."""
    return [event["log_format"].format(**event) for event in loud(events)]


class WaitedSocket:
    """A socket whose peer last sent data some milliseconds ago, as Linux tells it in struct tcp_info."""

    def __init__(self, milliseconds: int) -> None:
        self._info = bytes(52) + milliseconds.to_bytes(4, sys.byteorder)

    def setblocking(self, blocks: bool) -> None:
        """Do nothing."""

    def fileno(self) -> int:
        """It has no file descriptor."""
        return -1

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """The structure, as much of it as is asked for."""
        return self._info[:size]


class AdmissionCase(SynchronousTestCase):
    """An admission on a clock."""

    def setUp(self) -> None:
        """Create the clock."""
        self.clock = Clock()

    def allowing(self, *networks: str) -> Admission:
        """An admission of these networks."""
        found = [network for network in map(parse_network, networks) if network is not None]
        self.assertEqual(len(found), len(networks))
        return Admission(self.clock, found)


class AllowTests(AdmissionCase):
    """The setting fastagi.allow: which networks may connect."""

    def test_any(self) -> None:
        """Without networks every peer may connect."""
        for host in ("192.0.2.7", "2001:db8::1"):
            self.assertIsNotNone(self.allowing().enter(peer(host)))

    def test_networks(self) -> None:
        """IPv4, IPv6 and IPv4-mapped addresses, on either side."""
        allowed = self.allowing("192.0.2.0/29", "2001:db8::/64", "::ffff:198.51.100.0/120", "127.0.0.1")
        for host in (
            "192.0.2.7",
            "::ffff:192.0.2.7",
            "2001:db8::99",
            "198.51.100.3",
            "::ffff:198.51.100.3",
            "127.0.0.1",
        ):
            self.assertIsNotNone(allowed.enter(peer(host)), host)
        for host in ("192.0.2.8", "::ffff:192.0.2.8", "2001:db8:0:1::1", "::1", "198.51.101.1", "127.0.0.2"):
            self.assertIsNone(allowed.enter(peer(host)), host)
        self.assertEqual({reason for reason, count in allowed.refused.items() if count}, {"network"})
        self.assertEqual(allowed.refused["network"], 6)

    def test_unix_socket(self) -> None:
        """Peers on a Unix socket are admitted by the socket's file mode, not by networks."""
        for address in (UNIXAddress("/run/x"), UNIXAddress(None), None):
            self.assertIsNotNone(self.allowing("192.0.2.7").enter(address))

    def test_server(self) -> None:
        """A peer outside gets no protocol, which closes its connection at once; Asterisk gets one."""

        async def serve(channel: Channel) -> None:
            """Serve a call; none comes."""

        factory = FastAGIFactory(serve, self.clock, DialogueWatch(), self.allowing("192.0.2.1"))
        self.assertIsNone(factory.buildProtocol(peer("192.0.2.7")))
        self.assertIsNotNone(factory.buildProtocol(peer("192.0.2.1")))
        self.assertEqual(factory.admission.refused["network"], 1)


SECRET = "0123456789abcdef"


class ReconfigureTests(AdmissionCase):
    """Other settings for the connections and calls that come from now on."""

    def test_networks_and_bounds(self) -> None:
        """Other networks and bounds count for the next connection; those that are open stay."""
        admission = self.allowing("192.0.2.0/24")
        first = admission.enter(peer("192.0.2.7"))
        assert first is not None
        first.busy()
        networks = [network for network in map(parse_network, ["198.51.100.0/24"]) if network is not None]
        admission.reconfigure(networks, "", bounds_of(2, 1), 5)
        self.assertEqual(admission.reserve, 5)
        with capturedLogs():
            self.assertIsNone(admission.enter(peer("192.0.2.7")))
            second = admission.enter(peer("198.51.100.7"))
            assert second is not None
            second.busy()
            self.assertIsNone(admission.enter(peer("198.51.100.7")))
        first.release()
        second.release()

    def test_secret(self) -> None:
        """Another secret counts for the next call; an empty one lets all pass."""
        request = request_of(SimulatedCall("21", arguments=("secret=one",)))
        admission = Admission(self.clock, secret="one")
        self.assertTrue(admission.knows_secret(request, "192.0.2.7"))
        for secret, passes in (("two", False), ("", True), ("one", True)):
            admission.reconfigure([], secret, bounds_of(9, 9), 5)
            with capturedLogs():
                self.assertEqual(admission.knows_secret(request, "192.0.2.7"), passes)


class SecretTests(AdmissionCase):
    """The setting fastagi.secret_file: what each call must pass."""

    def setUp(self) -> None:
        """A server that wants a secret, and is watched."""
        super().setUp()
        self.served: list[str] = []
        self.watched: list[str] = []
        watch = DialogueWatch()
        watch.add(lambda line: self.watched.append(str(line)))
        self.factory = FastAGIFactory(self.serve, self.clock, watch, Admission(self.clock, secret=SECRET))

    async def serve(self, channel: Channel) -> None:
        """A conversation that ends at once."""
        self.served.append(channel.request.extension)

    def call(self, *arguments: str) -> list[str]:
        """A call with these arguments, whose connection is closed; returns the log lines."""
        protocol = self.factory.buildProtocol(peer("192.0.2.7"))
        assert protocol is not None
        asterisk = AsteriskEnd(protocol)
        with capturedLogs() as events:
            asterisk.says(SimulatedCall("21", caller="33", arguments=arguments).environment())
        self.assertEqual((asterisk.is_closed, asterisk.hears()), (True, b""))
        asterisk.goes()
        return lines(events)

    def test_right(self) -> None:
        """The first argument that begins with secret= counts, wherever it stands."""
        for arguments in ((f"secret={SECRET}",), ("", f"secret={SECRET}"), ("bounded", f"secret={SECRET}", "secret=x")):
            self.assertEqual(self.call(*arguments), [])
        self.assertEqual((self.served, self.factory.served), (["21"] * 3, 3))
        self.assertEqual(self.factory.admission.refused["secret"], 0)

    def test_wrong(self) -> None:
        """Without the secret, or with another, a call is closed at once, unserved; the log names its peer only."""
        (line,) = self.call()
        self.assertRegex(
            line, r"^fastagi: refused a call from [0-9.]+, which came without the secret of fastagi.secret_file$"
        )
        for number, wrong in enumerate(("", SECRET[:-1], SECRET + "0", SECRET.upper(), "\udcff"), 1):
            self.clock.advance(LOG_EVERY_S)
            (line,) = self.call(f"secret={wrong}", f"secret={SECRET}")
            self.assertIn("whose secret is not that of fastagi.secret_file", line)
            self.assertNotIn(SECRET[:-1], line)
            self.assertEqual(self.factory.admission.refused["secret"], 1 + number)
        self.assertEqual((self.served, self.factory.served, self.factory.open_calls), ([], 0, 0))

    def test_masked(self) -> None:
        """The dialogue and what the log says of a forged call do not show it, nor does the request's repr."""
        self.call("bounded", f"secret={SECRET}")
        self.assertIn("agi_arg_2: secret=***", "\n".join(self.watched))
        self.assertNotIn(SECRET, "\n".join(self.watched))
        block = SimulatedCall("21", arguments=(f"secret={SECRET}",)).environment()
        self.assertNotIn(SECRET, repr(parse_request(block.removesuffix(b"\n\n"))))
        for forged in (
            block.replace(b"agi_arg_1: ", b"agi_arg_2: "),
            block.replace(b"agi_threadid: ", b"agi_thread: "),
            b"arg: " + block[block.index(b"secret=") :],
            block.replace(b"agi_arg_1: ", b"agi_arg 1: "),
        ):
            protocol = self.factory.buildProtocol(peer("192.0.2.7"))
            assert protocol is not None
            with capturedLogs() as events:
                AsteriskEnd(protocol).says(forged)
            self.assertIn("refused: ", "".join(lines(events)))
            self.assertNotIn(SECRET, "".join(lines(events)))

    def test_none_wanted(self) -> None:
        """Without secret_file a call may bring one, or not."""
        self.factory.admission = Admission(self.clock)
        self.call()
        self.call("secret=x")
        self.assertEqual(self.served, ["21", "21"])

    def test_logged_once_a_minute(self) -> None:
        """Each reason has a line of its own for a peer, once a minute; a call is refused each time."""
        self.assertEqual(len(self.call()), 1)
        self.assertEqual(self.call("secret=x"), [])
        self.clock.advance(LOG_EVERY_S)
        self.assertIn("is not that of", self.call("secret=x")[0])
        with capturedLogs() as events:
            self.factory.admission.enter(peer("192.0.2.7"))
        self.assertEqual((lines(events), self.factory.admission.refused["secret"]), ([], 3))


class PlaceTests(AdmissionCase):
    """The settings fastagi.max_connections and fastagi.max_connections_per_peer."""

    def setUp(self) -> None:
        """A server for eight connections, six of one peer, whose calls do not end."""
        super().setUp()
        self.factory = FastAGIFactory(
            self.serve, self.clock, DialogueWatch(), Admission(self.clock, bounds=bounds_of(8, 6))
        )

    async def serve(self, channel: Channel) -> None:
        """A command that is not answered, until the connection is closed."""
        with contextlib.suppress(ConnectionClosed):
            await channel.execute("ANSWER")

    def connect(self, host: str) -> AsteriskEnd:
        """Open a connection from a host."""
        protocol = self.factory.buildProtocol(peer(host))
        assert protocol is not None
        return AsteriskEnd(protocol)

    def assert_busy(self, asterisk: AsteriskEnd) -> None:
        """Check that a connection is told that there is no slot, and then closed."""
        asterisk.says(SimulatedCall("21", caller="33").environment())
        self.assertEqual((asterisk.hears(), asterisk.is_closed), (b"SET VARIABLE PBXROUTER busy\n", False))
        asterisk.says(b"200 result=1\n")
        self.assertEqual((asterisk.hears(), asterisk.is_closed), (b"", True))
        asterisk.goes()

    def call(self, host: str) -> AsteriskEnd:
        """A connection that tells of a call, which is served."""
        asterisk = self.connect(host)
        asterisk.says(SimulatedCall("21", caller="33").environment())
        self.assertEqual(asterisk.hears(), b"ANSWER\n")
        return asterisk

    def test_calls(self) -> None:
        """Calls are bounded for a peer and in all; further ones are told so and closed, until one ends."""
        calls = [self.call("192.0.2.1") for _ in range(6)]
        with capturedLogs() as events:
            self.assert_busy(self.connect("192.0.2.1"))
        self.assertIn("192.0.2.1, which has as many open as fastagi.max_connections_per_peer allows", lines(events)[0])
        for _ in range(2):
            self.call("192.0.2.2")
        with capturedLogs() as events:
            self.assert_busy(self.connect("192.0.2.3"))
        self.assertIn("192.0.2.3: as many are open as fastagi.max_connections allows", lines(events)[0])
        calls[0].goes()
        self.call("192.0.2.3")
        self.assertEqual([call.is_closed for call in calls[1:]], [False] * 5)
        self.assertEqual((self.factory.admission.refused["peer"], self.factory.admission.refused["full"]), (1, 1))

    def test_bounds(self) -> None:
        """Half of the connections, of all and of one peer, may tell of nothing yet; at least one may."""
        self.assertEqual(bounds_of(8, 6), Bounds(8, 6, 4, 3))
        self.assertEqual(bounds_of(9, 7), Bounds(9, 7, 4, 3))
        self.assertEqual(bounds_of(1, 1), Bounds(1, 1, 1, 1))

    def test_reasons(self) -> None:
        """All reasons are counted from zero; without bounds no connection is refused."""
        self.assertEqual(REASONS, ("network", "secret", "full", "peer", "half-open", "late"))
        self.assertEqual(
            Admission(self.clock).refused,
            {"network": 0, "secret": 0, "full": 0, "peer": 0, "half-open": 0, "late": 0},
        )
        unbounded = Admission(self.clock)
        self.assertNotIn(None, [unbounded.enter(peer("192.0.2.7")) for _ in range(2000)])

    def test_late(self) -> None:
        """While the gateway is behind by more than three seconds, further connections are told that it is busy."""
        behind = [3.0]
        admission = Admission(self.clock, lateness=lambda: behind[0])
        self.factory = FastAGIFactory(self.serve, self.clock, DialogueWatch(), admission)
        self.call("192.0.2.1")
        behind[0] = 3.1
        with capturedLogs() as events:
            for _ in range(2):
                self.assert_busy(self.connect("192.0.2.1"))
        self.assertEqual(
            lines(events),
            ["fastagi: refused a connection from 192.0.2.1: the gateway is behind with its work"],
        )
        self.assertEqual(admission.refused["late"], 2)
        behind[0] = 0.0
        self.call("192.0.2.1")

    def test_waited(self) -> None:
        """A new connection may have waited a second; one that waited longer is refused, counted and logged."""
        admission = Admission(self.clock)
        for milliseconds, too_long in ((0, False), (1000, False), (1001, True), (60_000, True)):
            fake = cast(socket.socket, WaitedSocket(milliseconds))
            with capturedLogs() as events:
                transport = Connection(fake, Protocol(), MemoryReactorClock())
                transport.getPeer = lambda: peer("192.0.2.1")  # type: ignore[method-assign]
                self.assertEqual(admission.has_waited_too_long(transport), too_long)
            self.clock.advance(LOG_EVERY_S)
            line = "fastagi: refused a connection from 192.0.2.1: the gateway is behind with its work"
            self.assertEqual(lines(events), [line] * too_long)
        self.assertEqual(admission.refused["late"], 2)

    def test_waited_too_long(self) -> None:
        """A connection that waited for longer than a second to be accepted is told that the gateway is busy."""
        waited = []

        class Late(Admission):
            """An admission that is asked about each new connection."""

            def has_waited_too_long(self, transport: object) -> bool:
                """Yes, of the second one."""
                waited.append(transport)
                return len(waited) == 2

        self.factory = FastAGIFactory(self.serve, self.clock, DialogueWatch(), Late(self.clock))
        self.call("192.0.2.1")
        self.assert_busy(self.connect("192.0.2.1"))
        self.call("192.0.2.1")
        self.assertEqual((len(waited), self.factory.served), (3, 2))

    def test_silent_addresses(self) -> None:
        """Many addresses that send nothing, one connection each, take no slot of the connected Asterisk's."""
        self.factory = FastAGIFactory(
            self.serve,
            self.clock,
            DialogueWatch(),
            Admission(self.clock, bounds=bounds_of(8, 6), trusted=lambda: ["192.0.2.1"]),
        )
        for number in range(1, 200):
            self.connect(f"198.51.100.{number}")
        for _ in range(6):
            self.call("192.0.2.1")
        ours = [self.connect("192.0.2.1") for _ in range(2)]
        self.assertEqual([end.hears() for end in ours], [b"SET VARIABLE PBXROUTER busy\n"] * 2)  # it has its six
        for number in range(1, 200):
            self.connect(f"198.51.100.{number}")
        self.assertEqual(self.factory.served, 6)

    def test_proven_by_the_secret(self) -> None:
        """A peer that has passed the secret goes before those that have not."""
        secret = "0123456789abcdef"
        self.factory = FastAGIFactory(
            self.serve, self.clock, DialogueWatch(), Admission(self.clock, secret=secret, bounds=bounds_of(8, 6))
        )
        asterisk = self.connect("192.168.1.1")
        asterisk.says(SimulatedCall("21", caller="33", arguments=(f"secret={secret}",)).environment())
        waiting = [self.connect("192.168.1.1") for _ in range(3)]
        strangers = [self.connect(f"192.0.2.{number}") for number in (9, 10, 11, 9)]
        self.assertEqual([end.hears() for end in waiting], [b""] * 3)
        self.assertEqual([bool(end.hears()) for end in strangers], [True, True, True, False])

    def test_unix_sockets(self) -> None:
        """Connections over Unix sockets are bounded as those of one peer, and called so in the log."""
        admission = Admission(self.clock, bounds=bounds_of(8, 2))
        for _ in range(2):
            place = admission.enter(UNIXAddress(None))
            assert place is not None
            place.busy()
        with capturedLogs() as events:
            self.assertIsNone(admission.enter(UNIXAddress(None)))
        self.assertIn("from a Unix socket, which has as many open", lines(events)[0])

    def test_networks_of_peers(self) -> None:
        """An IPv6 /64 is one peer."""
        admission = Admission(self.clock, bounds=bounds_of(8, 2))
        for host in ("2001:db8::1", "2001:db8::2"):
            place = admission.enter(peer(host))
            assert place is not None
            place.busy()
        self.assertIsNone(admission.enter(peer("2001:db8::3")))
        self.assertIsNotNone(admission.enter(peer("2001:db8:0:1::3")))

    def test_strangers(self) -> None:
        """Connections that tell of nothing take three places of a peer; calls, also from there, are served."""
        self.call("192.0.2.1")
        with capturedLogs() as events:
            flood = [self.connect("192.0.2.7") for _ in range(50)]
            # The latest 32 of the others are in the reserve, to be told; the rest is closed at once.
            self.assertEqual([end for end in flood if not end.is_aborted], flood[-3 - 32 :])
            self.clock.advance(STEP_S)
        self.assertEqual([end for end in flood if not end.is_aborted and not end.is_closed], flood[-3:])
        self.assertEqual(
            lines(events),
            ["fastagi: closed a connection from 192.0.2.7, which sent no opening block while another needed its place"],
        )
        self.assertEqual(self.factory.admission.refused["half-open"], 47)
        for host in ("192.0.2.1", "192.0.2.7", "192.0.2.1", "192.0.2.7"):
            self.call(host)
        self.assertEqual(self.factory.served, 5)

    def test_turned_away(self) -> None:
        """A connection that gives way is told so: Asterisk, whose words were late, sends no call to the fallback."""
        first = self.connect("192.0.2.7")
        for _ in range(3):
            self.connect("192.0.2.7")
        self.assert_busy(first)
        self.assertEqual(self.factory.admission.refused["half-open"], 1)

    def test_turned_away_while_refused(self) -> None:
        """A forged call whose slot is given to another is still marked and hung up, and the log has no failure."""
        with capturedLogs() as events:
            forged = self.connect("192.0.2.7")
            forged.says(
                SimulatedCall("21", caller="33").environment().replace(b"agi_dnid", b"agi_callerid: 22\nagi_dnid")
            )
            for _ in range(3):
                self.connect("192.0.2.7")
            self.assertEqual(self.factory.admission.refused["half-open"], 1)
            self.assertEqual(self.factory.open_calls, 3)
            self.clock.advance(DRAIN_S)
            self.assertEqual(forged.hears(), b"SET VARIABLE PBXROUTER refused\n")
            forged.says(b"200 result=1\n")
            self.assertEqual(forged.hears(), b"HANGUP\n")
            forged.says(b"200 result=1\n")
        self.assertEqual((forged.is_closed, forged.is_aborted), (True, False))
        forged.goes()
        self.assertEqual([event for event in events if event["log_level"] > LogLevel.warn], [])

    def test_turned_away_while_refused_by_many(self) -> None:
        """A forged call is marked also where so many are turned away that the reserve has no room for it."""
        refusals: list[tuple[str, str, str]] = []
        self.factory = FastAGIFactory(
            self.serve,
            self.clock,
            DialogueWatch(),
            Admission(self.clock, bounds=bounds_of(8, 2), reserve=1),
            lambda request, violation: refusals.append((request.channel, request.uniqueid, violation.peer)),
        )
        calls = [SimulatedCall("21", caller="33", uniqueid=f"1795.{number}") for number in range(4)]
        ends = []
        for call in calls:
            ends.append(self.connect("192.0.2.7"))
            ends[-1].says(call.environment().replace(b"agi_dnid", b"agi_callerid: 22\nagi_dnid"))
        self.assertEqual([end.is_aborted for end in ends], [True, True, False, False])
        self.assertEqual([end.hears() for end in ends], [b"SET VARIABLE PBXROUTER refused\n"] * 3 + [b""])
        self.assertEqual(refusals, [("PJSIP/33-00000001", call.uniqueid, "192.168.1.1") for call in calls])

    def test_turned_away_late(self) -> None:
        """A connection that gives way just before its ten seconds are over is closed without a log line."""
        first = self.connect("192.0.2.7")
        self.clock.advance(OPENING_TIMEOUT_S - 0.1)
        for _ in range(3):
            self.connect("192.0.2.7")
        self.assertEqual(self.factory.open_calls, 3)
        with capturedLogs() as events:
            self.clock.advance(0.2)
            self.assertEqual((first.hears(), first.is_closed), (b"SET VARIABLE PBXROUTER busy\n", False))
            self.clock.advance(STEP_S)
        self.assertEqual((first.is_closed, first.is_aborted), (True, False))
        self.assertEqual(lines(events), [])

    def test_turned_away_while_closing(self) -> None:
        """A connection that is being closed, and whose slot is given to another, is told nothing more."""
        first = self.connect("192.0.2.7")
        self.clock.advance(OPENING_TIMEOUT_S)
        self.assertTrue(first.is_closed)
        for _ in range(3):
            self.connect("192.0.2.7")
        self.assertEqual((self.factory.admission.refused["half-open"], self.factory.open_calls), (1, 3))
        self.clock.advance(STEP_S)
        self.assertEqual((first.hears(), first.is_aborted), (b"", False))
        first.goes()
        self.assertEqual(self.factory.open_calls, 3)

    def test_stop(self) -> None:
        """When the server stops, connections that are being told that there is no slot are closed at once."""
        calls = [self.call("192.0.2.1") for _ in range(6)]
        further = self.connect("192.0.2.1")
        drained = self.factory.drain()
        self.assertEqual((further.is_aborted, [call.is_closed for call in calls]), (True, [False] * 6))
        further.goes()
        self.assertNoResult(drained)
        for call in calls:
            call.goes()
        self.successResultOf(drained)

    def test_closed(self) -> None:
        """A connection that was closed to make room leaves nothing."""
        first = self.connect("192.0.2.7")
        for _ in range(3):
            self.connect("192.0.2.7")
        self.clock.pump([STEP_S, ENDING_TIMEOUT_S])
        self.assertTrue(first.is_aborted)
        first.goes()
        self.assertEqual(self.factory.open_calls, 3)

    def test_few_lines(self) -> None:
        """Connections that tell of no call are logged once a minute for each peer, however many they are."""

        def flood() -> list[str]:
            """Connections that end, that send something else, that stay silent; returns all log lines."""
            with capturedLogs() as events:
                for _ in range(20):
                    self.connect("192.0.2.7").goes()
                for _ in range(20):
                    other = self.connect("192.0.2.7")
                    other.says(b"GET / HTTP/1.0\r\n\r\n")
                    other.goes()
                silent = [self.connect("192.0.2.7") for _ in range(3)]
                self.clock.advance(OPENING_TIMEOUT_S)
                for asterisk in silent:
                    asterisk.goes()
            return [event["log_format"].format(**event) for event in events]

        found = flood()
        self.assertEqual(len(found), 3, found)
        self.assertIn("ended before its opening block", found[0])
        self.assertIn("call (unknown) from ", found[1])
        self.assertIn("sent no opening block", found[2])
        self.assertEqual(flood(), [])
        self.clock.advance(LOG_EVERY_S)
        self.assertEqual(len(flood()), 3)

    def test_few_lines_about_forged_calls(self) -> None:
        """Of forged calls of one peer the first are logged each, and one a minute after those; all are counted."""
        block = SimulatedCall("21", caller="33", uniqueid="1795.7").environment()
        block = block.replace(b"agi_dnid", b"agi_callerid: 22\nagi_dnid")

        def flood(calls: int) -> int:
            """Send so many; returns the number of log lines."""
            with capturedLogs() as events:
                for _ in range(calls):
                    forged = self.connect("192.0.2.7")
                    forged.says(block)
                    forged.goes()
            return len([event for event in events if "refused: " in str(event["log_format"])])

        self.assertEqual(flood(FORGED_LINES + 20), FORGED_LINES)
        self.clock.advance(LOG_EVERY_S)
        self.assertEqual(flood(20), 1)


class LogTests(AdmissionCase):
    """The log lines of refused connections."""

    def refuse(self, allowed: Admission, *hosts: str) -> list[str]:
        """Refuse these connections; returns the log lines."""
        with capturedLogs() as events:
            for host in hosts:
                self.assertIsNone(allowed.enter(peer(host)))
        return lines(events)

    def test_once_a_minute(self) -> None:
        """Each peer is named once a minute; all connections are counted."""
        allowed = self.allowing("192.0.2.1")
        line = "fastagi: refused a connection from {}, which is not in fastagi.allow"
        self.assertEqual(
            self.refuse(allowed, "192.0.2.7", "192.0.2.7", "192.0.2.8", "192.0.2.7"),
            [line.format("192.0.2.7"), line.format("192.0.2.8")],
        )
        self.clock.advance(59.5)
        self.assertEqual(self.refuse(allowed, "192.0.2.7"), [])
        self.clock.advance(0.5)
        self.assertEqual(self.refuse(allowed, "192.0.2.7"), [line.format("192.0.2.7")])
        self.assertEqual(allowed.refused["network"], 6)

    def test_minute_of_each_peer(self) -> None:
        """Each peer's minute begins with its own line."""
        allowed = self.allowing("192.0.2.1")
        self.refuse(allowed, "192.0.2.7")
        self.clock.advance(LOG_EVERY_S / 2)
        self.refuse(allowed, "192.0.2.8")
        self.clock.advance(LOG_EVERY_S / 2)
        self.assertEqual(len(self.refuse(allowed, "192.0.2.8", "192.0.2.7", "192.0.2.8", "192.0.2.7")), 1)
        self.clock.advance(LOG_EVERY_S / 2)
        self.assertEqual(len(self.refuse(allowed, "192.0.2.7", "192.0.2.8")), 1)

    def test_minute_of_each_reason(self) -> None:
        """A peer that is refused for two reasons has a line for each, and each has a minute of its own."""
        allowed = Admission(self.clock, secret=SECRET, bounds=bounds_of(8, 1))
        slot = allowed.enter(peer("192.0.2.7"))
        assert slot is not None
        slot.busy()
        nameless = AGIRequest({})
        with capturedLogs() as events:
            for _ in range(2):
                self.assertIsNone(allowed.enter(peer("192.0.2.7")))
                self.assertFalse(allowed.knows_secret(nameless, "192.0.2.7"))
        first, second = lines(events)
        self.assertIn("as many open as fastagi.max_connections_per_peer allows", first)
        self.assertIn("came without the secret", second)
        self.assertEqual((allowed.refused["peer"], allowed.refused["secret"]), (2, 2))

    def test_many_peers(self) -> None:
        """An IPv6 /64 is one peer; very many peers are not all named, nor remembered, until a minute is over."""
        allowed = self.allowing("192.0.2.1")
        self.assertEqual(len(self.refuse(allowed, "2001:db8::1", "2001:db8::2")), 1)
        hosts = [f"10.0.{number >> 8}.{number & 255}" for number in range(MAX_PEERS + 50)]
        self.assertEqual(len(self.refuse(allowed, *hosts)), 1023)
        self.clock.advance(LOG_EVERY_S)
        self.assertEqual(len(self.refuse(allowed, hosts[-1])), 1)
        self.assertEqual(allowed.refused["network"], MAX_PEERS + 53)
