"""The counter's rows: the column of each figure, each Asterisk by itself."""

from __future__ import annotations

from pbxrouter.counter import storage
from pbxrouter.counter.call_table import ChannelTalk, LiveCall
from pbxrouter.counter.counts import ALL, Counts
from pbxrouter.counter.storage import Batch, Kept
from pbxrouter.database import transaction
from pbxrouter.errors import StoreError
from tests.counter_fakes import NOW, EnginesCase
from tests.database.postgresql import listen


class ColumnTests(EnginesCase):
    """Which value is in which column."""

    def write(self, asterisk: str = "x", **batch: object) -> None:
        """Write a batch of counts to the database."""
        storage.write(self.connection, Batch(asterisk, **batch))  # type: ignore[arg-type]

    def test_minutes(self) -> None:
        """Each figure is in its own column, and is added there; the peak is the highest."""
        columns = "minute, asterisk, kind, name, started, answered, finished, talked, served, talk_seconds, peak"
        self.write(minutes={(NOW, "user", "pepe"): Counts(1, 2, 3, 4, 5, 6.5, 7)})
        self.assertEqual(
            self.rows(f"SELECT {columns} FROM counter_minutes"),
            [(NOW, "x", "user", "pepe", 1, 2, 3, 4, 5, 6.5, 7)],
        )
        self.write(minutes={(NOW, "user", "pepe"): Counts(10, 20, 30, 40, 50, 60.0, 9)})
        self.write(minutes={(NOW, "user", "pepe"): Counts(peak=8)})
        self.assertEqual(
            self.rows(f"SELECT {columns} FROM counter_minutes"),
            [(NOW, "x", "user", "pepe", 11, 22, 33, 44, 55, 66.5, 9)],
        )

    def test_failures(self) -> None:
        """Failures have one row for each minute, label and reason."""
        self.write(minutes={(NOW, "user", "pepe"): Counts(failed={"busy": 2}), (NOW, *ALL): Counts(failed={"busy": 3})})
        self.assertEqual(
            self.rows("SELECT minute, asterisk, kind, name, reason, calls FROM counter_failures ORDER BY kind"),
            [(NOW, "x", "all", "", "busy", 3), (NOW, "x", "user", "pepe", "busy", 2)],
        )

    def test_no_wait_for_the_disk(self) -> None:
        """Counts are written each second, so a commit of SQLite does not wait until they would outlast a power cut.

        One of PostgreSQL waits: a restart of the server would lose what is taken for written.
        """
        asked: list[str] = []
        listen(self.connection, asked.append)
        self.write(seen=float(NOW))
        if self.is_sqlite:
            self.assertEqual(self.rows("PRAGMA synchronous"), [(1,)])  # NORMAL
        else:
            self.assertNotIn("synchronous_commit", " ".join(asked))

    def test_live_columns(self) -> None:
        """Each column of a call in progress."""
        call = LiveCall("a", 1.0, 2.0, {"c", "b"}, "33", "22", "BUSY", "17", "ANSWER", {("user", "pepe")}, certain=True)
        self.write(live={"a": storage.live_row(call)})
        self.assertEqual(
            self.rows(
                "SELECT asterisk, linkedid, started, answered, channels, caller, number, dial_status, outcome, labels,"
                " certain FROM counter_live"
            ),
            [("x", "a", 1.0, 2.0, "b c", "33", "22", "BUSY", "ANSWER", '[["user", "pepe"]]', 1)],
        )
        call.certain, call.labels = False, set()
        self.write(live={"a": storage.live_row(call)})
        self.assertEqual(self.rows("SELECT labels, certain FROM counter_live"), [("[]", 0)])

    def test_talk_that_is_kept(self) -> None:
        """Of a call without talk nothing of it is kept; of an answered one its silence, in whatever bridge it was."""
        self.write(live={"a": storage.live_row(LiveCall("a", 1.0, channels={"a"}))})
        self.assertEqual(self.rows("SELECT talks FROM counter_live"), [("{}",)])
        call = LiveCall("a", 1.0, answered=2.0, channels={"a"}, silent_s=3.0, silent_since=9.0)
        self.write(live={"a": storage.live_row(call)})
        (kept,) = storage.load(self.connection, "x").live
        self.assertEqual((kept.silent_s, kept.silent_since, kept.connected), (3.0, 9.0, False))

    def test_row_of_a_call_stays_the_same(self) -> None:
        """A call that has not changed has the same row, also if its channels and labels came in another order."""
        labels = {("user", "pepe"), ("mapping", "2X"), ("extension", "33")}
        rows = {
            storage.live_row(LiveCall("a", 1.0, channels=set(channels), labels=set(order)))
            for channels in ("abcdefgh", "hgfedcba")
            for order in (sorted(labels), sorted(labels, reverse=True))
        }
        (row,) = rows
        self.assertEqual(row[2], "a b c d e f g h")
        self.assertEqual(row[7], '[["extension", "33"], ["mapping", "2X"], ["user", "pepe"]]')

    def test_bytes_that_are_no_text(self) -> None:
        """Bytes that are not UTF-8 are escaped in every text that a caller can send."""
        row = storage.live_row(LiveCall("a", 1.0, caller="3\udcff", number="2\udcfe", dial_status="B\udcfd"))
        self.write(live={"a": row})
        self.assertEqual(
            self.rows("SELECT caller, number, dial_status FROM counter_live"),
            [("3\\udcff", "2\\udcfe", "B\\udcfd")],
        )

    def test_gone(self) -> None:
        """Rows of calls that are gone are deleted for this Asterisk only."""
        rows = {name: storage.live_row(LiveCall(name, 1.0)) for name in ("a", "b")}
        for asterisk in ("x", "y"):
            self.write(asterisk, live=rows)
        self.write("x", gone=["a", "never there"])
        self.assertEqual(
            self.rows("SELECT asterisk, linkedid FROM counter_live ORDER BY 1, 2"),
            [("x", "b"), ("y", "a"), ("y", "b")],
        )

    def test_all_live(self) -> None:
        """A whole list replaces the rows of this Asterisk."""
        rows = {name: storage.live_row(LiveCall(name, 1.0)) for name in ("a", "b")}
        for asterisk in ("x", "y"):
            self.write(asterisk, live=rows)
        self.write("x", live={"b": rows["b"]}, all_live=True)
        self.assertEqual(
            self.rows("SELECT asterisk, linkedid FROM counter_live ORDER BY 1, 2"),
            [("x", "b"), ("y", "a"), ("y", "b")],
        )

    def test_oldest_first(self) -> None:
        """Calls are read in the order in which they began, for this Asterisk only."""
        for name, started in (("late", 3.0), ("early", 1.0), ("mid", 2.0)):
            self.write(live={name: storage.live_row(LiveCall(name, started))})
        self.write("y", live={"other": storage.live_row(LiveCall("other", 0.0))})
        kept = storage.load(self.connection, "x")
        self.assertEqual([call.linkedid for call in kept.live], ["early", "mid", "late"])

    def test_each_field_comes_back(self) -> None:
        """Every stored field is read again; a call without channels has none."""
        call = LiveCall("a", 1.0, 2.0, {"b", "c"}, "33", "22", "BUSY", "", "ANSWER", {("user", "pepe")}, certain=False)
        bare = LiveCall("z", 3.0, certain=False)
        self.write(live={"a": storage.live_row(call), "z": storage.live_row(bare)})
        self.assertEqual(storage.load(self.connection, "x").live, (call, bare))

    def test_labels_damaged_by_hand(self) -> None:
        """Labels that are no list of pairs are left out; the call is kept."""
        self.write(live={"a": storage.live_row(LiveCall("a", 1.0))})
        for text in ("", "{", "5", "null", "[1]", '[["a"]]', '[["a", "b", "c"]]', "[" * 100_000):
            self.connection.execute("UPDATE counter_live SET labels = ?", (text,))
            (call,) = storage.load(self.connection, "x").live
            self.assertEqual((call.linkedid, call.labels), ("a", set()), text)
        self.connection.execute("""UPDATE counter_live SET labels = '[[6, 5]]'""")
        self.assertEqual(storage.load(self.connection, "x").live[0].labels, {("6", "5")})

    def test_unreadable(self) -> None:
        """A database that cannot be used is a StoreError for each function, and nothing is left half done."""
        self.connection.execute("DROP TABLE counter_gaps")
        self.connection.execute("DROP TABLE counter_live")
        self.connection.commit()
        counts = {(NOW, *ALL): Counts(started=1)}
        self.assertRaises(StoreError, storage.load, self.connection, "x")
        self.assertRaises(StoreError, storage.write, self.connection, Batch("x", counts, gaps=[(1.0, 2.0)]))
        self.assertRaises(StoreError, storage.forget, self.connection, NOW)
        self.assertFalse(self.connection.in_transaction)
        self.assertEqual(self.rows("SELECT * FROM counter_minutes"), [])


class SeenTests(EnginesCase):
    """Until when calls were counted, and when Asterisk was started."""

    def test_kept(self) -> None:
        """The values of the last run are kept for this Asterisk."""
        storage.write(self.connection, Batch("x", seen=NOW, started_up="then"))
        storage.write(self.connection, Batch("y", seen=NOW + 1, started_up="later"))
        self.assertEqual(storage.load(self.connection, "x"), Kept(NOW, "then", ()))
        self.assertEqual(storage.load(self.connection, "y"), Kept(NOW + 1, "later", ()))

    def test_unknown_leaves_what_is_there(self) -> None:
        """A batch without a time of start or without ``seen`` changes neither."""
        storage.write(self.connection, Batch("x", seen=NOW, started_up="then"))
        storage.write(self.connection, Batch("x", seen=NOW + 5))
        storage.write(self.connection, Batch("x", started_up=""))
        self.assertEqual(self.rows("SELECT * FROM counter_asterisks"), [("x", NOW, NOW + 5, "then")])
        storage.write(self.connection, Batch("y", started_up="then"))
        self.assertEqual(self.rows("SELECT asterisk FROM counter_asterisks"), [("x",)])

    def test_started_up_of_its_own(self) -> None:
        """A new start time replaces the one of this Asterisk only."""
        for name in ("x", "y"):
            storage.write(self.connection, Batch(name, seen=NOW, started_up="then"))
        storage.write(self.connection, Batch("x", seen=NOW, started_up="now"))
        self.assertEqual(
            self.rows("SELECT asterisk, started_up FROM counter_asterisks ORDER BY 1"), [("x", "now"), ("y", "then")]
        )

    def test_gaps(self) -> None:
        """A gap that is written again stays one gap, with its last values."""
        storage.write(self.connection, Batch("x", gaps=[(1.0, 2.0), (3.0, 4.0)]))
        storage.write(self.connection, Batch("x", gaps=[(3.0, 5.0)]))
        self.assertEqual(self.rows("SELECT * FROM counter_gaps ORDER BY began"), [("x", 1.0, 2.0), ("x", 3.0, 5.0)])


class TalkTests(EnginesCase):
    """The talk of calls in progress comes back."""

    def test_comes_back(self) -> None:
        """A call's silence, and each channel's talks; a channel of which nothing was stored has had none."""
        call = LiveCall("a", 10.0, 20.0, {"a", "b", "c"}, silent_s=2.5, silent_since=40.0)
        talks = {
            "a": ChannelTalk(talks=[(20.0, 30.0)], since=35.0),
            "b": ChannelTalk(certain=False),
            "c": ChannelTalk(),
        }
        storage.write(self.connection, Batch("x", live={"a": storage.live_row(call, talks.get)}, seen=NOW))
        kept = storage.load(self.connection, "x")
        self.assertEqual((kept.live[0].silent_s, kept.live[0].silent_since), (2.5, 40.0))
        self.assertEqual(kept.talks, talks)

    def test_without(self) -> None:
        """Of a row from before, or one that was damaged, the call has talked since its answer."""
        call = LiveCall("a", 10.0, 20.0, {"a"}, silent_s=2.5)
        storage.write(self.connection, Batch("x", live={"a": storage.live_row(call)}, seen=NOW))
        for text in ("", "{", "[]", "7", '{"channels": {}}', '{"silent": 1, "since": 2, "channels": {"a": 1}}'):
            with transaction(self.connection):
                self.connection.execute("UPDATE counter_live SET talks = :talks", {"talks": text})
            (found,) = storage.load(self.connection, "x").live
            self.assertEqual((found.silent_s, found.silent_since), (0.0, None), text)


class ForgetTests(EnginesCase):
    """forget: what is too old is deleted, by minutes and by the ends of gaps."""

    def test_bounds(self) -> None:
        """A minute or a gap that ends at that very second stays; a gap that reaches into the kept time stays whole."""
        for minute in (NOW - 60, NOW, NOW + 60):
            counts = Counts(started=1, failed={"busy": 1})
            storage.write(self.connection, Batch("x", {(minute, *ALL): counts}))
        storage.write(self.connection, Batch("x", gaps=[(NOW - 9, NOW - 1), (NOW - 8, NOW), (NOW - 7, NOW + 1)]))
        storage.forget(self.connection, NOW)
        for table in ("counter_minutes", "counter_failures"):
            self.assertEqual(self.rows(f"SELECT minute FROM {table} ORDER BY 1"), [(NOW,), (NOW + 60,)])
        self.assertEqual(self.rows("SELECT began FROM counter_gaps ORDER BY 1"), [(NOW - 8,), (NOW - 7,)])
