"""The conversation of one call, from its first fact to its outcome.

The workshop's flow: find out the number, decide, ask for a PIN where no grant allows
the call, run the driver. Whatever fails becomes an outcome and channel variables, and
the dialplan goes on; a caller who hangs up costs nothing in any state.

Channel variables left for the dialplan:

* ``PBXROUTER``: ``routing`` while we talk, ``dialling`` while an application runs,
  then ``done``, or ``failed`` if something broke on our side. If the gateway dies,
  the word shows how far the call had come.
* ``PBXROUTER_OUTCOME``: what became of the call (drivers.Outcome.status, or a word of
  call.record.Ending), ``PBXROUTER_CAUSE``, ``PBXROUTER_PATTERN``, ``PBXROUTER_APPLICATION``.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from twisted.logger import Logger

from pbxrouter.agi import Channel, Prompts, verbs
from pbxrouter.call.active_calls import ActiveCalls, GatewayCall, Phase
from pbxrouter.call.record import CallRecord, GatewayOutcome
from pbxrouter.call.refusals import refusal_note
from pbxrouter.drivers import Call, Driver, Outcome
from pbxrouter.errors import (
    AGIError,
    ChannelHungUp,
    CommandRefused,
    ConnectionClosed,
    PromptMissing,
    ProtocolViolation,
)
from pbxrouter.rules import Decision, Facts, RulesEngine, Verdict, normalise_number
from pbxrouter.text import printable, sentence

PIN_PROMPTS: Final = 3
"""How often a caller is asked for a PIN; each answer is checked."""

_DIALPLAN_NAME: Final = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)
"""An extension that is no number: the call came to ``s`` or the like."""


class _Conversation:
    """One call in progress: the channel, and what was found out so far."""

    __slots__ = ("answered", "channel", "decision", "live", "mark")

    def __init__(self, channel: Channel, live: GatewayCall) -> None:
        self.channel = channel
        self.live = live
        self.decision: Decision | None = None
        self.answered = False
        self.mark = ""


class CallFlow:
    """Has the conversation with each caller.

    Args:
        engine: decides.
        drivers: by application name, lower case.
        prompts: what callers hear.
        report: told of each call once, when it is over.
        board: told of each call while it goes on.
        now: epoch seconds.
    """

    log = Logger()

    def __init__(
        self,
        engine: RulesEngine,
        drivers: Mapping[str, Driver],
        prompts: Prompts,
        report: Callable[[CallRecord], None],
        active_calls: ActiveCalls,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._engine = engine
        self._drivers = drivers
        self._prompts = prompts
        self._report = report
        self._active_calls = active_calls

    async def serve(self, channel: Channel) -> None:
        """Have the conversation of one call, whatever comes of it; never fails."""
        began = self._now()
        note = None
        call = _Conversation(channel, self._active_calls.add(channel.request, began))
        try:
            outcome = await self._converse(call)
        except ChannelHungUp:
            outcome = Outcome(GatewayOutcome.HUNG_UP)
        except ProtocolViolation as violation:
            outcome = Outcome(GatewayOutcome.REFUSED)  # the channel itself has said no, and why
            note = refusal_note(channel.request, violation)
        finally:
            self._active_calls.remove(call.live)
        self._report(CallRecord(channel.request, call.decision, outcome, began, self._now(), note))

    async def _converse(self, call: _Conversation) -> Outcome:
        if call.channel.request.is_hung_up:
            return Outcome(GatewayOutcome.DEAD)
        try:
            outcome = await self._route(call)
            await self._mark_outcome(call, outcome)
            if outcome.hang_up:
                await self._hang_up(call, outcome.cause)
            return outcome
        except (ChannelHungUp, ProtocolViolation):
            raise
        except Exception as error:
            return await self._failed(call, error)

    # --- the flow ---

    async def _route(self, call: _Conversation) -> Outcome:
        facts = Facts(call.channel.request.caller, await self._dialled_number(call))
        decision = self._decided(call, await self._engine.decide(facts))
        if decision.verdict is Verdict.PIN:
            await self._mark(call, "routing")
            decision = self._decided(call, await self._ask_for_pin(call, facts))
        if decision.verdict is Verdict.ALLOW:
            return await self._run_driver(call, facts.caller, decision)
        if decision.verdict is Verdict.INVALID:
            await self._mark(call, "routing")
            await self._play(call, self._prompts.invalid_number)
            return Outcome(GatewayOutcome.INVALID, hang_up=True)
        await self._play(call, self._prompts.goodbye)
        return Outcome(GatewayOutcome.DENIED, hang_up=True)

    def _decided(self, call: _Conversation, decision: Decision) -> Decision:
        call.decision = decision
        self._active_calls.set_decision(call.live, decision)
        return decision

    async def _dialled_number(self, call: _Conversation) -> str:
        """What was dialled; the caller is asked where neither extension nor DNID says it."""
        request = call.channel.request
        if not _DIALPLAN_NAME.fullmatch(request.extension):
            return request.extension
        await self._raise_if_dead(call)
        if request.dnid is not None and normalise_number(request.dnid):
            return request.dnid
        self._active_calls.set_phase(call.live, Phase.NUMBER)
        await self._mark(call, "routing")
        await self._answer(call)
        return (await self._ask(call, self._prompts.ask_number)).digits

    async def _raise_if_dead(self, call: _Conversation) -> None:
        """A hang-up handler runs at a name such as ``s``, on a channel that is gone."""
        try:
            await verbs.raise_if_hung_up(call.channel)
        except CommandRefused as error:
            self.log.debug("{error}", error=str(error))

    async def _ask_for_pin(self, call: _Conversation, facts: Facts) -> Decision:
        self._active_calls.set_phase(call.live, Phase.PIN)
        await self._answer(call)
        typed_ahead = ""
        for _ in range(PIN_PROMPTS):
            keyed = await self._ask(call, self._prompts.ask_pin)
            decision = await self._engine.decide(replace(facts, pin=typed_ahead + keyed.digits))
            if decision.verdict is not Verdict.DENY:
                return decision
            self._decided(call, decision)
            # A caller who knows the way keys the next PIN while this plays; the key
            # that stops it is the first of that PIN.
            key = await self._play_interruptible(call, self._prompts.wrong_pin)
            typed_ahead = key.strip("#")
        return decision.noting(sentence("that was the last of {count} PIN prompts", count=PIN_PROMPTS))

    async def _run_driver(self, call: _Conversation, caller: str | None, decision: Decision) -> Outcome:
        mapping = decision.mapping
        assert mapping is not None  # what is allowed has a mapping
        driver = self._drivers.get(mapping.application.lower())
        await verbs.set_variable(call.channel, "PBXROUTER_PATTERN", mapping.pattern)
        await verbs.set_variable(call.channel, "PBXROUTER_APPLICATION", mapping.application)
        if call.channel.request.is_bounded:  # an application may take hours
            await verbs.set_variable(call.channel, "TIMEOUT(absolute)", "0")
        # Last: a gateway that dies before this must not look as if it had dialled.
        await self._mark(call, "routing" if driver is None else "dialling")
        if driver is None:
            self.log.error("no driver provides the application {name}", name=printable(mapping.application))
            await self._play(call, self._prompts.goodbye)
            return Outcome(GatewayOutcome.NO_DRIVER, hang_up=True)
        self._active_calls.set_phase(call.live, Phase.RUNNING)
        try:
            return await driver.run(Call(call.channel, caller, decision.number, mapping.data))
        except ConnectionClosed:
            raise
        except ChannelHungUp:
            return Outcome()  # the caller ends most applications by hanging up

    async def _failed(self, call: _Conversation, error: Exception) -> Outcome:
        """Something broke on our side: say so to the caller, mark it, let the dialplan go on."""
        uniqueid = printable(call.channel.request.uniqueid)
        if isinstance(error, AGIError):
            self.log.error("call {uniqueid} failed: {error}", uniqueid=uniqueid, error=str(error))
        else:
            self.log.failure("call {uniqueid} failed", uniqueid=uniqueid)
        if call.decision is not None:
            call.decision = call.decision.noting(sentence("it failed: {error}", error=error))
        outcome = Outcome(GatewayOutcome.FAILED)
        try:
            await verbs.set_variable(call.channel, "PBXROUTER_OUTCOME", outcome.status)
            await self._mark(call, "failed")
            await self._play(call, self._prompts.technical_failure)
        except ChannelHungUp:
            pass
        except AGIError as again:
            self.log.error("call {uniqueid}: {error}", uniqueid=uniqueid, error=str(again))
        return outcome

    # --- what is left for the dialplan ---

    async def _mark(self, call: _Conversation, word: str) -> None:
        if call.mark != word:
            await verbs.set_variable(call.channel, "PBXROUTER", word)
            call.mark = word

    async def _hang_up(self, call: _Conversation, cause: str) -> None:
        """Hang up; that the caller went first changes nothing of what the call came to."""
        with contextlib.suppress(ChannelHungUp):
            await verbs.hang_up(call.channel, cause)

    async def _mark_outcome(self, call: _Conversation, outcome: Outcome) -> None:
        """Leave the outcome on the channel, also on one that was hung up in the application."""
        try:
            await verbs.set_variable(call.channel, "PBXROUTER_OUTCOME", outcome.status)
            if outcome.cause:
                await verbs.set_variable(call.channel, "PBXROUTER_CAUSE", outcome.cause)
            await self._mark(call, "done")
        except ChannelHungUp:
            pass

    # --- talking; a sound that is missing never ends a call ---

    async def _answer(self, call: _Conversation) -> None:
        if not call.answered:
            await verbs.answer(call.channel)
            call.answered = True

    async def _ask(self, call: _Conversation, prompt: str) -> verbs.Keyed:
        for sound in (prompt, "beep"):
            try:
                return await verbs.get_digits(call.channel, sound)
            except PromptMissing as error:
                self._tell_missing(error)
        return await verbs.get_digits(call.channel, "")

    async def _play_interruptible(self, call: _Conversation, prompt: str) -> str:
        try:
            return await verbs.play_interruptible(call.channel, prompt)
        except PromptMissing as error:
            self._tell_missing(error)
            return ""

    async def _play(self, call: _Conversation, prompt: str) -> None:
        """Play to the end; all that is played so is why a call ends."""
        self._active_calls.set_phase(call.live, Phase.ENDING)
        try:
            await verbs.playback(call.channel, prompt)
        except PromptMissing as error:
            self._tell_missing(error)

    def _tell_missing(self, error: PromptMissing) -> None:
        self.log.error("{error}; install it or name another under [prompts]", error=str(error))
