"""``GET /api/now``: calls in progress, health, and today's totals."""

from __future__ import annotations

import time

from pbxrouter.call.active_calls import Phase
from pbxrouter.database.calls.history import add_calls
from pbxrouter.rules.model import Facts, Forwarder
from pbxrouter.security.tokens import Scope
from pbxrouter.simulator import SimulatedCall
from tests.api_fakes import ApiCase, a_call
from tests.fakes import request_of


class NowTests(ApiCase):
    """A gateway with an Asterisk without an account."""

    scopes = (Scope.READ,)

    async def test_quiet(self) -> None:
        """Without calls; the health says what is wrong with the connection."""
        said = (await self.ask("GET", "/api/now")).json
        self.assertEqual((said["calls"], said["total"], said["today"]["calls"]), ([], 0, 0))
        self.assertLess(abs(said["at"] - time.time()), 60)
        (asterisk,) = said["health"]["asterisks"]
        self.assertEqual((asterisk["name"], asterisk["up"], asterisk["state"]), ("lab", False, "bad"))
        self.assertIn("secret_file", asterisk["trouble"]["words"])
        self.assertEqual((asterisk["in_sync"], asterisk["standing_by"], asterisk["notes"]), (False, 0, []))
        database = said["health"]["database"]
        self.assertEqual((database["state"], database["has_rules"], database["queued"]), ("good", True, 0))

    async def test_rules_away(self) -> None:
        """The time since which rules cannot be read; the last ones stay in force."""
        self.path.rename(self.path.with_suffix(".away"))
        await self.web.reloader.poll()
        self.path.with_suffix(".away").rename(self.path)
        database = (await self.ask("GET", "/api/now")).json["health"]["database"]
        self.assertEqual((database["state"], database["has_rules"]), ("bad", True))
        self.assertEqual(database["rules_away_since"], self.clock.seconds())

    async def test_calls(self) -> None:
        """Calls in progress, newest first, each with its phase."""
        decision = await self.web.engine.decide(Facts("0600", "22", forwarders=(Forwarder("PJSIP/33"),)))
        for place in range(3):
            request = request_of(SimulatedCall("22", "33", name="=1+1"))
            call = self.web.active_calls.add(request, 1000.0 + place)
        self.web.active_calls.set_decision(call, decision)
        self.web.active_calls.set_phase(call, Phase.RUNNING)
        said = (await self.ask("GET", "/api/now?limit=2")).json
        self.assertEqual((said["total"], [item["since"] for item in said["calls"]]), (3, [1002.0, 1001.0]))
        newest = said["calls"][0]
        self.assertEqual(
            (newest["caller"], newest["number"], newest["pattern"], newest["granted_by"], newest["phase"]),
            ("33", "22", "2X", "33", "running"),
        )
        self.assertEqual(newest["words"], "running an application")
        self.assertEqual([item["forwarded_by"] for item in said["calls"]], ["PJSIP/33", ""])
        self.web.active_calls.remove(call)
        self.assertEqual((await self.ask("GET", "/api/now")).json["total"], 2)

    async def test_today(self) -> None:
        """Calls since midnight in the PBX's time zone."""
        now = time.time()
        midnight = self.web.zone.midnight(now)
        rows = [a_call(0, began=now, ended=now), a_call(1, began=midnight - 1, ended=midnight)]
        await self.web.write(lambda connection: add_calls(connection, rows))
        today = (await self.ask("GET", "/api/now")).json["today"]
        self.assertEqual(today, {"since": midnight, "calls": 1, "by_outcome": {"BUSY": 1}})
