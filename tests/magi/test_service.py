"""MagiService: which calls it serves, waiting calls that it adopts, forgeries, and giving calls back."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import verbs
from pbxrouter.agi.channel import Channel
from pbxrouter.agi.commands import KEYING_TIMEOUT_S, REPLY_TIMEOUT_S
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.agi.messages import AGIRequest
from pbxrouter.ami.channel_check import ASK_AGAIN_S, UNANSWERED_S
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.errors import (
    ActionFailed,
    ActionTimeout,
    AGIError,
    ChannelHungUp,
    ConnectionClosed,
    GatewayStopping,
    ManagerUnavailable,
    ProtocolViolation,
    ReplyTimeout,
)
from pbxrouter.magi.channel import RENEW_S
from pbxrouter.magi.claim import Taken
from pbxrouter.magi.service import LOOK_AGAIN_S, MAX_THEIRS, MAY_COME_BACK_S, RELEASED_S, MagiService
from pbxrouter.simulator import SimulatedCall
from tests.ami_fakes import FakeAMIConnection, lines

UNIQUEID = "1795.7"
CONTEXT = "pbxrouter-magi"
TAMPERED = "MAGI {asterisk}: ignored an AsyncAGIStart that a caller has tampered with"


def snapshot(uniqueid: str = UNIQUEID, context: str = CONTEXT, number: str = "33") -> list[str]:
    """A channel as events and lists show it."""
    return [
        "Channel: PJSIP/34-0000",
        "ChannelState: 4",
        "ChannelStateDesc: Ring",
        f"CallerIDNum: {number}",
        "CallerIDName: x",
        "ConnectedLineNum: <unknown>",
        "ConnectedLineName: <unknown>",
        "Language: en",
        "AccountCode: ",
        f"Context: {context}",
        "Exten: 21",
        "Priority: 1",
        f"Uniqueid: {uniqueid}",
        f"Linkedid: {uniqueid}",
    ]


def block(uniqueid: str = UNIQUEID, context: str = CONTEXT, arguments: tuple[str, ...] = ()) -> bytes:
    """An opening block as AsyncAGI has it."""
    call = SimulatedCall("21", caller="33")
    text = call.environment().decode().replace("agi_network: yes\n", "")
    out = []
    for line in text.split("\n"):
        name, colon, value = line.partition(": ")
        if name == "agi_network_script":
            continue
        value = {"agi_uniqueid": uniqueid, "agi_context": context, "agi_request": "async"}.get(name, value)
        out.append(name + colon + value)
    whole = "\n".join(out).encode()
    extra = b"".join(b"agi_arg_%d: %s\n" % (place, argument.encode()) for place, argument in enumerate(arguments, 1))
    return whole.removesuffix(b"\n") + extra + b"\n"


class MagiServiceTest(SynchronousTestCase):
    """MagiService on a fake AMI connection; ``serve`` is each test's."""

    def setUp(self) -> None:
        """Connect, with no waiting call."""
        self.manager, self.clock, self.watch = FakeAMIConnection(), Clock(), DialogueWatch()
        self.served: list[Channel] = []
        self.outcomes: list[object] = []
        self.conversation: Callable[[Channel], Any] | None = None
        self.refusals: list[tuple[str, str, str]] = []
        manager: Any = self.manager
        self.magi = MagiService(manager, [CONTEXT], self.serve, self.clock, self.watch, self.refused)
        self.magi.startService()
        self.manager.comes_up()
        self.manager.sent.clear()
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def refused(self, request: AGIRequest, violation: ProtocolViolation) -> None:
        """Record a refused call: channel, Uniqueid, peer."""
        self.refusals.append((request.channel, request.uniqueid, violation.peer))

    async def serve(self, channel: Channel) -> None:
        """Serve a call: send one command and record its result."""
        self.served.append(channel)
        if self.conversation is not None:
            await self.conversation(channel)
            return
        try:
            self.outcomes.append((await channel.execute("ANSWER")).result)
        except AGIError as error:
            self.outcomes.append(type(error))

    def start(self, env: bytes | None = None, **which: str) -> None:
        """AsyncAGIStart, of a channel that exists."""
        self.exists(**which)
        data = block(**which) if env is None else env  # type: ignore[arg-type]
        encoded = quote(data[:1023], safe="")[:2047]
        self.manager.event("Event: AsyncAGIStart", *snapshot(**which), f"Env: {encoded}")
        self.left = data[1023:]

    def start_dialling(self) -> list[verbs.DialResult]:
        """Start a call that dials; the list is filled with the result."""
        results: list[verbs.DialResult] = []

        async def dials(channel: Channel) -> None:
            results.append(await verbs.dial(channel, "PJSIP/21", 20))

        self.conversation = dials
        self.start()
        return results

    def exists(self, application: str = "AGI", data: str = "agi:async", **which: str) -> None:
        """What Action Status will tell of a channel."""
        headers = (*snapshot(**which), "DNID: 21", f"Application: {application}", f"Data: {data}")
        status = AMIMessage(lines("Event: Status", *headers)[:-4])
        self.manager.alive[status.get("Uniqueid")] = status

    def end(self, uniqueid: str = UNIQUEID) -> None:
        """AsyncAGIEnd of a channel that is gone."""
        self.manager.alive.pop(uniqueid, None)
        self.forged_end(uniqueid)

    def forged_end(self, uniqueid: str = UNIQUEID) -> None:
        """Receive an AsyncAGIEnd, forged or not."""
        self.manager.event("Event: AsyncAGIEnd", *snapshot(uniqueid))

    def answer(self, reply: str, expected: str = "", uniqueid: str = UNIQUEID) -> None:
        """Receive the AsyncAGIExec for the last command."""
        (command,) = self.manager.heard("AGI")[-1:]
        if expected:
            self.assertEqual(command["Command"], expected)
        data, self.left = getattr(self, "left", b"") + reply.encode() + b"\n", b""
        self.manager.event(
            "Event: AsyncAGIExec",
            *snapshot(uniqueid),
            f"Result: {quote(data)}",
            f"CommandId: {command['CommandID']}",
        )

    def queued(self) -> list[str]:
        """The commands sent since the last call."""
        return [action["Command"] for action in self.manager.heard("AGI")]

    def waiting(self, *which: dict[str, str], application: str = "AGI", data: str = "agi:async") -> None:
        """What CoreShowChannels will list."""
        self.manager.lists["CoreShowChannels"] = [
            AMIMessage(
                lines(
                    "Event: CoreShowChannel",
                    *snapshot(**uniqueid),
                    f"Application: {application}",
                    f"ApplicationData: {data}",
                    "Duration: 00:00:01",
                )[:-4]
            )
            for uniqueid in which
        ]

    def loud(self) -> list[LogEvent]:
        """The log lines above level info."""
        return [event for event in self.events if event["log_level"] >= LogLevel.warn]


class StartTests(MagiServiceTest):
    """Calls that an AsyncAGIStart announces."""

    def test_served_and_released(self) -> None:
        """The conversation runs on the call; then the dialplan goes on, and the call is forgotten."""
        self.start()
        (channel,) = self.served
        self.assertEqual((channel.request.caller, channel.request.extension), ("33", "21"))
        self.answer("200 result=0", "ANSWER")
        self.assertEqual(self.outcomes, ["0"])
        self.answer("200 result=0", "ASYNCAGI BREAK")
        self.assertEqual(self.magi.open_calls, 1)
        self.assertEqual(self.queued(), [])
        self.end()
        self.assertEqual(self.magi.open_calls, 0)
        self.assertEqual(self.loud(), [])

    def test_watched(self) -> None:
        """A watcher sees the opening block."""
        seen: list[str] = []
        self.watch.add(lambda line: seen.append(line.text))
        self.start()
        self.assertIn("agi_extension: 21", seen)

    def test_other_contexts(self) -> None:
        """A call in another context is not touched; nor is one whose block says so."""
        self.start(context="other")
        self.assertEqual((self.served, self.manager.sent), ([], []))
        self.start(block(context="other"))
        self.assertEqual(self.served, [])

    def test_two_calls(self) -> None:
        """Replies and ends reach their own calls."""
        self.start()
        self.start(uniqueid="1795.8")
        self.end("1795.8")
        self.assertEqual(self.outcomes, [ChannelHungUp])
        self.assertEqual(self.magi.open_calls, 1)

    def test_hang_up(self) -> None:
        """A caller's hang-up ends the conversation, and nothing more is sent."""
        self.start()
        self.queued()
        self.end()
        self.assertEqual(self.outcomes, [ChannelHungUp])
        self.assertEqual(self.queued(), [])
        self.assertEqual(self.magi.open_calls, 0)
        self.assertEqual(self.loud(), [])

    def test_broken_conversation(self) -> None:
        """A conversation that raises is logged, and the call is given back."""

        async def breaks(_: Channel) -> None:
            raise ZeroDivisionError

        self.conversation = breaks
        self.start()
        self.assertEqual(self.queued(), ["ASYNCAGI BREAK"])
        self.end()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_second_run_on_the_channel(self) -> None:
        """A second AGI() on a channel is served though the end of the first did not arrive."""
        self.start()
        self.start()
        self.assertEqual(self.outcomes, [ChannelHungUp])
        self.assertEqual(len(self.served), 2)
        self.answer("200 result=0", "ANSWER")
        self.assertEqual(self.outcomes, [ChannelHungUp, "0"])

    def test_end_not_told(self) -> None:
        """A call given back whose end does not arrive is forgotten after a time."""
        self.start()
        self.answer("200 result=0", "ANSWER")
        self.answer("200 result=0", "ASYNCAGI BREAK")
        self.manager.lists["CoreShowChannels"] = []
        self.clock.advance(4.9)
        self.assertEqual(self.magi.open_calls, 1)
        self.clock.advance(0.1)
        self.assertEqual(self.magi.open_calls, 0)

    def test_gone_before_it_is_told(self) -> None:
        """A call is forgotten at once when a command finds that it is gone."""
        self.manager.answers["AGI"] = ActionFailed("AGI: Channel 1795.7 does not exist.")
        self.start()
        self.assertEqual((self.outcomes, self.magi.open_calls), ([ChannelHungUp], 0))

    def test_forgotten_while_another_run_is_served(self) -> None:
        """When a call given back is forgotten, a second run on the same channel stays."""
        self.start()
        self.answer("200 result=0", "ANSWER")
        self.answer("200 result=0", "ASYNCAGI BREAK")
        self.start()
        self.manager.lists["CoreShowChannels"] = []
        self.clock.advance(RELEASED_S)
        self.assertEqual((len(self.served), self.magi.open_calls), (2, 1))

    def test_given_back_though_refused(self) -> None:
        """A call that Asterisk does not take back is forgotten in time, too, and nothing is logged."""
        self.start()
        self.answer("200 result=0", "ANSWER")
        self.answer("510 Invalid or unknown command", "ASYNCAGI BREAK")
        self.assertEqual((self.magi.open_calls, self.loud()), (1, []))
        self.manager.lists["CoreShowChannels"] = []
        self.clock.advance(RELEASED_S)
        self.assertEqual(self.magi.open_calls, 0)

    def test_addressed(self) -> None:
        """Commands go to the channel's Uniqueid, each with an id of its own."""
        self.start()
        self.answer("200 result=0")
        (command,) = self.manager.heard("AGI")[-1:]
        self.assertEqual((command["Channel"], command["Command"]), (UNIQUEID, "ASYNCAGI BREAK"))
        self.assertTrue(command["CommandID"].startswith("id-"))

    def test_found_by_channel(self) -> None:
        """The end of a call is found by its Uniqueid; another call's end is not taken for it."""
        self.start()
        self.forged_end("1795.8")
        self.assertEqual((self.magi.open_calls, self.manager.heard("Status")[1:]), (1, []))

    def test_events_without_a_call(self) -> None:
        """Ends and replies of other calls are ignored, without a question to Asterisk."""
        self.forged_end()
        self.manager.event("Event: Hangup", *snapshot())
        self.manager.event("Event: AsyncAGIExec", *snapshot(), "Result: 200%20result%3D0%0A", "CommandId: id-1")
        self.manager.event("Event: DialEnd", *snapshot(), "DialStatus: BUSY")
        self.assertEqual((self.manager.sent, self.loud()), ([], []))

    def test_dial(self) -> None:
        """The Dial's result is taken from its event when the caller hangs up during it."""
        results = self.start_dialling()
        self.manager.event("Event: DialEnd", f"Uniqueid: {UNIQUEID}", "DestUniqueid: 9", "DialStatus: ANSWER")
        self.manager.event("Event: DialEnd", "Uniqueid: 5", "DestUniqueid: 9", "DialStatus: BUSY")
        self.answer("200 result=-1")
        self.end()
        self.assertEqual([result.status for result in results], ["ANSWER"])

    def test_forged_dial_end(self) -> None:
        """A DialEnd with a repeated status or Uniqueid is ignored."""
        results = self.start_dialling()
        self.manager.event("Event: DialEnd", f"Uniqueid: {UNIQUEID}", "DialStatus: BUSY")
        for extra in ("DialStatus: BUSY", f"Uniqueid: {UNIQUEID}"):
            self.manager.event("Event: DialEnd", f"Uniqueid: {UNIQUEID}", extra, "DialStatus: ANSWER")
        self.answer("200 result=-1")
        self.end()
        self.assertEqual([result.status for result in results], ["BUSY"])

    def test_dial_end_without_a_status(self) -> None:
        """A DialEnd without a status is ignored."""
        results = self.start_dialling()
        self.manager.event("Event: DialEnd", f"Uniqueid: {UNIQUEID}", "DialStatus: BUSY")
        self.manager.event("Event: DialEnd", f"Uniqueid: {UNIQUEID}")
        self.answer("200 result=-1")
        self.end()
        self.assertEqual([result.status for result in results], ["BUSY"])


class ForgedTests(MagiServiceTest):
    """Events that callers forge."""

    def test_tampered_event(self) -> None:
        """A context, an id or a block put into a number makes the event invalid."""
        encoded = quote(block())
        for extra in (f"Context: {CONTEXT}", "Uniqueid: 1.1", f"Env: {encoded}"):
            self.manager.event("Event: AsyncAGIStart", extra, *snapshot(), f"Env: {encoded}")
        self.assertEqual([str(event["log_format"]) for event in self.loud()], 3 * [TAMPERED])
        self.manager.event("Event: AsyncAGIStart", f"Context: {CONTEXT}", *snapshot(context="other"), "Env: x")
        self.assertEqual(self.served, [])
        self.assertEqual((self.manager.sent, self.refusals), ([], []))

    def test_tampered_block(self) -> None:
        """A call whose block has an additional line is marked, hung up, logged, not served, and not adopted later."""
        self.start(block().replace(b"agi_dnid", b"agi_callerid: 22\nagi_dnid"))
        self.assertEqual(self.served, [])
        self.assertEqual(self.queued(), ['SET VARIABLE PBXROUTER "refused"', "HANGUP"])
        self.waiting({})
        self.clock.advance(LOOK_AGAIN_S - 0.1)
        self.assertEqual(self.queued(), [])
        self.assertIn("refused", self.loud()[0]["log_format"])
        self.assertEqual(self.loud()[0]["uniqueid"], UNIQUEID)
        self.assertEqual(self.refusals, [("PJSIP/34-0000", UNIQUEID, "AMI lab")])
        self.end()
        self.assertEqual(self.magi.open_calls, 0)

    def test_refused_call_whose_end_is_not_told(self) -> None:
        """A refused call is forgotten after a time, so that a genuine one on the channel is served."""
        self.start(block()[:-2])
        self.clock.advance(RELEASED_S - 0.5)
        self.assertEqual(self.magi.open_calls, 1)
        self.clock.advance(0.5)
        self.assertEqual(self.magi.open_calls, 0)

    def test_refused_call_that_is_gone(self) -> None:
        """What marks and hangs up a refused call may fail: it is gone already, and nothing is logged of that."""
        self.manager.answers["AGI"] = ActionFailed("AGI: Channel 1795.7 does not exist.")
        self.start(block()[:-2])
        self.assertEqual((len(self.loud()), self.flushLoggedErrors()), (1, []))

    def test_why_refused(self) -> None:
        """The log says what is wrong with the block."""
        for env, why in (
            (block()[:-2], "the opening block has no end"),
            (block(uniqueid="1.1"), "the opening block is of another call"),
        ):
            self.setUp()
            self.start(env)
            self.assertEqual([event["error"] for event in self.loud()], [why])

    def test_block_of_another_context(self) -> None:
        """A block whose context is not the event's is not believed, whether or not Asterisk can be asked."""
        for _ in range(2):
            self.start(block(context="other"))
            self.assertEqual((self.served, self.queued()), ([], []))
            self.manager.lists["Status"] = ActionFailed("Status: Permission denied")
        del self.manager.lists["Status"]
        arguments = tuple("x" * 150 for _ in range(6))
        start = block(context="other", arguments=arguments)
        self.start(start.replace(b"agi_context: other\n", b"").replace(b"\n\n", b"\nagi_context: other\n\n"))
        for _ in range(2):
            self.answer("200 result=0", "NOOP")
        self.assertEqual((self.served, self.refusals[0][1:]), ([], (UNIQUEID, "AMI lab")))
        self.assertEqual(self.queued(), ['SET VARIABLE PBXROUTER "refused"', "HANGUP"])

    def test_block_of_another_call(self) -> None:
        """A block that names another channel is refused."""
        self.start(block(uniqueid="1.1"))
        self.assertEqual(self.served, [])
        self.assertIn("HANGUP", self.queued())

    def test_block_without_end(self) -> None:
        """A short block that does not end is none of Asterisk's."""
        self.start(block()[:-2])
        self.assertEqual(self.served, [])
        self.assertIn("HANGUP", self.queued())

    def test_forged_end(self) -> None:
        """A forged AsyncAGIEnd of 79 bytes ends no call, and needs no question."""
        self.start()
        self.manager.heard("Status")
        self.manager.event("Event: AsyncAGIEnd", "Channel: a", f"Uniqueid: {UNIQUEID}", "Linkedid: 1")
        self.assertEqual(self.outcomes, [])
        self.assertEqual((self.manager.heard("Status"), self.manager.forged_events), ([], 0))

    def test_hangup_of_a_channel_that_goes_on(self) -> None:
        """A Hangup is untrue while the channel exists, in any application."""
        self.start()
        self.exists("Playback", "beep")
        self.hangup()
        self.assertEqual((self.outcomes, self.magi.open_calls), ([], 1))

    def hangup(self) -> None:
        """Receive a Hangup with every header, and let the time pass in which Asterisk is asked."""
        self.manager.event("Event: Hangup", *snapshot(), "Cause: 16", "Cause-txt: Normal Clearing")
        self.clock.pump(ASK_AGAIN_S)

    def test_whole_hangup(self) -> None:
        """A forged Hangup with all headers ends no call: Asterisk says that the channel goes on."""
        self.start()
        self.exists()
        for _ in range(3):
            self.hangup()
        self.assertEqual((self.outcomes, self.magi.open_calls), ([], 1))
        self.assertEqual(len(self.loud()), 1)
        self.assertEqual(self.manager.forged_events, 3)
        self.assertEqual({headers["Channel"] for headers in self.manager.heard("Status")}, {UNIQUEID})
        self.manager.alive.clear()
        self.hangup()
        self.assertEqual((self.outcomes, self.magi.open_calls), ([ChannelHungUp], 0))

    def test_whole_end(self) -> None:
        """A forged AsyncAGIEnd ends no call that is in AGI(agi:async), or in an application that we run."""
        self.start()
        self.exists()
        self.forged_end()
        self.clock.pump(ASK_AGAIN_S)
        self.assertEqual(self.outcomes, [])
        self.exists("Dial", "PJSIP/21")  # as if the dialplan went on
        self.forged_end()
        self.assertEqual(self.outcomes, [ChannelHungUp])

    def test_whole_end_in_a_dial(self) -> None:
        """While the application runs that we asked for, the channel is ours."""
        results = self.start_dialling()
        self.exists("Dial", "PJSIP/21,20")
        self.forged_end()
        self.clock.pump(ASK_AGAIN_S)
        self.assertEqual((results, self.magi.open_calls), ([], 1))
        self.exists("Playback", "beep")
        self.forged_end()
        self.assertEqual(len(results), 1)

    def test_hangup_while_an_end_is_checked(self) -> None:
        """Each kind of event is checked for itself: the true one ends the call while the forged one is looked at."""
        self.start()
        self.exists()
        self.manager.event("Event: Hangup", *snapshot())
        self.exists("Playback", "beep")
        self.forged_end()
        self.assertEqual(self.outcomes, [ChannelHungUp])
        self.clock.pump(ASK_AGAIN_S)
        self.assertEqual(self.magi.open_calls, 0)

    def test_whole_start(self) -> None:
        """A forged AsyncAGIStart that has all, with a caller or number that is not the channel's, starts no call."""
        genuine = block()
        self.exists()
        for forged in (b"agi_callerid: 22", b"agi_extension: 34", b"agi_dnid: 34", b"agi_context: other"):
            name = forged.partition(b": ")[0]
            old = next(line for line in genuine.split(b"\n") if line.startswith(name))
            data = quote(genuine.replace(old, forged), safe="")
            self.manager.event("Event: AsyncAGIStart", *snapshot(), f"Env: {data}")
        self.manager.event("Event: AsyncAGIStart", *snapshot(number="22"), f"Env: {data}")
        self.manager.alive.clear()
        self.manager.event("Event: AsyncAGIStart", *snapshot(), f"Env: {quote(genuine, safe='')}")
        self.assertEqual((self.served, self.manager.forged_events, len(self.loud())), ([], 5, 1))
        self.start()
        self.assertEqual(len(self.served), 1)

    def test_start_that_comes_too_late(self) -> None:
        """The AsyncAGIStart of a call that the dialplan has taken back starts no call, and is not called forged."""
        self.manager.alive[UNIQUEID] = AMIMessage(
            "\r\n".join(["Event: Status", *snapshot(), "Application: Congestion"])
            .replace("Exten: 21", "Exten: T")
            .encode()
        )
        self.manager.event("Event: AsyncAGIStart", *snapshot(), f"Env: {quote(block(), safe='')}")
        self.assertEqual((self.served, self.manager.forged_events, self.loud()), ([], 0, []))

    def test_broken_start_of_a_call_in_progress(self) -> None:
        """A forged AsyncAGIStart with a block that is none drops no call that is being served, and is logged."""
        self.start()
        self.start(b"agi_network: yes\n\n")
        self.assertEqual((self.outcomes, self.magi.open_calls), ([], 1))
        self.assertEqual(self.queued(), ["ANSWER"])
        self.assertEqual(len(self.loud()), 1)
        self.assertEqual(self.refusals, [])

    def test_stopped_while_a_start_is_checked(self) -> None:
        """A call whose start is being checked when we stop is not begun."""
        asked: Deferred[list[AMIMessage]] = Deferred()
        self.manager.action_list = lambda *_: asked  # type: ignore[method-assign]
        self.start()
        self.magi.stopService()
        asked.callback([self.manager.alive[UNIQUEID]])
        self.assertEqual((self.served, self.magi.open_calls), ([], 0))

    def test_end_checked_once(self) -> None:
        """While an end is being checked the same event again asks nothing, and is checked anew afterwards."""
        self.start()
        self.exists()
        self.manager.heard("Status")
        for _ in range(3):
            self.forged_end()
        self.assertEqual(len(self.manager.heard("Status")), 1)
        self.clock.pump(ASK_AGAIN_S)
        self.manager.heard("Status")
        self.forged_end()
        self.assertEqual(len(self.manager.heard("Status")), 1)

    def test_start_when_status_is_not_allowed(self) -> None:
        """Where Asterisk cannot be asked a start is not believed, and the log says so once."""
        self.manager.lists["Status"] = ActionFailed("Status: Permission denied")
        for _ in range(2):
            self.start()
        self.assertEqual((len(self.served), len(self.loud())), (0, 1))

    def test_start_that_could_not_be_checked(self) -> None:
        """A call whose start could not be checked is found among the waiting ones, and is served."""
        self.manager.lists["Status"] = ActionTimeout("late")
        self.start()
        self.assertEqual((self.served, self.queued()), ([], []))
        self.waiting({"uniqueid": UNIQUEID})
        self.clock.advance(LOOK_AGAIN_S)
        for reply in ("200 result=0", "200 result=1 (asked)", "200 result=0"):
            self.answer(reply)
        self.assertEqual(self.manager.heard("AGI")[-1]["Command"], 'GET FULL VARIABLE "${CALLERID(num)}"')

    def test_end_that_cannot_be_checked(self) -> None:
        """While Asterisk does not answer, a forged end ends no call; a true one does once Asterisk answers."""
        results = self.start_dialling()
        self.exists("Dial", "PJSIP/21,20")
        self.manager.lists["Status"] = ActionTimeout("late")
        self.forged_end()
        self.manager.event("Event: Hangup", *snapshot())
        self.clock.pump(UNANSWERED_S)
        self.assertEqual((results, self.magi.open_calls), ([], 1))
        del self.manager.lists["Status"]
        self.manager.alive.clear()
        self.clock.advance(UNANSWERED_S[-1])
        self.assertEqual(len(results), 1)

    def test_not_asked_when_given_back(self) -> None:
        """The end of a call that was given back needs no question."""
        self.start()
        self.answer("200 result=0", "ANSWER")
        self.answer("200 result=0", "ASYNCAGI BREAK")
        self.manager.heard("Status")
        self.end()
        self.assertEqual((self.magi.open_calls, self.manager.heard("Status")), (0, []))

    def test_forged_answer(self) -> None:
        """A reply with another CommandID is ignored."""
        self.start()
        self.manager.event("Event: AsyncAGIExec", f"Uniqueid: {UNIQUEID}", "Result: 200%20result=0", "CommandId: id-99")
        self.assertEqual(self.outcomes, [])


class LongBlockTests(MagiServiceTest):
    """Opening blocks that AMI cuts."""

    def test_put_together(self) -> None:
        """The rest of the block is put together before the first command, arguments included."""
        arguments = ("a" * 300, "b" * 300)
        self.start(block(arguments=arguments))
        self.assertEqual(self.served, [])
        self.answer("200 result=0", "NOOP")
        self.answer("200 result=0", "NOOP")
        (channel,) = self.served
        self.assertEqual(channel.request.arguments, arguments)
        self.answer("200 result=0", "ANSWER")
        self.assertEqual(self.outcomes, ["0"])

    def test_hung_up_meanwhile(self) -> None:
        """A caller may hang up before the block is complete."""
        self.start(block(arguments=("a" * 900,)))
        self.assertEqual(self.magi.open_calls, 1)
        self.end()
        self.assertEqual((self.served, self.magi.open_calls), ([], 0))
        self.assertEqual(self.loud(), [])
        self.assertEqual([event["uniqueid"] for event in self.events if "adopted" in event["log_format"]], [UNIQUEID])

    def test_forged_rest(self) -> None:
        """A rest that makes the block invalid gets the call refused."""
        self.start(block(arguments=("a" * 900,)))
        self.left = self.left.replace(b"\n\n", b"\nagi_callerid: 22\n\n")
        self.answer("200 result=0", "NOOP")
        self.answer("200 result=0", "NOOP")
        self.assertEqual(self.served, [])
        self.assertEqual(self.queued(), ['SET VARIABLE PBXROUTER "refused"', "HANGUP"])
        self.assertEqual(len(self.refusals), 1)

    def test_rest_lost(self) -> None:
        """If the rest of a cut block is lost, the missing variables are asked for."""
        self.start(block(arguments=("a" * 900,)))
        (command,) = self.manager.heard("AGI")
        self.manager.event(
            "Event: AsyncAGIExec",
            *snapshot(),
            f"Result: {quote('ñ' * 700)[:2047]}",
            f"CommandId: {command['CommandID']}",
        )
        self.left = b""
        self.answer("200 result=0\n200 result=0", "NOOP")
        for _ in range(2):
            self.answer("200 result=0", "NOOP")
        self.answer("200 result=0", "GET VARIABLE PBXROUTER")
        self.answer("200 result=0", "GET VARIABLE PBXROUTER_BOUNDED")
        for value in ("33", "x", "21", "unknown", "21"):
            self.answer(f"200 result=1 ({value})")
        self.assertEqual([channel.request.caller for channel in self.served], ["33"])

    def test_lost(self) -> None:
        """Variables beyond what Asterisk can send are asked for."""
        self.start(block(arguments=("ñ" * 400,)))
        self.answer("200 result=0", "NOOP")
        self.answer("200 result=0", "GET VARIABLE PBXROUTER")
        self.answer("200 result=0", "GET VARIABLE PBXROUTER_BOUNDED")
        self.answer("200 result=1 (33)", 'GET FULL VARIABLE "${CALLERID(num)}"')
        self.answer("200 result=1 (Treinta y tres)", 'GET FULL VARIABLE "${CALLERID(name)}"')
        self.answer("200 result=1 ()", 'GET FULL VARIABLE "${CALLERID(dnid)}"')
        self.answer("200 result=1 (22)", 'GET FULL VARIABLE "${CALLERID(rdnis)}"')
        self.answer("200 result=1 (21)", 'GET FULL VARIABLE "${EXTEN}"')
        (channel,) = self.served
        request = channel.request
        self.assertEqual(request.variables["calleridname"], "Treinta y tres")
        self.assertEqual(request.variables["request"], "async")
        self.assertEqual((request.caller, request.dnid, request.extension), ("33", None, "21"))
        self.assertEqual(request.variables["rdnis"], "22")
        self.assertFalse(request.is_bounded)
        self.assertEqual(request.arguments, ())


class WaitingTest(MagiServiceTest):
    """Has calls that wait."""

    def told(self, words: str) -> list[str]:
        """The calls of log lines with these words."""
        return [event["uniqueid"] for event in self.events if words in str(event["log_format"])]

    def look(self) -> None:
        """Let time pass until waiting calls are looked for."""
        self.clock.advance(LOOK_AGAIN_S)

    def answers(self, mark: str = "", uniqueid: str = UNIQUEID) -> None:
        """What is asked of a waiting call, answered."""
        self.answer("200 result=0", "NOOP", uniqueid)
        self.answer(f"200 result=1 ({mark})" if mark else "200 result=0", "GET VARIABLE PBXROUTER", uniqueid)
        if not mark or mark == "asked":
            self.answer("200 result=1 (bounded)", "GET VARIABLE PBXROUTER_BOUNDED", uniqueid)
        for value in ("33", "x", "21", "unknown", "21"):
            if not mark or mark == "asked":
                self.answer(f"200 result=1 ({value})", uniqueid=uniqueid)


class WaitingTests(WaitingTest):
    """Calls that began before the gateway."""

    def test_taken_up(self) -> None:
        """A waiting call in a configured context is asked for its request, and served."""
        self.waiting({}, {"uniqueid": "9.9", "context": "other"})
        self.look()
        self.answers()
        (channel,) = self.served
        request = channel.request
        self.assertEqual(self.told("adopted"), [UNIQUEID])
        self.assertEqual(request.arguments, ("bounded",))
        self.assertEqual((request.caller, request.extension, request.uniqueid), ("33", "21", UNIQUEID))
        self.assertEqual((request.language, request.dnid), ("en", "21"))
        self.assertTrue(request.is_bounded)
        self.assertEqual(self.queued(), ["ANSWER"])
        self.look()
        self.assertEqual((len(self.served), self.queued()), (1, []))
        self.assertEqual(self.loud(), [])

    def test_time_limit(self) -> None:
        """The time limit of a waiting call is kept as soon as it is known to be the gateway's."""
        self.waiting({})
        self.look()
        self.answer("200 result=0", "NOOP")
        self.answer("200 result=1 (routing)", "GET VARIABLE PBXROUTER")
        (asked,) = self.manager.heard("AGI")[-1:]
        self.manager.event(
            "Event: AsyncAGIExec",
            *snapshot(),
            "Result: 200%20result=1%20(bounded=180)%0A",
            f"CommandId: {asked['CommandID']}",
        )
        self.assertEqual(
            self.queued()[:2], ['SET VARIABLE "TIMEOUT(absolute)" 3', 'GET FULL VARIABLE "${CALLERID(num)}"']
        )

    def test_at_once_when_we_connect(self) -> None:
        """After a lost connection waiting calls are looked for at once."""
        self.manager.goes_down()
        self.waiting({})
        self.manager.comes_up()
        self.answers()
        self.assertEqual(len(self.served), 1)

    def test_marked(self) -> None:
        """A call that an earlier gateway asked is routed; one whose application ran does not run it again."""
        for mark, served in (("asked", 1), ("dialling", 0), ("done", 0), ("failed", 0), ("refused", 0)):
            self.setUp()
            self.waiting({})
            self.look()
            self.answers(mark)
            self.assertEqual(len(self.served), served, mark)
            self.assertEqual(self.queued(), ["ANSWER"] if served else ["ASYNCAGI BREAK"], mark)
            given_back = [event["mark"] for event in self.events if "given back" in event["log_format"]]
            self.assertEqual(given_back, [] if served else [mark])
            self.magi.stopService()

    def test_later_commands_have_time_outs(self) -> None:
        """Once an adopted call has answered, its commands are not waited for without end."""
        self.waiting({})
        self.look()
        self.answers()
        self.clock.advance(REPLY_TIMEOUT_S)
        self.assertEqual(self.outcomes, [])  # ANSWER takes time
        self.clock.advance(KEYING_TIMEOUT_S - REPLY_TIMEOUT_S)
        self.assertEqual(self.outcomes, [ReplyTimeout])

    def test_looked_for_again_and_again(self) -> None:
        """Waiting calls are looked for at intervals while the connection is up."""
        self.manager.comes_up()  # as if the list came twice
        for _ in range(3):
            self.clock.advance(4.9)
            self.assertEqual(self.manager.heard("CoreShowChannels"), [])
            self.clock.advance(0.1)
            self.assertEqual(len(self.manager.heard("CoreShowChannels")), 1)
        self.manager.goes_down()
        self.manager.is_up = True
        self.clock.advance(10 * LOOK_AGAIN_S)
        self.assertEqual(self.manager.heard("CoreShowChannels"), [])

    def test_applications_are_looked_at_once_for_each_connection(self) -> None:
        """Applications are looked at once for each connection: later ones are another dialplan's."""
        self.waiting({}, application="Dial", data="PJSIP/21")
        self.look()
        self.assertEqual(self.queued(), [])
        self.manager.goes_down()
        self.manager.comes_up()
        self.assertEqual(self.queued(), ["NOOP"])

    def test_applications_are_looked_at_on_the_first_connection(self) -> None:
        """What an earlier process of the gateway began is found when this one first connects."""
        self.successResultOf(self.magi.stopService())
        self.manager = FakeAMIConnection()
        manager: Any = self.manager
        self.magi = MagiService(manager, [CONTEXT], self.serve, self.clock, self.watch)
        self.magi.startService()
        self.waiting({}, application="Dial", data="PJSIP/21")
        self.manager.comes_up()
        self.assertEqual(self.queued(), ["NOOP"])

    def test_adoption_that_failed(self) -> None:
        """A call that could not be adopted is forgotten, logged in one line, and tried again at the next look."""
        self.waiting({"uniqueid": "1\x1b7"})
        self.manager.answers["AGI"] = ActionFailed("AGI: Permission denied")
        self.look()
        self.assertEqual((self.magi.open_calls, self.queued()), (0, ["NOOP"]))
        self.assertEqual(self.told("could not be adopted"), ["1\\x1b7"])
        del self.manager.answers["AGI"]
        self.look()
        self.assertEqual(self.queued(), ["NOOP"])
        self.manager.sent.append(("AGI", {"Command": "NOOP", "CommandID": "id-2"}))
        self.assertEqual(self.magi.open_calls, 1)

    def test_names_in_the_log(self) -> None:
        """The line about an adopted call is one line, also if its Uniqueid holds control characters."""
        self.waiting({"uniqueid": "1\x1b7"})
        self.look()
        self.answers(uniqueid="1\x1b7")
        self.assertEqual(self.told("is adopted"), ["1\\x1b7"])

    def test_second_run_of_an_adopted_call(self) -> None:
        """When an adopted call is over, AGI() on the same channel again is a call like any other."""
        self.waiting({})
        self.look()
        self.answers()
        self.waiting()
        self.answer("200 result=0", "ANSWER")
        self.answer("200 result=0", "ASYNCAGI BREAK")
        self.end()
        self.start()
        self.assertEqual(len(self.served), 2)

    def test_list_that_failed_once(self) -> None:
        """A list that times out is asked for again in time, with what an earlier gateway began still looked for."""
        self.manager.goes_down()
        self.manager.lists["CoreShowChannels"] = ActionTimeout("late")
        self.manager.comes_up()
        self.assertEqual(self.loud(), [])
        self.waiting({}, application="Dial", data="PJSIP/21")
        self.look()
        self.assertEqual(self.queued(), ["NOOP"])

    def test_stopped_while_the_list_is_awaited(self) -> None:
        """A list that comes after we stopped adopts nothing."""
        asked: Deferred[list[AMIMessage]] = Deferred()
        self.waiting({})
        items = self.manager.lists["CoreShowChannels"]
        assert isinstance(items, list)
        self.manager.action_list = lambda *_: asked  # type: ignore[method-assign]
        self.look()
        self.magi.stopService()
        asked.callback(items)
        self.assertEqual((self.queued(), self.magi.open_calls), ([], 0))

    def test_broken_list(self) -> None:
        """A fault while calls are looked for is logged, and ends no call in progress."""
        self.start()
        self.manager.action_list = lambda *_: fail(ZeroDivisionError())  # type: ignore[method-assign]
        self.look()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((self.outcomes, self.magi.open_calls), ([], 1))

    def test_application_runs(self) -> None:
        """If an earlier gateway died while an application runs, the call is given back when that is over."""
        self.manager.goes_down()
        self.waiting({}, application="Dial", data="PJSIP/21")
        self.manager.comes_up()
        self.clock.pump([60] * 60)
        self.assertEqual(self.queued(), ["NOOP"])
        self.manager.sent.append(("AGI", {"Command": "NOOP", "CommandID": "id-1"}))
        self.answers("dialling")
        self.assertEqual(self.queued(), ["ASYNCAGI BREAK"])
        self.assertEqual(self.served, [])

    def test_application_is_not_for_us(self) -> None:
        """A channel in an application outside AsyncAGI is forgotten when it is gone; nothing is logged."""
        self.manager.goes_down()
        self.waiting({}, {"uniqueid": "1795.8"}, application="AppDial", data="(Outgoing Line)")
        self.manager.comes_up()
        self.assertEqual(self.magi.open_calls, 2)
        self.manager.event("Event: Hangup", *snapshot(), "Cause: 16")
        self.manager.event("Event: Hangup", *snapshot("1795.8"), "Cause: 16")
        self.assertEqual(self.magi.open_calls, 0)
        self.assertEqual(self.loud(), [])

    def test_not_waiting(self) -> None:
        """A call in another application or another AGI, and a forged item, are not adopted."""
        for application, data in (
            ("Dial", "PJSIP/21"),
            ("AGI", "agi://host/agi:async"),
            ("AGI", "x,agi:async"),
        ):
            self.waiting({}, application=application, data=data)
            self.look()
        self.waiting({"number": "5\r\nUniqueid: 1.1"})
        self.look()
        self.assertEqual(self.manager.heard("AGI"), [])

    def test_told_while_it_is_asked(self) -> None:
        """The list was ahead of the event (docs/asterisk.md B5): what is being asked is not begun twice."""
        self.waiting({})
        self.look()
        self.start()
        self.answers()
        self.assertEqual(len(self.served), 1)

    def test_hung_up_while_it_is_asked(self) -> None:
        """A call may hang up before it is served."""
        self.waiting({})
        self.look()
        self.manager.lists["CoreShowChannels"] = []
        self.end()
        self.assertEqual(self.told("could not be adopted"), [UNIQUEID])
        self.assertEqual((self.served, self.magi.open_calls), ([], 0))
        self.assertEqual(self.loud(), [])

    def test_not_allowed_to_list(self) -> None:
        """Without the permission to list, calls that announce themselves are still served."""
        self.manager.lists["CoreShowChannels"] = ActionFailed("CoreShowChannels: Permission denied")
        self.manager.goes_down()
        self.manager.comes_up()
        self.look()
        self.look()
        self.start()
        self.assertEqual(len(self.served), 1)
        self.assertEqual(
            [event["error"] for event in self.loud()],
            ["CoreShowChannels: Permission denied; is reporting among the user's write classes?"],
        )

    def test_no_contexts(self) -> None:
        """Without contexts waiting calls are not looked for."""
        manager = FakeAMIConnection()
        magi = MagiService(manager, [], self.serve, self.clock, self.watch)  # type: ignore[arg-type]
        magi.startService()
        manager.comes_up()
        self.clock.advance(100)
        self.assertEqual(manager.sent, [])

    def test_started_late(self) -> None:
        """The service may start when the connection is up, or stop before it comes up."""
        manager = FakeAMIConnection()
        manager.comes_up()
        magi = MagiService(manager, [CONTEXT], self.serve, self.clock, self.watch)  # type: ignore[arg-type]
        self.assertEqual(manager.sent, [])
        magi.startService()
        self.assertEqual([name for name, _ in manager.sent], ["CoreShowChannels"])
        self.successResultOf(magi.stopService())
        manager.goes_down()
        manager.comes_up()
        self.assertEqual(len(manager.sent), 1)


class FakeClaims:
    """The claims of a gateway; the test says what it serves.

    Attributes:
        served: the contexts that it serves as far as it knows.
        is_confirmed: what Asterisk says of them.
    """

    def __init__(self) -> None:
        self.served: set[str] = set()
        self.is_confirmed = True
        self.contexts: list[frozenset[str]] = []
        self.released = 0
        self.tell: Callable[[str, Taken], object] = lambda context, how: None

    def on_taken(self, tell: Callable[[str, Taken], object]) -> None:
        """Keep the listener."""
        self.tell = tell

    def is_served(self, context: str) -> bool:
        """Whether it serves a context."""
        return context in self.served

    async def confirm(self, context: str) -> bool:
        """Whether Asterisk says so, too."""
        return self.is_confirmed and context in self.served

    def set_contexts(self, contexts: frozenset[str]) -> None:
        """Note the contexts."""
        self.contexts.append(contexts)

    async def release(self) -> None:
        """Note that the calls are left to another gateway."""
        self.released += 1

    def take(self, how: Taken, context: str = CONTEXT) -> None:
        """Let the gateway serve a context from now on."""
        self.served.add(context)
        self.tell(context, how)


class TwoGatewaysTests(WaitingTest):
    """One of two gateways on an Asterisk."""

    def setUp(self) -> None:
        """Serve no context yet."""
        super().setUp()
        self.manager, self.claims = FakeAMIConnection(), FakeClaims()
        manager: Any = self.manager
        claims: Any = self.claims
        self.magi = MagiService(manager, [CONTEXT], self.serve, self.clock, self.watch, claims=claims)
        self.magi.startService()
        self.manager.comes_up()

    def test_stands_by(self) -> None:
        """While another gateway serves the calls nothing is sent for them, whether they begin or wait."""
        self.start()
        self.waiting({})
        self.look()
        self.clock.advance(10 * LOOK_AGAIN_S)
        self.manager.event("Event: MAGIExec", *snapshot(), "Env: x")
        self.assertEqual((self.manager.sent, self.served, self.magi.open_calls), ([], [], 0))

    def test_serves(self) -> None:
        """A context that it has taken is served; another is not."""
        self.claims.take(Taken.WAS_FREE, "another")
        self.start()
        self.assertEqual(self.served, [])
        self.claims.take(Taken.WAS_FREE)
        self.start()
        self.assertEqual(len(self.served), 1)

    def test_taken_from_it(self) -> None:
        """A call is not begun if Asterisk says, when asked, that another gateway serves it by now."""
        self.claims.take(Taken.WAS_FREE)
        self.claims.is_confirmed = False
        self.start()
        self.waiting({"uniqueid": "9.9"})
        self.look()
        self.assertEqual((self.queued(), self.served), ([], []))

    def test_takes_what_waits(self) -> None:
        """Calls that no gateway served are looked for at once; in applications, too, if the claim was free."""
        for how, application, found in (
            (Taken.WAS_FREE, "AGI", 1),
            (Taken.SHARED, "AGI", 1),
            (Taken.AGAIN, "AGI", 1),
            (Taken.WAS_FREE, "Dial", 1),
            (Taken.SHARED, "Dial", 0),
            (Taken.AGAIN, "Dial", 0),
        ):
            self.setUp()
            self.waiting({}, application=application)
            self.claims.take(how)
            self.assertEqual(self.magi.open_calls, found, (how, application))
            self.assertEqual(self.queued(), ["NOOP"] * found)

    def test_calls_of_a_silent_gateway(self) -> None:
        """What a gateway that may come back has begun is left to it for MAY_COME_BACK_S; what it has not is served."""
        for mark, later in (("routing", True), ("dialling", True), ("asked", False)):
            self.setUp()
            self.waiting({})
            self.claims.take(Taken.SHARED)
            if later:
                for _ in range(round(MAY_COME_BACK_S / LOOK_AGAIN_S)):
                    self.answer("200 result=0", "NOOP")
                    self.answer(f"200 result=1 ({mark})", "GET VARIABLE PBXROUTER")
                    self.assertEqual((self.served, self.magi.open_calls, self.queued()), ([], 0, []), mark)
                    self.look()
            self.answers("asked" if mark == "routing" else mark)
            self.assertEqual(len(self.served), 0 if mark == "dialling" else 1, mark)
            self.magi.stopService()

    def test_calls_of_a_gateway_that_stops(self) -> None:
        """A call to which another gateway has sent a command is left to it; when that has ended it is as any other."""
        self.waiting({}, {"uniqueid": "9.9"})
        self.manager.event("Event: AsyncAGIExec", *snapshot("9.9"), "Result: 200%20result%3D0%0A", "CommandId: x")
        self.claims.take(Taken.SHARED)
        self.assertEqual([headers["Channel"] for headers in self.manager.heard("AGI")], [UNIQUEID])
        self.manager.event("Event: AsyncAGIEnd", *snapshot("9.9"))
        self.look()
        self.assertEqual([headers["Channel"] for headers in self.manager.heard("AGI")], ["9.9"])

    def test_second_turn(self) -> None:
        """A call that its dialplan asks about again is served, though a command of the first gateway was heard."""
        for data, served in (
            ("agi:async,bounded=180,again=0123456789ab-1", True),
            ("agi:async,bounded=180,call", False),
        ):
            self.setUp()
            self.waiting({}, data=data)
            self.manager.event("Event: AsyncAGIExec", *snapshot(), "Result: 200%20result%3D0%0A", "CommandId: x")
            self.claims.take(Taken.SHARED)
            self.assertEqual(bool(self.manager.heard("AGI")), served, data)

    def test_remembers_so_many(self) -> None:
        """Of another gateway's calls the last MAX_THEIRS are remembered."""
        for number in range(MAX_THEIRS + 1):
            self.manager.event("Event: AsyncAGIExec", f"Uniqueid: {number}", "CommandId: x")
        self.waiting({"uniqueid": "0"}, {"uniqueid": "1"})
        self.claims.take(Taken.SHARED)
        self.assertEqual([headers["Channel"] for headers in self.manager.heard("AGI")], ["0"])

    def test_taken_when_stopped(self) -> None:
        """Calls that come to a gateway which takes no more are not looked for."""
        self.magi.refuse_new()
        self.claims.take(Taken.WAS_FREE)
        self.assertEqual(self.manager.sent, [])

    def test_leaves(self) -> None:
        """It leaves the calls to another gateway once it takes no more; other contexts are claimed."""
        self.magi.set_contexts(["another"])
        self.assertEqual((self.claims.contexts, self.claims.released), ([frozenset({"another"})], 0))
        self.magi.refuse_new()
        self.assertEqual(self.claims.released, 1)


class LossTests(MagiServiceTest):
    """Losing the connection, and stopping."""

    def test_connection_lost(self) -> None:
        """A lost connection ends every conversation as closed; nothing more is sent."""
        self.start()
        self.start(uniqueid="1795.8")
        self.manager.goes_down()
        self.assertEqual(self.outcomes, [ConnectionClosed, ConnectionClosed])
        self.assertEqual(self.magi.open_calls, 0)
        self.assertEqual(self.loud(), [])
        self.clock.advance(100)

    def test_lost_while_looking(self) -> None:
        """If the connection is lost during a look, the next connection is asked again."""
        self.manager.lists["CoreShowChannels"] = None
        self.clock.advance(LOOK_AGAIN_S)
        self.manager.goes_down()
        self.manager.lists["CoreShowChannels"] = []
        self.manager.sent.clear()
        self.manager.comes_up()
        self.assertIn("CoreShowChannels", [name for name, _ in self.manager.sent])

    def test_stopped(self) -> None:
        """Stopping gives every call back once; no new call is begun."""
        self.start()
        self.queued()
        self.successResultOf(self.magi.stopService())
        self.assertEqual(self.outcomes, [GatewayStopping])
        self.assertEqual(self.queued(), ["ASYNCAGI BREAK"])
        self.assertEqual(self.magi.open_calls, 0)
        self.manager.sent.clear()
        self.start(uniqueid="1795.8")
        name = SimulatedCall("21", caller="33").channel
        self.manager.event("Event: MAGIExec", f"Channel: {name}", f"Result: {quote(block())}")
        self.clock.advance(10 * LOOK_AGAIN_S)
        self.assertEqual((len(self.served), self.manager.sent), (1, []))

    def test_other_contexts(self) -> None:
        """Other contexts count for the next calls; without any, waiting calls are not looked for."""
        self.start()
        self.magi.set_contexts(["elsewhere"])
        self.start(uniqueid="1795.8")
        self.assertEqual(len(self.served), 1)
        self.magi.set_contexts([])
        self.manager.sent.clear()
        self.clock.advance(10 * LOOK_AGAIN_S)
        self.assertEqual(self.manager.sent, [])
        self.magi.set_contexts([CONTEXT])
        self.assertIn("CoreShowChannels", [name for name, _ in self.manager.sent])
        self.start(uniqueid="1795.9")
        self.assertEqual(len(self.served), 2)

    def test_contexts_without_a_connection(self) -> None:
        """Contexts that are set while AMI is away count when it is back."""
        self.magi.set_contexts([])
        self.manager.goes_down()
        self.manager.sent.clear()
        self.magi.set_contexts([CONTEXT])
        self.clock.advance(10 * LOOK_AGAIN_S)
        self.assertEqual(self.manager.sent, [])
        self.manager.comes_up()
        self.assertIn("CoreShowChannels", [name for name, _ in self.manager.sent])
        self.start()
        self.assertEqual(len(self.served), 1)

    def test_lost_while_an_end_is_checked(self) -> None:
        """If the connection is lost while an end is checked, the call is lost with it; nothing is logged above info."""
        self.start()
        asked: Deferred[list[AMIMessage]] = Deferred()
        self.manager.action_list = lambda *_: asked  # type: ignore[method-assign]
        self.forged_end()
        asked.errback(ManagerUnavailable("the connection to Asterisk was lost"))
        self.assertEqual((self.outcomes, self.magi.open_calls), ([], 1))
        self.manager.goes_down()
        self.assertEqual((self.outcomes, self.magi.open_calls), ([ConnectionClosed], 0))
        self.assertEqual((self.loud(), self.flushLoggedErrors()), ([], []))

    def test_time_limit_while_a_prompt_plays(self) -> None:
        """While the caller's keys are waited for the call's time limit is renewed by an action of its own."""

        async def asks(channel: Channel) -> None:
            await channel.execute("GET DATA agent-pass 5000 20")

        self.conversation = asks
        self.start(block(arguments=("bounded=180",)))
        self.assertEqual(self.manager.heard("AbsoluteTimeout"), [])
        self.clock.pump([RENEW_S] * 2)
        self.assertEqual(self.manager.heard("AbsoluteTimeout"), [{"Channel": UNIQUEID, "Timeout": "3"}] * 2)

    def test_whose_call(self) -> None:
        """A call whose time limit is the gateway's is told by which gateway it is served; another is not."""
        manager: Any = self.manager
        magi = MagiService(manager, ["c"], self.serve, self.clock, self.watch, gateway="1a2b3c4d")
        magi.startService()
        for uniqueid, arguments, told in (
            ("1.1", ("bounded=180",), ["SET VARIABLE PBXROUTER_ID 1a2b3c4d"]),
            ("1.2", (), []),
        ):
            env = block(uniqueid, "c", arguments)
            self.start(env, uniqueid=uniqueid, context="c")
            self.assertEqual([line for line in self.queued() if "PBXROUTER_ID" in line], told)
        self.successResultOf(magi.stopService())

    def test_key(self) -> None:
        """A call whose dialplan asks for its key is told it, and has it for the journal; another is told none."""
        manager: Any = self.manager
        served: list[Channel] = []

        async def serve(channel: Channel) -> None:
            served.append(channel)

        magi = MagiService(manager, ["c"], serve, self.clock, self.watch, new_key=lambda: "0123456789abcdef-7")
        magi.startService()
        for uniqueid, arguments, told in (
            ("1.1", ("bounded=180", "call"), ["SET VARIABLE PBXROUTER_CALL 0123456789abcdef-7"]),
            ("1.2", ("bounded=180",), []),
            ("1.3", ("bounded=180", "again=0123456789abcdef-9"), []),
        ):
            self.start(block(uniqueid, "c", arguments), uniqueid=uniqueid, context="c")
            self.assertEqual([line for line in self.queued() if "PBXROUTER_CALL" in line], told)
        keys = [channel.request.call_key for channel in served]
        self.assertEqual(keys, ["0123456789abcdef-7", "", "0123456789abcdef-9"])
        self.successResultOf(magi.stopService())

    def test_stopped_in_a_prompt(self) -> None:
        """A call in a prompt with a time limit goes on by that: a queued command would run in another turn."""

        async def asks(channel: Channel) -> None:
            with contextlib.suppress(GatewayStopping):
                await channel.execute("GET DATA agent-pass 5000 20")

        self.conversation = asks
        self.start(block(arguments=("bounded=180",)))
        self.queued()
        self.magi.stopService()
        self.assertEqual(self.manager.heard("AbsoluteTimeout"), [{"Channel": UNIQUEID, "Timeout": "1"}])
        self.assertEqual(self.queued(), [])

    def test_no_new_calls(self) -> None:
        """Before a stop no new call is taken, whichever way it comes; those in progress go on."""
        self.start()
        self.queued()
        self.magi.refuse_new()
        self.manager.sent.clear()
        self.start(uniqueid="1795.8")
        name = SimulatedCall("21", caller="33").channel
        self.manager.event("Event: MAGIExec", f"Channel: {name}", f"Result: {quote(block())}")
        self.manager.goes_down()
        self.manager.comes_up()
        self.clock.advance(10 * LOOK_AGAIN_S)
        self.assertEqual((len(self.served), self.manager.sent), (1, []))

    def test_stopped_in_an_application(self) -> None:
        """A conversation is told whether an application ran, which Asterisk goes on with."""
        errors: list[GatewayStopping] = []

        async def conversation(channel: Channel) -> None:
            try:
                await channel.execute(commands.pop())
            except GatewayStopping as error:
                errors.append(error)

        commands = ["EXEC Dial PJSIP/21", "GET DATA beep"]
        self.conversation = conversation
        for uniqueid in (UNIQUEID, "1795.8"):
            self.start(uniqueid=uniqueid)
        self.successResultOf(self.magi.stopService())
        self.assertEqual([error.in_application for error in errors], [False, True])

    def test_stopped_with_calls_that_are_over(self) -> None:
        """Calls that cannot be given back do not keep the service from stopping."""
        for uniqueid in (UNIQUEID, "1795.8"):
            self.start(uniqueid=uniqueid)
        self.queued()
        self.manager.answers["AGI"] = ActionFailed("AGI: Channel 1795.7 does not exist.")
        self.successResultOf(self.magi.stopService())
        self.assertEqual(self.queued(), ["ASYNCAGI BREAK"] * 2)
        gc.collect()
        self.assertEqual((self.outcomes, self.flushLoggedErrors()), ([GatewayStopping] * 2, []))

    def test_stopped_with_a_conversation_that_goes_on(self) -> None:
        """A call that has ended already is not given back, though its conversation still has something to do."""
        busy: Deferred[None] = Deferred()

        async def conversation(channel: Channel) -> None:
            try:
                await channel.execute("ANSWER")
            except ChannelHungUp:
                await busy

        self.conversation = conversation
        self.start()
        self.answer("511 Command Not Permitted on a dead channel or intercept routine", "ANSWER")
        self.successResultOf(self.magi.stopService())
        self.assertEqual(self.queued(), [])
        busy.callback(None)

    def test_why_a_conversation_ends(self) -> None:
        """A conversation is told whether the gateway stops or the connection was lost."""
        for end, why in (
            (lambda: self.magi.stopService(), "the gateway stops"),
            (lambda: self.manager.goes_down(), "the connection to AMI was lost"),
        ):
            self.setUp()
            reasons: list[str] = []

            async def waits(channel: Channel, reasons: list[str] = reasons) -> None:
                try:
                    await channel.execute("ANSWER")
                except AGIError as error:
                    reasons.append(str(error))

            self.conversation = waits
            self.start()
            end()
            self.assertEqual(reasons, [why])

    def test_stopped_while_asterisk_is_slow(self) -> None:
        """Stopping waits for Asterisk to have taken what gives the calls back."""
        self.start()
        self.manager.answers["AGI"] = None
        stopped: Deferred[Any] = self.magi.stopService()
        self.assertNoResult(stopped)
        self.manager.goes_down()
        self.successResultOf(stopped)


class HistoricalTests(MagiServiceTest):
    """The MAGIExec event of the workshop's patch."""

    def test_served(self) -> None:
        """``Channel`` and the ``agi_*`` block in ``Result`` begin the same conversation."""
        name = SimulatedCall("21", caller="33").channel
        self.manager.event("Event: MAGIExec", f"Channel: {name}", f"Result: {quote(block())}")
        (channel,) = self.served
        self.assertEqual((channel.request.caller, channel.request.extension), ("33", "21"))
        (command,) = self.manager.heard("AGI")
        self.assertEqual((command["Channel"], command["Command"]), (name, "ANSWER"))
        self.manager.event(
            "Event: MAGIExec",
            f"Channel: {name}",
            "Result: 200 result=0",
            f"CommandID: {command['CommandID']}",
        )
        self.assertEqual(self.outcomes, ["0"])

    def test_not_ours_or_forged(self) -> None:
        """Another context, an incomplete block, and the same call again are ignored."""
        name = SimulatedCall("21", caller="33").channel
        self.manager.event("Event: MAGIExec", f"Channel: {name}", f"Result: {quote(block(context='x'))}")
        self.manager.event("Event: MAGIExec", f"Channel: {name}", "Result: agi_callerid: 33")
        self.assertEqual(self.served, [])
        self.assertEqual([event["channel"] for event in self.loud()], [name])
        for _ in range(2):
            self.manager.event("Event: MAGIExec", f"Channel: {name}", f"Result: {quote(block())}")
        self.assertEqual(len(self.served), 1)
        self.assertEqual(self.queued(), ["ANSWER"])

    def test_ended(self) -> None:
        """The end of such a call is found by its channel's name."""
        name = SimulatedCall("21", caller="33").channel
        self.manager.event("Event: MAGIExec", f"Channel: {name}", f"Result: {quote(block())}")
        headers = [f"Channel: {name}" if line.startswith("Channel:") else line for line in snapshot("5.5")]
        self.manager.event("Event: Hangup", *headers)
        self.assertEqual((self.outcomes, self.magi.open_calls), ([ChannelHungUp], 0))
        self.assertEqual([headers["Channel"] for headers in self.manager.heard("Status")], [name])
