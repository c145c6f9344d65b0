"""Tests of the networks that limits count addresses by."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.security.networks import is_loopback, is_within, network_of, parse_network


class NetworkTests(SynchronousTestCase):
    """network_of gives the network of an address."""

    def test_networks(self) -> None:
        """The network is the /64 of an IPv6 address, and any other address itself."""
        for address, network in (
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
            ("unix", "unix"),
        ):
            self.assertEqual(network_of(address), network)

    def test_loopback(self) -> None:
        """Loopback is each address that stays on this machine, and what is no address."""
        for address in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "", "/run/pbxrouter.sock"):
            self.assertTrue(is_loopback(address), address)
        for address in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "::"):
            self.assertFalse(is_loopback(address), address)

    def test_parse(self) -> None:
        """Addresses and networks are parsed; IPv4-mapped ones become IPv4."""
        for text, network in (
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("2001:db8::/64", "2001:db8::/64"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::/0", "::/0"),
        ):
            self.assertEqual(str(parse_network(text)), network)
        for text in ("", "pbx.example.org", "192.0.2.7/24", "192.0.2.0/33", "192.0.2", "2001:db8::1/64", "1"):
            self.assertIsNone(parse_network(text), text)

    def test_within(self) -> None:
        """IPv4-mapped addresses count as IPv4; a text that is no address is in no network."""
        networks = [network for network in map(parse_network, ("192.0.2.0/24", "fe80::/10")) if network]
        for address in ("192.0.2.7", "::ffff:192.0.2.7", "fe80::1%eth0"):
            self.assertTrue(is_within(address, networks), address)
        for address in ("192.0.3.7", "2001:db8::1", "::192.0.2.7", "", "unix"):
            self.assertFalse(is_within(address, networks), address)
