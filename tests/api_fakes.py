"""A gateway's API on a real port, with a real database; each response is checked against its document.

Only Asterisk is not there: calls that are asked for are a fake's.
"""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import jsonschema_rs
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, FileBodyProducer, readBody
from twisted.web.http_headers import Headers

from pbxrouter import database
from pbxrouter.agi.channel import Channel
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.call.active_calls import ActiveCalls
from pbxrouter.call.history_writer import HistoryWriter
from pbxrouter.config import Zone
from pbxrouter.config.parsing import resolved
from pbxrouter.config.schema import TECHNOLOGIES, Config
from pbxrouter.database import Place, PostgreSQLPlace, open_store
from pbxrouter.database.access.tokens import add_token
from pbxrouter.database.audit import Actor
from pbxrouter.database.calls.history import CallRow, trace_text
from pbxrouter.database.rules.sample import add_sample
from pbxrouter.drivers import load_drivers
from pbxrouter.drivers.applications import DriverApplications
from pbxrouter.fastagi.server import FastAGIFactory
from pbxrouter.health import HealthProbe
from pbxrouter.originate.originator import (
    CallRequest,
    Originator,
    PhoneState,
    Progress,
    check_request,
)
from pbxrouter.rules.engine import RulesEngine
from pbxrouter.rules.reloader import RulesReloader
from pbxrouter.security import PasswordHashes, pins
from pbxrouter.security.tokens import Scope, hash_token, new_token
from pbxrouter.text.sentences import Sentence, sentence
from pbxrouter.web.api.dispatch import EndpointTable, api_routes
from pbxrouter.web.api.endpoint import JSON, ApiError, Endpoint
from pbxrouter.web.api.resources.endpoints import ENDPOINTS
from pbxrouter.web.api.token_auth import LIMITS
from pbxrouter.web.context import WebContext
from pbxrouter.web.http.guard import Guarded, Visitors
from pbxrouter.web.http.site import BoundedSite, resource
from tests.databases import sample_database
from tests.fakes import QUICK_ARGON2
from tests.needs import PATIENCE_S

reactor = cast(Any, the_reactor)
KEY = b"k" * 32
ACTOR = Actor("the test", "command")
APPLICATIONS = DriverApplications(load_drivers(Config(technologies=dict(TECHNOLOGIES))))
ANSWERED = Progress("answered", Sentence("the phone was answered"), "x-1")
TABLE = EndpointTable(ENDPOINTS)


class FakeOriginator:
    """An Originator that places no call; the test sets its result."""

    def __init__(self) -> None:
        self.requests: list[CallRequest] = []
        self.steps: list[Progress] = [Progress("ringing", Sentence("the phone rings"), "x-1"), ANSWERED]
        self.error: Exception | None = None
        self.state = PhoneState.UNTOLD

    def allows(self, context: str) -> bool:
        """Let calls enter any context."""
        return True

    def is_phone(self, channel: str) -> bool:
        """Take any text for a phone."""
        return True

    async def phone_state(self, channel: str) -> PhoneState:
        """Say of any phone what the test has set up."""
        return self.state

    @property
    def is_up(self) -> bool:
        """Say that Asterisk is connected."""
        return True

    async def originate(self, request: CallRequest, tell: Callable[[Progress], object]) -> None:
        """Keep the request and tell the steps that the test has set up."""
        check_request(request, {})
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        for step in self.steps:
            tell(step)


class Ticking:
    """The reactor with a clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def seconds(self) -> float:
        """The time, which only the test changes."""
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


async def serve_no_call(channel: Channel) -> None:
    """A handler for a FastAGI server that gets no calls."""


def make_web_context(
    place: Place, originators: Mapping[str, FakeOriginator], clock: Any, database_exists: bool = False
) -> WebContext:
    """A WebContext with a database of its own, the sample rules in it."""
    hash_pin = functools.partial(pins.hash_pin, KEY)
    if not database_exists:
        if isinstance(place, PostgreSQLPlace):
            database.create(place)
            with contextlib.closing(database.connect(place)) as connection:
                add_sample(connection, hash_pin)
        else:
            sample_database(place, hash_pin)
    writing = open_store(place, hash_pin, reactor)
    engine = RulesEngine(APPLICATIONS)
    reloader = RulesReloader(writing, engine, clock, clock.seconds)
    if isinstance(place, PostgreSQLPlace):
        config = resolved(Config(database=place.url), place.base.parent)
    else:
        config = resolved(Config(database=str(place)), place.parent)
    history = HistoryWriter(writing, config.history.keep_days, clock, clock.seconds)
    fastagi = FastAGIFactory(serve_no_call, clock, DialogueWatch())
    return WebContext(
        config=config,
        reading=open_store(place, hash_pin, reactor),
        writing=writing,
        engine=engine,
        reloader=reloader,
        applications=APPLICATIONS,
        hash_pin=hash_pin,
        key=KEY,
        originators=cast(Mapping[str, Originator], originators),
        counters=(),
        active_calls=ActiveCalls(),
        health=HealthProbe(
            [("lab", None)], (), engine, reloader, history, config.fastagi.listen, fastagi, time.time, clock.seconds
        ),
        zone=Zone("Europe/Madrid"),
        now=time.time,
        reactor=clock,
        passwords=PasswordHashes(QUICK_ARGON2),
    )


NOON = 1_786_795_200.0  # long ago, so that it is never within the last day
"""2026-11-23 12:00, UTC."""


def a_call(place: int, **more: Any) -> CallRow:
    """A call of the history; there are three a minute from NOON on."""
    began = NOON + 20 * place
    return CallRow(
        **{
            "began": began,
            "ended": began + 12,
            "uniqueid": f"{began:.0f}.{place}",
            "caller": "33",
            "caller_name": "Reception",
            "number": f"2{place % 10}",
            "verdict": "allow",
            "pattern": "2X",
            "application": "dial",
            "data": "PJSIP",
            "granted_by": "33",
            "outcome": "ANSWER" if place % 3 else "BUSY",
            "cause": "16",
            "answered_s": 10 if place % 3 else None,
            "trace": trace_text([sentence("{number} matches {pattern}", number="22", pattern="2X")]),
            **more,
        }
    )


@dataclass(frozen=True)
class Said:
    """A response of the API."""

    status: int
    body: bytes
    headers: Headers

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def header(self, name: str) -> str:
        """A header; "" if it is not there."""
        return (self.headers.getRawHeaders(name) or [""])[0]


class ApiCase(TestCase):
    """A gateway's API with a token for everything."""

    scopes: tuple[Scope, ...] = tuple(Scope)
    timeout = 10 * PATIENCE_S

    def setUp(self) -> Deferred[None]:  # type: ignore[override]  # trial waits for it
        """Start a server on a free port."""
        return Deferred.fromCoroutine(self.start())

    async def start(self) -> None:
        """Prepare the database; for subclasses."""
        self.path = pathlib.Path(self.mktemp()).absolute()
        self.originator = FakeOriginator()
        self.clock = Ticking()
        self.web = make_web_context(self.make_place(), {"lab": self.originator}, self.clock)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.web.exports.stop()))
        self.addCleanup(self.web.reading.close)
        self.addCleanup(self.web.writing.close)
        await self.web.reloader.poll()
        self.token = await self.add_token("desk", *self.scopes)
        self.serve(self.web)

    def make_place(self) -> Place:
        """Where the database is to be; another one for tests that override this."""
        return self.path

    async def add_token(self, name: str, *scopes: Scope) -> str:
        """Add a token with these scopes."""
        token = new_token()
        await self.web.write(
            lambda connection: add_token(connection, ACTOR, time.time(), name, hash_token(token), scopes)
        )
        return token

    def serve(
        self,
        web: WebContext,
        limits: Mapping[str, tuple[float, int]] = LIMITS,
        endpoints: Sequence[Endpoint] = ENDPOINTS,
    ) -> None:
        """Serve the API in memory."""
        routes = api_routes(web, endpoints, lambda _: "192.0.2.1", limits)
        pages = Guarded(resource([routes]), Visitors(web.config.web))
        port = reactor.listenTCP(0, BoundedSite(pages), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.port: int = port.getHost().port
        self.url = f"http://127.0.0.1:{self.port}"

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        token: str | None = None,
        kind: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> Said:
        """Send a request, and check the response against the document.

        Args:
            body: bytes are sent as they are, anything else as JSON.
            token: "" sends none, None that of the test.
        """
        sent = Headers({"Host": ["localhost"], **{name: [value] for name, value in (headers or {}).items()}})
        carried = self.token if token is None else token
        if carried:
            sent.addRawHeader(b"Authorization", f"Bearer {carried}".encode("utf-8", "surrogateescape"))
        data = None
        if body is not None:
            sent.setRawHeaders("Content-Type", [kind])
            data = FileBodyProducer(BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode()))
        response = await Agent(reactor).request(method.encode(), (self.url + path).encode("ascii"), sent, data)
        said = Said(response.code, await readBody(response), response.headers)
        self.check(method, path.partition("?")[0], said)
        return said

    def check(self, method: str, path: str, said: Said) -> None:
        """Check that the document declares a response."""
        self.assertEqual(said.header("Cache-Control"), "no-store")
        try:
            endpoint, _ = TABLE.find(path, method)
        except ApiError as refused:
            self.assertEqual(said.status, refused.status)
            self.assertEqual(set(said.json), {"error", "field"})
            return
        operation = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
        self.assertIn(str(said.status), operation["responses"], said.body)
        declared = operation["responses"][str(said.status)]
        for name, header in declared.get("headers", {}).items():
            self.assertTrue(said.header(name) or not header["required"], name)
        content = declared.get("content", {})
        if not content:
            self.assertEqual(said.body, b"")
            return
        self.assertIn(said.header("Content-Type"), content)
        if method != "HEAD" and said.header("Content-Type") == JSON:
            schema = {**content[JSON]["schema"], "components": DOCUMENT["components"]}
            jsonschema_rs.validator_for(schema).validate(said.json)


def _document() -> dict[str, Any]:
    from pbxrouter.web.api.openapi import document

    return document(ENDPOINTS)


DOCUMENT = _document()
