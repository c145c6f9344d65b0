"""Callers with line ends, commands and strange bytes in their number or the dialled one.

Whatever they do, it never changes who is calling or what was dialled, never answers
a question of the gateway's, and never reaches Dial.
"""

from __future__ import annotations

import time

from tests.asterisk.harness import AsteriskTest
from tests.waiting import wait_for


class ForgedRequestTest(AsteriskTest):
    """Injections that Asterisk passes on raw, from the trunk's From and from a phone's dialled number."""

    def _from_trunk(self, caller: str, number: str, *options: str) -> str:
        return self.call(number, "-s", "127.0.0.2", "-f", caller, "-t", "1500", *options)

    def _assert_refused(self) -> None:
        wait_for("the refusal in the log", lambda: any("#warn" in complaint for complaint in self.complaints()))
        self.assertEqual(self.dialled(), [])
        self.assertEqual(self.played(), [])
        self.assertNotIn("Traceback", self.gateway.log(self._gateway_mark))
        self.assertEqual(self.variables(), {"PBXROUTER": "refused"})

    def test_second_caller(self) -> None:
        """A From that brings a caller ID line of its own."""
        self._from_trunk("555%0aagi_callerid%3a%2033", "21")
        self._assert_refused()

    def test_second_extension(self) -> None:
        """A From that brings a number to dial of its own."""
        self._from_trunk("33%0aagi_extension%3a%2021", "9")
        self._assert_refused()

    def test_early_end(self) -> None:
        """A From that ends the block and brings the reply to the first command."""
        self._from_trunk("22%0aagi_extension%3a%20900%0aagi_threadid%3a%201%0a%0a200%20result%3d1234", "34")
        self._assert_refused()

    def test_answer_to_the_pin_question(self) -> None:
        """A From that brings replies, the right PIN among them."""
        self._from_trunk("1%0a%0a200%20result%3d0%0a200%20result%3d123456", "34", "-t", "3000")
        self._assert_refused()

    def test_caller_in_the_number(self) -> None:
        """33 dials a number that holds a caller ID line."""
        self.call("21%0aagi_callerid%3a%2033", "-f", "35", "-t", "1500")
        self._assert_refused()

    def test_separators_in_the_number(self) -> None:
        """Bytes with a meaning in Dial make an invalid number, and none of them reaches Dial."""
        for number in ("2%261", "2%2c1", "2%2f1", "21%40x", "2%5f1", "2%7c1", "2%ff1", "21%09", "21%20"):
            self._mark = self.lab.log_size()
            self.call(number, "-w", "50", "-t", "50")
            wait_for("the end of the call", lambda: "completed, returning" in self.log())
            self.assertEqual(self.dialled(), [], number)

    def test_byte_that_is_not_utf8(self) -> None:
        """A caller number that is not UTF-8 matches no extension; the call goes on, with a PIN."""
        self.call_until(self.dialled, "21", "-s", "127.0.0.2", "-f", "5%ff", "-d", "123456#")
        self.assertEqual(self.dialled(), ["PJSIP/21"])

    def test_strange_names(self) -> None:
        """Names with quotes, backslashes and accents change nothing."""
        names = ('O\'Brien, \\\\"Pat\\\\"', "Moisés Ñandú", "a: b")
        with self.phone(21, "busy", "-m", str(len(names))):
            for name in names:
                self._mark = self.lab.log_size()
                self.call("21", "-s", "127.0.0.2", "-f", "33", "-n", name)
                self.assertEqual(self.dialled(), ["PJSIP/21"], name)
        self.assertEqual(self.complaints(), [])

    def test_a_hyphen_means_nothing(self) -> None:
        """A hyphen in a number is ignored, as in Asterisk: 2-1 is 21."""
        with self.phone(21, "busy"):
            self.call("2-1")
        self.assertEqual(self.dialled(), ["PJSIP/21"])

    def test_the_gateway_goes_on(self) -> None:
        """After a forged call a genuine one is served."""
        self._from_trunk("555%0aagi_callerid%3a%2033", "21")
        time.sleep(0.2)
        self.call("999", "-t", "9000")
        self.assertEqual(self.played(), ["invalid en"])
