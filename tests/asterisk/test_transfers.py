"""Calls that are sent on by another party: forwards, transfers, claims; who answers for them."""

from __future__ import annotations

from tests.asterisk.harness import AsteriskTest, wait_for


class ForwardRefusedTest(AsteriskTest):
    """A called phone that forwards, while the settings do not let it."""

    def test_forward_is_ignored(self) -> None:
        """33 calls 21, whose phone answers 302 to a number that only 33 may dial: the number is not dialled."""
        with self.phone(21, "forward=600112233"):
            self.call("21", "-t", "500")
        self.assertEqual(self.applications()[:1], ["Dial PJSIP/21,60,i"])
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        wait_for("the call in the history", lambda: '"outcome": "BUSY"' in self.gateway.command("history", "--json"))
