"""The call history: pages, filters and figures, on a real database."""

from __future__ import annotations

import dataclasses
import json
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.counter.outcome_figures import busiest, per_minute, totals
from pbxrouter.database.calls import history
from pbxrouter.database.calls.history import (
    MAX_STEPS,
    CallRow,
    KeptCall,
    Search,
    add_calls,
    call,
    complete_calls,
    english_of,
    find_calls,
    find_page,
    forget_calls,
    outcomes,
    steps_of,
    trace_text,
)
from pbxrouter.errors import NotThere
from pbxrouter.text.sentences import Sentence, sentence
from tests.database.postgresql import OnBothEngines, listen


def row(
    began: float = 0.0, caller: str = "33", number: str = "21", outcome: str = "ANSWER", *trace: Sentence
) -> CallRow:
    """The history row of a call."""
    return CallRow(
        began, began + 5, "u", caller, "", number, "allow", "2X", "dial", "SIP", "33", outcome, "", 3,
        trace_text(trace),
    )  # fmt: skip


VALUES: Final = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.just("x" * 2001)),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["{a} is {b}", "{a}"]), st.dictionaries(st.sampled_from("ab"), inner)),
        st.lists(inner, max_size=2),
    ),
    max_leaves=3,
)
MESSAGES: Final = st.one_of(
    st.sampled_from(["{a} is {b}", "{a}", "plain", "{", "{{a}}", "{0}", "{a.b}", "{a!r}", "\t{a}", "x" * 2001]), VALUES
)
STEPS: Final = st.lists(
    st.one_of(st.tuples(MESSAGES, st.dictionaries(st.sampled_from("ab0"), VALUES)), VALUES), max_size=3
)


class HistoryCase(OnBothEngines):
    """Test case with a new database."""

    def setUp(self) -> None:
        """Create the database and connect to it."""
        self.connection = self.database()


CALLS = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.sampled_from(["33", "34", "330", ""]),
        st.sampled_from(["21", "22", "2"]),
        st.sampled_from(["ANSWER", "BUSY"]),
        st.sampled_from(["", "", "21", "PJSIP/21", "PJSIP/22, PJSIP/21", "SIP/221"]),
        st.sampled_from(["", "a", "b*"]),
    ),
    max_size=12,
)
SEARCHES = st.builds(
    Search,
    caller=st.sampled_from([None, "33", "3*", "33*", "9"]),
    number=st.sampled_from([None, "21", "2*"]),
    outcome=st.sampled_from([None, "BUSY", "FAILED"]),
    forwarded_by=st.sampled_from([None, None, "21", "PJSIP/21", "2*", "PJSIP/2*", "1"]),
    asterisk=st.sampled_from([None, None, "", "a", "b*", "c"]),
    since=st.sampled_from([None, 2.0]),
    until=st.sampled_from([None, 5.0]),
)


class Pages(HistoryCase):
    """Pages, forward and backward."""

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(CALLS, SEARCHES, st.integers(1, 4))
    def test_all_pages_are_all_that_fits(
        self, calls: list[tuple[int, str, str, str, str, str]], search: Search, limit: int
    ) -> None:
        """For any search the pages have each call once, newest first, and the same backward."""
        self.connection.execute("DELETE FROM calls")
        self.connection.commit()
        add_calls(
            self.connection,
            [
                dataclasses.replace(
                    row(float(record[0]), record[1], record[2], record[3]), forwarded_by=record[4], asterisk=record[5]
                )
                for record in calls
            ],
        )
        fitting = [record for record in self.everything() if fits(record, search)]
        found, pages, page = [], [], find_page(self.connection, search, limit)
        self.assertIsNone(page.newer)
        while True:
            found += page.calls
            pages.append(page.calls)
            if page.older is None:
                break
            page = find_page(self.connection, search, limit, before=page.older)
        self.assertEqual(found, fitting)
        back = [page.calls]
        while page.newer is not None:
            page = find_page(self.connection, search, limit, after=page.newer)
            back.append(page.calls)
        self.assertEqual([record for part in reversed(back) for record in part], fitting)
        self.assertEqual([KeptCall.__eq__(a, b) for a, b in zip(found, fitting, strict=True)].count(False), 0)
        self.assertEqual(len(list(find_calls(self.connection, search, 5))), min(5, len(fitting)))

    def everything(self) -> list[KeptCall]:
        """All calls, newest first, by a plain query."""
        names = ", ".join(CallRow.__match_args__)
        return [
            KeptCall(*record)
            for record in self.connection.execute(
                f"SELECT {names}, call_id FROM calls ORDER BY began DESC, call_id DESC"
            )
        ]

    def test_one(self) -> None:
        """A call is found by its number."""
        add_calls(self.connection, [row(1.0)])
        self.assertEqual(call(self.connection, 1).caller, "33")
        for number in (2, 10**30, -(10**30)):
            error = self.assertRaises(NotThere, call, self.connection, number)
            self.assertEqual(str(error), f"there is no call {number} in the history; it may have been deleted")

    def test_more_than_few(self) -> None:
        """Filters by values of more than FEW calls find the newest."""
        self.patch(history, "FEW", 500)
        add_calls(self.connection, [row(float(index)) for index in range(600)])
        for search in (Search("33"), Search("3*"), Search("33", outcome="ANSWER"), Search("3*", "2*")):
            page = find_page(self.connection, search, 2)
            self.assertEqual([record.began for record in page.calls], [599.0, 598.0])

    def test_bulk(self) -> None:
        """A filter by a beginning sorts few calls, and reads many in the order of time."""
        self.patch(history, "BULK", 3)
        self.patch(history, "FEW", 10)
        add_calls(self.connection, [row(float(index), f"{index % 4}3") for index in range(100)])
        asked: list[str] = []
        listen(self.connection, asked.append)
        for since, index in ((None, "calls_by_time"), (80.0, "calls_by_caller")):
            search = Search("3*", since=since)
            fitting = [record for record in self.everything() if fits(record, search)]
            found, page = [], find_page(self.connection, search, 3)
            by_index = f"INDEXED BY {index}" if self.is_sqlite else ""
            self.assertTrue([statement for statement in asked if by_index in statement and "ORDER BY" in statement])
            asked.clear()
            while page.older is not None:
                found += page.calls
                page = find_page(self.connection, search, 3, before=page.older)
            self.assertEqual(found + page.calls, fitting)
            asked.clear()

    def test_a_star_alone_is_a_number(self) -> None:
        """A beginning has at least one character before its star; an outcome is never a beginning."""
        add_calls(self.connection, [row(1.0, "*"), row(2.0, "*5"), row(3.0, "3", "21", "BUSY")])
        for search, began in (
            (Search("*"), [1.0]),
            (Search("**"), [2.0, 1.0]),
            (Search("3*"), [3.0]),
            (Search(outcome="B*"), []),
        ):
            self.assertEqual([record.began for record in find_page(self.connection, search, 9).calls], began)

    def test_forgetting(self) -> None:
        """Older calls are deleted."""
        add_calls(self.connection, [row(1.0), row(2.0)])
        forget_calls(self.connection, 2.0)
        self.assertEqual([record.began for record in find_page(self.connection, Search(), 9).calls], [2.0])


class IndexTests(HistoryCase):
    """How SQLite finds a page; PostgreSQL chooses an index by itself."""

    engine = "SQLite"

    def index_of(self, search: Search, limit: int = 9) -> tuple[str, int]:
        """The index by which a page is found, and the number of counts that this took."""
        asked: list[str] = []
        listen(self.connection, asked.append)
        find_page(self.connection, search, limit)
        listen(self.connection, None)
        (page,) = [statement for statement in asked if "ORDER BY" in statement]
        counts = [statement for statement in asked if "count(*)" in statement]
        return page.partition("INDEXED BY ")[2].split()[0], len(counts)

    def test_index(self) -> None:
        """The index used is that of the rarest value within the time; that of the time if all are frequent."""
        self.patch(history, "FEW", 10)
        self.patch(history, "BULK", 5)
        add_calls(
            self.connection,
            [row(float(second), "33", f"2{second % 2}", "BUSY" if second < 4 else "ANSWER") for second in range(30)],
        )
        for search, index in (
            (Search(), "calls_by_time"),
            (Search("33"), "calls_by_caller"),
            (Search(outcome="BUSY"), "calls_by_outcome"),
            (Search("33", outcome="BUSY"), "calls_by_outcome"),
            (Search("33", "20", since=20.0), "calls_by_number"),
            (Search("3*", "21"), "calls_by_number"),
            (Search("3*", "2*"), "calls_by_time"),
            (Search("3*", "2*", until=10.0), "calls_by_caller"),
            (Search("3*", "2*", until=11.0), "calls_by_time"),
            (Search("3*", "2*", since=20.0), "calls_by_caller"),
            (Search("3*", "2*", since=19.0), "calls_by_time"),
            (Search("3*", "2*", since=12.0, until=22.0), "calls_by_caller"),
        ):
            given = sum(value is not None for value in (search.caller, search.number, search.outcome))
            self.assertEqual(self.index_of(search), (index, given), search)

    def test_index_of_forwarded_calls(self) -> None:
        """The index of calls that were forwarded is used, unless fewer calls have another value."""
        self.patch(history, "FEW", 10)
        add_calls(
            self.connection,
            [
                dataclasses.replace(row(float(second), f"{second % 2}"), forwarded_by="PJSIP/21" if second % 3 else "")
                for second in range(30)
            ],
        )
        for search, index, counts in (
            (Search(forwarded_by="21"), "calls_sent_on", 1),
            (Search(forwarded_by="2*"), "calls_sent_on", 1),
            (Search("1", forwarded_by="21"), "calls_sent_on", 2),
            (Search("1*", forwarded_by="21"), "calls_sent_on", 2),
            (Search("5", forwarded_by="21"), "calls_by_caller", 2),
            (Search("1", forwarded_by="99"), "calls_sent_on", 2),
        ):
            self.assertEqual(self.index_of(search), (index, counts), search)

    def test_index_of_a_beginning_alone(self) -> None:
        """An index of a beginning is used without counting for fewer than BULK calls; else only if few calls fit."""
        self.patch(history, "FEW", 10)
        self.patch(history, "BULK", 5)
        add_calls(self.connection, [row(float(second)) for second in range(30)])
        for search, index in ((Search("3*"), "calls_by_caller"), (Search(number="2*"), "calls_by_number")):
            self.assertEqual(self.index_of(search, 4), (index, 0))
            self.assertEqual(self.index_of(search, 5), ("calls_by_time", 1))
            self.assertEqual(self.index_of(dataclasses.replace(search, until=10.0), 5), (index, 1))
            self.assertEqual(self.index_of(dataclasses.replace(search, until=11.0), 5), ("calls_by_time", 1))

    def test_rows_of_a_beginning_alone(self) -> None:
        """A page by a beginning alone is sorted in the index; of the table only the page's rows are read."""
        add_calls(self.connection, [row(float(second)) for second in range(30)])
        for search, index in ((Search("3*"), "calls_by_caller"), (Search(number="2*"), "calls_by_number")):
            asked: list[str] = []
            listen(self.connection, asked.append)
            find_page(self.connection, search, 4)
            listen(self.connection, None)
            (page,) = [statement for statement in asked if "ORDER BY" in statement]
            plan = [detail for (*_, detail) in self.connection.execute(f"EXPLAIN QUERY PLAN {page}")]
            self.assertTrue([detail for detail in plan if f"USING COVERING INDEX {index}" in detail], plan)

    def test_in_chunks(self) -> None:
        """Many calls are read CHUNK at a time, and no more than are asked for."""
        self.patch(history, "CHUNK", 3)
        add_calls(self.connection, [row(float(second)) for second in range(10)])
        asked: list[str] = []
        listen(self.connection, asked.append)
        found = [record.began for record in find_calls(self.connection, Search(), 7)]
        limits = [statement.rpartition(" ")[2] for statement in asked if "LIMIT" in statement]
        self.assertEqual((found, limits), ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0], ["4", "4", "2"]))
        self.assertEqual(list(find_calls(self.connection, Search(), 0)), [])


def fits(record: KeptCall, search: Search) -> bool:
    """Whether a row matches, in plain Python."""
    for name in ("caller", "number"):
        wanted, there = getattr(search, name), getattr(record, name)
        if wanted is None:
            continue
        if not (there.startswith(wanted[:-1]) if wanted.endswith("*") else there == wanted):
            return False
    wanted = search.forwarded_by
    if wanted is not None:
        forwarders = [forwarder for forwarder in record.forwarded_by.split(", ") if forwarder]
        names = [*forwarders, *(forwarder.partition("/")[2] for forwarder in forwarders if "/" in forwarder)]
        if not any(name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted for name in names):
            return False
    return (
        search.outcome in (None, record.outcome)
        and search.asterisk in (None, record.asterisk)
        and (search.since is None or record.began >= search.since)
        and (search.until is None or record.began < search.until)
    )


class CompletedTests(HistoryCase):
    """What is learnt of a call when it is in the history already."""

    def test_two_rows_of_a_call(self) -> None:
        """Of two rows with one key that stays which knows more of the call; of equal ones that of the later turn."""
        for first, second, kept in (
            ("UNKNOWN", "DONE", "DONE"),
            ("DONE", "UNKNOWN", "DONE"),
            ("STOPPED", "BUSY", "BUSY"),
            ("LOST", "HANGUP", "HANGUP"),
            ("HANGUP", "MOVED", "HANGUP"),
            ("MOVED", "LOST", "MOVED"),
            ("FAILED", "ANSWER", "ANSWER"),
            ("LEFT", "UNKNOWN", "LEFT"),
            ("DENIED", "BUSY", "DENIED"),
            ("STOPPED", "LOST", "LOST"),
        ):
            key = f"{first} {second}"
            for number, outcome in enumerate((first, second)):
                made = dataclasses.replace(row(1.0 + number, outcome=outcome), call_key=key)
                add_calls(self.connection, [made])
                add_calls(self.connection, [made])  # as from a journal
            found = self.connection.execute("SELECT outcome, began FROM calls WHERE call_key = ?", (key,)).fetchall()
            self.assertEqual(found, [(kept, 1.0)], key)

    def test_completed(self) -> None:
        """What is learnt later is kept; of a call that the next run has served to its end it says no more."""
        keyed = [dataclasses.replace(row(1.0, outcome="UNKNOWN"), call_key=key) for key in ("a", "b")]
        add_calls(self.connection, keyed)
        add_calls(self.connection, [dataclasses.replace(row(1.0, outcome="DONE"), call_key="b", answered_s=0)])
        complete_calls(self.connection, [dataclasses.replace(call, answered_s=7) for call in keyed])
        found = self.connection.execute("SELECT call_key, outcome, answered_s FROM calls ORDER BY call_key").fetchall()
        self.assertEqual(found, [("a", "UNKNOWN", 7), ("b", "DONE", 0)])


class Traces(SynchronousTestCase):
    """Traces are stored so that they can be shown in any language."""

    def test_steps_within_steps(self) -> None:
        """Nested sentences are read as they were written."""
        trace = (
            sentence("it failed: {why}", why=sentence("{name} is away", name="x")),
            sentence("that was it"),
        )
        self.assertEqual(row(0.0, "33", "21", "ANSWER", *trace).steps, list(trace))

    def test_spoilt(self) -> None:
        """A damaged trace is read as an empty one."""
        for text in ("", "[1]", '[["a", 5]]', "{}", "[[]]"):
            broken = dataclasses.replace(row(), trace=text)
            self.assertEqual(broken.steps, [], text)

    def test_talk_of_old_rows(self) -> None:
        """A row of an earlier version, which has no zero, tells that nobody talked where the outcome says so."""
        for outcome in (
            "BUSY CANCEL CHANUNAVAIL CONGESTION DEAD DENIED DONTCALL INVALID INVALIDARGS LOCKEDOUT NOANSWER NODRIVER "
            "REFUSED TORTURE"
        ).split():
            self.assertEqual(dataclasses.replace(row(1.0, outcome=outcome), answered_s=None).talk_s, 0, outcome)
        for outcome in "ANSWER DONE FAILED HANGUP LEFT LOST STOPPED UNKNOWN".split():
            self.assertIsNone(dataclasses.replace(row(1.0, outcome=outcome), answered_s=None).talk_s, outcome)
        self.assertEqual(dataclasses.replace(row(1.0, outcome="BUSY"), answered_s=7).talk_s, 7)

    @given(STEPS)
    def test_english(self, steps: object) -> None:
        """The English text of a trace is that of its sentences, however it was written."""
        trace = json.dumps(steps)
        self.assertEqual(english_of(trace), "; ".join(step.english for step in steps_of(trace)))

    def test_english_of_odd_text(self) -> None:
        """Text that cannot be printed is shown with its signs written out, as in the steps."""
        for trace in (
            '[["it said a\\nb", {}]]',
            '[["it said {a}", {"a": "\\u001b[2J"}]]',
            '[["it said {a}", {"a": 5}]]',
            '[["it said {a}", {}]]',
            "[" * 2000,
            json.dumps([["much", {}]] * (MAX_STEPS + 5)),
        ):
            text = english_of(trace)
            self.assertEqual(text, "; ".join(step.english for step in steps_of(trace)), trace[:40])
            self.assertTrue(text.isprintable(), trace[:40])


class Figures(HistoryCase):
    """Figures of calls for a stretch of time."""

    def setUp(self) -> None:
        """Add five calls in three minutes."""
        super().setUp()
        began = (60.0, 61.0, 119.9, 180.0, 240.0)
        kinds = ("ANSWER", "BUSY", "ANSWER", "DENIED", "ANSWER")
        add_calls(self.connection, [row(at, outcome=kind) for at, kind in zip(began, kinds, strict=True)])

    def test_outcomes(self) -> None:
        """Outcomes that occur are listed."""
        self.assertEqual(outcomes(self.connection), ["ANSWER", "BUSY", "DENIED"])

    def test_totals(self) -> None:
        """Totals are of a span, its end excluded."""
        found = totals(self.connection, 60.0, 240.0)
        self.assertEqual(found.by_outcome, {"ANSWER": 2, "BUSY": 1, "DENIED": 1})
        self.assertEqual((found.calls, found.of("ANSWER", "DENIED")), (4, 3))

    def test_minutes(self) -> None:
        """Minutes are named by their first second; those with most calls come first."""
        minutes = per_minute(self.connection, 0.0, 241.0)
        self.assertEqual(minutes, {60: 3, 180: 1, 240: 1})
        self.assertEqual(busiest(minutes, 2), [(60, 3), (180, 1)])
        self.assertEqual(per_minute(self.connection, 300.0, 400.0), {})
