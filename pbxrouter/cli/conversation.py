"""One simulated call over a socket: carries the bytes, and judges afterwards how the gateway behaved.

What Asterisk answers is in `pbxrouter.simulator`; how it is shown, in `pbxrouter.cli.transcript`.
"""

import enum
import socket
from typing import Protocol

from pbxrouter.simulator import SimulatedAsterisk

_SEGMENT = 65536
# Marks by which the gateway tells the dialplan that it is done with a call.
_DONE = ("done", "refused", "failed")


class ConversationEnd(enum.Enum):
    """How the connection ended."""

    CLOSED = "closed"
    RESET = "reset"
    SILENT = "silent"
    HUNG_UP = "Asterisk closed"


class Watcher(Protocol):
    """Somebody who is shown the conversation while it happens."""

    def environment(self, data: bytes) -> None:
        """What Asterisk sends first."""

    def command(self, line: bytes) -> None:
        """A command of the gateway."""

    def reply(self, line: bytes, command: bytes | None) -> None:
        """A line of Asterisk's, and the command that it answers."""


def converse(
    connection: socket.socket, asterisk: SimulatedAsterisk, watcher: Watcher, timeout_s: float
) -> ConversationEnd:
    """Play the call until one side ends it.

    Args:
        connection: to the gateway; it stays open.
        asterisk: the other side.
        watcher: is told every line.
        timeout_s: how many seconds the gateway may say nothing.
    """
    connection.settimeout(timeout_s)
    opening = asterisk.environment()
    watcher.environment(opening)
    if _send(connection, opening) is not None:
        return ConversationEnd.RESET
    while True:
        try:
            data = connection.recv(_SEGMENT)
        except TimeoutError:
            return ConversationEnd.SILENT
        except ConnectionError:
            return ConversationEnd.RESET
        if not data:
            return ConversationEnd.CLOSED
        seen = len(asterisk.commands)
        answer = asterisk.receive(data)
        commands = asterisk.commands[seen:]
        for line in commands:
            watcher.command(line)
        for line in answer.splitlines():
            watcher.reply(line, commands[-1] if commands else None)
        if asterisk.ended:
            return ConversationEnd.HUNG_UP
        # The gateway may close as soon as it has its answer, or not wait for it: what it sent still counts.
        _send(connection, answer)


def _send(connection: socket.socket, data: bytes) -> OSError | None:
    try:
        connection.sendall(data)
    except OSError as error:
        return error
    return None


def faults(asterisk: SimulatedAsterisk, ending: ConversationEnd, timeout_s: float) -> list[str]:
    """What the gateway did wrong, in words; nothing when the conversation ended as it should."""
    found = [f"the gateway {complaint}" for complaint in dict.fromkeys(asterisk.complaints)]
    if asterisk.unfinished:
        found.append("the gateway stopped in the middle of a line")
    mark = asterisk.variable("PBXROUTER")
    if ending is ConversationEnd.SILENT:
        after = ", though the call is over: a real Asterisk would hold it for ever" if asterisk.dead else ""
        found.append(f"the gateway said nothing for {timeout_s:g} s and did not close{after}")
    elif ending is ConversationEnd.RESET and not asterisk.dead and mark not in _DONE:
        found.append("the gateway broke the connection")
    elif ending is ConversationEnd.CLOSED and not asterisk.dead and mark not in _DONE:
        state = f"PBXROUTER is {mark}" if mark else "PBXROUTER is not set"
        found.append(f"the gateway closed before it was done ({state}): the dialplan goes to its fallback")
    elif ending is ConversationEnd.HUNG_UP:
        found.append("the gateway made Asterisk end the run")
    if mark == "failed":
        found.append("the gateway reports a failure of its own: see its log")
    return found
