"""MAGI on a real Asterisk: calls in AGI(agi:async) are routed as those by FastAGI."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import time
from typing import Any
from urllib.parse import quote

from tests.asterisk import test_workshop
from tests.asterisk.ami import Ami
from tests.asterisk.harness import LOOP, AsteriskTest
from tests.waiting import wait_for

ASTERISK = """
[dial]
timeout = 20
[[asterisk]]
name = "lab"
ami = "tcp:127.0.0.1:AMI_PORT"
username = "gateway"
secret_file = "ami.secret"
magi = ["pbxrouter-magi", "magi-after", "magi-long", "pbxrouter-ask"]
[fastagi]
debug = true
"""
CONFIG = LOOP + ASTERISK
ASK, WRONG, INVALID, GOODBYE = "agent-pass", "vm-incorrect", "invalid", "vm-goodbye"


class MagiTest(AsteriskTest):
    """A gateway with an AMI connection; phone 34, whose calls come by MAGI, has the grants of 33."""

    config: str | None = CONFIG

    def setUp(self) -> None:
        """Wait for the connection; once, copy the grants and add a rule whose Dial fails at once."""
        super().setUp()
        if not getattr(self.gateway, "has_34", False):
            self.gateway.change_rules(
                "INSERT INTO extensions (extension_number) VALUES ('34')",
                "INSERT INTO extensions_mappings (extension_id, map_id)"
                " SELECT new.extension_id, map_id FROM extensions AS new, extensions AS old"
                " JOIN extensions_mappings ON extensions_mappings.extension_id = old.extension_id"
                " WHERE new.extension_number = '34' AND old.extension_number = '33'",
                "INSERT INTO applications_mappings (application_name, application_data, pattern)"
                " VALUES ('dial', 'NoSuchTechnology/1', '54')",
                "INSERT INTO extensions_mappings (extension_id, map_id)"
                " SELECT extension_id, map_id FROM extensions, applications_mappings WHERE pattern = '54'",
            )
            self.gateway.has_34 = True  # type: ignore[attr-defined]
        self._until_up(0)
        self._sockets = self.gateway.sockets()
        self._gateway_mark = self.gateway.log_size()

    def _until_up(self, since: int) -> None:
        def is_up() -> bool:
            said = re.findall("AMI lab: (connected|the connection is lost)", self.gateway.log(since))
            return said[-1:] == ["connected"]

        wait_for("the gateway's AMI connection", is_up)
        wait_for("the gateway to serve the calls", lambda: self.serves_async("pbxrouter-magi"))

    def call(self, number: str, *options: str) -> str:
        """Place a call, from 34 by default."""
        return super().call(number, *(options if "-f" in options else ("-f", "34", *options)))

    def calling(self, number: str, *options: str):  # type: ignore[no-untyped-def]
        """Place a call that lasts while the body runs, from 34 by default."""
        return super().calling(number, *(options if "-f" in options else ("-f", "34", *options)))

    def commands(self) -> list[str]:
        """The AGI commands, from the gateway's log; Asterisk does not log those of AsyncAGI."""
        log = self.gateway.log(self._gateway_mark)
        lines = re.findall(r"DialogueLog#info\] \S+ .*?->\S* > (.*)$", log, re.MULTILINE)
        return [line.replace('"', "") for line in lines if not re.match("(?i)noop|asyncagi|get full", line)]

    def originate(self, number: str, context: str = "magi-after", **headers: str | int) -> str:
        """Originate a call of 33 without a phone; returns its Uniqueid."""
        told: dict[str, Any] = {"CallerID": "33", **headers}
        return self.lab.ami.originate(f"Local/{number}@{context}/n", **told)

    def report(self, when: str = "after") -> str:
        """What the dialplan found afterwards: PBXROUTER, outcome, pattern, application, cause."""
        found = re.search(rf'NoOp\("[^"]*", "{when}: ([^"]*)"', self.log())
        return found[1] if found else ""

    def until_report(self, when: str = "after") -> str:
        """Wait for the report."""
        wait_for(f"the dialplan's report ({when})", lambda: self.report(when))
        return self.report(when)

    def press(self, digits: str) -> None:
        """Press keys on the one call without a phone."""
        self.lab.ami.press(self.lab.ami.channel_named("Local/", ";2"), digits)

    def asked(self, times: int = 1) -> None:
        """Wait until the caller has been asked for a PIN this many times."""
        wait_for("the PIN prompt", lambda: self.times_asked() >= times)
        time.sleep(0.2)

    def times_asked(self) -> int:
        """How many times the caller has been asked for a PIN."""
        return self.played().count(f"{ASK} en")

    def press_until_dialled(self, pin: str, dialled: list[str]) -> None:
        """Press a PIN until it is taken: the caller was asked a while ago, and may be between two prompts by now."""
        pressed_at = 0

        def is_dialled() -> bool:
            nonlocal pressed_at
            if self.dialled():
                return True
            if (asked := self.times_asked()) > pressed_at:
                time.sleep(0.2)
                self.press(f"{pin}#")
                pressed_at = asked
            return False

        wait_for("the Dial", is_dialled)
        self.assertEqual(self.dialled(), dialled)


class MagiTableTest(MagiTest, test_workshop.TableTest):
    """Every row of the workshop's table, with the prompts of FastAGI."""

    config = ASTERISK

    def test_voicemail(self) -> None:
        """33 calls 66: the mailbox of 33, which opens with its password, 3333."""
        self.originate("66", "pbxrouter-magi")
        self.asked()
        self.press("123456#")
        wait_for("the password", lambda: "vm-password en" in self.played())
        time.sleep(1.5)
        self.press("3333#")
        wait_for("the messages", lambda: "vm-no en" in self.played())
        self.assertEqual(self.applications(), ["VoiceMailMain 33@default"])
        self.hang_up_all()

    def test_unknown_extension(self) -> None:
        """44 is in no table: it is asked for a PIN where 33 is not."""
        self._unknown("44")

    def test_called_unknown(self) -> None:
        """A caller with the number "unknown" is treated as one without a number."""
        self._unknown("unknown")

    def test_no_caller_number(self) -> None:
        """A caller without a number is asked for a PIN, too."""
        self._unknown("")

    def _unknown(self, caller: str) -> None:
        self.originate("21", CallerID=caller)
        self.asked()
        self.press("123456#")
        wait_for("the Dial", self.dialled)
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.hang_up_all()

    def test_pin_stays_out_of_the_log(self) -> None:
        """Neither a right nor a wrong PIN is in the gateway's log, which has the whole dialogue."""
        self.call_until(self.dialled, "34", "-d", "907856#pp123456#")
        log = self.gateway.log(self._gateway_mark).replace("0123456789*#", "")
        self.assertNotIn("907856", log)
        self.assertNotIn("123456", log)


class MagiCallTest(MagiTest):
    """Cases that only AsyncAGI has."""

    def test_dialplan_goes_on(self) -> None:
        """After a busy callee the call is back in the dialplan, with the gateway's and Asterisk's variables."""
        with self.phone(21, "busy"):
            self.originate("21")
            self.assertEqual(self.until_report(), "done BUSY 2X dial 17")
        self.assertIn("AGISTATUS=SUCCESS DIALSTATUS=BUSY", self.log())
        self.assertEqual(self.complaints(), [])

    def test_hang_up_in_every_state(self) -> None:
        """The caller hangs up while it rings, is answered, asked, refused: nothing is left of the call."""
        for hold in ("1", "100", "300", "600", "1500", "4000"):
            self.call("34", "-w", "100", "-d", "000000#", "-t", hold)
            self.call("54", "-c", hold)
        with self.phone(21, "noanswer"):
            self.call("21", "-c", "2500")
        wait_for("all channels gone", lambda: not self.lab.channels())
        self.assertEqual(self.complaints(), [])

    def test_hang_up_while_talking(self) -> None:
        """The caller hangs up an answered call: its outcome is ANSWER, as over FastAGI."""
        with self.phone(21, "answer"):
            self.assertEqual(self.call("21", "-t", "1000"), "answered, hung up by the caller")
        wait_for("the call's line", lambda: "-> 21: " in self.gateway.log(self._gateway_mark))
        self.assertIn("34 -> 21: ANSWER", self.gateway.log(self._gateway_mark))

    def test_give_up_while_it_rings(self) -> None:
        """The caller gives up while it rings: CANCEL."""
        with self.phone(21, "noanswer"):
            self.call("21", "-c", "2500")
        wait_for("the call's line", lambda: "-> 21: " in self.gateway.log(self._gateway_mark))
        self.assertIn("34 -> 21: CANCEL", self.gateway.log(self._gateway_mark))

    def test_asked_twice(self) -> None:
        """A wrong PIN, then the right one; the dialplan finds the outcome."""
        self.originate("34")
        self.asked()
        self.press("000000#")
        self.asked(2)
        self.press("123456#")
        wait_for("the Dial", self.dialled)
        self.assertEqual(self.until_report().split()[:2], ["done", "ANSWER"])

    def test_long_opening(self) -> None:
        """An opening block longer than AMI carries at once is put together, arguments included."""
        self.lab.ami.action("Setvar", Variable="TEN", Value="x" * 60)
        self.originate("54", "magi-long", CallerID='"Ñandú Ñandú Ñandú Ñandú Ñandú" <33>')
        wait_for("the end", lambda: "DIALSTATUS=CHANUNAVAIL" in self.log())
        log = self.gateway.log(self._gateway_mark)
        self.assertIn("agi_arg_2: " + "another-of-those-arguments-" * 60, log)
        self.assertEqual(self.complaints(), [])

    def test_too_long_opening(self) -> None:
        """A still longer block: what can be queried is queried, and the call is routed."""
        self.lab.ami.action("Setvar", Variable="TEN", Value="ñ" * 400)
        self.originate("54", "magi-long")
        wait_for("the end", lambda: "DIALSTATUS=CHANUNAVAIL" in self.log())
        self.assertIn("is adopted", self.gateway.log(self._gateway_mark))
        self.assertEqual(self.complaints(), [])

    def test_other_controllers_call(self) -> None:
        """A call in another context is left alone."""
        controller = Ami(self.lab.base + 38)
        self.addCleanup(controller.close)
        unique_id = self.originate("21", "magi-other")
        time.sleep(6)  # longer than between two looks at what waits
        self.assertEqual(self.commands(), [])
        reply = controller.action("AGI", Channel=unique_id, Command="ASYNCAGI BREAK", CommandID="theirs")
        self.assertEqual(reply["Response"], "Success", reply)
        wait_for("the dialplan", lambda: "AGISTATUS=SUCCESS" in self.log())
        self.hang_up_all()

    def test_second_source_of_commands(self) -> None:
        """`agi exec` at Asterisk's console for the gateway's call, short replies and long: none is mixed up."""
        self.originate("34")
        self.asked()
        name = self.lab.ami.channel_named("Local/", ";2")
        self.lab.ami.action("Setvar", Variable="LONG", Value="v" * 900, Channel=name)
        for command in ("GET FULL VARIABLE ${LONG}${LONG}${LONG}", "VERBOSE hello", "GET NONSENSE"):
            self.lab.cli(f"agi exec {name} {command}")
        self.press_until_dialled("123456", ["IAX2/loop/34"])
        self.assertEqual(self.until_report().split()[:2], ["done", "ANSWER"])
        self.assertEqual(self.complaints(), [])

    def test_forged_number(self) -> None:
        """A number with line ends adds lines to the opening block: the call is refused, and not routed."""

        def is_refused() -> bool:
            # A look at the waiting calls may find it before its block is read: such a call is asked for its number.
            self._gateway_mark = self.gateway.log_size()
            self.call("21%0aagi_callerid%3a%2033", "-c", "2000")
            return "refused" in "".join(self.complaints())

        wait_for("the refusal", is_refused)
        self.assertEqual(self.dialled(), [])
        self.assertEqual(self.commands(), [])

    def test_forged_events(self) -> None:
        """A number with whole events in it neither ends nor begins a call."""
        self.originate("34")
        self.asked()
        victim = self.lab.ami.channel_named("Local/", ";2")
        unique_id = self.lab.ami.action("Getvar", Channel=victim, Variable="UNIQUEID")["Value"]
        lines = f"%0d%0a%0d%0aEvent%3a%20AsyncAGIEnd%0d%0aUniqueid%3a%20{unique_id}%0d%0a%0d%0a"
        for forged in (lines, f"%0d%0aContext%3a%20magi-after%0d%0aUniqueid%3a%20{unique_id}"):
            self.call(f"9{forged}", "-c", "700")
        self.press_until_dialled("123456", ["IAX2/loop/34"])
        self.assertEqual(self.until_report().split()[:2], ["done", "ANSWER"])

    def test_whole_forged_hangup(self) -> None:
        """A complete Hangup, forged over a trunk for another call's channel, drops no call."""
        self.originate("34")
        self.asked()
        victim = self.lab.ami.channel_named("Local/", ";2")
        unique_id = self.lab.ami.action("Getvar", Channel=victim, Variable="UNIQUEID")["Value"]
        # The headers between CallerIDNum and Exten are the genuine ones of the forger's own event.
        begins = "\r\n\r\nEvent: Hangup\r\nChannel: \r\nChannelState: \r\nChannelStateDesc: \r\nCallerIDNum: "
        ends = f"9\r\nPriority: 1\r\nUniqueid: {unique_id}\r\nLinkedid: {unique_id}\r\n\r\n"
        mark = self.gateway.log_size()
        self.call(quote(ends, safe=""), "-s", "127.0.0.2", "-f", quote(begins, safe=""), "-c", "700")
        told = "ignored a forged Hangup of channel"
        wait_for("the forged Hangup is ignored", lambda: f"{told} {unique_id}" in self.gateway.log(mark))
        self.press_until_dialled("123456", ["IAX2/loop/34"])
        self.assertEqual(self.until_report().split()[:2], ["done", "ANSWER"])

    def test_redirected(self) -> None:
        """A call that is redirected out of the PIN prompt belongs to the dialplan, and is no error."""
        self.originate("34")
        self.asked()
        name = self.lab.ami.channel_named("Local/", ";2")
        self.lab.ami.action("Redirect", Channel=name, Context="callee", Exten="answer", Priority=1)
        wait_for("the redirected call's end", lambda: not self.lab.channels())
        self.assertEqual(self.dialled(), [])
        self.assertEqual(self.complaints(), [])

    def test_masquerade(self) -> None:
        """A caller is bridged away out of the PIN prompt (a masquerade): the gateway keeps nothing of the call."""
        self.originate("34")
        self.asked()
        name = self.lab.ami.channel_named("Local/", ";2")
        self.lab.ami.originate("Local/hold@callee/n")
        wait_for("the other", lambda: sum("hold@" in channel for channel in self.lab.channels()) == 2)
        other = next(channel for channel in self.lab.channels() if "hold@" in channel and channel.endswith(";2"))
        self.lab.ami.action("Bridge", Channel1=name, Channel2=other)
        time.sleep(1)
        self.hang_up_all()
        wait_for("all channels gone", lambda: not self.lab.channels())
        self.assertEqual(self.complaints(), [])

    def test_long_dial_delays_no_other_call(self) -> None:
        """While one call rings, another is asked and connected."""
        with self.phone(21, "noanswer"), self.calling("21", "-t", "60000", "-c", "6000"):
            wait_for("the first Dial", self.dialled)
            self.originate("999")
            wait_for("the second's prompt", lambda: f"{INVALID} en" in self.played())
            self.assertTrue([name for name in self.lab.channels() if name.startswith("PJSIP/21-")], "rings on")

    def test_a_hundred_calls(self) -> None:
        """A hundred simultaneous calls are all served."""
        for _ in range(100):
            self.originate("54")
        wait_for("all through", lambda: len(re.findall("after: done", self.log())) == 100)
        wait_for("all channels gone", lambda: not self.lab.channels())
        self.assertEqual(self.complaints(), [])


class MissingPromptsTest(MagiTest):
    """A gateway whose prompts this Asterisk lacks; a STREAM FILE of one would end the run of AGI."""

    config = CONFIG + '[prompts]\nwrong-pin = "nosuch-wrong"\ngoodbye = "nosuch-goodbye"\n'

    def test_wrong_pins(self) -> None:
        """Three wrong PINs: three prompts, and the call is hung up as denied."""
        self.originate("34")
        for times in (1, 2, 3):
            self.asked(times)
            self.press("000000#")
        self.assertEqual(self.until_report("hung up").split()[:2], ["done", "DENIED"])
        self.assertEqual(self.dialled(), [])


class RestartTest(MagiTest):
    """The gateway is killed and restarted while calls wait for it."""

    def _again(self) -> None:
        self.gateway.kill()
        mark = self.gateway.log_size()
        self.gateway.start()
        self._until_up(mark)
        self._sockets = self.gateway.sockets()

    def test_killed_in_a_pin_prompt(self) -> None:
        """The waiting call is found, asked again, and routed."""
        self.originate("34")
        self.asked()
        self._again()
        self.asked(2)
        self.press("123456#")
        self.assertEqual(self.until_report().split()[:2], ["done", "ANSWER"])
        self.assertIn("was waiting and is adopted", self.gateway.log(self._gateway_mark))
        self._once_in_the_history("DONE")  # answered, by no person

    def _once_in_the_history(self, outcome: str) -> None:
        """Wait until the latest call has this outcome in the history, and is there once."""

        def rows() -> list[tuple[str, ...]]:
            with contextlib.closing(sqlite3.connect(self.gateway.database)) as connection:
                return connection.execute(
                    "SELECT outcome FROM calls WHERE uniqueid ="
                    " (SELECT uniqueid FROM calls ORDER BY call_id DESC LIMIT 1)"
                ).fetchall()

        wait_for(f"the call with the outcome {outcome}", lambda: rows() == [(outcome,)])

    def test_killed_while_dialling(self) -> None:
        """The Dial goes on; after it the call is given back to the dialplan, and no phone rings twice."""
        with self.phone(21, "answer", "-r", "4000", "-t", "1000"):
            self.originate("21")
            wait_for("the Dial", self.dialled)
            self._again()
            self.assertEqual(self.until_report().split()[0], "dialling")
        self.assertIn("DIALSTATUS=ANSWER", self.log())
        self.assertEqual(len(self.dialled()), 1)
        self._once_in_the_history("UNKNOWN")

    def test_stopped_in_a_pin_prompt(self) -> None:
        """At a stop the call is given back at once, marked as not routed."""
        self.originate("34")
        self.asked()
        self.gateway.stop()
        self.assertEqual(self.until_report().split()[0], "routing")
        self.assertEqual(self.lab.ami.getvar("PBXROUTER_HEARTBEAT"), "0")

    def test_asterisk_cuts_the_connection(self) -> None:
        """The connection is lost and restored: the waiting call is asked again."""
        self.originate("34")
        self.asked()
        mark = self.gateway.log_size()
        self._cut()
        self._until_up(mark)
        self.asked(2)
        self.press("123456#")
        self.assertEqual(self.until_report().split()[:2], ["done", "ANSWER"])

    def _cut(self) -> None:
        """Disconnect the user: `manager kick session` by the session's file descriptor."""
        for line in self.lab.cli("manager show connected").splitlines():
            if line.strip().startswith("gateway"):
                self.lab.cli(f"manager kick session {line.split()[4]}")


class FrozenTest(MagiTest):
    """The dialplan's hook with PBXROUTER_URL = agi:async, and a gateway that is frozen."""

    def setUp(self) -> None:
        """Set PBXROUTER_URL to agi:async in dialplan/pbxrouter.conf; without a heartbeat it asks no gateway."""
        super().setUp()
        wait_for("a heartbeat of the gateway", lambda: self.beat_age() < 3)
        old = self.lab.ami.getvar("PBXROUTER_URL")
        self.lab.ami.action("Setvar", Variable="PBXROUTER_URL", Value="agi:async")
        self.addCleanup(lambda: self.lab.ami.action("Setvar", Variable="PBXROUTER_URL", Value=old))

    def test_hook(self) -> None:
        """The shipped dialplan routes a call, and acts on the outcome."""
        self.originate("54", "pbxrouter-phones")
        wait_for("the outcome", lambda: "CHANUNAVAIL@pbxrouter-outcome:1 Playback" in self.executed())
        self.assertEqual(self.dialled(), ["NoSuchTechnology/1/54"])
        self.hang_up_all()

    def test_gone_for_good(self) -> None:
        """Killed while it asks for a PIN, and not restarted: the time limit ends the wait, in the fallback."""
        self.lab.ami.action("Setvar", Variable="PBXROUTER_TALK_S", Value="8")
        self.addCleanup(lambda: self.lab.ami.action("Setvar", Variable="PBXROUTER_TALK_S", Value="180"))
        self.originate("34", "pbxrouter-phones")
        self.asked()
        self.gateway.kill()
        wait_for("the fallback", lambda: "34@fallback:1 Dial" in self.executed())
        self.hang_up_all()

    def test_dawdling(self) -> None:
        """A caller who keys on and on, while the gateway lives: the time limit ends in goodbye, in no fallback."""
        self.lab.ami.action("Setvar", Variable="PBXROUTER_TALK_S", Value="8")
        self.addCleanup(lambda: self.lab.ami.action("Setvar", Variable="PBXROUTER_TALK_S", Value="180"))
        wait_for("the first beat", lambda: int(self.lab.ami.getvar("PBXROUTER_HEARTBEAT") or "0"))
        self.originate("34", "pbxrouter-phones")
        self.asked()

        def key_on() -> bool:
            """Key a digit now and then, as long as the gateway talks with the caller."""
            executed = self.executed()
            if "T@pbxrouter-ask:1 Set" not in executed:
                self.press("1")
                time.sleep(1)
            return "TIMEOUT@pbxrouter-outcome:1 Playback" in executed

        wait_for("the time limit", key_on)
        wait_for("goodbye", lambda: "vm-goodbye en" in self.played())
        wait_for("the end", lambda: not self.lab.channels())
        self.assertNotIn("fallback", "".join(self.executed()))

    def test_no_limit_to_the_talk(self) -> None:
        """An application may run for longer than the gateway may talk."""
        self.lab.ami.action("Setvar", Variable="PBXROUTER_TALK_S", Value="4")
        self.addCleanup(lambda: self.lab.ami.action("Setvar", Variable="PBXROUTER_TALK_S", Value="180"))
        with self.phone(21, "answer", "-r", "100", "-t", "7000"):
            self.originate("21", "pbxrouter-phones")
            wait_for("the end", lambda: "ANSWER@pbxrouter-outcome:1 Hangup" in self.executed())

    def test_frozen_gateway(self) -> None:
        """Frozen by SIGSTOP: calls go to the fallback within seconds; resumed, they are routed again."""
        assert self.gateway.process is not None
        pid = self.gateway.process.pid
        wait_for("the first beat", lambda: int(self.lab.ami.getvar("PBXROUTER_HEARTBEAT") or "0"))
        os.kill(pid, signal.SIGSTOP)
        try:
            # Asterisk counts whole seconds, by a clock that is a tick behind.
            wait_for("the heartbeat is too old", lambda: self.beat_age() > 12)
            self.originate("22", "pbxrouter-phones")
            wait_for("the fallback", lambda: "22@fallback:1 Dial" in self.executed())
            self.hang_up_all()
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for("a beat", lambda: self.beat_age() < 4)
        self.originate("999", "pbxrouter-phones")
        wait_for("the prompt", lambda: f"{INVALID} en" in self.played())
        self.hang_up_all()
