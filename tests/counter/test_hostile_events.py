"""AMI events with hostile text: the counter writes its rows, restores them, and shows the calls."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from pbxrouter.call import ActiveCalls
from pbxrouter.counter import storage
from pbxrouter.counter.call_table import CallTable, LiveCall
from pbxrouter.counter.counts import CallCounts
from pbxrouter.counter.live_calls import live_calls
from pbxrouter.counter.writer import CounterWriter
from tests.counter_fakes import NOW, DatabaseCase, FakeStore
from tests.hostile_text import TEXTS

FIELDS = ("CallerIDNum", "CallerIDName", "Exten", "Linkedid", "Uniqueid", "BridgeUniqueid", "Cause", "DialStatus")
"""The headers of which the counter keeps or compares something."""


class OneAsterisk:
    """The counter of one Asterisk, as far as its calls are shown."""

    asterisk, in_sync, changes = "lab", True, 1

    def __init__(self, table: CallTable) -> None:
        self.live = table.live.values()
        self.call_of = table.call_of


class HostileEvents(DatabaseCase):
    """A table of calls, and its writer."""

    def setUp(self) -> None:
        """Make the table and the writer, on a database of their own."""
        super().setUp()
        self.counting = CallCounts()
        self.table = CallTable(self.counting)
        store: Any = FakeStore(self.connection)
        self.writer = CounterWriter("lab", self.table, self.counting, store, lambda: float(NOW))

    def call(self, number: int, spoilt: str, text: str) -> None:
        """A call with hostile text in one header of each event."""
        headers = {"Uniqueid": f"{number}.1", "Linkedid": f"{number}.1", "CallerIDNum": "33", "Exten": "21"}
        headers |= {"BridgeUniqueid": "b", "DialStatus": "BUSY", "Cause": "17"}
        headers[spoilt] = text

        def heads(name: str) -> str:
            return headers.get(name, "")

        for name in ("Newchannel", "BridgeEnter", "DialEnd", "BridgeLeave", *(["Hangup"] if number % 2 else [])):
            self.table.event(name, heads, NOW + number)

    def test_any_text(self) -> None:
        """Counts and calls in progress are written and restored; the calls are shown, short and printable."""
        number = 0
        for field in FIELDS:
            for name, text in TEXTS.items():
                for _ in range(2):
                    number += 1
                    self.call(number, field, text.decode("utf-8", "surrogateescape"))
                self.writer.seen = float(NOW + number)
                self.successResultOf(Deferred.fromCoroutine(self.writer.write()))
                where = f"{field}: {name}"
                self.assertEqual((self.writer.outage.trouble, self.writer.set_aside), (None, 0), where)
        restored = CallTable(CallCounts())
        restored.restore(storage.load(self.connection, "lab").live)
        self.assertEqual(restored.channels, self.table.channels)
        shown = live_calls(ActiveCalls(), [OneAsterisk(self.table)], 1000).calls
        self.assertEqual(len(shown), len(self.table.live))
        for view in shown:
            for part in (view.key, view.caller, view.number, view.pattern):
                self.assertTrue(part.isprintable() and len(part) < 1500, view)

    def test_written_by_hand(self) -> None:
        """A row that holds bytes, words or nothing where it should not is restored all the same."""
        self.write_live()
        for value in (b"\xff", "x", "", 5, -1e300, float("inf")):
            self.connection.execute("UPDATE counter_live SET started = ?, channels = ?, labels = ?", (value,) * 3)
            self.connection.execute("UPDATE counter_asterisks SET last_seen = ?, started_up = ?", (value, value))
            table = CallTable(CallCounts())
            kept = storage.load(self.connection, "lab")
            table.restore(kept.live)
            self.assertIsInstance(kept.last_seen, float)

    def write_live(self) -> None:
        """Write a call in progress."""
        live = {"1.1": storage.live_row(LiveCall("1.1", 1.0, channels={"1.1"}))}
        storage.write(self.connection, storage.Batch("lab", live=live, seen=1.0, started_up="then"))
