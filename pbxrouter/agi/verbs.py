"""The verbs: one function for each thing that a driver or the call flow does with a call.

Written once over ``Channel.execute``, so that every way in behaves the same. Each
fails as ``Channel.execute`` does, and with the exceptions that it names. docs/asterisk.md A2 to A5 tell
why each looks as it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pbxrouter.agi.commands import command
from pbxrouter.agi.messages import AGIReply
from pbxrouter.agi.prompts import localised
from pbxrouter.errors import ApplicationFailed, ChannelHungUp, CommandRefused, ConnectionClosed, PromptMissing

if TYPE_CHECKING:
    from pbxrouter.agi.channel import Channel

KEYS: Final = "0123456789*#"
_KEY_OF_RESULT: Final = {str(ord(key)): key for key in KEYS}
PIN_TIMEOUT_MS: Final = 5000
"""Milliseconds to wait for a digit, after the prompt's end and after each digit."""
MAX_DIGITS: Final = 20
MAX_VALUE: Final = 1023
"""Characters of a variable's value at most; Asterisk cuts it at as many bytes."""

_UNANSWERED: Final = ("0", "1", "2", "3", "4", "5")
"""States of a channel, as CHANNEL STATUS tells them, before it is answered."""
_SAYABLE: Final = re.compile(r"[0-9*#]+")


@dataclass(frozen=True, slots=True)
class Keyed:
    """What a caller keyed.

    Attributes:
        digits: without the ``#`` that ended them; may be a PIN, so ``repr`` hides them.
        timed_out: whether the timeout ended the digits, and not ``#``.
    """

    digits: str
    timed_out: bool

    def __repr__(self) -> str:
        return f"Keyed({len(self.digits)} digits, timed_out={self.timed_out})"


@dataclass(frozen=True, slots=True)
class DialResult:
    """The result of a Dial.

    Attributes:
        status: DIALSTATUS: ANSWER, BUSY, NOANSWER, CHANUNAVAIL, CONGESTION, CANCEL, …
        cause: HANGUPCAUSE, a Q.850 number as text; ``""`` if unknown.
        answered_s: ANSWEREDTIME, the seconds for which the caller's channel has been answered; None if not answered or
            not known. It is the talk only of a caller who was not answered before the Dial.
    """

    status: str
    cause: str = ""
    answered_s: int | None = None


async def answer(channel: Channel) -> None:
    """Answer the call; does nothing if it is answered already."""
    reply = await channel.execute("ANSWER")
    if reply.result == "-1":
        await raise_if_hung_up(channel)
        raise ApplicationFailed("Asterisk could not answer the channel")


async def get_digits(
    channel: Channel, prompt: str, timeout_ms: int = PIN_TIMEOUT_MS, max_digits: int = MAX_DIGITS
) -> Keyed:
    """Play a prompt and take the digits that are keyed, in one command, so that none is lost.

    Raises:
        PromptMissing: Asterisk has no such sound; no digits were taken.
    """
    reply = await channel.execute(command("GET DATA", _sound(channel, prompt), timeout_ms, max_digits))
    if reply.result == "-1":
        await raise_if_hung_up(channel)
        raise _prompt_missing(channel, prompt)
    return Keyed(reply.result, reply.timed_out)


async def play_interruptible(channel: Channel, prompt: str) -> str:
    """Play a prompt that a key ends; returns the key, ``""`` if none was pressed.

    Raises:
        PromptMissing: Asterisk has no such sound.
    """
    reply = await channel.execute(command("STREAM FILE", _sound(channel, prompt), KEYS))
    if reply.result == "-1":
        await raise_if_hung_up(channel)
        raise _prompt_missing(channel, prompt)
    return _KEY_OF_RESULT.get(reply.result, "")


async def playback(channel: Channel, prompt: str) -> bool:
    """Play a sound, answering the call first if needed; returns whether it was played to its end.

    Raises:
        PromptMissing: Asterisk has no such sound.
    """
    reply = await run_application(channel, "Playback", _sound(channel, prompt))
    if await get_variable(channel, "PLAYBACKSTATUS") == "FAILED":
        raise _prompt_missing(channel, prompt)
    return reply.result != "-1"


async def run_application(channel: Channel, application: str, argument: str = "") -> AGIReply:
    """Run a dialplan application.

    Raises:
        ApplicationFailed: this Asterisk has no such application.
    """
    reply = await channel.execute(command(f"EXEC {application}", *([argument] if argument else [])))
    if reply.result == "-2":
        raise ApplicationFailed(f"Asterisk has no application {application}")
    return reply


async def dial(channel: Channel, target: str, timeout_s: int, options: str = "") -> DialResult:
    """Connect the caller with a dial string such as ``PJSIP/21``.

    Args:
        timeout_s: seconds for which it may ring.

    Returns:
        The result, also when the caller hung up meanwhile: it can be read from a dead channel (docs/asterisk.md A4).
    """
    try:
        await run_application(channel, "Dial", dial_argument(target, timeout_s, options))
    except ConnectionClosed:
        raise  # Asterisk goes on with the Dial; its result cannot be asked for
    except ChannelHungUp:
        pass  # the dead channel may still tell the result
    status = cause = seconds = ""
    try:
        status = await get_variable(channel, "DIALSTATUS") or "CHANUNAVAIL"
        if status == "ANSWER":
            seconds = await get_variable(channel, "ANSWEREDTIME") or ""
        else:
            cause = await get_variable(channel, "HANGUPCAUSE") or ""
    except ConnectionClosed:
        raise
    except ChannelHungUp:
        status = status or "CANCEL"
    return DialResult(status, cause, int(seconds) if re.fullmatch("[0-9]{1,9}", seconds) else None)


async def may_be_answered(channel: Channel) -> bool:
    """Whether the caller may have been answered already; True, too, if the caller has hung up."""
    try:
        reply = await channel.execute("CHANNEL STATUS")
    except ConnectionClosed:
        raise
    except (ChannelHungUp, CommandRefused):
        return True
    return reply.result not in _UNANSWERED


def dial_argument(target: str, timeout_s: int, options: str = "") -> str:
    """The arguments of Dial(), as ``dial`` gives them."""
    return f"{target},{timeout_s}" + (f",{options}" if options else "")


async def get_variable(channel: Channel, name: str) -> str | None:
    """Return a channel variable, at most 1023 bytes of it; None if it is not set."""
    reply = await channel.execute(command("GET VARIABLE", name))
    return reply.data[:MAX_VALUE] if reply.result == "1" and reply.data is not None else None


async def set_variable(channel: Channel, name: str, value: str) -> None:
    """Set a channel variable for the dialplan to read."""
    await channel.execute(command("SET VARIABLE", name, value))


async def say_digits(channel: Channel, digits: str) -> None:
    """Say digits, ``*`` and ``#`` one by one; other characters are left out."""
    sayable = "".join(_SAYABLE.findall(digits))
    if not sayable:
        return
    if not sayable[0].isdigit():  # the AGI command refuses it, the application does not
        await run_application(channel, "SayDigits", sayable)
        return
    reply = await channel.execute(command("SAY DIGITS", sayable, ""))
    if reply.result == "-1":
        await raise_if_hung_up(channel)


async def hang_up(channel: Channel, cause: str = "") -> None:
    """Hang the call up, with a Q.850 cause if one is given (17: the caller gets the busy tone)."""
    if cause:
        await run_application(channel, "Hangup", cause)
    else:
        await channel.execute("HANGUP")


async def raise_if_hung_up(channel: Channel) -> None:
    """Raise ChannelHungUp if the caller has hung up: a dead channel answers CHANNEL STATUS with 511."""
    await channel.execute("CHANNEL STATUS")


def _sound(channel: Channel, prompt: str) -> str:
    return localised(prompt, channel.request.language)


def _prompt_missing(channel: Channel, prompt: str) -> PromptMissing:
    return PromptMissing(f"Asterisk has no sound {prompt!r} for language {channel.request.language!r}")
