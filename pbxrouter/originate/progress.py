"""What becomes of a call that we began, told from its events.

Not here: beginning it (originate).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from twisted.internet.interfaces import IReactorTime

from pbxrouter.ami.messages import Message
from pbxrouter.net.timers import OneShot
from pbxrouter.text.sentences import Step

CAUSE_GRACE_S: Final = 0.5
"""How long after a failed OriginateResponse the Hangup event may take."""

# Q.850 causes that a Hangup event gives where nobody answered.
_CAUSES: Final = {
    "17": ("busy", Step("the phone is busy")),
    "21": ("rejected", Step("the call was rejected")),
    "18": ("noanswer", Step("nobody answered")),
    "19": ("noanswer", Step("nobody answered")),
    "20": ("unavailable", Step("the phone is not registered")),
    "1": ("unavailable", Step("there is no such phone")),
    "3": ("unavailable", Step("there is no way to that phone")),
    "27": ("unavailable", Step("the phone cannot be reached")),
    "34": ("congestion", Step("there is no free line")),
}
# How the Dial of an answered phone ended, where the two were never connected.
_DIALLED: Final = {
    "BUSY": ("busy", Step("the number is busy")),
    "REJECTED": ("rejected", Step("the number rejected the call")),
    "NOANSWER": ("noanswer", Step("the number did not answer")),
    "CHANUNAVAIL": ("unavailable", Step("the number cannot be reached")),
    "CONGESTION": ("congestion", Step("there is no free line to the number")),
    "CANCEL": ("ended", Step("the phone hung up before the number answered")),
}
_NOT_DIALLED: Final = ("ended", Step("the call is over; the phone was not connected with another"))


@dataclass(frozen=True, slots=True)
class Progress:
    """What has become of it so far.

    Attributes:
        state: ``ringing``, ``answered`` (the phone), ``connected`` (with the number),
            ``ended``; or how it failed, before the phone answered or after:
            ``busy``, ``rejected``, ``noanswer``, ``unavailable``, ``congestion``,
            ``failed``.
        step: a sentence for people.
        uniqueid: the phone's channel.
    """

    state: str
    step: Step
    uniqueid: str

    @property
    def why(self) -> str:
        """The sentence in English."""
        return self.step.words

    @property
    def is_last(self) -> bool:
        """Whether nothing comes after it."""
        return self.state not in ("ringing", "answered", "connected")


class Attempt:
    """One call that we began, by its events.

    Args:
        uniqueid: of the phone's channel.
        tell: hears each step.
        forget: hears when it is over.
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
        self._timer = OneShot(clock)

    def expect_within(self, seconds: float) -> None:
        """Give it up if it has come to nothing in so many seconds."""
        self._timer.set(
            seconds, lambda: self.finish("failed", Step("Asterisk did not say what became of the call"))
        )

    def stop(self) -> None:
        """No further step will come."""
        self._timer.clear()
        self._forget(self._uniqueid)

    def event(self, event: Message) -> None:
        """Something happened to the call, on the phone's channel or another.

        OriginateResponse comes from a thread of its own: what follows the answer may be told before it.
        """
        ours = event.get("Uniqueid") == self._uniqueid
        name = event.name
        if name == "Newstate" and ours and event.get("ChannelState") == "5" and not self._state:
            self._step("ringing", Step("the phone rings"))
        elif name == "OriginateResponse" and ours:
            self._answered_or_not(event)
        elif name == "DialEnd" and ours and self._state != "connected":
            # It dials, so it was answered; of the phone's own ringing the event names no caller.
            self._answered()
            self._dialled = "" if event.get("DialStatus") == "ANSWER" else event.get("DialStatus")
        elif name == "BridgeEnter" and not ours and self._state != "connected":
            self._answered()
            self._step("connected", Step("they are connected"))
        elif name == "Hangup" and ours:
            self._hung_up(event)
        elif name == "Hangup" and event.get("Cause") == "21":
            self._rejected = True  # of which DialEnd says NOANSWER

    def _answered(self) -> None:
        self._timer.clear()
        if self._state in ("", "ringing"):
            self._step("answered", Step("the phone was answered"))

    def _answered_or_not(self, event: Message) -> None:
        if event.get("Response") == "Success":
            self._answered()
            if self._gone:
                self._over()
            return
        if event.get("Reason") == "3":
            if self._state == "ringing":
                self.finish("noanswer", Step("nobody answered in time"))
            else:
                self.finish(
                    "unavailable", Step("the phone did not even ring: it is switched off, or not there")
                )
            return
        if self._cause:
            self._fail_by_cause()
        else:  # the Hangup that tells why may come just behind; none comes if there was no channel at all
            self._refused = True
            self._timer.set(CAUSE_GRACE_S, self._fail_by_cause)

    def _fail_by_cause(self) -> None:
        self.finish(*_CAUSES.get(self._cause, ("unavailable", Step("the phone cannot be called"))))

    def _hung_up(self, event: Message) -> None:
        if self._state in ("answered", "connected"):
            self._over()
            return
        self._gone = True
        self._cause = event.get("Cause")  # OriginateResponse knows no reason
        if self._refused:
            self._fail_by_cause()

    def _over(self) -> None:
        if self._state == "connected":
            self.finish("ended", Step("the call is over"))
            return
        rejected = self._rejected and self._dialled in ("NOANSWER", "CHANUNAVAIL")
        self.finish(*_DIALLED.get("REJECTED" if rejected else self._dialled, _NOT_DIALLED))

    def _step(self, state: str, why: Step) -> None:
        if state != self._state:
            self._state = state
            self._tell(Progress(state, why, self._uniqueid))

    def finish(self, state: str, why: Step) -> None:
        """This is how it ended."""
        self.stop()
        self._step(state, why)
