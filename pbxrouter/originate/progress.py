"""Tracks the progress of an originated call by its AMI events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.internet.interfaces import IReactorTime

from pbxrouter.ami import AMIMessage
from pbxrouter.net import Timer
from pbxrouter.text import Sentence

CAUSE_GRACE_S: Final = 0.5
"""Seconds after a failed OriginateResponse in which the Hangup event may come."""

# Q.850 causes in the Hangup event of a phone that did not answer.
_CAUSES: Final = {
    "17": ("busy", Sentence("the phone is busy")),
    "21": ("rejected", Sentence("the call was rejected")),
    "18": ("noanswer", Sentence("not answered")),
    "19": ("noanswer", Sentence("not answered")),
    "20": ("unavailable", Sentence("the phone is not registered")),
    "1": ("unavailable", Sentence("the phone does not exist")),
    "3": ("unavailable", Sentence("there is no route to the phone")),
    "27": ("unavailable", Sentence("the phone cannot be reached")),
    "34": ("congestion", Sentence("there is no free line")),
}
# How the Dial of an answered phone ended, where the two were never connected.
_DIALLED: Final = {
    "BUSY": ("busy", Sentence("the number is busy")),
    "REJECTED": ("rejected", Sentence("the number rejected the call")),
    "NOANSWER": ("noanswer", Sentence("the number did not answer")),
    "CHANUNAVAIL": ("unavailable", Sentence("the number cannot be reached")),
    "CONGESTION": ("congestion", Sentence("there is no free line to the number")),
    "CANCEL": ("ended", Sentence("the phone hung up before the number answered")),
}
_NOT_DIALLED: Final = ("ended", Sentence("the call is over; the phone was not connected to the number"))


@dataclass(frozen=True, slots=True)
class Progress:
    """A state of an originated call.

    Attributes:
        state: ``ringing``, ``answered`` (the phone), ``connected`` (with the number),
            ``ended``; or how it failed, before the phone answered or after:
            ``busy``, ``rejected``, ``noanswer``, ``unavailable``, ``congestion``,
            ``failed``.
        step: the state as a sentence for people.
        uniqueid: the phone's channel.
    """

    state: str
    sentence: Sentence
    uniqueid: str

    @property
    def why(self) -> str:
        """The sentence in English."""
        return self.sentence.english

    @property
    def is_last(self) -> bool:
        """Whether it is the last."""
        return self.state not in ("ringing", "answered", "connected")


class Attempt:
    """One originated call.

    Args:
        uniqueid: of the phone's channel.
        tell: receives each Progress.
        forget: called when the call is over.
    """

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
        self._dialled = ""
        self._refused = False
        self._rejected = False
        self._gone = False
        self._timer = Timer(clock)

    def expect_within(self, seconds: float) -> None:
        """Fail the attempt if nothing has happened within so many seconds."""
        self._timer.set(
            seconds, lambda: self.finish("failed", Sentence("Asterisk did not report the result of the call"))
        )

    def stop(self) -> None:
        """Stop; no further Progress will come."""
        self._timer.clear()
        self._forget(self._uniqueid)

    def is_ended_by(self, event: AMIMessage) -> bool:
        """Whether the event says that the phone's channel is gone, or was never there."""
        if event.get("Uniqueid") != self._uniqueid:
            return False
        return event.name == "Hangup" or (event.name == "OriginateResponse" and event.get("Response") != "Success")

    def event(self, event: AMIMessage) -> None:
        """Handle an event of the call, on the phone's channel or another.

        OriginateResponse comes from a thread of its own: what follows the answer may be told before it.
        """
        ours = event.get("Uniqueid") == self._uniqueid
        name = event.name
        if name == "Newstate" and ours and event.get("ChannelState") == "5" and not self._state:
            self._step("ringing", Sentence("the phone rings"))
        elif name == "OriginateResponse" and ours:
            self._answered_or_not(event)
        elif name == "DialEnd" and ours and self._state != "connected":
            # It dials, so it was answered; of the phone's own ringing the event names no caller.
            self._answered()
            self._dialled = "" if event.get("DialStatus") == "ANSWER" else event.get("DialStatus")
        elif name == "BridgeEnter" and not ours and self._state != "connected":
            self._answered()
            self._step("connected", Sentence("they are connected"))
        elif name == "Hangup" and ours:
            self._hung_up(event)
        elif name == "Hangup" and event.get("Cause") == "21":
            self._rejected = True  # of which DialEnd says NOANSWER

    def _answered(self) -> None:
        self._timer.clear()
        if self._state in ("", "ringing"):
            self._step("answered", Sentence("the phone was answered"))

    def _answered_or_not(self, event: AMIMessage) -> None:
        if event.get("Response") == "Success":
            self._answered()
            if self._gone:
                self._over()
            return
        if event.get("Reason") == "3":
            if self._state == "ringing":
                self.finish("noanswer", Sentence("not answered in time"))
            else:
                self.finish("unavailable", Sentence("the phone did not ring: it is off or not connected"))
            return
        if self._cause:
            self._fail_by_cause()
        else:  # the Hangup with the reason may come just behind; none comes if there was no channel
            self._refused = True
            self._timer.set(CAUSE_GRACE_S, self._fail_by_cause)

    def _fail_by_cause(self) -> None:
        self.finish(*_CAUSES.get(self._cause, ("unavailable", Sentence("the phone cannot be called"))))

    def _hung_up(self, event: AMIMessage) -> None:
        if self._state in ("answered", "connected"):
            self._over()
            return
        self._gone = True
        self._cause = event.get("Cause")  # OriginateResponse knows no reason
        if self._refused:
            self._fail_by_cause()

    def _over(self) -> None:
        if self._state == "connected":
            self.finish("ended", Sentence("the call is over"))
            return
        rejected = self._rejected and self._dialled in ("NOANSWER", "CHANUNAVAIL")
        self.finish(*_DIALLED.get("REJECTED" if rejected else self._dialled, _NOT_DIALLED))

    def _step(self, state: str, why: Sentence) -> None:
        if state != self._state:
            self._state = state
            self._tell(Progress(state, why, self._uniqueid))

    def finish(self, state: str, why: Sentence) -> None:
        """End the attempt with its last Progress."""
        self.stop()
        self._step(state, why)
