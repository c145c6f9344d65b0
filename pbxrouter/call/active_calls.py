"""The calls that the gateway has right now, and what it is doing with each.

The board is told by the conversation of each call (call.flow) and asked by whoever shows calls. It
keeps nothing of a call that is over.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from pbxrouter.agi import NOT_SHOWN, AGIRequest
from pbxrouter.rules import Decision, normalise_number
from pbxrouter.text import Sentence, printable

MAX_CALLS: Final = 20_000
"""Calls of the gateway's that are kept at a time; further ones are served, but not shown as its own."""
MAX_TEXT: Final = 120
"""Characters that are kept of any one text from outside."""


class Phase(enum.Enum):
    """What is happening in a call."""

    ROUTING = "routing"
    NUMBER = "number"
    PIN = "pin"
    RUNNING = "running"
    TALKING = "talking"
    ENDING = "ending"
    OUTSIDE = "outside"
    """Only AMI knows of it: it did not come to the gateway, or the gateway is done with it."""

    @property
    def sentence(self) -> Sentence:
        """In words."""
        return _PHASES[self]


_PHASES: Final = {
    Phase.ROUTING: Sentence("being routed"),
    Phase.NUMBER: Sentence("asking for the number"),
    Phase.PIN: Sentence("asking for a PIN"),
    Phase.RUNNING: Sentence("running an application"),
    Phase.TALKING: Sentence("talking"),
    Phase.ENDING: Sentence("saying why it ends"),
    Phase.OUTSIDE: Sentence("not talking yet"),
}


@dataclass(slots=True, eq=False)
class GatewayCall:
    """One call while the gateway has it; all texts are printable and short.

    Attributes:
        serial: which of the gateway's calls it is, counted since it started.
        uniqueid: of its channel; nobody vouches that no other call claims the same.
        caller: ``""`` if it shows none; so is the caller's name.
        number: what was dialled; ``""`` until that is known.
        pattern: of the mapping that was decided on; ``""`` before that, or if none matched.
        granted_by: extension or user whose grant allowed it; ``""`` if none has yet.
        since: when the gateway got it, epoch seconds.
    """

    serial: int
    uniqueid: str
    caller: str
    caller_name: str
    number: str
    since: float
    phase: Phase = Phase.ROUTING
    pattern: str = ""
    application: str = ""
    data: str = ""
    granted_by: str = ""


class ActiveCalls:
    """The calls that the gateway has right now. Each word to it costs the same, however many there are.

    Attributes:
        version: another number after each change.
    """

    def __init__(self) -> None:
        self.version = 0
        self._count = 0
        # By itself, not by Uniqueid: that is the caller's word, and may be said twice.
        self._calls: dict[GatewayCall, None] = {}

    @property
    def calls(self) -> Collection[GatewayCall]:
        """Those in progress, the oldest first."""
        return self._calls.keys()

    def add(self, request: AGIRequest, now: float) -> GatewayCall:
        """A call has come.

        Args:
            now: epoch seconds.

        Returns:
            The call, to be named in all that is told of it later.
        """
        number = request.extension
        if normalise_number(number) is None:  # such as s; it may be asked for soon
            number = request.dnid or ""
            number = "" if normalise_number(number) is None else number
        name = request.variables.get("calleridname", "")
        self._count += 1
        call = GatewayCall(
            self._count,
            short(request.uniqueid),
            short(request.caller or ""),
            "" if name == NOT_SHOWN else short(name),
            short(number),
            now,
        )
        if len(self._calls) < MAX_CALLS:
            self._calls[call] = None
        self.version += 1
        return call

    def set_decision(self, call: GatewayCall, decision: Decision) -> None:
        """It was decided what becomes of a call; the last word counts."""
        mapping = decision.mapping
        call.number = short(decision.number)
        call.pattern = short(mapping.pattern) if mapping else ""
        call.application = short(mapping.application) if mapping else ""
        call.data = short(mapping.data) if mapping else ""
        call.granted_by = short(decision.granted_by or "")
        self.version += 1

    def set_phase(self, call: GatewayCall, phase: Phase) -> None:
        """Something else happens in a call from now on."""
        if call.phase is not phase:
            call.phase = phase
            self.version += 1

    def remove(self, call: GatewayCall) -> None:
        """The gateway is done with a call."""
        self._calls.pop(call, None)
        self.version += 1


def short(text: str) -> str:
    """Text from outside as it is shown: printable, and not long."""
    return printable(text[:MAX_TEXT])
