"""A simulated Asterisk: the bytes of the gateway in, the bytes of Asterisk out.

This is the channel's state and what happened to it. What each command does is in
`pbxrouter.simulator.commands`, the applications of EXEC in `pbxrouter.simulator.applications`.
"""

import enum
import re

from pbxrouter.simulator.call import Script, SimulatedCall
from pbxrouter.simulator.commands import COMMANDS, WrongWords
from pbxrouter.simulator.keypad import Keypad
from pbxrouter.simulator.words import LONGEST_LINE, LineReader, split_words

_UNKNOWN = "510 Invalid or unknown command"
_DEAD = "511 Command Not Permitted on a dead channel or intercept routine"


class ChannelState(enum.Enum):
    """Where the caller's channel is; the number is CHANNEL STATUS's."""

    RINGING = 4
    UP = 6
    DEAD = 0


class SimulatedAsterisk:
    """Asterisk's side of one run of AGI().

    Attributes:
        call: the facts of the call.
        script: what people and network do during it.
        state: of the caller's channel.
        ended: whether Asterisk ended the run and closes (a `failure` line, AGIEXITONHANGUP).
        hung_up_by: "caller" or "gateway"; None while the channel lives.
        commands: the lines executed, without line ends.
        prompts: the prompts that began to play.
        applications: name and argument of each EXEC.
        dials: argument and DIALSTATUS of each EXEC Dial.
        journal: all of these in the order in which they happened, as a kind (`prompt`, `application`,
            `dial`) and its words.
        given: for each GET DATA the digits that it returned.
        complaints: in words, what a gateway must not do: a second command before the reply, one that is
            unknown or badly written, a line that is too long.
        agistatus: AGISTATUS as the dialplan sees it after the run.
    """

    def __init__(self, call: SimulatedCall, script: Script | None = None) -> None:
        self.call = call
        self.script = script or Script()
        self.state = ChannelState.DEAD if call.dead else ChannelState.UP if call.up else ChannelState.RINGING
        self.ended = False
        self.hung_up_by: str | None = "caller" if call.dead else None
        self.commands: list[bytes] = []
        self.prompts: list[str] = []
        self.applications: list[tuple[str, str]] = []
        self.dials: list[tuple[str, str]] = []
        self.journal: list[tuple[str, tuple[str, ...]]] = []
        self.given: list[str] = []
        self.complaints: list[str] = []
        self.agistatus = "SUCCESS"
        self._reader = LineReader()
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

    # For whoever carries the bytes

    @property
    def unfinished(self) -> bytes:
        """What the gateway sent without a line end."""
        return self._reader.unread

    @property
    def dead(self) -> bool:
        """Whether the channel is hung up."""
        return self.state is ChannelState.DEAD

    def environment(self) -> bytes:
        """What Asterisk sends first."""
        return self.call.environment()

    def receive(self, data: bytes) -> bytes:
        """Take one segment from the gateway.

        Args:
            data: its bytes; a line may come in pieces.

        Returns:
            What Asterisk writes then: nothing while a line is unfinished.
        """
        answer = b"".join(self.reply(line) for line in self._reader.feed(data))
        if b"\n" in self._reader.unread:
            self.complaints.append("sent a command before the reply to the last one")
        return answer

    def reply(self, line: bytes) -> bytes:
        """Execute one command.

        Args:
            line: without its line end.

        Returns:
            The reply, and the HANGUP line when the call ended meanwhile; nothing after the end of the run.
        """
        if self.ended:
            return b""
        self.commands.append(line)
        if len(line) >= LONGEST_LINE:
            self.complaints.append(f"sent a line of {LONGEST_LINE} bytes or more, which Asterisk cuts")
        if line[:7].lower() == b"failure":
            self.agistatus, self.ended = "FAILURE", True
            return b""
        was_dead = self.dead
        answer = self._execute(split_words(line)).encode("utf-8", "surrogateescape") + b"\n"
        return answer if was_dead or not self.dead else answer + self._hangup_lines()

    def hang_up(self) -> bytes:
        """The caller hangs up while no command runs.

        Returns:
            The bare HANGUP line.
        """
        if self.dead:
            return b""
        self.caller_leaves()
        return self._hangup_lines()

    def close(self) -> bytes:
        """The gateway closed its end: an unfinished line is executed; a dead channel says HANGUP again."""
        answer = b"".join(self.reply(line) for line in self._reader.finish())
        return answer + (self._hangup_lines() if self.dead and not self.ended else b"")

    def variable(self, name: str) -> str | None:
        """A channel variable or function as the dialplan sees it; None when unset."""
        return self._variables.get(name)

    # For commands and applications

    def answer(self) -> None:
        """The channel is answered, if it was not."""
        if self.state is ChannelState.RINGING:
            self.state = ChannelState.UP

    def caller_leaves(self) -> None:
        """The caller hangs up now."""
        self._dies("caller")

    def hung_up_by_gateway(self) -> None:
        """The gateway hangs up now."""
        self._dies("gateway")

    def play(self, sound: str) -> bool | None:
        """A prompt plays: True when it was heard, False when there is none, None when the caller hung up."""
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
        """The digits of one GET DATA, and whether it ended before its timeout."""
        digits, complete = self._keypad.read(most, heard=self.state is ChannelState.UP)
        self.given.append(digits)
        return digits, complete

    def read_key(self, accepted: str) -> str:
        """The key that stops a prompt, one of those accepted; empty when none does."""
        return self._keypad.read_one(accepted, heard=self.state is ChannelState.UP) if accepted else ""

    def set_variable(self, name: str, value: str) -> None:
        """Set a channel variable; a leading `_` or `__` says who inherits it and is no part of its name."""
        self._variables[re.sub(r"\A_{1,2}(?=\w)", "", name)] = value

    def starts_application(self, name: str, argument: str) -> None:
        """An EXEC begins."""
        self.applications.append((name, argument))
        if name.lower() != "dial":  # which is noted with its end
            self.journal.append(("application", (name, argument)))
        self._keypad.forget_ahead()

    def next_dialstatus(self, argument: str, forced: str | None) -> str:
        """How this Dial ends, noted; `forced` when it could not end otherwise."""
        scripted = self.script.dialstatus or ("ANSWER",)
        status = forced or scripted[min(len(self.dials), len(scripted) - 1)]
        self.dials.append((argument, status))
        self.journal.append(("dial", (argument, status)))
        return status

    def _dies(self, by: str) -> None:
        if not self.dead:
            self.state, self.hung_up_by, self.agistatus = ChannelState.DEAD, by, "HANGUP"

    def _hangup_lines(self) -> bytes:
        if not self.script.sighup:
            return b""
        if self.script.exit_on_hangup:
            self.ended = True
            return b"HANGUP\nHANGUP\n"
        return b"HANGUP\n"

    def _execute(self, words: list[bytes]) -> str:
        for length in (3, 2, 1):
            name = b" ".join(words[:length]).upper().decode("latin-1")
            if len(words) >= length and name in COMMANDS:
                break
        else:
            self.complaints.append(f"sent an unknown command: {b' '.join(words)[:60]!r}")
            return _UNKNOWN
        command = COMMANDS[name]
        if self.dead and not command.works_dead:
            return _DEAD
        try:
            return command.run(self, [word.decode("utf-8", "surrogateescape") for word in words[length:]])
        except WrongWords:
            self.complaints.append(f"sent {name} with wrong arguments")
            return (
                f"520-Invalid command syntax.  Proper usage follows:\n Usage: {name} {command.usage}\n"
                "520 End of proper usage."
            )
