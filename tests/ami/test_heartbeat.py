"""The heartbeat: a global variable with Asterisk's own time, set at intervals, and 0 at the end."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami.heartbeat import EVERY_S, HEARTBEAT_VARIABLE, Heartbeat
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.errors import ActionFailed, ActionTimeout
from tests.ami_fakes import FakeAMIConnection


class HeartbeatTests(SynchronousTestCase):
    """A heartbeat on a fake AMI connection."""

    def setUp(self) -> None:
        """Make the heartbeat and record the log."""
        self.clock, self.manager = Clock(), FakeAMIConnection()
        self.manager.answers["Ping"] = {"Timestamp": "1795419652.198815"}
        self.heartbeat = Heartbeat(self.manager, self.clock)  # type: ignore[arg-type]
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def beats(self) -> list[str]:
        """The values set since the last call."""
        found = self.manager.heard("Setvar")
        for action in found:
            self.assertEqual(action["Variable"], HEARTBEAT_VARIABLE)
            self.assertNotIn("Channel", action)  # a global variable
        return [action["Value"] for action in found]

    def warnings(self) -> int:
        """The number of log lines above info."""
        return len([event for event in self.events if event["log_level"] >= LogLevel.warn])

    def test_beats(self) -> None:
        """The variable is set at once on connecting and then every EVERY_S, to Asterisk's time in whole seconds."""
        self.heartbeat.startService()
        self.assertEqual(self.beats(), [])
        self.manager.comes_up()
        self.assertEqual(self.beats(), ["1795419652"])
        self.manager.answers["Ping"] = {"Timestamp": "1795419654.2"}
        self.clock.advance(EVERY_S)
        self.assertEqual(self.beats(), ["1795419654"])

    def test_no_connection(self) -> None:
        """Without a connection nothing is sent or logged."""
        self.heartbeat.startService()
        self.clock.pump([EVERY_S] * 10)
        self.assertEqual((self.beats(), self.warnings()), ([], 0))

    def test_not_allowed(self) -> None:
        """A missing permission is logged once, not at each beat; the next failure after a success is logged again."""
        self.heartbeat.startService()
        self.manager.answers["Setvar"] = ActionFailed("Setvar: Permission denied")
        self.manager.comes_up()
        self.clock.pump([EVERY_S] * 10)
        self.assertEqual(self.warnings(), 1)
        self.manager.answers["Setvar"] = {}
        self.clock.advance(EVERY_S)
        self.manager.answers["Ping"] = ActionTimeout("Ping: Asterisk did not answer in time")
        self.clock.pump([EVERY_S] * 3)
        self.assertEqual(self.warnings(), 2)

    def test_without_time(self) -> None:
        """A Ping response without a Timestamp sets 0."""
        self.manager.answers["Ping"] = {}
        self.heartbeat.startService()
        self.manager.comes_up()
        self.assertEqual(self.beats(), ["0"])

    def test_farewell(self) -> None:
        """Stopping sets 0 at once, and nothing is set afterwards."""
        self.heartbeat.startService()
        self.manager.comes_up()
        self.beats()
        self.successResultOf(self.heartbeat.stopService())
        self.assertEqual(self.beats(), ["0"])
        self.clock.pump([EVERY_S] * 3)
        self.manager.goes_down()
        self.manager.comes_up()
        self.assertEqual(self.beats(), [])

    def test_farewell_is_the_last_word(self) -> None:
        """A beat in progress at the stop does not set the variable again after the final 0."""
        self.heartbeat.startService()
        self.manager.answers["Ping"] = None
        self.manager.comes_up()
        stopped = self.heartbeat.stopService()
        self.manager.waiting.pop().callback(AMIMessage(b"Response: Success\r\nTimestamp: 1795419652.1"))
        self.successResultOf(stopped)
        self.assertEqual(self.beats(), ["0"])

    def test_farewell_without_connection(self) -> None:
        """Stopping while there is no connection is no failure."""
        self.heartbeat.startService()
        self.successResultOf(self.heartbeat.stopService())
        self.assertEqual(self.warnings(), 0)

    def test_every_second(self) -> None:
        """The variable that the dialplan reads is set every second."""
        self.manager.comes_up()
        self.heartbeat.startService()
        self.manager.sent.clear()
        self.clock.advance(0.9)
        self.assertEqual(self.manager.sent, [])
        self.clock.advance(0.125)
        self.assertEqual(
            self.manager.sent,
            [("Ping", {}), ("Setvar", {"Variable": "PBXROUTER_HEARTBEAT", "Value": "1795419652"})],
        )

    def test_own_variable(self) -> None:
        """A gateway with an id sets its own variable, too, to milliseconds; to 0 when it stops."""
        self.heartbeat = Heartbeat(self.manager, self.clock, "a1b2")  # type: ignore[arg-type]
        self.heartbeat.startService()
        self.manager.comes_up()
        for timestamp in ("1795419654.2", "1795419655"):
            self.manager.answers["Ping"] = {"Timestamp": timestamp}
            self.clock.advance(EVERY_S)
        self.successResultOf(self.heartbeat.stopService())
        self.assertEqual(
            [(action["Variable"], action["Value"]) for action in self.manager.heard("Setvar")],
            [
                ("PBXROUTER_HEARTBEAT_a1b2", "1795419652198"),
                ("PBXROUTER_HEARTBEAT", "1795419652"),
                ("PBXROUTER_HEARTBEAT_a1b2", "1795419654200"),
                ("PBXROUTER_HEARTBEAT", "1795419654"),
                ("PBXROUTER_HEARTBEAT_a1b2", "1795419655000"),
                ("PBXROUTER_HEARTBEAT", "1795419655"),
                ("PBXROUTER_HEARTBEAT_a1b2", "0"),
                ("PBXROUTER_HEARTBEAT", "0"),
            ],
        )

    def test_other_gateways(self) -> None:
        """Two gateways on one Asterisk set variables of their own."""
        other = Heartbeat(self.manager, self.clock, "c3d4")  # type: ignore[arg-type]
        self.heartbeat = Heartbeat(self.manager, self.clock, "a1b2")  # type: ignore[arg-type]
        for heartbeat in (self.heartbeat, other):
            heartbeat.startService()
        self.manager.comes_up()
        self.manager.sent.clear()
        self.successResultOf(self.heartbeat.stopService())
        self.clock.advance(EVERY_S)
        own = [(action["Variable"], action["Value"]) for action in self.manager.heard("Setvar")]
        self.assertEqual(own[0], ("PBXROUTER_HEARTBEAT_a1b2", "0"))
        self.assertEqual(
            own[-2:], [("PBXROUTER_HEARTBEAT_c3d4", "1795419652198"), ("PBXROUTER_HEARTBEAT", "1795419652")]
        )

    def test_others_go_on(self) -> None:
        """While another gateway lives, one that stops leaves the variable of all as it is."""
        self.heartbeat = Heartbeat(self.manager, self.clock, "a1b2", lambda: True)  # type: ignore[arg-type]
        self.heartbeat.startService()
        self.manager.comes_up()
        self.successResultOf(self.heartbeat.stopService())
        self.assertEqual(
            [(action["Variable"], action["Value"]) for action in self.manager.heard("Setvar")],
            [
                ("PBXROUTER_HEARTBEAT_a1b2", "1795419652198"),
                ("PBXROUTER_HEARTBEAT", "1795419652"),
                ("PBXROUTER_HEARTBEAT_a1b2", "0"),
            ],
        )

    def test_not_settled(self) -> None:
        """While it is not known which gateway serves the calls by agi:async, the variable of all is left alone."""
        settled = False
        self.heartbeat = Heartbeat(
            self.manager,  # type: ignore[arg-type]
            self.clock,
            "a1b2",
            is_settled=lambda: settled,
        )
        self.heartbeat.startService()
        self.manager.comes_up()
        self.assertEqual([action["Variable"] for action in self.manager.heard("Setvar")], ["PBXROUTER_HEARTBEAT_a1b2"])
        settled = True
        self.clock.advance(EVERY_S)
        self.assertEqual(
            [action["Variable"] for action in self.manager.heard("Setvar")],
            ["PBXROUTER_HEARTBEAT_a1b2", "PBXROUTER_HEARTBEAT"],
        )
        settled = False
        self.successResultOf(self.heartbeat.stopService())
        self.assertEqual([action["Value"] for action in self.manager.heard("Setvar")], ["0", "0"])

    def test_time_out(self) -> None:
        """Ping and Setvar time out after 4 s each."""
        self.heartbeat.startService()
        self.manager.comes_up()
        self.successResultOf(self.heartbeat.stopService())
        self.assertEqual(self.manager.timeouts, {"Ping": [4.0], "Setvar": [4.0, 4.0]})

    def test_not_started(self) -> None:
        """Nothing is sent before the heartbeat is started, nor on a connection after its stop."""
        self.manager.comes_up()
        self.assertEqual(self.manager.sent, [])
        self.heartbeat.startService()
        self.successResultOf(self.heartbeat.stopService())
        self.manager.sent.clear()
        self.manager.goes_down()
        self.manager.comes_up()
        self.assertEqual(self.manager.sent, [])

    def test_beats_do_not_overlap(self) -> None:
        """While a response is awaited no other beat begins; afterwards beats go on."""
        self.manager.answers["Ping"] = None
        self.manager.comes_up()
        self.heartbeat.startService()
        self.clock.pump([EVERY_S] * 3)
        self.assertEqual(len(self.manager.heard("Ping")), 1)
        self.manager.answers["Ping"] = {"Timestamp": "1795419660.1"}
        self.manager.waiting.pop().callback(AMIMessage(b"Response: Success\r\nTimestamp: 1795419659.1"))
        self.clock.advance(EVERY_S)
        self.assertEqual(self.beats(), ["1795419659", "1795419660"])

    def test_stopped_when_the_beat_under_way_has_ended(self) -> None:
        """Stopping sets 0 at once, and ends when the beat in progress has ended."""
        self.manager.answers["Ping"] = None
        self.manager.comes_up()
        self.heartbeat.startService()
        stopped = self.heartbeat.stopService()
        self.assertEqual(self.beats(), ["0"])
        self.assertNoResult(stopped)
        self.manager.waiting.pop().callback(AMIMessage(b"Response: Success"))
        self.successResultOf(stopped)

    def test_refused_again(self) -> None:
        """The warning names the Asterisk and the reason, and is logged again after a success."""
        self.heartbeat.startService()
        self.manager.comes_up()
        for count in (1, 2):
            self.manager.answers["Setvar"] = ActionFailed("Setvar: Permission denied")
            self.clock.pump([EVERY_S] * 3)
            told = [event for event in self.events if event["log_level"] >= LogLevel.warn]
            self.assertEqual(
                [(event["name"], event["error"]) for event in told], [("lab", "Setvar: Permission denied")] * count
            )
            self.manager.answers["Setvar"] = {}
            self.clock.advance(EVERY_S)

    def test_lost_meanwhile(self) -> None:
        """A connection that is lost while a response is awaited is not logged as a refusal."""
        self.heartbeat.startService()
        self.manager.answers["Ping"] = None
        self.manager.comes_up()
        self.manager.goes_down()
        self.assertEqual(self.warnings(), 0)

    def test_farewell_that_fails(self) -> None:
        """A final 0 that is refused or times out does not fail the stop, and is not logged."""
        for error in (ActionFailed("Setvar: Permission denied"), ActionTimeout("Setvar: no answer in time")):
            self.setUp()
            self.heartbeat.startService()
            self.manager.comes_up()
            self.manager.answers["Setvar"] = error
            self.successResultOf(self.heartbeat.stopService())
            self.assertEqual(self.warnings(), 0)
