"""MAGI: every call that waits in AGI(agi:async), driven over one AMI connection.

A call begins with AsyncAGIStart; it is ours if it stands in a context that we are
configured for, since any other program on AMI may drive calls too. Calls that were
waiting before we connected are found by asking, and served as well. A call whose
events a caller has forged is told by headers that stand twice or not at all, and
is not touched; looking again finds whatever was lost by that.

Source: facts C. The workshop's own ``MAGIExec`` event is accepted too; that patch's
wire protocol could be confirmed in no source, so it is read as the workshop reads it.
Not here: one call (magi_channel), the conversation (callflow).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pbxrouter.agi import NOT_SHOWN, AGIRequest, parse_request
from pbxrouter.agi_commands import command
from pbxrouter.ami import Message
from pbxrouter.channel import Channel
from pbxrouter.errors import AGIError, ChannelHungUp, ForgedRequest, ManagerError, ProtocolViolation
from pbxrouter.magi_channel import BREAK, MagiChannel
from pbxrouter.manager_service import Manager
from pbxrouter.trace import printable
from pbxrouter.watch import DialogueWatch

LOOK_AGAIN_S: Final = 10.0
"""How often calls that wait for nobody are looked for."""

_BLOCK_END: Final = b"\n\n"

Serve = Callable[[Channel], Coroutine[Deferred[Any], Any, object]]


class MagiService(Service):
    """Serves the calls in AGI(agi:async) of one Asterisk.

    Args:
        manager: the connection.
        contexts: the dialplan contexts whose calls are ours; no others are touched.
        serve: has the conversation of one call.
    """

    log = Logger()

    def __init__(
        self,
        manager: Manager,
        contexts: Collection[str],
        serve: Serve,
        clock: IReactorTime,
        watch: DialogueWatch,
    ) -> None:
        self._manager = manager
        self._contexts = frozenset(contexts)
        self._serve = serve
        self._clock = clock
        self._watch = watch
        self._calls: dict[str, MagiChannel] = {}
        self._search = LoopingCall(lambda: Deferred.fromCoroutine(self._find_waiting()))
        self._search.clock = clock
        manager.subscribe("AsyncAGIStart", self._started)
        manager.subscribe("AsyncAGIExec", self._result)
        manager.subscribe("AsyncAGIEnd", self._ended)
        manager.subscribe("MAGIExec", self._historical)
        manager.when_up(self._up)
        manager.when_down(self._down)

    @property
    def open_calls(self) -> int:
        """How many calls are being served."""
        return len(self._calls)

    def stopService(self) -> None:
        """Look for no more calls; those being served go on until the connection closes."""
        super().stopService()
        if self._search.running:
            self._search.stop()

    # --- events ---

    def _started(self, event: Message) -> None:
        if not is_whole(event, "Env") or event.get("Context") not in self._contexts or not self.running:
            return
        uniqueid = event.get("Uniqueid")
        if uniqueid in self._calls:
            self._calls.pop(uniqueid).end_received()  # a second AGI() on the same channel
        block = unquote_to_bytes(event.get("Env"))
        if block.endswith(_BLOCK_END):
            self._open(block, uniqueid)
        else:
            Deferred.fromCoroutine(self._open_cut(block, uniqueid)).addErrback(
                lambda failure: self.log.failure("a call's opening block could not be completed", failure)
            )

    async def _open_cut(self, block: bytes, uniqueid: str) -> None:
        """Asterisk cuts a block at 1024 bytes; its rest stands before the first result."""
        probe = self._channel(AGIRequest({"uniqueid": uniqueid}), uniqueid)
        self._calls[uniqueid] = probe
        try:
            await probe.execute("NOOP")
        except ChannelHungUp:
            self._drop(probe)
        except ProtocolViolation as error:
            self._refuse(uniqueid, error)
        else:
            self._open(block + probe.rest, uniqueid)

    def _open(self, block: bytes, uniqueid: str) -> None:
        try:
            request = parse_request(block.removesuffix(_BLOCK_END))
            if request.uniqueid != uniqueid:
                raise ForgedRequest("the block names another channel")
        except ProtocolViolation as error:
            self._refuse(uniqueid, error)
        else:
            self._begin(request, uniqueid)

    def _historical(self, event: Message) -> None:
        """The 2006 patch's event: ``Channel``, and the ``agi_*`` block in ``Result``."""
        if not self.running:
            return
        block = unquote_to_bytes(event.get("Result")).replace(b"\r\n", b"\n").strip(b"\n")
        variables: dict[str, str] = {}
        for line in block.decode("utf-8", "surrogateescape").split("\n"):
            name, colon, value = line.partition(":")
            if not colon or not name.startswith("agi_") or name[4:] in variables:
                self.log.warn(
                    "MAGIExec of {channel} refused: its block is not Asterisk's",
                    channel=printable(event.get("Channel")),
                )
                return
            variables[name[4:]] = value.removeprefix(" ")
        self._begin(AGIRequest({"channel": event.get("Channel"), **variables}), event.get("Channel"))

    def _result(self, event: Message) -> None:
        call = self._calls.get(event.get("Uniqueid")) or self._calls.get(event.get("Channel"))
        if call is not None:
            call.result_received(event)

    def _ended(self, event: Message) -> None:
        if is_whole(event):
            call = self._calls.pop(event.get("Uniqueid"), None) or self._calls.pop(event.get("Channel"), None)
            if call is not None:
                call.end_received()

    # --- calls ---

    def _begin(self, request: AGIRequest, address: str) -> None:
        call = self._calls[address] = self._channel(request, address)
        conversation = Deferred.fromCoroutine(self._serve_and_release(call))
        conversation.addErrback(lambda failure: self.log.failure("a call's conversation broke", failure))

    def _channel(self, request: AGIRequest, address: str) -> MagiChannel:
        return MagiChannel(request, address, self._send, self._manager.new_id, self._clock, self._watch)

    async def _serve_and_release(self, call: MagiChannel) -> None:
        """Have the conversation; whatever came of it, give the call back to the dialplan."""
        try:
            await self._serve(call)
        finally:
            if not call.ended:
                try:
                    await call.execute(BREAK)
                except AGIError as error:
                    self.log.debug("releasing {call}: {error}", call=call.address, error=str(error))
            self._drop(call)

    def _drop(self, call: MagiChannel) -> None:
        """Forget a call, unless another run on the same channel has taken its place."""
        if self._calls.get(call.address) is call:
            del self._calls[call.address]

    def _refuse(self, uniqueid: str, error: ProtocolViolation) -> None:
        """Mark a forged call, hang it up."""
        self._calls.pop(uniqueid, None)
        self.log.warn("call {uniqueid} refused: {error}", uniqueid=printable(uniqueid), error=str(error))
        for line in ('SET VARIABLE PBXROUTER "refused"', "HANGUP"):
            self._send(uniqueid, line, self._manager.new_id()).addErrback(lambda _: None)

    def _send(self, address: str, line: str, command_id: str) -> Deferred[Message]:
        headers = [("Channel", address), ("Command", line), ("CommandID", command_id)]
        return self._manager.action("AGI", headers)

    # --- the connection, and calls that were there before ---

    def _up(self) -> None:
        if self.running and not self._search.running:
            self._search.start(LOOK_AGAIN_S)

    def startService(self) -> None:
        """Begin with what waits."""
        super().startService()
        if self._manager.is_up:
            self._up()

    def _down(self) -> None:
        if self._search.running:
            self._search.stop()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.connection_lost()

    async def _find_waiting(self) -> None:
        """Serve the calls in our contexts that wait in AGI(agi:async) and are nobody's."""
        if not self._contexts:
            return
        try:
            listed = await self._manager.listing("CoreShowChannels")
        except ManagerError as error:
            self.log.debug("looking for waiting calls: {error}", error=str(error))
            return
        for item in listed:
            if self._is_waiting(item):
                Deferred.fromCoroutine(self._adopt(item)).addErrback(
                    lambda failure: self.log.failure("a waiting call could not be taken up", failure)
                )

    def _is_waiting(self, item: Message) -> bool:
        return (
            is_whole(item)
            and item.get("Context") in self._contexts
            and item.get("Application") == "AGI"
            and item.get("ApplicationData").partition(",")[0] == "agi:async"
            and item.get("Uniqueid") not in self._calls
        )

    async def _adopt(self, item: Message) -> None:
        """Find out by asking what AsyncAGIStart would have said."""
        uniqueid = item.get("Uniqueid")
        variables = {
            "request": "async",
            "channel": item.get("Channel"),
            "language": item.get("Language"),
            "uniqueid": uniqueid,
            "context": item.get("Context"),
        }
        probe = self._calls[uniqueid] = self._channel(AGIRequest(variables), uniqueid)
        try:
            for name, expression in (
                ("callerid", "${CALLERID(num)}"),
                ("dnid", "${CALLERID(dnid)}"),
                ("extension", "${EXTEN}"),
            ):
                reply = await probe.execute(command("GET FULL VARIABLE", expression))
                variables[name] = reply.data or NOT_SHOWN
        except AGIError as error:
            self.log.info("a waiting call could not be taken up: {error}", error=str(error))
            self._drop(probe)
            return
        self.log.info("call {uniqueid} was waiting and is taken up", uniqueid=printable(uniqueid))
        self._begin(AGIRequest(variables), uniqueid)


def is_whole(message: Message, *also: str) -> bool:
    """Whether a channel's event has its headers once each; those that a caller forged have not (facts B6)."""
    return all(len(message.all(name)) == 1 for name in ("Channel", "Uniqueid", "Linkedid", *also))
