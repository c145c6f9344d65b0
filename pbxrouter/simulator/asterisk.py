"""A simulated Asterisk: the bytes of the gateway in, the bytes of Asterisk out.

The channel is in `pbxrouter.simulator.channel`, what each command does in `pbxrouter.simulator.commands`, the
applications of EXEC in `pbxrouter.simulator.applications`.
"""

from pbxrouter.simulator.call import Script, SimulatedCall
from pbxrouter.simulator.channel import SimulatedChannel
from pbxrouter.simulator.commands import COMMANDS, WrongWords
from pbxrouter.simulator.words import LONGEST_LINE, LineReader, split_words

_UNKNOWN = "510 Invalid or unknown command"
_DEAD = "511 Command Not Permitted on a dead channel or intercept routine"


class SimulatedAsterisk(SimulatedChannel):
    """Asterisk's side of one run of AGI().

    Attributes:
        ended: whether Asterisk ended the run and closes (a `failure` line, AGIEXITONHANGUP).
        commands: the lines executed, without line ends.
        complaints: what a gateway must not do: a second command before the reply, one that is
            unknown or badly written, a line that is too long.
    """

    def __init__(self, call: SimulatedCall, script: Script | None = None) -> None:
        super().__init__(call, script)
        self.ended = False
        self.commands: list[bytes] = []
        self.complaints: list[str] = []
        self._reader = LineReader()

    @property
    def unfinished(self) -> bytes:
        """Bytes of a line that the gateway has not ended."""
        return self._reader.unread

    def environment(self) -> bytes:
        """The opening block that Asterisk sends: the variables agi_*."""
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
