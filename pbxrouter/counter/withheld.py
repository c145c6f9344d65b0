"""Finds out which events Asterisk withholds from the counter's AMI user.

``eventfilter`` and ``disabledevents`` in manager.conf withhold events without a word, and so does a class that the user
may not read (docs/asterisk.md B4). They show by others that mention what was never announced: a channel that hangs up
and had not begun, one that leaves a bridge and had not entered it or hangs up in one, a dialled channel whose dialling
has no end, an answered one that comes into no bridge, talks that end without a hang-up by either side, a list
with channels of which no event came.
"""

from __future__ import annotations

from typing import Final

from pbxrouter.text import Sentence, sentence

ENOUGH: Final = 2
"""Channels that must mention an event that never came: one alone may be an accident or forged."""
ENOUGH_OF: Final = {"HangupRequest": 4}
"""The same, of an event that need not come: a call may end by a limit of its length, or by a transfer."""
MAX_DIALLED: Final = 10_000
SURE_S: Final = 5.0
"""Seconds after which an event that comes late has come."""


class EventWatch:
    """What one connection shows of the events that do not come.

    Attributes:
        withheld: the events that are withheld, in order of their names.
    """

    def __init__(self) -> None:
        self.connected()

    def connected(self) -> None:
        """Begin anew with a new connection: the settings may have been changed."""
        self._mentions: dict[str, set[str]] = {}
        self._came: set[str] = set()
        self._proven: set[str] = set()
        self._garbled = 0
        self._dialled: dict[str, bool] = {}  # channels that were dialled: whether they have answered
        self.withheld: tuple[str, ...] = ()

    @property
    def sentence(self) -> Sentence:
        """Why calls cannot be counted, and which settings withhold events."""
        return sentence(
            "Asterisk withholds {names}: see eventfilter of the gateway's user, disabledevents under [general], and"
            " read = … call, in manager.conf",
            names=", ".join(self.withheld),
        )

    @property
    def has_proof(self) -> bool:
        """Whether the events on which all counting rests have come on this connection."""
        return {"Newchannel", "Hangup"} <= self._came

    def came(self, name: str) -> None:
        """An event came: it is withheld no more, unless the list has shown that it is for some channels only."""
        if name in self._came:
            return
        self._came.add(name)
        self._proven.discard(name)
        self._mentions.pop(name, None)
        self._update()

    def garbled(self) -> None:
        """An event came that a caller has merged with another, so that its channel stays unknown."""
        self._garbled += 1

    def mentioned(self, missing: str, uniqueid: str) -> None:
        """A channel shows that an event of it has not come."""
        if missing in self._came:
            return
        suspects = self._mentions.setdefault(missing, set())
        if len(suspects) < _enough(missing):
            suspects.add(uniqueid)
        self._update()

    def dialled(self, name: str, uniqueid: str, status: str) -> None:
        """A Dial() has begun with a channel, or is done with it; what one Originate dials is not told of like this.

        Args:
            name: DialBegin or DialEnd.
        """
        if name == "DialEnd":
            self._dialled.pop(uniqueid, None)
        if (name == "DialBegin" or status == "ANSWER") and len(self._dialled) < MAX_DIALLED:
            self._dialled[uniqueid] = name == "DialEnd"

    def hung_up(self, uniqueid: str, is_bridged: bool) -> None:
        """A channel hangs up, in a bridge as far as is known, or in none."""
        if is_bridged:
            self.mentioned("BridgeLeave", uniqueid)
        has_answered = self._dialled.pop(uniqueid, None)
        if has_answered is not None:
            self.mentioned("BridgeEnter" if has_answered else "DialEnd", uniqueid)

    def listed(self, missing: str) -> None:
        """Asterisk's own list shows that an event of a channel has not come."""
        if self._garbled:
            self._garbled -= 1
            return
        self._proven.add(missing)
        self._update()

    def _update(self) -> None:
        mentioned = {name for name, suspects in self._mentions.items() if len(suspects) >= _enough(name)}
        self.withheld = tuple(sorted(mentioned | self._proven))


def _enough(name: str) -> int:
    return ENOUGH_OF.get(name, ENOUGH)
