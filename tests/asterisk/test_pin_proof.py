"""Calls that key a PIN are proven to be Asterisk's: forged ones are refused, genuine ones notice nothing."""

from __future__ import annotations

import contextlib
import re
import sqlite3

from tests.asterisk.harness import LOOP, SECRET
from tests.asterisk.test_pin_guessing import PIN, GuessingCase
from tests.waiting import wait_for

AMI = """
[[asterisk]]
name = "lab"
ami = "tcp:127.0.0.1:AMI_PORT"
username = "gateway"
secret_file = "ami.secret"
"""


class ProofCase(GuessingCase):
    """A gateway that has an AMI connection."""

    def setUp(self) -> None:
        """Wait for the connection."""
        super().setUp()
        wait_for("the AMI connection", lambda: "AMI lab: connected" in self.gateway.log())
        self._sockets = self.gateway.sockets()

    def rows(self) -> list[tuple[str, str]]:
        """Scope and name of each source of wrong PINs."""
        with contextlib.closing(sqlite3.connect(self.gateway.database)) as connection:
            return connection.execute("SELECT scope, name FROM pin_guesses WHERE wrong + unchecked > 0").fetchall()

    def refused(self) -> list[str]:
        """The traces of refused calls, the latest first."""
        with contextlib.closing(sqlite3.connect(self.gateway.database)) as connection:
            rows = connection.execute("SELECT trace FROM calls WHERE outcome = 'REFUSED' ORDER BY call_id DESC")
            return [str(row[0]) for row in rows]


class DefaultTest(ProofCase):
    """The default: FastAGI on loopback, without a secret and without fastagi.allow."""

    config = LOOP + AMI

    def test_raw_guesses(self) -> None:
        """No guess of a program that names new channels and numbers is checked, not even a right one."""
        before = len(self.refused())
        for place in range(30):
            commands = self.raw(f"PJSIP/new{place}-{place:08x}", f"7{place}", [PIN] * 3)
            self.assertEqual([line for line in commands if "Dial" in line], [])
            self.assertEqual(
                [line.replace('"', "") for line in commands[-2:]], ["SET VARIABLE PBXROUTER refused", "HANGUP"]
            )
        self.assertEqual(self.rows(), [])
        wait_for("the history", lambda: len(self.refused()) == before + 30)
        self.assertIn("refused as forged", self.refused()[0])
        self.assertIn('"peer": "127.0.0.1"', self.refused()[0])
        log = self.gateway.log(self._gateway_mark)
        self.assertEqual(log.count("refused a call from 127.0.0.1, whose channel Asterisk does not have"), 30)
        self.assertIn("ALARM", log)

    def test_real_channel(self) -> None:
        """Channel, number and Uniqueid of a call that is there prove nothing, and its phone is not locked out."""
        with self.calling("34", "-d", f"pppp{PIN}#", "-t", "20000"):
            wait_for("the call", lambda: "agent-pass en" in self.played())
            wait_for("its variable", lambda: "PBXROUTER_PROOF" in self.variables())
            channel = self.lab.ami.channel_named("PJSIP/33-")
            (uniqueid,) = set(re.findall(r"agi_uniqueid: (\S+)", self.log()))
            for _ in range(10):
                commands = self.raw(channel, "33", [PIN], uniqueid=uniqueid)
                self.assertEqual([line for line in commands if "Dial" in line], [])
            wait_for("the genuine call", self.dialled)
            self.hang_up_all()
        self.assertEqual([line for line in self.applications() if line.startswith("Wait")], [])
        self.assertEqual(self.rows(), [])

    def test_genuine(self) -> None:
        """Over SIP all is as without AMI: two wrong PINs are checked, the right one is put through."""
        self.call_until(self.dialled, "34", "-d", f"900001#p900002#p{PIN}#")
        self.assertEqual([line for line in self.applications() if line.startswith("Wait")], [])
        self.assertEqual(self.counted("endpoint", "PJSIP/33")[0], 2)
        proofs = [line for line in self.commands() if "PBXROUTER_PROOF" in line]
        self.assertEqual(len(proofs), 1)

    def test_without_a_pin(self) -> None:
        """A call that needs no PIN sets no variable."""
        with self.phone(21, "answer"):
            self.call_until(self.dialled, "21")
        self.assertEqual([line for line in self.commands() if "PBXROUTER_PROOF" in line], [])

    def test_simulated_call(self) -> None:
        """`pbxrouter call`, which can read the PIN key, is no forgery."""
        said = self.gateway.command("call", "34", "--from", "33", "--pin", PIN)
        self.assertIn("IAX2/loop/34", said)
        self.assertEqual(self.rows(), [])


class AllowTest(ProofCase):
    """The settings name peers: an Asterisk without an AMI connection may be among them."""

    config = LOOP + AMI + '[fastagi]\nallow = ["127.0.0.0/8"]\n'

    def test_other_asterisk(self) -> None:
        """Its calls are served; new names share sixty guesses, and lock out no phone of the Asterisk that is asked."""
        guesses = [self.raw(f"PJSIP/33-{place:08x}", "33", ["900001"]) for place in range(6)]
        self.assertEqual(len(guesses), 6)
        self.assertEqual(self.counted("endpoint", "PJSIP/33 at 127.0.0.1"), (5, 1))
        self.assertEqual(self.counted("endpoint", "PJSIP/33"), (0, 0))
        for place in range(80):
            self.raw(f"PJSIP/x{place}-{place:08x}", f"9{place}", ["900001"])
        self.assertEqual(self.counted("peer", "127.0.0.1"), (60, 20))
        locked = self.raw("PJSIP/y-0000000a", "777", [PIN])
        self.assertEqual([line for line in locked if "Dial" in line], [])
        self.call_until(self.dialled, "34", "-d", f"{PIN}#")
        self.assertEqual([line for line in self.applications() if line.startswith("Wait")], [])
        self.gateway.command("lockouts", "lift", "peer", "127.0.0.1")
        self.assertIn("Dial", " ".join(self.raw("PJSIP/z-0000000a", "778", [PIN])))


class SecretTest(ProofCase):
    """The shared secret proves a call, and nothing is asked."""

    config = LOOP + AMI + '[fastagi]\nsecret_file = "fastagi.secret"\n'

    def test_secret(self) -> None:
        """A call with the secret is served although the Asterisk that is asked does not have its channel."""
        commands = self.raw("PJSIP/77-0000000a", "77", [PIN], arguments=f"agi_arg_1: secret={SECRET}\n")
        self.assertIn("Dial", " ".join(commands))
        self.assertEqual([line for line in commands if "PBXROUTER_PROOF" in line], [])
        self.assertEqual(self.raw("PJSIP/77-0000000a", "77", [PIN]), [])
