"""contrib/systemd: the unit agrees with the gateway and with the documentation."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.cli.app import COMMANDS
from pbxrouter.gateway.drain import DRAIN_S, RECORDING_S
from pbxrouter.gateway.signals import STOP_S
from tests.paths import ROOT


class UnitTests(SynchronousTestCase):
    """The systemd unit agrees with code and docs."""

    def setUp(self) -> None:
        """Read the unit."""
        self.text = (ROOT / "contrib/systemd/pbxrouter.service").read_text()
        self.values = dict(re.findall(r"^(\w+)=(.*)$", self.text, re.MULTILINE))

    def test_documented(self) -> None:
        """The documentation shows it as it is."""
        self.assertIn(f"```ini\n{self.text}```\n", (ROOT / "docs/operations.md").read_text())

    def test_stop(self) -> None:
        """systemd waits longer than a stop may take, and a stop has time for what it waits for."""
        self.assertGreater(int(self.values["TimeoutStopSec"]), STOP_S)
        documented = (ROOT / "docs/troubleshooting.md").read_text()
        self.assertIn(f"`the stop took longer than {STOP_S} s and was cut`", documented)
        self.assertGreater(STOP_S, DRAIN_S + RECORDING_S)

    def test_notified(self) -> None:
        """The main process itself tells systemd how far it is, and reloads by a command that tells of errors."""
        self.assertEqual((self.values["Type"], self.values["NotifyAccess"]), ("notify", "main"))
        program, command, *options = self.values["ExecReload"].split()
        self.assertTrue(program.endswith("/pbxrouter"))
        self.assertIn(command, COMMANDS)
        self.assertEqual(options, self.values["ExecStart"].split()[-2:])
        self.assertIn(" -n ", self.values["ExecStart"])
