"""``POST /api/originate`` over real HTTP on loopback; the call itself is a fake."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, cast

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, FileBodyProducer, RequestTransmissionFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers

from pbxrouter.database.access.tokens import revoke_token
from pbxrouter.errors import ActionFailed, ConfigError, ManagerUnavailable, OriginateRefused
from pbxrouter.originate.originator import CallRequest, Originator, PhoneState, Progress
from pbxrouter.security.tokens import Scope, new_token
from pbxrouter.text.sentences import Sentence
from pbxrouter.web.api.endpoint import FORM, JSON
from pbxrouter.web.api.token_auth import LIMITS
from pbxrouter.web.http.site import (
    CUT_OFF,
    MAX_BODY,
    WebService,
    resource,
)
from tests.api_fakes import ACTOR, ANSWERED, ApiCase, FakeOriginator

_, BURST = LIMITS["dial"]


class ApiTests(ApiCase):
    """Tests with one Asterisk and one token."""

    scopes = (Scope.DIAL,)

    async def post(
        self,
        body: bytes | Mapping[str, str],
        kind: str = JSON,
        token: str | None = None,
        method: str = "POST",
    ) -> tuple[int, dict[str, Any], Headers]:
        """Send a request; returns status, body and headers."""
        said = await self.ask(method, "/api/originate", body, token, kind)
        return said.status, said.json, said.headers

    REQUEST = {"channel": "PJSIP/33", "to": "22", "context": "pbxrouter"}  # noqa: RUF012

    async def test_json(self) -> None:
        """The response comes when the phone was answered, not when it rings."""
        status, said, headers = await self.post(self.REQUEST)
        self.assertEqual((status, said), (200, {"status": "answered", "why": ANSWERED.why, "id": "x-1"}))
        self.assertEqual(self.originator.requests, [CallRequest("PJSIP/33", "22", "pbxrouter")])
        self.assertEqual(headers.getRawHeaders("Cache-Control"), ["no-store"])

    async def test_form(self) -> None:
        """A form is accepted, too."""
        status, _, _ = await self.post(b"channel=PJSIP/33&to=%2A72&context=pbxrouter&asterisk=lab", FORM)
        self.assertEqual(status, 200)
        self.assertEqual(self.originator.requests, [CallRequest("PJSIP/33", "*72", "pbxrouter")])

    async def test_busy(self) -> None:
        """The response has the real result."""
        self.originator.steps = [Progress("busy", Sentence("the phone is busy"), "x-1")]
        status, said, _ = await self.post(self.REQUEST)
        self.assertEqual((status, said["status"], said["why"]), (200, "busy", "the phone is busy"))

    async def test_tokens(self) -> None:
        """A missing, unknown or revoked token gives 401, and no call."""
        for token in ("x", new_token(), "pbxr_", self.token + "x"):
            status, said, headers = await self.post(self.REQUEST, token=token)
            self.assertEqual(status, 401)
            self.assertNotIn(token if len(token) > 5 else "\0", json.dumps(said))
            self.assertEqual(headers.getRawHeaders("WWW-Authenticate"), ['Bearer realm="pbxrouter"'])
        await self.web.write(lambda connection: revoke_token(connection, ACTOR, 0, 1))
        self.assertEqual((await self.post(self.REQUEST))[0], 401)
        self.assertEqual(self.originator.requests, [])

    async def test_bad_bodies(self) -> None:
        """Each invalid body is refused, and the error says what is accepted."""
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
            self.clock.now += 3600
            got, said, _ = await self.post(body, kind)
            self.assertEqual(got, status, body[:30])
            self.assertTrue(said["error"])
        self.assertEqual(self.originator.requests, [])

    async def test_refusals(self) -> None:
        """Malformed, not allowed, AMI down, refused by Asterisk, database away: each has its status."""
        for status, error in (
            (400, OriginateRefused("to: '1e5' is no number")),
            (403, OriginateRefused("33 may not dial 34", decision=object())),
            (503, ManagerUnavailable("down")),
            (502, ActionFailed("Originate: Extension does not exist.")),
        ):
            self.originator.error = error
            got, said, _ = await self.post(self.REQUEST)
            self.assertEqual(got, status)
            self.assertEqual(said["error"], "Service Currently Unavailable" if status == 503 else str(error))
        self.path.rename(f"{self.path}.away")
        self.assertEqual((await self.post(self.REQUEST))[0], 503)

    async def test_rate(self) -> None:
        """Requests are limited; the response has the time to wait."""
        for _ in range(BURST):
            self.assertEqual((await self.post(self.REQUEST))[0], 200)
        status, said, headers = await self.post(self.REQUEST)
        self.assertEqual(status, 429)
        self.assertIn("too many", said["error"])
        self.assertGreater(int((headers.getRawHeaders("Retry-After") or ["0"])[0]), 0)
        self.clock.now += 60
        self.assertEqual((await self.post(self.REQUEST))[0], 200)

    async def test_strangers(self) -> None:
        """Requests without a token are limited separately from those with one."""
        for _ in range(BURST):
            self.assertEqual((await self.post(self.REQUEST, token="x"))[0], 401)
        self.assertEqual((await self.post(self.REQUEST, token="x"))[0], 429)
        self.assertEqual((await self.post(self.REQUEST))[0], 200)

    async def test_odd_bytes(self) -> None:
        """A header that is not UTF-8 is not a valid token."""
        self.assertEqual((await self.post(self.REQUEST, token="\udcff"))[0], 401)

    def serve_with(self, originators: Mapping[str, FakeOriginator]) -> None:
        """Serve again with other Asterisks."""
        known = cast(Mapping[str, Originator], originators)
        self.serve(dataclasses.replace(self.web, originators=known))

    async def test_which_asterisk(self) -> None:
        """Of several Asterisks that which has the phone is taken, if none is named; without any there is no service."""
        other = FakeOriginator()
        self.serve_with({"a": self.originator, "b": other})
        status, said, _ = await self.post(self.REQUEST)
        self.assertEqual((status, said["field"]), (400, "channel"))
        self.assertIn("which of these Asterisks has PJSIP/33: a, b", said["error"])
        other.state = PhoneState.THERE
        self.assertEqual((await self.post(self.REQUEST))[0], 200)
        self.assertEqual([len(asked.requests) for asked in (self.originator, other)], [0, 1])
        self.assertEqual((await self.post({**self.REQUEST, "channel": "a:PJSIP/33"}))[0], 200)
        self.assertEqual([request.channel for request in self.originator.requests], ["PJSIP/33"])
        self.assertEqual((await self.post({**self.REQUEST, "asterisk": "a"}))[0], 200)
        self.assertEqual((await self.post({**self.REQUEST, "asterisk": "c"}))[0], 400)
        self.serve_with({})
        self.assertEqual((await self.post(self.REQUEST))[0], 503)

    async def test_endless_body(self) -> None:
        """Long bodies are refused, endless ones are cut off; neither places a call."""
        self.assertEqual((await self.post(b"x" * (CUT_OFF - 1)))[0], 413)
        body = FileBodyProducer(BytesIO(b"x" * (4 * CUT_OFF)))
        headers = Headers({"Host": ["localhost"], "Authorization": [f"Bearer {self.token}"], "Content-Type": [JSON]})
        # The client may still be writing when the answer comes.
        with contextlib.suppress(RequestTransmissionFailed, ResponseNeverReceived):
            said = await Agent(reactor).request(b"POST", f"{self.url}/api/originate".encode(), headers, body)
            self.assertEqual(said.code, 413)
        self.assertEqual(self.originator.requests, [])

    async def test_other_methods(self) -> None:
        """A GET places no call."""
        self.assertEqual((await self.post(b"", method="GET"))[0], 405)


class SiteTests(SynchronousTestCase):
    """The web server's port."""

    def test_bad_endpoint(self) -> None:
        """An invalid endpoint is refused in one line."""
        error = self.assertRaises(ConfigError, WebService, "nonsense", resource([]), reactor)
        self.assertIn("web.listen", str(error))
