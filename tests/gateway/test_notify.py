"""The service manager's socket."""

from __future__ import annotations

import socket
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.gateway.notify import ServiceManager


class NotifyTests(SynchronousTestCase):
    """ServiceManager, with a socket of the test's."""

    def manager_at(self, address: str, shown: str) -> socket.socket:
        """Listen at an address; NOTIFY_SOCKET is as it is shown."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listening.close)
        listening.bind(address)
        listening.settimeout(5)
        self.service_manager = ServiceManager({"NOTIFY_SOCKET": shown})
        return listening

    def test_states(self) -> None:
        """Each state is a datagram, to a path or to an abstract address."""
        with tempfile.TemporaryDirectory(prefix="pbxr-") as folder:
            for address, shown in ((f"{folder}/n", f"{folder}/n"), (f"\0{folder}/n", f"@{folder}/n")):
                listening = self.manager_at(address, shown)
                self.service_manager.ready()
                self.service_manager.reloading()
                self.service_manager.stopping()
                self.assertEqual(listening.recv(100), b"READY=1")
                self.assertRegex(listening.recv(100), rb"^RELOADING=1\nMONOTONIC_USEC=[0-9]+$")
                self.assertEqual(listening.recv(100), b"STOPPING=1")

    def test_nobody_listens(self) -> None:
        """Without a manager, with one that is gone, or that does not read, the gateway goes on."""
        for environ in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nonexistent/n"}, {"NOTIFY_SOCKET": "relative"}):
            ServiceManager(environ).ready()
        with tempfile.TemporaryDirectory(prefix="pbxr-") as folder:
            self.manager_at(f"{folder}/n", f"{folder}/n")
            for _ in range(10_000):
                self.service_manager.ready()
