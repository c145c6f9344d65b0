"""Calls that are sent on by another party: forwards, transfers, claims; who answers for them."""

from __future__ import annotations

import json

from tests.asterisk.harness import AsteriskTest, wait_for

OUTSIDE = "600"
RULES = (
    "INSERT INTO applications_mappings (application_name, application_data, pattern)"
    " VALUES ('dial', 'Local/{number}@localline', '6XX'), ('dial', 'Local/6{number}@pbxrouter', '5X')",
    "INSERT INTO extensions (extension_number) VALUES ('21'), ('22')",
    # 33 and 22 may dial outside; 21 only other phones, and 5X, which leads to another leg through the gateway.
    "INSERT INTO extensions_mappings (extension_id, map_id) SELECT extension_id, map_id FROM extensions,"
    " applications_mappings WHERE pattern = '6XX' AND extension_number IN ('33', '22')"
    " OR pattern = '5X' OR pattern = '2X' AND extension_number IN ('21', '22')",
)


class SentOnTest(AsteriskTest):
    """33 and 22 may dial 6XX, the outside line; 21 may not."""

    def setUp(self) -> None:
        """Add the rules, once."""
        super().setUp()
        if not getattr(self.gateway, "has_outside", False):
            self.gateway.change_rules(*RULES)
            self.gateway.has_outside = True  # type: ignore[attr-defined]
        self._gateway_mark = self.gateway.log_size()

    def told(self, number: str) -> str:
        """The gateway's log line of the call to a number, once it is there."""
        lines: list[str] = []

        def is_there() -> bool:
            log = self.gateway.log(self._gateway_mark)
            lines[:] = [line for line in log.splitlines() if f" -> {number}: " in line]
            return bool(lines)

        wait_for(f"the log line of the call to {number}", is_there)
        return lines[0].partition(": ")[2]

    def asks_for_a_pin(self) -> bool:
        """Whether the gateway has asked for a PIN."""
        return any(command.startswith("GET DATA agent-pass") for command in self.commands())

    def talking(self) -> bool:
        """Whether two channels are in a bridge."""
        return len(self.lab.cli("bridge show all").splitlines()) > 1

    def sent_on(self, dialled: str, *options: str) -> None:
        """Place a call, and end it once a PIN is asked for or the outside line is dialled."""
        self.call_until(
            lambda: self.asks_for_a_pin() or f"Local/{OUTSIDE}@localline" in self.dialled(), dialled, *options
        )


class ForwardRefusedTest(SentOnTest):
    """A called phone that forwards, while the settings do not let it."""

    def test_forward_is_ignored(self) -> None:
        """33 calls 21, whose phone answers 302 to a number that only 33 may dial: the number is not dialled."""
        with self.phone(21, f"forward={OUTSIDE}"):
            self.call("21", "-t", "500")
        self.assertEqual(self.applications()[:1], ["Dial PJSIP/21,60,i"])
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertIn("33 -> 21: BUSY", self.told("21"))


class ForwardTest(SentOnTest):
    """A called phone that forwards, with forwarding on."""

    config = "[dial]\nforwarding = true\n"

    def test_forward_without_a_grant(self) -> None:
        """33 calls 21, which forwards to 600: 33 may dial it and 21 may not, so a PIN is asked for."""
        with self.phone(21, f"forward={OUTSIDE}"):
            self.sent_on("21")
        self.assertEqual(self.applications()[:1], ["Dial PJSIP/21,60"])
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 sent on by PJSIP/21 -> 600: ", self.told(OUTSIDE))
        self.assertIn("21 has no grant for 6XX", self.told(OUTSIDE))

    def test_forward_with_a_grant(self) -> None:
        """The same with 22, which may dial 600: it is dialled on 22's grant, and the history names both."""
        with self.phone(22, f"forward={OUTSIDE}"):
            self.sent_on("22")
        self.assertEqual(self.dialled(), ["PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertFalse(self.asks_for_a_pin())
        self.told(OUTSIDE)

        def row() -> dict[str, str]:
            rows = [json.loads(line) for line in self.gateway.command("history", "--json").splitlines()]
            return next((found for found in rows if found["number"] == OUTSIDE), {})

        wait_for("the call in the history", row)
        found = row()
        self.assertEqual((found["caller"], found["forwarded_by"], found["granted_by"]), ("33", "PJSIP/22", "22"))

    def test_forward_through_a_second_leg(self) -> None:
        """21 forwards to 50, whose Dial leads to 650 by another Local leg: 21 answers for that one, too."""
        with self.phone(21, "forward=50"):
            self.call_until(self.asks_for_a_pin, "21")
        self.assertEqual(self.dialled(), ["PJSIP/21", "Local/650@pbxrouter"])
        self.assertIn("33 sent on by PJSIP/21 -> 650: ", self.told("650"))
        self.assertIn("21 has no grant for 6XX", self.told("650"))

    def test_own_second_leg(self) -> None:
        """33 dials 50 itself: the second leg is 33's, by its own grant."""
        self.call_until(lambda: "Local/650@localline" in self.dialled(), "50")
        self.assertEqual(self.dialled(), ["Local/650@pbxrouter", "Local/650@localline"])
        self.assertFalse(self.asks_for_a_pin())


class TransferTest(SentOnTest):
    """Blind transfers; the settings are the default ones, since SIP needs no option of Dial() to transfer."""

    def test_transfer_without_a_grant(self) -> None:
        """33 calls 21, which transfers it to 600: 33 may dial that and 21 may not, so a PIN is asked for."""
        with self.phone(21, f"transfer={OUTSIDE}"):
            self.sent_on("21")
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 sent on by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_transfer_with_a_grant(self) -> None:
        """22 transfers its caller to 600, on its own grant."""
        with self.phone(22, f"transfer={OUTSIDE}"):
            self.sent_on("22")
        self.assertEqual(self.dialled(), ["PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertFalse(self.asks_for_a_pin())
        self.assertIn("22 may use 6XX by its own grant", self.told(OUTSIDE))

    def test_second_leg_after_a_transfer(self) -> None:
        """21 transfers its caller to 50, whose Dial leads to 650 by a Local leg: 21 answers for that one, too."""
        with self.phone(21, "transfer=50"):
            self.call_until(self.asks_for_a_pin, "21")
        self.assertEqual(self.dialled(), ["PJSIP/21", "Local/650@pbxrouter"])
        self.assertIn("33 sent on by PJSIP/21 -> 650: ", self.told("650"))

    def _transferred_by_ami(self, number: int, who: str) -> None:
        with self.phone(number, "answer"), self.calling(str(number), "-t", "40000"):
            wait_for("the conversation", self.talking)
            channel = self.lab.ami.channel_named(who)
            reply = self.lab.ami.action("BlindTransfer", Channel=channel, Context="pbxrouter", Exten=OUTSIDE)
            self.assertEqual(reply["Response"], "Success")
            wait_for(
                "what becomes of the transfer",
                lambda: self.asks_for_a_pin() or f"Local/{OUTSIDE}@localline" in self.dialled(),
            )
            self.hang_up_all()

    def test_transfer_by_ami(self) -> None:
        """AMI transfers for 21, the called phone: 21 answers for it."""
        self._transferred_by_ami(21, "PJSIP/21")
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("sent on by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_transfer_by_the_caller(self) -> None:
        """AMI transfers for 33, the caller: the called 21 runs on, and 33 answers for it."""
        self._transferred_by_ami(21, "PJSIP/33")
        self.assertEqual(self.dialled(), ["PJSIP/21", f"Local/{OUTSIDE}@localline"])
        self.assertIn("21 sent on by PJSIP/33 -> 600: ", self.told(OUTSIDE))

    def test_parked(self) -> None:
        """A call that 21 parked comes back through the gateway: 21 answers for it."""
        with self.phone(21, "answer"), self.calling("21", "-t", "40000"):
            wait_for("the conversation", self.talking)
            reply = self.lab.ami.action(
                "Park",
                Channel=self.lab.ami.channel_named("PJSIP/33"),
                TimeoutChannel=self.lab.ami.channel_named("PJSIP/21"),
                Timeout="1000",
            )
            self.assertEqual(reply["Response"], "Success")
            wait_for("the PIN prompt", self.asks_for_a_pin)
            self.hang_up_all()
        self.assertIn("33 sent on by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_picked_up(self) -> None:
        """A call to 21 that 35 picks up and transfers: 35 answers for it, which is no extension."""
        with self.phone(21, "noanswer"), self.phone(35, "answer"), self.calling("21", "-t", "40000"):
            wait_for("21 rings", lambda: self.lab.ami.channel_named("PJSIP/21"))
            wait_for("21 rings", lambda: "Ringing" in self.lab.cli("core show channels"))
            reply = self.lab.ami.action(
                "Originate", Channel="PJSIP/35", Application="Pickup", Data="PJSIP/21", Async="true"
            )
            self.assertEqual(reply["Response"], "Success")
            wait_for("the conversation", self.talking)
            reply = self.lab.ami.action(
                "BlindTransfer", Channel=self.lab.ami.channel_named("PJSIP/35"), Context="pbxrouter", Exten=OUTSIDE
            )
            self.assertEqual(reply["Response"], "Success")
            wait_for("the PIN prompt", self.asks_for_a_pin)
            self.hang_up_all()
        self.assertIn("33 sent on by PJSIP/35 -> 600: ", self.told(OUTSIDE))


class TrunkTest(SentOnTest):
    """Callers that come by the trunk."""

    config = 'trunks = ["PJSIP/trunk"]\n[dial]\nforwarding = true\n'

    def test_claimed_number(self) -> None:
        """A caller by the trunk who says that he is 33 is asked for a PIN."""
        self.sent_on(OUTSIDE, "-s", "127.0.0.2", "-f", "33")
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("the call came by the trunk PJSIP/trunk, where the caller number 33", self.told(OUTSIDE))

    def test_claimed_number_through_a_local_channel(self) -> None:
        """The same where the dialplan brings the call by a Local leg: it inherits the trunk."""
        self.call_until(self.asks_for_a_pin, "777", "-s", "127.0.0.2", "-f", "33")
        self.assertIn("the call came by the trunk PJSIP/trunk, where the caller number 33", self.told("677"))

    def test_claimed_diversion(self) -> None:
        """Neither does a Diversion header that names 22 open what 22 may dial."""
        self.sent_on(OUTSIDE, "-s", "127.0.0.2", "-f", "0911", "-D", "22")
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("0911 sent on by 22 -> 600: ", self.told(OUTSIDE))

    def test_forwarded_by_a_trunk(self) -> None:
        """An outsider's call to 22, which forwards it to 600 on 22's grant."""
        self.gateway.change_rules(
            "INSERT OR IGNORE INTO extensions (extension_number) VALUES ('0911')",
            "INSERT OR IGNORE INTO extensions_mappings (extension_id, map_id) SELECT extension_id, map_id"
            " FROM extensions, applications_mappings WHERE pattern = '2X' AND extension_number = '0911'",
        )
        with self.phone(22, f"forward={OUTSIDE}"):
            self.call_until(self.asks_for_a_pin, "22", "-s", "127.0.0.2", "-f", "0911")
        self.assertEqual(self.dialled(), [])


class ClaimTest(SentOnTest):
    """A Diversion header on a phone's own call: it can only narrow."""

    def test_claim_of_a_party_without_a_grant(self) -> None:
        """33 may dial 600; its call claims that 21 sent it on, which may not."""
        self.sent_on(OUTSIDE, "-D", "21")
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 sent on by 21 -> 600: ", self.told(OUTSIDE))

    def test_claim_of_a_party_with_a_grant(self) -> None:
        """The same with 22, which may: both may, so it is dialled."""
        self.sent_on(OUTSIDE, "-D", "22")
        self.assertEqual(self.dialled(), [f"Local/{OUTSIDE}@localline"])


class TiedTest(SentOnTest):
    """An extension that is tied to its endpoint."""

    config = '[prompts]\nask-pin = "agent-pass"\n'

    def test_number_from_another_endpoint(self) -> None:
        """The phone 34 says what number it has: 33's grants do not count there once 33 is tied."""
        number = "34"
        self.sent_on(OUTSIDE, "-f", "33")
        self.assertEqual(self.dialled(), [f"Local/{OUTSIDE}@localline"])
        self.gateway.change_rules(
            "INSERT OR REPLACE INTO extensions_endpoints (extension_id, endpoint)"
            f" SELECT extension_id, 'PJSIP/{number}' FROM extensions WHERE extension_number = '33'"
        )
        self.sent_on(OUTSIDE, "-f", "33")
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 is tied to PJSIP/34, and the call came by PJSIP/33", self.told_last(OUTSIDE))

    def told_last(self, number: str) -> str:
        """The last log line of a call to a number."""
        wait_for("two log lines", lambda: self.gateway.log(self._gateway_mark).count(f" -> {number}: ") > 1)
        return [line for line in self.gateway.log(self._gateway_mark).splitlines() if f" -> {number}: " in line][-1]
