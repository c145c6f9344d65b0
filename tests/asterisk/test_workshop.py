"""The workshop's rules with real phones: grants, PINs, and the sounds that the caller hears."""

from __future__ import annotations

import re
import time

from tests.asterisk.harness import LOOP, AsteriskTest
from tests.waiting import wait_for

ASK, WRONG, INVALID, GOODBYE = "agent-pass", "vm-incorrect", "invalid", "vm-goodbye"


class WorkshopTest(AsteriskTest):
    """Calls by the workshop's rules, of a phone whose language is English."""

    def _prompts(self, *names: str) -> list[str]:
        return [f"{name} en" for name in names]

    def _press_when_asked(self, unique_id: str, digits: str) -> None:
        wait_for("the PIN prompt", lambda: f"{ASK} en" in self.played())
        name = self.lab.ami.channel_named("Local/", ";2")
        self.lab.ami.press(name, digits)
        wait_for("the Dial", self.dialled)


class TableTest(WorkshopTest):
    """Every row of the workshop's table."""

    def test_own_grant(self) -> None:
        """33 calls 21: the phone rings at once, without a prompt, and they are connected."""
        with self.phone(21, "answer"):
            self.assertEqual(self.call("21", "-t", "1000"), "answered, hung up by the caller")
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertEqual(self.played(), [])
        self.assertEqual(self.complaints(), [])

    def test_pin(self) -> None:
        """33 calls 34: one prompt, the PIN, IAX."""
        self.call_until(self.dialled, "34", "-d", "123456#")
        self.assertEqual(self.played()[:1], self._prompts(ASK))
        self.assertEqual(self.dialled(), ["IAX2/34"])
        self.assertEqual(self.played().count(f"{ASK} en"), 1)

    def test_second_pin(self) -> None:
        """A wrong PIN: the wrong-PIN prompt, then the PIN prompt again."""
        self.call_until(self.dialled, "34", "-d", "000000#pp123456#")
        self.assertEqual(self.played()[:3], self._prompts(ASK, WRONG, ASK))
        self.assertEqual(self.dialled(), ["IAX2/34"])

    def test_three_wrong_pins(self) -> None:
        """Three wrong PINs: three prompts, goodbye, the end; the third PIN is checked, too."""
        said = self.call("34", "-d", "000000#ppp111111#ppp222222#", "-t", "20000")
        self.assertEqual(said, "answered, hung up by the far end")
        played = self.played()
        self.assertEqual(played, self._prompts(ASK, WRONG, ASK, WRONG, ASK, WRONG, GOODBYE))
        self.assertEqual(self.dialled(), [])

    def test_voicemail(self) -> None:
        """33 calls 66: the mailbox of 33, which opens with its password, 3333."""
        self.call_until(lambda: "vm-no en" in self.played(), "66", "-d", "123456#pp3333#")
        self.assertEqual(self.applications(), ["VoiceMailMain 33@default"])
        self.assertEqual(self.played()[:4], self._prompts(ASK, "vm-password", "vm-youhave", "vm-no"))
        wait_for("the mark", lambda: self.variables().get("PBXROUTER") == "done")

    def test_conference(self) -> None:
        """33 calls 75: ConfBridge 75, with the caller in it."""
        self.call_until(lambda: "75" in self.lab.cli("confbridge list"), "75", "-d", "123456#")
        self.assertRegex(self.applications()[0], r"^ConfBridge 75\b")

    def test_pin_without_that_grant(self) -> None:
        """33 calls 12345678: the user of that PIN has no grant for it, so it counts as a wrong one."""
        self.call_until(lambda: f"{WRONG} en" in self.played(), "12345678", "-d", "123456#")
        self.assertEqual(self.played()[:2], self._prompts(ASK, WRONG))
        self.assertEqual(self.dialled(), [])

    def test_no_such_number(self) -> None:
        """33 calls 999: the invalid-number prompt, and the end."""
        self.assertEqual(self.call("999", "-t", "15000"), "answered, hung up by the far end")
        self.assertEqual(self.played(), self._prompts(INVALID))
        self.assertEqual(self.dialled(), [])

    def test_unknown_extension(self) -> None:
        """44 is in no table: it is asked for a PIN where 33 is not."""
        self.call_until(self.dialled, "21", "-s", "127.0.0.2", "-f", "44", "-d", "123456#")
        self.assertEqual(self.played()[:1], self._prompts(ASK))
        self.assertEqual(self.dialled(), ["PJSIP/21"])

    def test_no_caller_number(self) -> None:
        """A call without a number (Asterisk writes unknown) is asked for a PIN."""
        channel = self.lab.ami.originate("Local/21@pbxrouter/n")
        self._press_when_asked(channel, "123456#")
        self.assertIn("agi_callerid: unknown", self.log())
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.hang_up_all()

    def test_called_unknown(self) -> None:
        """A caller with the number "unknown" is treated as one without a number."""
        self.call_until(self.dialled, "21", "-s", "127.0.0.2", "-f", "unknown", "-d", "123456#")
        self.assertEqual(self.played()[:1], self._prompts(ASK))
        self.assertEqual(self.dialled(), ["PJSIP/21"])


class KeyedTest(WorkshopTest):
    """What callers do at the prompt."""

    def test_hang_up_while_the_prompt_plays(self) -> None:
        """The caller hangs up during the prompt: no further command, no warning in the log."""
        self.assertEqual(self.call("34", "-w", "500", "-t", "200"), "answered, hung up by the caller")
        time.sleep(0.5)
        self.assertTrue(self.commands()[-1].startswith("GET DATA"), self.commands())
        self.assertEqual(self.dialled(), [])
        self.assertEqual(self.complaints(), [])

    def test_typed_ahead(self) -> None:
        """Digits typed ahead across all prompts: none is lost."""
        self.call_until(self.dialled, "34", "-d", "000000#123456#")
        self.assertEqual(self.dialled(), ["IAX2/34"])

    def test_typed_ahead_thrice(self) -> None:
        """Two wrong PINs and the right one typed ahead, from the answer on."""
        self.call_until(self.dialled, "34", "-w", "100", "-d", "000000#111111#123456#")
        self.assertEqual(self.dialled(), ["IAX2/34"])

    def test_pin_without_hash(self) -> None:
        """A PIN without # counts, too, once the digits stop."""
        self.call_until(self.dialled, "34", "-d", "123456")
        self.assertEqual(self.dialled(), ["IAX2/34"])

    def test_pin_stays_out_of_the_log(self) -> None:
        """Neither a right nor a wrong PIN is in the gateway's log."""
        self.call_until(self.dialled, "34", "-d", "907856#pp123456#")
        log = self.gateway.log(self._gateway_mark)
        self.assertNotIn("907856", log)
        self.assertNotIn("123456", log)


class TableOnPostgreSQLTest(TableTest):
    """Every row of the workshop's table, by rules in a database of PostgreSQL."""

    config = 'database = "DATABASE_URL"\n'

    def test_own_grant(self) -> None:
        """As there; a rule that is changed by SQL is in force a second later."""
        super().test_own_grant()
        self.gateway.sql("UPDATE applications_mappings SET pattern = '4X' WHERE pattern = '2X'")
        self.addCleanup(self.gateway.sql, "UPDATE applications_mappings SET pattern = '2X' WHERE pattern = '4X'")
        time.sleep(1)
        self.assertEqual(self.call("21", "-t", "15000"), "answered, hung up by the far end")
        self.assertEqual(self.played(), self._prompts(INVALID))


class DataTest(AsteriskTest):
    """What the data of mappings makes of a number: phones, parts of the number, settings."""

    def setUp(self) -> None:
        """Add mappings that 33 may use."""
        super().setUp()
        rows = (
            (71, "PJSIP/21", "561"),
            (72, "PJSIP/21&PJSIP/22 timeout=20", "562"),
            (73, "PJSIP/{number:1} callerid=+34911{caller:-1}", "9XX"),
        )
        self.gateway.change_rules(
            *(
                "INSERT INTO applications_mappings (map_id, application_name, application_data, pattern)"
                f" VALUES ({map_id}, 'dial', '{data}', '{pattern}')"
                for map_id, data, pattern in rows
            ),
            *(
                f"INSERT INTO extensions_mappings (extension_id, map_id) SELECT extension_id, {map_id} FROM extensions"
                " WHERE extension_number = '33'"
                for map_id, _, _ in rows
            ),
        )
        self.addCleanup(
            self.gateway.change_rules,
            "DELETE FROM extensions_mappings WHERE map_id BETWEEN 71 AND 73",
            "DELETE FROM applications_mappings WHERE map_id BETWEEN 71 AND 73",
        )

    def test_one_phone(self) -> None:
        """561 leads to the phone 21."""
        with self.phone(21, "answer"):
            self.assertEqual(self.call("561", "-t", "500"), "answered, hung up by the caller")
        self.assertEqual(self.applications(), ["Dial PJSIP/21,60,i"])

    def test_several_phones(self) -> None:
        """562 rings 21 and 22 together; the one that answers has the call."""
        with self.phone(21, "noanswer"), self.phone(22, "answer"):
            self.assertEqual(self.call("562", "-t", "500"), "answered, hung up by the caller")
        self.assertEqual(self.applications(), ["Dial PJSIP/21&PJSIP/22,20,i"])
        self.assertLessEqual({"PJSIP/21", "PJSIP/22"}, set(re.findall(r"Called (\S+)", self.log())))
        self.assertRegex(self.log(), r"PJSIP/22-\w+ answered")

    def test_part_of_the_number(self) -> None:
        """921 rings 21, which is shown another number than the caller's."""
        with self.phone(21, "answer"), self.calling("921", "-t", "40000"):
            wait_for("the answer", lambda: re.search(r"PJSIP/21-\w+ answered", self.log()))
            name = self.lab.ami.channel_named("PJSIP/21-")
            shown = self.lab.cli(f"core show channel {name}")
            self.hang_up_all()
        self.assertEqual(self.applications(), ["Dial PJSIP/21,60,if(+349113)"])
        self.assertRegex(shown, r"Connected Line ID: \+349113\b")


class ArrivalTest(AsteriskTest):
    """Calls that arrive at s, and on a dead channel."""

    def test_number_in_dnid(self) -> None:
        """On an analogue line the call arrives at s; the number sent with it counts."""
        with self.phone(21, "busy"):
            self.lab.ami.originate("Local/s@analogue/n", variables=["CALLERID(dnid)=21"], CallerID="33")
            self._until_over()
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertIn("agi_extension: s", self.log())

    def _until_over(self) -> None:
        wait_for("the gateway's work", lambda: "completed, returning" in self.log())
        self.hang_up_all()

    def test_asked_for_the_number(self) -> None:
        """Without any number the caller is asked for it."""
        self.lab.ami.originate("Local/s@analogue/n")
        wait_for("the question", lambda: "vm-enter-num-to-call en" in self.played())
        self.lab.ami.press(self.lab.ami.channel_named("Local/", ";2"), "999#")
        wait_for("the verdict", lambda: "invalid en" in self.played())
        self._until_over()

    def test_dead_channel(self) -> None:
        """In h the gateway neither prompts nor dials, and is done at once."""
        self.lab.ami.originate("Local/21@dead/n")
        self._until_over()
        self.assertEqual(self.played(), [])
        self.assertEqual(self.dialled(), [])
        self.assertEqual(self.complaints(), [])


class SpanishTest(AsteriskTest):
    """A phone whose language is Spanish."""

    def test_spanish(self) -> None:
        """35 hears each prompt in Spanish."""
        self.call("34", "-f", "35", "-d", "000000#ppp111111#ppp222222#", "-t", "20000")
        expected = [ASK, WRONG, ASK, WRONG, ASK, WRONG, GOODBYE]
        self.assertEqual(self.played(), [f"{name} es" for name in expected])
        self.assertIn("es_MX", self._sound_of("agent-pass"))

    def _sound_of(self, name: str) -> str:
        link = self.lab.run.parent.parent / "usr/share/asterisk/sounds/es"
        target = self.lab.run.parent.parent / str(link.readlink()).lstrip("/")
        folder = target.readlink() if target.is_symlink() else target
        found = self.lab.run.parent.parent / str(folder).lstrip("/") / f"{name}.gsm"
        self.assertTrue(found.exists(), found)
        return str(found)


class WorkshopPromptsTest(AsteriskTest):
    """The workshop's own five sounds, by their names."""

    config = """
[prompts]
ask-pin = "iss_ask_auth_{language}"
wrong-pin = "iss_wrong_auth_en"
invalid-number = "iss_invalid_pbx_number_en"
goodbye = "iss_hangup_en"
technical-failure = "iss_technical_failure_en"
"""

    def test_pins(self) -> None:
        """Three wrong PINs with the workshop's sounds."""
        self.call("34", "-d", "000000#pp111111#pp222222#", "-t", "15000")
        ask, wrong = "iss_ask_auth_en en", "iss_wrong_auth_en en"
        self.assertEqual(self.played(), [ask, wrong, ask, wrong, ask, wrong, "iss_hangup_en en"])

    def test_invalid_number(self) -> None:
        """An invalid number with the workshop's sounds."""
        self.call("999")
        self.assertEqual(self.played(), ["iss_invalid_pbx_number_en en"])

    def test_technical_failure(self) -> None:
        """A rule that cannot be run, with the workshop's sounds."""
        self.gateway.change_rules(
            "INSERT INTO applications_mappings (application_name, application_data, pattern)"
            " VALUES ('hangup', 'soon', '61')",
            "INSERT INTO extensions_mappings (extension_id, map_id)"
            " SELECT extension_id, map_id FROM extensions, applications_mappings WHERE pattern = '61'",
        )
        self.call("61")
        self.assertEqual(self.played(), ["iss_technical_failure_en en"])


class WatchedTest(AsteriskTest):
    """The gateway writes each AGI dialogue to its log, as `agi debug` of the workshop."""

    config = "[fastagi]\ndebug = true\n"

    def test_pins_are_masked(self) -> None:
        """The log has the whole dialogue, but neither the right nor the wrong PIN."""
        self.call_until(self.dialled, "34", "-d", "907856#123456#")
        log = self.gateway.log(self._gateway_mark).replace("0123456789*#", "")  # the keys that end a sound
        self.assertIn("GET DATA", log)
        self.assertIn("IAX2/34", log)
        self.assertNotIn("907856", log)
        self.assertNotIn("123456", log)
        self.assertNotIn("07856", log)  # without the digit that stopped the prompt


class DatabaseChangeTest(AsteriskTest):
    """The rules change while the gateway runs."""

    config = LOOP

    def test_next_call(self) -> None:
        """A rule added by SQL applies to the next call, and no longer after its removal."""
        self.gateway.change_rules(
            "INSERT INTO applications_mappings (application_name, application_data, pattern)"
            " VALUES ('dial', 'Local/{number}@localline', '88XX')"
        )
        self.call_until(lambda: f"{ASK} en" in self.played(), "8812")
        self.gateway.change_rules("DELETE FROM applications_mappings WHERE pattern = '88XX'")
        self.call_until(lambda: f"{INVALID} en" in self.played(), "8812")

    def test_new_grant(self) -> None:
        """A new grant: 33 may call 34 without a PIN."""
        self.gateway.change_rules(
            "INSERT INTO extensions_mappings (extension_id, map_id)"
            " SELECT extension_id, map_id FROM extensions, applications_mappings WHERE pattern = '3X'"
        )
        self.addCleanup(
            self.gateway.change_rules,
            "DELETE FROM extensions_mappings WHERE map_id ="
            " (SELECT map_id FROM applications_mappings WHERE pattern = '3X')",
        )
        self.assertEqual(self.call("34", "-t", "5000"), "answered, hung up by the far end")
        self.assertEqual(self.dialled(), ["IAX2/loop/34"])
        self.assertEqual(self.played(), [])
