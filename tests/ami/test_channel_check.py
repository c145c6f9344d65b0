"""The check of events that tell of a channel's end: what is asked, how often, and when Asterisk cannot be asked."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami.channel_check import ASK_AGAIN_S, GATHER_S, LOG_AGAIN_S, MANY, ChannelCheck
from pbxrouter.ami.connection import AMIConnection
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.errors import ActionFailed, ActionTimeout
from tests.ami_fakes import FakeAMIConnection

HANGUP = AMIMessage(b"Event: Hangup")
SNAPSHOT = (
    "Channel ChannelState ChannelStateDesc CallerIDNum CallerIDName ConnectedLineNum ConnectedLineName "
    "Language AccountCode Context Exten Priority"
).split()


def item(uniqueid: str) -> AMIMessage:
    """An item of CoreShowChannels."""
    headers = [*(f"{name}: x" for name in SNAPSHOT), f"Uniqueid: {uniqueid}", f"Linkedid: {uniqueid}"]
    return AMIMessage("\r\n".join(["Event: CoreShowChannel", *headers]).encode())


class ChannelCheckTests(SynchronousTestCase):
    """A check on a connection in memory."""

    def setUp(self) -> None:
        """Connected."""
        self.manager, self.clock = FakeAMIConnection(), Clock()
        self.manager.comes_up()
        self.check = ChannelCheck(cast(AMIConnection, self.manager), self.clock)
        self.logs = self.enterContext(capturedLogs())

    def ask(self, channel: str = "1.1") -> Deferred[bool]:
        """Whether a Hangup of a channel is true."""
        return Deferred.fromCoroutine(self.check.has_ended(HANGUP, channel))

    def warnings(self) -> list[str]:
        """Formats of the log lines above info."""
        return [str(log["log_format"]) for log in self.logs if log["log_level"] >= LogLevel.warn]

    def test_gone(self) -> None:
        """A channel that is gone is asked for once, by Status."""
        self.assertTrue(self.successResultOf(self.ask()))
        self.assertEqual(self.manager.sent, [("Status", {"Channel": "1.1"})])
        self.assertEqual((self.manager.forged_events, self.warnings()), (0, []))

    def test_goes_on(self) -> None:
        """One that goes on is asked for again, counted each time, and logged once a minute."""
        self.manager.alive["1.1"] = item("1.1")
        for logged in (1, 1):
            asked = self.ask()
            self.clock.pump(ASK_AGAIN_S)
            self.assertFalse(self.successResultOf(asked))
            self.assertEqual(len(self.warnings()), logged)
        self.assertEqual(len(self.manager.heard("Status")), 2 * (1 + len(ASK_AGAIN_S)))
        self.clock.advance(LOG_AGAIN_S)
        self.ask()
        self.clock.pump(ASK_AGAIN_S)
        self.assertEqual((len(self.warnings()), self.manager.forged_events), (2, 3))

    def test_cannot_be_asked(self) -> None:
        """Where Asterisk cannot be asked the event is believed; a missing right is told once."""
        self.manager.alive["1.1"] = item("1.1")
        for error in (ActionFailed("Status: Permission denied"), ActionTimeout("late")):
            self.manager.lists["Status"] = error
            for _ in range(2):
                self.assertTrue(self.successResultOf(self.ask()))
        self.manager.is_up = False
        self.assertTrue(self.successResultOf(self.ask()))
        self.assertEqual(len(self.warnings()), 1)
        self.assertIn("reporting", self.warnings()[0])

    def test_many(self) -> None:
        """Of many channels at once the further ones share one list; a forged item of it counts for none."""
        asking: list[Deferred[bool]] = []
        for number in range(MANY):
            self.manager.alive[f"1.{number}"] = item(f"1.{number}")
        self.manager.lists["Status"] = None
        asking.extend(self.ask(f"1.{number}") for number in range(MANY))
        goes_on, gone, spoilt = self.ask("2.1"), self.ask("2.2"), self.ask("2.3")
        forged = AMIMessage(item("2.3").raw + b"\r\nUniqueid: 2.2")
        self.manager.lists["CoreShowChannels"] = [item("2.1"), forged]
        for _ in (0, *ASK_AGAIN_S):
            self.clock.advance(GATHER_S)
            self.clock.advance(max(ASK_AGAIN_S))
        self.assertEqual(len(self.manager.heard("Status")), MANY)
        self.assertEqual(len(self.manager.heard("CoreShowChannels")), 1 + len(ASK_AGAIN_S))
        self.assertTrue(self.successResultOf(gone))
        self.assertTrue(self.successResultOf(spoilt))
        self.assertFalse(self.successResultOf(goes_on))
        for waiting in asking:
            self.assertNoResult(waiting)
