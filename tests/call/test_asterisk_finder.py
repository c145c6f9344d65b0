"""AsteriskFinder: from which Asterisk a call came."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import AGIRequest, Channel
from pbxrouter.call import AsteriskFinder
from pbxrouter.call.asterisk_finder import HERE, address_of
from pbxrouter.simulator import SimulatedCall
from tests.fakes import request_of

REQUEST = request_of(SimulatedCall("21", caller="33"))


@dataclass
class Call:
    """The channel of a call by FastAGI, or with ``asterisk`` by MAGI."""

    peer: str
    arguments: tuple[str, ...] = ()
    asterisk: str = ""
    request: AGIRequest = field(init=False)

    def __post_init__(self) -> None:
        self.request = replace(REQUEST, arguments=self.arguments)


class FinderTests(SynchronousTestCase):
    """AsteriskFinder with an Asterisk on this machine, one at an address, and one with a name."""

    def setUp(self) -> None:
        """None is connected yet."""
        self.clock = Clock()
        self.simulated = False
        self.hosts = {"here": "localhost", "madrid": "192.0.2.7", "lima": "pbx.example.org"}
        self.finder = AsteriskFinder(self.hosts, self.clock.seconds, lambda channel: self.simulated)

    def of(self, peer: str, *arguments: str, asterisk: str = "") -> str:
        """The Asterisk of a call from a peer."""
        return self.finder.of(cast(Channel, Call(peer, arguments, asterisk)))

    def complaints(self, *calls: tuple[str, str]) -> list[str]:
        """What is logged about calls."""
        with capturedLogs() as logs:
            for peer, argument in calls:
                self.of(peer, argument)
        return [cast(Any, event["log_format"]).format_map(event) for event in logs]

    def test_by_the_address(self) -> None:
        """The peer's address tells it; every spelling of the loopback, and a Unix socket, is this machine."""
        for peer in ("127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1", ""):
            self.assertEqual(self.of(peer), "here", peer)
        self.assertEqual(self.of("192.0.2.7"), "madrid")
        self.assertEqual(self.of("::ffff:192.0.2.7"), "madrid")
        self.assertEqual(self.of("192.0.2.8"), "")

    def test_by_the_connection(self) -> None:
        """A host that has a name is known by the last address that AMI was connected to."""
        self.assertEqual(self.of("192.0.2.9"), "")
        for peer in ("192.0.2.9", "::ffff:192.0.2.9"):
            self.finder.connected("lima", peer)
            self.assertEqual(self.of("192.0.2.9"), "lima")
        self.finder.connected("lima", "192.0.2.10")
        self.assertEqual((self.of("192.0.2.9"), self.of("192.0.2.10")), ("", "lima"))

    def test_other_settings(self) -> None:
        """Other hosts count from the next call on; an Asterisk that is added needs a restart."""
        self.finder.set_hosts({"here": "192.0.2.20", "madrid": "192.0.2.7", "lima": "", "new": "192.0.2.30"})
        self.assertEqual([self.of(peer) for peer in ("192.0.2.20", "127.0.0.1", "192.0.2.30")], ["here", "", ""])

    def test_an_address_that_moves(self) -> None:
        """An address that another Asterisk is connected at now is no longer the earlier one's, but for the settings."""
        self.finder.connected("lima", "192.0.2.9")
        self.finder.connected("here", "192.0.2.9")
        self.assertEqual(self.of("192.0.2.9"), "here")
        self.finder.connected("lima", "192.0.2.7")  # that of madrid in the settings
        self.assertEqual(self.of("192.0.2.7"), "")
        self.finder.connected("madrid", "192.0.2.7")
        self.assertEqual(self.of("192.0.2.7"), "madrid")
        self.finder.connected("lima", "127.0.0.1")  # two on this machine
        self.finder.connected("here", "127.0.0.1")
        self.assertEqual((self.of("127.0.0.1"), self.of("127.0.0.1", "asterisk=lima")), ("", "lima"))

    def test_several_at_an_address(self) -> None:
        """Of several at one address the dialplan must say which it is; otherwise it is not known."""
        finder = AsteriskFinder({"a": "127.0.0.1", "b": "127.0.0.1", "c": "192.0.2.7"}, self.clock.seconds)
        self.assertEqual(finder.of(cast(Channel, Call("127.0.0.1"))), "")
        self.assertEqual(finder.of(cast(Channel, Call("127.0.0.1", ("asterisk=b",)))), "b")
        self.assertEqual(finder.of(cast(Channel, Call("127.0.0.1", ("secret=x", "asterisk=a")))), "a")
        self.assertEqual(finder.of(cast(Channel, Call("127.0.0.1", ("asterisk=c",)))), "")

    def test_by_the_dialplan(self) -> None:
        """The argument tells it where no Asterisk has the address; against another's address it is not believed."""
        self.assertEqual(self.of("192.0.2.8", "asterisk=madrid"), "madrid")
        self.assertEqual(self.of("127.0.0.1", "asterisk=madrid"), "")
        self.assertEqual(self.of("192.0.2.7", "asterisk=madrid"), "madrid")

    def test_a_name_that_is_not_there(self) -> None:
        """A name that the settings lack counts as none: the address decides."""
        self.assertEqual(self.of("192.0.2.8", "asterisk=quito"), "")
        self.assertEqual(self.of("192.0.2.7", "asterisk=quito"), "madrid")
        self.assertEqual(self.of("192.0.2.7", "asterisk="), "madrid")

    def test_by_magi(self) -> None:
        """A call over AMI is that connection's, whatever the dialplan says."""
        self.assertEqual(self.of("", "asterisk=madrid", asterisk="lima"), "lima")

    def test_simulated(self) -> None:
        """A call of the command line comes from no Asterisk, but the one that it names."""
        self.simulated = True
        self.assertEqual((self.of("127.0.0.1"), self.of("127.0.0.1", "asterisk=madrid")), ("", "madrid"))

    def test_what_is_logged(self) -> None:
        """A dialplan with a wrong name is told of once a minute, with its address."""
        calls = [("192.0.2.8", "asterisk=quito"), ("127.0.0.1", "asterisk=madrid"), ("192.0.2.8", "asterisk=q\n")]
        self.assertEqual(
            self.complaints(*calls, *calls),
            [
                "calls: 192.0.2.8 says asterisk=quito, and no [[asterisk]] in the settings has that name: correct"
                " PBXROUTER_ASTERISK there",
                "calls: 127.0.0.1 says asterisk=madrid, and has the address of another [[asterisk]]: correct"
                " PBXROUTER_ASTERISK there",
            ],
        )
        self.clock.advance(60)
        self.assertEqual(len(self.complaints(*calls)), 2)

    def test_addresses(self) -> None:
        """Each address has one form."""
        self.assertEqual(
            [address_of(peer) for peer in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8:0::1", "::1", "")],
            ["192.0.2.7", "192.0.2.7", "2001:db8::1", HERE, HERE],
        )
