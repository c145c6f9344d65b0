"""Two real Asterisks at one gateway, with phones of the same numbers."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

from tests.asterisk.harness import LAB, LOOP, AsteriskTest, Lab, the_lab, the_other_lab
from tests.waiting import wait_for

CONFIG = f"""{LOOP}
[[asterisk]]
name = "madrid"
ami = "tcp:127.0.0.1:AMI_PORT"
username = "gateway"
secret_file = "ami.secret"
magi = ["pbxrouter-magi"]
originate = ["pbxrouter-phones"]
[[asterisk]]
name = "lima"
ami = "tcp:127.0.0.1:OTHER_PORT"
username = "gateway"
secret_file = "ami.secret"
magi = ["pbxrouter-magi"]
originate = ["pbxrouter-phones"]
"""
RULES = (
    "INSERT OR IGNORE INTO extensions (extension_number) VALUES ('madrid:36'), ('lima:36')",
    "INSERT OR IGNORE INTO extensions_mappings (extension_id, map_id) SELECT extension_id, map_id"
    " FROM extensions, applications_mappings WHERE extension_number || pattern IN ('madrid:363X', 'lima:3666')",
)


class SeveralAsterisksTests(AsteriskTest):
    """Both are on this machine, so that the dialplan must tell which it is."""

    def setUp(self) -> None:
        """Start the second Asterisk, and let each say its name."""
        self.other = the_other_lab() if the_lab() else the_lab()
        self.config = CONFIG.replace("OTHER_PORT", str(self.other.base + 38))
        super().setUp()
        self.labs = {"madrid": self.lab, "lima": self.other}
        for name, lab in self.labs.items():
            self.name(lab, name)
            self.addCleanup(self.name, lab, "")
        self.gateway.change_rules(*RULES)
        wait_for("both connections", lambda: all(self.connected(name) for name in self.labs))

    def name(self, lab: Lab, name: str) -> None:
        """Set the name that the dialplan passes."""
        lab.ami.action("Setvar", Variable="PBXROUTER_ASTERISK", Value=name)

    def connected(self, name: str) -> bool:
        """Whether the gateway has connected to an Asterisk's AMI."""
        return f"AMI {name}: connected" in self.gateway.log()

    def on(self, name: str, number: str, *options: str) -> subprocess.Popen[str]:
        """Begin a call on an Asterisk."""
        return subprocess.Popen(
            [LAB / "call", *options, "--", number],
            env=self.labs[name].environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )

    def history(self, count: int, since: int) -> list[dict[str, Any]]:
        """The calls since there were so many, when so many more are in the history."""

        def calls() -> list[dict[str, Any]]:
            lines = self.gateway.command("history", "--json", "--limit", "1000").splitlines()
            return [json.loads(line) for line in lines[: len(lines) - since]]

        wait_for(f"{count} calls in the history", lambda: len(calls()) >= count)
        return calls()

    def calls_so_far(self) -> int:
        """The number of calls in the history."""
        return len(self.gateway.command("history", "--json", "--limit", "1000").splitlines())

    def test_grants_of_each(self) -> None:
        """Phone 36 of each has the grants of its own extension, and none of the other's."""
        before = self.calls_so_far()
        for number in ("31", "66"):
            for call in [self.on(name, number, "-f", "36", "-t", "1500") for name in self.labs]:
                call.communicate()
        granted = {(row["asterisk"], row["number"]): row["granted_by"] for row in self.history(4, before)}
        self.assertEqual(
            granted,
            {
                ("madrid", "31"): "madrid:36",
                ("lima", "31"): "",
                ("madrid", "66"): "",
                ("lima", "66"): "lima:36",
            },
        )

    def test_by_magi(self) -> None:
        """Calls in agi:async of both are served in the same context, and known by their connection."""
        before = self.calls_so_far()
        for call in [self.on(name, "34", "-f", "34", "-d", "123456#") for name in self.labs]:
            self.assertIn("answered", call.communicate()[0])
        found = self.history(2, before)
        self.assertEqual(
            sorted((row["asterisk"], row["outcome"], row["granted_by"]) for row in found),
            [("lima", "ANSWER", "moises silva"), ("madrid", "ANSWER", "moises silva")],
        )

    def test_found_by_its_channel(self) -> None:
        """A call that does not say where it comes from is known once it keys a PIN; one that keys none is not."""
        self.name(self.other, "")
        before = self.calls_so_far()
        self.on("lima", "31", "-f", "36", "-d", "123456#", "-t", "3000").communicate()
        self.on("lima", "999", "-f", "36").communicate()
        found = self.history(2, before)
        self.assertEqual({row["number"]: row["asterisk"] for row in found}, {"31": "lima", "999": ""})

    def test_counted_by_itself(self) -> None:
        """Each has its own counts, and their sum."""

        def counts() -> dict[str, int]:
            shown = json.loads(self.gateway.command("counter", "--json"))
            return {"": shown["calls"], **{name: one["calls"] for name, one in shown["asterisks"].items()}}

        before = counts()
        for name in ("madrid", "lima", "lima"):
            self.on(name, "999", "-f", "36").communicate()
        expected = {name: before[name] + more for name, more in (("", 3), ("madrid", 1), ("lima", 2))}
        wait_for("the counts", lambda: counts() == expected)

    def test_which_has_the_phone(self) -> None:
        """A phone that both have must be named; one that none has is said so."""
        for channel, said in (
            ("PJSIP/36", "several Asterisks have PJSIP/36: madrid, lima; choose one"),
            ("PJSIP/none", "PJSIP/none is on none of these Asterisks: madrid, lima"),
            ("quito:PJSIP/36", "choose one of these Asterisks: madrid, lima"),
        ):
            with self.assertRaisesRegex(AssertionError, re.escape(said)):
                self.gateway.command("originate", channel, "--to", "31", "--context", "pbxrouter-phones")
        with self.assertRaisesRegex(AssertionError, "unavailable: "):  # the phone is off: the call was placed
            self.gateway.command(
                "originate", "madrid:PJSIP/36", "--to", "31", "--context", "pbxrouter-phones", "--ring", "1"
            )
