"""Services that start when there are rules."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import ConfigError
from pbxrouter.gateway.readiness import WhenRouting
from pbxrouter.rules.engine import RulesEngine
from tests.fakes import workshop_rules


class Port(Service):
    """Records what happens to it; may fail to open."""

    def __init__(self, name: str, said: list[str]) -> None:
        self._port = name
        self._said = said
        self.taken = False

    def privilegedStartService(self) -> None:
        """Open the port."""
        if self.taken:
            raise ConfigError("fastagi.listen: cannot listen at tcp:1")
        self._said.append(f"{self._port} opens")

    def startService(self) -> None:
        """Record the start."""
        super().startService()
        self._said.append(f"{self._port} starts")

    def stopService(self) -> None:
        """Record the stop."""
        super().stopService()
        self._said.append(f"{self._port} stops")


class Readiness(SynchronousTestCase):
    """WhenRouting starts services once there are rules."""

    def setUp(self) -> None:
        """Two services that wait for rules."""
        self.clock = Clock()
        self.engine = RulesEngine({"dial"})
        self.routing = WhenRouting(self.engine, self.clock)
        self.said: list[str] = []
        self.ports = [Port("a", self.said), Port("b", self.said)]
        for port in self.ports:
            port.setServiceParent(self.routing)

    def start(self) -> list[str]:
        """Start as twistd does; returns what was said."""
        self.routing.privilegedStartService()
        self.said.append("-")
        self.routing.startService()
        return self.said

    def test_rules_at_the_start(self) -> None:
        """With rules all ports are opened before any service starts."""
        self.engine.replace(workshop_rules())
        self.assertEqual(self.start(), ["a opens", "b opens", "-", "a starts", "b starts"])
        self.successResultOf(self.routing.stopService())
        self.assertEqual(self.said[5:], ["b stops", "a stops"])

    def test_rules_later(self) -> None:
        """Without rules nothing is opened; the first rules start all, further ones nothing."""
        self.assertEqual(self.start(), ["-"])
        self.engine.replace(workshop_rules())
        self.assertEqual(self.said, ["-", "a opens", "a starts", "b opens", "b starts"])
        self.engine.replace(workshop_rules())
        self.successResultOf(self.routing.stopService())
        self.assertEqual(self.said[5:], ["b stops", "a stops"])

    def test_never_any(self) -> None:
        """A stop before any rules stops nothing, and rules that come afterwards start nothing."""
        self.start()
        self.successResultOf(self.routing.stopService())
        self.engine.replace(workshop_rules())
        self.assertEqual(self.said, ["-"])

    def test_port_taken(self) -> None:
        """A port that was taken meanwhile is reported once and tried every five seconds; the others work."""
        self.start()
        self.ports[0].taken = True
        with capturedLogs() as logs:
            self.engine.replace(workshop_rules())
            self.clock.pump([5.0] * 2)
        self.assertEqual(self.said, ["-", "b opens", "b starts"])
        (event,) = [event for event in logs if event["log_level"] is LogLevel.critical]
        self.assertIn("cannot listen at tcp:1; trying again", formatEvent(event))
        self.ports[0].taken = False
        self.clock.advance(4.75)
        self.assertEqual(self.said[3:], [])
        self.clock.advance(0.25)
        self.assertEqual(self.said[3:], ["a opens", "a starts"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_while_a_port_is_taken(self) -> None:
        """A stop ends the attempts."""
        self.start()
        self.ports[0].taken = True
        with capturedLogs():
            self.engine.replace(workshop_rules())
        self.routing.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
