"""What the words in PBXROUTER_OUTCOME mean, for people. Pure.

Not here: when a call comes to which (callflow, drivers), and counting them (counting).
"""

from __future__ import annotations

from typing import Final

from pbxrouter.text.sentences import Step, step

OUTCOMES: Final = {
    "ANSWER": Step("answered"),
    "DONE": Step("served"),
    "BUSY": Step("busy"),
    "NOANSWER": Step("no answer"),
    "CANCEL": Step("the caller gave up"),
    "CHANUNAVAIL": Step("not reachable"),
    "CONGESTION": Step("no line free"),
    "INVALIDARGS": Step("could not be dialled"),
    "DONTCALL": Step("refused by the callee"),
    "TORTURE": Step("refused by the callee"),
    "DENIED": Step("PIN or rules said no"),
    "INVALID": Step("no such number"),
    "HANGUP": Step("hung up before"),
    "NODRIVER": Step("no driver for it"),
    "FAILED": Step("something broke"),
    "REFUSED": Step("forged, refused"),
    "DEAD": Step("was hung up already"),
}
"""By the word."""
WELL: Final = frozenset({"ANSWER", "DONE"})
GRAVE: Final = frozenset({"FAILED", "NODRIVER", "REFUSED", "DENIED"})


def outcome_words(outcome: str) -> Step:
    """What an outcome means; a word that only the dialplan or somebody's driver knows is shown as it is."""
    return OUTCOMES.get(outcome) or step("{text}", text=outcome)


def outcome_kind(outcome: str) -> str:
    """How it is marked: good, bad or plain."""
    return "good" if outcome in WELL else "bad" if outcome in GRAVE else "plain"
