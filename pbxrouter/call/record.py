"""The record of a call that is over, and the outcomes that calls come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pbxrouter.agi import AGIRequest
from pbxrouter.database.calls import UNKNOWN
from pbxrouter.drivers import Outcome
from pbxrouter.rules import Decision
from pbxrouter.text import Sentence, printable, sentence

MAX_WORD: Final = 80
"""Characters of an outcome's word, and of its cause."""
MAX_TALK_S: Final = 10_000_000
"""Seconds of talk that are believed: four months."""


class GatewayOutcome:
    """Outcomes that the gateway itself gives; all others come from drivers."""

    INVALID: Final = "INVALID"
    """No pattern matches the number."""
    DENIED: Final = "DENIED"
    """No grant and none of the PINs that the caller keyed allows the mapping."""
    LOCKED_OUT: Final = "LOCKEDOUT"
    """A PIN was not checked, since there were too many wrong ones. The dialplan is told DENIED."""
    NO_DRIVER: Final = "NODRIVER"
    """No driver provides the mapping's application."""
    FAILED: Final = "FAILED"
    """An error in the gateway or in a driver."""
    REFUSED: Final = "REFUSED"
    """The call was forged."""
    HUNG_UP: Final = "HANGUP"
    """The caller hung up before the call had another outcome."""
    CUT: Final = "CUT"
    """Asterisk hung the caller up, on behalf of an administrator or another program."""
    MOVED: Final = "MOVED"
    """The caller was taken elsewhere in the dialplan, as by AMI's Redirect or a transfer."""
    LOST: Final = "LOST"
    """The connection to Asterisk was lost; the call may have gone on."""
    STOPPED: Final = "STOPPED"
    """The gateway stopped while it talked with the caller."""
    LEFT: Final = "LEFT"
    """The gateway stopped while an application such as Dial ran, which Asterisk carried on."""
    UNKNOWN: Final = UNKNOWN
    """The gateway died during the call; the next start has found it in the journal."""
    NO_CALL: Final = "NOCALL"
    """No call: AGI() ran on a phone that was dialled, in Dial's ``U()``, or in a hang-up handler."""
    DEAD: Final = "DEAD"
    """The channel was hung up before the dialplan handed it over."""


OUTCOME_SENTENCES: Final = {
    "ANSWER": Sentence("answered"),
    "DONE": Sentence("served"),
    "BUSY": Sentence("busy"),
    "NOANSWER": Sentence("no answer"),
    "CANCEL": Sentence("the caller gave up"),
    "CHANUNAVAIL": Sentence("not reachable"),
    "CONGESTION": Sentence("no line free"),
    "INVALIDARGS": Sentence("could not be dialled"),
    "DONTCALL": Sentence("refused by the callee"),
    "TORTURE": Sentence("refused by the callee"),
    "NOTENTERED": Sentence("mailbox not entered"),
    "KICKED": Sentence("put out of the conference"),
    "TIMEOUT": Sentence("waited too long"),
    "FULL": Sentence("the queue was full"),
    "JOINEMPTY": Sentence("the queue had no agent"),
    "LEAVEEMPTY": Sentence("the queue had no agent"),
    "JOINUNAVAIL": Sentence("no agent was free"),
    "LEAVEUNAVAIL": Sentence("no agent was free"),
    GatewayOutcome.DENIED: Sentence("not allowed"),
    GatewayOutcome.LOCKED_OUT: Sentence("locked out after wrong PINs"),
    GatewayOutcome.INVALID: Sentence("no such number"),
    GatewayOutcome.HUNG_UP: Sentence("caller hung up"),
    GatewayOutcome.CUT: Sentence("hung up by Asterisk"),
    GatewayOutcome.MOVED: Sentence("went on elsewhere"),
    GatewayOutcome.LOST: Sentence("connection to Asterisk lost"),
    GatewayOutcome.NO_DRIVER: Sentence("no driver"),
    GatewayOutcome.FAILED: Sentence("gateway error"),
    GatewayOutcome.REFUSED: Sentence("forged call"),
    GatewayOutcome.STOPPED: Sentence("cut by a stop of the gateway"),
    GatewayOutcome.LEFT: Sentence("went on after a stop of the gateway"),
    GatewayOutcome.UNKNOWN: Sentence("cut: the gateway died"),
    GatewayOutcome.DEAD: Sentence("already hung up"),
    GatewayOutcome.NO_CALL: Sentence("no call of its own"),
}
"""What the words in PBXROUTER_OUTCOME mean, and those in QUEUESTATUS, which a driver of queues returns."""
SUCCESSFUL: Final = frozenset({"ANSWER", "DONE"})
PROBLEMATIC: Final = frozenset(
    {
        GatewayOutcome.FAILED,
        GatewayOutcome.NO_DRIVER,
        GatewayOutcome.REFUSED,
        GatewayOutcome.DENIED,
        GatewayOutcome.LOCKED_OUT,
        GatewayOutcome.STOPPED,
        GatewayOutcome.UNKNOWN,
        GatewayOutcome.LOST,
    }
)


def readable(outcome: Outcome) -> Outcome:
    """A driver's outcome, which may hold a reply of Asterisk's or what other people's code made, fit to be kept."""
    status, cause = (printable(str(text), MAX_WORD) for text in (outcome.status, outcome.cause))
    answered_s = outcome.answered_s
    if not isinstance(answered_s, int) or not 0 <= answered_s <= MAX_TALK_S:
        answered_s = None
    if (status, cause, answered_s) == (outcome.status, outcome.cause, outcome.answered_s):
        return outcome
    return Outcome(status, cause, answered_s, outcome.hang_up)


def outcome_sentence(outcome: str) -> Sentence:
    """What an outcome means; an unknown word, such as that of another package's driver, is shown unchanged."""
    return OUTCOME_SENTENCES.get(outcome) or sentence("{text}", text=outcome)


def outcome_kind(outcome: str) -> str:
    """How the console marks an outcome: ``good``, ``bad`` or ``plain``."""
    return "good" if outcome in SUCCESSFUL else "bad" if outcome in PROBLEMATIC else "plain"


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call that the gateway has finished with.

    Attributes:
        request: what Asterisk said of the call.
        decision: the last one made; None if the call ended before any.
        outcome: what the call came to.
        began: when the gateway got the call, epoch seconds.
        ended: when the gateway was done with it, epoch seconds.
        note: a last step for the trace, such as why the call was refused; None if there is nothing to add.
        key: names the call in the journal; ``""`` if it is not there.
        source: what calls are counted by that brought a guesser or a forger nothing; ``""`` for any other call.
        talks_before: number of talks that the channel had had before, by AMI.
        asterisk: the Asterisk that it came from, by its name in the settings; ``""`` if that is not known.
    """

    request: AGIRequest
    decision: Decision | None
    outcome: Outcome
    began: float = field(default=0.0, compare=False)
    ended: float = field(default=0.0, compare=False)
    note: Sentence | None = field(default=None, compare=False)
    key: str = field(default="", compare=False)
    source: str = field(default="", compare=False)
    talks_before: int = field(default=0, compare=False)
    asterisk: str = field(default="", compare=False)
