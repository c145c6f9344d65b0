"""``POST /api/originate`` over real HTTP on loopback; the call itself is a fake."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, TypeVar, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import TestCase
from twisted.web.client import (
    Agent,
    FileBodyProducer,
    RequestTransmissionFailed,
    ResponseNeverReceived,
    readBody,
)
from twisted.web.http_headers import Headers

from pbxrouter import database
from pbxrouter.database.tokens import add_token, revoke_token
from pbxrouter.errors import ActionFailed, ManagerUnavailable, OriginateRefused, StoreError
from pbxrouter.originate import Originator, Progress, Wish
from pbxrouter.store import Store
from pbxrouter.tokens import hash_token, new_token
from pbxrouter.trace import Step
from pbxrouter.web.originate import BURST, originate_route
from pbxrouter.web.site import CUT_OFF, MAX_BODY, BoundedSite, WebService, resource

T = TypeVar("T")
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
ANSWERED = Progress("answered", Step("the phone was answered"), "x-1")


class FakeOriginator:
    """Begins no call; does what it is told."""

    def __init__(self) -> None:
        self.wishes: list[Wish] = []
        self.steps: list[Progress] = [Progress("ringing", Step("the phone rings"), "x-1"), ANSWERED]
        self.error: Exception | None = None

    async def originate(self, wish: Wish, tell: Callable[[Progress], object]) -> None:
        """See originate.Originator."""
        self.wishes.append(wish)
        if self.error is not None:
            raise self.error
        for step in self.steps:
            tell(step)


class FakeStore:
    """A real database, without a thread."""

    def __init__(self, path: pathlib.Path) -> None:
        database.create(path)
        self.connection = database.connect(path)
        self.away = False

    def run(self, work: Callable[[Any], T]) -> Deferred[T]:
        """See store.Store."""
        if self.away:
            raise StoreError("away")
        return execute(work, self.connection)


class ApiTests(TestCase):
    """One Asterisk, one token."""

    def setUp(self) -> None:
        """A server on a free port."""
        self.originator = FakeOriginator()
        self.store = FakeStore(pathlib.Path(self.mktemp()))
        self.addCleanup(self.store.connection.close)
        self.token = new_token()
        add_token(self.store.connection, "shop", hash_token(self.token))
        self.seconds = 0.0
        self.serve({"lab": self.originator})

    def serve(self, originators: dict[str, FakeOriginator]) -> None:
        """Listen."""
        route = originate_route(
            cast(dict[str, Originator], originators), cast(Store, self.store), lambda: self.seconds
        )
        port = cast(Any, reactor).listenTCP(0, BoundedSite(resource([route])), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}/api/originate".encode()

    async def post(
        self,
        body: bytes | Mapping[str, str],
        kind: str = JSON,
        token: str | None = None,
        method: bytes = b"POST",
    ) -> tuple[int, dict[str, Any], Headers]:
        """Status, answer, headers."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = Headers(
            {
                "Content-Type": [kind],
            }
        )
        headers.addRawHeader(
            b"Authorization", f"Bearer {token or self.token}".encode("utf-8", "surrogateescape")
        )
        response = await Agent(reactor).request(method, self.url, headers, FileBodyProducer(BytesIO(data)))
        text = await readBody(response)
        return response.code, json.loads(text) if text.startswith(b"{") else {}, response.headers

    WISH = {"channel": "PJSIP/33", "to": "22", "context": "pbxrouter"}  # noqa: RUF012

    async def test_json(self) -> None:
        """The answer comes when the phone was answered, not when it rings."""
        status, said, headers = await self.post(self.WISH)
        self.assertEqual((status, said), (200, {"status": "answered", "why": ANSWERED.why, "id": "x-1"}))
        self.assertEqual(self.originator.wishes, [Wish("PJSIP/33", "22", "pbxrouter")])
        self.assertEqual(headers.getRawHeaders("Cache-Control"), ["no-store"])

    async def test_form(self) -> None:
        """A form does as well."""
        status, _, _ = await self.post(b"channel=PJSIP/33&to=%2A72&context=pbxrouter&asterisk=lab", FORM)
        self.assertEqual(status, 200)
        self.assertEqual(self.originator.wishes, [Wish("PJSIP/33", "*72", "pbxrouter")])

    async def test_busy(self) -> None:
        """What really happened is said."""
        self.originator.steps = [Progress("busy", Step("the phone is busy"), "x-1")]
        status, said, _ = await self.post(self.WISH)
        self.assertEqual((status, said["status"], said["why"]), (200, "busy", "the phone is busy"))

    async def test_tokens(self) -> None:
        """No token, another's, a revoked one: 401, and no call."""
        for token in ("x", new_token(), "pbxr_", self.token + "x"):
            status, said, headers = await self.post(self.WISH, token=token)
            self.assertEqual(status, 401)
            self.assertNotIn(token if len(token) > 5 else "\0", json.dumps(said))
            self.assertEqual(headers.getRawHeaders("WWW-Authenticate"), ['Bearer realm="pbxrouter"'])
        revoke_token(self.store.connection, "shop")
        self.assertEqual((await self.post(self.WISH))[0], 401)
        self.assertEqual(self.originator.wishes, [])

    async def test_bad_bodies(self) -> None:
        """Each is refused with what is accepted."""
        for status, kind, body in (
            (400, JSON, b"{"),
            (400, JSON, b"[1]"),
            (400, JSON, b'"x"'),
            (400, JSON, b"[" * 5000),
            (400, JSON, b'{"to": 22}'),
            (400, JSON, b'{"to": "22", "to": "23"}'),
            (400, JSON, b'{"number": "22"}'),
            (400, JSON, b"\xff"),
            (400, FORM, b"to=22&to=23"),
            (400, FORM, b"to=%ff"),
            (400, FORM, b"x"),
            (413, JSON, b" " * (MAX_BODY + 1)),
            (415, "text/plain", b"to=22"),
        ):
            self.seconds += 3600
            got, said, _ = await self.post(body, kind)
            self.assertEqual(got, status, body[:30])
            self.assertTrue(said["error"])
        self.assertEqual(self.originator.wishes, [])

    async def test_refusals(self) -> None:
        """Malformed, not allowed, AMI down, Asterisk says no, the database away: each its status."""
        for status, error in (
            (400, OriginateRefused("to: '1e5' is no number")),
            (403, OriginateRefused("33 may not dial 34", decision=object())),
            (503, ManagerUnavailable("down")),
            (502, ActionFailed("Originate: Extension does not exist.")),
        ):
            self.originator.error = error
            got, said, _ = await self.post(self.WISH)
            self.assertEqual(got, status)
            self.assertEqual(said["error"], "Service Currently Unavailable" if status == 503 else str(error))
        self.store.away = True
        self.assertEqual((await self.post(self.WISH))[0], 503)

    async def test_rate(self) -> None:
        """A burst, and then a wait that is told."""
        for _ in range(BURST):
            self.assertEqual((await self.post(self.WISH))[0], 200)
        status, said, headers = await self.post(self.WISH)
        self.assertEqual(status, 429)
        self.assertIn("too many", said["error"])
        self.assertGreater(int((headers.getRawHeaders("Retry-After") or ["0"])[0]), 0)
        self.seconds += 60
        self.assertEqual((await self.post(self.WISH))[0], 200)

    async def test_strangers(self) -> None:
        """Who has no token is slowed down, too, and takes nothing from those who have."""
        for _ in range(BURST):
            self.assertEqual((await self.post(self.WISH, token="x"))[0], 401)
        self.assertEqual((await self.post(self.WISH, token="x"))[0], 429)
        self.assertEqual((await self.post(self.WISH))[0], 200)

    async def test_odd_bytes(self) -> None:
        """A header that is not UTF-8 is no token."""
        self.assertEqual((await self.post(self.WISH, token="\udcff"))[0], 401)

    async def test_which_asterisk(self) -> None:
        """Of several one must be named; with none there is no service."""
        self.serve({"a": self.originator, "b": FakeOriginator()})
        self.assertEqual((await self.post(self.WISH))[0], 400)
        self.assertEqual((await self.post({**self.WISH, "asterisk": "a"}))[0], 200)
        self.assertEqual((await self.post({**self.WISH, "asterisk": "c"}))[0], 400)
        self.serve({})
        self.assertEqual((await self.post(self.WISH))[0], 503)

    async def test_endless_body(self) -> None:
        """Long bodies are refused, endless ones cut off; neither is kept."""
        self.assertEqual((await self.post(b"x" * (CUT_OFF - 1)))[0], 413)
        with self.assertRaises((RequestTransmissionFailed, ResponseNeverReceived)):
            await self.post(b"x" * (4 * CUT_OFF))
        self.assertEqual(self.originator.wishes, [])

    async def test_other_methods(self) -> None:
        """Nothing is begun by a GET."""
        self.assertEqual((await self.post(b"", method=b"GET"))[0], 405)


class SiteTests(TestCase):
    """The server."""

    def test_bad_endpoint(self) -> None:
        """One line."""
        from pbxrouter.errors import ConfigError

        error = self.assertRaises(ConfigError, WebService, "nonsense", resource([]), reactor)
        self.assertIn("web.listen", str(error))
