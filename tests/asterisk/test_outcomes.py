"""The outcome of each application, as the dialplan finds it in the channel's variables."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from tests.asterisk.ami import CdrListener
from tests.asterisk.harness import AsteriskTest, mapping_inserts
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


TALK_RULES = {
    "71": ("dial", "Local/{number}@own-leg/n"),
    "72": ("dial", "Local/answer@callee"),
    "73": ("conference", ""),
}


class TalkTest(AsteriskTest):
    """How long two people talked and how the call ended, as the history has it, against what the phones did."""

    config = """
[dial]
timeout = 20

[technologies]
IAX2 = "PJSIP"

[history]
cdr_field = "userfield"

[[asterisk]]
name = "lab"
ami = "tcp:127.0.0.1:AMI_PORT"
username = "gateway"
secret_file = "ami.secret"

[fastagi]
"""

    def setUp(self) -> None:
        """Add the rules that these tests dial, once, of which 71 needs a PIN; listen to Asterisk's CDR."""
        super().setUp()
        if not getattr(self.gateway, "has_talk_rules", False):
            self.gateway.change_rules(
                *mapping_inserts(TALK_RULES),
                "INSERT INTO extensions_mappings (extension_id, map_id)"
                " SELECT extension_id, map_id FROM extensions, applications_mappings WHERE pattern IN ('72', '73')",
                "INSERT INTO users_mappings (user_id, map_id)"
                " SELECT user_id, map_id FROM users, applications_mappings WHERE pattern = '71'",
            )
            self.gateway.has_talk_rules = True  # type: ignore[attr-defined]
        self._before = self._calls()
        self.cdr = CdrListener(self.lab.base + 38)
        self.addCleanup(self.cdr.close)

    def _calls(self) -> int:
        with closing(sqlite3.connect(self.gateway.database)) as connection:
            count: int = connection.execute("SELECT count(*) FROM calls").fetchone()[0]
        return count

    def _row(self, ready: Callable[[dict[str, object]], object] = lambda row: True) -> dict[str, object]:
        """The newest row of the history, once there is a new one that is ready."""
        found: list[dict[str, object]] = []

        def is_there() -> bool:
            if self._calls() > self._before:
                found[:] = [json.loads(self.gateway.command("history", "--json", "--limit", "1"))]
            return bool(found and ready(found[0]))

        wait_for("the call is in the history", is_there)
        self._before = self._calls()
        return found[0]

    def _talk(self) -> tuple[object, int]:
        """Outcome and seconds of talk of the newest call."""
        row = self._row(lambda row: row["answered_s"] is not None)
        assert isinstance(row["answered_s"], int)
        return row["outcome"], row["answered_s"]

    @contextmanager
    def _both_phones(self, *options: str) -> Iterator[None]:
        with self.phone(21, "answer", *options), self.phone(33, "answer", "-r", "500"):
            yield

    def test_as_the_cdr(self) -> None:
        """A call whose caller Dial answers, and one after a PIN, whose called leg has a CDR of its own."""
        with self.phone(21, "answer", "-r", "1500", "-t", "2300"):
            self.call("21", "-t", "30000")
        cdr = self.cdr.wait(lambda cdr: cdr["DestinationChannel"].startswith("PJSIP/21"))
        self.assertEqual(self._talk(), ("ANSWER", int(cdr["BillableSeconds"])))
        with self.phone(21, "answer", "-r", "1500", "-t", "2300"):
            self.call("71", "-d", "123456#", "-t", "30000")
        own = self.cdr.wait(lambda cdr: ";71;" in cdr["UserField"])
        self.assertRegex(own["UserField"], r"^moises silva;71;[0-9a-f]{16}-[0-9]+$")
        cdr = self.cdr.wait(lambda cdr: cdr["Channel"].endswith(";2") and "PJSIP/21" in cdr["DestinationChannel"])
        self.assertEqual(self._talk(), ("ANSWER", int(cdr["BillableSeconds"])))

    def test_after_the_callers_own_answer(self) -> None:
        """A phone that was called first, and a line that was asked for the number."""
        with self._both_phones("-r", "2000", "-t", "2300"):
            self.lab.ami.action(
                "Originate", Channel="PJSIP/33", Context="pbxrouter", Exten="21", Priority="1", CallerID="33"
            )
            self.assertEqual(self._talk(), ("ANSWER", 2))
        with self.phone(22, "answer", "-r", "1500", "-t", "2300"):
            self.call("770", "-d", "22#", "-t", "30000")
        self.assertEqual(self._talk(), ("ANSWER", 2))

    def test_beside_a_call(self) -> None:
        """AGI in Dial's U() and in a hang-up handler plays no prompt, and is no call in the history."""
        with self.phone(21, "answer", "-t", "1000"):
            self.assertEqual(self.call("775", "-t", "9000"), "answered, hung up by the far end")
        wait_for("both have run", lambda: self.gateway.log(self._gateway_mark).count(": NOCALL") == 2)
        self.call("72", "-t", "500")
        self.assertEqual(self._row()["number"], "72")
        self.assertEqual(self._before, self._calls())
        self.assertEqual([sound for sound in self.played() if "enter-num" in sound], [])

    def test_nobody_to_talk_to(self) -> None:
        """A prompt behind a Local channel answers, and a conference has one: both served, without talk."""
        for number, stays_ms in (("72", "30000"), ("73", "1500")):  # the prompt hangs up before its caller does
            self.call(number, "-t", stays_ms)
            self.assertEqual(self._talk(), ("DONE", 0), number)

    def test_who_ended_it(self) -> None:
        """Who ended the call: the caller, or Asterisk; or it went on elsewhere."""
        with self.phone(21, "noanswer", "-m", "3"):
            self.call("21", "-c", "700")
            self.assertEqual(self._talk(), ("CANCEL", 0))
            for action, outcome in (("Hangup", "CUT"), ("Redirect", "MOVED")):
                self._mark = self.lab.log_size()
                with self.calling("21", "-t", "1000"):
                    wait_for("ringing", lambda: self.dialled() and "is ringing" in self.log())
                    place = {"Context": "callee", "Exten": "hold", "Priority": "1"} if action == "Redirect" else {}
                    self.lab.ami.action(action, Channel=self.lab.ami.channel_named("PJSIP/33"), **place)
                self.assertEqual(self._talk(), (outcome, 0))

    def test_without_the_gateway(self) -> None:
        """A call that goes on when the gateway is killed is completed by the next run, at its end."""
        with self.phone(21, "answer", "-t", "60000"), self.calling("21", "-t", "60000"):
            wait_for("they talk", lambda: " 2 basic " in self.lab.cli("bridge show all"))
            wait_for("the counter has it", self._is_counted)
            self.gateway.kill()
            self.gateway.start()
            wait_for("it is in the history", lambda: self._calls() > self._before)
            self.gateway.settle()
            wait_for("it is taken up", lambda: "calls are counted again" in self.gateway.log(self._gateway_mark))
            self.hang_up_all()
        outcome, talk_s = self._talk()
        cdr = self.cdr.wait(lambda cdr: cdr["DestinationChannel"].startswith("PJSIP/21"))
        self.assertEqual(outcome, "UNKNOWN")
        self.assertAlmostEqual(talk_s, int(cdr["BillableSeconds"]), delta=1)
        self._sockets = self.gateway.sockets()

    def _is_counted(self) -> bool:
        with closing(sqlite3.connect(self.gateway.database)) as connection:
            rows = connection.execute("SELECT talks FROM counter_live WHERE answered IS NOT NULL").fetchall()
        return any("channels" in talks for (talks,) in rows)
