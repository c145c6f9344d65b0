"""Proves that a call's channel is one of Asterisk's, before a PIN that the call keys is believed.

FastAGI has no password: a program that may connect can name any channel and any number, a new one for each guess. So
the gateway sets a variable with a random value on the channel, by the call's own connection, and asks Asterisk over
AMI, while the caller keys, whether the channel with that Uniqueid has it. Only the Asterisk at the other end of the
connection can have set it. That an Uniqueid is known proves nothing: it can be guessed, and two
Asterisks may have equal ones.

Of several Asterisks the one that the call seems to come from is asked first, and the others if it does not have the
channel; the first that has it proves the call, so that one that does not answer holds up no other's calls.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.agi import Channel, verbs
from pbxrouter.ami import has_variable
from pbxrouter.security import Standing, call_mark, is_loopback

VARIABLE: Final = "PBXROUTER_PROOF"
"""The channel variable with the random value."""


class Manager(Protocol):
    """The connection to one Asterisk's AMI, here or in another process of the gateway."""

    @property
    def name(self) -> object:
        """The Asterisk's name in the settings."""
        ...

    @property
    def peer(self) -> str:
        """The address that it is connected to; ``""`` while it is not."""
        ...


Ask = Callable[[Any, str, str, str], Coroutine[Deferred[Any], Any, bool | None]]
"""Asks Asterisk, through a Manager, for the value of a channel's variable; as ``ami.has_variable``."""


class Proof:
    """The proof of one call, which comes while the caller keys.

    Attributes:
        asterisk: the Asterisk that has the call's channel, by its own word; ``""`` before ``standing``, and if none
            was asked or has it.
    """

    def __init__(self, asked: Deferred[tuple[Standing, str]]) -> None:
        self._asked = asked
        self._standing: Standing | None = None
        self.asterisk = ""

    async def standing(self) -> Standing:
        """What is known of the call's channel; waits for Asterisk's answer, for some seconds at most."""
        if self._standing is None:
            self._standing, self.asterisk = await self._asked
        return self._standing


class CallProofs:
    """Proves calls.

    Args:
        has_secret: whether a call over FastAGI is served only with the shared secret, which proves it.
        allows_others: whether the settings name the peers that may ask the gateway, so that an Asterisk without AMI
            connection may be among them.
        key: the PIN key, by which calls that the command line simulates are known.
        ask: asks Asterisk.

    Attributes:
        managers: the AMI connections of the Asterisks that ask the gateway.
        is_complete: whether each Asterisk of the settings has one.
    """

    log = Logger()

    def __init__(self, *, has_secret: bool, allows_others: bool, key: bytes, ask: Ask = has_variable) -> None:
        self.managers: Sequence[Manager] = ()
        self._ask_manager = ask
        self.is_complete = True
        self._has_secret = has_secret
        self._allows_others = allows_others
        self._key = key
        self._home: set[str] = set()  # addresses that AMI was connected to

    def reconfigure(self, *, has_secret: bool, allows_others: bool) -> None:
        """Use other settings for the calls that come from now on; see the class's arguments."""
        self._has_secret = has_secret
        self._allows_others = allows_others

    async def begin(self, channel: Channel, asterisk: str = "") -> Proof:
        """Begin to prove a call; Asterisk's answer is not waited for.

        Fails as ``Channel.execute`` does.

        Args:
            asterisk: the one that the call seems to come from; ``""`` if that is not known.
        """
        if self._has_secret or getattr(channel, "is_proven", False) or self.is_simulated(channel):
            return Proof(succeed((Standing.PROVEN, "")))
        peer = str(getattr(channel, "peer", ""))
        if not self.managers:
            return Proof(succeed((self._unproven(peer), "")))
        value = secrets.token_hex(16)
        await verbs.set_variable(channel, VARIABLE, value)
        return Proof(Deferred.fromCoroutine(self._ask(channel.request.uniqueid, value, peer, asterisk)))

    def _unproven(self, peer: str) -> Standing:
        """What is known of a call when Asterisk cannot be asked: names that another machine tells are its own."""
        return Standing.UNPROVEN if is_loopback(peer) or peer in self._home else Standing.FOREIGN

    def is_simulated(self, channel: Channel) -> bool:
        """Whether a call is one that the command line simulates; with the shared secret no mark tells it."""
        if self._has_secret:
            return False
        request = channel.request
        mark = request.secret
        if mark is None or not mark.isascii():
            return False
        expected = call_mark(self._key, request.uniqueid, request.channel, request.caller)
        return hmac.compare_digest(mark, expected)

    async def _ask(self, uniqueid: str, value: str, peer: str, asterisk: str) -> tuple[Standing, str]:
        """Ask for the channel; returns what is known of it, and which Asterisk has it."""
        self._home.update(manager.peer for manager in self.managers if manager.peer)
        first = [manager for manager in self.managers if manager.name == asterisk]
        others = [manager for manager in self.managers if manager.name != asterisk]
        answers: list[bool | None] = []
        for managers in (first, others):
            if found := await self._first_to_have(managers, uniqueid, value, answers):
                return Standing.PROVEN, found
        if None in answers or not self.is_complete:
            return self._unproven(peer), ""
        return (Standing.FOREIGN if self._allows_others else Standing.FORGED), ""

    async def _first_to_have(
        self, managers: Sequence[Manager], uniqueid: str, value: str, answers: list[bool | None]
    ) -> str:
        """Ask Asterisks for a channel, all at once; returns the name of the first that has it, ``""`` if none has.

        Args:
            answers: gets each answer, None of an Asterisk that cannot be asked.
        """
        if not managers:
            return ""
        first: Deferred[str] = Deferred()
        unanswered = len(managers)

        def failed(failure: Failure) -> None:
            self.log.failure("PIN guard: asking Asterisk for a channel failed unexpectedly", failure)

        def answered(answer: bool | None, name: str) -> None:
            nonlocal unanswered
            answers.append(answer)
            unanswered -= 1
            if not first.called and (answer or not unanswered):
                first.callback(name if answer else "")

        for manager in managers:
            asked = Deferred.fromCoroutine(self._ask_manager(manager, uniqueid, VARIABLE, value))
            asked.addErrback(failed).addCallback(answered, str(manager.name))
        return await first
