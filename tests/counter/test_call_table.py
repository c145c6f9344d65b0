"""The table of live calls: docs/asterisk.md B6, rule by rule, and events in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.counter.call_table import (
    DOCTOR_PREFIX,
    JOIN_S,
    JOINED,
    MAX_TALKS,
    REMEMBER_HUNG_UP_S,
    CallListener,
    CallTable,
    ChannelSeen,
    ChannelTalk,
    HungUpBy,
    LiveCall,
)
from pbxrouter.counter.storage import LiveRow, live_row


class Told(CallListener):
    """A listener that records its calls."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.ended = 0.0

    def started(self, call: LiveCall) -> None:
        """Keep that a call has started."""
        self.words.append(f"{call.linkedid} started")

    def answered(self, call: LiveCall) -> None:
        """Keep that a call was answered."""
        self.words.append(f"{call.linkedid} answered")

    def finished(self, call: LiveCall, ended: float, cause: str) -> None:
        """Keep that a call has finished, when and why."""
        self.words.append(f"{call.linkedid} finished {cause}".rstrip())
        self.ended = ended

    def count(self, word: str) -> int:
        """How often an event was recorded."""
        return sum(word in text.split() for text in self.words)


def seconds(talk: ChannelTalk, mark: int = 0) -> float:
    """Seconds of the ended talks, without the first ``mark`` of them."""
    return sum(ended - began for began, ended in talk.talks[mark:])


class TableCase(SynchronousTestCase):
    """Has a CallTable and its listener."""

    def setUp(self) -> None:
        """Create a CallTable and its listener."""
        self.told = Told()
        self.table = CallTable(self.told)
        self.now = 1000.0

    def event(self, name: str, uniqueid: str, linkedid: str = "a", **more: str) -> None:
        """Pass an event on, a second after the previous one."""
        self.now += 1
        headers = {"Uniqueid": uniqueid, "Linkedid": linkedid, **more}
        self.table.event(name, lambda header: headers.get(header, ""), self.now)

    def enter(self, uniqueid: str, linkedid: str = "a", bridge: str = "b") -> None:
        """Let a channel enter a bridge."""
        self.event("BridgeEnter", uniqueid, linkedid, BridgeUniqueid=bridge)

    def dial_end(self, status: str, caller: str = "", callee: str = "", channel: str = "") -> None:
        """Tell the table of a DialEnd."""
        headers = {"Uniqueid": caller, "DestUniqueid": callee, "DestChannel": channel, "DialStatus": status}
        self.table.event("DialEnd", lambda header: headers.get(header, ""), self.now)

    def resync(self, *seen: ChannelSeen, noted: frozenset[str] | None = None) -> None:
        """Pass a list of channels on."""
        self.table.resync(self.table.channels if noted is None else noted, seen, self.now)


class RuleTests(TableCase):
    """Which events begin, answer and end a call."""

    def test_a_call(self) -> None:
        """Two channels of one Linkedid are one call, answered when both are in a bridge."""
        self.event("Newchannel", "a", CallerIDNum="33", Exten="22")
        self.event("Newchannel", "c")
        self.event("Newchannel", "a")  # again
        self.assertEqual(self.told.words, ["a started"])
        self.enter("c")
        self.assertEqual(self.told.words, ["a started"])
        self.enter("a")
        self.event("Hangup", "c", Cause="16")
        self.event("Hangup", "a", Cause="16")
        self.event("Hangup", "a", Cause="16")
        self.assertEqual(self.told.words, ["a started", "a answered", "a finished 16"])
        self.assertEqual((self.table.live, self.table.channels), ({}, frozenset()))

    def test_of_the_doctor(self) -> None:
        """A channel that the doctor makes to look at the rights is no call, by its event and by the list."""
        self.event("Newchannel", f"{DOCTOR_PREFIX}1", f"{DOCTOR_PREFIX}1")
        self.resync(ChannelSeen(f"{DOCTOR_PREFIX}2", f"{DOCTOR_PREFIX}2", 1.0))
        self.assertEqual((self.table.live, self.told.words), ({}, []))

    def test_half_with_another_name(self) -> None:
        """A half of a Local channel that gets another name, as in a masquerade, joins the other half no more."""
        self.event("Newchannel", "a", Channel="PJSIP/33-00000001")
        self.event("Newchannel", "h1", Channel="Local/22@phones-00000001;1")
        self.event("Newchannel", "h2", Channel="Local/22@phones-00000001;2")
        self.event("Newchannel", "c", Channel="PJSIP/22-00000002")
        self.event("Rename", "h2", Newname="PJSIP/45-00000004")
        for uniqueid, bridge in (("a", "b1"), ("h1", "b1"), ("h2", "b2"), ("c", "b2")):
            self.enter(uniqueid, "a", bridge)
        talks = {uniqueid: self.table.talk_of(uniqueid) for uniqueid in ("a", "c", "h2")}
        self.assertEqual(
            {uniqueid: talk is not None and talk.since is not None for uniqueid, talk in talks.items()},
            {"a": False, "c": True, "h2": True},
        )

    def test_no_talk_before_the_answer(self) -> None:
        """A call that was not answered has no talk."""
        self.event("Newchannel", "a")
        self.assertEqual(self.table.live["a"].talk_s(self.now + 60), 0.0)

    def test_what_is_kept(self) -> None:
        """Caller and number are the first channel's; a failed call has a status and a cause."""
        self.event("Newchannel", "a", CallerIDNum="33", Exten="22")
        self.event("Newchannel", "c", CallerIDNum="22")
        self.dial_end("BUSY", "a", "c")
        self.event("Hangup", "c", Cause="17")
        call = self.table.call_of("a")
        assert call is not None
        self.assertEqual((call.caller, call.number, call.started), ("33", "22", 1001.0))
        self.assertEqual((call.dial_status, call.cause), ("BUSY", "17"))
        self.assertIs(self.table.call_of("c"), None)

    def test_dial_of_originate(self) -> None:
        """A DialEnd without a caller's channel counts if no other Dial tells more."""
        self.event("Newchannel", "a")
        call = self.table.live["a"]
        self.dial_end("ANSWER", callee="a")
        self.assertEqual(call.dial_status, "")
        self.dial_end("CONGESTION", callee="a")
        self.assertEqual(call.dial_status, "CONGESTION")
        self.dial_end("BUSY", "a", "x")
        self.dial_end("CONGESTION", callee="a")
        self.assertEqual(call.dial_status, "BUSY")
        self.dial_end("BUSY", "nobody", "known")

    def test_alone_in_a_bridge(self) -> None:
        """Unknown channels in a bridge (a conference's announcer) answer no call."""
        self.event("Newchannel", "a")
        self.enter("announcer", "z")
        self.enter("a")
        self.assertEqual(self.told.count("answered"), 0)

    def test_left_before(self) -> None:
        """A channel that left a bridge is not in it; a channel that enters another has left the first."""
        for uniqueid in ("a", "c", "d"):
            self.event("Newchannel", uniqueid, uniqueid)
        self.enter("a", "a", "b1")
        self.event("BridgeLeave", "a", "a", BridgeUniqueid="b1")
        self.enter("c", "c", "b1")
        self.enter("c", "c", "b2")
        self.enter("d", "d", "b1")
        self.assertEqual(self.told.count("answered"), 0)
        self.enter("a", "a", "b1")
        self.assertEqual(sorted(self.told.words[-2:]), ["a answered", "d answered"])

    def test_joined(self) -> None:
        """A channel that joins another call ends its own, if it was the last one of it."""
        self.event("Newchannel", "a")
        self.event("Newchannel", "c", "c")
        self.enter("c", "a")
        self.assertEqual(self.told.words, ["a started", "c started", f"c finished {JOINED}"])
        self.enter("a")
        self.assertEqual(self.told.words[-1], "a answered")

    def test_one_half_stays(self) -> None:
        """When one half of a Local channel leaves, the other keeps the old Linkedid and the old call goes on."""
        self.event("Newchannel", "a")
        self.event("Newchannel", "c", "c")
        self.event("Newchannel", "c2", "c")
        self.enter("c", "a")
        self.assertEqual(sorted(self.table.live), ["a", "c"])
        self.event("Hangup", "c2", "c")
        self.assertEqual(self.told.words[-1], "c finished")

    def test_renamed(self) -> None:
        """A call's only channel with another Linkedid, of no call known, is still the same call."""
        self.event("Newchannel", "a")
        self.event("Newchannel", "a2")
        self.event("Hangup", "a2")
        self.enter("a", "older")
        self.assertEqual(sorted(self.table.live), ["older"])
        self.event("Hangup", "a", "older")
        self.assertEqual(self.told.words, ["a started", "older finished"])

    def test_of_a_call_not_known(self) -> None:
        """One of several channels that moves to an unknown call starts that call."""
        self.event("Newchannel", "a")
        self.event("Newchannel", "a2")
        self.enter("a2", "older")
        self.assertEqual(self.told.words, ["a started", "older started"])

    def test_late(self) -> None:
        """A Newchannel that comes behind its Hangup revives nothing; after a minute an id is new."""
        self.event("Newchannel", "a")
        self.event("Hangup", "a")
        self.event("Newchannel", "a")
        self.assertEqual(self.told.words, ["a started", "a finished"])
        self.now += REMEMBER_HUNG_UP_S
        self.event("Newchannel", "a")
        self.assertEqual(self.told.count("started"), 2)

    def test_not_counted(self) -> None:
        """Events without ids, with impossible ids, or of unknown channels count for no call."""
        for uniqueid, linkedid in (("", "a"), ("a", ""), ("a b", "a"), ("a", "a\r"), ("a" * 150, "a")):
            self.event("Newchannel", uniqueid, linkedid)
        for name in ("BridgeEnter", "BridgeLeave", "Hangup", "Newstate", "Shutdown"):
            self.event(name, "a")
        self.assertEqual(self.told.words, [])

    def test_ids(self) -> None:
        """An id has up to 149 letters, digits, dots, hyphens and underscores, the Linkedid likewise."""
        longest = "pbx-1_" + "9" * 140 + ".42"
        self.event("Newchannel", longest, longest)
        self.assertEqual(sorted(self.table.live), [longest])
        self.event("Newchannel", "b", "b" * 150)
        self.event("Newchannel", "c" * 150, "c")
        self.assertEqual(sorted(self.table.live), [longest])

    def test_newchannel_again(self) -> None:
        """A Newchannel of a known channel changes nothing, not even its call."""
        self.event("Newchannel", "a", CallerIDNum="33", Exten="22")
        self.event("Newchannel", "a", "other", CallerIDNum="44", Exten="55")
        self.assertEqual(self.told.words, ["a started"])
        call = self.table.live["a"]
        self.assertEqual((call.channels, call.caller, call.number, call.started), ({"a"}, "33", "22", 1001.0))

    def test_remembered_for_a_minute(self) -> None:
        """A channel that has hung up is not taken for new within sixty seconds; a second hang-up changes nothing."""
        self.now = 0.0
        self.event("Newchannel", "a")
        self.event("Hangup", "a")
        self.now = 60.0
        self.event("Newchannel", "a")
        self.assertEqual(self.told.count("started"), 1)
        self.event("Newchannel", "a")
        self.assertEqual(self.told.count("started"), 2)

    def test_each_is_remembered_for_its_own_minute(self) -> None:
        """Of several channels that have hung up, the first is forgotten first."""
        for at, uniqueid in ((0, "a"), (30, "b")):
            self.now = float(at)
            self.event("Newchannel", uniqueid, uniqueid)
            self.event("Hangup", uniqueid, uniqueid)
        self.now = 65.0
        for uniqueid in ("b", "a"):
            self.event("Newchannel", uniqueid, uniqueid)
        self.assertEqual(sorted(self.table.live), ["a"])

    def test_answered_once(self) -> None:
        """A call is answered at its first bridge; a third channel, or another bridge, changes nothing of that."""
        for uniqueid in ("a", "c", "d"):
            self.event("Newchannel", uniqueid)
        self.enter("a")
        self.enter("c")
        answered = self.now
        self.enter("d")
        self.enter("a", bridge="b2")
        self.enter("c", bridge="b2")
        self.assertEqual((self.told.count("answered"), self.table.live["a"].answered), (1, answered))

    def test_bridge_without_id(self) -> None:
        """A BridgeEnter that names no bridge puts no two channels together, and takes none out of its bridge."""
        for uniqueid in ("a", "c"):
            self.event("Newchannel", uniqueid, uniqueid)
            self.enter(uniqueid, uniqueid, "")
        self.assertEqual(self.told.count("answered"), 0)
        self.enter("a", "a", "b")
        self.enter("a", "a", "")
        self.enter("c", "c", "b")
        self.assertEqual(self.told.count("answered"), 2)

    def test_bridges_with_long_ids(self) -> None:
        """The first 200 characters of a bridge's id count."""
        for uniqueid, linkedid, bridge in (("a", "a", "1"), ("c", "c", "2"), ("d", "d", "2x")):
            self.event("Newchannel", uniqueid, linkedid)
            self.enter(uniqueid, linkedid, "x" * 199 + bridge)
        self.assertEqual(sorted(self.told.words[-2:]), ["c answered", "d answered"])
        self.assertEqual(self.told.count("answered"), 2)

    def test_holding_bridge(self) -> None:
        """Calls that wait in one holding bridge (Park, BridgeWait) are not answered, nor by a list of channels."""
        for uniqueid in ("a", "c"):
            self.event("Newchannel", uniqueid, uniqueid)
            self.event("BridgeEnter", uniqueid, uniqueid, BridgeUniqueid="lot", BridgeTechnology="holding_bridge")
        self.resync(ChannelSeen("a", "a", 1, "lot"), ChannelSeen("c", "c", 1, "lot"))
        self.assertEqual(self.told.count("answered"), 0)
        self.enter("a", "a", "talk")
        self.enter("c", "c", "talk")
        self.assertEqual(self.told.count("answered"), 2)

    def test_applications_that_hold(self) -> None:
        """A list shows a holding bridge by the application that put a channel there; any other is for talking."""
        for application, answered in (
            ("BridgeWait", 0),
            ("Park", 0),
            ("ParkAndAnnounce", 0),
            ("parkandannounce", 0),
            ("ParkedCall", 2),
            ("", 2),
        ):
            self.setUp()
            for uniqueid in ("a", "c"):
                self.event("Newchannel", uniqueid, uniqueid)
            self.resync(*(ChannelSeen(uniqueid, uniqueid, 1, "x", application=application) for uniqueid in "ac"))
            self.assertEqual(self.told.count("answered"), answered, application)

    def test_holding_bridge_that_is_gone(self) -> None:
        """A holding bridge in which a list shows no channel any more is forgotten."""
        for uniqueid in ("a", "c"):
            self.event("Newchannel", uniqueid, uniqueid)
        self.event("BridgeEnter", "a", "a", BridgeUniqueid="lot", BridgeTechnology="holding_bridge")
        self.resync(ChannelSeen("a", "a", 1), ChannelSeen("c", "c", 1))
        self.resync(ChannelSeen("a", "a", 1, "lot"), ChannelSeen("c", "c", 1, "lot"))
        self.assertEqual(self.told.count("answered"), 2)

    def test_into_a_holding_bridge(self) -> None:
        """A channel that is parked has left the bridge in which it was."""
        for uniqueid in ("a", "c"):
            self.event("Newchannel", uniqueid, uniqueid)
        self.enter("a", "a", "talk")
        self.event("BridgeEnter", "a", "a", BridgeUniqueid="lot", BridgeTechnology="holding_bridge")
        self.enter("c", "c", "talk")
        self.assertEqual(self.told.count("answered"), 0)

    def test_hung_up_in_a_bridge(self) -> None:
        """A channel that has hung up is in no bridge any more, and an empty bridge is forgotten."""
        for place in range(50):
            uniqueid = f"a{place}"
            self.event("Newchannel", uniqueid, uniqueid)
            self.enter(uniqueid, uniqueid)
            self.event("Hangup", uniqueid, uniqueid)
            self.event("Newchannel", f"c{place}", f"c{place}")
            self.enter(f"c{place}", f"c{place}", f"b{place}")
            self.event("BridgeLeave", f"c{place}", f"c{place}")
        self.assertEqual(self.told.count("answered"), 0)
        self.assertEqual(self.table._bridges, {})

    def test_cause(self) -> None:
        """The first cause that is a failure is the call's; a normal end (none, 0, 16) is no failure."""
        for uniqueid in ("a", "b", "c", "d", "e", "f"):
            self.event("Newchannel", uniqueid)
        call = self.table.live["a"]
        for uniqueid, cause, expected in (
            ("f", "", ""),
            ("b", "0", ""),
            ("c", "16", ""),
            ("d", "17", "17"),
            ("e", "21", "17"),
        ):
            self.event("Hangup", uniqueid, Cause=cause)
            self.assertEqual(call.cause, expected)
        self.event("Hangup", "a", Cause="16")
        self.assertEqual(self.told.words[-1], "a finished 16")
        self.assertEqual(self.told.ended, self.now)

    def test_started_by_a_channel_that_moves(self) -> None:
        """The call that a moved channel starts begins at that moment, with caller and number of the call it leaves."""
        self.event("Newchannel", "a", CallerIDNum="33", Exten="22")
        self.event("Newchannel", "a2")
        self.enter("a2", "older")
        started = self.table.live["older"]
        self.assertEqual((started.caller, started.number, started.started), ("33", "22", self.now))
        self.assertEqual((started.channels, self.table.live["a"].channels), ({"a2"}, {"a"}))
        self.event("Hangup", "a2", "older")
        self.event("Hangup", "a")
        self.assertEqual(self.told.words[2:], ["older finished", "a finished"])

    def test_joined_at(self) -> None:
        """A call that becomes part of another ends at that moment; its channel is the other's."""
        self.event("Newchannel", "a")
        self.event("Newchannel", "c", "c")
        self.event("BridgeLeave", "c", "a")
        self.assertEqual(self.told.ended, self.now)
        self.assertEqual(self.table.live["a"].channels, {"a", "c"})
        self.event("Hangup", "a")
        self.assertEqual(sorted(self.table.live), ["a"])

    def test_shutdown(self) -> None:
        """A Shutdown, which a caller can forge, ends nothing: Hangups do."""
        self.event("Newchannel", "a")
        self.event("Shutdown", "", "")
        self.assertEqual(sorted(self.table.live), ["a"])


class ClockTests(TableCase):
    """A clock that is set."""

    def test_times_move(self) -> None:
        """All times that are kept move with the clock: of calls that talk, that ring, and that ended lately."""
        for channel, linkedid in (("a", "a"), ("c", "a"), ("z", "z")):
            self.event("Newchannel", channel, linkedid)
        for channel in ("a", "c"):
            self.enter(channel)
        self.event("Newchannel", "g", "g")
        self.event("Hangup", "g", "g")
        before = {call.linkedid: (call.started, call.answered) for call in self.table.live.values()}
        assert before["a"][1] is not None
        self.table.clock_set(3600.0)
        after = {call.linkedid: (call.started, call.answered) for call in self.table.live.values()}
        self.assertEqual(after["a"], (before["a"][0] + 3600.0, before["a"][1] + 3600.0))
        self.assertEqual(after["z"], (before["z"][0] + 3600.0, None))
        self.now += 3600.0 + REMEMBER_HUNG_UP_S - 3
        self.event("Newchannel", "g", "g")  # late: it has been hung up
        self.assertNotIn("g", self.table.live)


class ResyncTests(TableCase):
    """What the table does after a time without events."""

    def test_ended_unseen(self) -> None:
        """What was known and is not listed has ended, at a time that is told."""
        self.event("Newchannel", "a")
        self.table.resync(["a"], [], 2000.0, 1500.0)
        self.assertEqual((self.told.words[-1], self.told.ended), ("a finished", 1500.0))

    def test_ended_unseen_without_a_time(self) -> None:
        """Where no time is told it has ended now; its id is remembered from now on, too."""
        self.event("Newchannel", "a", CallerIDNum="33")
        call = self.table.live["a"]
        self.table.resync(["a", "never known"], [], 2000.0)
        self.assertEqual((self.told.words, self.told.ended), (["a started", "a finished"], 2000.0))
        self.assertEqual((call.certain, call.cause), (False, ""))
        self.now = 2050.0
        self.event("Newchannel", "a")
        self.assertEqual(self.told.count("started"), 1)

    def test_ended_unseen_is_remembered_from_the_list_on(self) -> None:
        """An id is remembered from the list on, also if the call ended earlier: its events may still arrive."""
        self.event("Newchannel", "a")
        self.table.resync(["a"], [], 2000.0, 1500.0)
        self.now = 2050.0
        self.event("Newchannel", "a")
        self.assertEqual(self.told.count("started"), 1)

    def test_one_channel_ended_unseen(self) -> None:
        """When one channel ended unseen the call goes on, and is not certain any more."""
        self.event("Newchannel", "a")
        self.event("Newchannel", "c")
        self.resync(ChannelSeen("a", "a", 1))
        call = self.table.live["a"]
        self.assertEqual((call.channels, call.certain, self.told.count("finished")), ({"a"}, False, 0))

    def test_seen_all_the_time(self) -> None:
        """A list that says what is known already leaves a call as it was."""
        self.event("Newchannel", "a")
        self.resync(ChannelSeen("a", "a", 500))
        call = self.table.live["a"]
        self.assertEqual((call.started, call.certain, call.channels), (1001.0, True, {"a"}))

    def test_listed_a_minute_after_its_hangup(self) -> None:
        """An id is taken for hung up no longer than a minute, by a list of channels, too."""
        self.event("Newchannel", "a")
        self.event("Hangup", "a")
        hung_up = self.now
        self.table.resync([], [ChannelSeen("a", "a", 1)], hung_up + 59)
        self.assertEqual(sorted(self.table.live), [])
        self.table.resync([], [ChannelSeen("a", "a", 1)], hung_up + 60)
        self.assertEqual(sorted(self.table.live), ["a"])

    def test_bad_ids_in_a_list(self) -> None:
        """An item whose Uniqueid or Linkedid is none is left out."""
        self.resync(ChannelSeen("bad id", "a", 1), ChannelSeen("c", "bad id", 1), ChannelSeen("d", "d", 1))
        self.assertEqual(self.told.words, ["d started"])

    def test_nothing_known_of_the_caller(self) -> None:
        """A call of which nothing is told has neither caller nor number, nor any cause, outcome or label."""
        self.assertEqual(LiveCall("a", 1.0), LiveCall("a", 1.0, None, set(), "", "", "", "", "", set(), certain=True))
        self.resync(ChannelSeen("a", "a", 1))
        expected = LiveCall("a", self.now - 1, None, {"a"}, "", "", "", "", "", set(), certain=False)
        self.assertEqual(self.table.live["a"], expected)
        self.event("Newchannel", "c", "c")
        expected = LiveCall("c", self.now, None, {"c"}, "", "", "", "", "", set(), certain=True)
        self.assertEqual(self.table.live["c"], expected)

    def test_caller_of_a_call_that_began_unseen(self) -> None:
        """Caller and number are those of the channel that is listed first."""
        self.resync(ChannelSeen("a", "a", 9, "", "33", "22"), ChannelSeen("c", "a", 5, "", "22", "33"))
        call = self.table.live["a"]
        self.assertEqual((call.caller, call.number, call.answered), ("33", "22", None))

    def test_bridge_left_unseen(self) -> None:
        """A channel that the list shows in no bridge leaves none later, and may enter another."""
        self.event("Newchannel", "a")
        self.event("Newchannel", "c", "c")
        self.enter("a")
        self.resync(ChannelSeen("a", "a", 1), ChannelSeen("c", "c", 1))
        self.event("BridgeLeave", "a")
        self.enter("a", bridge="b2")
        self.enter("c", "c", "b2")
        self.assertEqual(self.told.count("answered"), 2)

    def test_hung_up_and_still_listed_in_a_bridge(self) -> None:
        """A channel that is not known any more counts in no bridge."""
        self.event("Newchannel", "a")
        self.event("Newchannel", "c", "c")
        self.event("Hangup", "c", "c")
        self.resync(ChannelSeen("a", "a", 1, "b"), ChannelSeen("c", "c", 1, "b"))
        self.assertEqual(self.told.count("answered"), 0)

    def test_new_since_asking(self) -> None:
        """A channel that came after the question need not be in the list."""
        self.event("Newchannel", "a")
        self.resync(noted=frozenset())
        self.assertEqual(sorted(self.table.live), ["a"])

    def test_began_unseen(self) -> None:
        """What is listed and not known began so long ago, is answered if bridged, and is uncertain."""
        self.event("Newchannel", "x")
        self.event("Hangup", "x", "a")
        self.resync(
            ChannelSeen("a", "a", 10, "b", "33", "22"),
            ChannelSeen("c", "a", 5, "b"),
            ChannelSeen("x", "a", 5),
            ChannelSeen("bad id", "a", 5),
        )
        call = self.table.live["a"]
        self.assertEqual(self.told.words[-2:], ["a started", "a answered"])
        self.assertEqual((call.started, call.answered, call.certain), (self.now - 10, self.now, False))
        self.assertEqual(call.channels, {"a", "c"})

    def test_doctor(self) -> None:
        """A channel that pbxrouter's doctor has made is no call, whether it is listed or its events come."""
        self.resync(ChannelSeen(f"{DOCTOR_PREFIX}1", "a", 5, "b"), ChannelSeen("c", "c", 5, "b"))
        self.assertEqual(sorted(self.table.live), ["c"])
        self.assertEqual(self.told.count("answered"), 0)

    def test_bridges(self) -> None:
        """Bridges are as listed, so a channel that has left unseen answers no call."""
        self.event("Newchannel", "a")
        self.event("Newchannel", "c", "c")
        self.enter("a")
        self.resync(ChannelSeen("a", "a", 1), ChannelSeen("c", "c", 1))
        self.enter("c", "c")
        self.assertEqual(self.told.count("answered"), 0)

    def test_ahead_of_events(self) -> None:
        """The list may know a Linkedid whose events come later; a known channel goes by its events."""
        self.event("Newchannel", "a")
        self.event("Newchannel", "c", "c")
        self.resync(ChannelSeen("a", "a", 1), ChannelSeen("c", "a", 1))
        self.assertEqual(sorted(self.table.live), ["a", "c"])
        self.event("Hangup", "c", "a")
        self.assertEqual(self.told.words, ["a started", "c started", f"c finished {JOINED}"])

    def test_restore(self) -> None:
        """Calls of an earlier run are restored without telling the listener; invalid ones are left out."""
        self.table.restore(
            [
                LiveCall("a", 1.0, channels={"a", "c"}),
                LiveCall("a", 2.0, channels={"d"}),
                LiveCall("e", 2.0, channels={"a"}),
                LiveCall("f", 2.0),
            ]
        )
        self.assertEqual(self.told.words, [])
        self.assertEqual((sorted(self.table.live), sorted(self.table.channels)), (["a"], ["a", "c"]))
        self.assertEqual((self.table.live["a"].started, self.table.live["a"].certain), (1.0, False))
        self.resync(ChannelSeen("c", "a", 9))
        self.event("Hangup", "c")
        self.assertEqual(self.told.words, ["a finished"])

    def test_restore_in_part(self) -> None:
        """A channel that another call has already is not restored; the rest of its call is."""
        self.event("Newchannel", "a")
        self.table.restore([LiveCall("e", 2.0, channels={"a", "e"})])
        self.assertEqual((self.table.live["e"].channels, self.table.live["a"].channels), ({"e"}, {"a"}))
        self.event("Hangup", "e", "e")
        self.assertEqual(self.told.words, ["a started", "e finished"])


IDS = st.sampled_from("a b c d e f".split())
EVENTS = st.one_of(
    st.tuples(
        st.sampled_from(["Newchannel", "Hangup", "BridgeEnter", "BridgeLeave", "Newstate"]),
        IDS,
        IDS,
        st.sampled_from(["", "x", "y"]),
    ),
    st.tuples(st.just("resync"), st.just(""), st.just(""), st.lists(st.tuples(IDS, IDS), max_size=6)),
    st.tuples(st.just("later"), st.just(""), st.just(""), st.just("")),
)


class AnyOrderTests(SynchronousTestCase):
    """Events in any order, lost, repeated, forged."""

    @given(st.lists(EVENTS, max_size=60))
    def test_books_balance(self, events: list[tuple[str, str, str, object]]) -> None:
        """Started is finished and live; no call is without channels; bridges hold known channels."""
        told = Told()
        table = CallTable(told)
        now = 0.0
        for name, uniqueid, linkedid, more in events:
            now += 1
            if name == "later":
                now += 100
            elif name == "resync":
                assert isinstance(more, list)
                seen = [ChannelSeen(uniqueid, its_call, 1, "x") for uniqueid, its_call in more]
                table.resync(table.channels, seen, now)
            else:
                headers = {"Uniqueid": uniqueid, "Linkedid": linkedid, "BridgeUniqueid": str(more)}
                table.event(name, lambda header, headers=headers: headers.get(header, ""), now)  # type: ignore[misc]
            self.assertEqual(told.count("started"), told.count("finished") + len(table.live))
            self.assertLessEqual(told.count("answered"), told.count("started"))
            held = [channel for call in table.live.values() for channel in call.channels]
            self.assertEqual(sorted(held), sorted(table.channels))
            for linkedid_, call in table.live.items():
                self.assertTrue(call.channels)
                self.assertEqual(call.linkedid, linkedid_)
                talks = any(table._talks[channel].since is not None for channel in call.channels)
                self.assertEqual(talks, call.answered is not None and call.silent_since is None, name)
            self.assertLessEqual(set(table._bridge_of), set(table.channels))
            self.assertEqual(
                sorted(table._bridge_of),
                sorted(uniqueid for inside in table._bridges.values() for uniqueid in inside),
            )

    @given(st.lists(EVENTS, max_size=60))
    def test_what_is_stored_is_up_to_date(self, events: list[tuple[str, str, str, object]]) -> None:
        """Whenever calls are written, the row of one that is not marked as changed is as it was written before."""
        table = CallTable(Told())
        written: dict[str, LiveRow] = {}
        names = {"a": "PJSIP/33-1", "b": "PJSIP/21-1", "c": "Local/9@x-1;1", "d": "Local/9@x-1;2"}
        for now, (name, uniqueid, linkedid, more) in enumerate(events):
            if name == "resync":
                assert isinstance(more, list)
                seen = [ChannelSeen(one, its, 1, "x") for one, its in more]
                table.resync(table.channels, seen, float(now), now - 0.5)
            elif name != "later":
                headers = {"Uniqueid": uniqueid, "Linkedid": linkedid, "BridgeUniqueid": str(more)}
                headers |= {"Channel": names.get(uniqueid, "SIP/x-1"), "CallerIDNum": "33", "Exten": uniqueid}
                table.event(name, lambda header, headers=headers: headers.get(header, ""), float(now))  # type: ignore[misc]
            if now % 2:
                continue
            rows = {key: live_row(call, table.talk_of) for key, call in table.live.items()}
            for key, call in table.live.items():
                if not call.changed and key in written:
                    self.assertEqual(written[key], rows[key], (name, uniqueid))
                call.changed = False
            written = rows


class TalkTests(TableCase):
    """Who is a side, and how long two people talk."""

    def new(self, uniqueid: str, name: str, linkedid: str = "a") -> None:
        """Let a channel of that name begin."""
        self.event("Newchannel", uniqueid, linkedid, Channel=name)

    def leave(self, uniqueid: str, linkedid: str = "a") -> None:
        """Let a channel leave its bridge."""
        self.event("BridgeLeave", uniqueid, linkedid)

    def talk_s(self, uniqueid: str) -> float:
        """Seconds of a channel's ended talks."""
        talk = self.table.talk_of(uniqueid)
        assert talk is not None
        return seconds(talk)

    def test_two_phones(self) -> None:
        """Two phones talk from the time when both are in the bridge until one leaves it."""
        self.new("a", "PJSIP/33-1")
        self.new("b", "PJSIP/21-1")
        self.enter("b")
        self.now += 10
        self.enter("a")
        self.now += 4
        self.leave("b")
        self.now += 20
        call = self.table.live["a"]
        self.event("Hangup", "a")
        self.assertEqual((self.talk_s("a"), self.talk_s("b")), (5.0, 5.0))
        self.event("Hangup", "b")
        self.assertEqual(call.talk_s(self.now), 5.0)

    def test_prompt_behind_a_local_channel(self) -> None:
        """The half of a Local channel whose other half is in no bridge is no side."""
        self.new("a", "PJSIP/33-1")
        self.new("l1", "Local/9@prompts-1;1")
        self.new("l2", "Local/9@prompts-1;2")
        self.enter("a")
        self.enter("l1")
        self.assertEqual(self.told.count("answered"), 0)
        self.leave("l1")
        self.assertEqual(self.talk_s("a"), 0.0)

    def test_phone_behind_a_local_channel(self) -> None:
        """Bridges that a Local channel joins are one conversation; all in it talk while two phones are there."""
        self.new("a", "PJSIP/33-1")
        self.new("l1", "Local/21@x-1;1")
        self.new("l2", "Local/21@x-1;2")
        self.new("b", "PJSIP/21-1")
        self.enter("a", bridge="near")
        self.enter("l1", bridge="near")
        self.enter("l2", bridge="far")
        self.assertEqual(self.told.count("answered"), 0)
        self.enter("b", bridge="far")
        self.assertEqual(self.told.count("answered"), 1)
        self.now += 4
        self.leave("l1")  # so the two hear each other no more
        for uniqueid in ("a", "l1", "l2", "b"):
            self.assertEqual(self.talk_s(uniqueid), 5.0, uniqueid)
        self.enter("l1", bridge="near")
        self.event("Hangup", "l2")
        for uniqueid in ("a", "l1", "l2", "b"):
            self.assertEqual(self.talk_s(uniqueid), 6.0, uniqueid)

    def test_told_twice_of_a_bridge(self) -> None:
        """A second BridgeEnter into the same bridge does not break the talk in two."""
        self.new("a", "PJSIP/33-1")
        self.new("b", "PJSIP/21-1")
        for uniqueid in ("a", "b", "a"):
            self.enter(uniqueid)
        self.leave("b")
        talk = self.table.talk_of("a")
        assert talk is not None
        self.assertEqual([ended - began for began, ended in talk.talks], [2.0])

    def test_bridges_joined_twice(self) -> None:
        """Two bridges that are joined by two Local channels are one conversation, which ends once."""
        self.new("a", "PJSIP/33-1")
        self.new("b", "PJSIP/21-1")
        self.enter("a", bridge="near")
        self.enter("b", bridge="far")
        for name in ("x-1", "x-2"):
            for half, bridge in (("1", "near"), ("2", "far")):
                self.new(f"{name}-{half}", f"Local/21@{name};{half}")
                self.enter(f"{name}-{half}", bridge=bridge)
        began = self.now - 4
        self.leave("x-1-1")
        talk = self.table.talk_of("a")
        assert talk is not None
        self.assertEqual((talk.talks, talk.since), ([], began))
        self.leave("x-2-1")
        self.assertEqual((talk.talks, talk.since), ([(began, self.now)], None))

    def test_hung_up_before_the_bridge(self) -> None:
        """A phone that answers and hangs up at once has answered; what a Local channel answers is no person's word."""
        for channel, outcome, count in (
            ("PJSIP/21-1", "", 1),
            ("Local/9@prompts-1;1", "", 1),
            ("PJSIP/21-1", "NOANSWER", 1),  # behind it the called phone was asked, and refused
            ("PJSIP/21-1", "ANSWER", 2),
        ):
            self.new("a", "PJSIP/33-1")
            self.new("b", channel)
            self.dial_end("ANSWER", "a", "b", channel)
            call = self.table.live["a"]
            call.outcome = outcome
            self.event("Hangup", "b")
            self.event("Hangup", "a")
            self.assertEqual((self.told.count("answered"), call.talk_s(self.now)), (count, 0.0), channel)
            self.now += 2 * REMEMBER_HUNG_UP_S

    def test_answered_for_nobody(self) -> None:
        """A phone that answers a Local half behind which nobody is does not make the call an answered one."""
        self.new("a", "Local/60@pbxrouter-1;2")
        self.new("b", "IAX2/loop-1")
        self.dial_end("ANSWER", "a", "b", "IAX2/loop-1")
        self.enter("a")
        self.enter("b")
        self.event("Hangup", "b")
        self.event("Hangup", "a")
        self.assertEqual(self.told.count("answered"), 0)

    def _behind_a_local_channel(self) -> None:
        """a is connected with b through the halves l1 and l2, as Asterisk tells it of a forward."""
        for uniqueid, name in (
            ("a", "PJSIP/33-1"),
            ("l1", "Local/2@x-1;1"),
            ("l2", "Local/2@x-1;2"),
            ("b", "PJSIP/2-1"),
        ):
            self.new(uniqueid, name)
        for uniqueid, bridge in (("b", "far"), ("l2", "far"), ("l1", "near"), ("a", "near")):
            self.enter(uniqueid, bridge=bridge)

    def _halves_leave(self) -> None:
        """Asterisk moves b to a, and takes the halves out."""
        self.event("LocalOptimizationBegin", "", "", LocalOneUniqueid="l1", LocalTwoUniqueid="l2")
        self.now -= 1
        for uniqueid in ("b", "l1"):
            self.leave(uniqueid)
            self.now -= 1
        self.enter("b", bridge="near")
        self.now -= 1
        self.leave("l2")
        self.now -= 1
        for uniqueid in ("l1", "l2"):
            self.event("Hangup", uniqueid)
            self.now -= 1

    def _end_of(self, uniqueid: str) -> tuple[float, bool, bool]:
        """Seconds of a channel's talk, whether it talks now, and whether it is over."""
        talk = self.table.talk_of(uniqueid)
        assert talk is not None
        return seconds(talk), talk.since is not None, talk.ended is not None

    def test_halves_are_taken_out(self) -> None:
        """The talk of a Local channel's halves goes on when Asterisk joins both phones without it."""
        self._behind_a_local_channel()
        self._halves_leave()
        for uniqueid in ("l1", "l2"):
            self.assertEqual(self._end_of(uniqueid)[1:], (True, False), uniqueid)
        self.now += 300  # long after the halves would have been forgotten
        self.new("z", "PJSIP/33-2", "z")
        for uniqueid in ("b", "a"):
            self.leave(uniqueid)
            self.event("Hangup", uniqueid)
        talks = {uniqueid: self._end_of(uniqueid) for uniqueid in ("a", "b", "l1", "l2")}
        self.assertEqual(set(talks.values()), {(talks["a"][0], False, True)}, talks)
        self.now += 2 * REMEMBER_HUNG_UP_S
        self.new("y", "PJSIP/33-3", "y")
        self.assertIsNone(self.table.talk_of("l2"))

    def test_halves_are_taken_out_of_a_chain(self) -> None:
        """One of two Local channels is taken out: its halves go on with what is left, and with each other for ever."""
        self._behind_a_local_channel()
        self.event("LocalOptimizationBegin", "", "", LocalOneUniqueid="l1", LocalTwoUniqueid="unknown")
        self.event("LocalOptimizationBegin", "", "", LocalOneUniqueid="unknown", LocalTwoUniqueid="l2")
        talk = self.table.talk_of("l1")
        assert talk is not None
        self.assertEqual(talk.heir, "")
        talk.heir, self.table.talk_of("l2").heir = "l2", "l1"  # type: ignore[union-attr]
        self.assertEqual(self._end_of("l1")[1:], (True, False))

    def test_taken_out_one_after_the_other(self) -> None:
        """Of two Local channels between two phones one is taken out after the other: for all it is one talk."""
        names = ("PJSIP/33-1", "Local/2@x-1;1", "Local/2@x-1;2", "Local/3@x-2;1", "Local/3@x-2;2", "PJSIP/3-1")
        for uniqueid, name in zip(("a", "l1", "l2", "m1", "m2", "b"), names, strict=True):
            self.new(uniqueid, name)
        for uniqueid, bridge in zip(("b", "m2", "m1", "l2", "l1", "a"), ("3", "3", "2", "2", "1", "1"), strict=True):
            self.enter(uniqueid, bridge=bridge)
        began = self.now
        self.now += 9
        for halves, moved, left, bridge in ((("l1", "l2"), "a", "l2", "2"), (("m1", "m2"), "b", "m1", "2")):
            self.event("LocalOptimizationBegin", "", "", LocalOneUniqueid=halves[0], LocalTwoUniqueid=halves[1])
            for step in (lambda moved=moved: self.leave(moved), lambda left=left: self.leave(left)):
                self.now -= 0.9
                step()
            self.now -= 0.9
            self.enter(moved, bridge=bridge)
            for uniqueid in halves:
                self.event("Hangup", uniqueid)
            self.now += 5
        for uniqueid in ("a", "b", "l2", "m2"):
            talk = self.table.talk_of(uniqueid)
            assert talk is not None
            self.assertEqual((talk.talks, talk.since), ([], began), uniqueid)
        self.leave("b")
        for uniqueid in ("a", "b", "l2", "m2"):
            talk = self.table.talk_of(uniqueid)
            assert talk is not None
            self.assertEqual((talk.talks, talk.since), ([(began, self.now)], None), uniqueid)
        self.enter("b", bridge="2")  # this one is another talk
        self.assertEqual(self.table.talk_of("a").begun, 2)  # type: ignore[union-attr]

    def test_interrupted_for_too_long(self) -> None:
        """A talk that does not go on within JOIN_S after a Local channel was taken out has ended."""
        self._behind_a_local_channel()
        self.event("LocalOptimizationBegin", "", "", LocalOneUniqueid="l1", LocalTwoUniqueid="l2")
        self.leave("b")
        self.now += JOIN_S
        self.enter("b", bridge="near")
        self.assertEqual(self.table.talk_of("b").begun, 2)  # type: ignore[union-attr]

    def test_clock_set_while_joining(self) -> None:
        """The interruption is known as one, also if the clock is set in it."""
        self._behind_a_local_channel()
        self.event("LocalOptimizationBegin", "", "", LocalOneUniqueid="l1", LocalTwoUniqueid="l2")
        self.now -= 1
        self.leave("b")
        self.now -= 1
        self.table.clock_set(3600.0)
        self.now += 3600
        self.enter("b", bridge="near")
        self.assertEqual(self.table.talk_of("b").begun, 1)  # type: ignore[union-attr]

    def test_answered_for_another(self) -> None:
        """A phone that rings answers the party that its caller has transferred there: a call that is handed over."""
        for uniqueid, linkedid in (("a", "a"), ("b", "b"), ("c", "b"), ("d", "b")):
            self.new(uniqueid, f"PJSIP/{uniqueid}-1", linkedid)
        for called in ("c", "d"):
            self.event("DialBegin", "b", "b", DestUniqueid=called)
        self.dial_end("NOANSWER", "b", "d")
        self.assertEqual(self.table.talk_of("b").handed_over, False)  # type: ignore[union-attr]
        self.dial_end("ANSWER", "a", "c", "PJSIP/c-1")
        self.assertEqual(self.table.talk_of("b").handed_over, True)  # type: ignore[union-attr]
        self.assertEqual(self.table.talk_of("a").handed_over, False)  # type: ignore[union-attr]
        self.event("DialBegin", "a", "a", DestUniqueid="not known")
        self.event("DialBegin", "b", "b", DestUniqueid="d")
        self.event("Hangup", "d", "b")
        self.assertEqual(self.table._dialled_by, {})

    def test_answered_for_another_of_the_same_call(self) -> None:
        """The answer is not one to the party that has transferred, also while that one's channel is still there."""
        for uniqueid in ("a", "b", "c"):
            self.new(uniqueid, f"PJSIP/{uniqueid}-1", "a")
        self.event("DialBegin", "b", "a", DestUniqueid="c")
        self.dial_end("ANSWER", "a", "c", "PJSIP/c-1")
        answered = [self.table.talk_of(name).person_answered for name in "abc"]  # type: ignore[union-attr]
        self.assertEqual([bool(when) for when in answered], [True, False, True])

    def test_ended_unasked(self) -> None:
        """A call that ends after a talk without a word of who ended it."""
        for linkedid, words in (("a", ()), ("c", ("HangupRequest",)), ("e", ("SoftHangupRequest",))):
            other = f"{linkedid}2"
            self.new(linkedid, f"PJSIP/{linkedid}-1", linkedid)
            self.new(other, f"PJSIP/{other}-1", linkedid)
            self.assertFalse(self.table.has_ended_unasked(linkedid, {other}))
            for uniqueid in (linkedid, other):
                self.enter(uniqueid, linkedid, bridge=linkedid)
            for word in words:
                self.event(word, other, linkedid)
            self.leave(other, linkedid)
            self.event("SoftHangupRequest", other, linkedid)
            self.assertFalse(self.table.has_ended_unasked(other, ()))
            self.assertEqual(self.table.has_ended_unasked(linkedid, {other}), not words, linkedid)
        self.assertFalse(self.table.has_ended_unasked("z", ()))

    def test_heir_is_a_phone(self) -> None:
        """Of several channels at the far end the halves' talk goes on with a phone, not with Asterisk's own channel."""
        self._behind_a_local_channel()
        self.new("announcer", "Announcer/ARI-1")
        self.enter("announcer", bridge="far")
        self.event("LocalOptimizationBegin", "", "", LocalOneUniqueid="l1", LocalTwoUniqueid="l2")
        self.assertEqual(self.table._talks["l1"].heir, "b")

    def test_more_headers_than_expected(self) -> None:
        """A header that a caller has put into an event of another kind moves no channel to another call."""
        self._behind_a_local_channel()
        for name in ("LocalOptimizationBegin", "Rename", "DialBegin", "DialEnd"):
            self.event(name, "a", "z", LocalOneUniqueid="l1", LocalTwoUniqueid="l2", Newname="PJSIP/33-9")
        self.assertEqual(sorted(self.table.live), ["a"])

    def test_uncertain_heir(self) -> None:
        """Talk that goes on with another channel is certain if both are."""
        for own, later in ((True, False), (False, True), (True, True)):
            talk = ChannelTalk(certain=own).followed_by(ChannelTalk(certain=later))
            self.assertEqual(talk.certain, own and later)

    def test_half_that_stays(self) -> None:
        """A half that comes into a bridge again has no heir."""
        self._behind_a_local_channel()
        self.event("LocalOptimizationBegin", "", "", LocalOneUniqueid="l1", LocalTwoUniqueid="l2")
        self.enter("l2", bridge="other")
        self.leave("a")
        talk = self.table.talk_of("l2")
        assert talk is not None
        self.assertEqual((talk.heir, talk.since), ("", None))

    def test_asterisks_own_channels(self) -> None:
        """A recorder, an announcer and the like are no side; any phone or line is."""
        self.new("a", "PJSIP/33-1")
        self.enter("a")
        own = "Announcer AsyncGoto Bridge CBAnn CBRec Local Message MulticastRTP Recorder Snoop Surrogate UnicastRTP"
        for place, technology in enumerate(own.split()):
            self.new(f"o{place}", f"{technology}/x-{place}")
            self.enter(f"o{place}")
        self.assertEqual(self.told.count("answered"), 0)
        self.assertTrue(self.table.live["a"].connected)  # so that it has not failed: a prompt has answered
        self.new("b", "DAHDI/1-1")
        self.enter("b")
        self.assertEqual(self.told.count("answered"), 1)

    def test_taken_over(self) -> None:
        """A channel that another takes over is what its new name says."""
        self.new("a", "PJSIP/33-1")
        self.new("b", "AsyncGoto/PJSIP/21-1")
        self.enter("a")
        self.enter("b")
        for name, count in (("PJSIP/21-1<MASQ>", 0), ("", 0), ("PJSIP/21-1", 1)):
            self.event("Rename", "b", Newname=name)
            self.assertEqual(self.told.count("answered"), count, name)
        self.event("Rename", "nobody", Newname="PJSIP/1-1")

    def test_transferred(self) -> None:
        """Talk before and after a transfer adds up; the time between is none."""
        for uniqueid, name in (("a", "PJSIP/33-1"), ("b", "PJSIP/21-1"), ("c", "PJSIP/22-1")):
            self.new(uniqueid, name)
        self.enter("a", bridge="x")
        self.enter("b", bridge="x")
        self.now += 9
        call = self.table.live["a"]
        self.leave("b")
        self.leave("a")
        self.now += 100
        self.enter("a", bridge="y")
        self.enter("c", bridge="y")
        self.now += 4
        self.leave("c")
        for uniqueid in "abc":
            self.event("Hangup", uniqueid)
        talks = [talk and (talk.begun, seconds(talk), seconds(talk, 1)) for talk in map(self.table.talk_of, "abc")]
        self.assertEqual(talks, [(2, 15.0, 5.0), (1, 10.0, 0.0), (1, 5.0, 0.0)])
        self.assertEqual(call.talk_s(self.now), 15.0)

    def test_holding(self) -> None:
        """Two who wait in a holding bridge do not talk, nor after a list that names their application."""
        for uniqueid in "ab":
            self.new(uniqueid, f"PJSIP/{uniqueid}-1")
            self.event("BridgeEnter", uniqueid, BridgeUniqueid="b", BridgeTechnology="holding_bridge")
        waiting = CallTable(self.told)
        waiting.resync((), [ChannelSeen(x, "a", 1.0, "b", name=f"PJSIP/{x}-1", application="Park") for x in "ab"], 9.0)
        self.assertEqual(self.told.count("answered"), 0)

    def test_unseen(self) -> None:
        """After a gap: talk that goes on is known, what began or ended unseen is uncertain."""
        for uniqueid in "abcd":
            self.new(uniqueid, f"PJSIP/{uniqueid}-1")
        for uniqueid, bridge in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "y")):
            self.enter(uniqueid, bridge=bridge)
        began = self.now
        seen = [ChannelSeen(x, "a", 30.0, bridge, name=f"PJSIP/{x}-1") for x, bridge in zip("abe", "xxx", strict=True)]
        self.table.resync(self.table.channels, seen, began + 100, began + 10)
        self.now = began + 200
        self.leave("a")
        self.leave("b")
        found = {x: talk for x in "abcde" if (talk := self.table.talk_of(x)) is not None}
        self.assertEqual({x for x, talk in found.items() if talk.certain}, {"a", "b"})
        self.assertEqual([round(seconds(found[x])) for x in "abcd"], [203, 204, 10, 10])

    def test_ended_unseen(self) -> None:
        """Talk that a list shows to be over has an uncertain length if it ended unseen; who did not talk is certain."""
        for ended, certain in ((None, True), (1020.0, False)):
            self.setUp()
            for uniqueid in "cab":
                self.new(uniqueid, f"PJSIP/{uniqueid}-1")
            for uniqueid in "ab":
                self.enter(uniqueid)
            began, self.now = self.now, 1100.0
            seen = [ChannelSeen(x, "a", 90.0, name=f"PJSIP/{x}-1") for x in "abc"]
            self.table.resync(self.table.channels, seen, self.now, ended)
            talk = self.table.talk_of("a")
            assert talk is not None
            self.assertEqual((talk.talks, talk.certain), ([(began, ended or self.now)], certain))
            silent = self.table.talk_of("c")
            assert silent is not None
            self.assertEqual((silent.talks, silent.certain), ([], True))

    def test_forgotten_halves(self) -> None:
        """A minute after their Hangups nothing is kept of the halves of a Local channel."""
        for half in "12":
            self.new(half, f"Local/9@prompts-1;{half}")
        for half in "12":
            self.event("Hangup", half)
        self.now += REMEMBER_HUNG_UP_S
        self.new("z", "PJSIP/33-2", "z")
        self.assertEqual((self.table._halves, sorted(self.table._talks)), ({}, ["z"]))

    def test_ends(self) -> None:
        """Which side hung up, and where; the first to do so counts. A minute later it is forgotten."""
        self.new("a", "PJSIP/33-1")
        self.event("SoftHangupRequest", "a", Context="phones", Exten="21")
        self.event("HangupRequest", "a", Context="phones", Exten="h")
        self.event("Hangup", "a", Context="phones", Exten="h")
        talk = self.table.talk_of("a")
        assert talk is not None
        self.assertEqual((talk.hung_up_by, talk.place, talk.ended), (HungUpBy.PBX, ("phones", "21"), self.now))
        self.now += REMEMBER_HUNG_UP_S
        self.new("z", "PJSIP/33-2", "z")
        self.assertIsNone(self.table.talk_of("a"))

    def test_many_talks(self) -> None:
        """The talks of one channel are bounded, and none is lost from the sum."""
        talk = ChannelTalk()
        for place in range(MAX_TALKS + 10):
            talk.begin(10.0 * place)
            talk.end(10.0 * place + 2)
            talk.end(10.0 * place + 5)
        self.assertEqual((len(talk.talks), seconds(talk)), (MAX_TALKS, 2.0 * (MAX_TALKS + 10)))

    def test_clock_set(self) -> None:
        """When the clock is set, talk keeps its length."""
        self.new("a", "PJSIP/33-1")
        self.new("b", "PJSIP/21-1")
        self.enter("a")
        self.enter("b")
        call = self.table.live["a"]
        self.table.clock_set(3600.0)
        self.now += 3600 + 4
        self.leave("a")
        self.now += 10
        self.table.clock_set(-3600.0)
        self.now -= 3600
        self.assertEqual((self.talk_s("a"), call.talk_s(self.now)), (5.0, 5.0))
        self.event("Hangup", "b")
        ended = self.now
        self.table.clock_set(3600.0)
        talk = self.table.talk_of("b")
        assert talk is not None
        self.assertEqual(talk.ended, ended + 3600)
