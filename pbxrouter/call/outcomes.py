"""What the words in PBXROUTER_OUTCOME mean, for people. Pure."""

from __future__ import annotations

from typing import Final

from pbxrouter.text import Sentence, sentence

OUTCOMES: Final = {
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
    "DENIED": Sentence("PIN or rules said no"),
    "INVALID": Sentence("no such number"),
    "HANGUP": Sentence("hung up before"),
    "NODRIVER": Sentence("no driver for it"),
    "FAILED": Sentence("something broke"),
    "REFUSED": Sentence("forged, refused"),
    "DEAD": Sentence("was hung up already"),
}
"""By the word."""
WELL: Final = frozenset({"ANSWER", "DONE"})
GRAVE: Final = frozenset({"FAILED", "NODRIVER", "REFUSED", "DENIED"})


def outcome_words(outcome: str) -> Sentence:
    """What an outcome means; a word that only the dialplan or somebody's driver knows is shown as it is."""
    return OUTCOMES.get(outcome) or sentence("{text}", text=outcome)


def outcome_kind(outcome: str) -> str:
    """How it is marked: good, bad or plain."""
    return "good" if outcome in WELL else "bad" if outcome in GRAVE else "plain"
