"""Calls that begin with us: a phone rings, and is connected with a number (click-to-dial).

The rules apply as if that phone had dialled: its extension needs a grant for the
number. What is said to have happened comes from the call's own events, not from
Asterisk's ``queued`` (facts B3). Not here: who may ask (tokens, web, control).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pbxrouter.ami import Message
from pbxrouter.engine import RulesEngine
from pbxrouter.errors import ManagerError, OriginateRefused
from pbxrouter.manager_service import Manager
from pbxrouter.oneshot import OneShot
from pbxrouter.rules import Facts, Verdict, normalise_number

RING_S: Final = 30
"""How long the phone may ring."""
CAUSE_GRACE_S: Final = 0.5
"""How long after a failed OriginateResponse the Hangup event may take."""
MARGIN_S: Final = 5.0
"""How much longer than that we wait to be told."""

MAX_NUMBER: Final = 40
"""Digits that a number may have; none that a telephone network knows has more."""

_PHONE: Final = re.compile(r"([A-Za-z][A-Za-z0-9]*)/([A-Za-z0-9][A-Za-z0-9_.-]{0,63})")
_CONTEXT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,78}")
# Channel technologies that a phone can be on; Local, CBAnn, AudioSocket and such are none.
_OF_PHONES: Final = frozenset({"pjsip", "sip", "iax2", "dahdi", "zap", "sccp", "skinny", "mgcp", "unistim"})

# Q.850 causes that a Hangup event gives where nobody answered.
_CAUSES: Final = {
    "17": ("busy", "the phone is busy"),
    "21": ("rejected", "the call was rejected"),
    "18": ("noanswer", "nobody answered"),
    "19": ("noanswer", "nobody answered"),
    "20": ("unavailable", "the phone is not registered"),
    "1": ("unavailable", "there is no such phone"),
    "3": ("unavailable", "there is no way to that phone"),
    "27": ("unavailable", "the phone cannot be reached"),
    "34": ("congestion", "there is no free line"),
}
# How the Dial of an answered phone ended, where the two were never connected.
_DIALLED: Final = {
    "BUSY": ("busy", "the number is busy"),
    "REJECTED": ("rejected", "the number rejected the call"),
    "NOANSWER": ("noanswer", "the number did not answer"),
    "CHANUNAVAIL": ("unavailable", "the number cannot be reached"),
    "CONGESTION": ("congestion", "there is no free line to the number"),
    "CANCEL": ("ended", "the phone hung up before the number answered"),
}
_NOT_DIALLED: Final = ("ended", "the call is over; the phone was not connected with another")


@dataclass(frozen=True, slots=True)
class Wish:
    """A call that somebody wants to begin.

    Attributes:
        channel: the phone that rings first, such as ``PJSIP/33``; its name is the
            extension whose grants count.
        number: what it is to be connected with.
        context: the dialplan context where that number is dialled.
        ring_s: how long the phone may ring.
    """

    channel: str
    number: str
    context: str
    ring_s: int = RING_S


@dataclass(frozen=True, slots=True)
class Progress:
    """What has become of it so far.

    Attributes:
        state: ``ringing``, ``answered`` (the phone), ``connected`` (with the number),
            ``ended``; or how it failed, before the phone answered or after:
            ``busy``, ``rejected``, ``noanswer``, ``unavailable``, ``congestion``,
            ``failed``.
        why: a sentence for people.
        uniqueid: the phone's channel.
    """

    state: str
    why: str
    uniqueid: str

    @property
    def is_last(self) -> bool:
        """Whether nothing comes after it."""
        return self.state not in ("ringing", "answered", "connected")


def check_wish(wish: Wish, technologies: Mapping[str, str]) -> tuple[Wish, str]:
    """The wish as Asterisk needs it, and the extension whose grants count.

    Raises:
        OriginateRefused: something in it is not what it must be.
    """
    phone = _PHONE.fullmatch(wish.channel)
    # Configured names count as they are written, or else in any case, as Asterisk reads them.
    known = {name.lower(): name for name in technologies}
    real = {value.partition("/")[0].lower() for value in technologies.values()}
    accepted = (_OF_PHONES | known.keys() | real) - {"local"}
    if phone is None or phone[1].lower() not in accepted:
        raise OriginateRefused(f"channel: {wish.channel[:60]!a} is no phone; accepted is such as PJSIP/33")
    number = normalise_number(wish.number)
    if number is None or len(number) > MAX_NUMBER or not any(character.isdigit() for character in number):
        raise OriginateRefused(
            f"to: {wish.number[:60]!a} is no number that can be dialled; accepted are digits, * # and +"
        )
    if not _CONTEXT.fullmatch(wish.context):
        raise OriginateRefused(f"context: {wish.context[:60]!a} is no dialplan context")
    name = phone[1] if phone[1] in technologies else known.get(phone[1].lower(), phone[1])
    technology = technologies.get(name, name).partition("/")[0]
    return Wish(f"{technology}/{phone[2]}", number, wish.context, max(1, min(wish.ring_s, 300))), phone[2]


class Originator:
    """Begins calls on one Asterisk.

    Args:
        technologies: what a technology is called on this Asterisk.
        contexts: where calls may begin, since elsewhere a number may lead elsewhere; empty: anywhere.
    """

    log = Logger()

    def __init__(
        self,
        manager: Manager,
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
        self._calls: dict[str, _Attempt] = {}
        for name in ("Newstate", "BridgeEnter", "DialEnd", "Hangup", "OriginateResponse"):
            manager.subscribe(name, self._event)
        manager.when_down(self._down)

    @property
    def is_up(self) -> bool:
        """Whether a call could begin now."""
        return self._manager.is_up

    def _checked(self, wish: Wish) -> tuple[Wish, str]:
        checked, extension = check_wish(wish, self._technologies)
        if self._contexts and checked.context not in self._contexts:
            allowed = ", ".join(self._contexts)
            raise OriginateRefused(f"context: {checked.context} is not one of asterisk.originate: {allowed}")
        return checked, extension

    async def originate(self, wish: Wish, tell: Callable[[Progress], object]) -> None:
        """Begin a call; ``tell`` hears each step until the last.

        Raises:
            OriginateRefused: the wish is malformed, or the rules do not allow it.
            ManagerUnavailable: there is no connection to Asterisk.
            ActionFailed: Asterisk refuses at once, such as for a context that does not exist.
        """
        checked, extension = self._checked(wish)
        decision = await self._engine.decide(Facts(extension, checked.number))
        if decision.verdict is not Verdict.ALLOW:
            why = "; ".join(decision.words()[: -1 if decision.verdict is Verdict.PIN else None])
            raise OriginateRefused(f"{extension} may not dial {checked.number}: {why}", decision)
        uniqueid = self._manager.new_id()
        attempt = self._calls[uniqueid] = _Attempt(uniqueid, tell, self._forget, self._clock)
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

    def _event(self, event: Message) -> None:
        attempt = self._calls.get(event.get("Uniqueid")) or self._calls.get(event.get("Linkedid"))
        if attempt is not None:
            attempt.event(event)

    def _down(self) -> None:
        for attempt in tuple(self._calls.values()):
            attempt.finish(
                "failed", "the connection to Asterisk was lost; what becomes of the call is not known"
            )

    def _forget(self, uniqueid: str) -> None:
        self._calls.pop(uniqueid, None)


class _Attempt:
    """One call that we began, by its events."""

    def __init__(
        self,
        uniqueid: str,
        tell: Callable[[Progress], object],
        forget: Callable[[str], None],
        clock: IReactorTime,
    ) -> None:
        self._uniqueid = uniqueid
        self._tell = tell
        self._forget = forget
        self._state = ""
        self._cause = ""
        self._refused = False
        self._rejected = False
        self._timer = OneShot(clock)

    def expect_within(self, seconds: float) -> None:
        self._timer.set(
            seconds, lambda: self.finish("failed", "Asterisk did not say what became of the call")
        )

    def stop(self) -> None:
        self._timer.clear()
        self._forget(self._uniqueid)

    def event(self, event: Message) -> None:
        ours = event.get("Uniqueid") == self._uniqueid
        name = event.name
        if name == "Newstate" and ours and event.get("ChannelState") == "5":
            self._step("ringing", "the phone rings")
        elif name == "OriginateResponse" and ours:
            self._answered_or_not(event)
        elif name == "DialEnd" and self._state == "answered" and event.get("DialStatus") != "ANSWER":
            self._cause = event.get("DialStatus")
        elif name == "BridgeEnter" and not ours and self._state == "answered":
            self._step("connected", "they are connected")
        elif name == "Hangup" and ours:
            self._hung_up(event)
        elif name == "Hangup" and self._state == "answered" and event.get("Cause") == "21":
            self._rejected = True  # of which DialEnd says NOANSWER

    def _answered_or_not(self, event: Message) -> None:
        if event.get("Response") == "Success":
            self._timer.clear()
            self._step("answered", "the phone was answered")
            return
        if event.get("Reason") == "3":
            if self._state == "ringing":
                self.finish("noanswer", "nobody answered in time")
            else:
                self.finish("unavailable", "the phone did not even ring: it is switched off, or not there")
            return
        if self._cause:
            self._fail_by_cause()
        else:  # the Hangup that tells why may come just behind; none comes if there was no channel at all
            self._refused = True
            self._timer.set(CAUSE_GRACE_S, self._fail_by_cause)

    def _fail_by_cause(self) -> None:
        self.finish(*_CAUSES.get(self._cause, ("unavailable", "the phone cannot be called")))

    def _hung_up(self, event: Message) -> None:
        if self._state == "connected":
            self.finish("ended", "the call is over")
        elif self._state == "answered":
            rejected = self._rejected and self._cause in ("NOANSWER", "CHANUNAVAIL")
            self.finish(*_DIALLED.get("REJECTED" if rejected else self._cause, _NOT_DIALLED))
        else:
            self._cause = event.get("Cause")  # OriginateResponse knows no reason
            if self._refused:
                self._fail_by_cause()

    def _step(self, state: str, why: str) -> None:
        if state != self._state:
            self._state = state
            self._tell(Progress(state, why, self._uniqueid))

    def finish(self, state: str, why: str) -> None:
        self.stop()
        self._step(state, why)
