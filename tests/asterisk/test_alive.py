"""A gateway that is frozen, killed or cut off at any point of a call, and trouble that is not the gateway's.

Phone 36 calls by dialplan/pbxrouter.conf, by FastAGI and by agi:async. The gateway's AMI connection goes by a relay.
"""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from collections.abc import Callable

from tests.asterisk.relay import Relay
from tests.asterisk.test_dialplan import FAKE_ID, DialplanTest
from tests.waiting import wait_for

AMI = """
[dial]
timeout = 4
[[asterisk]]
name = "lab"
ami = "tcp:127.0.0.1:RELAY_PORT"
username = "gateway"
magi = ["pbxrouter-ask"]
"""


class RelayedTest(DialplanTest):
    """A gateway whose AMI connection goes by a relay, and whose callers at 36 may dial 2X."""

    config: str | None = AMI + 'secret_file = "ami.secret"\n'
    url = ""

    def setUp(self) -> None:
        """Start the relay, and let 36 dial 2X."""
        super().setUp()
        self.relay = Relay(self.lab.base + 74, self.lab.base + 38)
        self.addCleanup(self.relay.close)
        if self.url:
            self._set_global("PBXROUTER_URL", self.url)
        self._grant_36()

    def _until_up(self) -> None:
        """Wait until the gateway is connected to AMI."""
        began = time.time()
        wait_for("a beat", lambda: int(self.lab.ami.getvar("PBXROUTER_HEARTBEAT") or "0") >= began)
        wait_for("the gateway to serve the calls", lambda: self.serves_async("pbxrouter-ask"))
        self._sockets = self.gateway.sockets()
        self._gateway_mark = self.gateway.log_size()

    def _signal(self, number: signal.Signals) -> None:
        assert self.gateway.process is not None
        self.gateway.process.send_signal(number)

    def _freeze(self) -> None:
        self._signal(signal.SIGSTOP)
        self.addCleanup(self._signal, signal.SIGCONT)

    def _assert_as_before(self) -> None:
        """Resume the gateway: it does not blame Asterisk, keeps its connection, and takes the next call."""
        mark = self.gateway.log_size()
        self._signal(signal.SIGCONT)
        began = time.time()
        wait_for("a beat", lambda: int(self.lab.ami.getvar("PBXROUTER_HEARTBEAT") or "0") >= began)
        self._mark = self.lab.log_size()
        self._call_36("999", "-t", "9000")
        self.assertEqual(self.played(), ["invalid en"])
        log = self.gateway.log(mark)
        for complaint in ("AMI lab", "silent for", "did not reply", "did not answer"):
            self.assertNotIn(complaint, log)

    def _rows(self, number: str) -> list[int]:
        """How many rows of history each call to a number has."""
        with contextlib.closing(sqlite3.connect(self.gateway.database)) as connection:
            found = connection.execute("SELECT count(*) FROM calls WHERE number = ? GROUP BY uniqueid", (number,))
            return [count for (count,) in found]

    def _calls_until(self, number: str, condition: Callable[[], object], what: str, fault: Callable[[], None]) -> None:
        """Place a call, cause the fault when it has come to the condition, and wait until it comes to that place."""
        with self.calling(number, "-f", "36", "-t", "60000"):
            wait_for("the point of the call", condition)
            fault()
            wait_for(what, lambda: what in self._places())
            self.hang_up_all()
        wait_for("the end", lambda: not self.lab.channels())

    def _rings(self) -> bool:
        return "is ringing" in self.log()

    def _talks(self) -> bool:
        return "answered PJSIP/36" in self.log()

    def _prompted(self) -> bool:
        return bool(self.played())


class FrozenTest(RelayedTest):
    """The gateway is frozen by SIGSTOP; the calls by FastAGI."""

    def setUp(self) -> None:
        """Wait for the connection."""
        super().setUp()
        self._until_up()

    def test_new_call(self) -> None:
        """A new call comes to the fallback, by FastAGI once there was no sign of the gateway for ten seconds."""
        self._freeze()
        wait_for("it is no longer taken for late", lambda: self.beat_age() > 12)
        self._calls_until("22", lambda: True, "22@fallback", lambda: None)
        self._assert_as_before()

    def test_prompt(self) -> None:
        """In the PIN prompt: the fallback. The call stands once in the history."""
        self._calls_until("34", self._prompted, "34@fallback", self._freeze)
        self._assert_as_before()
        wait_for("the row", lambda: self._rows("34"))
        self.assertEqual(set(self._rows("34")), {1})

    def test_keyed(self) -> None:
        """After the PIN was keyed: the fallback."""
        with self.calling("34", "-f", "36", "-d", "000000#", "-t", "60000"):
            wait_for("the prompt", self._prompted)
            self._freeze()
            wait_for("the fallback", lambda: "34@fallback" in self._places())
            self.hang_up_all()
        self._assert_as_before()

    def test_rings_in_vain(self) -> None:
        """While a phone rings that is not answered: the caller hears the announcement."""
        with self.phone(21, "noanswer"):
            self._calls_until("21", self._rings, "NOANSWER@pbxrouter-outcome", self._freeze)
        self._assert_as_before()

    def test_talk(self) -> None:
        """While they talk: they go on, and the call ends when the called party hangs up."""
        with self.phone(21, "answer", "-t", "6000"):
            self._calls_until("21", self._talks, "ANSWER@pbxrouter-outcome", self._freeze)
        self._assert_as_before()


class FrozenAsyncTest(FrozenTest):
    """The same by agi:async."""

    url = "agi:async"


class KilledAsyncTest(RelayedTest):
    """The gateway is killed, and not started again; the calls by agi:async."""

    url = "agi:async"

    def setUp(self) -> None:
        """Wait for the connection."""
        super().setUp()
        self._until_up()

    def _fault(self) -> None:
        self.gateway.kill()

    def test_prompt(self) -> None:
        """In the PIN prompt: the fallback."""
        self._calls_until("34", self._prompted, "34@fallback", self._fault)

    def test_rings_in_vain(self) -> None:
        """While a phone rings that is not answered: the caller hears the announcement."""
        with self.phone(21, "noanswer"):
            self._calls_until("21", self._rings, "NOANSWER@pbxrouter-outcome", self._fault)

    def test_talk(self) -> None:
        """While they talk: the call ends when the called party hangs up."""
        with self.phone(21, "answer", "-t", "6000"):
            self._calls_until("21", self._talks, "ANSWER@pbxrouter-outcome", self._fault)

    def test_new_call(self) -> None:
        """A new call comes to the fallback, with an old heartbeat as with a fresh one."""
        self._fault()
        self._calls_until("22", lambda: True, "22@fallback", lambda: None)


class CutOffAsyncTest(KilledAsyncTest):
    """The gateway lives, and its AMI connection is gone for good."""

    def _fault(self) -> None:
        self.relay.refusing = True


class HalfOpenAsyncTest(KilledAsyncTest):
    """The gateway lives, and nothing goes over its AMI connection, which stays open."""

    def _fault(self) -> None:
        self.relay.stalled = True


class AMITroubleTest(RelayedTest):
    """Trouble of AMI alone: calls by FastAGI are served."""

    def _assert_served(self) -> None:
        """Assert that calls are served with an old heartbeat and without one."""
        for beat in ("", "0", str(int(time.time()) - 60)):
            self._mark = self.lab.log_size()
            self._set_global("PBXROUTER_HEARTBEAT", beat)
            self._call_36("999", "-t", "9000")
            self.assertEqual(self.played(), ["invalid en"])
            self.assertNotIn("fallback", "".join(self._places()))

    def test_refused(self) -> None:
        """The connection is refused."""
        self.relay.refusing = True
        self._assert_served()

    def test_lost(self) -> None:
        """It was there, and is refused from then on; then it is back."""
        self._until_up()
        self.relay.refusing = True
        self._assert_served()
        self.relay.refusing = False
        self._until_up()

    def test_half_open(self) -> None:
        """Nothing goes over the connection any more."""
        self._until_up()
        self.relay.stalled = True
        with self.phone(21, "answer", "-t", "500"):
            self.assertEqual(self._call_36("21"), "answered, hung up by the far end")
        self._assert_served()
        self.relay.stalled = False


class LoginRefusedTest(AMITroubleTest):
    """The login is wrong, so that AMI refuses it."""

    config = AMI + 'secret_file = "fastagi.secret"\n'

    def test_lost(self) -> None:
        """The login is refused."""
        wait_for("the refusal", lambda: "refuses the login" in self.gateway.log())
        self._assert_served()

    test_half_open = test_refused = test_lost


class OtherGatewayTest(RelayedTest):
    """Another gateway on the same Asterisk lives on and sends its heartbeat."""

    def setUp(self) -> None:
        """Let the gateway answer once, and the other send heartbeats for a long time."""
        super().setUp()
        self._until_up()
        self._call_36("999", "-t", "9000")
        for name in ("PBXROUTER_HEARTBEAT", f"PBXROUTER_HEARTBEAT_{FAKE_ID}"):
            self._set_global(name, "")

    def _other_beats(self) -> bool:
        now = time.time()
        self.lab.ami.action("Setvar", Variable="PBXROUTER_HEARTBEAT", Value=str(int(now)))
        self._beat(round(1000 * now))
        return False

    def test_killed(self) -> None:
        """The death of this one is seen all the same: the fallback."""
        self.gateway.kill()
        for url in ("", "agi:async"):
            self._mark = self.lab.log_size()
            if url:
                self._set_global("PBXROUTER_URL", url)
            with self.calling("22", "-f", "36", "-t", "60000"):
                wait_for("the fallback", lambda: self._other_beats() or "22@fallback" in self._places())
                self.hang_up_all()

    def test_stopped(self) -> None:
        """The farewell of the other does not make this one's calls come to the fallback."""
        self.lab.ami.action("Setvar", Variable="PBXROUTER_HEARTBEAT", Value="0")
        self._beat(0)
        self._mark = self.lab.log_size()
        self._call_36("999", "-t", "9000")
        self.assertEqual(self.played(), ["invalid en"])
