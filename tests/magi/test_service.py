"""MAGI's calls: which are ours, those found waiting, forged ones, and giving them back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import verbs
from pbxrouter.agi.channel import Channel
from pbxrouter.agi.dialogue_watch import DialogueWatch
from pbxrouter.agi.messages import AGIRequest
from pbxrouter.ami.channel_check import ASK_AGAIN_S
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.errors import ActionFailed, AGIError, ChannelHungUp, ConnectionClosed, ProtocolViolation
from pbxrouter.magi.service import LOOK_AGAIN_S, RELEASED_S, MagiService
from pbxrouter.simulator import SimulatedCall
from tests.ami_fakes import FakeAMIConnection, lines

UNIQUEID = "1795.7"
CONTEXT = "pbxrouter-magi"


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
    """The service on a manager in memory; ``serve`` is each test's."""

    def setUp(self) -> None:
        """Up and running, with nothing waiting."""
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
        """A call was refused: channel, Uniqueid, peer."""
        self.refusals.append((request.channel, request.uniqueid, violation.peer))

    async def serve(self, channel: Channel) -> None:
        """A conversation: asks one thing, and remembers how it went."""
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
        """AsyncAGIEnd."""
        self.manager.event("Event: AsyncAGIEnd", *snapshot(uniqueid))

    def answer(self, reply: str, expected: str = "", uniqueid: str = UNIQUEID) -> None:
        """AsyncAGIExec for the last command."""
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
        """The commands sent since the last look."""
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
        """Log lines above info."""
        return [event for event in self.events if event["log_level"] >= LogLevel.warn]


class StartTests(MagiServiceTest):
    """Calls that tell of themselves."""

    def test_served_and_released(self) -> None:
        """The conversation runs on the call; then the dialplan goes on, and the call is forgotten."""
        self.start()
        (channel,) = self.served
        self.assertEqual((channel.request.caller, channel.request.extension), ("33", "21"))
        self.answer("200 result=0", "ANSWER")
        self.assertEqual(self.outcomes, ["0"])
        self.answer("200 result=0", "ASYNCAGI BREAK")
        self.assertEqual(self.magi.open_calls, 1)
        self.end()
        self.assertEqual(self.magi.open_calls, 0)
        self.assertEqual(self.loud(), [])

    def test_watched(self) -> None:
        """Who watches dialogues sees how it opens."""
        seen: list[str] = []
        self.watch.add(lambda line: seen.append(line.text))
        self.start()
        self.assertIn("agi_extension: 21", seen)

    def test_other_contexts(self) -> None:
        """A call of another controller is never touched; nor one that says it is ours and opens otherwise."""
        self.start(context="other")
        self.assertEqual((self.served, self.manager.sent), ([], []))
        self.start(block(context="other"))
        self.assertEqual(self.served, [])

    def test_two_calls(self) -> None:
        """Answers and ends find their calls."""
        self.start()
        self.start(uniqueid="1795.8")
        self.end("1795.8")
        self.assertEqual(self.outcomes, [ChannelHungUp])
        self.assertEqual(self.magi.open_calls, 1)

    def test_hang_up(self) -> None:
        """The caller goes: the conversation ends so, and nothing more is sent."""
        self.start()
        self.queued()
        self.end()
        self.assertEqual(self.outcomes, [ChannelHungUp])
        self.assertEqual(self.queued(), [])
        self.assertEqual(self.magi.open_calls, 0)
        self.assertEqual(self.loud(), [])

    def test_broken_conversation(self) -> None:
        """One that breaks is told to the log, and the call is given back."""

        async def breaks(_: Channel) -> None:
            raise ZeroDivisionError

        self.conversation = breaks
        self.start()
        self.assertEqual(self.queued(), ["ASYNCAGI BREAK"])
        self.end()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_second_run_on_the_channel(self) -> None:
        """The dialplan runs AGI() again and the end of the first was not heard: the second run counts."""
        self.start()
        self.start()
        self.assertEqual(self.outcomes, [ChannelHungUp])
        self.assertEqual(len(self.served), 2)
        self.answer("200 result=0", "ANSWER")
        self.assertEqual(self.outcomes, [ChannelHungUp, "0"])

    def test_end_not_told(self) -> None:
        """A call given back whose end is never told is forgotten in time."""
        self.start()
        self.answer("200 result=0", "ANSWER")
        self.answer("200 result=0", "ASYNCAGI BREAK")
        self.manager.lists["CoreShowChannels"] = []
        self.clock.advance(RELEASED_S)
        self.assertEqual(self.magi.open_calls, 0)

    def test_dial(self) -> None:
        """How the Dial went is known from its event when the caller hangs up in it."""
        results: list[verbs.DialResult] = []

        async def dials(channel: Channel) -> None:
            results.append(await verbs.dial(channel, "PJSIP/21", 20))

        self.conversation = dials
        self.start()
        self.manager.event("Event: DialEnd", f"Uniqueid: {UNIQUEID}", "DestUniqueid: 9", "DialStatus: ANSWER")
        self.manager.event("Event: DialEnd", "Uniqueid: 5", "DestUniqueid: 9", "DialStatus: BUSY")
        self.answer("200 result=-1")
        self.end()
        self.assertEqual([result.status for result in results], ["ANSWER"])


class ForgedTests(MagiServiceTest):
    """What a caller's bytes can do: nothing."""

    def test_tampered_event(self) -> None:
        """A context, an id or a block put into the number: the event is not believed."""
        encoded = quote(block())
        for extra in (f"Context: {CONTEXT}", "Uniqueid: 1.1", f"Env: {encoded}"):
            self.manager.event("Event: AsyncAGIStart", extra, *snapshot(), f"Env: {encoded}")
        self.manager.event("Event: AsyncAGIStart", f"Context: {CONTEXT}", *snapshot(context="other"), "Env: x")
        self.assertEqual(self.served, [])

    def test_tampered_block(self) -> None:
        """A line too many in the block: marked, hung up, logged, and not served, nor found again."""
        self.start(block().replace(b"agi_dnid", b"agi_callerid: 22\nagi_dnid"))
        self.assertEqual(self.served, [])
        self.assertEqual(self.queued(), ['SET VARIABLE PBXROUTER "refused"', "HANGUP"])
        self.waiting({})
        self.clock.advance(LOOK_AGAIN_S - 0.1)
        self.assertEqual(self.queued(), [])
        self.assertIn("refused", self.loud()[0]["log_format"])
        self.assertEqual(self.refusals, [("PJSIP/34-0000", UNIQUEID, "AMI lab")])
        self.end()
        self.assertEqual(self.magi.open_calls, 0)

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
        """A forged AsyncAGIEnd of 79 bytes ends no call."""
        self.start()
        self.manager.event("Event: AsyncAGIEnd", "Channel: a", f"Uniqueid: {UNIQUEID}", "Linkedid: 1")
        self.assertEqual(self.outcomes, [])

    def hangup(self) -> None:
        """A Hangup with every header of a genuine one; then the time goes by in which Asterisk is asked."""
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
        self.exists("Dial", "PJSIP/21")  # the dialplan went on
        self.forged_end()
        self.assertEqual(self.outcomes, [ChannelHungUp])

    def test_whole_end_in_a_dial(self) -> None:
        """While the application runs that we asked for, the channel is ours."""
        results: list[verbs.DialResult] = []

        async def dials(channel: Channel) -> None:
            results.append(await verbs.dial(channel, "PJSIP/21", 20))

        self.conversation = dials
        self.start()
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
        self.assertEqual((self.served, self.manager.forged_events, len(self.loud())), ([], 6, 1))
        self.start()
        self.assertEqual(len(self.served), 1)

    def test_broken_start_of_a_call_in_progress(self) -> None:
        """A forged AsyncAGIStart with a block that is none drops no call that is being served."""
        self.start()
        self.start(b"agi_network: yes\n\n")
        self.assertEqual((self.outcomes, self.magi.open_calls), ([], 1))
        self.assertEqual(self.queued(), ["ANSWER"])

    def test_start_when_status_is_not_allowed(self) -> None:
        """Where Asterisk cannot be asked, a start is believed as before, and the log says so once."""
        self.manager.lists["Status"] = ActionFailed("Status: Permission denied")
        self.start()
        self.assertEqual((len(self.served), len(self.loud())), (1, 1))

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
        """The rest stands before the first answer; arguments and all are there."""
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
        """The caller goes before it is whole."""
        self.start(block(arguments=("a" * 900,)))
        self.end()
        self.assertEqual((self.served, self.magi.open_calls), ([], 0))
        self.assertEqual(self.loud(), [])

    def test_lost(self) -> None:
        """What exceeds even that is asked for."""
        self.start(block(arguments=("ñ" * 400,)))
        self.answer("200 result=0", "NOOP")
        self.answer("200 result=0", "GET VARIABLE PBXROUTER")
        self.answer("200 result=1 (33)")
        self.answer("200 result=1 (Treinta y tres)")
        self.answer("200 result=1 ()")
        self.answer("200 result=1 (21)")
        self.answer("200 result=0", "GET VARIABLE PBXROUTER_BOUNDED")
        (channel,) = self.served
        request = channel.request
        self.assertEqual((request.caller, request.dnid, request.extension), ("33", None, "21"))
        self.assertFalse(request.is_bounded)


class WaitingTests(MagiServiceTest):
    """Calls that were there before us."""

    def look(self) -> None:
        """Time passes until waiting calls are looked for."""
        self.clock.advance(LOOK_AGAIN_S)

    def answers(self, mark: str = "") -> None:
        """What is asked of a waiting call, answered."""
        self.answer("200 result=0", "NOOP")
        self.answer(f"200 result=1 ({mark})" if mark else "200 result=0", "GET VARIABLE PBXROUTER")
        for value in ("33", "x", "21", "21"):
            if not mark or mark == "asked":
                self.answer(f"200 result=1 ({value})")
        if not mark or mark == "asked":
            self.answer("200 result=1 (bounded)", "GET VARIABLE PBXROUTER_BOUNDED")

    def test_taken_up(self) -> None:
        """A call that waits in a configured context is queried for its request, and served."""
        self.waiting({}, {"uniqueid": "9.9", "context": "other"})
        self.look()
        self.answers()
        (channel,) = self.served
        request = channel.request
        self.assertEqual((request.caller, request.extension, request.uniqueid), ("33", "21", UNIQUEID))
        self.assertEqual(request.language, "en")
        self.assertTrue(request.is_bounded)
        self.look()
        self.assertEqual(len(self.served), 1)
        self.assertEqual(self.loud(), [])

    def test_at_once_when_we_connect(self) -> None:
        """After a lost connection calls are looked for at once."""
        self.manager.goes_down()
        self.waiting({})
        self.manager.comes_up()
        self.answers()
        self.assertEqual(len(self.served), 1)

    def test_marked(self) -> None:
        """How far an earlier gateway came: asked is routed, an application that ran is not run again."""
        for mark, served in (("asked", 1), ("dialling", 0), ("done", 0), ("failed", 0), ("refused", 0)):
            self.setUp()
            self.waiting({})
            self.look()
            self.answers(mark)
            self.assertEqual(len(self.served), served, mark)
            self.assertEqual(self.queued(), ["ANSWER"] if served else ["ASYNCAGI BREAK"], mark)
            self.magi.stopService()

    def test_application_runs(self) -> None:
        """An earlier gateway died while an application runs: given back when that is over, however long."""
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
        """Such a channel was in no AsyncAGI at all: asked in vain, and forgotten when it is gone."""
        self.manager.goes_down()
        self.waiting({}, {"uniqueid": "1795.8"}, application="AppDial", data="(Outgoing Line)")
        self.manager.comes_up()
        self.assertEqual(self.magi.open_calls, 2)
        self.manager.event("Event: Hangup", *snapshot(), "Cause: 16")
        self.manager.event("Event: Hangup", *snapshot("1795.8"), "Cause: 16")
        self.assertEqual(self.magi.open_calls, 0)
        self.assertEqual(self.loud(), [])

    def test_not_waiting(self) -> None:
        """A call in another application, or in another AGI, or a forged item, is not taken up."""
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
        """It goes before it is served."""
        self.waiting({})
        self.look()
        self.end()
        self.assertEqual((self.served, self.magi.open_calls), ([], 0))
        self.assertEqual(self.loud(), [])

    def test_not_allowed_to_list(self) -> None:
        """Without reporting nothing is found, and calls that tell of themselves are served all the same."""
        self.manager.lists["CoreShowChannels"] = ActionFailed("CoreShowChannels: Permission denied")
        self.manager.goes_down()
        self.manager.comes_up()
        self.look()
        self.look()
        self.start()
        self.assertEqual(len(self.served), 1)
        self.assertEqual(len(self.loud()), 1)

    def test_no_contexts(self) -> None:
        """Where no context is ours nothing is looked for."""
        manager = FakeAMIConnection()
        magi = MagiService(manager, [], self.serve, self.clock, self.watch)  # type: ignore[arg-type]
        magi.startService()
        manager.comes_up()
        self.clock.advance(100)
        self.assertEqual(manager.sent, [])

    def test_started_late(self) -> None:
        """Started when the connection is up already, or stopped before it comes up."""
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


class LossTests(MagiServiceTest):
    """The connection, and the end of the gateway."""

    def test_connection_lost(self) -> None:
        """Every conversation ends as one whose connection closed; nothing is sent into the void."""
        self.start()
        self.start(uniqueid="1795.8")
        self.manager.goes_down()
        self.assertEqual(self.outcomes, [ConnectionClosed, ConnectionClosed])
        self.assertEqual(self.magi.open_calls, 0)
        self.assertEqual(self.loud(), [])
        self.clock.advance(100)

    def test_lost_while_looking(self) -> None:
        """The connection goes while the list is awaited; the next one is asked again."""
        self.manager.lists["CoreShowChannels"] = None
        self.clock.advance(LOOK_AGAIN_S)
        self.manager.goes_down()
        self.manager.lists["CoreShowChannels"] = []
        self.manager.sent.clear()
        self.manager.comes_up()
        self.assertIn("CoreShowChannels", [name for name, _ in self.manager.sent])

    def test_stopped(self) -> None:
        """When we stop every call is given back, once; a new one is not begun."""
        self.start()
        self.queued()
        self.successResultOf(self.magi.stopService())
        self.assertEqual(self.outcomes, [ConnectionClosed])
        self.assertEqual(self.queued(), ["ASYNCAGI BREAK"])
        self.start(uniqueid="1795.8")
        self.assertEqual(len(self.served), 1)

    def test_stopped_while_asterisk_is_slow(self) -> None:
        """Stopping waits for Asterisk to have taken what gives the calls back."""
        self.start()
        self.manager.answers["AGI"] = None
        stopped: Deferred[Any] = self.magi.stopService()
        self.assertNoResult(stopped)
        self.manager.goes_down()
        self.successResultOf(stopped)


class HistoricalTests(MagiServiceTest):
    """The workshop's own event."""

    def test_served(self) -> None:
        """``Channel`` and the ``agi_*`` block in ``Result``: the same conversation."""
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
        """Another context; a block that is not all there; the same call again."""
        name = SimulatedCall("21", caller="33").channel
        self.manager.event("Event: MAGIExec", f"Channel: {name}", f"Result: {quote(block(context='x'))}")
        self.manager.event("Event: MAGIExec", f"Channel: {name}", "Result: agi_callerid: 33")
        self.assertEqual(self.served, [])
        for _ in range(2):
            self.manager.event("Event: MAGIExec", f"Channel: {name}", f"Result: {quote(block())}")
        self.assertEqual(len(self.served), 1)
