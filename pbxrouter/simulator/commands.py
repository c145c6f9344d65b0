"""The AGI commands that a simulated Asterisk knows.

Each is a function of the simulated channel and of the words after the command's name; it returns the reply
without its line end, or raises `WrongWords`. `COMMANDS` is the table of them. Those that a call router has
no use for (RECORD FILE, DATABASE, SPEECH …) get the 510 of an unknown command.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from pbxrouter.simulator.applications import APPLICATIONS
from pbxrouter.simulator.channel import SimulatedChannel

_SHORT_VALUE = 1023  # bytes of a value that GET VARIABLE gives at most
_MOST_DIGITS = 1024


class WrongWords(Exception):
    """A command was called with wrong arguments, which Asterisk answers with a 520 of many lines."""


def _expect(words: list[str], least: int, most: int | None = None) -> None:
    if len(words) < least or (most is not None and len(words) > most):
        raise WrongWords


def _number(word: str) -> int:
    """Convert a word as C's atoi does: 0 if it is no number."""
    digits = re.match(r"\s*[+-]?[0-9]+", word)
    return int(digits[0]) if digits else 0


def _answer(call: SimulatedChannel, words: list[str]) -> str:
    call.answer()
    return "200 result=0"


def _noop(call: SimulatedChannel, words: list[str]) -> str:
    return "200 result=0"


def _one_word(call: SimulatedChannel, words: list[str]) -> str:
    _expect(words, 1, 1)
    return "200 result=0"


def _verbose(call: SimulatedChannel, words: list[str]) -> str:
    _expect(words, 1)
    return "200 result=1"


def _channel_status(call: SimulatedChannel, words: list[str]) -> str:
    _expect(words, 0, 1)
    known = not words or words[0] == call.call.channel
    return f"200 result={call.state.value if known else -1}"


def _get_variable(call: SimulatedChannel, words: list[str]) -> str:
    _expect(words, 1, 1)
    value = call.variable(words[0])
    if value is None:
        return "200 result=0"
    short = value.encode("utf-8", "surrogateescape")[:_SHORT_VALUE]
    return f"200 result=1 ({short.decode('utf-8', 'surrogateescape')})"


def _get_full_variable(call: SimulatedChannel, words: list[str]) -> str:
    _expect(words, 1, 2)
    if len(words) > 1 and words[1] != call.call.channel:
        return "200 result=0"
    value = re.sub(r"\$\{([^{}]*)\}", lambda name: call.variable(name[1]) or "", words[0])
    return f"200 result=1 ({value})"


def _set_variable(call: SimulatedChannel, words: list[str]) -> str:
    _expect(words, 2, 2)
    call.set_variable(*words)
    return "200 result=1"


def _stream_file(call: SimulatedChannel, words: list[str]) -> str:
    _expect(words, 2, 3)
    heard = call.play(words[0])
    if heard and (key := call.read_key(words[1])):
        return f"200 result={ord(key)} endpos=4000"
    if heard:
        return "200 result=0 endpos=3520"
    if heard is False:
        call.agistatus = "FAILURE"
    return "200 result=-1 endpos=0"


def _say_digits(call: SimulatedChannel, words: list[str]) -> str:
    _expect(words, 2, 2)
    if not re.match(r"\s*[+-]?[0-9]", words[0]):
        raise WrongWords
    return "200 result=0"


def _get_data(call: SimulatedChannel, words: list[str]) -> str:
    _expect(words, 1, 3)
    most = _number(words[2]) if len(words) > 2 else _MOST_DIGITS
    if most < 1 or not call.play(words[0]):
        return "200 result=-1"
    digits, complete = call.read_keys(most)
    return f"200 result={digits}" + ("" if complete else " (timeout)")


def _exec(call: SimulatedChannel, words: list[str]) -> str:
    _expect(words, 1)
    name, argument = words[0], words[1] if len(words) > 1 else ""  # Asterisk drops further words, too
    call.starts_application(name, argument)
    application = APPLICATIONS.get(name.lower())
    if application is None:
        return "200 result=-2"
    result = application(call, argument)
    if not call.dead and name.lower() == (call.script.hangup_in or "").lower():
        call.caller_leaves()
        result = -1
    return f"200 result={result}"


def _hangup(call: SimulatedChannel, words: list[str]) -> str:
    _expect(words, 0, 1)
    if words and words[0] != call.call.channel:
        return "200 result=-1"
    call.hung_up_by_gateway()
    return "200 result=1"


def _gosub(call: SimulatedChannel, words: list[str]) -> str:
    _expect(words, 3)
    return "100 result=0 Trying...\n200 result=0 Gosub complete"


class Command(NamedTuple):
    """An AGI command that the simulated Asterisk knows.

    Attributes:
        run: carries it out and returns the reply.
        works_dead: whether Asterisk permits it on a hung-up channel.
        usage: the words it takes, for the 520.
    """

    run: Callable[[SimulatedChannel, list[str]], str]
    works_dead: bool
    usage: str


COMMANDS: dict[str, Command] = {
    "ANSWER": Command(_answer, False, ""),
    "CHANNEL STATUS": Command(_channel_status, False, "[<channelname>]"),
    "EXEC": Command(_exec, True, "<application> <options>"),
    "GET DATA": Command(_get_data, False, "<file to be streamed> [<timeout>] [<max digits>]"),
    "GET FULL VARIABLE": Command(_get_full_variable, True, "<expression> [<channel name>]"),
    "GET VARIABLE": Command(
        _get_variable,
        True,
        # A text line of a 520 that looks like a reply: it misleads a gateway that reads replies line by line.
        "<variablename>\n Returns 0 if it is not set.\n Example return code: 200 result=1 (testvariable)",
    ),
    "GOSUB": Command(_gosub, False, "<context> <extension> <priority> [<optional-argument>]"),
    "HANGUP": Command(_hangup, False, "[<channelname>]"),
    "NOOP": Command(_noop, True, ""),
    "SAY DIGITS": Command(_say_digits, False, "<number> <escape digits>"),
    "SET AUTOHANGUP": Command(_one_word, False, "<time>"),
    "SET CONTEXT": Command(_one_word, False, "<desired context>"),
    "SET EXTENSION": Command(_one_word, False, "<new extension>"),
    "SET PRIORITY": Command(_one_word, False, "<priority>"),
    "SET VARIABLE": Command(_set_variable, True, "<variablename> <value>"),
    "STREAM FILE": Command(_stream_file, False, "<filename> <escape digits> [sample offset]"),
    "VERBOSE": Command(_verbose, True, "<message> <level>"),
}
