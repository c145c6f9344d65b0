"""Listening ports and their errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pbxrouter.errors import ConfigError
from pbxrouter.net.listener import Listener, _why, with_backlog
from tests.certificates import write_certificate


class ListenerTests(SynchronousTestCase):
    """Listener, on a reactor in memory."""

    def listener(self, description: str) -> Listener:
        """Make a listener for the setting web.listen."""
        self.reactor = MemoryReactorClock()
        return Listener("web.listen", description, "tcp:8080", Factory(), self.reactor)

    def test_opened(self) -> None:
        """The port is opened where the setting says, with room for a burst of calls."""
        self.listener("tcp:8080:interface=127.0.0.1").privilegedStartService()
        ((port, _, backlog, interface),) = self.reactor.tcpServers
        self.assertEqual((port, backlog, interface), (8080, 4096, "127.0.0.1"))

    def test_told(self) -> None:
        """The function that is given is told of the port when it is open, and not before."""
        ports: list[Any] = []
        reactor = MemoryReactorClock()
        listener = Listener("web.listen", "tcp:8080:interface=127.0.0.1", "tcp:8080", Factory(), reactor, ports.append)
        self.assertEqual(ports, [])
        listener.privilegedStartService()
        self.assertEqual([port.getHost().port for port in ports], [8080])

    def test_no_endpoint(self) -> None:
        """The error names the setting and gives an example."""
        error = self.assertRaises(ConfigError, self.listener, "nonsense:1")
        self.assertIn("web.listen: 'nonsense:1' is no endpoint", str(error))
        self.assertIn("accepted is for example tcp:8080", str(error))

    def test_backlog(self) -> None:
        """TCP gets the backlog unless it has one; other endpoints stay as they are."""
        for description, expected in (
            ("tcp:4573:interface=127.0.0.1", "tcp:4573:interface=127.0.0.1:backlog=4096"),
            ("tcp:4573:backlog=5", "tcp:4573:backlog=5"),
            ("unix:/x", "unix:/x"),
        ):
            self.assertEqual(with_backlog(description), expected)

    def test_cannot_listen(self) -> None:
        """The error names the setting, the endpoint and the reason."""
        listener = self.listener("unix:/nonexistent/socket")
        BrokenReactor(self.reactor)
        error = self.assertRaises(ConfigError, listener.privilegedStartService)
        self.assertEqual(
            str(error), "web.listen: cannot listen at unix:/nonexistent/socket: [Errno 2] No such file or directory"
        )
        listener = self.listener("tcp:8080")
        BrokenReactor(self.reactor)
        error = self.assertRaises(ConfigError, listener.privilegedStartService)
        self.assertEqual(str(error), "web.listen: cannot listen at tcp:8080: [Errno 98] Address already in use")


class CertificateTests(SynchronousTestCase):
    """The certificate of an ``ssl:`` endpoint, which is loaded again."""

    def setUp(self) -> None:
        """A listener with a certificate."""
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.key, self.certificate = str(self.folder / "key.pem"), str(self.folder / "cert.pem")
        write_certificate("one", self.key, self.certificate)
        self.reactor = MemoryReactorClock()
        description = f"ssl:8443:privateKey={self.key}:certKey={self.certificate}"
        self.listener = Listener("web.listen", description, "tcp:8080", Factory(), self.reactor)
        self.listener.privilegedStartService()
        ((_, _, self.context, _, _),) = self.reactor.sslServers

    def test_loaded_again(self) -> None:
        """The new certificate counts for connections that come after it is put to use, not before."""
        first: Any = self.context.getContext()
        write_certificate("two", self.key, self.certificate)
        use = self.listener.prepare_certificates()
        assert use is not None
        self.assertIs(self.context.getContext(), first)
        use()
        second = self.context.getContext()
        self.assertIsNot(second, first)
        write_certificate("three", self.key, self.certificate)
        self.assertIs(self.context.getContext(), second)
        self.assertTrue(verifyObject(IOpenSSLContextFactory, self.context))

    def test_refused(self) -> None:
        """A key of another certificate, and a missing file, are named with the setting; the old certificate stays."""
        first: Any = self.context.getContext()
        write_certificate("two", str(self.folder / "other.pem"), self.certificate)
        error = self.assertRaises(ConfigError, self.listener.prepare_certificates)
        self.assertRegex(str(error), r"^web\.listen: the certificate cannot be loaded again: .+$")
        write_certificate("three", self.key, self.certificate)
        Path(self.key).write_bytes((self.folder / "other.pem").read_bytes())
        self.assertRaises(ConfigError, self.listener.prepare_certificates)
        Path(self.certificate).unlink()
        error = self.assertRaises(ConfigError, self.listener.prepare_certificates)
        self.assertEqual(
            str(error),
            "web.listen: the certificate cannot be loaded again: "
            f"[Errno 2] No such file or directory: {self.certificate!r}",
        )
        self.assertIs(self.context.getContext(), first)

    def test_other_endpoints(self) -> None:
        """Other endpoints have no certificate that is loaded again."""
        listener = Listener("web.listen", "tcp:8080", "tcp:8080", Factory(), self.reactor)
        self.assertIsNone(listener.prepare_certificates())

    def test_why(self) -> None:
        """OpenSSL's lists of errors are told by their reasons; an error that says nothing is named by its kind."""
        mismatch = [("x509", "", "key values mismatch"), ("x509", "", "no start line")]
        for error, told in (
            (SSL.Error(mismatch), "key values mismatch, no start line"),
            (SSL.Error([]), "[]"),
            (OSError(2, "No such file"), "[Errno 2] No such file"),
            (ValueError(), "ValueError"),
        ):
            self.assertEqual(_why(error), told)


class BrokenReactor:
    """Makes a reactor refuse to listen, as the real one does where a socket's folder is missing or a port is taken."""

    def __init__(self, reactor: MemoryReactorClock) -> None:
        vars(reactor)["listenUNIX"] = self.fails
        vars(reactor)["listenTCP"] = self.is_taken

    def fails(self, *arguments: object, **named: object) -> None:
        """Raise as the real reactor does."""
        raise FileNotFoundError(2, "No such file or directory")

    def is_taken(self, *arguments: object, **named: object) -> None:
        """Raise as the real reactor does."""
        raise CannotListenError("", 8080, OSError(98, "Address already in use"))
