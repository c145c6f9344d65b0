"""Administration through the API: console users, tokens, links, the doctor."""

from __future__ import annotations

import functools
import re
from typing import Any

from pbxrouter.click_to_dial.signing import LinkState, Signer
from pbxrouter.database.access.console_users import credentials
from pbxrouter.security import PasswordHashes
from pbxrouter.security.tokens import Scope
from tests.api_fakes import ApiCase

PASSWORD = "correct horse battery"


class AdminTests(ApiCase):
    """A token with the scope admin."""

    scopes = (Scope.ADMIN,)

    async def good(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        """Send a request that must succeed; returns the response's JSON."""
        said = await self.ask(method, path, body)
        self.assertEqual(said.status, status, said.body)
        return said.json if said.body else None

    async def test_tokens(self) -> None:
        """A token is created, shown once, listed, limited to its scopes, and revoked."""
        made = await self.good("POST", "/api/tokens", {"name": "shop", "scopes": ["read", "dial"]}, 201)
        self.assertEqual((made["name"], made["scopes"]), ("shop", ["read", "dial"]))
        self.assertEqual((await self.ask("GET", "/api/mappings", token=made["token"])).status, 200)
        self.assertEqual((await self.ask("GET", "/api/tokens", token=made["token"])).status, 403)
        listed = await self.ask("GET", "/api/tokens")
        self.assertEqual([item["name"] for item in listed.json["items"]], ["desk", "shop"])
        self.assertNotIn(made["token"].encode(), listed.body)
        path = f"/api/tokens/{made['token_id']}"
        self.assertIsNone((await self.good("GET", path))["revoked"])
        await self.good("DELETE", path, status=204)
        self.assertEqual((await self.ask("GET", "/api/mappings", token=made["token"])).status, 401)
        for method in ("GET", "DELETE"):
            self.assertEqual((await self.ask(method, path)).status, 404)
        revoked = (await self.good("GET", "/api/tokens"))["items"][1]
        self.assertIsNotNone(revoked["revoked"])

    async def test_refused_tokens(self) -> None:
        """Invalid names and scopes and a used name are refused; a token cannot revoke itself."""
        for body, status, field in (
            ({"name": " ", "scopes": ["read"]}, 422, "name"),
            ({"name": "x", "scopes": []}, 400, "scopes"),
            ({"name": "x", "scopes": ["root"]}, 400, "scopes[0]"),
            ({"name": "desk", "scopes": ["read"]}, 409, "name"),
        ):
            said = await self.ask("POST", "/api/tokens", body)
            self.assertEqual((said.status, said.json["field"]), (status, field), said.body)
        self.assertEqual((await self.ask("DELETE", "/api/tokens/1")).status, 409)

    async def test_console_users(self) -> None:
        """A user is created, changed and deleted; no password is shown, and one admin remains."""
        new = {"login": "maria", "password": PASSWORD, "role": "admin", "phone": "PJSIP/33"}
        made = await self.good("POST", "/api/console-users", new, 201)
        self.assertEqual((made["login"], made["role"], made["enabled"]), ("maria", "admin", True))
        path = f"/api/console-users/{made['console_user_id']}"
        self.assertTrue(await self.fits("maria", PASSWORD))
        for change in ({"role": "viewer"}, {"enabled": False}):
            self.assertEqual((await self.ask("PATCH", path, change)).status, 422)
        self.assertEqual((await self.ask("DELETE", path)).status, 422)
        other = await self.good("POST", "/api/console-users", {**new, "login": "eva"}, 201)
        changed = await self.good("PATCH", path, {"role": "viewer", "language": "es", "password": f"{PASSWORD}!"})
        self.assertEqual((changed["role"], changed["language"], changed["phone"]), ("viewer", "es", "PJSIP/33"))
        self.assertTrue(await self.fits("maria", f"{PASSWORD}!"))
        self.assertFalse((await self.good("PATCH", path, {"enabled": False}))["enabled"])
        listed = await self.ask("GET", "/api/console-users")
        self.assertEqual([item["login"] for item in listed.json["items"]], ["eva", "maria"])
        self.assertNotIn(b"argon2", listed.body)
        await self.good("DELETE", path, status=204)
        self.assertEqual((await self.ask("GET", path)).status, 404)
        self.assertTrue(other["console_user_id"] != made["console_user_id"])

    async def fits(self, login: str, password: str) -> bool:
        """Whether a login with this password succeeds."""
        found = await self.web.read(lambda connection: credentials(connection, login))
        return found is not None and PasswordHashes().fits(found[1], password)

    async def test_refused_console_users(self) -> None:
        """Invalid passwords, phones, roles and logins are refused without repeating them."""
        new = {"login": "maria", "password": PASSWORD, "role": "admin"}
        await self.good("POST", "/api/console-users", new, 201)
        for change, status, field in (
            ({"password": "short"}, 400, "password"),
            ({"login": "aaaaaaaaaaaa", "password": "aaaaaaaaaaaa"}, 422, "password"),
            ({"login": "eva", "phone": "33"}, 422, "phone"),
            ({"login": "eva", "role": "root"}, 400, "role"),
            ({"login": "eva", "language": "de"}, 400, "language"),
            ({"login": "MARIA"}, 409, "login"),
            ({"login": "a\nb"}, 422, "login"),
        ):
            said = await self.ask("POST", "/api/console-users", {**new, **change})
            self.assertEqual((said.status, said.json["field"]), (status, field), said.body)
            self.assertNotIn(change.get("password", PASSWORD).encode(), said.body)

    async def test_audit(self) -> None:
        """Changes are under the token's name; neither token nor password is in the audit log."""
        made = await self.good("POST", "/api/tokens", {"name": "shop", "scopes": ["rules", "admin"]}, 201)
        await self.good("POST", "/api/console-users", {"login": "maria", "password": PASSWORD, "role": "admin"}, 201)
        self.token = made["token"]
        log = (await self.good("GET", "/api/audit?limit=2"))["items"]
        self.assertEqual(
            [(entry["who"], entry["via"], entry["kind"], entry["name"]) for entry in log],
            [("desk", "api", "console_user", "maria"), ("desk", "api", "token", "shop")],
        )
        for entry in log:
            said = await self.ask("GET", f"/api/audit/{entry['audit_id']}")
            self.assertNotIn(b"argon2", said.body)
            self.assertNotIn(b"hash", said.body)

    async def test_dial_links(self) -> None:
        """A link is created, changed in part, disabled, voided and deleted, under the token's name."""
        new = {"name": "Sales", "phone": "PJSIP/33", "context": "phones", "destinations": "0XX 9."}
        made = await self.good("POST", "/api/dial-links", new, 201)
        self.assertEqual({**made, **new, "calls_a_day": 50, "enabled": True, "calls_today": 0}, made)
        path = f"/api/dial-links/{made['link_id']}"
        changed = await self.good("PATCH", path, {"hours": "mon-fri 09:00-18:00", "enabled": False})
        self.assertEqual(changed, {**made, "hours": changed["hours"], "enabled": False})
        self.assertIn("09:00", changed["hours"])
        address = await self.good("POST", f"{path}/addresses", {"days": 2})
        found = re.fullmatch(rf"http://\S+/click/{made['link_id']}\?sig=(\S+)", address["url"])
        assert found is not None
        signer, now = Signer(self.web.key), self.web.now()
        check = functools.partial(signer.check_link, made["link_id"], signature=found[1])
        self.assertEqual(check(generation=1, now=now + 2 * 86400 - 60), LinkState.VALID)
        self.assertEqual(check(generation=1, now=now + 2 * 86400 + 60), LinkState.EXPIRED)
        self.assertNotEqual((await self.good("POST", f"{path}/void"))["generation"], made["generation"])
        self.assertEqual(check(generation=2, now=now), LinkState.VOID)
        self.assertEqual((await self.good("GET", "/api/dial-links"))["items"], [await self.good("GET", path)])
        for change, field in (
            ({"phone": "Local/33"}, "phone"),
            ({"destinations": "2["}, "destinations"),
            ({"sites": "javascript:alert(1)"}, "sites"),
            ({"hours": "at night"}, "hours"),
            ({"asterisk": "lab"}, "asterisk"),
            ({"context": "a b"}, "context"),
            ({"name": "\n"}, "name"),
        ):
            said = await self.ask("PATCH", path, change)
            self.assertEqual((said.status, said.json["field"]), (422, field), said.body)
        self.assertEqual((await self.ask("PATCH", path, {"calls_a_day": 0})).status, 400)
        await self.good("DELETE", path, status=204)
        self.assertEqual((await self.ask("GET", path)).status, 404)
        self.token = await self.add_token("all", *Scope)
        log = (await self.good("GET", "/api/audit?who=desk"))["items"]
        self.assertEqual([entry["action"] for entry in log], ["delete", "void", "disable", "update", "create"])
        await self.good("POST", f"/api/audit/{log[0]['audit_id']}/undo")
        self.assertEqual((await self.good("GET", path))["name"], "Sales")

    async def test_doctor(self) -> None:
        """The findings are those of the command; the requests are limited."""
        said = await self.good("GET", "/api/doctor")
        self.assertIn("database", " ".join(item["area"] for item in said["findings"]))
        states = [item["state"] for item in said["findings"]]
        self.assertEqual(said["ok"], all(state == "ok" for state in states))
        self.assertEqual((said["wrong"], said["unknown"]), (states.count("wrong"), states.count("unknown")))
        self.assertEqual(said["state"], "wrong" if said["wrong"] else "unknown" if said["unknown"] else "ok")
        for item in said["findings"]:
            self.assertTrue(item["todo"] or item["state"] != "unknown", item)
        statuses = [(await self.ask("GET", "/api/doctor")).status for _ in range(2)]
        self.assertEqual(statuses, [200, 429])
