"""The outcome of each application, as the dialplan finds it in the channel's variables."""

from __future__ import annotations

import re

from tests.asterisk.harness import AsteriskTest
from tests.waiting import wait_for

RULES = {
    "51": ("dial", "Local/busy@callee"),
    "52": ("dial", "Local/congestion@callee"),
    "53": ("dial", "Local/unallocated@callee"),
    "54": ("dial", "NoSuchTechnology/1"),
    "55": ("dial", "Local/answer@callee"),
    "56": ("playback", "hello-world"),
    "57": ("saydigits", ""),
    "58": ("hangup", "17"),
    "59": ("teleport", ""),
}


class OutcomeTest(AsteriskTest):
    """Each outcome, with phones where a phone can cause it."""

    config = "[dial]\ntimeout = 3\n"

    def setUp(self) -> None:
        """Add the rules that these tests dial, once, open to 33."""
        super().setUp()
        if getattr(self.gateway, "has_outcome_rules", False):
            return
        self.gateway.change_rules(
            *(
                "INSERT INTO applications_mappings (application_name, application_data, pattern)"
                f" VALUES ('{application}', '{data}', '{pattern}')"
                for pattern, (application, data) in RULES.items()
            ),
            "INSERT INTO extensions_mappings (extension_id, map_id)"
            " SELECT extension_id, map_id FROM extensions, applications_mappings WHERE pattern LIKE '5_'",
        )
        self.gateway.has_outcome_rules = True  # type: ignore[attr-defined]

    def _dial(self, number: str) -> list[str]:
        """Dial from 33 through the context that reports the variables afterwards."""
        self.lab.ami.originate(f"Local/{number}@after/n", CallerID="33")
        wait_for("the end of the gateway's work", lambda: self._report("(?:after|hung up)"))
        return self._report("(?:after|hung up)").split()

    def _report(self, when: str) -> str:
        found = re.search(rf'NoOp\("[^"]*", "{when}: ([^"]*)"', self.log())
        return found[1] if found else ""

    def test_answer(self) -> None:
        """Answered, and hung up by the callee."""
        with self.phone(21, "answer", "-t", "500"):
            self.assertEqual(self._dial("21"), ["done", "ANSWER", "2X", "dial"])

    def test_busy(self) -> None:
        """The phone is busy."""
        with self.phone(21, "busy"):
            self.assertEqual(self._dial("21"), ["done", "BUSY", "2X", "dial", "17"])

    def test_reject(self) -> None:
        """The called phone declines the call."""
        with self.phone(21, "reject"):
            self.assertEqual(self._dial("21"), ["done", "CHANUNAVAIL", "2X", "dial", "21"])

    def test_no_answer(self) -> None:
        """The phone rings until the configured time is over."""
        with self.phone(21, "noanswer"):
            report = self._dial("21")
        self.assertEqual(report[:4], ["done", "NOANSWER", "2X", "dial"])
        self.assertEqual(self.dialled(), ["PJSIP/21"])

    def test_unavailable(self) -> None:
        """No such endpoint, no such technology, unallocated, congestion."""
        for number, outcome in ("29", "CHANUNAVAIL"), ("54", "CHANUNAVAIL"), ("53", "CHANUNAVAIL"):
            self._mark = self.lab.log_size()
            self.assertEqual(self._dial(number)[:2], ["done", outcome], number)
        self._mark = self.lab.log_size()
        self.assertEqual(self._dial("52")[:2], ["done", "CONGESTION"])

    def test_cancel(self) -> None:
        """The caller hangs up while it rings: the gateway learns how the Dial ended, and h has the outcome."""
        with self.phone(21, "noanswer"):
            self.lab.ami.originate("Local/21@after/n", CallerID="33")
            wait_for("ringing", lambda: self.dialled() and "is ringing" in self.log())
            self.lab.cli(f"channel request hangup {self.lab.ami.channel_named('Local/', ';1')}")
            wait_for("the end", lambda: self._report("hung up"))
        self.assertEqual(self._report("hung up").split()[:4], ["done", "CANCEL", "2X", "dial"])
        self.assertEqual(self.complaints(), [])

    def test_cancel_from_a_phone(self) -> None:
        """A real phone gives up while it rings; the other one stops ringing."""
        with self.phone(21, "noanswer"):
            self.assertEqual(self.call("21", "-c", "700"), "not answered, given up after 700 ms")
        self._assert_left("CANCEL")

    def _assert_left(self, outcome: str) -> None:
        wait_for("the mark", lambda: self.variables().get("PBXROUTER") == "done")
        self.assertEqual(self.variables()["PBXROUTER_OUTCOME"], outcome)
        self.assertEqual(self.complaints(), [])

    def test_caller_ends_the_talk(self) -> None:
        """Answered, and hung up by the caller: ANSWER all the same."""
        with self.phone(21, "answer"):
            self.call("21", "-t", "300")
        self._assert_left("ANSWER")

    def test_playback(self) -> None:
        """The workshop's hello-world is played."""
        self.assertEqual(self._dial("56"), ["done", "DONE", "56", "playback"])
        self.assertEqual(self.played(), ["hello-world en"])

    def test_saydigits(self) -> None:
        """The dialled number is read out."""
        self.assertEqual(self._dial("57"), ["done", "DONE", "57", "saydigits"])
        self.assertEqual(self.played(), ["digits/5 en", "digits/7 en"])

    def test_hangup(self) -> None:
        """A hang-up with cause 17: a phone gets the busy signal."""
        self.assertEqual(self.call("58"), "not answered, 486 busy")

    def test_no_driver(self) -> None:
        """An application without a driver: goodbye is played, and the log has the reason."""
        self.assertEqual(self.call("59", "-t", "9000"), "answered, hung up by the far end")
        self.assertEqual(self.played(), ["vm-goodbye en"])
        self.assertEqual(self.variables()["PBXROUTER_OUTCOME"], "NODRIVER")
        self.assertIn("teleport", "\n".join(self.complaints()))

    def test_denied_and_invalid(self) -> None:
        """Hung up by the gateway; h finds the reason."""
        self._dial("999")
        self.assertEqual(self._report("hung up").split()[:2], ["done", "INVALID"])
