"""What a visitor is told of their call: friendly words, and nothing of how our telephones are made.

Not here: what really happened, in words for us (originate_progress).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pbxrouter.click.hours import DAYS, Hours, Span
from pbxrouter.text.sentences import Step, in_a_row, step
from pbxrouter.web.click.attempts import DialAttempt
from pbxrouter.web.click.service import UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Said:
    """How it stands.

    Attributes:
        kind: how it is drawn: waiting, good, over or bad.
        reached: how many of the three steps are done: our phone, theirs, talking.
    """

    kind: str
    headline: Step
    more: Step | None
    reached: int = 0


_LATER: Final = Step("Please try again later.")
_AGAIN: Final = Step("You can try again.")

_UNDER_WAY: Final = {
    "asked": Said("waiting", Step("One moment…"), Step("We call our own phone first, and then yours.")),
    "ringing": Said(
        "waiting", Step("Our phone rings"), Step("As soon as somebody takes the call, your phone rings.")
    ),
    "answered": Said(
        "waiting", Step("Now your phone rings"), Step("Somebody is on the line. Please pick up."), 1
    ),
    "connected": Said("good", Step("You are connected"), Step("You can close this page."), 3),
}
_OURS: Final = {
    "busy": Said("bad", Step("We are on the phone just now"), Step("Please try again in a few minutes.")),
    "rejected": Said("bad", Step("Nobody can take the call just now"), _LATER),
    "noanswer": Said("bad", Step("Nobody can take the call just now"), _LATER),
}
"""By how it ended before our phone was answered."""
_THEIRS: Final = {
    "busy": Said("bad", Step("Your number is busy"), _AGAIN, 1),
    "rejected": Said("bad", Step("The call to your number was rejected"), _AGAIN, 1),
    "noanswer": Said("bad", Step("You did not pick up"), _AGAIN, 1),
    "unavailable": Said(
        "bad", Step("We could not reach your number"), Step("Please look whether it is the right one."), 1
    ),
    "congestion": Said("bad", Step("We could not reach your number"), _LATER, 1),
    "ended": Said("bad", Step("The call ended before you picked up"), _AGAIN, 1),
}
"""By how it ended between our phone's answer and theirs."""
_OVER: Final = Said("over", Step("The call is over"), Step("Thank you."), 3)
_FAILED: Final = Said("bad", UNAVAILABLE, _LATER)


def said_of(attempt: DialAttempt) -> Said:
    """How a visitor's call stands."""
    if attempt.state in _UNDER_WAY:
        return _UNDER_WAY[attempt.state]
    if attempt.has_been("connected"):
        return _OVER
    return (_THEIRS if attempt.has_been("answered") else _OURS).get(attempt.state, _FAILED)


def lines_of(hours: Hours) -> list[tuple[Step, Step]]:
    """Opening hours for people: days, and times."""
    return [(_days(span), in_a_row(_times(span), ", ")) for span in hours.spans]


def _days(span: Span) -> Step:
    if len(span.days) == len(DAYS):
        return Step("Every day")
    return in_a_row(
        (
            DAYS[first]
            if first == last
            else step("{first} to {last}", first=DAYS[first], last=DAYS[last])
            if last - first > 1
            else in_a_row((DAYS[first], DAYS[last]), ", ")
            for first, last in span.runs
        ),
        ", ",
    )


def _times(span: Span) -> list[Step]:
    return [
        Step("all day")
        if (begin, end) == ("00:00", "24:00")
        else step("{begin} to {end}", begin=begin, end=end)
        for begin, end in span.clocks
    ]
