"""The FastAGI server: serving calls, and stopping."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.channel import Channel
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.errors import ChannelHungUp, GatewayStopping
from pbxrouter.fastagi.admission import Admission
from pbxrouter.fastagi.protocol import SETTLE_S, FastAGIProtocol
from pbxrouter.fastagi.server import MAX_OPENINGS, FastAGIFactory
from pbxrouter.fastagi.standstill import StandstillGuard
from pbxrouter.simulator import SimulatedCall
from tests.fakes import AsteriskEnd, loud

BLOCK = SimulatedCall("21", caller="33").environment()


class RecordingGuard(StandstillGuard):
    """Records which calls' connections it holds."""

    def __init__(self) -> None:
        super().__init__(Clock())
        self.held: dict[object, object] = {}

    def hold(self, call: object, transport: object) -> None:
        """Record a call's connection."""
        self.held[call] = transport

    def drop(self, call: object) -> None:
        """Forget a connection."""
        self.held.pop(call, None)


class FactoryCase(SynchronousTestCase):
    """A server in memory that serves calls by a function of the test's."""

    def setUp(self) -> None:
        """A server without calls."""
        self.clock = Clock()
        self.ended: list[str] = []
        self.errors: list[ChannelHungUp] = []
        self.factory = FastAGIFactory(self.serve, self.clock, DialogueWatch(), now=self.clock.seconds)

    async def serve(self, channel: Channel) -> None:
        """Serve a call with two commands."""
        try:
            await channel.execute("ANSWER")
            await channel.execute("EXEC Dial x")
        except ChannelHungUp as error:
            self.ended.append("hung up")
            self.errors.append(error)
        else:
            self.ended.append("done")

    def connect(self) -> AsteriskEnd:
        """Connect Asterisk to the factory."""
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        return AsteriskEnd(protocol)

    def answers(self, asterisk: AsteriskEnd) -> None:
        """Reply to a command; the first reply of a call is held for a moment."""
        asterisk.says(b"200 result=0\n")
        self.clock.advance(SETTLE_S)

    def call(self) -> AsteriskEnd:
        """A call that has opened."""
        asterisk = self.connect()
        asterisk.says(BLOCK)
        return asterisk


class Serving(FactoryCase):
    """How FastAGIFactory serves calls."""

    def test_conversation(self) -> None:
        """Serving begins when the block is complete; the connection is closed when it ends, and not before."""
        self.clock.advance(7)
        asterisk = self.connect()
        self.assertEqual((self.factory.open_calls, asterisk.hears()), (1, b""))
        self.assertEqual((self.factory.served, self.factory.last_call), (0, None))
        asterisk.says(BLOCK)
        self.assertEqual((self.factory.served, self.factory.last_call), (1, 7.0))
        self.assertEqual(asterisk.hears(), b"ANSWER\n")
        self.answers(asterisk)
        self.assertFalse(asterisk.is_closed)
        with capturedLogs() as logs:
            self.answers(asterisk)
        self.assertEqual(loud(logs), [])
        self.assertTrue(asterisk.is_closed)
        self.assertEqual(self.ended, ["done"])
        asterisk.goes()
        self.assertEqual(self.factory.open_calls, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_probe(self) -> None:
        """A dialplan that asks whether the gateway is alive gets its id; no call is served or counted."""
        unnamed = self.factory
        for factory, told in (
            (FastAGIFactory(self.serve, self.clock, DialogueWatch(), gateway="a1b2"), b"a1b2"),
            (FastAGIFactory(self.serve, self.clock, DialogueWatch(), gateway=""), b"00000000"),
            (unnamed, b"00000000"),
        ):
            self.factory = factory
            asterisk = self.connect()
            asterisk.says(SimulatedCall("21", caller="33", arguments=("alive",)).environment())
            self.assertEqual(asterisk.hears(), b"SET VARIABLE PBXROUTER_ID " + told + b"\n")
            self.assertFalse(asterisk.is_closed)
            self.answers(asterisk)
            self.assertTrue(asterisk.is_closed)
            self.assertEqual((self.factory.served, self.factory.last_call, self.ended), (0, None, []))

    def test_probe_for_a_key(self) -> None:
        """A dialplan that asks for the call's key is told it with the id, in one command; without keys the id alone."""
        self.factory = FastAGIFactory(self.serve, self.clock, DialogueWatch(), gateway="a1b2")
        for key, told in (
            ("", b"SET VARIABLE PBXROUTER_ID a1b2\n"),
            ("0123456789abcdef-7", b"EXEC MSet PBXROUTER_ID=a1b2,PBXROUTER_CALL=0123456789abcdef-7\n"),
        ):
            self.factory.new_key = key.__str__
            asterisk = self.connect()
            asterisk.says(SimulatedCall("21", caller="33", arguments=("alive", "call")).environment())
            self.assertEqual(asterisk.hears(), told)
            self.answers(asterisk)
            self.assertTrue(asterisk.is_closed)

    def test_probe_that_goes(self) -> None:
        """A dialplan that does not wait for the answer, or refuses it, is no error."""
        for answer in (b"HANGUP\n", b"510 Invalid or unknown command\n", None):
            with capturedLogs() as logs:
                asterisk = self.connect()
                asterisk.says(SimulatedCall("21", caller="33", arguments=("alive",)).environment())
                if answer is None:
                    asterisk.goes()
                else:
                    asterisk.says(answer)
                self.clock.advance(SETTLE_S)
            self.assertEqual(loud(logs), [])

    def test_many_at_once(self) -> None:
        """Calls do not wait for each other."""
        calls = [self.call() for _ in range(50)]
        self.assertEqual((self.factory.open_calls, self.factory.served), (50, 50))
        for asterisk in calls:
            self.answers(asterisk)
            self.assertEqual(asterisk.hears(), b"ANSWER\nEXEC Dial x\n")
            asterisk.goes()
        self.assertEqual(self.factory.open_calls, 0)
        self.assertEqual(self.ended, ["hung up"] * 50)

    def test_guard(self) -> None:
        """Each connection is passed to the guard when it is opened, and dropped when it ends.

        A call that came another way than by buildProtocol, as through StarPy, is served in the same way.
        """
        guard = RecordingGuard()
        admission = Admission(self.clock, secret="secret of the test")
        self.factory = FastAGIFactory(self.serve, self.clock, DialogueWatch(), admission, guard=guard)
        for arguments in ((), ("alive", "secret=secret of the test")):
            asterisk = self.connect()
            with capturedLogs():
                asterisk.says(SimulatedCall("21", caller="33", arguments=arguments).environment())
            asterisk.goes()
            self.assertEqual(guard.held, {})
        for call in (self.factory.buildProtocol(None), FastAGIProtocol(self.factory)):
            assert call is not None
            asterisk = AsteriskEnd(call)
            self.assertEqual(guard.held, {call: asterisk.transport})
            asterisk.says(SimulatedCall("21", arguments=("secret=secret of the test",)).environment())
            self.assertEqual((guard.held, asterisk.hears()), ({call: asterisk.transport}, b"ANSWER\n"))
            asterisk.goes()
            self.assertEqual((guard.held, self.factory.open_calls), ({}, 0))

    def test_conversation_breaks(self) -> None:
        """An exception is logged, and the connection is closed."""

        async def breaks(channel: Channel) -> None:
            raise RuntimeError("on purpose")

        self.factory = FastAGIFactory(breaks, self.clock, DialogueWatch())
        self.assertTrue(self.call().is_closed)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_conversation_does_not_ask(self) -> None:
        """Serving may wait for something else than the call; the connection is closed when it ends."""
        something: Deferred[None] = Deferred()

        async def waits(channel: Channel) -> None:
            await something

        self.factory = FastAGIFactory(waits, self.clock, DialogueWatch())
        asterisk = self.call()
        self.assertFalse(asterisk.is_closed)
        something.callback(None)
        self.assertTrue(asterisk.is_closed)

    def test_long_openings(self) -> None:
        """Long opening blocks share a bound, beyond which the one that grows is told that the gateway is busy."""
        begin = b"agi_network: yes\nagi_network_script: " + b"x" * 1_000_000
        with capturedLogs() as events:
            ends = [self.connect() for _ in range(MAX_OPENINGS // 1_000_000 + 3)]
            for asterisk in ends:
                asterisk.says(begin)
        self.assertEqual(
            [end.hears() for end in ends], [b""] * (len(ends) - 3) + [b"SET VARIABLE PBXROUTER busy\n"] * 3
        )
        self.assertEqual(len(loud(events)), 1)
        self.assertEqual(self.call().hears(), b"ANSWER\n")
        for asterisk in (*ends[:1], *ends[-3:]):
            asterisk.goes()
        late = self.connect()
        late.says(begin)
        self.assertEqual(late.hears(), b"")

    def test_quiet(self) -> None:
        """Starting and stopping to listen is not logged by the factory."""
        with capturedLogs() as logs:
            self.factory.doStart()
            self.factory.doStop()
        self.assertEqual(list(logs), [])

    def test_forged(self) -> None:
        """A forged call is not served and gets closed."""
        asterisk = self.connect()
        asterisk.says(SimulatedCall("9\nagi_callerid: 22").environment())
        self.clock.pump([1, 1, 1])
        self.assertTrue(asterisk.is_closed)
        asterisk.goes()
        self.assertEqual((self.ended, self.factory.open_calls), ([], 0))


class Draining(FactoryCase):
    """What happens to calls while the gateway stops."""

    def test_no_calls(self) -> None:
        """Without calls it is done at once, and no connection is accepted any more."""
        self.successResultOf(self.factory.drain())
        self.assertIsNone(self.factory.buildProtocol(None))

    def test_command_in_progress(self) -> None:
        """A running command is finished and no further one is sent; other calls are closed at once. Nothing is
        logged above info."""
        with capturedLogs() as logs:
            busy, fresh = self.call(), self.connect()
            busy.hears()
            drained = self.factory.drain()
            self.assertFalse(busy.is_closed)
            self.assertTrue(fresh.is_closed)
            fresh.goes()
            self.answers(busy)
            self.assertTrue(busy.is_closed)
            self.assertEqual(busy.hears(), b"")
            self.assertNoResult(drained)
            busy.goes()
        self.successResultOf(drained)
        self.assertEqual(self.ended, ["hung up"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(loud(logs), [])

    def test_command_of_hours(self) -> None:
        """A call with a long command is closed after three seconds."""
        asterisk = self.call()
        self.answers(asterisk)
        drained = self.factory.drain()
        self.clock.advance(2.9)
        self.assertFalse(asterisk.is_closed)
        self.clock.advance(0.1)
        self.assertTrue(asterisk.is_closed)
        asterisk.goes()
        self.successResultOf(drained)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reason(self) -> None:
        """A conversation is told that the gateway stops, and whether an application ran that goes on; a lost
        connection is none of our doing."""
        for in_application in (False, True):
            self.setUp()
            asterisk = self.call()
            if in_application:
                self.answers(asterisk)
            self.factory.drain(0.5)
            self.clock.advance(0.5)
            error = self.errors.pop()
            assert isinstance(error, GatewayStopping)
            self.assertEqual((str(error), error.in_application), ("the gateway stops", in_application))
            asterisk.goes()
        self.setUp()
        self.call().goes()
        self.assertNotIsInstance(self.errors.pop(), GatewayStopping)

    def test_reason_between_commands(self) -> None:
        """A conversation that waits for something else is told at its next command, also when the connection is
        gone by then."""
        something: Deferred[None] = Deferred()

        async def waits(channel: Channel) -> None:
            await something
            try:
                await channel.execute("ANSWER")
            except ChannelHungUp as error:
                self.errors.append(error)

        self.factory = FastAGIFactory(waits, self.clock, DialogueWatch())
        asterisk = self.call()
        self.factory.drain()
        self.assertTrue(asterisk.is_closed)
        asterisk.goes()
        something.callback(None)
        (error,) = self.errors
        assert isinstance(error, GatewayStopping)
        self.assertFalse(error.in_application)

    def test_asked_twice(self) -> None:
        """drain() may be called twice."""
        asterisk = self.call()
        first, second = self.factory.drain(), self.factory.drain()
        asterisk.goes()
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_forged_call(self) -> None:
        """A forged call is marked and hung up also while the server stops, and only then closed."""
        asterisk = self.connect()
        asterisk.says(b"x\n\n")
        drained = self.factory.drain()
        self.assertFalse(asterisk.is_closed)
        self.clock.pump([1, 1])
        self.assertEqual((asterisk.hears(), asterisk.is_closed), (b"SET VARIABLE PBXROUTER refused\nHANGUP\n", False))
        self.clock.advance(1)
        self.assertTrue(asterisk.is_closed)
        asterisk.goes()
        self.successResultOf(drained)
