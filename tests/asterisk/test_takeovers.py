"""Calls that another phone takes up, joins or gets back, and forwards of legs that Asterisk makes by itself."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.asterisk.harness import LAB, PROJECT
from tests.asterisk.test_transfers import MAGI, OUTSIDE, ForwardedCallTest
from tests.needs import PATIENCE_S
from tests.waiting import wait_for


class TakeoverCase(ForwardedCallTest):
    """Parties that take up the end of another by an INVITE with Replaces."""

    @contextlib.contextmanager
    def takeover(self, channel: str, *options: str) -> Iterator[None]:
        """Take up the end of the party on a channel; on return ``sip`` has Asterisk's answers."""
        program = subprocess.Popen(
            [LAB / "takeover", *options, self.lab.ami.channel_named(channel)],
            env=self.lab.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(0.5)
            program.terminate()
            self.sip = program.communicate(timeout=PATIENCE_S)[0].split()

    def change_endpoint(self, setting: str, value: str) -> None:
        """Change a setting of the phone 21 for the rest of the test."""
        file = self.lab.run / "etc/pjsip.conf"
        before = file.read_text()
        file.write_text(before.replace("[21](phone)\n", f"[21](phone)\n{setting} = {value}\n", 1))
        self._reload(setting, value)
        was = self.old

        def put_back() -> None:
            file.write_text(before)
            self._reload(setting, was)

        self.addCleanup(put_back)

    def _reload(self, setting: str, value: str) -> None:
        function = f"PJSIP_ENDPOINT(21,{setting})"
        self.old = self.lab.ami.getvar(function)
        self.lab.cli("module reload res_pjsip.so")
        wait_for(f"{setting} is {value}", lambda: self.lab.ami.getvar(function) == value)

    def until_rings(self, number: int) -> None:
        """Wait until a phone rings."""
        wait_for(f"{number} rings", lambda: f"PJSIP/{number}" in self.log() and "is ringing" in self.log())


class ReplacesTest(TakeoverCase):
    """A phone, or an outsider, who knows a call's ids."""

    config = 'trunks = ["PJSIP/trunk"]\n'

    def _taken_over(self, number: int, channel: str, *options: str) -> None:
        """33 talks with a phone; the end on a channel is taken up, and the taker transfers the other party."""
        with self.phone(number, "answer"), self.calling(str(number), "-t", "40000"):
            self.until_talking("PJSIP/33", f"PJSIP/{number}")
            with self.takeover(channel, *options, "-t", OUTSIDE):
                self.until_judged()
                self.hang_up_all()
        self.assertEqual(self.sip, ["200", "202"])

    def test_callee_with_a_grant(self) -> None:
        """22 takes up the end of 21, which has no grant, and transfers 33: 22 answers for that."""
        self._taken_over(21, "PJSIP/21", "-f", "22")
        self.assertEqual(self.dialled(), ["PJSIP/21", f"Local/{OUTSIDE}@localline"])
        self.assertEqual((self.row()["caller"], self.row()["forwarded_by"]), ("33", "PJSIP/22"))

    def test_callee_without_a_grant(self) -> None:
        """35, which is no extension, takes up the end of 22: neither 22's grant nor 33's pays for its transfer."""
        self._taken_over(22, "PJSIP/22", "-f", "35")
        self.assertEqual(self.dialled(), ["PJSIP/22"])
        self.assertIn("33 forwarded by PJSIP/35 -> 600: ", self.told(OUTSIDE))

    def test_callee_by_an_outsider(self) -> None:
        """An outsider who takes up 22's end by the trunk, as 33, transfers on no grant."""
        self._taken_over(22, "PJSIP/22", "-f", "33", "-s", "127.0.0.2")
        self.assertEqual(self.dialled(), ["PJSIP/22"])
        self.assertIn("33 forwarded by PJSIP/trunk -> 600: ", self.told(OUTSIDE))
        self.assertIn("PJSIP/trunk is a trunk and has no grants", self.told(OUTSIDE))

    def test_caller_without_a_grant(self) -> None:
        """35 takes up the end of 33, which called 22, and transfers 22: 35 answers for that."""
        self._taken_over(22, "PJSIP/33", "-f", "35")
        self.assertEqual(self.dialled(), ["PJSIP/22"])
        self.assertIn("22 forwarded by PJSIP/35 -> 600: ", self.told(OUTSIDE))

    def test_caller_by_an_outsider(self) -> None:
        """The same by the trunk."""
        self._taken_over(22, "PJSIP/33", "-f", "33", "-s", "127.0.0.2")
        self.assertEqual(self.dialled(), ["PJSIP/22"])
        self.assertIn("22 forwarded by PJSIP/trunk -> 600: ", self.told(OUTSIDE))

    def test_ringing_phone(self) -> None:
        """35 takes up the call while 22 still rings, and transfers 33."""
        with self.phone(22, "noanswer"), self.calling("22", "-t", "40000"):
            self.until_rings(22)
            with self.takeover("PJSIP/22", "-f", "35", "-t", OUTSIDE):
                self.until_judged()
                self.hang_up_all()
        self.assertEqual(self.sip, ["200", "202"])
        self.assertEqual(self.dialled(), ["PJSIP/22"])
        self.assertIn("33 forwarded by PJSIP/35 -> 600: ", self.told(OUTSIDE))

    def _at_the_number_prompt(self, *options: str) -> None:
        """33 is asked for a number; its end is taken up by a party that keys one."""
        with self.calling("770", "-t", "40000"):
            wait_for("the prompt", lambda: any(command.startswith("GET DATA vm-enter") for command in self.commands()))
            with self.takeover("PJSIP/33", *options):
                wait_for("the taker's channel", lambda: self._taker())
                self.lab.ami.press(self._taker(), f"{OUTSIDE}#")
                self.until_judged()
                self.hang_up_all()

    def _taker(self) -> str:
        """The channel in the gateway's prompt, once it is no longer 33's."""
        lines = self.lab.cli("core show channels concise").splitlines()
        names = [line.partition("!")[0] for line in lines if "!AGI!" in line]
        return next((name for name in names if not name.startswith("PJSIP/33")), "")

    def test_number_prompt_without_a_grant(self) -> None:
        """35, which takes 33's end up at the number prompt and keys 600, answers for that call."""
        self._at_the_number_prompt("-f", "35")
        self.assertEqual(self.dialled(), [])
        self.assertTrue(self.asks_for_a_pin())
        self.assertIn("33 forwarded by PJSIP/35 -> 600: ", self.told(OUTSIDE))

    def test_number_prompt_with_a_grant(self) -> None:
        """The same with 22, by its own grant."""
        self._at_the_number_prompt("-f", "22")
        self.assertEqual(self.dialled(), [f"Local/{OUTSIDE}@localline"])

    def test_number_prompt_by_an_outsider(self) -> None:
        """The same by the trunk, as 33: a PIN is asked for."""
        self._at_the_number_prompt("-f", "33", "-s", "127.0.0.2")
        self.assertEqual(self.dialled(), [])
        self.assertTrue(self.asks_for_a_pin())


class ConferenceTest(TakeoverCase):
    """Conversations of three."""

    config = '[dial]\noptions = "tTkK"\n'

    def _three(self, who: str) -> None:
        """33 talks with 22, which calls 21 by keys and joins all three; one of them transfers the others."""
        with self.phone(22, "answer"), self.phone(21, "answer"), self.calling("22", "-t", "40000"):
            self.until_talking("PJSIP/33", "PJSIP/22")
            channel = self.lab.ami.channel_named("PJSIP/22")
            self.lab.ami.action("Setvar", Channel=channel, Variable="TRANSFER_CONTEXT", Value="keys")
            self.lab.ami.press(channel, "*2")
            wait_for("Asterisk asks for the number", lambda: f"<{channel}> Playing 'pbx-transfer" in self.log())
            self.lab.ami.press(channel, "21")
            self.until_talking("PJSIP/22", "Local/21")
            self.lab.ami.press(channel, "*3")
            wait_for("all three talk", lambda: " 3 basic " in self.lab.cli("bridge show all"))
            self.transfer_by_ami(who)
            self.until_judged()
            self.hang_up_all()

    def test_without_a_grant(self) -> None:
        """21 replaces itself by a call to 600 and leaves the others to it: a PIN is asked for."""
        self._three("PJSIP/21")
        self.assertEqual(self.dialled(), ["PJSIP/22", "PJSIP/21"])
        self.assertIn("forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_with_a_grant(self) -> None:
        """22 does so on its own grant, and not on that of 33, which made the call."""
        self._three("PJSIP/22")
        self.assertEqual(self.dialled(), ["PJSIP/22", "PJSIP/21", f"Local/{OUTSIDE}@localline"])
        row = self.row()
        self.assertEqual((row["forwarded_by"], row["granted_by"]), ("PJSIP/22", "22"))

    def test_conference_room(self) -> None:
        """Asterisk refuses to transfer a party that is in a room of ConfBridge()."""
        with self.calling("772", "-t", "40000"), self.calling("772", "-f", "22", "-t", "40000"):
            wait_for("two in the room", lambda: self.lab.cli("core show channels concise").count("!ConfBridge!") == 2)
            channel = self.lab.ami.channel_named("PJSIP/22")
            reply = self.lab.ami.action("BlindTransfer", Channel=channel, Context="pbxrouter", Exten=OUTSIDE)
            self.assertEqual(reply["Message"], "Transfer invalid")
            self.hang_up_all()
        self.assertEqual(self.dialled(), [])


class OriginTest(TakeoverCase):
    """Parked calls that come back to the phone that parked them, by a Dial() of Asterisk's own (comebacktoorigin)."""

    def _comes_back(self, number: int, manner: str) -> None:
        with self.phone(number, "answer"), self.calling(str(number), "-t", "40000"):
            self.until_talking("PJSIP/33", f"PJSIP/{number}")
            phone = self.lab.ami.channel_named(f"PJSIP/{number}")
            reply = self.lab.ami.action(
                "Park",
                Channel=self.lab.ami.channel_named("PJSIP/33"),
                TimeoutChannel=phone,
                Timeout="3000",
                Parkinglot="origin",
            )
            self.assertEqual(reply["Response"], "Success", reply)
            wait_for(f"{number} is free", lambda: phone not in self.lab.channels())
            port = f":{self.lab.base + number:04X} "
            wait_for(f"the phone {number} is gone", lambda: port not in Path("/proc/net/udp").read_text())
            with self.phone(number, manner):
                self.until_judged()
                self.hang_up_all()

    def test_forward(self) -> None:
        """The phone forwards: that Dial() has no option i, and the phone answers for the call."""
        self._comes_back(21, f"forward={OUTSIDE}")
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_transfer(self) -> None:
        """The phone answers and transfers: it answers for that."""
        self._comes_back(21, f"transfer={OUTSIDE}")
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_forward_with_a_grant(self) -> None:
        """22 forwards it on its own grant."""
        self._comes_back(22, f"forward={OUTSIDE}")
        self.assertEqual(self.dialled(), ["PJSIP/22", f"Local/{OUTSIDE}@localline"])
        self.assertEqual((self.row()["forwarded_by"], self.row()["granted_by"]), ("PJSIP/22", "22"))


class BothRedirectedTest(TakeoverCase):
    """AMI's Redirect of both parties."""

    def test_both(self) -> None:
        """Each is judged as its own caller: 33, which may, and 21, which may not."""
        with self.phone(21, "answer"), self.calling("21", "-t", "40000"):
            self.until_talking("PJSIP/33", "PJSIP/21")
            reply = self.lab.ami.action(
                "Redirect",
                Channel=self.lab.ami.channel_named("PJSIP/33"),
                ExtraChannel=self.lab.ami.channel_named("PJSIP/21"),
                Context="pbxrouter",
                Exten=OUTSIDE,
                Priority=1,
            )
            self.assertEqual(reply["Response"], "Success", reply)
            wait_for("33 is judged", lambda: f"Local/{OUTSIDE}@localline" in self.dialled())
            wait_for("21 is judged", self.asks_for_a_pin)
            self.hang_up_all()
        wait_for("two log lines", lambda: self.gateway.log(self._gateway_mark).count(f" -> {OUTSIDE}: ") == 2)
        log = self.gateway.log(self._gateway_mark)
        self.assertIn(f": 21 -> {OUTSIDE}: ", log)
        self.assertIn(f": 33 -> {OUTSIDE}: ", log)


class DirectedPickUpTest(TakeoverCase):
    """A call that another phone picks up by Pickup()."""

    def test_pickup(self) -> None:
        """35 picks up the call to 22, which has a grant, and transfers it: 35 answers for that."""
        with self.phone(21, "noanswer"), self.calling("21", "-t", "40000"):
            self.until_rings(21)
            with self.calling("771", "-f", "35", "-t", "40000"):
                self.until_talking("PJSIP/33", "PJSIP/35")
                self.transfer_by_ami("PJSIP/35")
                self.until_judged()
                self.hang_up_all()
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertIn("33 forwarded by PJSIP/35 -> 600: ", self.told(OUTSIDE))


class OwnLegTest(TakeoverCase):
    """A phone behind a leg Local/…/n of the dialplan's own Dial(), which has no option i."""

    def test_forward_without_a_grant(self) -> None:
        """21 forwards: not 33, which called, answers for it."""
        with self.phone(21, f"forward={OUTSIDE}"):
            self.call_until_judged("774")
        self.assertEqual(self.dialled(), [])
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_forward_with_a_grant(self) -> None:
        """22 forwards on its own grant."""
        with self.phone(22, f"forward={OUTSIDE}"):
            self.call_until_judged("773")
        self.assertEqual(self.dialled(), [f"Local/{OUTSIDE}@localline"])
        self.assertEqual((self.row()["forwarded_by"], self.row()["granted_by"]), ("PJSIP/22", "22"))

    def test_transfer_without_a_grant(self) -> None:
        """21 transfers the leg: it answers for that."""
        with self.phone(21, f"transfer={OUTSIDE}"):
            self.call_until_judged("774")
        self.assertEqual(self.dialled(), [])
        self.assertIn("33 forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))

    def test_two_forwards(self) -> None:
        """21 forwards to 773, and 22 behind that to 600: 22 answers for the last one."""
        with self.phone(21, "forward=773"), self.phone(22, f"forward={OUTSIDE}"):
            self.call_until_judged("774")
        self.assertEqual(self.dialled(), [f"Local/{OUTSIDE}@localline"])
        self.assertIn("forwarded by PJSIP/22 -> 600: ", self.told(OUTSIDE))


class ClickForwardTest(TakeoverCase):
    """A phone that a click or AMI's Originate rings, and which forwards."""

    config = f"# forwards\n{MAGI}"

    def setUp(self) -> None:
        """Wait for AMI."""
        super().setUp()
        wait_for("the AMI connection", lambda: "AMI lab: connected" in self.gateway.log())

    def test_click(self) -> None:
        """33, for which the call is placed, forwards to 677: its own grants count for both numbers."""
        with self.phone(33, "forward=677"):
            program = [sys.executable, "-c", "from pbxrouter.cli import main; main()", "originate"]
            asked = ["--config", str(self.gateway.config), "PJSIP/33", "--to", OUTSIDE, "--context", "pbxrouter"]
            subprocess.run([*program, *asked], cwd=PROJECT, capture_output=True, timeout=PATIENCE_S, check=False)
            self.until_judged()
            self.hang_up_all()
        self.assertIn("forwarded by PJSIP/33 -> 677: ", self.told("677"))
        self.assertIn("forwarded by PJSIP/33 -> 600: ", self.told(OUTSIDE))
        self.assertIn("33 may use 6XX by its own grant", self.told(OUTSIDE))

    def test_another_number_shown(self) -> None:
        """AMI shows 33's number to the phone 21, which forwards: 21 answers for it."""
        with self.phone(21, f"forward={OUTSIDE}"):
            reply = self.lab.ami.action(
                "Originate", Channel="PJSIP/21", CallerID="33", Application="Wait", Data="20", Async="true"
            )
            self.assertEqual(reply["Response"], "Success", reply)
            self.until_judged()
            self.hang_up_all()
        self.assertEqual(self.dialled(), [])
        self.assertIn("forwarded by PJSIP/21 -> 600: ", self.told(OUTSIDE))


class RedirectMethodTest(TakeoverCase):
    """The settings of redirect_method in pjsip.conf, with which Asterisk does not keep to the dialplan."""

    config = "[dial]\nforwarding = true\n"

    def _forward(self) -> None:
        with self.phone(21, f"forward={OUTSIDE}"):
            self.call_until_judged("21")

    def test_uri_core(self) -> None:
        """With uri_core the forward to an address of this PBX is a call of 33's, which claims to come from 21."""
        self.change_endpoint("redirect_method", "uri_core")
        self._forward()
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertIn("33 forwarded by 21 -> 600: ", self.told(OUTSIDE))

    def test_uri_pjsip(self) -> None:
        """With uri_pjsip it is a call of 33's without any trace of 21, which the doctor therefore names."""
        self.change_endpoint("redirect_method", "uri_pjsip")
        self._forward()
        self.assertEqual(self.dialled(), ["PJSIP/21", f"Local/{OUTSIDE}@localline"])
        self.assertEqual((self.row()["caller"], self.row()["forwarded_by"]), ("33", ""))


class DoctorTest(TakeoverCase):
    """What the doctor says of this Asterisk."""

    config = f"# doctor\n{MAGI}"

    def _doctor(self) -> str:
        program = [sys.executable, "-c", "from pbxrouter.cli import main; main()", "doctor"]
        done = subprocess.run(
            [*program, "--config", str(self.gateway.config)], cwd=PROJECT, capture_output=True, text=True
        )
        return " ".join(done.stdout.split())

    def test_endpoints_and_options(self) -> None:
        """It names Dial()s without option i, with t, and a phone whose forwards Asterisk itself follows."""
        said = self._doctor()
        self.assertIn("Dial() has no option i at", said)
        self.assertNotIn("uri_pjsip", said)
        self.assertNotIn("Dial() has t, T, k or K", said)
        self.change_endpoint("redirect_method", "uri_pjsip")
        self.lab.cli('dialplan add extension 9,1,Dial,"PJSIP/21,20,it" into own-leg')
        self.addCleanup(self.lab.cli, "dialplan remove extension 9@own-leg")
        said = self._doctor()
        self.assertIn("Asterisk itself calls where PJSIP/21 forwards to", said)
        self.assertIn("Dial() has t, T, k or K at 9@own-leg", said)

    def test_fallback(self) -> None:
        """It follows the fallback through an include, a pattern and ExecIf to a trunk."""
        self.assertIn("the fallback fallback dials no trunk, as far as it can be read", self._doctor())
        self.lab.cli("dialplan add include outdoors into fallback")
        self.addCleanup(self.lab.cli, "dialplan remove include outdoors from fallback")
        self.assertIn(
            "the fallback fallback reaches the trunk PJSIP/${EXTEN}@trunk, at _0X in outdoors", self._doctor()
        )
