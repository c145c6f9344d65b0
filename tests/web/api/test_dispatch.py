"""What holds for all endpoints of the API: authentication, parsing, errors, the OpenAPI document."""

from __future__ import annotations

import re

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.database import Connection
from pbxrouter.security.tokens import Scope
from pbxrouter.web.api.resources.endpoints import ENDPOINTS
from pbxrouter.web.api.token_auth import LIMITS, STRANGERS
from pbxrouter.web.http.site import MAX_BODY
from tests.api_fakes import DOCUMENT, ApiCase
from tests.paths import ROOT

CALL = {"number": "22", "caller": "33"}


class TokenAuthTests(ApiCase):
    """Tokens, scopes, rate limits."""

    async def test_no_token(self) -> None:
        """Every endpoint needs a token, except the OpenAPI document."""
        for endpoint in ENDPOINTS:
            if endpoint.scope is not None:
                self.clock.now += 60
                path = "/".join("1" if part.startswith("{") else part for part in endpoint.segments)
                said = await self.ask(endpoint.method, f"/{path}", token="")
                self.assertEqual(said.status, 401, endpoint.path)
                self.assertEqual(said.header("WWW-Authenticate"), 'Bearer realm="pbxrouter"')
        self.assertEqual((await self.ask("GET", "/api/openapi.json", token="")).status, 200)

    async def test_scopes(self) -> None:
        """A token is limited to its scopes; the error names the scope that it lacks."""
        tokens = {scope: await self.add_token(f"only {scope.value}", scope) for scope in Scope}
        for endpoint in ENDPOINTS:
            path = "/".join("999" if part.startswith("{") else part for part in endpoint.segments)
            for scope, token in tokens.items():
                self.clock.now += 60
                said = await self.ask(endpoint.method, f"/{path}", token=token)
                if endpoint.scope in (scope, None):
                    self.assertNotIn(said.status, (401, 403), (endpoint.method, endpoint.path))
                else:
                    self.assertEqual(said.status, 403, (endpoint.method, endpoint.path))
                    assert endpoint.scope is not None
                    self.assertIn(f"--scope {endpoint.scope.value}", said.json["error"])
                    self.assertIn("insufficient_scope", said.header("WWW-Authenticate"))

    async def test_use_is_noted(self) -> None:
        """The last use of a token is recorded, but not written for each request."""
        used = "SELECT last_used_at FROM api_tokens"

        async def last_used() -> str | None:
            return await self.web.read(lambda connection: connection.execute(used).fetchone()[0])

        self.assertIsNone(await last_used())
        await self.ask("POST", "/api/decide", CALL)
        self.assertIsNotNone(await last_used())

        def write(connection: Connection) -> None:
            connection.execute("UPDATE api_tokens SET last_used_at = 'x'")
            connection.commit()

        await self.web.write(write)
        await self.ask("POST", "/api/decide", CALL)
        self.assertEqual(await last_used(), "x")
        self.clock.now += 61
        await self.ask("POST", "/api/decide", CALL)
        self.assertNotEqual(await last_used(), "x")

    async def test_rates(self) -> None:
        """Too many requests get the time to wait; requests without a token do not use up a token's limit."""
        self.serve(self.web, {**LIMITS, "api": (60.0, 3), STRANGERS: (60.0, 2)})
        for status in (401, 401, 429):
            self.assertEqual((await self.ask("POST", "/api/decide", CALL, token="x")).status, status)
        for status in (200, 200, 200, 429):
            said = await self.ask("POST", "/api/decide", CALL)
            self.assertEqual(said.status, status)
        self.assertEqual(said.header("Retry-After"), "2")
        self.clock.now += 60
        self.assertEqual((await self.ask("POST", "/api/decide", CALL)).status, 200)

    async def test_pins_are_not_to_be_guessed(self) -> None:
        """Requests with a PIN are limited, since the response tells whose it is."""
        statuses = []
        for pin in range(12):
            statuses.append((await self.ask("POST", "/api/decide", {**CALL, "pin": f"{pin:04}"})).status)
        self.assertEqual((statuses.count(200), statuses[-1]), (10, 429))
        self.assertEqual((await self.ask("POST", "/api/decide", CALL)).status, 200)


class ReadingTests(ApiCase):
    """Requests that are not as declared are refused, with the field's name."""

    async def refused(self, body: object, status: int, field: str, kind: str = "application/json") -> str:
        """Send a body that must be refused; returns the error."""
        said = await self.ask("POST", "/api/decide", body, kind=kind)
        self.assertEqual((said.status, said.json["field"]), (status, field), said.body)
        return str(said.json["error"])

    async def test_bodies(self) -> None:
        """Only JSON as declared is accepted."""
        self.assertEqual(await self.refused({"caller": "33"}, 400, "number"), "number: it must be there")
        self.assertEqual(await self.refused({"number": 22}, 400, "number"), "number: accepted is str, not int")
        self.assertEqual(await self.refused({**CALL, "x": 1}, 400, "x"), "there is no field x here")
        self.assertIn("length <= 200", await self.refused({"number": "2" * 201}, 400, "number"))
        self.assertIn("twice", await self.refused(b'{"number": "1", "number": "2"}', 400, ""))
        for body in (
            b"",
            b"{",
            b"[]",
            b'"x"',
            b"\xff",
            b'{"number": "\xff"}',
            b'{"number": "\\ud800"}',
            b"[" * 8000,
        ):
            self.assertTrue(await self.refused(body, 400, ""))
        self.assertIn(str(MAX_BODY), await self.refused(b" " * (MAX_BODY + 1), 413, ""))
        for kind in ("text/plain", "application/x-www-form-urlencoded", "", "application/json2"):
            self.assertIn("application/json", await self.refused(b"{}", 415, "", kind))
        await self.refused(b"{}", 400, "number", "Application/JSON; charset=utf-8")

    async def test_whole_numbers(self) -> None:
        """5.0 is an integer, as in JSON Schema; 5.5 is not."""
        new = {"name": "Sales", "phone": "PJSIP/33", "context": "phones", "destinations": "0XX"}
        for number, status in ((5.0, 201), (5.5, 400), ("5", 400), (True, 400), (1e308, 400), (1e400, 400)):
            said = await self.ask("POST", "/api/dial-links", {**new, "calls_a_day": number})
            self.assertEqual(said.status, status, number)

    async def test_queries(self) -> None:
        """Unknown and repeated fields, and invalid encodings, are refused."""
        for query, field in (
            ("x=1", "x"),
            ("%ff=1", ""),
            ("x", ""),
            ("&".join("a=1" for _ in range(99)), ""),
        ):
            said = await self.ask("GET", f"/api/openapi.json?{query}")
            self.assertEqual((said.status, said.json["field"]), (400, field), query)

    async def test_addresses(self) -> None:
        """Unknown addresses give 404, methods that are not allowed 405."""
        for path in ("/api/", "/api", "/api/nothing", "/api/decide//x", "/api/decide/", "/api/%2e%2e/decide"):
            self.assertEqual((await self.ask("GET", path)).status, 404, path)
        said = await self.ask("DELETE", "/api/decide")
        self.assertEqual((said.status, said.header("Allow")), (405, "POST"))
        said = await self.ask("PUT", "/api/openapi.json", token="")
        self.assertEqual((said.status, said.header("Allow")), (405, "GET, HEAD"))

    async def test_head(self) -> None:
        """HEAD is answered as GET, without the body."""
        for path, status in (("/api/openapi.json", 200), ("/api/mappings", 200), ("/api/mappings/999", 404)):
            whole = await self.ask("GET", path)
            said = await self.ask("HEAD", path)
            self.assertEqual((whole.status, said.status, said.body), (status, status, b""))
            self.assertEqual(said.header("Content-Length"), str(len(whole.body)))

    async def test_database_away(self) -> None:
        """Without the database the response is 503, and does not name the file."""
        self.path.rename(f"{self.path}.away")
        said = await self.ask("POST", "/api/decide", CALL)
        self.assertEqual((said.status, said.json["error"]), (503, "Service Currently Unavailable"))


class DocumentTests(SynchronousTestCase):
    """The OpenAPI document: examples, names, documentation."""

    def test_examples(self) -> None:
        """Each example is valid for its type."""
        for endpoint in ENDPOINTS:
            for example, struct in ((endpoint.example, endpoint.body), (endpoint.shows, endpoint.answer)):
                if example is not None:
                    assert struct is not None
                    self.assertEqual(
                        msgspec.json.decode(msgspec.json.encode(example), type=struct), example, endpoint.path
                    )

    def test_names(self) -> None:
        """Each operation has a name of its own, and a summary."""
        names = [endpoint.name for endpoint in ENDPOINTS]
        self.assertEqual(sorted(set(names)), sorted(names))
        for endpoint in ENDPOINTS:
            self.assertTrue(endpoint.summary and not endpoint.summary.endswith("."), endpoint.path)

    def test_no_structs_of_one_name(self) -> None:
        """The names of the schemas are plain type names."""
        for name in DOCUMENT["components"]["schemas"]:
            self.assertRegex(name, "^[A-Z][A-Za-z]+$")

    def test_every_body_has_an_example(self) -> None:
        """Each request body has an example."""
        self.assertEqual([endpoint.path for endpoint in ENDPOINTS if endpoint.body and endpoint.example is None], [])

    def test_documentation(self) -> None:
        """docs/api.md lists each endpoint with its scope and summary, and no other."""
        page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
        told = re.findall(r"^\| `([A-Z]+ /api\S*)` \| (?:`(\w+)`)? *\| (.*)\. \|$", page, re.MULTILINE)
        declared = [
            (f"{endpoint.method} {endpoint.path}", endpoint.scope.value if endpoint.scope else "", endpoint.summary)
            for endpoint in ENDPOINTS
        ]
        self.assertEqual(sorted(told), sorted(declared))
