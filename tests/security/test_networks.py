"""Whose an address is."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.security.networks import network_of


class NetworkTests(SynchronousTestCase):
    """network_of."""

    def test_networks(self) -> None:
        """Of IPv6 the half that is given out; of all else the address itself."""
        for address, network in (
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
            ("unix", "unix"),
        ):
            self.assertEqual(network_of(address), network)
