"""Counts calls by the minute, and classifies why a call failed.

A call is counted once when it starts, is answered and is finished, each in the minute in
which that happens; and again under each label (the mapping, user and extension that
the gateway routed it by). ``CallTable`` reports the calls; ``drain`` returns the counts since the
last drain, to be stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pbxrouter.counter.call_table import (
    ENDED_WELL,
    JOINED,
    CallListener,
    LiveCall,
)
from pbxrouter.rules import Decision, Verdict
from pbxrouter.text import Sentence, printable

MINUTE_S: Final = 60
ALL: Final = ("all", "")
"""The label of all calls."""
KINDS: Final = ("mapping", "user", "extension")
MAX_NAMES: Final = 1000
"""Maximum number of names of one kind; further ones are counted under OTHERS."""
MAX_NAME: Final = 200
"""Characters of a name; a longer one is cut."""
OTHERS: Final = "(others)"

REASONS: Final[Mapping[str, Sentence]] = {
    "busy": Sentence("the callee was busy"),
    "noanswer": Sentence("not answered in time"),
    "cancelled": Sentence("the caller gave up"),
    "rejected": Sentence("the callee refused the call"),
    "unavailable": Sentence("the callee could not be reached"),
    "unallocated": Sentence("the number does not exist"),
    "congestion": Sentence("no free line on the way"),
    "denied": Sentence("the rules or the PIN did not allow it"),
    "invalid": Sentence("no pattern matches the number"),
    "refused": Sentence("the call was forged"),
    "gateway": Sentence("error in the gateway"),
    "unknown": Sentence("the end of the call was not observed"),
    "other": Sentence("any other cause"),
}
"""The reasons why a call was not answered; each failed call has one."""

_BY_OUTCOME: Final = {
    "DENIED": "denied",
    "LOCKEDOUT": "denied",
    "INVALID": "invalid",
    "REFUSED": "refused",
    "FAILED": "gateway",
    "NODRIVER": "gateway",
    "STOPPED": "gateway",
}
_BY_VERDICT: Final = {Verdict.DENY: "DENIED", Verdict.INVALID: "INVALID", Verdict.ALLOW: "DONE"}
_BY_DIAL_STATUS: Final = {
    "BUSY": "busy",
    "NOANSWER": "noanswer",
    "CANCEL": "cancelled",
    # Answered at the very moment at which the caller gave up.
    "ANSWER": "cancelled",
    "CHANUNAVAIL": "unavailable",
    "INVALIDARGS": "unavailable",
    "CONGESTION": "congestion",
    "DONTCALL": "rejected",
    "TORTURE": "rejected",
}
# Q.850.
_BY_CAUSE: Final = {
    "1": "unallocated",
    "2": "unallocated",
    "3": "unavailable",
    "17": "busy",
    "18": "noanswer",
    "19": "noanswer",
    "20": "unavailable",
    "21": "rejected",
    "22": "unallocated",
    "27": "unavailable",
    "28": "unallocated",
    "34": "congestion",
    "38": "congestion",
    "41": "congestion",
    "42": "congestion",
    "44": "congestion",
}


@dataclass(slots=True)
class Counts:
    """Call counters. ``finished == talked + served + sum(failed.values())``.

    Attributes:
        talked: finished calls that had been answered.
        served: finished calls without an answer that did not fail: voicemail, a prompt, a conference of
            one, or calls that became part of another.
        talk_s: seconds in which two people were connected, summed over finished calls.
        peak: maximum of simultaneous calls.
        failed: by reason, a key of REASONS.
    """

    started: int = 0
    answered: int = 0
    finished: int = 0
    talked: int = 0
    served: int = 0
    talk_s: float = 0.0
    peak: int = 0
    failed: dict[str, int] = field(default_factory=dict)

    def add(self, other: Counts) -> None:
        """Add other counts, of the same minute or of another time."""
        self.started += other.started
        self.answered += other.answered
        self.finished += other.finished
        self.talked += other.talked
        self.served += other.served
        self.talk_s += other.talk_s
        self.peak = max(self.peak, other.peak)
        for reason, calls in other.failed.items():
            self.failed[reason] = self.failed.get(reason, 0) + calls


Minutes = dict[tuple[int, str, str], Counts]
"""Counts by (first second of the minute, kind, name)."""


class CallCounts(CallListener):
    """Counts the calls of one Asterisk.

    Attributes:
        active: calls in progress.
        totals: counts since the process started, by (kind, name).
    """

    def __init__(self) -> None:
        self.active = 0
        self.totals: dict[tuple[str, str], Counts] = {ALL: Counts()}
        self._minutes: Minutes = {}

    def started(self, call: LiveCall) -> None:
        """Count a call that has started; as CallListener.started."""
        self.active += 1
        for counts in self._at(call.started, ALL):
            counts.started += 1
            counts.peak = max(counts.peak, self.active)

    def answered(self, call: LiveCall) -> None:
        """Count a call that was answered; as CallListener.answered."""
        assert call.answered is not None
        for label in (ALL, *call.labels):
            for counts in self._at(call.answered, label):
                counts.answered += 1

    def finished(self, call: LiveCall, ended: float, cause: str) -> None:
        """Count a call that has ended, and why it failed if it did; as CallListener.finished."""
        self.active -= 1
        reason = None if call.answered is not None else why_failed(call, cause)
        for label in (ALL, *call.labels):
            for counts in self._at(ended, label):
                counts.finished += 1
                if call.answered is not None:
                    counts.talked += 1
                    counts.talk_s += call.talk_s(ended)
                elif reason is None:
                    counts.served += 1
                else:
                    counts.failed[reason] = counts.failed.get(reason, 0) + 1

    def label(self, call: LiveCall, decision: Decision | None, outcome: str) -> None:
        """Record how the gateway routed a call, and its outcome; the call goes on.

        If the gateway routes a call several times (a Local channel that comes back), each counts for
        its mapping, and the last outcome stands.
        """
        if outcome == "HANGUP" and decision is not None:
            # They went when they heard what was decided, or from an application such as a prompt.
            outcome = _BY_VERDICT.get(decision.verdict, outcome)
        if outcome not in ("DEAD", "NOCALL"):  # run beside a call, such as in h, which says nothing new
            call.outcome, call.changed = outcome, True
        for label in labels_of(decision):
            if label not in self.totals and sum(kind == label[0] for kind, _ in self.totals) >= MAX_NAMES:
                label = (label[0], OTHERS)
            if label in call.labels:
                continue
            call.labels.add(label)
            call.changed = True
            for counts in self._at(call.started, label):
                counts.started += 1
            if call.answered is not None:
                for counts in self._at(call.answered, label):
                    counts.answered += 1

    def tick(self, now: float) -> None:
        """Update the minute's peak: at ``now`` the calls in progress are still in progress."""
        if self.active:
            for counts in self._at(now, ALL):
                counts.peak = max(counts.peak, self.active)

    def totals_of(self, kind: str, known: Iterable[str] = ()) -> list[tuple[str, Counts]]:
        """The totals of one kind by name: of the names that calls were counted under, and zero for known ones.

        There are as many names as calls can be counted under; zero for OTHERS stands for known ones beyond that.

        Args:
            known: names that calls may be counted under.
        """
        found = {name: counts for (its_kind, name), counts in self.totals.items() if its_kind == kind}
        for name in known:
            if len(found) >= MAX_NAMES:
                found.setdefault(OTHERS, Counts())
                break
            found.setdefault(name, Counts())
        return sorted(found.items())

    @property
    def pending(self) -> int:
        """Number of minutes and labels with counts that are not drained."""
        return len(self._minutes)

    def drain(self) -> Minutes:
        """Return and clear the counts since the last drain."""
        minutes, self._minutes = self._minutes, {}
        return minutes

    def forget_all_calls(self) -> None:
        """Drop the counts of all calls since the last drain; those under labels stay."""
        self._minutes = {key: counts for key, counts in self._minutes.items() if key[1:] != ALL}

    def missed(self, call: LiveCall) -> None:
        """Count a call in progress whose beginning another gateway should have written, and has not."""
        for when, is_start in ((call.started, True), (call.answered, False)):
            if when is not None:
                counts = self._minutes.setdefault((minute_of(when), *ALL), Counts())
                counts.started += is_start
                counts.answered += not is_start

    def requeue(self, minutes: Minutes) -> None:
        """Put back drained counts that could not be stored, to be drained again with newer ones."""
        for key, counts in minutes.items():
            self._minutes.setdefault(key, Counts()).add(counts)

    def _at(self, when: float, label: tuple[str, str]) -> tuple[Counts, Counts]:
        """The counts to update for a label at a time: those of the minute, and the total."""
        key = (minute_of(when), *label)
        minute = self._minutes.get(key)
        if minute is None:
            minute = self._minutes[key] = Counts()
        total = self.totals.get(label)
        if total is None:
            total = self.totals[label] = Counts()
        return minute, total


def minute_of(when: float) -> int:
    """The first second of the minute of an epoch second."""
    return int(when // MINUTE_S) * MINUTE_S


def label_name(name: str) -> str:
    """A mapping's pattern, a user's name or an extension as calls are counted under it."""
    return printable(name, MAX_NAME)


def labels_of(decision: Decision | None) -> set[tuple[str, str]]:
    """The labels of a decision: the mapping, user and extension that a call is counted under."""
    if decision is None:
        return set()
    mapping = decision.mapping
    names = (mapping.pattern if mapping else None, decision.user, decision.extension)
    return {(kind, label_name(name)) for kind, name in zip(KINDS, names, strict=True) if name}


def why_failed(call: LiveCall, cause: str) -> str | None:
    """Classify why an unanswered call ended: a key of REASONS; None if nothing failed.

    Args:
        cause: as in CallListener.finished.
    """
    if call.outcome in _BY_OUTCOME:
        return _BY_OUTCOME[call.outcome]
    if cause == JOINED:
        return None
    if call.connected and "ANSWER" in (call.outcome, call.dial_status):
        return None  # a prompt has answered
    if not cause and not call.certain:
        return "unknown"
    by_cause = _BY_CAUSE.get(call.cause)
    # What the gateway has from the channel itself is DIALSTATUS; DialEnd's word is coarser.
    status = _BY_DIAL_STATUS.get(call.outcome)
    if status is None:
        status = _BY_DIAL_STATUS.get(call.dial_status)
        if status == "noanswer" and by_cause in ("rejected", "unallocated", "unavailable"):
            return by_cause
    if status in ("unavailable", "congestion") and by_cause is not None:
        return by_cause
    if status is not None:
        return status
    if call.dial_status:
        return "other"
    if call.cause in ENDED_WELL:
        return "cancelled" if call.outcome == "HANGUP" else None
    return by_cause or "other"
