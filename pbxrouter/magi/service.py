"""MAGI: serves calls in AGI(agi:async) over one AMI connection.

A call starts with AsyncAGIStart and is served if it is in a configured context, since other AMI
programs may drive calls, too. Calls that were already waiting are found in the list of channels and
adopted, or given back if an application has already run. Forged events are recognised by their
headers and ignored; the next look at the list finds what was missed. An event that ends a call is
believed only if Asterisk, when asked, agrees.

Source: docs/asterisk.md C. The workshop's own ``MAGIExec`` event is accepted too; that patch's
wire protocol could be confirmed in no source, so it is read as the workshop reads it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pbxrouter.agi import (
    AGAIN,
    GATEWAY_VARIABLE,
    KEY_VARIABLE,
    KEYED,
    AGIRequest,
    Channel,
    DialogueWatch,
    parse_request,
)
from pbxrouter.ami import AMIConnection, AMIMessage, ChannelCheck, is_whole, with_reporting_hint
from pbxrouter.errors import (
    ActionFailed,
    AGIError,
    ForgedRequest,
    ManagerError,
    ManagerUnavailable,
    ProtocolViolation,
)
from pbxrouter.magi.adoption import (
    NOT_BEGUN,
    SPENT,
    agrees_with,
    has_gone_on,
    is_block,
    is_bounded,
    is_second_turn,
    is_waiting,
    mark_of,
    may_be_waiting,
    request_so_far,
    whole_request,
)
from pbxrouter.magi.channel import BREAK, SILENT_S, MagiChannel
from pbxrouter.magi.claim import Claims, Taken
from pbxrouter.magi.wire import (
    BLOCK_END,
    FLUSH,
    historical_request,
    piece,
)
from pbxrouter.net import in_slices
from pbxrouter.text import printable

SLICE: Final = 100
"""Channels of a list that are looked at in one go."""
LOOK_AGAIN_S: Final = 5.0
"""Seconds between two looks for calls that wait unserved."""
RELEASED_S: Final = 5.0
"""Seconds for which a call that was given back is remembered if AsyncAGIEnd does not come."""
MAY_COME_BACK_S: Final = 60.0
"""Seconds for which the calls of a gateway that stops, or gives no sign of life, are left to it."""
LAST_S: Final = 1
"""Seconds until a call in a prompt goes on without a gateway that stops: Asterisk's least."""
MAX_THEIRS: Final = 10_000
"""Calls that are remembered as another gateway's."""

Serve = Callable[[Channel], Coroutine[Deferred[Any], Any, object]]


class MagiService(Service):
    """Serves the calls in AGI(agi:async) of one Asterisk.

    Args:
        manager: the connection.
        contexts: the dialplan contexts whose calls are served; others are not touched.
        serve: has the conversation of one call.
        on_refused: told of each call that was refused before it was served.
        gateway: the gateway's id, told to each dialplan that leaves its time limit to the gateway; empty: none.
        claims: tells which contexts' calls this gateway serves, of several on this Asterisk; None: all.
        new_key: makes the key of a call whose dialplan asks for it; ``""``: none.
    """

    log = Logger()

    def __init__(
        self,
        manager: AMIConnection,
        contexts: Collection[str],
        serve: Serve,
        clock: IReactorTime,
        watch: DialogueWatch,
        on_refused: Callable[[AGIRequest, ProtocolViolation], object] = lambda request, violation: None,
        gateway: str = "",
        claims: Claims | None = None,
        new_key: Callable[[], str] = str,
    ) -> None:
        self._claims = claims
        self._told = {GATEWAY_VARIABLE: gateway} if gateway else {}
        self._new_key = new_key
        self._on_refused = on_refused
        self._manager = manager
        self._contexts = frozenset(contexts)
        self._serve = serve
        self._clock = clock
        self._watch = watch
        self._calls: dict[str, MagiChannel] = {}
        self._check = ChannelCheck(manager, clock)
        self._ending: set[tuple[MagiChannel, str]] = set()
        self._adopting: set[str] = set()
        self._unserved: dict[str, str] = {}  # the keys of calls that went on before an application was run
        self._looked: set[str] = set()  # the contexts whose calls of before have been looked for
        self._theirs: dict[str, None] = {}  # calls to which another gateway has sent commands, the oldest first
        self._shared: dict[str, float] = {}  # until when another gateway may have calls in a context
        self._refusing = False
        self._search = LoopingCall(lambda: Deferred.fromCoroutine(self._find_waiting()))
        self._search.clock = clock
        for name, handler in (
            ("AsyncAGIStart", self._started),
            ("AsyncAGIExec", self._result),
            ("AsyncAGIEnd", self._ended),
            ("Hangup", self._ended),
            ("DialEnd", self._dial_ended),
            ("MAGIExec", self._historical),
        ):
            manager.subscribe(name, handler)
        manager.on_connect(self._up)
        manager.on_disconnect(self._down)
        if claims is not None:
            claims.on_taken(self._taken)

    @property
    def open_calls(self) -> int:
        """Number of calls being served."""
        return len(self._calls)

    def startService(self) -> None:
        """Start serving, waiting calls first."""
        super().startService()
        if self._manager.is_up:
            self._up()

    def set_contexts(self, contexts: Collection[str]) -> None:
        """Serve the calls of other contexts from now on; calls in progress go on."""
        self._contexts = frozenset(contexts)
        if self._claims is not None:
            self._claims.set_contexts(self._contexts)
        if self._contexts and self._manager.is_up:
            self._up()
        elif not self._contexts:
            self._look_no_more()

    def refuse_new(self) -> None:
        """Take no further call, and leave them to another gateway; those in progress go on."""
        self._refusing = True
        self._look_no_more()
        if self._claims is not None:
            Deferred.fromCoroutine(self._claims.release())

    def stopService(self) -> Deferred[Any]:
        """Give every call back to the dialplan: after its current command, or in a prompt by its time limit.

        A command that is queued behind a prompt would be run late: in the turn of another gateway.
        """
        super().stopService()
        self._look_no_more()
        calls, self._calls = [call for call in self._calls.values() if not call.ended], {}
        by_limit = [call.is_in_bounded_prompt for call in calls]
        for call in calls:
            call.give_back()
        released = [
            self._limit(call.address, LAST_S) if limited else self._send(call.address, BREAK, self._manager.new_id())
            for call, limited in zip(calls, by_limit, strict=True)
        ]
        return DeferredList(released, consumeErrors=True)

    # --- events ---

    def _started(self, event: AMIMessage) -> None:
        if not self.running or self._refusing or not self._is_served(event.get("Context")):
            return
        if not is_whole(event, "Env"):
            self.log.warn(
                "MAGI {asterisk}: ignored an AsyncAGIStart that a caller has tampered with", asterisk=self._manager.name
            )
            return
        self._spawn(self._start_if_true(event))

    async def _start_if_true(self, event: AMIMessage) -> None:
        """Start a call if Asterisk confirms the event: a forged one could choose its caller."""
        uniqueid = event.get("Uniqueid")
        is_true = await self._check.is_true(
            event, uniqueid, lambda status: agrees_with(status, event), lambda status: has_gone_on(status, event)
        )
        if is_true and await self._may_take(event.get("Context")) and self.running:
            if uniqueid in self._calls and not is_block(event):
                self.log.warn(
                    "MAGI {asterisk}: ignored an AsyncAGIStart of a call in progress, whose block is forged",
                    asterisk=self._manager.name,
                )
            else:
                self._start(event, uniqueid)

    def _start(self, event: AMIMessage, uniqueid: str) -> None:
        if uniqueid in self._adopting:
            return  # it was adopted before its event came; its block is being queried
        if uniqueid in self._calls:
            self._calls.pop(uniqueid).end_received()  # a second AGI() on the same channel
        env = piece(event.get("Env"))
        if env.lost:
            self._spawn(self._adopt(event))
        elif env.more:
            self._spawn(self._open_cut(env.data, event))
        else:
            self._open(self._channel(request_so_far(event), uniqueid), env.data)

    async def _open_cut(self, block: bytes, event: AMIMessage) -> None:
        """Serve a call whose opening block Asterisk cut at 1023 bytes; the rest precedes the first reply."""
        call = self._channel(request_so_far(event), event.get("Uniqueid"), unread=True)
        self._calls[call.address] = call
        try:
            await call.execute(FLUSH)
        except AGIError as error:
            self._lose(call, error)
            return
        if call.rest is None:
            await self._adopt(event)
        else:
            self._open(call, block + call.rest)

    def _open(self, call: MagiChannel, block: bytes) -> None:
        try:
            if not block.endswith(BLOCK_END):
                raise ProtocolViolation("the opening block has no end")
            request = parse_request(block.removesuffix(BLOCK_END))
            if request.uniqueid != call.address or request.variables.get("context") not in self._contexts:
                raise ForgedRequest("the opening block is of another call")
        except ProtocolViolation as error:
            self._refuse(call, error)
        else:
            self._begin(call, request)

    def _historical(self, event: AMIMessage) -> None:
        """Handle ``MAGIExec``, the event of the 2006 patch."""
        name = event.get("Channel")
        try:
            request = historical_request(event) if self.running and not self._refusing else None
        except ForgedRequest as error:
            self.log.warn(
                "MAGI {asterisk}: MAGIExec of {channel} refused: {error}",
                asterisk=self._manager.name,
                channel=printable(name),
                error=str(error),
            )
            return
        if request is None:
            self._result(event)
        elif self._is_served(request.variables["context"]) and name not in self._calls:
            self._begin(self._channel(request, name), request)

    def _result(self, event: AMIMessage) -> None:
        call = self._calls.get(event.get("Uniqueid")) or self._calls.get(event.get("Channel"))
        if call is not None:
            call.result_received(event)
        elif self._claims is not None:
            self._theirs[event.get("Uniqueid")] = None
            if len(self._theirs) > MAX_THEIRS:
                del self._theirs[next(iter(self._theirs))]

    def _ended(self, event: AMIMessage) -> None:
        """Handle AsyncAGIEnd, or Hangup for a channel that turned out not to be in AsyncAGI."""
        self._theirs.pop(event.get("Uniqueid"), None)
        if not self._calls or not is_whole(event):
            return
        call = self._calls.get(event.get("Uniqueid")) or self._calls.get(event.get("Channel"))
        if call is None or (call, event.name) in self._ending:
            return
        if call.is_released:
            self._drop(call)
            call.end_received()
        else:
            self._ending.add((call, event.name))
            self._spawn(self._end_if_true(call, event))

    async def _end_if_true(self, call: MagiChannel, event: AMIMessage) -> None:
        """End a call of which an event says that it is over, unless Asterisk says that it goes on."""
        goes_on = call.is_driven_by if event.name == "AsyncAGIEnd" else lambda status: True
        check = self._check.has_ended(event, call.address, goes_on, lambda: self._calls.get(call.address) is call)
        try:
            with contextlib.suppress(ManagerUnavailable):  # every call has ended with the connection
                if await check:
                    self._drop(call)
                    call.end_received()
        finally:
            self._ending.discard((call, event.name))

    def _dial_ended(self, event: AMIMessage) -> None:
        call = self._calls.get(event.get("Uniqueid"))
        if call is not None and len(event.all("Uniqueid")) == len(event.all("DialStatus")) == 1:
            call.dial_ended(event.get("DialStatus"))

    # --- calls ---

    def _begin(self, call: MagiChannel, request: AGIRequest) -> None:
        key = ""
        if request.wants_key:  # of a turn that ended before the dialplan had it the key is used again
            told = self._unserved.pop(request.uniqueid, "")
            key = told or self._new_key()
            request = request.with_key(key, AGAIN if told else KEYED) if key else request
        call.request, call.wait_forever = request, False
        self._calls[call.address] = call
        call.keep_time_limit(self._told)
        if key:
            call.tell(KEY_VARIABLE, key)
        if self._watch.active:
            self._watch.opened(request)
        self._spawn(self._serve_and_release(call))

    def _channel(self, request: AGIRequest, address: str, unread: bool = False) -> MagiChannel:
        new_id = self._manager.new_id
        name = str(self._manager.name)
        return MagiChannel(request, address, self._send, new_id, self._clock, self._watch, unread, self._limit, name)

    def _spawn(self, conversation: Coroutine[Deferred[Any], Any, object]) -> None:
        Deferred.fromCoroutine(conversation).addErrback(
            lambda failure: self.log.failure(
                "MAGI {asterisk}: unhandled error while serving a call", failure, asterisk=self._manager.name
            )
        )

    async def _serve_and_release(self, call: MagiChannel) -> None:
        """Serve the call, then give it back to the dialplan in every case."""
        try:
            await self._serve(call)
        finally:
            if call.ended and call.request.call_key and not call.has_run_application:
                self._unserved[call.address] = call.request.call_key
                self._clock.callLater(RELEASED_S, self._unserved.pop, call.address, None)
            await self._release(call)

    async def _release(self, call: MagiChannel) -> None:
        """Let the dialplan go on; the call is remembered until AsyncAGIEnd, so that it is not adopted again."""
        with contextlib.suppress(AGIError):  # gone already
            await call.execute(BREAK)
        if call.ended:
            self._drop(call)
        else:
            self._clock.callLater(RELEASED_S, self._drop, call)

    def _drop(self, call: MagiChannel) -> None:
        """Forget a call, unless another run on the same channel has taken its place."""
        if self._calls.get(call.address) is call:
            del self._calls[call.address]

    def _lose(self, call: MagiChannel, error: AGIError) -> None:
        shown = printable(call.address)
        self.log.info(
            "MAGI {asterisk}: call {uniqueid} could not be adopted: {error}",
            asterisk=self._manager.name,
            uniqueid=shown,
            error=str(error),
        )
        self._drop(call)

    def _refuse(self, call: MagiChannel, error: ProtocolViolation) -> None:
        """Mark a forged call as refused and hang it up."""
        self.log.warn(
            "MAGI {asterisk}: call {uniqueid} refused: {error}",
            asterisk=self._manager.name,
            uniqueid=printable(call.address),
            error=str(error),
        )
        error.peer, error.asterisk = f"AMI {self._manager.name}", str(self._manager.name)
        self._on_refused(call.request, error)
        self._calls[call.address] = call  # so that it is not adopted again before it has ended
        self._clock.callLater(RELEASED_S, self._drop, call)
        for line in ('SET VARIABLE PBXROUTER "refused"', "HANGUP"):
            self._send(call.address, line, self._manager.new_id()).addErrback(lambda _: None)

    def _send(self, address: str, line: str, command_id: str) -> Deferred[AMIMessage]:
        headers = [("Channel", address), ("Command", line), ("CommandID", command_id)]
        return self._manager.action("AGI", headers)

    def _limit(self, address: str, seconds: int) -> Deferred[AMIMessage]:
        return self._manager.action("AbsoluteTimeout", [("Channel", address), ("Timeout", str(seconds))])

    # --- other gateways on this Asterisk ---

    def _is_served(self, context: str) -> bool:
        """Whether this gateway serves the calls of a context, as far as it knows."""
        return context in self._contexts and (self._claims is None or self._claims.is_served(context))

    async def _may_take(self, context: str) -> bool:
        """Whether this gateway may take a call in a context now. Never fails."""
        return self._claims is None or await self._claims.confirm(context)

    def _taken(self, context: str, how: Taken) -> None:
        """Look for the calls of a context that have waited until this gateway began to serve them."""
        if how is Taken.WAS_FREE:
            self._looked.discard(context)
            self._shared.pop(context, None)
        else:  # calls in an application are another gateway's, or this one's
            self._looked.add(context)
        if how is Taken.SHARED:
            self._shared[context] = self._clock.seconds() + MAY_COME_BACK_S
        if self._search.running:
            self._spawn(self._find_waiting())

    def _is_others(self, channel: AMIMessage, mark: str = "") -> bool:
        """Whether another gateway may still have a call: it stops, or gives no sign of life.

        Args:
            mark: how far a gateway has come with it.
        """
        is_shared = self._clock.seconds() < self._shared.get(channel.get("Context"), 0.0)
        # In a second turn a command is heard that the first gateway left in Asterisk's queue: it has not begun again.
        is_theirs = channel.get("Uniqueid") in self._theirs and not is_second_turn(channel)
        return is_shared and (mark not in NOT_BEGUN or is_theirs)

    # --- the connection, and calls that were already waiting ---

    def _up(self) -> None:
        if self.running and self._contexts and not (self._refusing or self._search.running):
            self._search.start(LOOK_AGAIN_S).addErrback(
                lambda failure: self.log.failure(
                    "MAGI {asterisk}: looking for waiting calls failed", failure, asterisk=self._manager.name
                )
            )

    def _look_no_more(self) -> None:
        if self._search.running:
            self._search.stop()

    def _down(self) -> None:
        self._look_no_more()
        self._looked.clear()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.connection_lost()

    async def _find_waiting(self) -> None:
        """Adopt the calls in the configured contexts that wait unserved in AGI(agi:async)."""
        # Calls from before the start may run an application for an earlier gateway: they are queried, and
        # answer when it is over. Later calls sent an AsyncAGIStart, unless a forged line has spoilt it.
        contexts = frozenset(context for context in self._contexts if self._is_served(context))
        if not contexts:
            return
        looked = contexts & self._looked
        try:
            listed = await self._manager.action_list("CoreShowChannels")
        except ManagerError as error:
            if isinstance(error, ActionFailed) and not contexts <= self._looked:
                self._looked |= contexts
                self.log.warn(
                    "MAGI {asterisk}: cannot look for waiting calls: {error}",
                    asterisk=self._manager.name,
                    error=with_reporting_hint(error).english,
                )
            return
        mine = {context for context in contexts if await self._may_take(context)}
        self._looked |= mine
        async for item in in_slices(listed, SLICE, self._clock):
            if self._refusing or not self.running:
                return
            could_be = is_waiting if item.get("Context") in looked else may_be_waiting
            if could_be(item, mine) and item.get("Uniqueid") not in self._calls and not self._is_others(item):
                self._spawn(self._adopt(item))

    async def _adopt(self, item: AMIMessage) -> None:
        """Adopt a call whose AsyncAGIStart was incomplete or was not received."""
        call = self._channel(request_so_far(item), item.get("Uniqueid"), unread=True)
        self._calls[call.address] = call
        self._adopting.add(call.address)
        if is_bounded(item):  # what is asked of it takes time
            self._limit(call.address, SILENT_S).addErrback(lambda _: None)
        try:
            mark = await mark_of(call)
            if self._is_others(item, mark):
                self._drop(call)
                return
            request = (
                call.request if mark in SPENT else await whole_request(call, lambda: call.keep_time_limit(self._told))
            )
        except AGIError as error:
            self._lose(call, error)
            return
        finally:
            self._adopting.discard(call.address)
        shown = printable(call.address)
        if mark in SPENT:
            self.log.info(
                "MAGI {asterisk}: call {uniqueid} was waiting, {mark}: given back",
                asterisk=self._manager.name,
                uniqueid=shown,
                mark=mark,
            )
            await self._release(call)
        else:
            self.log.info(
                "MAGI {asterisk}: call {uniqueid} was waiting and is adopted",
                asterisk=self._manager.name,
                uniqueid=shown,
            )
            self._begin(call, request)
