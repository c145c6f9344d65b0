"""What is counted of calls, and the reasons of failed ones."""

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
    """CallCounts, fed with calls."""

    def setUp(self) -> None:
        """Create an empty CallCounts."""
        self.counting = CallCounts()

    def test_each_in_its_minute(self) -> None:
        """Start, answer and end count in the minute in which they happen; talk in that of the end."""
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
        """The peak is the most calls at a time, also in a minute in which no call begins."""
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
        """Beyond the bound, names are counted together."""
        for number in range(MAX_NAMES + 5):
            call = LiveCall(str(number), 10.0)
            self.counting.label(call, decision(extension=str(number)), "ANSWER")
        names = [name for kind, name in self.counting.totals if kind == "extension"]
        self.assertEqual(len(names), MAX_NAMES + 1)
        self.assertEqual(self.counting.totals["extension", OTHERS].started, 5)

    def test_known_names(self) -> None:
        """Names that are known have zero before a call is counted under them, (others) for those beyond the bound."""
        counts = CallCounts()
        called = Counts(started=5)
        counts.totals |= {("mapping", "2X"): called, ("extension", "33"): called}
        self.assertEqual(counts.totals_of("mapping"), [("2X", called)])
        self.assertEqual(counts.totals_of("mapping", ["3X", "2X"]), [("2X", called), ("3X", Counts())])
        many = [f"9{place}" for place in range(MAX_NAMES)]
        totals = dict(counts.totals_of("mapping", many))
        self.assertEqual(len(totals), MAX_NAMES + 1)
        self.assertEqual((totals["2X"], totals[OTHERS]), (called, Counts()))
        self.assertNotIn(("mapping", "3X"), counts.totals)

    def test_bounded_by_kind(self) -> None:
        """A thousand names of one kind are kept apart; a known one stays so, and other kinds have room of their own."""
        for number in range(1000):
            self.counting.label(LiveCall(f"{number}", 10.0), decision(extension=f"{number}", user=None), "ANSWER")
        self.assertNotIn(("extension", "(others)"), self.counting.totals)
        call = LiveCall("more", 10.0)
        self.counting.label(call, decision(extension="more", user="pepe"), "ANSWER")
        self.counting.label(call, decision(extension="still more", user="pepe"), "ANSWER")
        self.assertEqual(call.labels, {("mapping", "2X"), ("extension", "(others)"), ("user", "pepe")})
        self.counting.label(LiveCall("again", 10.0), decision(extension="999"), "ANSWER")
        self.assertEqual(self.counting.totals["extension", "999"].started, 2)
        self.assertEqual(self.counting.totals["extension", "(others)"].started, 1)
        self.assertEqual(self.counting.totals["user", "pepe"].started, 1)

    def test_labels_have_all_figures(self) -> None:
        """Under its labels a call counts as under all: talked, served or failed, in the same minutes."""
        talked, served, failed = (LiveCall(name, 10.0) for name in ("talked", "served", "failed"))
        for call in (talked, served, failed):
            self.counting.started(call)
            self.counting.label(call, decision(), "DONE")
        talked.answered = 70.0
        self.counting.answered(talked)
        self.counting.finished(talked, 130.0, "16")
        self.counting.finished(served, 130.0, "16")
        failed.outcome = "BUSY"
        self.counting.finished(failed, 130.0, "17")
        minutes = self.counting.drain()
        for label in (ALL, ("mapping", "2X"), ("extension", "33")):
            peak = 3 if label == ALL else 0
            self.assertEqual(minutes[0, *label], Counts(started=3, peak=peak))
            self.assertEqual(minutes[60, *label], Counts(answered=1))
            self.assertEqual(
                minutes[120, *label],
                Counts(finished=3, talked=1, served=1, talk_s=60.0, failed={"busy": 1}),
            )
            self.assertEqual(self.counting.totals[label].failed, {"busy": 1})

    def test_routed_again(self) -> None:
        """Routed again, a call counts under the labels that are new, and under none twice."""
        for number in range(20):
            call = LiveCall("a", 10.0)
            self.counting.label(call, decision(), "BUSY")
            self.counting.label(call, decision(user=f"user {number}"), "BUSY")
            self.assertEqual(self.counting.totals["user", f"user {number}"].started, 1)
        for label in (("mapping", "2X"), ("extension", "33")):
            self.assertEqual(self.counting.totals[label].started, 20)

    def test_labelled_after_the_answer(self) -> None:
        """A call that is routed when it talks already counts as answered in the minute of its answer."""
        call = LiveCall("a", 10.0, answered=65.0)
        self.counting.label(call, decision(extension=None), "ANSWER")
        minutes = self.counting.drain()
        self.assertEqual(minutes, {(0, "mapping", "2X"): Counts(started=1), (60, "mapping", "2X"): Counts(answered=1)})

    def test_ended_before_its_answer(self) -> None:
        """Where times are uncertain no call talks for less than nothing."""
        call = LiveCall("a", 10.0, answered=50.0)
        self.counting.started(call)
        self.counting.finished(call, 40.0, "16")
        self.assertEqual(self.counting.totals[ALL].talk_s, 0.0)
        self.assertEqual(self.counting.totals[ALL].talked, 1)

    def test_several_in_a_minute(self) -> None:
        """Calls of one minute add up in every figure, under each label."""
        for place in range(4):
            for talks, outcome in ((True, "ANSWER"), (False, "DONE"), (False, "BUSY")):
                call = LiveCall(f"{place}{outcome}", 10.0)
                self.counting.started(call)
                if place < 2:
                    self.counting.label(call, decision(extension=None), outcome)
                if talks:
                    call.answered = 20.0
                    self.counting.answered(call)
                if place >= 2:
                    self.counting.label(call, decision(extension=None), outcome)
                self.counting.finished(call, 25.5, "16")
        total = Counts(12, 4, 12, 4, 4, 22.0, 1, {"busy": 4})
        labelled = Counts(12, 4, 12, 4, 4, 22.0, 0, {"busy": 4})
        self.assertEqual(self.counting.drain(), {(0, *ALL): total, (0, "mapping", "2X"): labelled})
        self.assertEqual(self.counting.totals, {ALL: total, ("mapping", "2X"): labelled})

    def test_several_of_a_reason(self) -> None:
        """Failed calls add up by reason."""
        for cause in ("17", "17", "21"):
            call = LiveCall("a", 10.0, cause=cause)
            self.counting.started(call)
            self.counting.finished(call, 11.0, cause)
        self.assertEqual(self.counting.totals[ALL].failed, {"busy": 2, "rejected": 1})

    def test_peak_of_the_process(self) -> None:
        """The total keeps the highest peak, though fewer are in progress later."""
        calls = [LiveCall(name, 10.0) for name in "abc"]
        for call in calls:
            self.counting.started(call)
        for call in calls:
            self.counting.finished(call, 70.0, "16")
        self.counting.started(LiveCall("d", 130.0))
        self.counting.tick(135.0)
        self.assertEqual(self.counting.totals[ALL].peak, 3)
        self.assertEqual(self.counting.drain()[120, *ALL].peak, 1)

    def test_add(self) -> None:
        """Counts add up figure by figure; of two peaks the higher stays, and the other counts are as they were."""
        counts = Counts(1, 2, 3, 4, 5, 6.5, 7, {"busy": 8, "other": 1})
        other = Counts(10, 20, 30, 40, 50, 60.25, 6, {"busy": 80, "unknown": 2})
        counts.add(other)
        self.assertEqual(counts, Counts(11, 22, 33, 44, 55, 66.75, 7, {"busy": 88, "other": 1, "unknown": 2}))
        self.assertEqual(other.failed, {"busy": 80, "unknown": 2})
        counts.add(Counts(peak=9))
        self.assertEqual(counts.peak, 9)

    def test_put_back_twice(self) -> None:
        """Counts that cannot be stored again and again are none the more for it."""
        self.counting.started(LiveCall("a", 10.0))
        for _ in range(3):
            self.counting.requeue(self.counting.drain())
        self.assertEqual(self.counting.drain(), {(0, *ALL): Counts(started=1, peak=1)})
        self.assertEqual(self.counting.totals, {ALL: Counts(started=1, peak=1)})

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
        """minute_of gives the minute that a second is in."""
        self.assertEqual([minute_of(value) for value in (0, 59.99, 60, 1795420128.2)], [0, 0, 60, 1795420080])


class LabelTests(SynchronousTestCase):
    """Labels of a call from the rules' decisions."""

    def test_none(self) -> None:
        """Without a decision a call has no label."""
        self.assertEqual(labels_of(None), set())

    def test_of_the_rules(self) -> None:
        """A caller that is no extension has no label for one; the user is the one whose PIN was keyed."""
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
    """The reason why a call failed."""

    def why(self, last: str = "16", **call: object) -> str | None:
        """The reason for such a call whose last channel ended by this cause."""
        return why_failed(LiveCall("a", 1.0, **call), last)  # type: ignore[arg-type]

    def test_by_dial(self) -> None:
        """The last Dial gives the reason; the callee's cause tells a refusal."""
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

    def test_answered_by_a_prompt(self) -> None:
        """A call whose Dial has an answer, and that was connected, has not failed though no two people talked."""
        self.assertIsNone(self.why(dial_status="ANSWER", connected=True))
        self.assertIsNone(self.why(outcome="ANSWER", connected=True))

    def test_every_dial_status(self) -> None:
        """Each word of DIALSTATUS has its reason, whether the gateway has it or AMI."""
        for status, reason in (
            ("BUSY", "busy"),
            ("NOANSWER", "noanswer"),
            ("CANCEL", "cancelled"),
            ("ANSWER", "cancelled"),
            ("CHANUNAVAIL", "unavailable"),
            ("INVALIDARGS", "unavailable"),
            ("CONGESTION", "congestion"),
            ("DONTCALL", "rejected"),
            ("TORTURE", "rejected"),
        ):
            self.assertEqual(self.why(dial_status=status), reason, status)
            self.assertEqual(self.why(outcome=status, dial_status="FORGED"), reason, status)

    def test_every_cause(self) -> None:
        """Each Q.850 cause with a reason of its own gives it; any other gives "other"."""
        for reason, causes in (
            ("unallocated", "1 2 22 28"),
            ("unavailable", "3 20 27"),
            ("busy", "17"),
            ("noanswer", "18 19"),
            ("rejected", "21"),
            ("congestion", "34 38 41 42 44"),
            ("other", "4 29 31 47 58 88 102 127"),
        ):
            for cause in causes.split():
                self.assertEqual(self.why(cause=cause), reason, cause)

    def test_cause_beside_dial(self) -> None:
        """AMI's NOANSWER, CHANUNAVAIL and CONGESTION give way to the cause; the gateway's NOANSWER does not."""
        for cause, reason in (("3", "unavailable"), ("1", "unallocated"), ("21", "rejected"), ("17", "noanswer")):
            self.assertEqual(self.why(dial_status="NOANSWER", cause=cause), reason)
            self.assertEqual(self.why(outcome="NOANSWER", cause=cause), "noanswer")
        for status in ("CHANUNAVAIL", "CONGESTION"):
            for cause, reason in (("17", "busy"), ("34", "congestion"), ("3", "unavailable")):
                self.assertEqual(self.why(dial_status=status, cause=cause), reason)
                self.assertEqual(self.why(outcome=status, cause=cause), reason)
        self.assertEqual(self.why(dial_status="CONGESTION", cause="99"), "congestion")
        self.assertEqual(self.why(dial_status="BUSY", cause="21"), "busy")
        self.assertEqual(self.why(dial_status="FORGED", cause="17"), "other")
        self.assertEqual(self.why(outcome="BUSY", dial_status="NOANSWER", cause="21"), "busy")

    def test_by_outcome(self) -> None:
        """The gateway's outcome counts for calls that it routed."""
        for outcome, reason in (
            ("DENIED", "denied"),
            ("LOCKEDOUT", "denied"),
            ("INVALID", "invalid"),
            ("REFUSED", "refused"),
            ("FAILED", "gateway"),
            ("NODRIVER", "gateway"),
            ("STOPPED", "gateway"),
            ("CHANUNAVAIL", "unavailable"),
        ):
            self.assertEqual(self.why(outcome=outcome, dial_status="NOANSWER"), reason)

    def test_by_cause(self) -> None:
        """Without a Dial the cause gives the reason; a normal end is a served call."""
        self.assertEqual(self.why(cause="17"), "busy")
        self.assertEqual(self.why(cause="99"), "other")
        self.assertIs(self.why("16"), None)
        self.assertIs(self.why("16", outcome="DONE"), None)
        self.assertEqual(self.why("16", outcome="HANGUP"), "cancelled")
        self.assertEqual(self.why("17", outcome="HANGUP", cause="17"), "busy")
        self.assertEqual(self.why("16", cause=""), None)

    def test_unseen(self) -> None:
        """A call that ended unseen has the reason of its cause, or unknown; one that joined another has not failed."""
        self.assertEqual(self.why("", certain=False), "unknown")
        self.assertIs(self.why(JOINED, certain=False), None)
        self.assertIs(self.why(JOINED, cause="17"), None)
        self.assertIs(self.why("", certain=True), None)
        self.assertEqual(self.why("17", certain=False, cause="17"), "busy")
        self.assertEqual(self.why(JOINED, outcome="DENIED"), "denied")
        self.assertEqual(self.why("", certain=False, outcome="FAILED"), "gateway")

    def test_while_it_was_told(self) -> None:
        """A caller who hangs up on hearing that the number or the PIN is wrong failed by that."""
        for verdict, reason in (
            (Verdict.INVALID, "invalid"),
            (Verdict.DENY, "denied"),
            (Verdict.PIN, "cancelled"),
        ):
            call = LiveCall("a", 1.0)
            CallCounts().label(call, decision(verdict=verdict), "HANGUP")
            self.assertEqual(why_failed(call, "16"), reason)
        for verdict in Verdict:
            call = LiveCall("a", 1.0)
            CallCounts().label(call, decision(verdict=verdict), "BUSY")
            self.assertEqual(call.outcome, "BUSY")
        call = LiveCall("a", 1.0)
        CallCounts().label(call, None, "HANGUP")
        self.assertEqual(call.outcome, "HANGUP")

    def test_words(self) -> None:
        """Each reason has words for people."""
        self.assertEqual(
            {reason: words.english for reason, words in REASONS.items()},
            {
                "busy": "the callee was busy",
                "noanswer": "not answered in time",
                "cancelled": "the caller gave up",
                "rejected": "the callee refused the call",
                "unavailable": "the callee could not be reached",
                "unallocated": "the number does not exist",
                "congestion": "no free line on the way",
                "denied": "the rules or the PIN did not allow it",
                "invalid": "no pattern matches the number",
                "refused": "the call was forged",
                "gateway": "error in the gateway",
                "unknown": "the end of the call was not observed",
                "other": "any other cause",
            },
        )

    def test_dead(self) -> None:
        """A gateway run in the extension h changes no reason."""
        call = LiveCall("a", 1.0, outcome="DENIED")
        CallCounts().label(call, None, "DEAD")
        self.assertEqual(call.outcome, "DENIED")
        CallCounts().label(call, None, "BUSY")
        self.assertEqual(call.outcome, "BUSY")

    @given(st.text(), st.text(), st.text(), st.booleans())
    def test_always_one_of_them(self, outcome: str, status: str, cause: str, certain: bool) -> None:
        """For any input the reason is one of REASONS, or None."""
        call = LiveCall("a", 1.0, outcome=outcome, dial_status=status, cause=cause, certain=certain)
        self.assertIn(why_failed(call, cause), {*REASONS, None})


class InvariantTests(SynchronousTestCase):
    """Invariants over any sequence of events."""

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
