"""StarPy's methods for AGI's commands: its names, arguments, results.

Each returns a Deferred that fails with AGICommandFailure where Asterisk refuses or the
command does not succeed, and with ConnectionDone when the connection is gone.
Arguments reach Asterisk unchanged, with any characters; durations are in seconds.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail

from pbxrouter.agi import command
from pbxrouter.compat.starpy.error import AGICommandFailure
from pbxrouter.compat.starpy.replies import (
    FAILURE_CODE,
    as_controlled,
    as_digits,
    as_int,
    as_played,
    as_recorded,
    as_value,
    check_failure,
    milliseconds,
    only,
    seconds,
)
from pbxrouter.errors import InvalidArgument


class Commands:
    """StarPy's methods; a subclass provides ``sendCommand``."""

    def sendCommand(self, commandString: str) -> Deferred[str]:
        """Send a line; fires with what stands behind ``200 result=``."""
        raise NotImplementedError

    def _ask(self, name: str, *arguments: str | int) -> Deferred[str]:
        try:
            line = command(name, *arguments)
        except InvalidArgument as error:
            return fail(AGICommandFailure(FAILURE_CODE, str(error)))
        return self.sendCommand(line)

    def _number(self, name: str, *arguments: str | int, failure: str = "-1") -> Deferred[int]:
        return self._ask(name, *arguments).addCallback(check_failure, failure).addCallback(as_int)

    # --- the channel ---

    def answer(self) -> Deferred[int]:
        """Answer the call; fires with 0."""
        return self._number("ANSWER")

    def hangup(self, channel: str | None = None) -> Deferred[int]:
        """Hang up this channel, or another by name; fires with 1."""
        return self._number("HANGUP", *_given(channel))

    def channelStatus(self, channel: str | None = None) -> Deferred[int]:
        """The state of this channel or another: 0 down, 4 ringing, 5 far end ringing, 6 up, 7 busy."""
        return self._number("CHANNEL STATUS", *_given(channel))

    def setAutoHangup(self, time: float) -> Deferred[int]:
        """Hang up after a number of seconds."""
        return self._number("SET AUTOHANGUP", int(time))

    def setCallerID(self, number: str) -> Deferred[int]:
        """Change the caller's number."""
        return self._ask("SET CALLERID", str(number)).addCallback(as_int)

    def setMusic(self, on: bool = True, musicClass: str | None = None) -> Deferred[int]:
        """Switch music on hold on or off."""
        return self._ask("SET MUSIC", "ON" if on else "OFF", *_given(musicClass)).addCallback(as_int)

    def tddMode(self, on: bool | None = True) -> Deferred[int]:
        """Switch TDD on, off or (None) to MATE; a channel that cannot is a failure."""
        mode = "MATE" if on is None else "ON" if on else "OFF"
        return (
            self._ask("TDD MODE", mode).addCallback(check_failure).addCallback(check_failure, "0").addCallback(as_int)
        )

    # --- where the dialplan goes on when the run ends ---

    def setContext(self, context: str) -> Deferred[int]:
        """Set the context in which the dialplan continues."""
        return self._ask("SET CONTEXT", str(context)).addCallback(as_int)

    def setExtension(self, extension: str) -> Deferred[int]:
        """Set the extension at which the dialplan continues."""
        return self._ask("SET EXTENSION", str(extension)).addCallback(as_int)

    def setPriority(self, priority: int | str) -> Deferred[int]:
        """Set the priority or label."""
        return self._ask("SET PRIORITY", str(priority)).addCallback(as_int)

    # --- applications, variables, database, words on the console ---

    def execute(self, application: str, *options: object, **kwargs: bool) -> Deferred[str]:
        """Run a dialplan application; fires with its result line.

        Args:
            options: its arguments, joined with commas; with ``|`` if ``comma_delimiter``
                is False, which no Asterisk since 1.6 understands.
        """
        delimiter = "," if kwargs.get("comma_delimiter", True) else "|"
        argument = [delimiter.join(str(option) for option in options)] if options else []
        return self._ask("EXEC", application, *argument).addCallback(check_failure, "-2")

    def playback(self, filename: str, doAnswer: int = 1) -> Deferred[int]:
        """Run Playback.

        Args:
            doAnswer: 1 answers the call first, 0 plays without, -1 plays only if it is answered.
        """
        options = {-1: ["skip"], 0: ["noanswer"], 1: []}.get(doAnswer)
        if options is None:
            raise TypeError(f"doAnswer may be -1, 0 or 1, not {doAnswer!r}")
        return self.execute("Playback", filename, *options).addCallback(check_failure).addCallback(as_int)

    def getVariable(self, variable: str) -> Deferred[str]:
        """The value of a channel variable or function; one that is not set is a failure.

        CALLERID(num) -- the caller's number
        CALLERID(name) -- the caller's name
        CHANNEL -- the channel's name
        CHANNEL(language) -- its language
        CONTEXT -- where the dialplan is
        EXTEN -- what was dialled
        PRIORITY -- the step there
        UNIQUEID -- the channel's identity, which does not change
        DIALSTATUS -- what became of the last Dial
        HANGUPCAUSE -- why the last channel dialled hung up
        ANSWEREDTIME -- how long that talk was, in seconds
        EPOCH -- Asterisk's clock, in seconds since 1970
        """
        return self._ask("GET VARIABLE", variable).addCallback(as_value)

    def setVariable(self, variable: str, value: object) -> Deferred[int]:
        """Set a channel variable; quotation marks are taken out of the value."""
        return self._ask("SET VARIABLE", variable, str(value).replace('"', "")).addCallback(as_int)

    def databaseGet(self, family: str, key: str) -> Deferred[str]:
        """A value of Asterisk's database; none is a failure."""
        return self._ask("DATABASE GET", family, key).addCallback(as_value)

    def databaseSet(self, family: str, key: str, value: object) -> Deferred[int]:
        """Store a value in Asterisk's database."""
        return self._number("DATABASE PUT", family, key, str(value), failure="0")

    databasePut = databaseSet

    def databaseDel(self, family: str, key: str) -> Deferred[int]:
        """Delete a key from Asterisk's database."""
        return self._number("DATABASE DEL", family, key, failure="0")

    def databaseDeltree(self, family: str, keyTree: str | None = None) -> Deferred[int]:
        """Delete a family, or a tree in it."""
        return self._number("DATABASE DELTREE", family, *_given(keyTree), failure="0")

    databaseDelTree = databaseDeltree

    def noop(self, message: str | None = None) -> Deferred[int]:
        """Send NOOP, which does nothing but log its message."""
        return self._number("NOOP", *_given(message))

    def verbose(self, message: str, level: int | None = None) -> Deferred[int]:
        """Write to Asterisk's console, at a level from 1 to 4."""
        return self._ask("VERBOSE", str(message), *_given(level)).addCallback(as_int)

    # --- keys, sounds, recordings ---

    def getData(self, filename: str, timeout: float = 2.0, maxDigits: int | None = None) -> Deferred[tuple[str, bool]]:
        """Play a sound and take digits; fires with them and whether time ended it."""
        asked = self._ask("GET DATA", filename, milliseconds(timeout), *_given(maxDigits))
        return asked.addCallback(check_failure).addCallback(as_digits)

    def getOption(self, filename: str, escapeDigits: str, timeout: float | None = None) -> Deferred[tuple[str, int]]:
        """Play a sound and take one digit; fires with it (``""``: none) and the position."""
        waiting = [] if timeout is None else [milliseconds(timeout)]
        asked = self._ask("GET OPTION", filename, escapeDigits, *waiting).addCallback(check_failure)
        return asked.addCallback(as_played).addCallback(lambda played: (chr(played[0]) if played[0] else "", played[1]))

    def waitForDigit(self, timeout: float) -> Deferred[int]:
        """The next key's ASCII code; 0 if none came in time (-1: no time limit)."""
        return self._number("WAIT FOR DIGIT", milliseconds(timeout))

    def streamFile(self, filename: str, escapeDigits: str = "", offset: int | None = 0) -> Deferred[tuple[int, int]]:
        """Play a sound; fires with the ASCII code of the key that stopped it (0: none) and the position."""
        asked = self._ask("STREAM FILE", filename, escapeDigits, *_given(offset)).addCallback(check_failure)
        return asked.addCallback(as_played, offset)

    def controlStreamFile(
        self,
        filename: str,
        escapeDigits: str,
        skipMS: int = 0,
        ffChar: str = "*",
        rewChar: str = "#",
        pauseChar: str | None = None,
    ) -> Deferred[tuple[int, int | None]]:
        """Play a sound that the caller can wind; fires with key and position."""
        asked = self._ask("CONTROL STREAM FILE", filename, escapeDigits, skipMS, ffChar, rewChar, *_given(pauseChar))
        return asked.addCallback(check_failure).addCallback(as_controlled)

    def recordFile(
        self,
        filename: str,
        format: str,
        escapeDigits: str,
        timeout: float = -1,
        offsetSamples: int | None = None,
        beep: bool = True,
        silence: float | None = None,
    ) -> Deferred[tuple[int, str, int]]:
        """Record; fires with the key, what ended it (dtmf, timeout, hangup) and the length in samples."""
        more = [*_given(offsetSamples), *(["BEEP"] if beep else [])]
        if silence is not None:
            more.append(f"s={silence:g}")
        asked = self._ask("RECORD FILE", filename, format, escapeDigits, milliseconds(timeout), *more)
        return asked.addCallback(as_recorded)

    def sayXXX(self, baseCommand: str, value: str | int, escapeDigits: str | None = "") -> Deferred[int]:
        """Say something; fires with the ASCII code of the key that stopped it (0: none)."""
        return self._number(baseCommand, value, escapeDigits or "")

    def sayAlpha(self, string: str, escapeDigits: str | None = None) -> Deferred[int]:
        """Spell letters and digits."""
        return self.sayXXX("SAY ALPHA", only(str.isalnum, string), escapeDigits)

    def sayPhonetic(self, string: str, escapeDigits: str | None = None) -> Deferred[int]:
        """Spell in the phonetic alphabet."""
        return self.sayXXX("SAY PHONETIC", only(str.isalnum, string), escapeDigits)

    def sayDigits(self, number: int | str, escapeDigits: str | None = None) -> Deferred[int]:
        """Say digits one by one."""
        return self.sayXXX("SAY DIGITS", only(str.isdigit, number), escapeDigits)

    def sayNumber(self, number: int | str, escapeDigits: str | None = None) -> Deferred[int]:
        """Say a number as a whole."""
        return self.sayXXX("SAY NUMBER", only(str.isdigit, number), escapeDigits)

    def sayDate(self, date: Any, escapeDigits: str | None = None) -> Deferred[int]:
        """Say the date of a moment (seconds since 1970, date, datetime, struct_time)."""
        return self.sayXXX("SAY DATE", seconds(date), escapeDigits)

    def sayTime(self, time: Any, escapeDigits: str | None = None) -> Deferred[int]:
        """Say the time of a moment."""
        return self.sayXXX("SAY TIME", seconds(time), escapeDigits)

    def sayDateTime(
        self, time: Any, escapeDigits: str = "", format: str | None = None, timezone: str | None = None
    ) -> Deferred[int]:
        """Say a moment in a format of Asterisk's, such as ``ABdY 'digits/at' IMp``."""
        more = _given(format) + (_given(timezone) if format is not None else [])
        return self._number("SAY DATETIME", seconds(time), escapeDigits, *more)

    def sendImage(self, filename: str) -> Deferred[int]:
        """Send a picture to a channel that shows pictures."""
        return self._number("SEND IMAGE", filename)

    def sendText(self, text: str) -> Deferred[int]:
        """Send text to a channel that shows text."""
        return self._number("SEND TEXT", str(text))

    def receiveChar(self, timeout: float | None = None) -> Deferred[tuple[str, bool]]:
        """Wait for a character; fires with its code and whether time ended it."""
        waiting = [] if timeout is None else [milliseconds(timeout)]
        return self._ask("RECEIVE CHAR", *waiting).addCallback(check_failure).addCallback(as_digits)

    def receiveText(self, timeout: float | None = None) -> Deferred[str]:
        """Wait for text; fires with the result line."""
        waiting = [] if timeout is None else [milliseconds(timeout)]
        return self._ask("RECEIVE TEXT", *waiting).addCallback(check_failure)


def _given(value: Any) -> list[Any]:
    """The words of an optional argument: none if it is None."""
    return [] if value is None else [value]
