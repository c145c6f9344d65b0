"""Shows the AGI dialogue of calls to watchers, as Asterisk's own ``agi set debug`` does.

A watcher gets each line of the calls that it asked for. What callers key in is starred before, and the shared secret is
masked, so that neither can be seen. Without watchers it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pbxrouter.agi.commands import masked_reply
from pbxrouter.agi.messages import AGIRequest, decode, masked_secret
from pbxrouter.text import printable

MAX_NAME: Final = 200
"""Characters that are shown of what names a call."""
MAX_LINE: Final = 2000
"""Bytes of a line that are shown; Asterisk's replies are shorter, but for variables."""


@dataclass(frozen=True, slots=True)
class DialogueLine:
    """One line of a call's AGI dialogue.

    Attributes:
        uniqueid: the channel's Uniqueid.
        caller: the calling number; ``unknown`` if the call shows none.
        extension: the dialplan's extension.
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


@dataclass(frozen=True, slots=True, eq=False)
class _Watcher:
    show: Callable[[DialogueLine], None]
    caller: str | None
    extension: str | None

    def wants(self, request: AGIRequest) -> bool:
        return self.caller in (None, request.caller) and self.extension in (None, request.extension)


class DialogueWatch:
    """The watchers and the calls that they watch.

    Attributes:
        active: whether there are watchers; the transports look at it first.
    """

    def __init__(self) -> None:
        self._watchers: list[_Watcher] = []
        self.active = False

    def add(
        self, show: Callable[[DialogueLine], None], caller: str | None = None, extension: str | None = None
    ) -> Callable[[], None]:
        """Watch all calls, or those from a caller or to an extension; returns a function that ends it."""
        watcher = _Watcher(show, caller, extension)
        self._watchers.append(watcher)
        self.active = True

        def stop() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
            self.active = bool(self._watchers)

        return stop

    def opened(self, request: AGIRequest) -> None:
        """Show the opening block of a call."""
        for name, value in request.variables.items():
            self._show(request, "<", f"agi_{name}: {masked_secret(value)}")
        for number, value in enumerate(request.arguments, 1):
            self._show(request, "<", f"agi_arg_{number}: {masked_secret(value)}")

    def sent(self, request: AGIRequest, command: str) -> None:
        """Show a command that was sent."""
        self._show(request, ">", command)

    def received(self, request: AGIRequest, command: str, line: bytes) -> None:
        """Show a line that has come; ``command`` is what it may answer, ``""`` if no command waits."""
        self._show(request, "<", masked_reply(command, decode(line[:MAX_LINE])))

    def noted(self, request: AGIRequest, text: str) -> None:
        """Show a remark about the connection."""
        self._show(request, "-", text)

    def _show(self, request: AGIRequest, direction: str, text: str) -> None:
        line = DialogueLine(
            printable(request.uniqueid, MAX_NAME),
            printable(request.caller or "unknown", MAX_NAME),
            printable(request.extension, MAX_NAME),
            direction,
            printable(text, MAX_LINE),
        )
        for watcher in tuple(self._watchers):
            if watcher.wants(request):
                watcher.show(line)
