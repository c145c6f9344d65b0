"""Prints a conversation for `pbxrouter call`: line by line, then a summary. PINs are masked."""

import collections
import re
from collections.abc import Collection, Mapping

import click

from pbxrouter.agi import masked_secret
from pbxrouter.security import MIN_PIN_DIGITS
from pbxrouter.simulator import SimulatedAsterisk, split_words
from pbxrouter.text import printable

MASK = "****"
_COLUMN = 52
_ABRIDGED = ("channel", "language", "callerid", "calleridname", "dnid", "extension", "context")

# The beginning of a command -> what it is for. The first match counts.
_WORDS = {
    "ANSWER": "the call is answered",
    "CHANNEL STATUS": "is the caller still there?",
    "EXEC CONFBRIDGE": "the caller enters the conference",
    "EXEC DIAL": "the phone is called",
    "EXEC PLAYBACK": "the caller hears it",
    "EXEC VOICEMAILMAIN": "the caller hears the mailbox",
    "GET DATA": "the caller hears it, and may key digits",
    "GET FULL VARIABLE": "was the call forwarded?",
    "GET VARIABLE ANSWEREDTIME": "for how many seconds did they talk?",
    "GET VARIABLE DIALSTATUS": "how did the call end?",
    "GET VARIABLE HANGUPCAUSE": "why?",
    "GET VARIABLE PLAYBACKSTATUS": "was it heard?",
    "HANGUP": "the gateway hangs up",
    "SAY DIGITS": "the caller hears the digits",
    "SET VARIABLE PBXROUTER": "a mark for the dialplan",
    "STREAM FILE": "the caller hears it",
    "VERBOSE": "a line on Asterisk's console",
}
_REPLIES = {
    "HANGUP": "the call is over",
    "510": "no such command",
    "511": "not on a call that is over",
    "520": "wrong arguments",
}
_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}


class Transcript:
    """Prints a conversation.

    Args:
        pins: the PINs to mask.
        number_asked: whether the first digits keyed are the number, not a PIN.
        verbose: show all AGI variables.
    """

    def __init__(self, pins: Collection[str], *, number_asked: bool, verbose: bool) -> None:
        # Shorter ones are not PINs, and would mask half of the conversation.
        secret = sorted({pin for pin in pins if len(pin) >= MIN_PIN_DIGITS}, key=len, reverse=True)
        # 0123456789 is the escape digits of a command, not a PIN, though it contains 123456.
        self._secrets = re.compile("|".join(["(0123456789)", *map(re.escape, secret)])) if secret else None
        self._number_asked = number_asked
        self._verbose = verbose
        self._asked = 0

    def environment(self, data: bytes) -> None:
        """Print the AGI variables that open the conversation."""
        lines = data.decode("utf-8", "surrogateescape").split("\n")
        shown = [
            line
            for line in lines
            if line and (self._verbose or line.partition(":")[0].removeprefix("agi_") in _ABRIDGED)
        ]
        for line in shown:
            click.echo(f"< {printable(masked_secret(line))}")
        if not self._verbose:
            click.echo(f"< … and {len(lines) - 2 - len(shown)} more lines (--verbose shows them)")

    def command(self, line: bytes) -> None:
        """Print a command of the gateway."""
        text = printable(self._masked(line))
        upper = text.upper()
        words = next((words for start, words in _WORDS.items() if upper.startswith(start)), "")
        click.echo(f"> {text:{_COLUMN}}  {words}".rstrip())

    def reply(self, line: bytes, command: bytes | None) -> None:
        """Print a line from Asterisk.

        Args:
            line: the line.
            command: the command that it answers; None if none.
        """
        text = self._masked(line)
        words = next((words for start, words in _REPLIES.items() if text.startswith(start)), "")
        if command is not None and [word.upper() for word in split_words(command)[:2]] == [b"GET", b"DATA"]:
            text, words = self._keyed(text)
        click.echo(f"< {printable(text):{_COLUMN}}  {words}".rstrip())

    def masked(self, text: str) -> str:
        """The text with PINs masked."""
        return self._secrets.sub(lambda found: found[1] or MASK, text) if self._secrets else text

    def _masked(self, line: bytes) -> str:
        return self.masked(line.decode("utf-8", "surrogateescape"))

    def _keyed(self, text: str) -> tuple[str, str]:
        """The reply to GET DATA with the digits masked, and its meaning."""
        result = re.fullmatch(r"200 result=(\S*)( \(timeout\))?", text)
        if result is None:
            return text, _REPLIES.get(text, "")
        if result[1] == "-1":
            return text, "nothing was heard"
        self._asked += 1
        if not result[1]:
            return text, "nothing was keyed"
        if self._asked == 1 and self._number_asked:
            return text, "the number was keyed"
        return f"200 result={MASK}{result[2] or ''}", "digits were keyed"


def story(asterisk: SimulatedAsterisk, roles: Mapping[str, str]) -> str:
    """A summary of the call in one line.

    Args:
        asterisk: the simulated Asterisk after the call.
        roles: the purpose of a sound, such as `PIN prompt`, by the sound's name.
    """
    parts: list[str] = []
    prompts = collections.Counter(asterisk.prompts)
    for kind, words in asterisk.journal:
        if kind == "prompt" and words[0] in prompts:
            parts.append(_times(prompts.pop(words[0]), roles.get(words[0], f"prompt {words[0]}")))
        elif kind == "dial":
            parts.append(f"Dial {words[0]} -> {words[1]}")
        elif kind == "application" and words[0].lower() not in ("playback", "background"):
            parts.append(" ".join(words).strip())
    if any(line.upper().startswith(b"SAY DIGITS") for line in asterisk.commands):
        parts.append("digits said")
    mark, outcome = asterisk.variable("PBXROUTER"), asterisk.variable("PBXROUTER_OUTCOME")
    if asterisk.hung_up_by == "gateway":
        parts.append("hung up")
    elif asterisk.hung_up_by == "caller":
        parts.append("the call was over before it began" if asterisk.call.dead else "the caller hung up")
    elif mark:
        parts.append(f"back to the dialplan with PBXROUTER={mark}")
    line = ", ".join(parts) or "nothing happened"
    return printable(line + (f" (outcome {outcome})" if outcome else ""))


def _times(count: int, what: str) -> str:
    return what if count == 1 else f"{_NUMBERS.get(count, str(count))} {what}s"
