"""The states of a FastAGI connection, and the table of transitions between them.

``docs/protocol.md`` draws the table. What an event does besides is in ``pbxrouter.fastagi.protocol``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final


class State(enum.Enum):
    """Where a connection is: its opening block, a command, the caller's hang-up, its end."""

    OPENING = "reading the opening block"
    IDLE = "no command is running"
    ASKED = "waiting for the reply to a command"
    SETTLING = "the first reply is held: bytes that follow it show that it was forged"
    DOUBTFUL = "a -1 is held: a HANGUP line that follows it shows that the caller hung up"
    DEAD_IDLE = "the caller hung up; no command is running"
    DEAD_ASKED = "the caller hung up; waiting for the reply to a command"
    DEAD_SETTLING = "the caller hung up; the first reply is held"
    DEAD_OWED = "the caller hung up; the reply to a command that was given up is still to come"
    REFUSING = "the call is refused: it is marked, and hung up if it was forged"
    CLOSING = "closing"
    CLOSED = "closed"

    # The table is consulted several times for each command; Enum's own __hash__ is a Python function.
    __hash__ = object.__hash__


class Event(enum.Enum):
    """An event that may change the state of a connection."""

    OPENED = "the opening block is complete"
    COMMAND = "a command is sent"
    FIRST_REPLY = "the call's first reply has come"
    REPLY = "a reply has come, or a held one is accepted"
    MINUS_ONE = "a reply -1 has come that may mean a hang-up"
    DEAD_REPLY = "a reply 511 has come: the channel is dead"
    HANGUP = "the line HANGUP has come"
    GIVE_UP = "the reply to the running command is no longer waited for"
    VIOLATION = "bytes have come that Asterisk would not send"
    TURNED_AWAY = "there is no slot for the connection"
    REFUSED = "a refused call is marked, and hung up if it was forged"
    TIMEOUT = "the opening block or a reply has not come in time"
    CLOSE = "the gateway gives the call back"
    LOST = "the connection is gone"

    __hash__ = object.__hash__


_LIVE: Final = {Event.VIOLATION: State.REFUSING, Event.CLOSE: State.CLOSING, Event.LOST: State.CLOSED}
"""Transitions of each state before the end of a call."""

TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = {
    State.OPENING: {
        **_LIVE,
        Event.OPENED: State.IDLE,
        Event.TURNED_AWAY: State.REFUSING,
        Event.TIMEOUT: State.CLOSING,
    },
    State.IDLE: {
        **_LIVE,
        Event.COMMAND: State.ASKED,
        Event.HANGUP: State.DEAD_IDLE,
    },
    State.ASKED: {
        **_LIVE,
        Event.FIRST_REPLY: State.SETTLING,
        Event.REPLY: State.IDLE,
        Event.MINUS_ONE: State.DOUBTFUL,
        Event.DEAD_REPLY: State.DEAD_IDLE,
        Event.HANGUP: State.DEAD_ASKED,
        Event.TIMEOUT: State.REFUSING,
    },
    State.SETTLING: {
        **_LIVE,
        Event.REPLY: State.IDLE,
        Event.MINUS_ONE: State.DOUBTFUL,
        Event.DEAD_REPLY: State.DEAD_IDLE,
        Event.HANGUP: State.DEAD_IDLE,
    },
    State.DOUBTFUL: {
        **_LIVE,
        Event.REPLY: State.IDLE,
        Event.HANGUP: State.DEAD_IDLE,
    },
    State.DEAD_IDLE: {
        **_LIVE,
        Event.COMMAND: State.DEAD_ASKED,
        Event.HANGUP: State.DEAD_IDLE,
    },
    State.DEAD_ASKED: {
        **_LIVE,
        Event.FIRST_REPLY: State.DEAD_SETTLING,
        Event.REPLY: State.DEAD_IDLE,
        Event.MINUS_ONE: State.DEAD_IDLE,
        Event.DEAD_REPLY: State.DEAD_IDLE,
        Event.HANGUP: State.DEAD_ASKED,
        Event.GIVE_UP: State.DEAD_OWED,
        Event.TIMEOUT: State.CLOSING,
    },
    State.DEAD_SETTLING: {
        **_LIVE,
        Event.REPLY: State.DEAD_IDLE,
        Event.MINUS_ONE: State.DEAD_IDLE,
        Event.DEAD_REPLY: State.DEAD_IDLE,
        Event.HANGUP: State.DEAD_IDLE,
    },
    State.DEAD_OWED: {
        **_LIVE,
        Event.REPLY: State.DEAD_IDLE,
        Event.HANGUP: State.DEAD_OWED,
    },
    State.REFUSING: {
        Event.CLOSE: State.REFUSING,
        Event.REFUSED: State.CLOSING,
        Event.LOST: State.CLOSED,
    },
    State.CLOSING: {
        Event.CLOSE: State.CLOSING,
        Event.LOST: State.CLOSED,
    },
    State.CLOSED: {
        Event.CLOSE: State.CLOSED,
    },
}
"""For each state the events that may happen in it and the state that follows; every other pair is a fault."""

BUSY: Final = frozenset({State.ASKED, State.SETTLING, State.DOUBTFUL, State.DEAD_ASKED, State.DEAD_SETTLING})
"""States in which a command waits for its reply or the reply is held."""
OVER: Final = frozenset({State.REFUSING, State.CLOSING, State.CLOSED})
"""States in which nothing that Asterisk sends is parsed and no command is sent."""
HUNG_UP: Final = frozenset({State.DEAD_IDLE, State.DEAD_ASKED, State.DEAD_SETTLING, State.DEAD_OWED, State.CLOSED})
"""States in which the caller has hung up or the connection is gone."""


class IllegalTransition(Exception):
    """An event happened in a state for which the table has no transition: a fault of the gateway."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"FastAGI: the event {event.name} is impossible in the state {state.name}")


def next_state(state: State, event: Event) -> State:
    """Return the state that follows.

    Raises:
        IllegalTransition: the table has no such pair.
    """
    following = TRANSITIONS[state].get(event)
    if following is None:
        raise IllegalTransition(state, event)
    return following
