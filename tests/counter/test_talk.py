"""Finished calls are completed by what AMI tells of their channels."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.call import CallRecord
from pbxrouter.call.history_writer import row_of
from pbxrouter.counter.call_table import ChannelTalk, HungUpBy
from pbxrouter.counter.talk import (
    HOLD_S,
    SETTLE_S,
    TICK_S,
    TalkOfCalls,
)
from pbxrouter.database.calls import CallRow
from pbxrouter.drivers import Outcome
from pbxrouter.simulator import SimulatedCall
from tests.fakes import request_of

REQUEST = request_of(SimulatedCall("21", caller="33"))
PLACE = (REQUEST.variables["context"], "21")


class FakeCounter:
    """A counter that knows what the test gives."""

    def __init__(self, asterisk: str = "lab") -> None:
        self.asterisk = asterisk
        self.follows_talk = self.sees_talk = self.sees_who_hangs_up = True
        self.talks: dict[str, ChannelTalk] = {}

    def talk_of(self, uniqueid: str) -> ChannelTalk | None:
        """The talk that the test has given."""
        return self.talks.get(uniqueid)


class FakeHistory:
    """A history that keeps rows in lists."""

    def __init__(self) -> None:
        self.kept: list[CallRow] = []
        self.dropped = 0
        self.added: list[CallRow] = []
        self.completed: list[CallRow] = []
        self.earlier: list[CallRow] = []

    def keep(self, record: CallRecord) -> CallRow:
        """Note that the journal has it."""
        self.kept.append(row_of(record))
        return self.kept[-1]

    def drop(self, record: CallRecord) -> None:
        """Note that it is forgotten."""
        self.dropped += 1

    def add(self, row: CallRow) -> None:
        """Note the row."""
        self.added.append(row)

    def complete(self, row: CallRow) -> None:
        """Note the completed row."""
        self.completed.append(row)

    async def left(self) -> list[CallRow]:
        """The rows that the test has given."""
        return self.earlier


class TalkTests(SynchronousTestCase):
    """TalkOfCalls with one counter."""

    def setUp(self) -> None:
        """No call."""
        self.clock = Clock()
        self.counter, self.history = FakeCounter(), FakeHistory()
        self.calls = TalkOfCalls(self.clock, self.history)
        self.calls.counters = [self.counter]

    def wait(self, seconds: float) -> None:
        """Let the time go by, in ticks."""
        self.clock.pump([TICK_S] * round(seconds / TICK_S))

    def report(self, outcome: str, answered_s: int | None = None, talks_before: int = 0) -> None:
        """Report a finished call."""
        record = CallRecord(REQUEST, None, Outcome(outcome, answered_s=answered_s), 100.0, 110.0, key="k")
        self.calls.report(replace(record, talks_before=talks_before))

    def talk(self, *talks: tuple[float, float], ended: float | None = 110.0, **values: object) -> ChannelTalk:
        """The channel's talk, of which the counter knows from now on."""
        talk = ChannelTalk("PJSIP/33-1", list(talks), ended=ended, place=PLACE)
        for name, value in values.items():
            setattr(talk, name, value)
        self.counter.talks[REQUEST.uniqueid] = talk
        return talk

    def written(self) -> list[tuple[str, int | None]]:
        """Outcome and talk of the rows that were queued, and of the completed ones."""
        return [(row.outcome, row.answered_s) for row in (*self.history.added, *self.history.completed)]

    def test_known_at_once(self) -> None:
        """The end of the channel is known: the row has the talk of the bridge, and no other."""
        self.talk((101.5, 104.4))
        self.report("ANSWER", 9)
        self.assertEqual((self.written(), self.history.completed), ([("ANSWER", 2)], []))
        self.assertEqual((self.calls.watched, self.clock.getDelayedCalls()), (0, []))

    def test_events_come_later(self) -> None:
        """A row waits for the events of its end, in the journal."""
        talk = self.talk(ended=None)
        talk.begin(101.0)
        self.report("ANSWER")
        self.wait(SETTLE_S)
        self.assertEqual((len(self.history.kept), self.written()), (1, []))
        talk.end(104.0)
        talk.ended = 104.1
        self.wait(TICK_S)
        self.assertEqual(self.written(), [("ANSWER", 3)])

    def test_not_in_sync(self) -> None:
        """What is known of a channel is not believed while the counter does not follow Asterisk's talk."""
        self.counter.follows_talk = False
        self.talk((101.0, 104.0))
        self.report("ANSWER")
        self.wait(HOLD_S - TICK_S)
        self.assertEqual(self.written(), [])
        self.counter.follows_talk = True
        self.wait(TICK_S)
        self.assertEqual(self.written(), [("ANSWER", 3)])

    def test_goes_on_in_the_dialplan(self) -> None:
        """A channel that goes on after the call is waited for a second, until its last events have come."""
        self.talk((101.0, 104.0), ended=None)
        self.report("ANSWER")
        self.wait(0.75)
        self.assertEqual(self.written(), [])
        self.wait(0.25)
        self.assertEqual(self.written(), [("ANSWER", 3)])

    def test_talks_before_the_call(self) -> None:
        """A transferred caller's earlier talk is not this call's."""
        self.talk((90.0, 99.0), (101.0, 103.0), (104.0, 105.0))
        self.report("ANSWER", talks_before=1)
        self.assertEqual(self.written(), [("ANSWER", 3)])

    def test_talks_after_the_call(self) -> None:
        """What a transferred caller talks next belongs to the next call, also if it began before the first was over."""
        self.talk((101.0, 103.0), (109.9, 113.0), ended=None)
        self.report("ANSWER")
        self.assertEqual(self.calls.talks_so_far(REQUEST.uniqueid), 2)
        talk = self.talk((101.0, 103.0), (109.9, 113.0), ended=None)
        talk.begin(114.0)
        self.wait(TICK_S)
        self.assertEqual(self.written(), [("ANSWER", 5)])
        self.talk((101.0, 103.0), (110.2, 113.0))
        self.report("ANSWER")
        self.assertEqual(self.written()[1:], [("ANSWER", 4)])  # Asterisk's clock is a bit ahead
        talk = self.talk((101.0, 103.0), ended=None)
        self.report("ANSWER")
        talk.begin(110.3)
        self.wait(TICK_S)
        self.assertEqual(self.written()[2:], [("ANSWER", 2)])

    def test_next_call_of_a_channel_that_was_left(self) -> None:
        """A call that was left to Asterisk ends where the gateway gets the channel's next call."""
        talk = self.talk(ended=None)
        talk.begin(101.0)
        self.report("LEFT")
        self.wait(HOLD_S)
        talk.end(120.0)
        self.assertEqual(self.calls.talks_so_far(REQUEST.uniqueid), 1)
        talk.begin(130.0)
        self.wait(TICK_S)
        self.assertEqual(self.written(), [("LEFT", None), ("LEFT", 19)])

    def test_nobody_to_talk_to(self) -> None:
        """Who hung up before a person came, as in a queue behind a Local channel; or was served, as by a prompt."""
        self.talk(hung_up_by=HungUpBy.FAR_END)
        self.report("ANSWER")
        self.report("DONE")
        self.talk(hung_up_by=HungUpBy.PBX)
        self.report("ANSWER")
        self.talk(person_answered=105.0)  # and hung up before both were in the bridge
        self.report("ANSWER")
        self.report("DONE")
        self.talk(person_answered=95.0)  # an earlier call of the channel
        self.report("ANSWER")
        self.assertEqual(
            self.written(), [("HANGUP", 0), ("DONE", 0), ("DONE", 0), ("ANSWER", 0), ("DONE", 0), ("DONE", 0)]
        )

    def test_nobody_talked(self) -> None:
        """By Dial's word answered, and by a prompt; or in a conference with others: the talk decides."""
        self.talk()
        self.report("ANSWER", 5)
        self.talk((101.0, 103.5))
        self.report("DONE")
        self.report("HANGUP")
        self.report("KICKED")
        self.assertEqual(self.written(), [("DONE", 0), ("ANSWER", 2), ("ANSWER", 2), ("KICKED", 2)])

    def test_unknown_is_not_zero(self) -> None:
        """What was not seen is not known, whatever the table has."""
        self.talk((101.0, 103.5), certain=False)
        self.report("ANSWER")
        self.assertEqual(self.written(), [("ANSWER", None)])

    def test_without_ami(self) -> None:
        """Without a counter that knows the channel, the row has what Asterisk's variables told."""
        self.report("ANSWER", 9)
        self.wait(SETTLE_S)
        self.assertEqual(self.written(), [("ANSWER", 9)])
        self.talk((101.0, 103.5))
        self.counter.sees_talk = False
        self.report("ANSWER", 8)
        self.wait(SETTLE_S)
        self.calls.counters = []
        self.report("BUSY", 0)
        self.assertEqual(self.written(), [("ANSWER", 9), ("ANSWER", 8), ("BUSY", 0)])

    def test_who_hung_up(self) -> None:
        """A caller hung up only if the far end asked for it."""
        for outcome in ("HANGUP", "CANCEL"):
            self.talk(hung_up_by=HungUpBy.FAR_END)
            self.report(outcome)
            self.talk(hung_up_by=HungUpBy.PBX)
            self.report(outcome)
            self.talk(hung_up_by=HungUpBy.FAR_END, place=("elsewhere", "1"))
            self.report(outcome)
            self.talk(hung_up_by=HungUpBy.FAR_END, place=("elsewhere", "h"))
            self.report(outcome)
            self.assertEqual([row[0] for row in self.written()], [outcome, "CUT", "MOVED", outcome])
            self.history.added.clear()
        self.talk(hung_up_by=HungUpBy.PBX)
        self.report("BUSY")
        self.assertEqual(self.written(), [("BUSY", 0)])

    def test_dial_answered_and_nobody_was_connected(self) -> None:
        """The caller hangs up while the called party hears an announcement; or the called leg has gone to another."""
        for values, outcome in (
            ({"hung_up_by": HungUpBy.FAR_END}, "CANCEL"),
            ({"hung_up_by": HungUpBy.PBX}, "ANSWER"),
            ({"hung_up_by": HungUpBy.PBX, "handed_over": True}, "MOVED"),
            ({"hung_up_by": HungUpBy.FAR_END, "person_answered": 105.0}, "ANSWER"),
        ):
            self.talk(connected=False, **values)
            self.report("ANSWER")
            self.assertEqual(self.written()[-1], (outcome, 0), values)

    def test_asterisk_does_not_say_who_hangs_up(self) -> None:
        """Where the events are withheld that tell who hangs up, a caller who gave up has not been cut."""
        self.counter.sees_who_hangs_up = False
        for outcome in ("CANCEL", "HANGUP", "BUSY"):
            self.talk(hung_up_by=HungUpBy.PBX)
            self.report(outcome)
            self.wait(HOLD_S)
            self.assertEqual(self.written()[-1], (outcome, 0))

    def test_the_first_call_is_cut(self) -> None:
        """Whether Asterisk says who hangs up may show by another call, for which a call that seems cut waits."""
        self.counter.sees_who_hangs_up = False
        self.talk(hung_up_by=HungUpBy.PBX)
        self.report("CANCEL")
        self.wait(HOLD_S - TICK_S)
        self.assertEqual(self.written(), [])
        self.counter.sees_who_hangs_up = True
        self.wait(TICK_S)
        self.assertEqual(self.written(), [("CUT", 0)])

    def test_changes_of_channels_interrupt_a_talk(self) -> None:
        """A half's conversation that is silent for a moment, while another Local channel is taken out, goes on."""
        talk = self.talk((101.0, 104.0), ended=104.0, heir="b")
        self.report("ANSWER")
        self.wait(SETTLE_S - TICK_S)
        self.assertEqual(self.written(), [])
        talk.talks, talk.since = [], 101.0
        self.wait(TICK_S)
        talk.talks, talk.since = [(101.0, 113.0)], None
        self.wait(SETTLE_S)
        self.assertEqual(self.written(), [])
        self.wait(TICK_S)
        self.assertEqual(self.written(), [("ANSWER", 12)])

    def test_moved_and_alive(self) -> None:
        """A caller who was taken elsewhere is not hung up: the row is completed half a minute later."""
        self.talk(ended=None, place=("", ""))
        self.report("CANCEL")
        self.wait(HOLD_S - TICK_S)
        self.assertEqual(self.written(), [])
        self.wait(TICK_S)
        self.assertEqual(self.written(), [("CANCEL", None)])
        self.wait(30 - HOLD_S - TICK_S)
        self.assertEqual(self.written(), [("CANCEL", None)])
        self.wait(TICK_S)
        self.assertEqual(self.written(), [("CANCEL", None), ("MOVED", 0)])

    def test_completed_when_it_ends(self) -> None:
        """A call that goes on without the gateway is written, and completed at its end; its outcome stays."""
        for outcome in ("LEFT", "LOST"):
            talk = self.talk(ended=None)
            talk.begin(101.0)
            self.report(outcome)
            self.wait(HOLD_S)
            self.assertEqual(self.written(), [(outcome, None)])
            talk.end(161.0)
            self.counter.follows_talk = False
            self.wait(HOLD_S)
            talk.ended = 161.0
            self.counter.follows_talk = True
            self.wait(TICK_S)
            self.assertEqual(self.written(), [(outcome, None), (outcome, 60)])
            self.history.added.clear()
            self.history.completed.clear()

    def test_left_in_silence(self) -> None:
        """A call that was left to Asterisk and in which nobody talks now, as in a queue, is not over."""
        talk = self.talk(ended=None)
        self.report("LEFT")
        self.wait(SETTLE_S + TICK_S)
        self.assertEqual((self.written(), self.calls.watched), ([], 1))
        talk.begin(130.0)
        talk.end(134.0)
        talk.ended = 134.0
        self.wait(TICK_S)
        self.assertEqual((self.written(), self.calls.watched), ([("LEFT", 4)], 0))

    def test_several_calls_of_a_channel(self) -> None:
        """Of two calls that were left on one channel each has its own talk; another channel's calls are apart."""
        talk = self.talk((101.0, 103.0), ended=None)
        self.report("LEFT")
        self.assertEqual(self.calls.talks_so_far(REQUEST.uniqueid), 1)
        talk.talks.append((104.0, 107.0))
        self.report("LEFT", talks_before=1)
        self.assertEqual(self.calls.talks_so_far(REQUEST.uniqueid), 2)
        self.report("LEFT", talks_before=2)
        self.counter.talks["another"] = ChannelTalk("PJSIP/44-1")
        self.assertEqual(self.calls.talks_so_far("another"), 0)
        talk.talks.append((120.0, 125.0))
        talk.ended = 126.0
        self.wait(TICK_S)
        self.assertEqual(self.written(), [("LEFT", 2), ("LEFT", 3), ("LEFT", 5)])

    def test_left_by_an_earlier_run(self) -> None:
        """Calls of an earlier run are taken up after five seconds: the talk since they began counts."""
        record = CallRecord(REQUEST, None, Outcome("LEFT"), 100.0, 110.0)
        self.history.earlier = [row_of(record), replace(row_of(record), uniqueid="gone")]
        talk = self.talk((90.0, 95.0), ended=None)
        talk.begin(102.0)
        self.calls.startService()
        self.wait(4.75)
        self.assertEqual(self.calls.watched, 0)
        self.wait(0.25 + SETTLE_S)
        self.assertEqual((self.written(), self.calls.watched), ([], 1))
        talk.end(120.0)
        talk.ended = 120.0
        self.wait(TICK_S)
        self.assertEqual((self.written(), self.calls.watched), ([("LEFT", 18)], 0))

    def test_not_for_ever(self) -> None:
        """After a day, or when too many wait, no more is learnt; each row is written once."""
        self.talk(ended=None).begin(101.0)
        self.report("LEFT")
        self.wait(HOLD_S)
        self.clock.advance(24 * 3600.0 - 2 * HOLD_S)
        self.wait(HOLD_S - TICK_S)
        self.assertEqual((self.written(), self.calls.watched), ([("LEFT", None)], 1))
        self.wait(TICK_S)
        self.assertEqual((self.written(), self.calls.watched), ([("LEFT", None)], 0))
        for _ in range(5002):
            self.report("LEFT")
        self.assertEqual((len(self.written()), self.calls.watched), (3, 5000))

    def test_stop(self) -> None:
        """At a stop what waits is written, with what is known."""
        self.talk(ended=None).begin(101.0)
        self.report("LEFT")
        self.calls.startService()
        self.calls.stopService()
        self.assertEqual((self.written(), self.calls.watched), ([("LEFT", None)], 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_when_the_end_is_known(self) -> None:
        """A call whose end has come since the last look is written once, with its talk."""
        talk = self.talk(ended=None)
        talk.begin(101.0)
        self.report("ANSWER")
        talk.end(104.0)
        talk.ended = 104.0
        self.calls.stopService()
        self.assertEqual(self.written(), [("ANSWER", 3)])

    def test_no_call(self) -> None:
        """AGI beside a call becomes none in the history."""
        self.report("NOCALL")
        self.assertEqual((self.history.dropped, self.history.kept, self.calls.watched), (1, [], 0))

    def test_talks_so_far(self) -> None:
        """The number of talks, the present one included; None if it is not known."""
        self.assertIsNone(self.calls.talks_so_far(REQUEST.uniqueid))
        talk = self.talk((90.0, 95.0), ended=None)
        self.assertEqual(self.calls.talks_so_far(REQUEST.uniqueid), 1)
        talk.begin(101.0)
        self.assertEqual(self.calls.talks_so_far(REQUEST.uniqueid), 2)
        self.counter.follows_talk = False
        self.assertIsNone(self.calls.talks_so_far(REQUEST.uniqueid))


class TwoAsterisks(TalkTests):
    """TalkOfCalls with two counters, whose channels have equal Uniqueids: all that holds for one, and this."""

    def setUp(self) -> None:
        """No call."""
        super().setUp()
        self.other = FakeCounter("branch")
        self.calls.counters = [self.counter, self.other]

    def reported(self, asterisk: str) -> None:
        """Report a call of an Asterisk, answered as Dial says."""
        record = CallRecord(REQUEST, None, Outcome("ANSWER", answered_s=5), 100.0, 110.0, key="k", asterisk=asterisk)
        self.calls.report(record)

    def test_the_talk_of_its_own_asterisk(self) -> None:
        """A call is completed by what its own Asterisk tells, though another has a channel with its Uniqueid."""
        self.talk((101.0, 104.0))
        own = ChannelTalk("PJSIP/33-1", [(101.0, 109.0)], ended=110.0, place=PLACE)
        self.other.talks[REQUEST.uniqueid] = own
        self.reported("branch")
        self.wait(2)
        self.assertEqual([(row.asterisk, row.answered_s) for row in self.history.added], [("branch", 8)])

    def test_the_other_is_away(self) -> None:
        """A call whose Asterisk is away is not held up, nor completed, by another."""
        self.talk((101.0, 104.0))
        self.reported("branch")
        self.wait(2)
        self.assertEqual([row.answered_s for row in self.history.added], [5])

    def test_which_is_not_known(self) -> None:
        """If it is not known which Asterisk's call it is, and both have its Uniqueid, neither's talk counts."""
        self.talk((101.0, 104.0))
        self.reported("")
        self.assertEqual(self.calls.talks_so_far(REQUEST.uniqueid), 1)
        self.other.talks[REQUEST.uniqueid] = ChannelTalk("PJSIP/33-1", [], ended=110.0, place=PLACE)
        self.reported("")
        self.wait(2)
        self.assertEqual([row.answered_s for row in self.history.added], [3, 5])
        self.assertIsNone(self.calls.talks_so_far(REQUEST.uniqueid))

    def test_next_call_of_the_others_channel(self) -> None:
        """The next call of a channel bounds the talks of the one before, not those of another Asterisk's channel."""
        self.talk((101.0, 104.0), ended=None)
        record = CallRecord(REQUEST, None, Outcome("LEFT"), 100.0, 110.0, key="k", asterisk="lab")
        self.calls.report(record)
        self.other.talks[REQUEST.uniqueid] = ChannelTalk("PJSIP/33-1", place=PLACE)
        self.calls.talks_so_far(REQUEST.uniqueid, "branch")
        talk = self.counter.talks[REQUEST.uniqueid]
        talk.begin(120.0)
        talk.end(127.0)
        talk.ended = 127.0
        self.wait(2)
        self.assertEqual([row.answered_s for row in self.history.added], [10])
