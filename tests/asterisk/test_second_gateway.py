"""dialplan/pbxrouter.conf with two gateways: when the second is asked, and what becomes of a call that neither serves.

The gateways are fakes that say the same to every call.
"""

from __future__ import annotations

import re
import time

from tests.asterisk.test_dialplan import APPLICATION, FAKE_ID, MARK, OUTCOME, DialplanTest, FakeGateway
from tests.waiting import wait_for

SERVES = [OUTCOME + "DONE", MARK + "done"]
OTHER_ID = "e5f60718"


class SecondGatewayTest(DialplanTest):
    """The first gateway is at the lab's port, the second at the one behind it."""

    config = None

    def setUp(self) -> None:
        """Name the second, and forget what the dialplan knows of both."""
        super().setUp()
        self.first_url = self.lab.ami.getvar("PBXROUTER_URL")
        self.second_port = self.lab.agi_port + 3
        self.second_url = f"agi://127.0.0.1:{self.second_port}/pbxrouter"
        self._set_global("PBXROUTER_URL_2", self.second_url)
        for name in ("PBXROUTER_GATEWAY", "PBXROUTER_GATEWAY_2"):
            self._set_global(name, "")

    def _gateway(self, port: int, commands: list[str] | None) -> None:
        gateway = FakeGateway(port, commands)
        self.addCleanup(gateway.close)

    def _goes(self, place: str, first: list[str] | None, second: list[str] | None = SERVES) -> list[str]:
        """Place a call to two such gateways, and wait until it comes there; returns which were asked to serve it."""
        if first is not None:
            self._gateway(self.lab.agi_port, first)
        if second is not None:
            self._gateway(self.second_port, second)
        self._originate("999@pbxrouter-phones")
        wait_for(place, lambda: place in self._places())
        self.hang_up_all()
        return self._served_at()

    def _served_at(self) -> list[str]:
        """Which gateway was asked to serve the call: first, second."""
        urls = re.findall(r'AGI\("[^"]*", "([^",]*)(?:"|,(?!alive))', self.log())
        return ["first" if url == self.first_url else "second" for url in urls]

    def test_first_serves(self) -> None:
        """The second is not asked about a call that the first serves."""
        self.assertEqual(self._goes("DONE@pbxrouter-outcome", SERVES), ["first"])
        self.assertEqual(self._asked(), ["alive,call", ""])

    def test_first_is_down(self) -> None:
        """Nothing listens at the first."""
        self.assertEqual(self._goes("DONE@pbxrouter-outcome", None), ["second"])

    def test_first_is_full(self) -> None:
        """The first says that it has no slot."""
        self.assertEqual(self._goes("DONE@pbxrouter-outcome", [MARK + "busy"]), ["second"])

    def test_first_dies_in_the_talk(self) -> None:
        """The first closes while it talks with the caller."""
        self.assertEqual(self._goes("DONE@pbxrouter-outcome", [MARK + "routing"]), ["first", "second"])

    def test_first_fails_before_an_application(self) -> None:
        """The first has an error of its own, before it ran an application; after one the call goes to the fallback."""
        self.assertEqual(self._goes("DONE@pbxrouter-outcome", [MARK + "failed"]), ["first", "second"])

    def test_first_fails_with_an_application(self) -> None:
        """What may have been dialled is not asked about again."""
        failed = [APPLICATION + "dial", MARK + "failed"]
        self.assertEqual(self._goes("999@pbxrouter-fallback", failed), ["first"])

    def test_first_refuses(self) -> None:
        """A call that the first takes for forged is refused."""
        # The mark stands after the question whether it is alive, too.
        self.assertEqual(self._goes("REFUSED@pbxrouter-outcome", [MARK + "refused"]), [])

    def test_dialled(self) -> None:
        """The first dies while its application runs: the call goes on, and the second is not asked."""
        for status, place in (("ANSWER", "ANSWER"), ("BUSY", "BUSY")):
            self._mark = self.lab.log_size()
            dialled = [APPLICATION + "dial", "SET VARIABLE DIALSTATUS " + status, MARK + "dialling"]
            gateway = FakeGateway(self.lab.agi_port, dialled)
            try:
                self.assertEqual(self._goes(f"{place}@pbxrouter-outcome", None, None), ["first"])
            finally:
                gateway.close()

    def test_never_dialled(self) -> None:
        """The first dies before its Dial began: the second is asked."""
        begun = [APPLICATION + "dial", MARK + "dialling"]
        self.assertEqual(self._goes("DONE@pbxrouter-outcome", begun), ["first", "second"])

    def test_first_is_silent(self) -> None:
        """The first accepts the connection and says nothing: the second serves."""
        self._gateway(self.lab.agi_port, None)
        self.assertEqual(self._goes("DONE@pbxrouter-outcome", None), ["second"])

    def test_neither(self) -> None:
        """Without a living gateway the call goes to the fallback."""
        self.assertEqual(self._goes("999@pbxrouter-fallback", None, None), [])

    def test_one_is_full(self) -> None:
        """A call is refused, and not sent to the fallback, if one gateway is alive and full and the other is down."""
        for full in (self.lab.agi_port, self.second_port):
            self._mark = self.lab.log_size()
            gateway = FakeGateway(full, [MARK + "busy"])
            try:
                self.assertEqual(self._goes("CONGESTION@pbxrouter-outcome", None, None), [])
            finally:
                gateway.close()
            self.assertNotIn("999@pbxrouter-fallback", self._places())

    def test_heartbeat_of_the_first_has_stopped(self) -> None:
        """Then the second is asked first, unless its own has stopped, too."""
        now = round(1000 * time.time())
        self._know_gateway(now - 60_000)
        self._gateway(self.lab.agi_port, SERVES)
        self._gateway(self.second_port, SERVES)
        self._set_global(f"PBXROUTER_HEARTBEAT_{OTHER_ID}", "")
        self._set_global("PBXROUTER_GATEWAY_2", f"{OTHER_ID}@{self.second_url}")
        for beat, asked in ((now, "second"), (now - 60_000, "first"), (0, "first")):
            self._mark = self.lab.log_size()
            self.lab.ami.action("Setvar", Variable=f"PBXROUTER_HEARTBEAT_{OTHER_ID}", Value=str(beat))
            self.assertEqual(self._goes("DONE@pbxrouter-outcome", None, None), [asked], beat)
        self._mark = self.lab.log_size()
        self.lab.ami.action("Setvar", Variable=f"PBXROUTER_HEARTBEAT_{FAKE_ID}", Value=str(round(1000 * time.time())))
        self.assertEqual(self._goes("DONE@pbxrouter-outcome", None, None), ["first"])

    def test_key(self) -> None:
        """The key that the first has told is passed back to it, and on to the second."""
        key = "SET VARIABLE PBXROUTER_CALL 0123456789abcdef-1"
        self.assertEqual(self._goes("DONE@pbxrouter-outcome", [key, MARK + "routing"]), ["first", "second"])
        self.assertEqual(
            self._asked(),
            ["alive,call", "call=0123456789abcdef-1", "alive", "again=0123456789abcdef-1"],
        )
