"""has_variable: asks Asterisk for a variable of one channel."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami import AMIConnection, AMIMessage, has_variable
from pbxrouter.ami.channel_variable import ASK_S
from pbxrouter.errors import ActionFailed, ActionTimeout, ManagerError
from tests.ami_fakes import FakeAMIConnection


class HasVariableTests(SynchronousTestCase):
    """has_variable on a fake AMI connection."""

    def setUp(self) -> None:
        """Make a connection that is up."""
        self.manager = FakeAMIConnection()
        self.manager.comes_up()
        self.manager.alive["1.1"] = AMIMessage(b"Event: Status\r\nUniqueid: 1.1\r\nVariable: NAME=abc\r\nVariable: A=1")

    def ask(self, uniqueid: str = "1.1", value: str = "abc") -> bool | None:
        """Whether the channel has the value."""
        manager = cast(AMIConnection, self.manager)
        return self.successResultOf(Deferred.fromCoroutine(has_variable(manager, uniqueid, "NAME", value)))

    def test_answers(self) -> None:
        """True for the very value, False for another value, part of it, and a channel that does not exist."""
        self.assertIs(self.ask(), True)
        self.assertEqual(self.manager.sent, [("Status", {"Channel": "1.1", "Variables": "NAME"})])
        self.assertEqual(self.manager.timeouts["Status"], [ASK_S])
        for uniqueid, value in (("1.1", "ab"), ("1.1", "abcd"), ("1.1", ""), ("2.2", "abc")):
            self.assertIs(self.ask(uniqueid, value), False)

    def test_no_uniqueid(self) -> None:
        """What cannot be a Uniqueid is not asked for: an empty one would list every channel."""
        for uniqueid in ("", " ", "1.1\r\nChannel: x", "1.1\n", "1" * 150, "é"):
            self.assertIs(self.ask(uniqueid), False)
        self.assertEqual(self.manager.sent, [])

    def test_cannot_be_asked(self) -> None:
        """None where Asterisk does not answer, refuses the action, or is not connected."""
        denied = ActionFailed("Permission denied")
        errors: tuple[ManagerError, ...] = (ActionTimeout("no answer"), denied, denied)
        with capturedLogs() as logs:
            for error in errors:
                self.manager.lists["Status"] = error
                self.assertIsNone(self.ask())
        warnings = [log for log in logs if log["log_level"] >= LogLevel.warn]
        self.assertEqual(len(warnings), 1)
        self.assertIn("Permission denied", str(warnings[0]["error"]))
        self.manager.is_up = False
        self.assertIsNone(self.ask())
