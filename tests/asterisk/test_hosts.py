"""A sample of `make hosts`: one of two gateways is killed under calls of two Asterisks, each on a host of its own."""

from __future__ import annotations

from twisted.trial import unittest

from tests import needs
from tests.asterisk.harness import why_not
from tests.asterisk.hosts import network
from tests.asterisk.hosts.faults import run_case
from tests.needs import PATIENCE_S


class HostsTest(unittest.TestCase):
    """The gateway that is asked first dies; the other one is on another machine."""

    timeout = 5 * PATIENCE_S

    def test_killed(self) -> None:
        """Callers in a prompt are asked afresh by the other, talks go on, new calls are routed; each counts once."""
        if reason := why_not() or network.why_not():
            needs.missing(reason)
        result = run_case("gw-a-killed", "fastagi", hold_s=3)
        self.assertEqual(result.wrong, [], str(result))
        self.assertEqual((result.asked, result.fresh, result.went_on, result.taken_over), (4, 4, 4, 4), str(result))
        self.assertEqual(result.kinds["routed"], sum(result.kinds.values()), str(result))
