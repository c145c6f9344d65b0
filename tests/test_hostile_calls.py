"""Calls that bring hostile text: each ends in an orderly way; its row, its log lines and the next calls are whole.

The whole way of a call: FastAGI's bytes, the call flow, the history, the counter, the log.
"""

from __future__ import annotations

import io
import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import msgspec
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogPublisher, globalLogPublisher, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.agi import DialogueWatch
from pbxrouter.agi.prompts import Prompts
from pbxrouter.call import ActiveCalls, CallFlow, HistoryWriter, PinGuard, Refusals, Reports
from pbxrouter.counter.call_table import CallTable
from pbxrouter.counter.counts import CallCounts
from pbxrouter.counter.writer import CounterWriter
from pbxrouter.database.calls import CallRow, Search, find_calls
from pbxrouter.fastagi.server import FastAGIFactory
from pbxrouter.gateway.call_log import CallLog, DialogueLog
from pbxrouter.gateway.log_lines import MAX_MESSAGE, MAX_TRACEBACK, LineCleaner
from pbxrouter.rules import RulesEngine
from pbxrouter.rules.model import Mapping as Rule
from pbxrouter.simulator import SimulatedCall
from pbxrouter.web.api.items import item_of
from pbxrouter.web.api.resources.calls import CallItem
from tests.call.test_flow import DRIVERS
from tests.call.test_history_writer import FakeStore
from tests.databases import new_database
from tests.fakes import AsteriskEnd, workshop_rules
from tests.hostile_text import LONG, TEXTS

FIELDS = ("name", "caller", "extension", "dnid", "channel", "language", "context", "uniqueid", "rdnis", "accountcode")
ANSWERS: Mapping[bytes, bytes] = {
    b"GET FULL VARIABLE": b"200 result=1 (,,,,)",
    b"GET DATA": b"200 result=123456",
    b"GET VARIABLE DIALSTATUS": b"200 result=1 (ANSWER)",
    b"GET VARIABLE ANSWEREDTIME": b"200 result=1 (5)",
    b"HANGUP": b"200 result=1",
    b"": b"200 result=0",
}
"""What Asterisk answers to commands by their beginnings; the first counts."""
FORMS = (
    b"200 result=%s",
    b"200 result=1 (%s)",
    b"200 result=0 endpos=%s",
    b"510 %s",
    b"520-%s\n%s\n520 %s",
    b"100 %s\n%s",
    b"%s",
)


class WholeWay(SynchronousTestCase):
    """A gateway's parts from the bytes to the row, and the log's file."""

    def setUp(self) -> None:
        """Put them together."""
        path = pathlib.Path(self.mktemp()).absolute()
        new_database(path)
        self.connection = database.connect(path)
        self.addCleanup(self.connection.close)
        self.clock = Clock()
        self.clock.advance(1_795_000_000.0)
        store: Any = FakeStore(self.connection)
        self.history = HistoryWriter(store, 90, self.clock, self.clock.seconds)
        self.history.startService()
        self.counts = CallCounts()
        self.counter = CounterWriter("lab", CallTable(self.counts), self.counts, store, self.clock.seconds)
        reports = Reports()
        for listener in (CallLog().report, self.history.report):
            reports.add(listener)
        refusals = Refusals(reports, self.clock.seconds)
        self.active_calls = ActiveCalls()
        engine = RulesEngine(DRIVERS.keys())
        engine.replace(workshop_rules(Rule(9, "_9.", "dial", "SIP")))
        guard = PinGuard(store, (), self.clock.seconds, seconds=self.clock.seconds)
        self.flow = CallFlow(
            engine, DRIVERS, Prompts(), reports, self.active_calls, guard=guard, now=self.clock.seconds
        )
        self.watch = DialogueWatch()
        self.watch.add(DialogueLog().tell)
        self.factory = FastAGIFactory(self.flow.serve, self.clock, self.watch, None, refusals.refused)
        self.file = io.BytesIO()
        self.log = LogPublisher(LineCleaner(), textFileLogObserver(self.file))
        observer = cast(ILogObserver, self._logged)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _logged(self, event: LogEvent) -> None:
        self.log(dict(event))

    def play(self, opening: bytes, answers: Mapping[bytes, bytes] = ANSWERS) -> None:
        """A call, until the gateway closes."""
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        end = AsteriskEnd(protocol)
        end.says(opening)
        for _ in range(200):
            self.clock.advance(0.3)
            sent = end.hears()
            if sent and not end.is_closed:
                reply = next(reply for start, reply in answers.items() if sent.startswith(start))
                end.says(reply + b"\n")
            elif end.is_closed or end.is_aborted:
                break
            else:
                self.clock.advance(30)
        end.goes()
        self.clock.advance(1)

    def check(self, what: str) -> None:
        """The call left a row that can be shown, and the next call leaves one, too."""
        self.play(SimulatedCall("21", caller="33", uniqueid="next.1").environment())
        rows = self.check_left(what)
        self.assertEqual((rows[0].uniqueid, rows[0].outcome), ("next.1", "ANSWER"), what)

    def check_left(self, what: str) -> list[CallRow]:
        """What calls have left is whole, and is cleared; returns their rows, the last first."""
        self.clock.advance(2)
        self.assertEqual((self.history.queued, self.history.outage.away_since), (0, None), what)
        rows = list(find_calls(self.connection, Search(), 5))
        for row in rows:
            self.assertLess(len(msgspec.json.encode(item_of(CallItem, row))), 10_000, what)
            self.assertLess(len(row.trace), 30_000, what)
            self.check_texts(row, what)
        self.assertEqual(list(self.active_calls.calls), [], what)
        written = self.file.getvalue().decode("utf-8")
        self.file.seek(0)
        self.file.truncate()
        for line in written.split("\n"):
            self.assertLess(len(line), 11 * (MAX_MESSAGE + MAX_TRACEBACK), what)
            self.assertTrue(line.replace("\t", "").isprintable(), f"{what}: {line[:300]!a}")
        self.assertLess(len(written), 200_000, what)
        self.assertNotIn("Traceback", written, f"{what}: {written[-3000:]}")
        self.connection.execute("DELETE FROM calls")
        self.connection.execute("DELETE FROM pin_guesses")
        self.connection.commit()
        return rows

    def check_texts(self, row: CallRow, what: str) -> None:
        """All texts of a row are printable and short."""
        for name in ("uniqueid", "caller", "caller_name", "number", "outcome", "cause", "forwarded_by"):
            text = getattr(row, name)
            self.assertTrue(text.isprintable(), f"{what}: {name} {text[:99]!a}")
            self.assertLess(len(text), 2500, f"{what}: {name}")
        for step in row.steps:
            self.assertTrue(step.english.isprintable(), f"{what}: {step.english[:200]!a}")

    def test_opening(self) -> None:
        """Any text in any field of the opening block."""
        for field in FIELDS:
            for name, text in TEXTS.items():
                call = SimulatedCall("21", "33")
                value: Any = text.decode("utf-8", "surrogateescape")
                call = replace(call, **{field: value})
                self.play(call.environment())
                self.check(f"{field}: {name}")

    def test_arguments(self) -> None:
        """Any text in an argument of AGI()."""
        for name, text in TEXTS.items():
            call = SimulatedCall("21", caller="33", arguments=(text.decode("utf-8", "surrogateescape"),))
            self.play(call.environment())
            self.check(f"an argument: {name}")

    def test_replies(self) -> None:
        """Any text in any form of a reply to any command, of calls with a PIN, without one, and from s."""
        for place, (extension, caller) in enumerate((("21", "33"), ("21", "44"), ("s", "33"), ("999", "33"))):
            for command in (
                *filter(None, ANSWERS),
                b"ANSWER",
                b"CHANNEL STATUS",
                b"EXEC",
                b"SET VARIABLE",
                b"STREAM FILE",
            ):
                for form in FORMS:
                    for name, text in self.texts(form):
                        call = SimulatedCall(extension, caller=caller, dnid="s", uniqueid="it.1")
                        reply = form.replace(b"%s", text)
                        others = {start: answer for start, answer in ANSWERS.items() if start != command}
                        if place != len(name) % 4:  # each text with each command and form, once
                            continue
                        self.play(call.environment(), {command: reply} | others)
                        self.assertTrue(self.check_left(f"{extension} {command!r}: {form!r} {name}"))
                    self.check(f"{extension} {command!r}: {form!r}, the next call")

    def texts(self, form: bytes) -> Iterator[tuple[str, bytes]]:
        """The texts; the very long one in the forms in which it is kept."""
        for name, text in TEXTS.items():
            if text is not LONG or form in FORMS[:2]:
                yield name, text
