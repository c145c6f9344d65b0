"""Asks Asterisk whether what an event says of a channel is true.

A caller can forge an event that has every header of a genuine one (docs/asterisk.md B8). The answer to an
action cannot be forged, since its ActionID cannot be guessed. So an event that would start or end a call is
believed only if Asterisk, asked for the status of that channel, agrees.

While Asterisk cannot be asked, no such event is believed: one that ends a call waits for an answer, and one that
starts a call is ignored, since a call that waits is found in the list of channels (``magi.service``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pbxrouter.ami.account import with_reporting_hint
from pbxrouter.ami.connection import AMIConnection
from pbxrouter.ami.messages import AMIMessage, is_whole
from pbxrouter.errors import ActionFailed, ManagerError, ManagerProtocolError, ManagerUnavailable
from pbxrouter.text import printable, sentence

ASK_AGAIN_S: Final = (0.05, 0.5)
"""Seconds until a channel that is still there is asked for again: its end may be on its way."""
UNANSWERED_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds until the question is put again that Asterisk did not answer; the last one goes for all further times."""
MANY: Final = 10
"""Channels asked for one by one at a time; further ones share one list of all channels."""
GATHER_S: Final = 0.1
"""Seconds in which those further channels are gathered."""
LOG_AGAIN_S: Final = 60.0
"""Seconds for which no further forged event is logged after one."""

NO_SUCH_CHANNEL: Final = "No such channel"
"""What Asterisk answers to Status for a channel that it does not have."""


class ChannelCheck:
    """Checks the events of one Asterisk that tell of a channel's start or end.

    Args:
        manager: the connection; its ``forged_events`` counts the events that were found untrue.
    """

    log = Logger()

    def __init__(self, manager: AMIConnection, clock: IReactorTime) -> None:
        self._manager = manager
        self._clock = clock
        self._asking = 0
        self._gathered: list[tuple[str, Deferred[AMIMessage | None]]] = []
        self._logged_at: float | None = None
        self._complained = False

    async def has_ended(
        self,
        event: AMIMessage,
        channel: str,
        goes_on: Callable[[AMIMessage], bool] = lambda status: True,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Whether the event is true; False if Asterisk says that the channel goes on.

        Where Asterisk does not answer, it is asked again until it does.

        Args:
            channel: its Uniqueid or name.
            goes_on: whether the channel's status (or its item of CoreShowChannels) contradicts the event.
            is_wanted: whether the answer still matters; if not, it is False.

        Raises:
            ManagerUnavailable: the connection was lost first.
        """
        unanswered, contradictions = 0, 0
        while is_wanted():
            try:
                status = await self._status(channel)
            except ManagerUnavailable:
                raise
            except ManagerError as error:
                if isinstance(error, ActionFailed):
                    self._complain(error)
                wait_s = UNANSWERED_S[min(unanswered, len(UNANSWERED_S) - 1)]
                unanswered += 1
            else:
                if status is None or not goes_on(status):
                    return True
                if contradictions == len(ASK_AGAIN_S):
                    self._tell_forged(event, channel)
                    return False
                wait_s = ASK_AGAIN_S[contradictions]
                contradictions += 1
            await deferLater(self._clock, wait_s)
        return False

    async def is_true(
        self,
        event: AMIMessage,
        channel: str,
        agrees: Callable[[AMIMessage], bool],
        is_past: Callable[[AMIMessage], bool] = lambda status: False,
    ) -> bool:
        """Whether the channel of an event exists and its status agrees with the event.

        Args:
            is_past: whether by the status the event may have been true; then it is not believed, nor called forged.

        Where Asterisk cannot be asked, the event is not believed. A channel that does not exist may have ended
        since, so that alone is not taken for a forgery.
        """
        try:
            status = await self._status_alone(channel)
        except ManagerError as error:
            if isinstance(error, ActionFailed):
                self._complain(error)
            return False
        if status is None:
            return False
        if agrees(status):
            return True
        if is_past(status):
            return False
        self._tell_forged(event, channel)
        return False

    async def _status(self, channel: str) -> AMIMessage | None:
        """The status of a channel, or its item of CoreShowChannels; None if there is no such channel."""
        if self._asking >= MANY:
            waiting: Deferred[AMIMessage | None] = Deferred()
            if not self._gathered:
                self._clock.callLater(GATHER_S, lambda: Deferred.fromCoroutine(self._ask_for_all()))
            self._gathered.append((channel, waiting))
            return await waiting
        return await self._status_alone(channel)

    async def _status_alone(self, channel: str) -> AMIMessage | None:
        self._asking += 1
        try:
            answer = await self._manager.action_list("Status", [("Channel", channel)])
        except ActionFailed as error:
            if NO_SUCH_CHANNEL in str(error):
                return None
            raise
        finally:
            self._asking -= 1
        if not answer:  # a caller can split the answer about his own channel
            raise ManagerProtocolError(sentence("Status: the answer names no channel"))
        return answer[0]

    async def _ask_for_all(self) -> None:
        gathered, self._gathered = self._gathered, []
        listed: dict[str, AMIMessage] = {}
        is_spoilt = False  # by a caller, whose own channel may be the one that is missing
        try:
            for item in await self._manager.action_list("CoreShowChannels"):
                if is_whole(item):
                    listed[item.get("Uniqueid")] = listed[item.get("Channel")] = item
                else:
                    is_spoilt = True
        except ManagerError as error:
            for _, waiting in gathered:
                waiting.errback(error)
            return
        for channel, waiting in gathered:
            if is_spoilt and channel not in listed:
                Deferred.fromCoroutine(self._status_alone(channel)).addCallbacks(waiting.callback, waiting.errback)
            else:
                waiting.callback(listed.get(channel))

    def _complain(self, error: ManagerError) -> None:
        if not self._complained:
            self._complained = True
            self.log.warn(
                "AMI {name}: events that start or end calls cannot be checked: {error}",
                name=self._manager.name,
                error=with_reporting_hint(error).english,
            )

    def _tell_forged(self, event: AMIMessage, channel: str) -> None:
        self._manager.forged_events += 1
        now = self._clock.seconds()
        if self._logged_at is None or now - self._logged_at >= LOG_AGAIN_S:
            self._logged_at = now
            self.log.warn(
                "AMI {name}: ignored a forged {event} of channel {channel}, which Asterisk contradicts; {count} so far",
                name=self._manager.name,
                event=printable(event.name),
                channel=printable(channel),
                count=self._manager.forged_events,
            )
