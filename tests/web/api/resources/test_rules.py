"""Rules through the API: changes apply to the next call, are in the audit log, and can be undone."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any, get_args

from pbxrouter.database import Connection, admit_guess
from pbxrouter.database.audit.entries import KINDS
from pbxrouter.rules.warnings import CODES
from pbxrouter.security import keys_of
from pbxrouter.security.guess_limits import FREE_GUESSES
from pbxrouter.security.tokens import Scope
from pbxrouter.web.api.resources.audit import Kind
from pbxrouter.web.api.resources.warnings import Code
from tests.api_fakes import ApiCase, Said


class LockoutTests(ApiCase):
    """Lock-outs after wrong PINs."""

    scopes = (Scope.READ, Scope.RULES)

    async def guess(self, count: int) -> None:
        """Key wrong PINs at PJSIP/33."""
        keys = keys_of("PJSIP/33-0000001a", "33", 1, frozenset())
        for _ in range(count):
            await self.web.write(lambda connection: admit_guess(connection, keys, self.web.now()))

    async def test_listed_and_lifted(self) -> None:
        """Listed as they are, lifted, and noted under the token's name."""
        await self.guess(FREE_GUESSES + 1)
        found = (await self.ask("GET", "/api/lockouts")).json
        self.assertEqual((found["locked"], found["attacked"]), (2, False))
        first = found["items"][0]
        self.assertEqual((first["scope"], first["locked"], first["held"]), ("endpoint", True, FREE_GUESSES))
        self.assertEqual((await self.ask("GET", "/api/now")).json["pins"], {"locked": 2, "attacked": False})
        path = "/api/lockouts?scope=endpoint&name=PJSIP%2F33"
        self.assertEqual((await self.ask("DELETE", path)).status, 204)
        self.assertEqual((await self.ask("DELETE", path)).status, 404)
        self.assertEqual((await self.ask("DELETE", "/api/lockouts?scope=gateway")).status, 204)
        left = [row["scope"] for row in (await self.ask("GET", "/api/lockouts")).json["items"]]
        self.assertEqual(sorted(left), ["mapping", "number"])
        log = (await self.ask("GET", "/api/audit?kind=lockout")).json["items"]
        self.assertEqual(
            [(row["who"], row["name"]) for row in log], [("desk", "gateway"), ("desk", "endpoint PJSIP/33")]
        )
        self.assertFalse(log[0]["can_be_undone"])

    async def test_refused(self) -> None:
        """A name where none belongs, and none where one does; a scope that is none."""
        for query, status in (
            ("scope=gateway&name=x", 422),
            ("scope=endpoint", 422),
            ("scope=planet&name=x", 400),
            ("name=x", 400),
        ):
            self.assertEqual((await self.ask("DELETE", f"/api/lockouts?{query}")).status, status, query)


class RulesTests(ApiCase):
    """Tests that start with the sample's rules."""

    scopes = (Scope.READ, Scope.RULES)

    async def good(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        """Send a request that must succeed; returns the response's JSON."""
        said = await self.ask(method, path, body)
        self.assertEqual(said.status, status, said.body)
        return said.json if said.body else None

    async def refused(self, method: str, path: str, body: object, status: int, field: str = "") -> str:
        """Send a request that must be refused; returns the error's JSON."""
        said = await self.ask(method, path, body)
        self.assertEqual((said.status, said.json["field"]), (status, field), said.body)
        return str(said.json["error"])

    async def by_hand(self, statement: str) -> None:
        """Run SQL as an owner may with any tool."""
        with contextlib.closing(sqlite3.connect(self.web.config.database)) as connection, connection:
            connection.execute(statement)
        await self.web.reloader.reload()

    async def decision(self, number: str, caller: str, pin: str | None = None) -> str:
        """The decision about a call now."""
        said = await self.good("POST", "/api/decide", {"number": number, "caller": caller, "pin": pin})
        return str(said["decision"])

    async def test_an_owners_day(self) -> None:
        """Create an extension and a mapping, grant, decide, revoke, read the audit log, undo."""
        mapping = await self.good(
            "POST", "/api/mappings", {"pattern": "77X", "application": "dial", "data": "SIP"}, 201
        )
        extension = await self.good("POST", "/api/extensions", {"number": "0771"}, 201)
        self.assertEqual((extension["number"], extension["grants"]), ("0771", 0))
        grant = f"/api/mappings/{mapping['map_id']}/extensions/{extension['extension_id']}"
        self.assertEqual(await self.decision("771", "0771"), "pin")
        for _ in range(2):
            await self.good("PUT", grant, status=204)
            self.assertEqual(await self.decision("771", "0771"), "allow")
        listed = await self.good("GET", f"/api/mappings/{mapping['map_id']}/extensions")
        self.assertEqual(listed["items"], [{**extension, "grants": 1}])
        listed = await self.good("GET", f"/api/extensions/{extension['extension_id']}/mappings")
        self.assertEqual(listed["items"], [{**mapping, "extensions": 1}])
        for _ in range(2):
            await self.good("DELETE", grant, status=204)
            self.assertEqual(await self.decision("771", "0771"), "pin")
        log = (await self.good("GET", "/api/audit?who=desk"))["items"]
        self.assertEqual(
            [(entry["via"], entry["action"], entry["name"]) for entry in log],
            [
                ("api", "revoke", "0771 → 77X"),
                ("api", "grant", "0771 → 77X"),
                ("api", "create", "0771"),
                ("api", "create", "77X"),
            ],
        )
        undone = await self.good("POST", f"/api/audit/{log[0]['audit_id']}/undo")
        self.assertEqual(await self.decision("771", "0771"), "allow")
        details = await self.good("GET", f"/api/audit/{undone['audit_id']}")
        self.assertEqual((details["undoes"], details["rows"]), (log[0]["audit_id"], 1))
        self.assertEqual(details["changes"][0]["table"], "extensions_mappings")
        await self.refused("POST", f"/api/audit/{log[0]['audit_id']}/undo", None, 409)

    async def test_endpoint_of_an_extension(self) -> None:
        """An endpoint is set, changed alone or with the number, and removed; other text is refused."""
        extension = await self.good("POST", "/api/extensions", {"number": "0771", "endpoint": "pjsip/771"}, 201)
        path = f"/api/extensions/{extension['extension_id']}"
        self.assertEqual((extension["endpoint"], extension["repeats"]), ("PJSIP/771", None))
        for change, number, endpoint in (
            ({"endpoint": "PJSIP/desk"}, "0771", "PJSIP/desk"),
            ({"number": "0772"}, "0772", "PJSIP/desk"),
            ({"number": "0773", "endpoint": ""}, "0773", ""),
        ):
            changed = await self.good("PATCH", path, change)
            self.assertEqual((changed["number"], changed["endpoint"]), (number, endpoint))
            self.assertEqual(await self.good("GET", path), changed)
        error = await self.refused("PATCH", path, {"endpoint": "771"}, 422, "endpoint")
        self.assertEqual(error, "771 is not an endpoint; accepted is a technology and a name, such as PJSIP/33")
        await self.refused("POST", "/api/extensions", {"number": "5", "endpoint": "5"}, 422, "endpoint")
        log = (await self.good("GET", "/api/audit?who=desk"))["items"]
        self.assertEqual([entry["action"] for entry in log], ["update", "update", "endpoint", "create"])
        await self.good("POST", f"/api/audit/{log[0]['audit_id']}/undo")
        self.assertEqual((await self.good("GET", path))["endpoint"], "PJSIP/desk")

    async def test_number_twice(self) -> None:
        """A row whose number an earlier row has is marked as such."""

        def repeat(connection: Connection) -> None:
            connection.execute("INSERT INTO extensions VALUES (77, '33 ')")
            connection.commit()

        await self.web.change(repeat)
        self.assertEqual((await self.good("GET", "/api/extensions/77"))["repeats"], 1)
        listed = await self.good("GET", "/api/extensions?search=33")
        self.assertEqual([item["repeats"] for item in listed["items"]], [None, 1])
        warnings = (await self.good("GET", "/api/warnings"))["warnings"]
        self.assertIn("row 77 is ignored", warnings[0]["sentence"]["words"])

    async def test_mapping(self) -> None:
        """A mapping is created, read, changed in part, disabled and deleted; Location has its address."""
        said = await self.ask("POST", "/api/mappings", {"pattern": "9XX", "application": "dial", "data": "SIP"})
        self.assertEqual(said.status, 201)
        path = said.header("Location")
        self.assertEqual(path, f"/api/mappings/{said.json['map_id']}")
        self.assertEqual(await self.good("GET", path), said.json)
        changed = await self.good("PATCH", path, {"data": "IAX2"})
        self.assertEqual(changed, {**said.json, "data": "IAX2"})
        await self.good("PATCH", path, {"enabled": False})
        self.assertEqual(await self.decision("911", "33"), "invalid")
        off = await self.good("GET", "/api/mappings?enabled=false")
        self.assertEqual([item["pattern"] for item in off["items"]], ["9XX"])
        self.assertEqual(await self.good("PATCH", path, {}), {**changed, "enabled": False})
        await self.good("DELETE", path, status=204)
        for method in ("GET", "DELETE", "PATCH"):
            self.assertIn("no mapping", await self.refused(method, path, {} if method == "PATCH" else None, 404))

    async def test_refused_mappings(self) -> None:
        """Invalid patterns and duplicates are refused; null is not the same as left out."""
        for body, status, field in (
            ({"pattern": "2[", "application": "dial"}, 422, "pattern"),
            ({"pattern": " ", "application": "dial"}, 422, "pattern"),
            ({"pattern": "2X", "application": " "}, 422, "application"),
            ({"pattern": "2X", "application": "dial", "data": "\x00"}, 422, "data"),
            ({"pattern": "2X"}, 400, "application"),
            ({"pattern": "2X", "application": "dial", "enabled": 1}, 400, "enabled"),
            ({"pattern": "2X", "application": "dial", "map_id": 1}, 400, "map_id"),
        ):
            await self.refused("POST", "/api/mappings", body, status, field)
        there = (await self.good("GET", "/api/mappings?limit=1"))["items"][0]
        same = {name: there[name] for name in ("pattern", "application", "data")}
        await self.refused("POST", "/api/mappings", same, 409, "pattern")
        await self.refused("PATCH", f"/api/mappings/{there['map_id']}", {"pattern": None}, 400, "pattern")
        for number in ("0", "-1", "x", "9223372036854775808", "01", "1.0", "%31%00"):
            await self.refused("GET", f"/api/mappings/{number}", None, 400, "map_id")
        await self.refused("GET", "/api/mappings/9223372036854775807", None, 404)

    async def test_pages(self) -> None:
        """A list is read to its end page by page, with each item once."""
        for number in range(7):
            await self.good("POST", "/api/extensions", {"number": f"90{number}"}, 201)
        seen: list[str] = []
        path = "/api/extensions?search=90&limit=3"
        while path:
            page = await self.good("GET", path)
            seen += [row["number"] for row in page["items"]]
            path = f"/api/extensions?search=90&limit=3&after={page['next']}" if page["next"] else ""
        self.assertEqual(seen, [f"90{number}" for number in range(7)])
        pages, after = [], ""
        while True:
            page = await self.good("GET", f"/api/audit?limit=2{after}")
            pages.append(len(page["items"]))
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        self.assertEqual(sum(pages), len((await self.good("GET", "/api/audit?limit=499"))["items"]))
        for query, field in (
            ("limit=0", "limit"),
            ("limit=501", "limit"),
            ("limit=1e2", "limit"),
            ("after=0", "after"),
            ("enabled=1", "enabled"),
            (f"search={'x' * 201}", "search"),
            ("limit=1&limit=2", "limit"),
        ):
            await self.refused("GET", f"/api/mappings?{query}", None, 400, field)
        for query, field in (
            ("since=x", "since"),
            ("since=1e999", "since"),
            ("kind=x", "kind"),
            ("since=-1", "since"),
        ):
            await self.refused("GET", f"/api/audit?{query}", None, 400, field)

    async def test_users_and_pins(self) -> None:
        """A generated PIN is shown once, and allows what its user may use; it is nowhere else."""
        mapping = await self.good(
            "POST", "/api/mappings", {"pattern": "77X", "application": "dial", "data": "SIP"}, 201
        )
        user = await self.good("POST", "/api/users", {"name": "Ana"}, 201)
        path = f"/api/users/{user['user_id']}"
        await self.good("PUT", f"/api/mappings/{mapping['map_id']}/users/{user['user_id']}", status=204)
        made = (await self.good("POST", f"{path}/pin", {}))["pin"]
        self.assertEqual(await self.decision("771", "", made), "allow")
        self.assertEqual(await self.good("GET", path), {**user, "has_pin": True, "grants": 1})
        entry = (await self.good("GET", "/api/audit?limit=1"))["items"][0]
        self.assertEqual(entry["action"], "pin")
        details = await self.ask("GET", f"/api/audit/{entry['audit_id']}")
        self.assertNotIn(made.encode(), details.body)
        self.assertNotIn(self.web.hash_pin(made).encode(), details.body)
        self.assertEqual(await self.good("POST", f"{path}/pin", {"pin": "739154"}), {"pin": None})
        self.assertEqual(await self.decision("771", "", made), "deny")
        self.assertEqual(await self.decision("771", "", "739154"), "allow")
        other = await self.good("POST", "/api/users", {"name": "Eva"}, 201)
        taken = await self.refused("POST", f"/api/users/{other['user_id']}/pin", {"pin": "739154"}, 422, "pin")
        self.assertNotIn("739154", taken)
        self.assertNotIn("Ana", taken)
        await self.refused("POST", f"{path}/pin", {"pin": "12"}, 400, "pin")
        await self.good("DELETE", f"{path}/pin", status=204)
        self.assertEqual(await self.decision("771", "", "739154"), "deny")
        self.assertEqual((await self.good("PATCH", path, {"name": "Anna"}))["name"], "Anna")
        await self.refused("PATCH", path, {"name": "Eva"}, 409, "name")
        listed = await self.good("GET", f"/api/mappings/{mapping['map_id']}/users")
        self.assertEqual([item["name"] for item in listed["items"]], ["Anna"])
        listed = await self.good("GET", f"{path}/mappings")
        self.assertEqual([item["pattern"] for item in listed["items"]], ["77X"])
        await self.good("DELETE", path, status=204)
        await self.refused("POST", f"{path}/pin", {}, 404)

    async def test_grants_of_what_is_gone(self) -> None:
        """A missing holder or mapping has no list of grants, and cannot be granted."""
        for method, path in (
            ("GET", "/api/mappings/999/users"),
            ("GET", "/api/mappings/999/extensions"),
            ("GET", "/api/users/999/mappings"),
            ("PUT", "/api/mappings/999/extensions/1"),
            ("PUT", "/api/mappings/1/users/999"),
            ("DELETE", "/api/mappings/999/users/1"),
        ):
            await self.refused(method, path, None, 404)

    async def test_warnings(self) -> None:
        """Warnings about all rules, and about one mapping."""
        self.assertEqual(get_args(Code), CODES)
        made = {"map_id": 88}
        await self.by_hand("INSERT INTO applications_mappings VALUES (88, 'konference', '', '88')")
        found = await self.good("GET", "/api/warnings")
        mine = [row for row in found["warnings"] if row["map_id"] == made["map_id"]]
        self.assertEqual(sorted(item["code"] for item in mine), ["no-driver", "not-granted"])
        self.assertGreaterEqual(found["total"], 2)
        alone = await self.good("GET", f"/api/warnings?map_id={made['map_id']}")
        self.assertEqual((alone["total"], alone["counts"]), (2, {"no-driver": 1, "not-granted": 1}))
        self.assertIn("konference", " ".join(item["sentence"]["words"] for item in alone["warnings"]))
        self.assertEqual((await self.good("GET", "/api/warnings?map_id=999"))["total"], 0)

    async def test_data_that_cannot_work(self) -> None:
        """Application and data are checked by the driver: 422 with the field; a row that is there may be switched."""
        for application, data, field in (
            ("dail", "SIP", "application"),
            ("dial", "", "data"),
            ("dial", "SIP,60", "data"),
            ("dial", "PJSIP /21", "data"),
            ("dial", "PJSIP/{nummer}", "data"),
            ("dial", "PJSIP/{number:3}@trunk", "data"),
            ("hangup", "999", "data"),
            ("playback", "", "data"),
        ):
            body = {"pattern": "88X", "application": application, "data": data}
            await self.refused("POST", "/api/mappings", body, 422, field)
        for pattern in ("9|NXX", "|", "44;44", "4&5", "abc", "9,1"):
            await self.refused("POST", "/api/mappings", {"pattern": pattern, "application": "hangup"}, 422, "pattern")
        await self.by_hand("INSERT INTO applications_mappings VALUES (88, 'dial', 'PJSIP/{nummer}', '88X')")
        path = "/api/mappings/88"
        for enabled in (False, True):
            self.assertEqual((await self.good("PATCH", path, {"enabled": enabled}))["enabled"], enabled)
        for change, field in (
            ({"pattern": "89X"}, "data"),
            ({"data": "PJSIP/"}, "data"),
            ({"application": "x"}, "application"),
        ):
            await self.refused("PATCH", path, change, 422, field)
        self.assertEqual((await self.good("GET", "/api/warnings?map_id=88"))["counts"]["cannot-work"], 1)
        await self.good("PUT", "/api/mappings/88/extensions/1", status=204)
        said = await self.good("POST", "/api/decide", {"number": "881", "caller": "33"})
        self.assertEqual((said["decision"], said["action"]), ("fail", None))
        self.assertIn("braces", said["cannot_work"])
        await self.good("PATCH", path, {"data": "PJSIP/{number:1}@trunk"})
        said = await self.good("POST", "/api/decide", {"number": "881", "caller": "33"})
        self.assertEqual((said["decision"], said["action"]), ("allow", "Dial(PJSIP/81@trunk,60,i)"))

    async def test_extensions_that_no_call_shows(self) -> None:
        """Phones, blanks and other signs are no number of an extension."""
        for number in ("PJSIP/44", "4 4", "44;44", "44,45", "44@pbx"):
            await self.refused("POST", "/api/extensions", {"number": number}, 422, "number")

    async def test_what_admins_change(self) -> None:
        """A token for rules sees and undoes changes of rules only."""
        self.assertEqual(get_args(Kind), KINDS)
        mine, self.token = self.token, await self.add_token("all", *Scope)
        entry = (await self.good("GET", "/api/audit?kind=token&limit=1"))["items"][0]
        path = f"/api/audit/{entry['audit_id']}"
        self.assertEqual((await self.good("GET", path))["name"], "all")
        await self.refused("POST", f"{path}/undo", None, 422)
        self.token = mine
        self.assertEqual((await self.good("GET", "/api/audit?kind=token"))["items"], [])
        self.assertNotIn("token", [entry["kind"] for entry in (await self.good("GET", "/api/audit"))["items"]])
        for method, address in (("GET", path), ("POST", f"{path}/undo")):
            said: Said = await self.ask(method, address)
            self.assertEqual(said.status, 403)
            self.assertIn("admin", said.header("WWW-Authenticate"))
        await self.refused("GET", "/api/audit/999999", None, 404)


class DecideTests(ApiCase):
    """``POST /api/decide`` decides as `pbxrouter explain` does."""

    async def test_words(self) -> None:
        """The headline, the steps as sentences with values, and the same as text."""
        said = (await self.ask("POST", "/api/decide", {"number": "2-2", "caller": "33"})).json
        self.assertEqual((said["decision"], said["number"], said["granted_by"]), ("allow", "22", "33"))
        self.assertEqual([item["words"] for item in said["steps"]], said["trace"])
        self.assertIn("{pattern}", said["steps"][0]["message"])
        self.assertEqual(said["steps"][0]["values"]["number"], "22")
        self.assertTrue(said["headline"]["words"].startswith("allowed: 33 dials 22"))

    async def test_odd_calls(self) -> None:
        """No caller, no number, a number that cannot be dialled: each gets a decision."""
        for call, decision in (
            ({"number": ""}, "invalid"),
            ({"number": "22", "caller": None}, "pin"),
            ({"number": "22", "caller": " unknown "}, "pin"),
            ({"number": "22&SIP/33", "caller": "33"}, "invalid"),
            ({"number": "22\u0000", "caller": "\u202e"}, "invalid"),
            ({"number": "22", "caller": "99", "pin": ""}, "deny"),
        ):
            said = await self.ask("POST", "/api/decide", call)
            self.assertEqual((said.status, said.json["decision"]), (200, decision), call)

    async def test_forwarded(self) -> None:
        """The forwarder, the claimed forwarder and the endpoint count as in a call."""
        for call, decision, forwarder in (
            ({"caller": "0600", "forwarded_by": "33"}, "allow", "33"),
            ({"caller": "33", "forwarded_by": "PJSIP/44"}, "pin", "PJSIP/44"),
            ({"caller": "33", "claimed_forwarder": "44"}, "pin", "44"),
            ({"caller": "33", "endpoint": "PJSIP/33"}, "allow", None),
        ):
            said = await self.ask("POST", "/api/decide", {"number": "22", **call})
            self.assertEqual(
                (said.status, said.json["decision"], said.json["forwarded_by"]), (200, decision, forwarder)
            )
        said = await self.ask("POST", "/api/decide", {"number": "22", "caller": "0600", "forwarded_by": "33"})
        self.assertTrue(said.json["headline"]["words"].startswith("allowed: 0600, forwarded by 33, dials 22"))
        for field, text in (("forwarded_by", "99"), ("endpoint", "33"), ("claimed_forwarder", "PJSIP/33")):
            said = await self.ask("POST", "/api/decide", {"number": "22", field: text})
            self.assertEqual((said.status, said.json["field"]), (422, field))
            self.assertIn("accepted is", said.json["error"])

    async def test_no_rules_yet(self) -> None:
        """Before the rules were loaded the response is 503."""
        self.web.engine._rules = None
        self.assertEqual((await self.ask("POST", "/api/decide", {"number": "22"})).status, 503)
        self.assertEqual((await self.ask("GET", "/api/warnings")).status, 503)
        self.assertEqual((await self.ask("GET", "/api/warnings?map_id=1")).status, 503)
