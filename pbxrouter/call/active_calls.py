"""The calls that the gateway is serving, and what it is doing with each.

The call flow keeps the list up to date; the dashboard and the API read it. Nothing is kept of a call that is over.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from pbxrouter.agi import AGIRequest
from pbxrouter.rules import Decision, normalise_number
from pbxrouter.text import Sentence, printable

MAX_CALLS: Final = 20_000
"""Calls that are listed at a time; further ones are served, but not listed."""
MAX_TEXT: Final = 120
"""Characters that are kept of each text from outside."""


class Phase(enum.Enum):
    """What is happening in a call."""

    ROUTING = "routing"
    NUMBER = "number"
    PIN = "pin"
    RUNNING = "running"
    TALKING = "talking"
    ENDING = "ending"
    OUTSIDE = "outside"
    """Known from AMI only: the call did not come to the gateway, or the gateway is done with it."""

    @property
    def sentence(self) -> Sentence:
        """The phase as a sentence for people."""
        return _PHASES[self]


_PHASES: Final = {
    Phase.ROUTING: Sentence("being routed"),
    Phase.NUMBER: Sentence("asking for the number"),
    Phase.PIN: Sentence("asking for a PIN"),
    Phase.RUNNING: Sentence("running an application"),
    Phase.TALKING: Sentence("talking"),
    Phase.ENDING: Sentence("playing the final announcement"),
    Phase.OUTSIDE: Sentence("not talking yet"),
}


@dataclass(slots=True, eq=False)
class GatewayCall:
    """One call that the gateway is serving; all texts are printable and short.

    Attributes:
        serial: number of the call, counted since the gateway started.
        uniqueid: of its channel; a forged call may claim that of another, and another Asterisk may have one like it.
        caller: ``""`` if the call shows none; likewise ``caller_name``.
        number: what was dialled; ``""`` until that is known.
        pattern: of the mapping that was decided on; ``""`` before that, or if none matched.
        application: of that mapping; likewise ``data``.
        granted_by: extension or user whose grant allowed the call; ``""`` if none has yet.
        forwarded_by: who forwarded the call, proven or claimed; ``""`` before the decision, or if it was not forwarded.
        since: when the gateway got the call, epoch seconds.
        asterisk: the Asterisk that it came from, by its name in the settings; ``""`` if that is not known.
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
    forwarded_by: str = ""
    asterisk: str = ""


class ActiveCalls:
    """The calls that the gateway is serving. Each method takes constant time.

    Attributes:
        version: changes with each change of the list or of a call in it.
    """

    def __init__(self) -> None:
        self.version = 0
        self._count = 0
        # Keyed by the call itself, since a forged call may claim another's Uniqueid.
        self._calls: dict[GatewayCall, None] = {}

    @property
    def calls(self) -> Collection[GatewayCall]:
        """The calls in progress, the oldest first."""
        return self._calls.keys()

    def add(self, request: AGIRequest, now: float, asterisk: str = "") -> GatewayCall:
        """Add a call that has come.

        Args:
            now: epoch seconds.
            asterisk: the Asterisk that it came from; ``""`` if that is not known.

        Returns:
            The call, for the other methods.
        """
        number = request.extension
        if normalise_number(number) is None:  # such as s; the caller may be asked for the number
            number = request.dnid or ""
            number = "" if normalise_number(number) is None else number
        self._count += 1
        call = GatewayCall(
            self._count,
            short(request.uniqueid),
            short(request.caller or ""),
            short(request.caller_name),
            short(number),
            now,
            asterisk=asterisk,
        )
        if len(self._calls) < MAX_CALLS:
            self._calls[call] = None
        self.version += 1
        return call

    def insert(self, call: GatewayCall) -> None:
        """Add a call that another process of the gateway serves; it gets a serial number of this list."""
        self._count += 1
        call.serial = self._count
        if len(self._calls) < MAX_CALLS:
            self._calls[call] = None
        self.version += 1

    def changed(self) -> None:
        """Note that such a call has other values now."""
        self.version += 1

    def set_asterisk(self, call: GatewayCall, asterisk: str) -> None:
        """Set the Asterisk that a call came from, which was not known, or told wrongly."""
        call.asterisk = asterisk
        self.version += 1

    def set_decision(self, call: GatewayCall, decision: Decision) -> None:
        """Set what was decided for a call, instead of an earlier decision."""
        mapping = decision.mapping
        call.number = short(decision.number)
        call.pattern = short(mapping.pattern) if mapping else ""
        call.application = short(mapping.application) if mapping else ""
        call.data = short(mapping.data) if mapping else ""
        call.granted_by = short(decision.granted_by or "")
        call.forwarded_by = short(decision.forwarded_by)
        self.version += 1

    def set_phase(self, call: GatewayCall, phase: Phase) -> None:
        """Set the phase that a call has entered."""
        if call.phase is not phase:
            call.phase = phase
            self.version += 1

    def remove(self, call: GatewayCall) -> None:
        """Remove a call that the gateway is done with."""
        self._calls.pop(call, None)
        self.version += 1


def short(text: str) -> str:
    """Text from outside, made printable and cut to MAX_TEXT characters, with … where it is cut."""
    return printable(text[:MAX_TEXT]) + ("…" if len(text) > MAX_TEXT else "")
