"""The caller's channel in a simulated Asterisk: its state, its variables, and what happened on it."""

import enum
import re

from pbxrouter.simulator.call import Script, SimulatedCall
from pbxrouter.simulator.keypad import Keypad


class ChannelState(enum.Enum):
    """The state of the caller's channel; the value is the number in CHANNEL STATUS."""

    RINGING = 4
    UP = 6
    DEAD = 0


class SimulatedChannel:
    """The caller's channel; commands and applications act on it.

    Attributes:
        call: the facts of the call.
        script: what people and network do during it.
        state: of the caller's channel.
        hung_up_by: "caller" or "gateway"; None while the channel lives.
        prompts: the prompts that began to play.
        applications: name and argument of each EXEC.
        dials: argument and DIALSTATUS of each EXEC Dial.
        journal: all of these in the order in which they happened, as a kind (`prompt`, `application`,
            `dial`) and its words.
        given: for each GET DATA the digits that it returned.
        agistatus: AGISTATUS as the dialplan sees it after the run.
    """

    def __init__(self, call: SimulatedCall, script: Script | None = None) -> None:
        self.call = call
        self.script = script or Script()
        self.state = ChannelState.DEAD if call.dead else ChannelState.UP if call.up else ChannelState.RINGING
        self.hung_up_by: str | None = "caller" if call.dead else None
        self.prompts: list[str] = []
        self.applications: list[tuple[str, str]] = []
        self.dials: list[tuple[str, str]] = []
        self.journal: list[tuple[str, tuple[str, ...]]] = []
        self.given: list[str] = []
        self.agistatus = "SUCCESS"
        self._keypad = Keypad(self.script.keys, self.script.interrupts)
        self._variables = {
            "CALLERID(num)": call.caller or "",
            "CALLERID(name)": call.name or "",
            "CALLERID(dnid)": call.extension if call.dnid is None else call.dnid,
            "CHANNEL": call.channel,
            "CHANNEL(language)": call.language,
            "CONTEXT": call.context,
            "EXTEN": call.extension,
            "HANGUPCAUSE": "0",
            "PRIORITY": str(call.priority),
            "UNIQUEID": call.uniqueid,
        }

    @property
    def dead(self) -> bool:
        """Whether the channel is hung up."""
        return self.state is ChannelState.DEAD

    def variable(self, name: str) -> str | None:
        """A channel variable or function as the dialplan sees it; None when unset."""
        return self._variables.get(name)

    def answer(self) -> None:
        """Answer the channel, if it is ringing."""
        if self.state is ChannelState.RINGING:
            self.state = ChannelState.UP

    def caller_leaves(self) -> None:
        """Hang up for the caller."""
        self._die("caller")

    def hung_up_by_gateway(self) -> None:
        """Hang up for the gateway."""
        self._die("gateway")

    def play(self, sound: str) -> bool | None:
        """Play a prompt; returns True if it was heard, False if there is no such sound, None if the caller hung up."""
        if not sound:
            return True
        if self.dead:
            return None
        if sound in self.script.missing:
            return False
        self.prompts.append(sound)
        self.journal.append(("prompt", (sound,)))
        if len(self.prompts) == self.script.hangup_at:
            self.caller_leaves()
            return None
        return True

    def read_keys(self, most: int) -> tuple[str, bool]:
        """Return the digits of one GET DATA, and whether it ended before its timeout."""
        digits, complete = self._keypad.read(most, heard=self.state is ChannelState.UP)
        self.given.append(digits)
        return digits, complete

    def read_key(self, accepted: str) -> str:
        """Return the accepted key that stops a prompt; empty if none does."""
        return self._keypad.read_one(accepted, heard=self.state is ChannelState.UP) if accepted else ""

    def set_variable(self, name: str, value: str) -> None:
        """Set a channel variable; a leading `_` or `__` says who inherits it and is no part of its name."""
        self._variables[re.sub(r"\A_{1,2}(?=\w)", "", name)] = value

    def starts_application(self, name: str, argument: str) -> None:
        """Record that an EXEC begins."""
        self.applications.append((name, argument))
        if name.lower() != "dial":  # a Dial is recorded with its end
            self.journal.append(("application", (name, argument)))
        self._keypad.forget_ahead()

    def next_dialstatus(self, argument: str, forced: str | None) -> str:
        """Return and record how this Dial ends: as `forced`, if given, else as the script says."""
        scripted = self.script.dialstatus or ("ANSWER",)
        status = forced or scripted[min(len(self.dials), len(scripted) - 1)]
        self.dials.append((argument, status))
        self.journal.append(("dial", (argument, status)))
        return status

    def _die(self, by: str) -> None:
        if not self.dead:
            self.state, self.hung_up_by, self.agistatus = ChannelState.DEAD, by, "HANGUP"
