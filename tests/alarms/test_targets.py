"""Alarm targets, with real processes and a real web server on loopback."""

from __future__ import annotations

import hmac
import json
import pathlib
import stat
from typing import Any, cast

from twisted.internet import reactor as the_reactor
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from pbxrouter.alarms import Alarm
from pbxrouter.alarms.message import Notice, sign
from pbxrouter.alarms.targets import TIMEOUT_S, CommandTarget, WebhookTarget
from pbxrouter.errors import AlarmFailed
from tests.held_time import HeldTime, until

reactor = cast(Any, the_reactor)
SECRET = b"0123456789abcdef"
NOTICE = Notice("ab12", Alarm("pin-attack", "wrong PINs", {"channel": "PJSIP/33-1"}), 1_795_953_600.5, "pbx", 3)


class CommandTests(TestCase):
    """CommandTarget runs the owner's command."""

    def script(self, text: str) -> pathlib.Path:
        """Make an executable file."""
        path = pathlib.Path(self.mktemp()).absolute()
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    async def fails(self, target: CommandTarget) -> str:
        """Deliver to a target that fails; returns the reason."""
        error: Any = await cast(Any, self.assertFailure)(target.deliver(NOTICE), AlarmFailed)
        return str(error)

    async def test_delivered(self) -> None:
        """The program gets the alarm on standard input, its arguments, and an environment without the gateway's own."""
        out = pathlib.Path(self.mktemp()).absolute()
        script = self.script(f'cat > {out}; echo "$1|$ALARM_KIND|$HOME" > {out}.arguments')
        await CommandTarget((str(script), "a b; rm"), reactor).deliver(NOTICE)
        self.assertEqual(out.read_bytes(), NOTICE.body())
        self.assertEqual(pathlib.Path(f"{out}.arguments").read_text(), "a b; rm|pin-attack|\n")

    async def test_fails(self) -> None:
        """Delivery fails for an exit status other than 0 (with its error output), a signal, and a missing program."""
        said = await self.fails(CommandTarget((str(self.script("echo no modem >&2; exit 3")),), reactor))
        self.assertEqual(said, "it ended with status 3: no modem")
        said = await self.fails(CommandTarget((str(self.script("kill -9 $$")),), reactor))
        self.assertEqual(said, "it ended with status signal 9")
        self.assertIn("it ended with status 1", await self.fails(CommandTarget(("/no/such/program",), reactor)))

    async def test_talkative(self) -> None:
        """The message has the first 200 bytes of a command's error output, in one printable line."""
        script = self.script("printf 'a\\nb' >&2; printf 'x%.0s' $(seq 198) >&2; echo end >&2; exit 1")
        said = await self.fails(CommandTarget((str(script),), reactor))
        self.assertEqual(said, "it ended with status 1: a\\nb" + 197 * "x")

    async def test_cancelled(self) -> None:
        """A cancelled attempt ends with its command, which is terminated, and killed if that has no effect."""
        held = HeldTime()
        ready, asked = (pathlib.Path(self.mktemp()).absolute() for _ in range(2))
        script = self.script(f"trap 'touch {asked}' TERM; touch {ready}; while :; do sleep 0.05; done")
        running = CommandTarget((str(script),), held).deliver(NOTICE)
        await until(ready.exists)
        running.cancel()
        await until(asked.exists)
        self.assertNoResult(running)
        held.advance(5)
        error: Any = await cast(Any, self.assertFailure)(running, AlarmFailed)
        self.assertEqual(str(error), "the gateway stops")

    async def test_too_long(self) -> None:
        """A program that runs too long is terminated, and killed if that has no effect."""
        held = HeldTime()
        ready = pathlib.Path(self.mktemp()).absolute()
        script = self.script(f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done")
        running = CommandTarget((str(script),), held).deliver(NOTICE)
        failed = cast(Any, self.assertFailure)(running, AlarmFailed)
        await until(ready.exists)
        held.advance(TIMEOUT_S)
        held.advance(5)
        self.assertEqual(str(await failed), "it took longer than 30 s")


class Hook(Resource):
    """A webhook that keeps the requests that it gets."""

    isLeaf = True

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status
        self.endless = False
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.left: list[Request] = []

    def render_POST(self, request: Request) -> Any:
        """Keep the headers and body of a request."""
        headers = {
            name: request.getHeader(name) or ""
            for name in ("X-Pbxrouter-Timestamp", "X-Pbxrouter-Signature", "Content-Type")
        }
        assert request.content is not None
        self.got.append((headers, request.content.read()))
        if not self.status:
            return NOT_DONE_YET
        if self.endless:
            request.setResponseCode(self.status)
            request.notifyFinish().addErrback(lambda _: self.left.append(request))
            request.write(b"x" * 100_000)
            return NOT_DONE_YET
        request.setResponseCode(self.status)
        return b"ok"


class WebhookTests(TestCase):
    """WebhookTarget posts signed alarms."""

    def target(self, status: int, clock: Any = reactor) -> tuple[Hook, WebhookTarget]:
        """A webhook that answers with a status; 0: never."""
        hook = Hook(status)
        port = reactor.listenTCP(0, Site(hook), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}/token-in-path"
        return hook, WebhookTarget(url, SECRET, clock, lambda: 1_795_953_605.9)

    async def test_signed(self) -> None:
        """The receiver can check body and timestamp by the secret; body and headers hold no more than they should."""
        hook, target = self.target(204)
        await target.deliver(NOTICE)
        ((headers, body),) = hook.got
        self.assertEqual(headers["X-Pbxrouter-Timestamp"], "1795953605")
        expected = hmac.new(SECRET, b"1795953605." + body, "sha256").hexdigest()
        self.assertEqual(headers["X-Pbxrouter-Signature"], f"sha256={expected}")
        self.assertNotEqual(sign(b"another secret!!", "1795953605", body), headers["X-Pbxrouter-Signature"])
        self.assertEqual(
            json.loads(body),
            {
                "id": "ab12",
                "kind": "pin-attack",
                "text": "wrong PINs",
                "details": {"channel": "PJSIP/33-1"},
                "raised_at": "2026-11-29T12:00:00Z",
                "gateway": "pbx",
                "suppressed": 3,
            },
        )
        self.assertEqual(target.name, "webhook 127.0.0.1")

    async def test_fails(self) -> None:
        """A status other than 2xx, redirects too, or no listener fails the delivery; the error hides the path."""
        for status in (302, 404, 500):
            error: Any = await cast(Any, self.assertFailure)(self.target(status)[1].deliver(NOTICE), AlarmFailed)
            self.assertEqual(str(error), f"it answered with status {status}")
        absent = WebhookTarget("http://127.0.0.1:1/token-in-path", SECRET, reactor, lambda: 0.0)
        error = await cast(Any, self.assertFailure)(absent.deliver(NOTICE), AlarmFailed)
        self.assertIn("it cannot be reached", str(error))
        self.assertNotIn("token-in-path", str(error))

    def test_time_to_connect(self) -> None:
        """A host that does not accept the connection is given up after ten seconds."""
        memory = MemoryReactorClock()
        target = WebhookTarget("http://127.0.0.1:8080/x", SECRET, memory, lambda: 0.0)
        failed = target.deliver(NOTICE)
        ((host, port, factory, timeout_s, _),) = memory.tcpClients
        self.assertEqual((host, port, timeout_s), ("127.0.0.1", 8080, 10.0))
        cast(Any, factory).clientConnectionFailed(None, Failure(ConnectTimeout()))
        memory.advance(1)
        self.assertIn("it cannot be reached", str(self.failureResultOf(failed, AlarmFailed).value))

    async def test_endless(self) -> None:
        """Of an answer that does not end the connection is closed after 64 KiB; its status counts."""
        hook, target = self.target(200)
        hook.endless = True
        await target.deliver(NOTICE)
        await until(lambda: hook.left)
        hook, target = self.target(500)
        hook.endless = True
        error: Any = await cast(Any, self.assertFailure)(target.deliver(NOTICE), AlarmFailed)
        self.assertEqual(str(error), "it answered with status 500")
        await until(lambda: hook.left)

    async def test_silent(self) -> None:
        """A request that gets no response is given up."""
        held = HeldTime()
        hook, target = self.target(0, held)
        failed = cast(Any, self.assertFailure)(target.deliver(NOTICE), AlarmFailed)
        await until(lambda: bool(hook.got))
        held.advance(TIMEOUT_S)
        self.assertEqual(str(await failed), "no answer within 30 s")
