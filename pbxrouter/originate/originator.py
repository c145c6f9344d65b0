"""Originates calls: a phone rings and is then connected with a number (click-to-dial).

The rules apply as if that phone had dialled: its extension needs a grant for the number. Progress is
taken from the call's own events, not from Asterisk's ``queued`` (docs/asterisk.md B3).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pbxrouter.ami import AMIConnection, AMIMessage, ChannelCheck
from pbxrouter.errors import ManagerError, ManagerUnavailable, OriginateRefused, RulesNotLoaded
from pbxrouter.originate.progress import CAUSE_GRACE_S, Attempt, Progress
from pbxrouter.rules import PIN_IS_ASKED, Decision, Facts, RulesEngine, is_context, normalise_number, read_phone
from pbxrouter.text import Sentence, joined, sentence, split_asterisk

__all__ = [
    "CAUSE_GRACE_S",
    "MARGIN_S",
    "MAX_NUMBER",
    "RING_S",
    "CallRequest",
    "Originator",
    "PhoneState",
    "Progress",
    "check_request",
]

RING_S: Final = 30
"""Default seconds for which the phone may ring."""
MARGIN_S: Final = 5.0
"""Seconds beyond ringing to wait for Asterisk's OriginateResponse."""

MAX_NUMBER: Final = 40
"""Maximum digits of a number."""
ASK_S: Final = 2.0
"""Seconds for Asterisk's answer about a phone."""
REMEMBER_S: Final = 10.0
"""Seconds for which the answer is taken to hold."""
MAX_REMEMBERED: Final = 1000
"""Phones of which it is remembered."""


class PhoneState(enum.Enum):
    """What an Asterisk says of a phone."""

    THERE = "there"
    """It is connected: it can ring, or is busy."""
    AWAY = "away"
    """Asterisk knows it, and it is not connected."""
    NONE = "none"
    """Asterisk knows no such phone."""
    UNTOLD = "untold"
    """Asterisk cannot tell, as for lines of DAHDI, or does not answer."""


_STATES: Final = {
    **dict.fromkeys(("NOT_INUSE", "INUSE", "BUSY", "RINGING", "RINGINUSE", "ONHOLD"), PhoneState.THERE),
    "UNAVAILABLE": PhoneState.AWAY,
    "INVALID": PhoneState.NONE,
}
"""The values of Asterisk's function DEVICE_STATE(); all others tell nothing."""


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A request to originate a call.

    Attributes:
        channel: the phone that rings first, such as ``PJSIP/33``; the grants of the extension that is tied to it
            count, or else of the one that is named as it is.
        number: the number to connect it with.
        context: the dialplan context where that number is dialled.
        ring_s: how long the phone may ring.
    """

    channel: str
    number: str
    context: str
    ring_s: int = RING_S


def check_request(request: CallRequest, technologies: Mapping[str, str]) -> tuple[CallRequest, str]:
    """Validate a request; returns it with Asterisk's names, and the extension whose grants apply.

    Raises:
        OriginateRefused: one of its values is not valid.
    """
    phone = read_phone(request.channel, technologies)
    if phone is None:
        raise OriginateRefused(
            sentence(
                "channel: {channel} is not a phone; accepted is for example PJSIP/33",
                channel=ascii(request.channel[:60]),
            )
        )
    number = normalise_number(request.number)
    if number is None or len(number) > MAX_NUMBER or not any(character.isdigit() for character in number):
        raise OriginateRefused(
            sentence(
                "to: {number} cannot be dialled; accepted are digits, * # and +",
                number=ascii(request.number[:60]),
            )
        )
    if not is_context(request.context):
        raise OriginateRefused(
            sentence("context: {context} is not a dialplan context", context=ascii(request.context[:60]))
        )
    technology, name = phone
    return CallRequest(f"{technology}/{name}", number, request.context, max(1, min(request.ring_s, 300))), name


class Originator:
    """Originates calls on one Asterisk.

    Args:
        technologies: what a technology is called on this Asterisk.
        contexts: the dialplan contexts that calls may enter; empty: none, every request is refused.
    """

    log = Logger()

    def __init__(
        self,
        manager: AMIConnection,
        engine: RulesEngine,
        technologies: Mapping[str, str],
        clock: IReactorTime,
        contexts: Collection[str] = (),
    ) -> None:
        self._contexts = contexts
        self._manager = manager
        self._engine = engine
        self._technologies = technologies
        self._clock = clock
        self._calls: dict[str, Attempt] = {}
        self._ending: set[tuple[str, str]] = set()  # Uniqueid and event, being checked
        self._phones: dict[str, tuple[float, PhoneState]] = {}  # when each was asked about
        self._check = ChannelCheck(manager, clock)
        for name in ("Newstate", "BridgeEnter", "DialEnd", "Hangup", "OriginateResponse"):
            manager.subscribe(name, self._event)
        manager.on_disconnect(self._down)

    def reconfigure(self, technologies: Mapping[str, str], contexts: Collection[str]) -> None:
        """Use other technologies and contexts for the calls that are requested from now on."""
        self._technologies = technologies
        self._contexts = contexts

    @property
    def is_up(self) -> bool:
        """Whether a call can be originated now."""
        return self._manager.is_up

    def allows(self, context: str) -> bool:
        """Whether the settings let calls enter a dialplan context."""
        return context in self._contexts

    def is_phone(self, channel: str) -> bool:
        """Whether the text names a phone, such as ``PJSIP/33``, whether or not Asterisk has it."""
        return read_phone(channel, self._technologies) is not None

    async def phone_state(self, channel: str) -> PhoneState:
        """What Asterisk says of a phone; asked once in REMEMBER_S. Never fails."""
        phone = read_phone(channel, self._technologies)
        if phone is None:
            return PhoneState.NONE
        name = "/".join(phone)
        now = self._clock.seconds()
        asked, state = self._phones.pop(name, (0.0, None))
        if state is None or now - asked >= REMEMBER_S:
            state = await self._ask_state(name)
        else:
            now = asked
        self._phones[name] = now, state
        if len(self._phones) > MAX_REMEMBERED:
            del self._phones[next(iter(self._phones))]
        return state

    async def _ask_state(self, phone: str) -> PhoneState:
        try:
            answer = await self._manager.action("Getvar", [("Variable", f"DEVICE_STATE({phone})")], ASK_S)
        except ManagerError as error:
            self.log.warn(
                "originate: {name} does not tell whether it has {phone}: {error}",
                name=self._manager.name,
                phone=phone,
                error=str(error),
            )
            return PhoneState.UNTOLD
        return _STATES.get(answer.get("Value"), PhoneState.UNTOLD)

    def _checked(self, request: CallRequest) -> tuple[CallRequest, str]:
        checked, extension = check_request(request, self._technologies)
        if not self._contexts:
            raise OriginateRefused(
                sentence(
                    "context: asterisk.originate lists no context, so no call can be placed; add {context} to allow it",
                    context=checked.context,
                )
            )
        if checked.context not in self._contexts:
            allowed = ", ".join(self._contexts)
            raise OriginateRefused(
                sentence(
                    "context: {context} is not one of asterisk.originate: {allowed}",
                    context=checked.context,
                    allowed=allowed,
                )
            )
        return checked, extension

    async def originate(self, request: CallRequest, tell: Callable[[Progress], object]) -> None:
        """Originate a call; ``tell`` receives each Progress until the last.

        Raises:
            OriginateRefused: the request is malformed, or the rules do not allow it.
            ManagerUnavailable: there is no connection to Asterisk.
            ActionFailed: Asterisk refuses at once, such as for a context that does not exist.
        """
        checked, name = self._checked(request)
        extension, decision = await self._decide(checked, name)
        if not decision.is_allowed:
            why = joined(step for step in decision.trace if step != PIN_IS_ASKED)
            refused = sentence(
                "a call of {extension} to {number} cannot work: {why}"
                if decision.cannot_work
                else "{extension} may not dial {number}: {why}",
                extension=extension,
                number=checked.number,
                why=why,
            )
            raise OriginateRefused(refused, decision)
        uniqueid = self._manager.new_id()
        attempt = self._calls[uniqueid] = Attempt(uniqueid, tell, self._forget, self._clock)
        attempt.expect_within(checked.ring_s + MARGIN_S)
        headers = [
            ("Channel", checked.channel),
            ("Context", checked.context),
            ("Exten", checked.number),
            ("Priority", "1"),
            ("CallerID", extension),
            ("Timeout", str(checked.ring_s * 1000)),
            ("ChannelId", uniqueid),
            ("Async", "true"),
        ]
        try:
            await self._manager.action("Originate", headers)
        except ManagerError:
            attempt.stop()
            raise

    async def _decide(self, request: CallRequest, name: str) -> tuple[str, Decision]:
        """The number of the phone's extension, and the decision about its call: of several the first that may."""
        asterisk = str(self._manager.name)
        try:
            decision = await self._engine.decide(
                Facts(name, request.number, endpoint=request.channel, asterisk=asterisk)
            )
        except RulesNotLoaded as error:
            raise OriginateRefused(error.sentence) from None
        rules = self._engine.rules
        tied = rules.tied_to(request.channel, asterisk) if rules is not None else ()
        numbers = [(split_asterisk(extension)[1], endpoint) for extension, endpoint in tied]
        asked = [
            (number, Facts(number, request.number, endpoint=endpoint, asterisk=asterisk))
            for number, endpoint in numbers
        ]
        found = [(number, await self._engine.decide(facts)) for number, facts in asked] or [(name, decision)]
        return next((pair for pair in found if pair[1].is_allowed), found[0])

    def _event(self, event: AMIMessage) -> None:
        attempt = self._calls.get(event.get("Uniqueid")) or self._calls.get(event.get("Linkedid"))
        if attempt is None:
            return
        if attempt.is_ended_by(event):
            if (event.get("Uniqueid"), event.name) in self._ending:
                return
            checking = Deferred.fromCoroutine(self._end_if_true(attempt, event))
            checking.addErrback(
                lambda failure: self.log.failure("originate: checking the end of a call failed", failure)
            )
        else:
            attempt.event(event)

    async def _end_if_true(self, attempt: Attempt, event: AMIMessage) -> None:
        """Pass on an event that ends the call, unless Asterisk says that the phone's channel goes on."""
        uniqueid = event.get("Uniqueid")
        self._ending.add((uniqueid, event.name))
        try:
            has_ended = await self._check.has_ended(
                event, uniqueid, is_wanted=lambda: self._calls.get(uniqueid) is attempt
            )
            if has_ended and self._calls.get(uniqueid) is attempt:
                attempt.event(event)
        except ManagerUnavailable:
            pass  # every attempt has ended with the connection
        finally:
            self._ending.discard((uniqueid, event.name))

    def _down(self) -> None:
        self._phones.clear()
        for attempt in tuple(self._calls.values()):
            attempt.finish(
                "failed",
                Sentence("the connection to Asterisk was lost; the result of the call is unknown"),
            )

    def _forget(self, uniqueid: str) -> None:
        self._calls.pop(uniqueid, None)
