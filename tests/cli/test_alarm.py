"""`pbxrouter alarm`, as the process that an owner runs."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.needs import PATIENCE_S


class AlarmTests(SynchronousTestCase):
    """The command `pbxrouter alarm`, with a command in the settings."""

    def alarm(self, settings: str) -> tuple[int, str, str]:
        """Run the command; returns status, output and errors."""
        config = pathlib.Path(self.mktemp())
        config.write_text(settings)
        done = subprocess.run(
            [sys.executable, "-m", "pbxrouter", "alarm", "--config", str(config)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def test_delivered(self) -> None:
        """The command gets a test alarm."""
        out = pathlib.Path(self.mktemp()).absolute()
        status, said, _ = self.alarm(f'[alarm]\ncommand = ["/usr/bin/tee", "{out}"]\n')
        self.assertEqual(status, 0)
        self.assertTrue(said.startswith("command /usr/bin/tee: delivered "))
        self.assertEqual(json.loads(out.read_text())["kind"], "test")

    def test_failed(self) -> None:
        """The target and the reason are named, for each that failed."""
        secret = pathlib.Path(self.mktemp()).absolute()
        secret.write_text("0123456789abcdef\n")
        status, said, _ = self.alarm(
            f'[alarm]\ncommand = ["/bin/false"]\nwebhook = "http://127.0.0.1:1/x"\nsecret_file = "{secret}"\n'
        )
        self.assertEqual(status, 1)
        self.assertIn("command /bin/false: not delivered: it ended with status 1", said)
        self.assertIn("webhook 127.0.0.1: not delivered: it cannot be reached", said)

    def test_none(self) -> None:
        """Settings without [alarm] are named."""
        status, _, errors = self.alarm("")
        self.assertEqual(status, 2)
        self.assertIn("neither alarm.command nor alarm.webhook", errors)
