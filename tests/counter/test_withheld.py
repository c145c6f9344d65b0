"""Events that Asterisk withholds show by others."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.counter.call_table import DOCTOR_PREFIX
from pbxrouter.counter.service import POLL_S, TELL_TALK
from pbxrouter.counter.withheld import SURE_S, EventWatch
from tests.counter.test_service import ServiceCase
from tests.counter_fakes import NOW


class WatchTests(SynchronousTestCase):
    """EventWatch alone."""

    def test_mentioned(self) -> None:
        """Two channels that mention what never came are enough; the event itself ends it."""
        watch = EventWatch()
        watch.mentioned("Newchannel", "a")
        watch.mentioned("Newchannel", "a")
        self.assertEqual(watch.withheld, ())
        for uniqueid in "bcd":
            watch.mentioned("Newchannel", uniqueid)
            self.assertEqual(watch.withheld, ("Newchannel",))
        self.assertIn("Asterisk withholds Newchannel: see eventfilter", watch.sentence.english)
        watch.came("Newchannel")
        self.assertEqual(watch.withheld, ())
        for uniqueid in "cde":  # it comes, so these are accidents, or forged
            watch.mentioned("Newchannel", uniqueid)
        self.assertEqual(watch.withheld, ())

    def test_listed(self) -> None:
        """Asterisk's list proves it, also where the event comes for other channels; not for a garbled one."""
        watch = EventWatch()
        watch.came("Newchannel")
        watch.garbled()
        watch.listed("Newchannel")
        self.assertEqual(watch.withheld, ())
        watch.listed("Newchannel")
        watch.listed("Hangup")
        watch.came("Newchannel")
        self.assertEqual(watch.withheld, ("Hangup", "Newchannel"))
        self.assertIn("withholds Hangup, Newchannel: ", watch.sentence.english)
        watch.came("Hangup")
        self.assertEqual(watch.withheld, ("Newchannel",))
        watch.connected()
        self.assertEqual((watch.withheld, watch.has_proof), ((), False))

    def test_proof(self) -> None:
        """Counting rests on beginnings and ends."""
        watch = EventWatch()
        watch.came("Newchannel")
        self.assertFalse(watch.has_proof)
        watch.came("Hangup")
        self.assertTrue(watch.has_proof)


class WithheldTests(ServiceCase):
    """What the counter does about it."""

    def assert_unknown(self, name: str, unknown_s: float) -> None:
        """Check that nothing is known since so many seconds, and why."""
        self.assertEqual((self.counter.active, self.counter.in_sync), (None, False))
        tells_talk = name in TELL_TALK
        self.assertEqual((self.counter.sees_talk, self.counter.follows_talk), (not tells_talk, not tells_talk))
        self.assertEqual(self.counter.withheld, (name,))
        assert self.counter.trouble is not None
        self.assertIn(f"withholds {name}", self.counter.trouble.english)
        self.assertGreaterEqual(self.counter.unknown_s, unknown_s)

    def test_beginnings(self) -> None:
        """Channels that end and had not begun: what was counted is unknown, from the connection on."""
        self.manager.up()
        self.wait(60)
        for uniqueid in "ab":
            self.manager.says("Hangup", uniqueid, uniqueid)
        before = self.counter.changes
        self.wait(2)
        self.assert_unknown("Newchannel", 60)
        self.assertGreater(self.counter.changes, before)
        last_seen = self.rows("SELECT last_seen FROM counter_asterisks")[0][0]
        self.assertLessEqual(last_seen, NOW + 1)
        self.wait(20)
        self.assertEqual(self.counter.active, None)
        self.manager.down()
        self.manager.up()
        self.wait(2)
        self.assertEqual((self.counter.active, self.counter.trouble), (0, None))

    def test_one_is_an_accident(self) -> None:
        """One channel that is not known, or several where beginnings come, show nothing."""
        self.manager.up()
        self.manager.says("Hangup", "a", "a")
        self.call("b")
        for uniqueid in "cde":
            self.manager.says("Hangup", uniqueid, uniqueid)
        self.wait(2)
        self.assertEqual((self.counter.active, self.counter.trouble), (1, None))

    def test_nothing_comes(self) -> None:
        """Without any event Asterisk's count of calls tells that there are some, and its list that none was told of."""
        self.manager.up()
        self.wait(30)
        self.assertEqual(self.counter.active, 0)
        self.manager.channels = [self.listed("a", "00:00:12"), self.listed("b", "00:00:11")]
        self.manager.status = {"CoreCurrentCalls": "1"}
        self.wait(20)
        self.assert_unknown("Newchannel", 30)

    def test_calls_that_nobody_saw(self) -> None:
        """Calls too short for any list show by Asterisk's count of all it has had."""
        self.manager.status = {"CoreProcessedCalls": "7"}
        self.manager.up()
        self.manager.status = {"CoreProcessedCalls": "8"}
        self.wait(20)
        self.assertEqual(self.counter.trouble, None)  # one may have been under way
        self.manager.status = {"CoreProcessedCalls": "12"}
        self.wait(20)
        self.assert_unknown("Newchannel", 20)

    def test_calls_while_there_was_no_connection(self) -> None:
        """Calls that came while there was no connection were not withheld; those that come after it may be."""
        self.manager.status = {"CoreProcessedCalls": "7"}
        self.manager.up()
        self.wait(20)
        self.manager.down()
        self.manager.status = {"CoreProcessedCalls": "50"}
        self.manager.up()
        self.wait(20)
        self.assertEqual((self.counter.active, self.counter.trouble), (0, None))
        self.manager.status = {"CoreProcessedCalls": "52"}
        self.wait(20)
        self.assert_unknown("Newchannel", 20)

    def test_ends(self) -> None:
        """A channel that the list lacks, and whose end does not come."""
        self.manager.up()
        self.call("a")
        self.wait(400)
        self.assert_unknown("Hangup", 300)

    def test_ends_show_soon(self) -> None:
        """Asterisk has fewer calls than are known, on a connection on which none has ended."""
        self.manager.up()
        self.call("a")
        self.call("b")
        self.manager.channels = [self.listed("a"), self.listed("b")]
        self.manager.status = {"CoreCurrentCalls": "2"}
        self.wait(20)
        self.assertEqual(self.counter.active, 2)
        self.manager.channels, self.manager.status = [], {"CoreCurrentCalls": "0"}
        self.wait(35)
        self.assert_unknown("Hangup", 50)

    def test_who_hangs_up(self) -> None:
        """Talks that end and nobody has hung up: four, since a limit of the length may end some."""
        self.manager.up()
        for number, uniqueid in enumerate("abcd", 1):
            self.assertEqual(self.counter.trouble, None)
            self.assertFalse(self.counter.sees_who_hangs_up)
            self.call(uniqueid)
            other = f"{uniqueid}-2"
            self.manager.says("Newchannel", other, uniqueid, Channel="PJSIP/2-1")
            for name in ("BridgeEnter", "BridgeLeave", "Hangup"):
                for channel in (uniqueid, other):
                    self.manager.says(name, channel, uniqueid, Channel="PJSIP/1-1", BridgeUniqueid=f"b{number}")
            self.wait(2)
        self.wait(2)
        self.assert_unknown("HangupRequest", 8)
        self.assertFalse(self.counter.sees_who_hangs_up)
        self.manager.says("HangupRequest", "e", "e")
        self.wait(4)
        self.assertEqual((self.counter.trouble, self.counter.sees_who_hangs_up), (None, True))

    def test_end_that_comes_late(self) -> None:
        """A Hangup that comes within seconds of a list that lacks its channel is not withheld."""
        self.manager.up()
        self.call("a")
        for _ in range(2):
            self.manager.says("Shutdown")
            self.wait(POLL_S)
            self.assertEqual((self.counter.active, self.counter.trouble), (0, None))
        self.manager.says("Hangup", "a", "a")
        self.wait(SURE_S)
        self.manager.says("Shutdown")
        self.wait(POLL_S)
        self.assertEqual((self.counter.active, self.counter.trouble), (0, None))

    def test_late_events_of_calls_of_before(self) -> None:
        """Calls that began before the connection and have ended show nothing by an event that comes behind."""
        self.manager.channels = [self.listed("a"), self.listed("b")]
        self.manager.up()
        self.manager.channels = []
        for name in ("Hangup", "SoftHangupRequest"):
            for uniqueid in "ab":
                self.manager.says(name, uniqueid, uniqueid)
            self.wait(3)
            self.assertEqual((self.counter.active, self.counter.trouble), (0, None), name)

    def test_of_the_doctor(self) -> None:
        """Channels that the doctor makes have no Newchannel that is counted, and show nothing."""
        self.manager.up()
        for number in range(3):
            self.manager.says("Hangup", f"{DOCTOR_PREFIX}{number}", f"{DOCTOR_PREFIX}{number}")
        self.wait(3)
        self.assertEqual((self.counter.active, self.counter.trouble), (0, None))

    def test_before_the_list(self) -> None:
        """While the list of channels is awaited, events of channels that are not known yet show nothing."""
        self.manager.hold.add("CoreShowChannels")
        self.manager.up()
        for uniqueid in "abc":
            self.manager.says("BridgeLeave", uniqueid, uniqueid, BridgeUniqueid="x")
            self.manager.says("Hangup", uniqueid, uniqueid)
        self.manager.hold.clear()
        for waiting in self.manager.held:
            waiting.callback(None)
        self.wait(3)
        self.assertEqual((self.counter.active, self.counter.trouble), (0, None))

    def test_events_of_no_channel(self) -> None:
        """Events that are not of one channel, such as DialBegin and Rename, show nothing of channels not known."""
        self.manager.up()
        for name in ("DialBegin", "DialEnd", "Rename", "LocalOptimizationBegin"):
            for uniqueid in "abc":
                self.manager.says(name, uniqueid, uniqueid)
        self.wait(3)
        self.assertEqual((self.counter.active, self.counter.trouble), (0, None))

    def test_bridges(self) -> None:
        """Channels that leave a bridge and had not entered it; leaving a holding bridge shows nothing."""
        self.manager.up()
        for uniqueid in "abcd":
            self.call(uniqueid)
        self.manager.says("BridgeEnter", "a", "a", BridgeUniqueid="h", BridgeTechnology="holding_bridge")
        for uniqueid in "ab":
            self.manager.says("BridgeLeave", uniqueid, uniqueid, BridgeUniqueid="h")
        self.wait(2)
        self.assertEqual(self.counter.active, 4)
        self.setUp()
        self.manager.up()
        for uniqueid in "cd":
            self.call(uniqueid)
            self.manager.says("BridgeLeave", uniqueid, uniqueid, BridgeUniqueid="x")
        self.wait(2)
        self.assert_unknown("BridgeEnter", 0)

    def dial(self, uniqueid: str, *events: str) -> None:
        """Let a phone be dialled by the channel and hang up, with these events between."""
        self.call(uniqueid)
        self.manager.says("Newchannel", f"{uniqueid}-2", uniqueid)
        for name in events:
            headers = {"DestUniqueid": f"{uniqueid}-2", "DialStatus": "ANSWER"} if name.startswith("Dial") else {}
            member = uniqueid if name.startswith("Dial") else f"{uniqueid}-2"
            self.manager.says(name, member, uniqueid, BridgeUniqueid=f"bridge of {uniqueid}", **headers)
        self.manager.says("Hangup", f"{uniqueid}-2", uniqueid)
        self.wait(1)

    def test_ends_of_bridges(self) -> None:
        """Channels that hang up in a bridge: they have left it."""
        self.manager.up()
        for uniqueid in "ab":
            self.dial(uniqueid, "DialBegin", "DialEnd", "BridgeEnter")
        self.wait(2)
        self.assert_unknown("BridgeLeave", 0)
        self.setUp()
        self.manager.up()
        for uniqueid in "abcd":
            self.dial(uniqueid, "DialBegin", "DialEnd", "BridgeEnter", "BridgeLeave")
        self.wait(2)
        self.assertEqual(self.counter.trouble, None)

    def test_all_of_bridges(self) -> None:
        """Phones that answer a Dial and come into no bridge."""
        self.manager.up()
        for uniqueid in "ab":
            self.dial(uniqueid, "DialBegin", "DialEnd")
        self.wait(2)
        self.assert_unknown("BridgeEnter", 0)
        self.dial("c", "BridgeEnter")
        self.wait(4)
        self.assertEqual(self.counter.trouble, None)

    def test_ends_of_dialling(self) -> None:
        """Phones that hang up while their dialling has not ended; those that an Originate dials are not told of."""
        self.manager.up()
        for uniqueid in "ab":
            self.manager.says("Newchannel", uniqueid, uniqueid)
            self.manager.says("DialBegin", "", "", DestUniqueid=uniqueid)
            self.manager.says("Hangup", uniqueid, uniqueid)
        self.wait(2)
        self.assertEqual(self.counter.trouble, None)
        for uniqueid in "cd":
            self.dial(uniqueid, "DialBegin")
        self.wait(2)
        self.assert_unknown("DialEnd", 0)
