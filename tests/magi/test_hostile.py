"""Calls in AGI(agi:async) that bring hostile text: each ends in an orderly way, and the next call is served."""

from __future__ import annotations

from urllib.parse import quote

from twisted.logger import formatEvent

from pbxrouter.agi import verbs
from pbxrouter.agi.channel import Channel
from pbxrouter.errors import AGIError
from pbxrouter.magi.service import RELEASED_S
from pbxrouter.net import GRACE_S
from tests.hostile_text import TEXTS
from tests.magi.test_service import UNIQUEID, MagiServiceTest, block, snapshot


class HostileTests(MagiServiceTest):
    """Hostile text in the block, in results, and in the headers of events."""

    async def talk(self, channel: Channel) -> None:
        """A conversation with each kind of reply; its failures are those that the call flow knows."""
        try:
            await verbs.answer(channel)
            await verbs.get_digits(channel, "agent-pass")
            await verbs.dial(channel, "PJSIP/21", 20)
        except AGIError as error:
            self.outcomes.append(type(error))
            self.assertTrue(str(error).isprintable(), ascii(str(error)[:200]))

    def over(self, what: str) -> None:
        """The call is given up; nothing was raised, and the next call is served as usual."""
        self.end()
        self.clock.advance(RELEASED_S)
        self.clock.pump([700, GRACE_S])  # a timer that is very late is put off
        self.manager.heard("AGI")
        self.left = b""
        failures = [event["log_failure"].getTraceback()[-800:] for event in self.events if "log_failure" in event]
        self.assertEqual(failures, [], what)
        for event in self.events:
            self.assertLess(len(formatEvent(event)), 20_000, what)
        self.events.clear()
        self.served.clear()
        self.conversation = None
        self.start(uniqueid="1795.8")
        self.assertEqual(len(self.served), 1, what)
        self.answer("200 result=0", "ANSWER", "1795.8")
        self.end("1795.8")
        self.clock.advance(RELEASED_S)
        self.manager.heard("AGI")
        self.conversation = self.talk

    def result(self, encoded: str) -> None:
        """Receive a result for the last command, if one waits, as it stands in the event."""
        commands = self.manager.heard("AGI")
        if commands:
            ids = f"CommandId: {commands[-1]['CommandID']}"
            self.manager.event("Event: AsyncAGIExec", *snapshot(UNIQUEID), f"Result: {encoded}", ids)

    def test_block(self) -> None:
        """Hostile text in the opening block, and in place of it, encoded or raw."""
        self.conversation = self.talk
        for name, text in TEXTS.items():
            spoilt = block().replace(b"agi_calleridname: unknown", b"agi_calleridname: " + text[:900])
            self.start(spoilt)
            self.over(f"a name: {name}")
            raw = text[:3000].decode("utf-8", "surrogateescape").replace("\r", "")
            self.exists()
            self.manager.event("Event: AsyncAGIStart", *snapshot(), f"Env: {raw}")
            self.over(f"for the block: {name}")

    def test_results(self) -> None:
        """Hostile text in each form of a result, encoded or raw, for each command of a conversation."""
        self.conversation = self.talk
        for name, text in TEXTS.items():
            for form in (b"200 result=%s\n", b"200 result=1 (%s)\n", b"510 %s\n", b"100 %s\n%s\n", b"%s"):
                reply = form.replace(b"%s", text[:1500])
                raw = reply.decode("utf-8", "surrogateescape").replace("\r", "").replace("\n", "")
                for before in range(3):
                    for encoded in (quote(reply)[:2047], raw):
                        self.start()
                        for _ in range(before):
                            self.result(quote(b"200 result=0\n"))
                        for _ in range(4):
                            self.result(encoded)
                        self.over(f"{name}: {form!r} after {before}")

    def test_headers(self) -> None:
        """Hostile text in any header of any event of a call."""
        self.conversation = self.talk
        names = [line.partition(":")[0] for line in snapshot()]
        for name, text in TEXTS.items():
            value = text[:3000].decode("utf-8", "surrogateescape").replace("\r", "")
            for spoilt in (*names, "Result", "CommandId", "DialStatus"):
                headers = [line for line in snapshot() if not line.startswith(f"{spoilt}:")]
                self.start()
                for event in ("AsyncAGIStart", "AsyncAGIExec", "DialEnd", "Hangup", "AsyncAGIEnd", "MAGIExec"):
                    self.manager.event(f"Event: {event}", *headers, f"{spoilt}: {value}")
                self.over(f"{spoilt}: {name}")
