"""Finds out which events Asterisk withholds from the counter's AMI user.

``eventfilter`` and ``disabledevents`` in manager.conf withhold events without a word, and so does a class that the user
may not read (docs/asterisk.md B4). They show by others that mention what was never announced: a channel that hangs up
and had not begun, one that leaves a bridge and had not entered it, a list with channels of which no event came.
"""

from __future__ import annotations

from typing import Final

from pbxrouter.text import Sentence, sentence

ENOUGH: Final = 2
"""Channels that must mention an event that never came: one alone may be an accident or forged."""
MAX_SUSPECTS: Final = 100
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
        if name in self._came and name not in self._mentions:
            return
        if name not in self._came:
            self._proven.discard(name)
            self._came.add(name)
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
        if len(suspects) < MAX_SUSPECTS:
            suspects.add(uniqueid)
        self._update()

    def listed(self, missing: str) -> None:
        """Asterisk's own list shows that an event of a channel has not come."""
        if self._garbled:
            self._garbled -= 1
            return
        self._proven.add(missing)
        self._update()

    def _update(self) -> None:
        mentioned = {name for name, suspects in self._mentions.items() if len(suspects) >= ENOUGH}
        self.withheld = tuple(sorted(mentioned | self._proven))
