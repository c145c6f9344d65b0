"""The conversation with one caller, from the dialled number to the outcome.

The workshop's flow: find out the number, decide, ask for a PIN where no grant allows the call, run the driver. Every
failure becomes an outcome and channel variables, and the dialplan goes on; the caller may hang up in any state.

Channel variables left for the dialplan:

* ``PBXROUTER``: ``routing`` while the gateway talks with the caller, ``dialling`` while an application runs, then
  ``done``, ``failed`` after an error in the gateway, or ``busy`` if a reply of Asterisk's was too late. If the gateway
  dies, the value shows how far the call had come.
* ``PBXROUTER_OUTCOME``: what became of the call (``drivers.Outcome.status`` or one of ``call.record.GatewayOutcome``),
  ``PBXROUTER_CAUSE``, ``PBXROUTER_PATTERN``, ``PBXROUTER_APPLICATION``.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, NoReturn, Protocol

from twisted.logger import Logger

from pbxrouter.agi import Channel, Prompts, verbs
from pbxrouter.call.active_calls import ActiveCalls, GatewayCall, Phase
from pbxrouter.call.journal import CallJournal, JournalEntry
from pbxrouter.call.origin import FORWARDED_BY, inherited, origin_of, taken_up
from pbxrouter.call.pin_calls import PinCalls
from pbxrouter.call.pin_change import PinChanges, wait
from pbxrouter.call.pin_guard import PinGuard, PinSource
from pbxrouter.call.proof import CallProofs, Proof
from pbxrouter.call.record import CallRecord, GatewayOutcome, readable
from pbxrouter.call.refusals import refusal_note, source_of
from pbxrouter.drivers import Call, Driver, Outcome
from pbxrouter.errors import (
    AGIError,
    ChannelHungUp,
    CommandRefused,
    ConnectionClosed,
    ForgedRequest,
    GatewayStopping,
    PromptMissing,
    ProtocolViolation,
    ReplyTimeout,
    StoreError,
    sentence_of,
)
from pbxrouter.rules import Decision, Facts, RulesEngine, Verdict, normalise_number
from pbxrouter.security import GuessKey, RateLimit, Standing
from pbxrouter.text import Sentence, at_asterisk, log_field, printable, sentence, split_asterisk

PIN_PROMPTS: Final = 3
"""Number of times that a caller is asked for a PIN."""

TALK_S: Final = 150.0
"""Seconds for which the gateway may ask a caller for number and PIN; the dialplan's limit for AsyncAGI is longer."""
MIN_KEY_MS: Final = 1500
"""Milliseconds that a caller has for each key at least; with less time left the talk ends."""

REFUSED_LINES: Final = 60
"""Log lines about calls of one peer that Asterisk does not have, and REFUSED_LINES_A_MINUTE after those."""
REFUSED_LINES_A_MINUTE: Final = 1.0

KEY_LENGTH: Final = 16
"""Characters of a call's key before the dash, where it begins with the id of a gateway."""
ID_LENGTH: Final = 8

_OF_A_DIALLED_PHONE: Final = "DIALEDPEERNUMBER"
"""A variable that Dial() sets on each channel that it makes."""
_DIALPLAN_NAME: Final = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)
"""An extension that is no number, such as ``s``."""


CDR_FIELDS: Final = {"userfield": "CDR(userfield)", "accountcode": "CHANNEL(accountcode)"}
"""What sets each field of Asterisk's CDR that may get the user, the mapping and the call's key."""
MAX_CDR_PART: Final = 26
"""Characters of each of these: Asterisk cuts an accountcode at 79 bytes."""
_NOT_IN_CDR: Final = re.compile(r'[;,"\\|$]|[^ -~]')


class _TalkTooLong(Exception):
    """A caller has used up TALK_S."""


class _NoCall(Exception):
    """AGI() runs where there is no caller who could be asked: a hang-up handler, or Dial's ``U()``."""


class _Conversation:
    """The state of one conversation."""

    __slots__ = (
        "answered",
        "asterisk",
        "began",
        "channel",
        "decision",
        "endpoint",
        "entry",
        "listed",
        "locked_by",
        "mark",
        "may_talk",
        "proof",
    )

    def __init__(self, channel: Channel, listed: GatewayCall, began: float, entry: JournalEntry) -> None:
        self.channel = channel
        self.began = began  # monotonic
        self.listed = listed  # among the calls in progress
        self.asterisk = listed.asterisk
        self.entry = entry  # in the journal
        self.decision: Decision | None = None
        self.answered = False
        self.locked_by: GuessKey | None = None  # if a PIN was not checked
        self.mark = ""
        self.endpoint = ""
        self.proof: Proof | None = None
        self.may_talk = False  # whether an application was run that connects people

    @property
    def peer(self) -> str:
        """The address that the call came from; ``""`` over AMI."""
        return str(getattr(self.channel, "peer", ""))

    @property
    def in_application(self) -> bool:
        """Whether the mapping's application runs in Asterisk now, which needs no gateway."""
        return self.listed.phase is Phase.RUNNING and getattr(self.channel, "in_application", True)


class Talks(Protocol):
    """Tells of the talk of channels, by AMI."""

    def talks_so_far(self, uniqueid: str, asterisk: str) -> int | None:
        """Number of talks that a channel of an Asterisk has had; None if the channel is not known."""
        ...


class CallFlow:
    """Serves calls: routes each one and runs its application.

    Args:
        engine: decides by the rules.
        drivers: by application name, lower case.
        prompts: the sounds that callers hear.
        report: called with the record of each call when it is over.
        active_calls: the list of calls in progress, which is kept up to date.
        now: returns the time in epoch seconds; asked once a call.
        seconds: returns monotonic seconds, by which all durations are measured.
        guard: rules on each PIN before it is checked; by default one that forgets everything at a restart.
        pin_calls: counts the calls that a PIN has at once; by default those of this flow.
        trunks: endpoints whose callers are outsiders, such as ``PJSIP/provider``.
        pin_changes: changes PINs by phone; by default they cannot be.
        journal: where calls are written before they are in the history; by default nowhere.
        proofs: proves calls that key a PIN to be Asterisk's; by default they are taken to be.
        talks: tells of the talk of channels; by default only Asterisk's variables do.
        cdr_field: the field of Asterisk's CDR that gets the user, the mapping and the call's key; ``""``: none.
        asterisk_of: tells from which Asterisk a call came; by default only calls by MAGI tell it.
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
        guard: PinGuard | None = None,
        pin_calls: PinCalls | None = None,
        trunks: Iterable[str] = (),
        pin_changes: PinChanges | None = None,
        journal: CallJournal | None = None,
        proofs: CallProofs | None = None,
        seconds: Callable[[], float] = time.monotonic,
        talks: Talks | None = None,
        cdr_field: str = "",
        asterisk_of: Callable[[Channel], str] = lambda channel: str(getattr(channel, "asterisk", "")),
    ) -> None:
        self._asterisk_of = asterisk_of
        self._cdr_field = cdr_field
        self._journal = journal
        self._talks = talks
        self._proofs = proofs
        self._trunks = frozenset(trunks)
        self._pin_changes = pin_changes
        self._guard = guard or PinGuard(None, (), now, seconds=seconds)
        self._pin_calls = pin_calls or PinCalls(None, now)
        self._now = now
        self._seconds = seconds
        self._engine = engine
        self._drivers = drivers
        self._prompts = prompts
        self._report = report
        self._active_calls = active_calls
        self._conversations: set[_Conversation] = set()
        self._refused_lines = RateLimit(REFUSED_LINES_A_MINUTE, REFUSED_LINES)

    def reconfigure(
        self, drivers: Mapping[str, Driver], prompts: Prompts, trunks: Iterable[str], cdr_field: str = ""
    ) -> None:
        """Use other drivers, prompts, trunks and another field; what a call has begun with its driver goes on."""
        self._cdr_field = cdr_field
        self._drivers = drivers
        self._prompts = prompts
        self._trunks = frozenset(trunks)

    @property
    def in_progress(self) -> int:
        """Number of calls that are being served."""
        return len(self._conversations)

    @property
    def talking(self) -> int:
        """Number of calls that need the gateway: those in which no application runs that Asterisk carries on alone."""
        return sum(not call.in_application for call in self._conversations)

    async def serve(self, channel: Channel) -> None:
        """Serve one call from its beginning to its end. Never fails."""
        began = self._now()
        note, source = None, ""
        listed = self._active_calls.add(channel.request, began, self._asterisk_of(channel))
        journal = self._journal
        entry = JournalEntry("", began) if journal is None else journal.begin(listed, channel.request)
        call = _Conversation(channel, listed, self._seconds(), entry)
        self._conversations.add(call)
        talks_before = self._talks_so_far(call)
        try:
            outcome = await self._converse(call)
        except GatewayStopping as stop:
            outcome, note = _outcome_of_stop(call, stop)
        except ConnectionClosed:
            knows_hangup = getattr(channel, "saw_hangup", False)
            outcome = Outcome(GatewayOutcome.HUNG_UP if knows_hangup else GatewayOutcome.LOST)
        except ChannelHungUp:
            outcome = Outcome(GatewayOutcome.HUNG_UP)
        except ProtocolViolation as violation:
            outcome = Outcome(GatewayOutcome.REFUSED)  # the channel has ended the call and logged why
            note, source = refusal_note(channel.request, violation), source_of(violation)
        finally:
            self._conversations.discard(call)
            self._active_calls.remove(call.listed)
        if call.locked_by is not None and outcome.status in (GatewayOutcome.DENIED, GatewayOutcome.HUNG_UP):
            outcome = Outcome(GatewayOutcome.LOCKED_OUT, hang_up=outcome.hang_up)
            source = _source_of(call.locked_by)
        if not call.may_talk:
            outcome = replace(outcome, answered_s=0)
        if note is None and channel.request.is_second_turn:
            note = _asked_first(channel.request.call_key)
        ended = began + self._seconds() - call.began
        self._report(
            CallRecord(
                channel.request,
                call.decision,
                outcome,
                entry.began,
                ended,
                note,
                entry.key,
                source,
                talks_before or 0,
                call.asterisk,
            )
        )

    def _talks_so_far(self, call: _Conversation) -> int | None:
        """Number of talks of the call's channel so far; None if AMI does not tell of them."""
        return None if self._talks is None else self._talks.talks_so_far(call.channel.request.uniqueid, call.asterisk)

    async def _converse(self, call: _Conversation) -> Outcome:
        if call.channel.request.is_hung_up:
            return Outcome(GatewayOutcome.DEAD)
        try:
            outcome = readable(await self._route_in_time(call))
            await self._mark_outcome(call, outcome)
            if outcome.hang_up:
                await self._hang_up(call, outcome.cause)
            return outcome
        except _NoCall:
            return Outcome(GatewayOutcome.NO_CALL)
        except (ChannelHungUp, ProtocolViolation):
            raise
        except Exception as error:
            return await self._failed(call, error)

    # --- the flow ---

    async def _route_in_time(self, call: _Conversation) -> Outcome:
        """Route the call; a caller who takes too long to key comes to goodbye, as after wrong PINs."""
        try:
            return await self._route(call)
        except _TalkTooLong:
            if call.decision is not None:
                why = sentence("the caller took longer than {seconds} s", seconds=round(TALK_S))
                self._set_decision(call, replace(call.decision.noting(why), verdict=Verdict.DENY))
            await self._play(call, self._prompts.goodbye)
            return Outcome(GatewayOutcome.DENIED, hang_up=True)

    async def _route(self, call: _Conversation) -> Outcome:
        origin = await origin_of(call.channel, self._trunks)
        number = await self._dialled_number(call, bool(origin.forwarders))
        if call.answered:  # the caller was asked for it
            origin = await taken_up(call.channel, origin, self._trunks)
        call.endpoint = origin.endpoint
        facts = Facts(
            call.channel.request.caller,
            number,
            endpoint=origin.endpoint,
            by_trunk=origin.by_trunk,
            forwarders=origin.forwarders,
            claimed_forwarder=origin.claimed_forwarder,
            asterisk=call.asterisk,
        )
        decision = self._set_decision(call, await self._engine.decide(facts))
        if decision.verdict is Verdict.PIN:
            await self._mark(call, "routing")
            decision = self._set_decision(call, await self._ask_for_pin(call, facts, decision))
        if decision.verdict is Verdict.ALLOW:
            if origin.forwarders:  # the legs of a Dial inherit it
                value = inherited(call.channel.request.uniqueid, origin.forwarders)
                await verbs.set_variable(call.channel, f"__{FORWARDED_BY}", value)
            elif origin.has_leftover:
                await verbs.set_variable(call.channel, f"__{FORWARDED_BY}", "")
            return await self._run_allowed(call, facts.caller, decision)
        if decision.verdict is Verdict.INVALID:
            await self._mark(call, "routing")
            await self._play(call, self._prompts.invalid_number)
            return Outcome(GatewayOutcome.INVALID, hang_up=True)
        await self._play(call, self._prompts.goodbye)
        return Outcome(GatewayOutcome.DENIED, hang_up=True)

    async def _run_allowed(self, call: _Conversation, caller: str | None, decision: Decision) -> Outcome:
        """Run the driver, within the number of calls that the user's PIN may have at once."""
        user = decision.user
        if user is None or decision.max_calls is None:
            return await self._run_driver(call, caller, decision)
        if not await self._pin_calls.begin(user, decision.max_calls):
            why = sentence(
                "{user} has {count} calls already, as many as the PIN may have", user=user, count=decision.max_calls
            )
            self._set_decision(call, replace(decision.noting(why), verdict=Verdict.DENY, granted_by=None))
            await self._play(call, self._prompts.goodbye)
            return Outcome(GatewayOutcome.DENIED, hang_up=True)
        try:
            return await self._run_driver(call, caller, decision)
        finally:
            self._pin_calls.end(user)

    def _set_decision(self, call: _Conversation, decision: Decision) -> Decision:
        call.decision = decision
        self._active_calls.set_decision(call.listed, decision)
        return decision

    async def _dialled_number(self, call: _Conversation, was_transferred: bool) -> str:
        """The dialled number; the caller is asked if neither extension nor DNID is one."""
        request = call.channel.request
        if not _DIALPLAN_NAME.fullmatch(request.extension):
            return request.extension
        await self._raise_if_no_call(call, was_transferred)
        if request.dnid is not None and normalise_number(request.dnid):
            return request.dnid
        self._active_calls.set_phase(call.listed, Phase.NUMBER)
        await self._mark(call, "routing")
        await self._answer(call)
        return (await self._ask(call, self._prompts.ask_number)).digits

    async def _raise_if_no_call(self, call: _Conversation, was_transferred: bool) -> None:
        """Raise _NoCall where there is no caller to ask, at a name such as ``s``.

        A hang-up handler runs on a dead channel, ``U()`` on one that Dial made, which a variable tells; a phone that
        was called and then transferred has one, too, and is a caller.
        """
        is_dialled = None
        try:
            await verbs.raise_if_hung_up(call.channel)
            if not was_transferred:
                is_dialled = await verbs.get_variable(call.channel, _OF_A_DIALLED_PHONE)
        except CommandRefused as error:
            self.log.debug("calls: the channel's state cannot be read: {error}", error=str(error))
            return
        except ConnectionClosed:
            raise
        except ChannelHungUp:
            raise _NoCall from None
        if is_dialled:
            raise _NoCall

    async def _ask_for_pin(self, call: _Conversation, facts: Facts, undecided: Decision) -> Decision:
        self._active_calls.set_phase(call.listed, Phase.PIN)
        await self._answer(call)
        await self._begin_proof(call)
        typed_ahead = ""
        for _ in range(PIN_PROMPTS):
            keyed = await self._ask(call, self._prompts.ask_pin)
            decision = await self._check_pin(call, replace(facts, pin=typed_ahead + keyed.digits), undecided)
            if decision.verdict is not Verdict.DENY:
                return decision
            self._set_decision(call, decision)
            # A caller may key the next PIN while this plays; the key that stops it is the first of that PIN.
            key = await self._play_interruptible(call, self._prompts.wrong_pin)
            typed_ahead = key.strip("#")
        return decision.noting(sentence("that was the last of {count} PIN prompts", count=PIN_PROMPTS))

    async def _check_pin(self, call: _Conversation, facts: Facts, undecided: Decision) -> Decision:
        """Check a PIN as the guard allows; one that is not checked is denied as a wrong one is."""
        if not facts.pin:
            return await self._engine.decide(facts)
        request = call.channel.request
        map_id = undecided.mapping.map_id if undecided.mapping else 0
        attempt = await self._guard.admit(request, map_id, await self._pin_source(call))
        call.locked_by = attempt.ruling.locked_by or call.locked_by
        try:
            try:
                await wait(call.channel, attempt.ruling.delay_s)
            except ChannelHungUp:  # one who does not wait for the answer is a guesser all the same
                self._guard.wrong(attempt, request, call.peer, undecided.number)
                raise
            decision = await self._engine.decide(facts)  # also when it does not count: it takes the same time
            if not attempt.is_checked:
                locked = attempt.ruling.locked_by
                assert locked is not None
                decision = replace(
                    undecided,
                    verdict=Verdict.DENY,
                    granted_by=None,
                    trace=(*undecided.trace, _not_checked(locked)),
                    user=None,
                )
            if decision.verdict is Verdict.DENY:
                self._guard.wrong(attempt, request, call.peer, decision.number)
            else:
                await self._guard.right(attempt, decision.user or "")
        finally:
            self._guard.give_up(attempt)
        return decision

    async def _begin_proof(self, call: _Conversation) -> None:
        if call.proof is None and self._proofs is not None:
            call.proof = await self._proofs.begin(call.channel, call.asterisk)

    async def _pin_source(self, call: _Conversation) -> PinSource:
        """Where the call came from.

        Raises:
            ForgedRequest: Asterisk does not have its channel; the call is marked as refused and hung up.
        """
        await self._begin_proof(call)
        standing = Standing.PROVEN if call.proof is None else await call.proof.standing()
        if standing is Standing.FORGED:
            await self._refuse(call)
        if call.proof is not None and call.proof.asterisk not in ("", call.asterisk):
            self._found_elsewhere(call, call.proof.asterisk)
        rules, endpoint = self._engine.rules, call.endpoint
        is_phone = rules is not None and rules.has_phone(endpoint, call.channel.request.caller, call.asterisk)
        is_phone = is_phone and endpoint not in self._trunks
        return PinSource(endpoint, call.peer, standing, is_phone, call.asterisk)

    def _found_elsewhere(self, call: _Conversation, asterisk: str) -> None:
        """Another Asterisk than was thought has the call's channel: what is counted from now on is that one's.

        The grants that the call had were decided on before, and are not decided on again.
        """
        if call.asterisk:
            self.log.warn(
                "calls: {uniqueid} says that it comes from {told}, and its channel is on {asterisk}: correct"
                " PBXROUTER_ASTERISK there",
                uniqueid=printable(call.channel.request.uniqueid),
                told=call.asterisk,
                asterisk=asterisk,
            )
        call.asterisk = asterisk
        self._active_calls.set_asterisk(call.listed, asterisk)

    async def _refuse(self, call: _Conversation) -> NoReturn:
        if not self._refused_lines.wait_s(call.peer, self._seconds()):
            self.log.warn(
                "PIN guard: refused a call from {peer}, whose channel Asterisk does not have", peer=log_field(call.peer)
            )
        error = ForgedRequest(
            "no Asterisk of the settings has the channel; one that is not among them needs fastagi.secret_file,"
            " or fastagi.allow"
        )
        error.peer = call.peer
        with contextlib.suppress(AGIError):
            await self._mark(call, "refused")
            await verbs.hang_up(call.channel)
        raise error

    async def _set_cdr(self, call: _Conversation, decision: Decision) -> None:
        """Put the user whose PIN opened the call, the mapping and the call's key into Asterisk's own record of it."""
        pattern = decision.mapping.pattern if decision.mapping else ""
        value = cdr_text(decision.user or "", pattern, call.entry.key)
        try:
            await verbs.set_variable(call.channel, CDR_FIELDS[self._cdr_field], value)
        except CommandRefused as error:
            self.log.warn("calls: Asterisk's CDR cannot be given the user and the mapping: {error}", error=str(error))

    async def _run_driver(self, call: _Conversation, caller: str | None, decision: Decision) -> Outcome:
        mapping = decision.mapping
        assert mapping is not None  # an allowed call has a mapping
        driver = self._drivers.get(mapping.application.lower())
        if self._journal is not None:
            self._journal.decided(call.entry.key, call.listed, decision.verdict.value)
        await verbs.set_variable(call.channel, "PBXROUTER_PATTERN", mapping.pattern)
        await verbs.set_variable(call.channel, "PBXROUTER_APPLICATION", mapping.application)
        if call.channel.request.is_bounded:  # an application may take hours
            await verbs.set_variable(call.channel, "TIMEOUT(absolute)", "0")
        if self._cdr_field:
            await self._set_cdr(call, decision)
        # The last variable: a gateway that dies before it has not dialled.
        await self._mark(call, "routing" if driver is None else "dialling")
        if driver is None:
            self.log.error("calls: no driver provides the application {name}", name=printable(mapping.application))
            await self._play(call, self._prompts.goodbye)
            return Outcome(GatewayOutcome.NO_DRIVER, hang_up=True)
        self._active_calls.set_phase(call.listed, Phase.RUNNING)
        changes = self._pin_changes
        pins = None
        if changes is not None:
            pins = changes.of(call.channel, mapping.map_id, decision.number, lambda: self._pin_source(call))
        call.may_talk = getattr(driver, "connects", True)
        has_talk = not call.peer and self._talks_so_far(call) is not None
        try:
            return await driver.run(Call(call.channel, caller, decision.number, mapping.data, pins, has_talk))
        except ConnectionClosed:
            raise
        except ChannelHungUp:
            return Outcome(GatewayOutcome.HUNG_UP)
        finally:
            if pins is not None and pins.locked_by is not None:
                call.locked_by = pins.locked_by
                self._set_decision(call, decision.noting(_not_checked(pins.locked_by)))

    async def _failed(self, call: _Conversation, error: Exception) -> Outcome:
        """Log an error, mark the call as failed, tell the caller, and let the dialplan go on."""
        uniqueid = printable(call.channel.request.uniqueid)
        if isinstance(error, AGIError | StoreError):
            self.log.error("call {uniqueid} failed: {error}", uniqueid=uniqueid, error=str(error))
        else:
            self.log.failure("call {uniqueid} failed", uniqueid=uniqueid)
        why = sentence_of(error)
        if call.decision is not None and call.decision.problem != why:  # which its trace tells already
            call.decision = call.decision.noting(sentence("it failed: {error}", error=why))
        outcome = Outcome(GatewayOutcome.FAILED)
        try:
            await verbs.set_variable(call.channel, "PBXROUTER_OUTCOME", outcome.status)
            if isinstance(error, ReplyTimeout):  # late is not gone: the fallback is not for this call
                await self._mark(call, "busy")
                return outcome
            await self._mark(call, "failed")
            await self._play(call, self._prompts.technical_failure)
        except ChannelHungUp:
            pass
        except AGIError as marking_error:
            self.log.error(
                "call {uniqueid}: cannot be marked as failed: {error}", uniqueid=uniqueid, error=str(marking_error)
            )
        return outcome

    # --- what is left for the dialplan ---

    async def _mark(self, call: _Conversation, value: str) -> None:
        if call.mark != value:
            await verbs.set_variable(call.channel, "PBXROUTER", value)
            call.mark = value

    async def _hang_up(self, call: _Conversation, cause: str) -> None:
        """Hang up; that the caller did so first does not change the outcome."""
        with contextlib.suppress(ChannelHungUp):
            await verbs.hang_up(call.channel, cause)

    async def _mark_outcome(self, call: _Conversation, outcome: Outcome) -> None:
        """Set the outcome's variables, also on a channel that was hung up in the application."""
        try:
            await verbs.set_variable(call.channel, "PBXROUTER_OUTCOME", outcome.status)
            if outcome.cause:
                await verbs.set_variable(call.channel, "PBXROUTER_CAUSE", outcome.cause)
            await self._mark(call, "done")
        except ChannelHungUp:
            pass

    # --- talking to the caller; a missing sound never ends a call ---

    async def _answer(self, call: _Conversation) -> None:
        if not call.answered:
            await verbs.answer(call.channel)
            call.answered = True

    async def _ask(self, call: _Conversation, prompt: str) -> verbs.Keyed:
        """Take digits, each within the share of the time left that lets the longest number end in time.

        Raises:
            _TalkTooLong: too little time is left.
        """
        left_ms = round(1000 * (call.began + TALK_S - self._seconds()))
        key_ms = min(verbs.PIN_TIMEOUT_MS, left_ms // (verbs.MAX_DIGITS + 1))
        if key_ms < MIN_KEY_MS:
            raise _TalkTooLong
        for sound in (prompt, "beep"):
            try:
                return await verbs.get_digits(call.channel, sound, key_ms)
            except PromptMissing as error:
                self._log_missing(error)
        return await verbs.get_digits(call.channel, "", key_ms)

    async def _play_interruptible(self, call: _Conversation, prompt: str) -> str:
        try:
            return await verbs.play_interruptible(call.channel, prompt)
        except PromptMissing as error:
            self._log_missing(error)
            return ""

    async def _play(self, call: _Conversation, prompt: str) -> None:
        """Play the announcement that ends a call."""
        self._active_calls.set_phase(call.listed, Phase.ENDING)
        try:
            await verbs.playback(call.channel, prompt)
        except PromptMissing as error:
            self._log_missing(error)

    def _log_missing(self, error: PromptMissing) -> None:
        self.log.error("prompts: {error}; install it or name another under [prompts]", error=str(error))


def cdr_text(user: str, pattern: str, key: str) -> str:
    """Values of a call for Asterisk's CDR, with ``;`` between; each is cut, and what could part it is replaced."""
    return ";".join(_NOT_IN_CDR.sub("_", part)[:MAX_CDR_PART] for part in (user, pattern, key))


def _outcome_of_stop(call: _Conversation, stop: GatewayStopping) -> tuple[Outcome, Sentence]:
    """The outcome of a call that was in progress when the gateway stopped, and the last step of its trace."""
    if stop.in_application and call.listed.phase is Phase.RUNNING:
        name = call.listed.application
        return Outcome(GatewayOutcome.LEFT), sentence(
            "the gateway stopped while {application} ran, which goes on", application=name
        )
    return Outcome(GatewayOutcome.STOPPED), Sentence("the gateway stopped while it talked with the caller")


def _asked_first(key: str) -> Sentence:
    """The step of a call's trace that says which gateway was asked before this one, by the call's key."""
    run = key.partition("-")[0]
    if len(run) < KEY_LENGTH:
        return Sentence("another gateway was asked first, and did not serve the call")
    return sentence("gateway {gateway} was asked first, and did not serve the call", gateway=run[:ID_LENGTH])


def _source_of(locked_by: GuessKey) -> str:
    """What locked-out calls are counted by; see CallRecord. On a trunk each guess may have a number of its own."""
    name = locked_by.name
    if locked_by.scope == "trunk":
        asterisk, trunk = split_asterisk(name)
        name = at_asterisk(asterisk, trunk.partition(" ")[0])
    return f"locked out {locked_by.scope} {name}"


def _not_checked(locked_by: GuessKey) -> Sentence:
    return sentence("the PIN was not checked: too many wrong PINs of {who}", who=locked_by.name or locked_by.scope)
