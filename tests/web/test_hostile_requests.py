"""Hostile requests: every endpoint of the API and every form of the console refuses them or serves them; none fails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, quote_from_bytes

import msgspec
from twisted.logger import capturedLogs
from twisted.web.client import HTTPConnectionPool

from pbxrouter.web.api.endpoint import FORM, JSON, Endpoint
from pbxrouter.web.api.resources.endpoints import ENDPOINTS
from pbxrouter.web.api.token_auth import LIMITS
from tests.api_fakes import ApiCase
from tests.hostile_text import LONG, TEXTS, fill
from tests.web_fakes import ConsoleCase, WebClient, reactor

_NUMBER: Final = re.compile(r"<int:\w+>|\{\w+\}")

BODIES: Final[Mapping[str, bytes]] = {
    "nothing": b"",
    "NUL": b"\0",
    "bytes": bytes(range(256)),
    "deep lists": b"[" * 8000,
    "deep objects": b'{"a":' * 1500,
    "not closed": b'{"name": "',
    "a surrogate": b'{"name": "\\ud800", "pattern": "\\udfff", "login": "\\ud800"}',
    "numbers": b'{"name": 1e999, "pattern": -1e999, "calls_a_day": 99999999999999999999999}',
    "no numbers": b'{"name": NaN, "calls_a_day": Infinity}',
    "many fields": b"{" + b",".join(b'"f%d": 1' % place for place in range(900)) + b"}",
    "repeated": b'{"name": "a", "name": "b"}',
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "very long": LONG,
}


ALONE: Final = ("a byte that is not UTF-8", "NUL", "beyond 64 bits", "infinity", "placeholders", "markup", "very long")
"""The texts that stand in one field while the others are as they should be; all stand in all fields at once."""

ODD: Final[tuple[object, ...]] = (
    "\ud800",
    "\udcff",
    "\0",
    2**63,
    -(2**64),
    1e308,
    True,
    None,
    [],
    {},
    [["a"]],
    "9" * 5000,
)


async def failure(person: WebClient, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> str:
    """Send a request; returns what failed, "" for nothing."""
    with capturedLogs() as logs:
        answer = await person.ask(method, path, body, headers)
    failures = [event["log_failure"].getTraceback()[-900:] for event in logs if "log_failure" in event]
    answer.body.decode("utf-8")
    if answer.status < 500 and not failures and len(answer.body) < 300_000:
        return ""
    return f"{answer.status} {method} {path[:200]} {(body or b'')[:200]!r} {answer.body[:300]!r} {failures}"


class ApiTests(ApiCase):
    """The API, with a token for everything and without limits."""

    async def start(self) -> None:
        """Fill the database."""
        await super().start()
        await self.web.write(lambda connection: fill(connection, "h"))
        self.serve(self.web, dict.fromkeys(LIMITS, (1e9, 10**9)))
        pool = HTTPConnectionPool(reactor)
        self.addCleanup(pool.closeCachedConnections)
        self.person = WebClient(self.url, pool)

    def endpoints(self, has_body: bool) -> Iterator[Endpoint]:
        """The endpoints, without those that ask other hosts or revoke what the test needs."""
        for endpoint in ENDPOINTS:
            if (endpoint.body is not None) == has_body and endpoint.path != "/api/doctor":
                yield endpoint

    async def call(self, endpoint: Endpoint, path: str, body: bytes | None = None, kind: str = JSON) -> str:
        """Send a request; returns what failed."""
        headers = {"Authorization": f"Bearer {self.token}", **({} if body is None else {"Content-Type": kind})}
        return await failure(self.person, endpoint.method, path, body, headers)

    def bodies(self, endpoint: Endpoint) -> Iterator[bytes]:
        """The example with hostile text or an odd value in one field."""
        good = json.loads(msgspec.json.encode(endpoint.example)) if endpoint.example is not None else {}
        assert endpoint.body is not None
        names = [field.encode_name for field in msgspec.structs.fields(endpoint.body)]
        for name in names:
            for text in TEXTS.values():
                yield json.dumps({**good, name: text[:4000].decode("utf-8", "surrogateescape")}).encode()
            for odd in ODD:
                yield json.dumps({**good, name: odd}).encode()

    async def test_bodies(self) -> None:
        """No body makes an endpoint fail: garbage, and hostile text in each field of an otherwise good one."""
        failed = []
        for endpoint in self.endpoints(has_body=True):
            path = _NUMBER.sub("1", endpoint.path)
            for body in (*BODIES.values(), *self.bodies(endpoint)):
                failed.append(await self.call(endpoint, path, body))
            for body in BODIES.values() if endpoint.forms else ():
                failed.append(await self.call(endpoint, path, body, FORM))
        self.assertGreater(len(failed), 1000)
        self.assertEqual([line for line in failed if line], [])

    async def test_queries(self) -> None:
        """No query and no path makes an endpoint fail."""
        failed = []
        for endpoint in self.endpoints(has_body=False):
            if endpoint.method != "GET":
                continue
            query = endpoint.query
            names = [] if query is None else [field.encode_name for field in msgspec.structs.fields(query)]
            for text in TEXTS.values():
                value = quote_from_bytes(text[:3000], safe="")
                paths = [f"{_NUMBER.sub('1', endpoint.path)}?{name}={value}" for name in (*names, "other")]
                for path in (*paths, *([_NUMBER.sub(value, endpoint.path)] if endpoint.numbers else ())):
                    failed.append(await self.call(endpoint, path))
        self.assertGreater(len(failed), 500)
        self.assertEqual([line for line in failed if line], [])


class ConsoleTests(ConsoleCase):
    """The console, as an admin."""

    keeps_connections = True

    async def start(self) -> None:
        """Fill the database."""
        await super().start()
        await self.web.write(lambda connection: fill(connection, "h"))

    async def test_queries(self) -> None:
        """No query of a page makes it fail."""
        me = await self.admin()
        failed = []
        names = "caller number outcome since until before after q who kind page day week endpoint forwarded_by".split()
        for (
            path
        ) in "/calls /calls.csv /calls/busiest /test /rules/mappings /rules/changes /rules/grants /login".split():
            for kind, text in TEXTS.items():
                value = quote_from_bytes(text[:3000], safe="")
                every = "&".join(f"{name}={value[:900]}" for name in names)
                for query in (*(f"{name}={value}" for name in names if kind in ALONE), every):
                    failed.append(await failure(me, "GET", f"{path}?{query}", None, {}))
        self.assertEqual([line for line in failed if line], [])

    async def test_forms(self) -> None:
        """No form fails with hostile text in one field, or in all."""
        failed = []
        seen = set()
        paths = [_NUMBER.sub("1", route.path) for route in self.router.routes if "GET" in route.methods]
        for path in paths:
            if "<" in path or path in ("/now/events", "/settings/doctor"):
                continue
            forms = (await (await self.admin()).get(path)).forms
            for form in forms:
                key = (form.action or path, tuple(name for name, _ in form.fields))
                if form.method != "post" or key in seen or "logout" in key[0]:
                    continue
                seen.add(key)
                me = await self.admin()
                for kind, text in TEXTS.items():
                    value = quote_from_bytes(text[:9000], safe="")
                    for spoilt in (*(name for name, _ in form.fields if name != "csrf" and kind in ALONE), ""):
                        csrf = await me.csrf()
                        body = "&".join(
                            f"{name}={csrf if name == 'csrf' else value if spoilt in (name, '') else quote(good)}"
                            for name, good in form.fields
                        )
                        failed.append(await failure(me, "POST", key[0], body.encode(), {"Content-Type": FORM}))
        self.assertGreater(len(seen), 15)
        self.assertEqual([line for line in failed if line], [])
