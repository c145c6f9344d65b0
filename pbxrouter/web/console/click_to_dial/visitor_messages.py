"""Sentences for visitors about their call and the opening hours; they never show extensions or rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pbxrouter.click_to_dial import DAYS, Hours, Span
from pbxrouter.text import Sentence, joined, sentence
from pbxrouter.web.click_to_dial.attempts import DialAttempt
from pbxrouter.web.click_to_dial.service import UNAVAILABLE


@dataclass(frozen=True, slots=True)
class CallStatus:
    """The state of a visitor's call, as the page shows it.

    Attributes:
        kind: how it is drawn: waiting, good, over or bad.
        headline: the state.
        more: a second sentence, or None.
        reached: number of finished steps of three: our phone answered, the visitor's phone answered, connected.
    """

    kind: str
    headline: Sentence
    more: Sentence | None
    reached: int = 0


_LATER: Final = Sentence("Please try again later.")
_AGAIN: Final = Sentence("You can try again.")

_UNDER_WAY: Final = {
    "asked": CallStatus("waiting", Sentence("One moment…"), Sentence("We call our own phone first, and then yours.")),
    "ringing": CallStatus(
        "waiting",
        Sentence("Our phone rings"),
        Sentence("When we answer, your phone will ring."),
    ),
    "answered": CallStatus(
        "waiting", Sentence("Now your phone rings"), Sentence("We are on the line. Please pick up."), 1
    ),
    "connected": CallStatus("good", Sentence("You are connected"), Sentence("You can close this page."), 3),
}
_OURS: Final = {
    "busy": CallStatus("bad", Sentence("Our line is busy right now"), Sentence("Please try again in a few minutes.")),
    "rejected": CallStatus("bad", Sentence("We cannot take your call right now"), _LATER),
    "noanswer": CallStatus("bad", Sentence("We cannot take your call right now"), _LATER),
}
"""By the final state of a call whose first phone (ours) was not answered."""
_THEIRS: Final = {
    "busy": CallStatus("bad", Sentence("Your number is busy"), _AGAIN, 1),
    "rejected": CallStatus("bad", Sentence("The call to your number was rejected"), _AGAIN, 1),
    "noanswer": CallStatus("bad", Sentence("You did not pick up"), _AGAIN, 1),
    "unavailable": CallStatus(
        "bad",
        Sentence("We could not reach your number"),
        Sentence("Please check that it is correct."),
        1,
    ),
    "congestion": CallStatus("bad", Sentence("We could not reach your number"), _LATER, 1),
    "ended": CallStatus("bad", Sentence("The call ended before you picked up"), _AGAIN, 1),
}
"""By the final state of a call that ended after our phone was answered and before the visitor's was."""
_OVER: Final = CallStatus("over", Sentence("The call is over"), Sentence("Thank you."), 3)
_FAILED: Final = CallStatus("bad", UNAVAILABLE, _LATER)


def status_of(attempt: DialAttempt) -> CallStatus:
    """The state of a visitor's call."""
    if attempt.state in _UNDER_WAY:
        return _UNDER_WAY[attempt.state]
    if attempt.has_been("connected"):
        return _OVER
    return (_THEIRS if attempt.has_been("answered") else _OURS).get(attempt.state, _FAILED)


def opening_hours(hours: Hours) -> list[tuple[Sentence, Sentence]]:
    """Opening hours as pairs of days and times."""
    return [(_days(span), joined(_times(span), ", ")) for span in hours.spans]


def _days(span: Span) -> Sentence:
    if len(span.days) == len(DAYS):
        return Sentence("Every day")
    return joined(
        (
            DAYS[first]
            if first == last
            else sentence("{first} to {last}", first=DAYS[first], last=DAYS[last])
            if last - first > 1
            else joined((DAYS[first], DAYS[last]), ", ")
            for first, last in span.runs
        ),
        ", ",
    )


def _times(span: Span) -> list[Sentence]:
    return [
        Sentence("all day")
        if (begin, end) == ("00:00", "24:00")
        else sentence("{begin} to {end}", begin=begin, end=end)
        for begin, end in span.clocks
    ]
