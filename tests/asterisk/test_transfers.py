"""Forwarded calls: forwards, transfers, claims; who answers for them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

from tests.asterisk.harness import PROJECT, AsteriskTest
from tests.waiting import wait_for

OUTSIDE = "600"
MAGI = """
[[asterisk]]
name = "lab"
ami = "tcp:127.0.0.1:AMI_PORT"
username = "gateway"
secret_file = "ami.secret"
magi = ["pbxrouter-magi"]
originate = ["pbxrouter"]
[fastagi]
debug = true
"""
RULES = (
    "INSERT INTO applications_mappings (application_name, application_data, pattern)"
    " VALUES ('dial', 'Local/{number}@localline', '6XX'), ('dial', 'Local/6{number}@pbxrouter', '5X')",
    "INSERT INTO extensions (extension_number) VALUES ('21'), ('22')",
    # 33 and 22 may dial outside; 21 only other phones, and 5X, which leads to another leg through the gateway.
    "INSERT INTO extensions_mappings (extension_id, map_id) SELECT extension_id, map_id FROM extensions,"
    " applications_mappings WHERE pattern = '6XX' AND extension_number IN ('33', '22')"
    " OR pattern = '5X' OR pattern = '2X' AND extension_number IN ('21', '22')",
)


class ForwardedCallTest(AsteriskTest):
    """33 and 22 may dial 6XX, the outside line; 21 may not."""

    def setUp(self) -> None:
        """Add the rules of these tests, once."""
        super().setUp()
        if not getattr(self.gateway, "has_outside", False):
            self.gateway.change_rules(*RULES)
            self.gateway.has_outside = True  # type: ignore[attr-defined]
        self._began = time.time()
        self._gateway_mark = self.gateway.log_size()

    def hang_up_all(self) -> None:
        """End every call, and wait until Asterisk has ended it, so that each phone gets its BYE."""
        ended = set(self.lab.channels())
        super().hang_up_all()
        wait_for("the channels are gone", lambda: ended.isdisjoint(self.lab.channels()))

    def told(self, number: str) -> str:
        """The gateway's log line of the call to a number, once it is there."""
        lines: list[str] = []

        def is_there() -> bool:
            log = self.gateway.log(self._gateway_mark)
            lines[:] = [line for line in log.splitlines() if f" -> {number}: " in line and self._is_new(line)]
            return bool(lines)

        wait_for(f"the log line of the call to {number}", is_there)
        return lines[0].partition(": ")[2]

    def _is_new(self, line: str) -> bool:
        """Whether a log line is of a call of this test: the last call of the one before may be told later."""
        uniqueid = re.search(r"#info\] call (\d+)\.\d+: ", line)
        return uniqueid is None or int(uniqueid[1]) >= int(self._began)

    def asks_for_a_pin(self) -> bool:
        """Whether the gateway has asked for a PIN."""
        return any(command.startswith("GET DATA agent-pass") for command in self.commands())

    def talking(self, *phones: str) -> bool:
        """Whether two channels are in one bridge, those of these phones if any are named."""
        bridges: dict[str, list[str]] = {}
        for line in self.lab.cli("core show channels concise").splitlines():
            fields = line.split("!")
            if len(fields) > 1 and fields[-2]:
                bridges.setdefault(fields[-2], []).append(fields[0])
        together = [names for names in bridges.values() if len(names) == 2]
        return any(all(any(name.startswith(phone) for name in names) for phone in phones) for names in together)

    def until_talking(self, *phones: str) -> None:
        """Wait for the conversation of these phones."""
        wait_for(f"the conversation of {phones}", lambda: self.talking(*phones))

    def until_judged(self) -> None:
        """Wait until a PIN is asked for or the outside line is dialled."""
        wait_for(
            "what becomes of the call", lambda: self.asks_for_a_pin() or f"Local/{OUTSIDE}@localline" in self.dialled()
        )

    def transfer_by_ami(self, who: str, number: str = OUTSIDE) -> None:
        """Transfer the party that a phone talks with, by AMI."""
        channel = self.lab.ami.channel_named(who)
        reply = self.lab.ami.action("BlindTransfer", Channel=channel, Context="pbxrouter", Exten=number)
        self.assertEqual(reply["Response"], "Success", reply)

    def row(self, number: str = OUTSIDE) -> dict[str, str]:
        """This test's last call to a number in the history, once it is there."""
        rows: list[dict[str, str]] = []

        def is_there() -> bool:
            found = [json.loads(line) for line in self.gateway.command("history", "--json").splitlines()]
            rows[:] = [row for row in found if row["number"] == number and row["began"] > self._began]
            return bool(rows)

        wait_for(f"the call to {number} in the history", is_there)
        return rows[0]

    def call_until_judged(self, dialled: str, *options: str) -> None:
        """Place a call, and end it once a PIN is asked for or the outside line is dialled."""
        self.call_until(
            lambda: self.asks_for_a_pin() or f"Local/{OUTSIDE}@localline" in self.dialled(), dialled, *options
        )


class ForwardRefusedTest(ForwardedCallTest):
    """A called phone that forwards, while the settings do not let it."""

    def test_forward_is_ignored(self) -> None:
        """33 calls 21, whose phone answers 302 to a number that only 33 may dial: the number is not dialled."""
        with self.phone(21, f"forward={OUTSIDE}"):
            self.call("21", "-t", "500")
        self.assertEqual(self.applications()[:1], ["Dial PJSIP/21,60,i"])
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertIn("33 -> 21: BUSY", self.told("21"))

    def test_forward_to_a_channel(self) -> None:
        """The same with a channel in place of a number, which Dial() would call past the gateway."""
        with self.phone(21, f"forward=Local/{OUTSIDE}%40localline"):
            self.call("21", "-t", "500")
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertNotIn(f"Executing [{OUTSIDE}@localline:", self.log())
        self.assertIn("33 -> 21: BUSY", self.told("21"))


class ForwardTest(ForwardedCallTest):
    """A called phone that forwards, with forwarding on."""

    config = "[dial]\nforwarding = true\n"

    def test_forward_to_a_channel(self) -> None:
        """A phone that names a channel in place of a number is put through past the gateway, as the doctor says."""
        with self.phone(21, f"forward=Local/{OUTSIDE}%40localline"):
            self.call_until(lambda: f"Executing [{OUTSIDE}@localline:" in self.log(), "21")
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertFalse(self.asks_for_a_pin())

    def test_forward_without_a_grant(self) -> None:
        """33 calls 21, which forwards to 600: 33 may dial it and 21 may not, so a PIN is asked for."""
        with self.phone(21, f"forward={OUTSIDE}"):
            self.call_until_judged("21")
        self.assertEqual(self.applications()[:1], ["Dial PJSIP/21,60"])
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))
        self.assertIn("21 has no grant for 6XX", self.told(OUTSIDE))

    def test_forward_with_a_grant(self) -> None:
        """The same with 22, which may dial 600: it is dialled on 22's grant, and the history names both."""
        with self.phone(22, f"forward={OUTSIDE}"):
            self.call_until_judged("22")
        self.assertEqual(self.dialled(), ["PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertFalse(self.asks_for_a_pin())
        found = self.row()
        self.assertEqual((found["caller"], found["forwarded_by"], found["granted_by"]), ("33", "PJSIP/22", "22"))

    def test_chain_of_forwards(self) -> None:
        """33 calls 22, which forwards to 21, which forwards to 600: each answers for the number that it names."""
        with self.phone(22, "forward=21"), self.phone(21, f"forward={OUTSIDE}"):
            self.call_until_judged("22")
        self.assertEqual(self.dialled(), ["PJSIP/22", "PJSIP/21"])
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 forwarded by PJSIP/22 -> 21: ", self.told("21"))
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_chain_of_forwards_with_a_grant(self) -> None:
        """33 calls 22, which forwards to 21, which forwards to 600: 21 may name 22, and 22 may name 600."""
        with self.phone(21, "forward=22"), self.phone(22, f"forward={OUTSIDE}"):
            self.call_until_judged("21")
        self.assertEqual(self.dialled(), ["PJSIP/21", "PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertEqual((self.row()["forwarded_by"], self.row()["granted_by"]), ("PJSIP/22", "22"))

    def test_forward_and_transfer(self) -> None:
        """21 forwards to 22, which answers and transfers the caller: 22 alone answers for that."""
        with self.phone(21, "forward=22"), self.phone(22, f"transfer={OUTSIDE}"):
            self.call_until_judged("21")
        self.assertEqual(self.dialled(), ["PJSIP/21", "PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertIn("forwarded by PJSIP/22 -> 600: ", self.told(OUTSIDE))

    def test_forward_through_a_second_leg(self) -> None:
        """21 forwards to 50, whose Dial leads to 650 by another Local leg: 21 answers for that one, too."""
        with self.phone(21, "forward=50"):
            self.call_until(self.asks_for_a_pin, "21")
        self.assertEqual(self.dialled(), ["PJSIP/21", "Local/650@pbxrouter"])
        self.assertIn("33 forwarded by PJSIP/21 -> 650: ", self.told("650"))
        self.assertIn("21 has no grant for 6XX", self.told("650"))

    def test_forward_to_a_leg_of_the_dialplan(self) -> None:
        """21 forwards to 777, from where the dialplan comes to the gateway by a further leg: 33 does not pay."""
        with self.phone(21, "forward=777"):
            self.call_until(lambda: self.asks_for_a_pin() or "Local/677@localline" in self.dialled(), "21")
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertIn("33 forwarded by unknown -> 677: ", self.told("677"))

    def test_chain_of_forwards_to_a_leg_of_the_dialplan(self) -> None:
        """22 forwards to 21, and that to 777: neither 33 nor 22 pays."""
        with self.phone(22, "forward=21"), self.phone(21, "forward=777"):
            self.call_until(lambda: self.asks_for_a_pin() or "Local/677@localline" in self.dialled(), "22")
        self.assertEqual(self.dialled(), ["PJSIP/22", "PJSIP/21"])
        self.assertIn("33 forwarded by unknown -> 677: ", self.told("677"))

    def test_own_call_to_a_leg_of_the_dialplan(self) -> None:
        """33 dials 777 without a transfer."""
        self.call_until(lambda: "Local/677@localline" in self.dialled(), "777")
        self.assertIn("33 -> 677: ", self.told("677"))

    def test_own_second_leg(self) -> None:
        """33 dials 50 itself: the second leg is 33's, by its own grant."""
        self.call_until(lambda: "Local/650@localline" in self.dialled(), "50")
        self.assertEqual(self.dialled(), ["Local/650@pbxrouter", "Local/650@localline"])
        self.assertFalse(self.asks_for_a_pin())


class TransferTest(ForwardedCallTest):
    """Blind transfers; the settings are the default ones, since SIP needs no option of Dial() to transfer."""

    def test_transfer_without_a_grant(self) -> None:
        """33 calls 21, which transfers it to 600: 33 may dial that and 21 may not, so a PIN is asked for."""
        with self.phone(21, f"transfer={OUTSIDE}"):
            self.call_until_judged("21")
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_transfer_with_a_grant(self) -> None:
        """22 transfers its caller to 600, on its own grant."""
        with self.phone(22, f"transfer={OUTSIDE}"):
            self.call_until_judged("22")
        self.assertEqual(self.dialled(), ["PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertFalse(self.asks_for_a_pin())
        self.assertIn("22 may use 6XX by its own grant", self.told(OUTSIDE))

    def test_second_leg_after_a_transfer(self) -> None:
        """21 transfers its caller to 50, whose Dial leads to 650 by a Local leg: 21 answers for that one, too."""
        with self.phone(21, "transfer=50"):
            self.call_until(self.asks_for_a_pin, "21")
        self.assertEqual(self.dialled(), ["PJSIP/21", "Local/650@pbxrouter"])
        self.assertIn("33 forwarded by PJSIP/21 -> 650: ", self.told("650"))

    def _transferred_by_ami(self, number: int, who: str) -> None:
        with self.phone(number, "answer"), self.calling(str(number), "-t", "40000"):
            self.until_talking("PJSIP/33", f"PJSIP/{number}")
            self.transfer_by_ami(who)
            self.until_judged()
            self.hang_up_all()

    def test_transfer_by_ami(self) -> None:
        """AMI transfers for 21, the called phone: 21 answers for it."""
        self._transferred_by_ami(21, "PJSIP/21")
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_transfer_by_the_caller(self) -> None:
        """AMI transfers for 33, the caller: the called 21 runs on, and 33 answers for it."""
        self._transferred_by_ami(21, "PJSIP/33")
        self.assertEqual(self.dialled(), ["PJSIP/21", f"Local/{OUTSIDE}@localline"])
        self.assertIn("21 forwarded by PJSIP/33 -> 600: ", self.told(OUTSIDE))

    def test_redirected_by_ami(self) -> None:
        """AMI's Redirect is no transfer: the caller whose channel is redirected answers for it."""
        with self.phone(21, "answer"), self.calling("21", "-t", "40000"):
            self.until_talking("PJSIP/33", "PJSIP/21")
            reply = self.lab.ami.action(
                "Redirect",
                Channel=self.lab.ami.channel_named("PJSIP/33"),
                Context="pbxrouter",
                Exten=OUTSIDE,
                Priority=1,
            )
            self.assertEqual(reply["Response"], "Success", reply)
            self.until_judged()
            self.hang_up_all()
        self.assertEqual(self.dialled(), ["PJSIP/21", f"Local/{OUTSIDE}@localline"])
        self.assertEqual((self.row()["caller"], self.row()["forwarded_by"]), ("33", ""))

    def test_transfer_to_a_leg_of_the_dialplan(self) -> None:
        """22 transfers 33 to 777, from where the dialplan comes to the gateway by a Local leg: 22 answers for that."""
        with self.phone(22, "transfer=777"):
            self.call_until(lambda: "Local/677@localline" in self.dialled(), "22")
        self.assertIn("33 forwarded by PJSIP/22 -> 677: ", self.told("677"))

    def test_transferred_callee_at_a_leg_of_the_dialplan(self) -> None:
        """33 transfers 21 to 777 and hangs up: it is not known who made the leg, so a PIN is asked for."""
        with self.phone(22, "answer"), self.calling("22", "-t", "40000"):
            self.until_talking("PJSIP/33", "PJSIP/22")
            self.transfer_by_ami("PJSIP/33", "777")
            wait_for("the PIN prompt", self.asks_for_a_pin)
            self.hang_up_all()
        self.assertIn("22 forwarded by unknown -> 677: ", self.told("677"))

    def test_second_transfer(self) -> None:
        """22 transfers 33 to 21, on its grant, and 21 transfers it on: 21 alone answers for that."""
        with self.phone(22, "transfer=21"), self.phone(21, f"transfer={OUTSIDE}"):
            self.call_until_judged("22")
        self.assertEqual(self.dialled(), ["PJSIP/22", "PJSIP/21"])
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 forwarded by PJSIP/22 -> 21: ", self.told("21"))
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_second_transfer_with_a_grant(self) -> None:
        """21 transfers 33 to 22, which transfers it outside on its own grant."""
        with self.phone(21, "transfer=22"), self.phone(22, f"transfer={OUTSIDE}"):
            self.call_until_judged("21")
        self.assertEqual(self.dialled(), ["PJSIP/21", "PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertEqual((self.row()["forwarded_by"], self.row()["granted_by"]), ("PJSIP/22", "22"))

    def test_transferred_to_a_phone_that_transfers_by_a_leg_of_the_dialplan(self) -> None:
        """22 transfers 33 to 21, which transfers it to 777: the leg from there is 21's, not 22's."""
        with self.phone(22, "transfer=21"), self.phone(21, "transfer=777"):
            self.call_until(self.asks_for_a_pin, "22")
        self.assertEqual(self.dialled(), ["PJSIP/22", "PJSIP/21"])
        self.assertIn("33 forwarded by PJSIP/21 -> 677: ", self.told("677"))

    def test_keys_do_nothing(self) -> None:
        """Without t and T among Dial()'s options, a party that presses the keys of a transfer transfers no call."""
        with self.phone(22, "answer"), self.calling("22", "-t", "40000"):
            self.until_talking("PJSIP/33", "PJSIP/22")
            for phone in ("PJSIP/22", "PJSIP/33"):
                channel = self.lab.ami.channel_named(phone)
                self.lab.ami.press(channel, f"#1{OUTSIDE}")
                wait_for("the last key", lambda: self.log().count(f"DTMF end '0' received on {channel}"))  # noqa: B023
            self.assertTrue(self.talking("PJSIP/33", "PJSIP/22"))
            self.hang_up_all()
        self.assertEqual(self.dialled(), ["PJSIP/22"])


class AttendedTransferTest(ForwardedCallTest):
    """Attended transfers by REFER with Replaces: the second call is the phone's own."""

    def test_without_a_grant(self) -> None:
        """21 calls 600 and would join 33 with it: 21 is asked for a PIN, and hands 33 over during the prompt."""
        with self.phone(21, f"attended={OUTSIDE}"):
            self.call_until(lambda: self.asks_for_a_pin() and not self.lab.ami.channel_named("PJSIP/21"), "21")
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertIn("21 -> 600: ", self.told(OUTSIDE))
        self.assertEqual(self.row()["forwarded_by"], "")

    def test_with_a_grant(self) -> None:
        """22 transfers 33 to the outside line on its own grant; the two talk, and 22 has left the call."""
        with self.phone(22, f"attended={OUTSIDE}"):
            self.call_until(lambda: self.talking("PJSIP/33", "Local/600@localline"), "22")
        self.assertEqual(self.dialled(), ["PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertFalse(self.asks_for_a_pin())
        row = self.row()
        self.assertEqual((row["caller"], row["forwarded_by"], row["granted_by"]), ("22", "", "22"))


class KeysTest(ForwardedCallTest):
    """Feature codes, which options of Dial() switch on: blindxfer #1, atxfer *2, parkcall #72."""

    config = '[dial]\noptions = "tTkK"\n'

    def _keyed(self, number: int, who: str, keys: str) -> None:
        """33 calls a phone, and a party of the call presses keys; then the call is judged."""
        with self.phone(number, "answer"), self.calling(str(number), "-t", "40000"):
            self.until_talking("PJSIP/33", f"PJSIP/{number}")
            channel = self.lab.ami.channel_named(who)
            self.lab.ami.action("Setvar", Channel=channel, Variable="TRANSFER_CONTEXT", Value="keys")
            self.lab.ami.press(channel, keys[:2])
            if keys != "#72":
                wait_for("Asterisk asks for the number", lambda: f"<{channel}> Playing 'pbx-transfer" in self.log())
                self.lab.ami.press(channel, keys[2:])
            else:
                self.lab.ami.press(channel, keys[2:])
            self.until_judged()
            self.hang_up_all()

    def test_blind_without_a_grant(self) -> None:
        """21, which was called, keys the code of a transfer."""
        self._keyed(21, "PJSIP/21", f"#1{OUTSIDE}")
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_blind_with_a_grant(self) -> None:
        """22, which has a grant, keys the code of a blind transfer."""
        self._keyed(22, "PJSIP/22", f"#1{OUTSIDE}")
        self.assertEqual(self.dialled(), ["PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertIn("33 forwarded by PJSIP/22 -> 600: ", self.told(OUTSIDE))

    def test_blind_by_the_caller(self) -> None:
        """33, which called 21, transfers it on its own grant."""
        self._keyed(21, "PJSIP/33", f"#1{OUTSIDE}")
        self.assertEqual(self.dialled(), ["PJSIP/21", f"Local/{OUTSIDE}@localline"])
        self.assertIn("21 forwarded by PJSIP/33 -> 600: ", self.told(OUTSIDE))

    def test_attended_without_a_grant(self) -> None:
        """The call that Asterisk makes for 21, by a Local leg of 33's call, is 21's."""
        self._keyed(21, "PJSIP/21", f"*2{OUTSIDE}")
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertIn("21 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_attended_with_a_grant(self) -> None:
        """22, which has a grant, keys the code of an attended transfer."""
        self._keyed(22, "PJSIP/22", f"*2{OUTSIDE}")
        self.assertEqual(self.dialled(), ["PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertEqual((self.row()["caller"], self.row()["forwarded_by"]), ("22", "PJSIP/22"))

    def test_attended_by_the_caller(self) -> None:
        """33, which called 21, keys the code of an attended transfer: 33 answers for it."""
        self._keyed(21, "PJSIP/33", f"*2{OUTSIDE}")
        self.assertEqual(self.dialled(), ["PJSIP/21", f"Local/{OUTSIDE}@localline"])
        self.assertIn("33 forwarded by PJSIP/33 -> 600: ", self.told(OUTSIDE))

    def test_attended_by_ami(self) -> None:
        """AMI's Atxfer presses the keys for 21."""
        with self.phone(21, "answer"), self.calling("21", "-t", "40000"):
            self.until_talking("PJSIP/33", "PJSIP/21")
            channel = self.lab.ami.channel_named("PJSIP/21")
            reply = self.lab.ami.action("Atxfer", Channel=channel, Context="keys", Exten=OUTSIDE)
            self.assertEqual(reply["Response"], "Success", reply)
            # On a loaded machine Asterisk loses the keys of the number while the prompt for it begins.
            wait_for("the prompt for the number", lambda: "Playing 'pbx-transfer" in self.log())
            time.sleep(1)
            if f"Executing [{OUTSIDE}@" not in self.log():
                self.lab.ami.press(channel, OUTSIDE)
            self.until_judged()
            self.hang_up_all()
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertIn("21 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_parked(self) -> None:
        """21 parks the call by keys; it comes back to the gateway: 21 answers for it."""
        self._keyed(21, "PJSIP/21", "#72")
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))


class ParkTest(ForwardedCallTest):
    """Parked calls: picked up, and come back."""

    def _parked(self, number: int, timeout_ms: int, comeback: str = OUTSIDE) -> None:
        """A phone parks 33, with which it talks."""
        self.until_talking("PJSIP/33", f"PJSIP/{number}")
        parked = self.lab.ami.channel_named("PJSIP/33")
        self.lab.ami.action("Setvar", Channel=parked, Variable="COMEBACK", Value=comeback)
        reply = self.lab.ami.action(
            "Park",
            Channel=parked,
            TimeoutChannel=self.lab.ami.channel_named(f"PJSIP/{number}"),
            Timeout=str(timeout_ms),
        )
        self.assertEqual(reply["Response"], "Success", reply)

    def test_without_a_grant(self) -> None:
        """A call that 21 parked comes back through the gateway: 21 answers for it."""
        with self.phone(21, "answer"), self.calling("21", "-t", "40000"):
            self._parked(21, 1000)
            wait_for("the PIN prompt", self.asks_for_a_pin)
            self.hang_up_all()
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_with_a_grant(self) -> None:
        """A call that 22, which has a grant, parked comes back through the gateway: 22 answers for it."""
        with self.phone(22, "answer"), self.calling("22", "-t", "40000"):
            self._parked(22, 1000)
            self.until_judged()
            self.hang_up_all()
        self.assertEqual(self.dialled(), ["PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertIn("33 forwarded by PJSIP/22 -> 600: ", self.told(OUTSIDE))

    def test_taken_up_by_another(self) -> None:
        """A call that 21 parked and 22 took up and transfers: 22 answers for it, by its own grant."""
        with self.phone(21, "answer"), self.calling("21", "-t", "40000"):
            self._parked(21, 40000)
            with self.calling("701", "-f", "22", "-t", "40000"):
                self.until_talking("PJSIP/33", "PJSIP/22")
                self.transfer_by_ami("PJSIP/22")
                self.until_judged()
                self.hang_up_all()
        self.assertEqual(self.dialled(), ["PJSIP/21", f"Local/{OUTSIDE}@localline"])
        self.assertIn("33 forwarded by PJSIP/22 -> 600: ", self.told(OUTSIDE))

    def test_comes_back_to_another(self) -> None:
        """A call that 21 parked comes back to 22, which transfers it: first 21 answers for it, then 22 alone."""
        with self.phone(21, "answer"), self.phone(22, "answer"), self.calling("21", "-t", "40000"):
            self._parked(21, 1000, comeback="22")
            self.until_talking("PJSIP/33", "PJSIP/22")
            self.transfer_by_ami("PJSIP/22")
            self.until_judged()
            self.hang_up_all()
        self.assertEqual(self.dialled(), ["PJSIP/21", "PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertIn("33 forwarded by PJSIP/21 -> 22: ", self.told("22"))
        self.assertIn("33 forwarded by PJSIP/22 -> 600: ", self.told(OUTSIDE))

    def test_comes_back_to_one_without_a_grant(self) -> None:
        """The other way round: what 22, which parked the call, may dial pays for no transfer of 21's."""
        with self.phone(21, "answer"), self.phone(22, "answer"), self.calling("22", "-t", "40000"):
            self._parked(22, 1000, comeback="21")
            self.until_talking("PJSIP/33", "PJSIP/21")
            self.transfer_by_ami("PJSIP/21")
            self.until_judged()
            self.hang_up_all()
        self.assertEqual(self.dialled(), ["PJSIP/22", "PJSIP/21"])
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))


class PickUpTest(ForwardedCallTest):
    """Calls that another phone picks up, and transfers."""

    def _ringing(self) -> str:
        """The channel of 21, once it rings."""
        wait_for("21 rings", lambda: "is ringing" in self.log())
        return self.lab.ami.channel_named("PJSIP/21")

    def test_application(self) -> None:
        """A call to 21 that 35 picks up by PickupChan() and transfers: 35 answers for it, which is no extension."""
        with self.phone(21, "noanswer"), self.phone(35, "answer"), self.calling("21", "-t", "40000"):
            ringing = self._ringing()
            reply = self.lab.ami.action(
                "Originate", Channel="PJSIP/35", Application="PickupChan", Data=ringing, Async="true"
            )
            self.assertEqual(reply["Response"], "Success")
            self.until_talking("PJSIP/33", "PJSIP/35")
            self.transfer_by_ami("PJSIP/35")
            wait_for("the PIN prompt", self.asks_for_a_pin)
            self.hang_up_all()
        self.assertIn("33 forwarded by PJSIP/35 -> 600: ", self.told(OUTSIDE))

    def test_code(self) -> None:
        """22 picks the call up by dialling *8 and transfers it: its grant counts."""
        with self.phone(21, "noanswer"), self.calling("21", "-t", "40000"):
            self._ringing()
            with self.calling("*8", "-f", "22", "-t", "40000"):
                self.until_talking("PJSIP/33", "PJSIP/22")
                self.transfer_by_ami("PJSIP/22")
                self.until_judged()
                self.hang_up_all()
        self.assertEqual(self.dialled(), ["PJSIP/21", f"Local/{OUTSIDE}@localline"])
        self.assertIn("33 forwarded by PJSIP/22 -> 600: ", self.told(OUTSIDE))


class TrunkTest(ForwardedCallTest):
    """Callers that come by the trunk."""

    config = 'trunks = ["PJSIP/trunk"]\n[dial]\nforwarding = true\n'

    def test_claimed_number(self) -> None:
        """A caller by the trunk who says that he is 33 is asked for a PIN."""
        self.call_until_judged(OUTSIDE, "-s", "127.0.0.2", "-f", "33")
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("the call came by the trunk PJSIP/trunk, where the caller number 33", self.told(OUTSIDE))

    def test_claimed_number_through_a_local_channel(self) -> None:
        """A call that the dialplan brings by a Local leg inherits the trunk: the caller number opens nothing."""
        self.call_until(self.asks_for_a_pin, "777", "-s", "127.0.0.2", "-f", "33")
        self.assertIn("the call came by the trunk PJSIP/trunk, where the caller number 33", self.told("677"))

    def test_claimed_diversion(self) -> None:
        """A Diversion header that names 22 does not open what 22 may dial."""
        self.call_until_judged(OUTSIDE, "-s", "127.0.0.2", "-f", "0911", "-D", "22")
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("0911 forwarded by 22 -> 600: ", self.told(OUTSIDE))

    def test_number_of_an_outsider(self) -> None:
        """An extension that has the number of an outsider opens nothing by the trunk."""
        self.gateway.change_rules(
            "INSERT OR IGNORE INTO extensions (extension_number) VALUES ('0911')",
            "INSERT OR IGNORE INTO extensions_mappings (extension_id, map_id) SELECT extension_id, map_id"
            " FROM extensions, applications_mappings WHERE pattern = '2X' AND extension_number = '0911'",
        )
        with self.phone(22, f"forward={OUTSIDE}"):
            self.call_until(self.asks_for_a_pin, "22", "-s", "127.0.0.2", "-f", "0911")
        self.assertEqual(self.dialled(), [])

    def test_outsider_is_forwarded(self) -> None:
        """The dialplan lets an outsider ring 22, which forwards it to 600: on 22's grant."""
        with self.phone(22, f"forward={OUTSIDE}"):
            self.call_until_judged("778", "-s", "127.0.0.2", "-f", "0911")
        self.assertEqual(self.dialled(), [f"Local/{OUTSIDE}@localline"])
        self.assertIn("0911 forwarded by PJSIP/22 -> 600: ", self.told(OUTSIDE))

    def test_outsider_is_forwarded_without_a_grant(self) -> None:
        """21 forwards it: the outsider's claims to be 33 and to come from 22 open nothing."""
        with self.phone(21, f"forward={OUTSIDE}"):
            self.call_until_judged("779", "-s", "127.0.0.2", "-f", "33", "-D", "22")
        self.assertEqual(self.dialled(), [])
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_outsider_is_transferred(self) -> None:
        """The dialplan lets an outsider ring 21, which transfers the call: 21 answers for it, not the outsider."""
        with self.phone(21, f"transfer={OUTSIDE}"):
            self.call_until_judged("779", "-s", "127.0.0.2", "-f", "33")
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))


class TrunkThatForwardsTest(ForwardedCallTest):
    """A called phone behind a trunk."""

    config = 'trunks = ["PJSIP/22"]\n[dial]\nforwarding = true\n'

    def test_forward(self) -> None:
        """22 is behind a trunk here: a forward from there is ignored, as from anyone who is called outside."""
        with self.phone(22, f"forward={OUTSIDE}"):
            self.call("22", "-t", "500")
        self.assertEqual(self.applications(), ["Dial PJSIP/22,60,i"])
        self.assertNotIn(f"Executing [{OUTSIDE}@", self.log())
        self.assertIn("33 -> 22: BUSY", self.told("22"))

    def test_transfer(self) -> None:
        """A transfer by a phone behind the trunk has no grants either."""
        with self.phone(22, f"transfer={OUTSIDE}"):
            self.call_until_judged("22")
        self.assertEqual(self.dialled(), ["PJSIP/22"])
        self.assertIn("PJSIP/22 is a trunk and has no grants", self.told(OUTSIDE))


class ClaimTest(ForwardedCallTest):
    """A Diversion header on a phone's own call: it can only narrow."""

    def test_claim_of_a_party_without_a_grant(self) -> None:
        """33 may dial 600; its call claims that 21 forwarded it, which may not."""
        self.call_until_judged(OUTSIDE, "-D", "21")
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 forwarded by 21 -> 600: ", self.told(OUTSIDE))

    def test_claim_of_a_party_with_a_grant(self) -> None:
        """The same with 22, which may: both may, so it is dialled."""
        self.call_until_judged(OUTSIDE, "-D", "22")
        self.assertEqual(self.dialled(), [f"Local/{OUTSIDE}@localline"])

    def test_claim_at_a_leg_of_the_dialplan(self) -> None:
        """A claim counts also where the dialplan brings the call by a Local leg."""
        self.call_until(lambda: "Local/677@localline" in self.dialled(), "777", "-D", "22")
        self.assertIn("33 forwarded by 22 -> 677: ", self.told("677"))


class MagiForwardedCallTest(ForwardedCallTest):
    """Forwarded calls that come by AsyncAGI."""

    config = MAGI

    def setUp(self) -> None:
        """Let forwards and transfers go to the context of AsyncAGI."""
        super().setUp()
        wait_for("the AMI connection", lambda: "AMI lab: connected" in self.gateway.log())
        for variable in ("FORWARD_CONTEXT", "TRANSFER_CONTEXT"):
            self.lab.ami.action("Setvar", Variable=variable, Value="pbxrouter-magi")
            self.addCleanup(self.lab.ami.action, "Setvar", Variable=variable, Value="")

    def commands(self) -> list[str]:
        """The AGI commands, from the gateway's log; Asterisk does not log those of AsyncAGI."""
        log = self.gateway.log(self._gateway_mark)
        lines = re.findall(r"DialogueLog#info\] \S+ .*?->\S* > (.*)$", log, re.MULTILINE)
        return [line.replace('"', "") for line in lines if not re.match("(?i)noop|asyncagi", line)]

    def by_magi(self) -> bool:
        """Whether a call to the outside came by AsyncAGI."""
        return f"[{OUTSIDE}@pbxrouter-magi:1] AGI" in self.log()


class MagiForwardTest(MagiForwardedCallTest, ForwardTest):
    """Forwards of calls by AsyncAGI."""

    config = f"{MAGI}[dial]\nforwarding = true\n"

    def tearDown(self) -> None:
        """The calls that went outside by a forward came by AsyncAGI."""
        if f"Executing [{OUTSIDE}@pbxrouter" in self.log():
            self.assertTrue(self.by_magi())


class MagiTransferTest(MagiForwardedCallTest):
    """Transfers of calls by AsyncAGI."""

    def test_transfer_without_a_grant(self) -> None:
        """21 transfers 33: a PIN is asked for."""
        with self.phone(21, f"transfer={OUTSIDE}"):
            self.call_until_judged("21")
        self.assertTrue(self.by_magi())
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_transfer_with_a_grant(self) -> None:
        """22 transfers 33 on its own grant."""
        with self.phone(22, f"transfer={OUTSIDE}"):
            self.call_until_judged("22")
        self.assertTrue(self.by_magi())
        self.assertEqual(self.dialled(), ["PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertIn("22 may use 6XX by its own grant", self.told(OUTSIDE))

    def test_claim(self) -> None:
        """34 says that it is 33, which may dial 600, and that 21 forwarded it, which may not."""
        self.call_until_judged("776", "-f", "33", "-D", "21")
        self.assertTrue(self.by_magi())
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 forwarded by 21 -> 600: ", self.told(OUTSIDE))


class MagiTrunkTest(MagiForwardedCallTest):
    """Callers that come by the trunk."""

    config = f'trunks = ["PJSIP/trunk"]\n{MAGI}'

    def test_claims(self) -> None:
        """An outsider says that he is 33, and that 22 sent his call on: both may dial 600, and neither opens it."""
        self.call_until_judged("776", "-s", "127.0.0.2", "-f", "33", "-D", "22")
        self.assertTrue(self.by_magi())
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 forwarded by 22 -> 600: ", self.told(OUTSIDE))
        self.assertIn("the call came by the trunk PJSIP/trunk", self.told(OUTSIDE))


class ClickTest(ForwardedCallTest):
    """Calls that AMI places for a phone."""

    config = f"# tied extensions\n{MAGI}"

    def setUp(self) -> None:
        """Wait for AMI; 40, which may dial 6XX, is tied to the phone 35."""
        super().setUp()
        wait_for("the AMI connection", lambda: "AMI lab: connected" in self.gateway.log())
        self.gateway.change_rules(
            "INSERT OR IGNORE INTO extensions (extension_number) VALUES ('40')",
            "INSERT OR IGNORE INTO extensions_mappings (extension_id, map_id) SELECT extension_id, map_id"
            " FROM extensions, applications_mappings WHERE pattern = '6XX' AND extension_number = '40'",
            "INSERT OR REPLACE INTO extensions_endpoints (extension_id, endpoint)"
            " SELECT extension_id, 'PJSIP/35' FROM extensions WHERE extension_number = '40'",
            "INSERT OR REPLACE INTO extensions_endpoints (extension_id, endpoint)"
            " SELECT extension_id, 'PJSIP/33' FROM extensions WHERE extension_number = '33'",
            "INSERT OR REPLACE INTO extensions_endpoints (extension_id, endpoint)"
            " SELECT extension_id, 'PJSIP/36' FROM extensions WHERE extension_number = '22'",
        )

    def originate(self, channel: str, number: str = OUTSIDE) -> None:
        """Place a call by click-to-dial."""
        self.gateway.command("originate", channel, "--to", number, "--context", "pbxrouter")

    def test_tied_extension(self) -> None:
        """33 is tied to its phone: the phone's call counts as 33's."""
        with self.phone(33, "answer"):
            self.originate("PJSIP/33")
            self.until_judged()
            self.hang_up_all()
        self.assertEqual(self.dialled(), [f"Local/{OUTSIDE}@localline"])
        row = self.row()
        self.assertEqual((row["caller"], row["forwarded_by"], row["granted_by"]), ("33", "", "33"))

    def test_extension_with_another_number(self) -> None:
        """35 is the phone of the extension 40: the call is 40's."""
        with self.phone(35, "answer"):
            self.originate("PJSIP/35")
            self.until_judged()
            self.hang_up_all()
        self.assertEqual(self.dialled(), [f"Local/{OUTSIDE}@localline"])
        row = self.row()
        self.assertEqual((row["caller"], row["forwarded_by"], row["granted_by"]), ("40", "", "40"))

    def test_extension_tied_elsewhere(self) -> None:
        """22 is tied to the phone 36: a call of the phone 22 does not count as 22's."""
        program = [sys.executable, "-c", "from pbxrouter.cli import main; main()", "originate"]
        asked = ["--config", str(self.gateway.config), "PJSIP/22", "--to", OUTSIDE, "--context", "pbxrouter"]
        done = subprocess.run([*program, *asked], cwd=PROJECT, capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("22 is tied to PJSIP/36", done.stderr + done.stdout)

    def test_called_phone_transfers(self) -> None:
        """21, which 33's call reached, transfers it: 21 answers for that."""
        self.gateway.change_rules(
            "INSERT OR IGNORE INTO extensions_mappings (extension_id, map_id) SELECT extension_id, map_id"
            " FROM extensions, applications_mappings WHERE pattern = '2X' AND extension_number = '33'"
        )
        with self.phone(33, "answer"), self.phone(21, f"transfer={OUTSIDE}"):
            self.originate("PJSIP/33", "21")
            self.until_judged()
            self.hang_up_all()
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))


class TiedTest(ForwardedCallTest):
    """An extension that is tied to its endpoint."""

    config = '[prompts]\nask-pin = "agent-pass"\n'

    def test_number_from_another_endpoint(self) -> None:
        """The phone 34 says what number it has: 33's grants do not count there once 33 is tied."""
        number = "34"
        self.call_until_judged(OUTSIDE, "-f", "33")
        self.assertEqual(self.dialled(), [f"Local/{OUTSIDE}@localline"])
        self.gateway.change_rules(
            "INSERT OR REPLACE INTO extensions_endpoints (extension_id, endpoint)"
            f" SELECT extension_id, 'PJSIP/{number}' FROM extensions WHERE extension_number = '33'"
        )
        self.call_until_judged(OUTSIDE, "-f", "33")
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 is tied to PJSIP/34, and the call came by PJSIP/33", self.told_last(OUTSIDE))

    def told_last(self, number: str) -> str:
        """The last log line of a call to a number."""
        wait_for("two log lines", lambda: self.gateway.log(self._gateway_mark).count(f" -> {number}: ") > 1)
        return [line for line in self.gateway.log(self._gateway_mark).splitlines() if f" -> {number}: " in line][-1]
