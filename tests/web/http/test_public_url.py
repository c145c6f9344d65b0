"""The public address of the console."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import ConfigError
from pbxrouter.web.http.public_url import (
    base_url,
    check_url,
    click_url,
    is_open_without_tls,
    setup_url,
)


class AddressTests(SynchronousTestCase):
    """The public address, from [web] url and listen."""

    def test_from_the_endpoint(self) -> None:
        """Scheme, host and port of the endpoint."""
        for listen, url in (
            ("tcp:8080:interface=127.0.0.1", "http://127.0.0.1:8080"),
            ("tcp:port=80", "http://localhost"),
            ("tcp:8080:interface=0.0.0.0", "http://localhost:8080"),
            ("tcp6:8080:interface=\\:\\:1", "http://[::1]:8080"),
            ("ssl:443:privateKey=k.pem", "https://localhost"),
            ("tls:/etc/pbxrouter/certs:8443:interface=192.0.2.1", "https://192.0.2.1:8443"),
            ("tls:/etc/pbxrouter/certs", "https://localhost"),
            ("unix:/run/pbxrouter.sock", "http://localhost"),
        ):
            self.assertEqual(base_url("", listen), url, listen)

    def test_as_configured(self) -> None:
        """The configured url takes precedence."""
        self.assertEqual(base_url("https://pbx.example.org/", "tcp:80"), "https://pbx.example.org")
        self.assertEqual(setup_url("https://pbx.example.org", "abc"), "https://pbx.example.org/setup/abc")

    def test_open_without_tls(self) -> None:
        """Loopback, an https proxy and TLS endpoints cause no warning."""
        for url, listen, open_ in (
            ("", "tcp:8080:interface=127.0.0.1", False),
            ("", "tcp6:8080:interface=\\:\\:1", False),
            ("", "unix:/run/x.sock", False),
            ("", "tls:/etc/certs:443", False),
            ("https://pbx.example.org", "tcp:8080", False),
            ("", "tcp:8080", True),
            ("http://pbx.example.org", "tcp:8080:interface=192.0.2.1", True),
        ):
            self.assertEqual(is_open_without_tls(url, listen), open_, listen)

    def test_a_port_that_is_none(self) -> None:
        """An invalid port: one line that names the setting."""
        check_url("https://pbx.example.org:8443")
        self.assertIn("web.url", str(self.assertRaises(ConfigError, check_url, "http://pbx:99999")))

    def test_click_to_dial(self) -> None:
        """The address has the link's number and its signature."""
        self.assertEqual(
            click_url("https://pbx.example.org", 7, "1.2.a-_"), "https://pbx.example.org/click/7?sig=1.2.a-_"
        )
