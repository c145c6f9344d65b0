"""Watching the AGI dialogue of calls, as Asterisk's own ``agi set debug`` does.

Whoever watches is told each line of the calls asked for; what callers key in is
starred before it leaves here, so is the shared secret: neither it nor a PIN can be seen. Costs nothing while nobody
watches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pbxrouter.agi.commands import masked_reply
from pbxrouter.agi.messages import AGIRequest, decode, masked_secret
from pbxrouter.text import printable


@dataclass(frozen=True, slots=True)
class DialogueLine:
    """One line of a call's AGI dialogue.

    Attributes:
        uniqueid: the channel's Uniqueid.
        caller: who calls; ``unknown`` if the call does not say.
        extension: what was dialled.
        direction: ``>`` to Asterisk, ``<`` from it, ``-`` about the connection.
        text: the line, printable, without line end.
    """

    uniqueid: str
    caller: str
    extension: str
    direction: str
    text: str

    def __str__(self) -> str:
        return f"{self.uniqueid} {self.caller}->{self.extension} {self.direction} {self.text}"


@dataclass(frozen=True, slots=True)
class _Watcher:
    tell: Callable[[DialogueLine], None]
    caller: str | None
    extension: str | None

    def wants(self, request: AGIRequest) -> bool:
        return self.caller in (None, request.caller) and self.extension in (None, request.extension)


class DialogueWatch:
    """Who watches which calls.

    Attributes:
        active: whether anybody watches; the transports look at it first.
    """

    def __init__(self) -> None:
        self._watchers: list[_Watcher] = []
        self.active = False

    def add(
        self, tell: Callable[[DialogueLine], None], caller: str | None = None, extension: str | None = None
    ) -> Callable[[], None]:
        """Watch calls, all or those of a caller or to an extension; returns what ends it."""
        watcher = _Watcher(tell, caller, extension)
        self._watchers.append(watcher)
        self.active = True

        def stop() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
            self.active = bool(self._watchers)

        return stop

    def opened(self, request: AGIRequest) -> None:
        """A call told of itself."""
        for name, value in request.variables.items():
            self._tell(request, "<", f"agi_{name}: {value}")
        for number, value in enumerate(request.arguments, 1):
            self._tell(request, "<", f"agi_arg_{number}: {masked_secret(value)}")

    def sent(self, request: AGIRequest, command: str) -> None:
        """A command went to Asterisk."""
        self._tell(request, ">", command)

    def received(self, request: AGIRequest, command: str, line: bytes) -> None:
        """A line came from Asterisk; ``command`` is what it may answer, ``""`` if nothing waits."""
        self._tell(request, "<", masked_reply(command, decode(line)))

    def noted(self, request: AGIRequest, text: str) -> None:
        """Something about the connection."""
        self._tell(request, "-", text)

    def _tell(self, request: AGIRequest, direction: str, text: str) -> None:
        line = DialogueLine(
            printable(request.uniqueid),
            printable(request.caller or "unknown"),
            printable(request.extension),
            direction,
            printable(text),
        )
        for watcher in tuple(self._watchers):
            if watcher.wants(request):
                watcher.tell(line)
