"""A sample of the fault table (`make chaos`): the gateway is killed, or its AMI is cut, with calls at each point."""

from __future__ import annotations

from twisted.trial import unittest

from tests import needs
from tests.asterisk.chaos.faults import run_case
from tests.asterisk.harness import stop_gateways, the_lab, why_not
from tests.needs import PATIENCE_S


class ChaosTest(unittest.TestCase):
    """Quick cases: no call is stuck, and each goes its way."""

    timeout = 5 * PATIENCE_S

    def _assert_none_lost(self, fault: str, way: str, kind: str) -> None:
        """Assert that no call of a case is stuck or stands twice in the history, and that some end in this way."""
        if reason := why_not():
            needs.missing(reason)
        stop_gateways()
        result = run_case(the_lab(), fault, way, seed=1)
        # On a loaded machine a silence may be the machine's: `make chaos` judges them.
        self.assertEqual([line for line in result.lost if ": silent for " not in line], [], str(result))
        self.assertEqual(sum(result.kinds.values()), 7, str(result))
        self.assertGreater(result.kinds[kind], 0, str(result))

    def test_killed_by_fastagi(self) -> None:
        """kill -9: those who are asked for a PIN, and new calls, go to the fallback; who talks or rings goes on."""
        self._assert_none_lost("gateway-sigkill", "fastagi", "fallback")

    def test_ami_cut(self) -> None:
        """The AMI connection is cut: calls by FastAGI are routed as before."""
        self._assert_none_lost("ami-cut", "fastagi", "routed")
