"""Plays a simulated call over a socket, and checks how the gateway behaved.

`pbxrouter.simulator` makes Asterisk's answers; `pbxrouter.cli.transcript` prints the conversation.
"""

import enum
import socket
from typing import Protocol

from pbxrouter.simulator import SimulatedAsterisk

_SEGMENT = 65536
# Values of PBXROUTER by which the gateway tells the dialplan that it is done with a call.
_DONE = ("done", "refused", "failed")


class ConversationEnd(enum.Enum):
    """How the connection ended."""

    CLOSED = "closed"
    RESET = "reset"
    SILENT = "silent"
    HUNG_UP = "Asterisk closed"


class Watcher(Protocol):
    """Receives each line of the conversation as it happens."""

    def environment(self, data: bytes) -> None:
        """The AGI variables that open the conversation."""

    def command(self, line: bytes) -> None:
        """A command of the gateway."""

    def reply(self, line: bytes, command: bytes | None) -> None:
        """A line from Asterisk, and the command that it answers."""


def converse(
    connection: socket.socket, asterisk: SimulatedAsterisk, watcher: Watcher, timeout_s: float
) -> ConversationEnd:
    """Play the call until one side ends it.

    Args:
        connection: the connection to the gateway; it stays open.
        asterisk: Asterisk's side.
        watcher: receives every line.
        timeout_s: how long to wait for the gateway's next command, in seconds.
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
        # The gateway may close before it reads the answer: what it sent still counts.
        _send(connection, answer)


def _send(connection: socket.socket, data: bytes) -> OSError | None:
    try:
        connection.sendall(data)
    except OSError as error:
        return error
    return None


def faults(asterisk: SimulatedAsterisk, ending: ConversationEnd, timeout_s: float) -> list[str]:
    """The gateway's mistakes, as sentences; empty if the conversation ended as it should."""
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
