"""What is counted of calls, and why they failed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.counter.call_table import JOINED, LiveCall
from pbxrouter.counter.counts import (
    ALL,
    MAX_NAMES,
    OTHERS,
    REASONS,
    CallCounts,
    Counts,
    labels_of,
    minute_of,
    why_failed,
)
from pbxrouter.rules.model import Decision, Mapping, Verdict
from tests.fakes import workshop_rules


def decision(
    pattern: str = "2X",
    extension: str | None = "33",
    user: str | None = None,
    verdict: Verdict = Verdict.ALLOW,
) -> Decision:
    """A decision as the rules make it."""
    return Decision(verdict, "21", Mapping(1, pattern, "dial", "SIP"), None, (), extension, user)


class CountingTests(SynchronousTestCase):
    """Calls in, counts out."""

    def setUp(self) -> None:
        """A new one."""
        self.counting = CallCounts()

    def test_each_in_its_minute(self) -> None:
        """Start, answer and end count where they happen; talk where it ends."""
        call = LiveCall("a", 59.5)
        self.counting.started(call)
        call.answered = 61.0
        self.counting.answered(call)
        self.assertEqual(self.counting.active, 1)
        self.counting.finished(call, 121.5, "16")
        minutes = self.counting.drain()
        self.assertEqual(minutes.pop((0, *ALL)), Counts(started=1, peak=1))
        self.assertEqual(minutes.pop((60, *ALL)), Counts(answered=1))
        self.assertEqual(minutes.pop((120, *ALL)), Counts(finished=1, talked=1, talk_s=60.5))
        self.assertEqual((minutes, self.counting.drain(), self.counting.active), ({}, {}, 0))
        total = Counts(started=1, answered=1, finished=1, talked=1, talk_s=60.5, peak=1)
        self.assertEqual(self.counting.totals, {ALL: total})

    def test_peak(self) -> None:
        """The most at a time, also in a minute in which nothing begins."""
        calls = [LiveCall(name, 10.0) for name in "abc"]
        for call in calls:
            self.counting.started(call)
        self.counting.finished(calls[0], 20.0, "16")
        self.counting.tick(70.0)
        minutes = self.counting.drain()
        self.assertEqual([minutes[key, *ALL].peak for key in (0, 60)], [3, 2])

    def test_nothing_in_progress(self) -> None:
        """A minute without calls has no row."""
        self.counting.tick(70.0)
        self.assertEqual(self.counting.drain(), {})

    def test_labels(self) -> None:
        """What the gateway routed counts for mapping, user and extension too, from the call's start on."""
        call = LiveCall("a", 10.0, answered=65.0)
        self.counting.started(call)
        self.counting.label(call, decision(user="pepe"), "ANSWER")
        self.counting.label(call, decision(user="pepe"), "ANSWER")
        self.counting.label(call, decision("7X", None), "DONE")
        self.counting.finished(call, 70.0, "16")
        totals = self.counting.totals
        self.assertEqual(
            sorted(totals),
            [ALL, ("extension", "33"), ("mapping", "2X"), ("mapping", "7X"), ("user", "pepe")],
        )
        for label, counts in totals.items():
            answered = 0 if label == ALL else 1
            self.assertEqual((counts.started, counts.answered, counts.finished), (1, answered, 1))
        self.assertEqual(self.counting.drain()[0, "mapping", "2X"].started, 1)

    def test_answered_later(self) -> None:
        """A call routed before it is answered counts as answered under its labels."""
        call = LiveCall("a", 10.0)
        self.counting.started(call)
        self.counting.label(call, decision(), "ANSWER")
        call.answered = 11.0
        self.counting.answered(call)
        self.assertEqual(self.counting.totals["mapping", "2X"].answered, 1)

    def test_bounded(self) -> None:
        """Names without end are counted together in the end."""
        for number in range(MAX_NAMES + 5):
            call = LiveCall(str(number), 10.0)
            self.counting.label(call, decision(extension=str(number)), "ANSWER")
        names = [name for kind, name in self.counting.totals if kind == "extension"]
        self.assertEqual(len(names), MAX_NAMES + 1)
        self.assertEqual(self.counting.totals["extension", OTHERS].started, 5)

    def test_give_back(self) -> None:
        """What could not be kept is added to what has come since."""
        self.counting.started(LiveCall("a", 10.0))
        taken = self.counting.drain()
        second = LiveCall("b", 11.0, cause="17")
        self.counting.started(second)
        self.counting.finished(second, 12.0, "17")
        self.counting.requeue(taken)
        self.assertEqual(self.counting.drain(), {(0, *ALL): Counts(started=2, finished=1, peak=2, failed={"busy": 1})})

    def test_minute(self) -> None:
        """The minute that a second is in."""
        self.assertEqual([minute_of(value) for value in (0, 59.99, 60, 1795420128.2)], [0, 0, 60, 1795420080])


class LabelTests(SynchronousTestCase):
    """From the rules' decisions."""

    def test_none(self) -> None:
        """Without a decision there are none."""
        self.assertEqual(labels_of(None), set())

    def test_of_the_rules(self) -> None:
        """A caller who is no extension is none; the user is whose PIN it was."""
        from pbxrouter.rules.model import Facts

        rules = workshop_rules()
        for facts, labels in (
            (Facts("33", "21"), {("mapping", "2X"), ("extension", "33")}),
            (Facts("44", "21"), {("mapping", "2X")}),
            (Facts(None, "34", "123456"), {("mapping", "3X"), ("user", "pepe")}),
            (
                Facts("33", "12345678", "123456"),
                {("mapping", "XXXXXXXX"), ("user", "pepe"), ("extension", "33")},
            ),
            (Facts("33", "999"), {("extension", "33")}),
        ):
            self.assertEqual(labels_of(rules.decide(facts)), labels)


class ReasonTests(SynchronousTestCase):
    """Why a call failed."""

    def why(self, last: str = "16", **call: object) -> str | None:
        """Of a call like this, whose last channel ended by this cause."""
        return why_failed(LiveCall("a", 1.0, **call), last)  # type: ignore[arg-type]

    def test_by_dial(self) -> None:
        """How the last Dial ended; the callee's cause tells a refusal."""
        for status, cause, reason in (
            ("BUSY", "17", "busy"),
            ("NOANSWER", "", "noanswer"),
            ("NOANSWER", "21", "rejected"),
            ("NOANSWER", "1", "unallocated"),
            ("NOANSWER", "34", "noanswer"),
            ("CANCEL", "", "cancelled"),
            ("ANSWER", "", "cancelled"),
            ("CHANUNAVAIL", "21", "rejected"),
            ("CHANUNAVAIL", "", "unavailable"),
            ("CONGESTION", "34", "congestion"),
            ("FORGED\n", "", "other"),
        ):
            self.assertEqual(self.why(dial_status=status, cause=cause), reason, (status, cause))

    def test_by_outcome(self) -> None:
        """The gateway knows better, where it routed the call."""
        for outcome, reason in (
            ("DENIED", "denied"),
            ("LOCKEDOUT", "denied"),
            ("INVALID", "invalid"),
            ("REFUSED", "refused"),
            ("FAILED", "gateway"),
            ("NODRIVER", "gateway"),
            ("CHANUNAVAIL", "unavailable"),
        ):
            self.assertEqual(self.why(outcome=outcome, dial_status="NOANSWER"), reason)

    def test_by_cause(self) -> None:
        """Without a Dial, the cause; one that ended well was served."""
        self.assertEqual(self.why(cause="17"), "busy")
        self.assertEqual(self.why(cause="99"), "other")
        self.assertIs(self.why("16"), None)
        self.assertIs(self.why("16", outcome="DONE"), None)
        self.assertEqual(self.why("16", outcome="HANGUP"), "cancelled")

    def test_unseen(self) -> None:
        """One that ended while nobody looked; one that went over to another call."""
        self.assertEqual(self.why("", certain=False), "unknown")
        self.assertIs(self.why(JOINED, certain=False), None)

    def test_while_it_was_told(self) -> None:
        """Who hangs up on hearing that the number is invalid, or the PIN wrong, failed by that."""
        for verdict, reason in (
            (Verdict.INVALID, "invalid"),
            (Verdict.DENY, "denied"),
            (Verdict.PIN, "cancelled"),
        ):
            call = LiveCall("a", 1.0)
            CallCounts().label(call, decision(verdict=verdict), "HANGUP")
            self.assertEqual(why_failed(call, "16"), reason)

    def test_dead(self) -> None:
        """The gateway run in h says nothing new."""
        call = LiveCall("a", 1.0, outcome="DENIED")
        CallCounts().label(call, None, "DEAD")
        self.assertEqual(call.outcome, "DENIED")

    @given(st.text(), st.text(), st.text(), st.booleans())
    def test_always_one_of_them(self, outcome: str, status: str, cause: str, certain: bool) -> None:
        """Whatever a caller forged: a reason we know, or none."""
        call = LiveCall("a", 1.0, outcome=outcome, dial_status=status, cause=cause, certain=certain)
        self.assertIn(why_failed(call, cause), {*REASONS, None})


class InvariantTests(SynchronousTestCase):
    """Whatever happens to calls."""

    @given(
        st.lists(
            st.tuples(st.floats(0, 1e6), st.none() | st.floats(0, 1e6), st.none() | st.floats(0, 1e6), st.booleans()),
            max_size=20,
        )
    )
    def test_books_balance(self, lives: list[tuple[float, float | None, float | None, bool]]) -> None:
        """Started is finished and active; finished is talked, served and failed; minutes add up to totals."""
        counting = CallCounts()
        for started, answered, ended, routed in lives:
            call = LiveCall("a", started)
            counting.started(call)
            if routed:
                counting.label(call, decision(), "BUSY")
            if answered is not None:
                call.answered = answered
                counting.answered(call)
            if ended is not None:
                counting.finished(call, ended, "")
        sums: dict[tuple[str, str], Counts] = {}
        for (_, kind, name), counts in counting.drain().items():
            sums.setdefault((kind, name), Counts()).add(counts)
        for label, total in counting.totals.items():
            self.assertEqual(total.finished, total.talked + total.served + sum(total.failed.values()))
            self.assertGreaterEqual(total.talk_s, 0)
            self.assertGreaterEqual(total.started, total.finished)
            if label in sums:
                sums[label].talk_s = total.talk_s  # but for the order of adding floats
                self.assertEqual(sums[label], total)
        everything = counting.totals[ALL]
        self.assertEqual(everything.started, everything.finished + counting.active)
