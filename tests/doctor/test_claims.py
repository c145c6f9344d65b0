"""Which gateway serves an Asterisk's calls by agi:async, as the doctor sees it."""

from __future__ import annotations

from typing import Any

import msgspec

from pbxrouter.doctor import Finding
from pbxrouter.doctor.claims import check_claims
from tests.doctor.test_findings import AsteriskCase

CONTEXT = "pbxrouter-ask"
VARIABLE = f"PBXROUTER_MAGI_{CONTEXT}"


class ClaimTests(AsteriskCase):
    """One context, and this gateway's id is 1a2b."""

    beats = True

    def setUp(self) -> None:
        """Serve one context."""
        super().setUp()
        self.asterisk = msgspec.structs.replace(self.asterisk, magi=(CONTEXT,))
        self.beat = 0

    def _answer(self, end: Any, action: dict[str, str]) -> None:
        if self.beats and action.get("Variable") == VARIABLE and "/" in self.variables.get(VARIABLE, ""):
            gateway, run, place, process, _, host = self.variables[VARIABLE].split("/")
            self.beat += 1
            self.variables[VARIABLE] = "/".join((gateway, run, place, process, str(self.beat), host))
        super()._answer(end, action)

    def find(self) -> list[Finding]:
        """Run check_claims and return its findings."""
        return self.look(lambda probe: check_claims(probe, "1a2b"))

    def test_this_gateway(self) -> None:
        """All is well if this gateway serves the calls, and if it is to serve none."""
        self.variables[VARIABLE] = "1a2b/run/here/7/0/pbx-a"
        self.assert_all_well(self.find())
        self.asterisk = msgspec.structs.replace(self.asterisk, magi=())
        self.assertEqual(self.find(), [])

    def test_another_gateway(self) -> None:
        """Another gateway that lives is named, with its machine."""
        self.variables[VARIABLE] = "9f8e/run/here/7/0/pbx-b"
        found = self.the_one(self.find())
        self.assertEqual(
            found.what,
            "another gateway serves the calls in pbxrouter-ask: 9f8e on pbx-b; this one stands by",
        )

    def test_wanted(self) -> None:
        """A gateway that stands by is as it should be where the dialplan names a second one."""
        self.variables |= {VARIABLE: "9f8e/run/here/7/0/pbx-b", "PBXROUTER_URL_2": "agi:async"}
        self.assert_all_well(self.find())

    def test_no_sign_of_life(self) -> None:
        """One whose variable does not change is not taken for alive."""
        self.beats = False
        self.variables[VARIABLE] = "9f8e/run/here/7/1/pbx-b"
        self.assertIn("9f8e on pbx-b, which served the calls", self.the_one(self.find()).what)

    def test_none(self) -> None:
        """A context that no gateway serves is a problem."""
        for value in ("", "0", "by hand"):
            self.variables[VARIABLE] = value
            self.assertIn("no gateway serves", self.the_one(self.find()).what)

    def test_not_allowed(self) -> None:
        """A variable that cannot be read leaves it unknown."""
        self.answers["Getvar"] = {"Response": "Error", "Message": "Permission denied"}
        self.assertIn("cannot be read", self.the_one(self.find(), "unknown").what)
