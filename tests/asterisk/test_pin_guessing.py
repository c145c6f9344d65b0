"""An hour of guessing PINs, compressed: over SIP, and by raw FastAGI that obeys nothing.

The hour goes by in the database: what the guard has written is made older. A call is ended, or its block is
answered, as soon as what it is about can be seen.
"""

from __future__ import annotations

import contextlib
import functools
import re
import socket
import sqlite3
from collections.abc import Iterable

from pbxrouter.security.guess_limits import FREE_GUESSES, GATEWAY_GUESSES, GUESSES_AN_HOUR
from tests.asterisk.harness import LOOP, SECRET, AsteriskTest
from tests.needs import PATIENCE_S
from tests.waiting import wait_for

PIN = "123456"
INTERVAL_S = 3600 // GUESSES_AN_HOUR
BLOCK = """\
agi_network: yes
agi_network_script: pbxrouter
agi_request: agi://127.0.0.1/pbxrouter
agi_channel: {channel}
agi_language: en
agi_type: PJSIP
agi_uniqueid: {uniqueid}
agi_version: 22.10.1
agi_callerid: {caller}
agi_calleridname: unknown
agi_callingpres: 0
agi_callingani2: 0
agi_callington: 0
agi_callingtns: 0
agi_dnid: 34
agi_rdnis: unknown
agi_context: pbxrouter
agi_extension: 34
agi_priority: 1
agi_enhanced: 0.0
agi_accountcode:{nothing}
agi_threadid: 139835179546304
{arguments}
"""


class GuessingCase(AsteriskTest):
    """Guessers, and what the gateway has counted."""

    def raw(self, channel: str, caller: str, pins: Iterable[str], uniqueid: str = "", arguments: str = "") -> list[str]:
        """A FastAGI call by a program that keys the PINs and answers all else with success; returns the commands."""
        keyed = iter(pins)
        commands = []
        with socket.create_connection(("127.0.0.1", self.lab.agi_port), PATIENCE_S) as connection:
            block = BLOCK.format(
                channel=channel,
                caller=caller,
                uniqueid=uniqueid or f"1795409729.{self.lab.log_size()}",
                nothing=" ",
                arguments=arguments,
            )
            connection.sendall(block.encode())
            with connection.makefile("r") as lines:
                for line in lines:
                    commands.append(line.strip())
                    if line.startswith("GET DATA"):
                        pin = next(keyed, None)
                        if pin is None:
                            return commands
                        reply = f"200 result={pin}"
                    elif line.startswith("GET VARIABLE"):
                        reply = "200 result=1 (SUCCESS)"
                    elif line.startswith("CHANNEL STATUS"):
                        reply = "200 result=6"
                    elif line.startswith(("SET VARIABLE", "HANGUP", "VERBOSE")):
                        reply = "200 result=1"
                    else:
                        reply = "200 result=0"
                    connection.sendall(f"{reply}\n".encode())
        return commands

    def counted(self, scope: str, name: str) -> tuple[int, int]:
        """Wrong PINs of a source that were checked, and PINs that were not."""
        with contextlib.closing(sqlite3.connect(self.gateway.database)) as connection:
            row = connection.execute(
                "SELECT wrong, unchecked FROM pin_guesses WHERE scope = ? AND name = ?", (scope, name)
            ).fetchone()
        return (0, 0) if row is None else (row[0], row[1])

    def has_unchecked(self, more_than: int) -> bool:
        """Whether more PINs of 33 than that were not checked."""
        return self.counted("endpoint", "PJSIP/33")[1] > more_than

    def pass_time(self, seconds: int) -> None:
        """Let time go by for the guard."""
        self.gateway.sql("UPDATE pin_guesses SET forgiven_at = forgiven_at - :seconds", seconds=seconds)

    def last_outcome(self) -> str:
        """The outcome of the latest call in the history."""
        with contextlib.closing(sqlite3.connect(self.gateway.database)) as connection:
            row = connection.execute("SELECT outcome FROM calls ORDER BY call_id DESC LIMIT 1").fetchone()
        return str(row[0]) if row else ""


class GuessingTest(GuessingCase):
    """A gateway that knows its trunk."""

    config = 'trunks = ["PJSIP/trunk"]\n' + LOOP

    def test_raw_hour(self) -> None:
        """Of 330 guesses in an hour over FastAGI, which ignores each wait, the free ones and ten more are checked."""
        guesses = 0
        for step in range(GUESSES_AN_HOUR + 1):
            if step:
                self.pass_time(INTERVAL_S)
            for call in range(10):
                pins = [f"9{guesses + place:05d}" for place in range(3)]
                commands = self.raw(f"PJSIP/77-{step:04x}{call:04x}", "77", pins)
                guesses += 3
                self.assertEqual([line for line in commands if "Dial" in line], [])
        checked, unchecked = self.counted("endpoint", "PJSIP/77")
        self.assertEqual(checked, FREE_GUESSES + GUESSES_AN_HOUR)
        self.assertEqual(checked + unchecked, guesses)

    def test_right_pin_gives_no_hint(self) -> None:
        """While locked out a right PIN brings the very commands that a wrong one brings, waits included."""
        for place in range(FREE_GUESSES):
            self.raw(f"PJSIP/77-{place:08x}", "77", [f"90000{place}"])
        wrong = self.raw("PJSIP/77-00000010", "77", ["900010"] * 3)
        right = self.raw("PJSIP/77-00000011", "77", [PIN] * 3)
        self.assertEqual(right, wrong)
        self.assertEqual([line for line in right if line.startswith("EXEC Wait")], ["EXEC Wait 8"] * 3)
        self.assertEqual(self.counted("endpoint", "PJSIP/77"), (FREE_GUESSES, 6))
        wait_for("the history", lambda: self.last_outcome() == "LOCKEDOUT")
        self.gateway.command("lockouts", "lift", "endpoint", "PJSIP/77")
        self.gateway.command("lockouts", "lift", "number", "77")
        commands = self.raw("PJSIP/77-00000012", "77", [PIN])
        self.assertIn("EXEC Dial IAX2/loop/34,60,i", [line.replace('"', "") for line in commands])

    def test_sip(self) -> None:
        """Over SIP: five wrong PINs are checked, then each is waited for and none is checked; an hour gives ten."""
        self.call("34", "-d", "900001#p900002#p900003#", "-t", "20000")
        for place in range(FREE_GUESSES):  # on a slow machine a PIN may be keyed between two prompts
            if self.counted("endpoint", "PJSIP/33")[0] < FREE_GUESSES:
                self.call("34", "-d", f"90001{place}#", "-t", "20000")
        self.assertEqual(self.counted("endpoint", "PJSIP/33")[0], FREE_GUESSES)
        for place, pin in enumerate(("900006", PIN)):
            not_checked = functools.partial(self.has_unchecked, place)
            self.call_until(not_checked, "34", "-d", f"{pin}#")
        self.assertEqual(self.dialled(), [])
        self.pass_time(3600)
        for _ in range(GUESSES_AN_HOUR + FREE_GUESSES + 3):
            self.raw("PJSIP/33-0000ffff", "33", ["900007"])
        self.assertEqual(self.counted("endpoint", "PJSIP/33")[0], FREE_GUESSES + FREE_GUESSES)
        lines = re.findall(
            r"PIN guard: wrong PIN from 127\.0\.0\.1, channel PJSIP/33-\w+, caller 33, number 34",
            self.gateway.log(self._gateway_mark),
        )
        self.assertEqual(len(lines), FREE_GUESSES + FREE_GUESSES)

    def test_honest(self) -> None:
        """A user who mistypes twice waits for nothing, is asked as always, and is put through by the third PIN."""
        self.call_until(self.dialled, "34", "-d", f"900001#p900002#p{PIN}#")
        self.assertEqual([line for line in self.applications() if line.startswith("Wait")], [])
        self.assertEqual(self.dialled(), ["IAX2/loop/34"])
        self.assertEqual(self.counted("endpoint", "PJSIP/33")[0], 2)


class CompanyTest(GuessingCase):
    """A gateway that knows its trunk, and whose Asterisk proves its calls by the secret."""

    config = 'trunks = ["PJSIP/trunk"]\n' + LOOP + '[fastagi]\nsecret_file = "fastagi.secret"\n'

    def setUp(self) -> None:
        """Give Asterisk the secret."""
        super().setUp()
        self.lab.ami.action("Setvar", Variable="PBXROUTER_SECRET", Value=SECRET)
        self.addCleanup(self.lab.ami.action, "Setvar", Variable="PBXROUTER_SECRET", Value="")

    def key(self, channel: str, caller: str, *pins: str) -> list[str]:
        """A call of Asterisk's own."""
        return self.raw(channel, caller, pins, arguments=f"agi_arg_1: secret={SECRET}\n")

    def test_company_is_not_locked_out(self) -> None:
        """Outsiders forge a number for each call, the company's own too: the alarm slows them and no one else."""
        self.assertIn("Dial", " ".join(self.key("PJSIP/trunk-0000ffff", "6660002", PIN)))
        numbers = ["33", *(f"555{place:04d}" for place in range(GATEWAY_GUESSES))]
        for place, number in enumerate(numbers):
            self.key(f"PJSIP/trunk-{place:08x}", number, "900001")
        log = self.gateway.log(self._gateway_mark)
        self.assertIn("PIN guard: ALARM: wrong PINs from many places", log)
        # Each number that has guessed wrong has no guess left, where it had four.
        before = self.counted("trunk", "PJSIP/trunk 5550001")
        self.key("PJSIP/trunk-00001000", "5550001", "900002", "900003", "900004")
        self.assertEqual(self.counted("trunk", "PJSIP/trunk 5550001"), (before[0], before[1] + 3))
        # One who has not is checked: inside at once, outside in turn, or at once after a right PIN of the month.
        outside = self.key("PJSIP/trunk-00002000", "6660001", PIN)
        self.assertEqual([line.replace('"', "") for line in outside if "Wait" in line], ["EXEC Wait 20"])
        self.assertIn("Dial", " ".join(outside))
        known = self.key("PJSIP/trunk-00002001", "6660002", PIN)
        self.assertEqual([line for line in known if "Wait" in line], [])
        self.assertIn("Dial", " ".join(known))
        self.call_until(self.dialled, "34", "-f", "36", "-d", f"{PIN}#")
        self.assertEqual([line for line in self.applications() if line.startswith("Wait")], [])
        self.assertEqual(self.counted("endpoint", "PJSIP/36"), (0, 0))


class UnnamedTrunkTest(GuessingCase):
    """A gateway whose owner has named no trunk."""

    config = LOOP

    def test_company_is_not_locked_out(self) -> None:
        """Outsiders who claim to be 33 lock out their own trunk, and not the phone 33."""
        for place in range(2 * FREE_GUESSES):
            self.raw(f"PJSIP/trunk-{place:08x}", "33", ["900001"])
        self.assertEqual(self.counted("number", "33"), (FREE_GUESSES, FREE_GUESSES))
        self.call_until(self.dialled, "34", "-d", f"{PIN}#")
        self.assertEqual([line for line in self.applications() if line.startswith("Wait")], [])
        self.assertEqual(self.counted("endpoint", "PJSIP/33"), (0, 0))
