"""Reads what a line of the dialplan dials, and to which other contexts it leads, as far as that stands in it.

Applications that run others (ExecIf, TryExec, Originate …) are looked into, and so are the options of Dial() by which
it goes on elsewhere. A place or target that only a call can tell, as by ``${WHERE}``, is named as unread.

Source: docs/asterisk.md D; the documentation of each application in ``core show application``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from typing import Final

MAX_DEPTH: Final = 8
"""How deep variables may name others, and applications run others."""
MAX_VALUES: Final = 32
"""How many values of a text with variables are looked at."""
MAX_TEXT: Final = 4096
"""Characters up to which variables are replaced in a text; Asterisk's own limit of a value."""

_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}
_CALL: Final = re.compile(r"\s*([A-Za-z_]\w*)\((.*)\)\s*", re.DOTALL)
_NAME: Final = re.compile(r"[\w.-]+", re.ASCII)
_VARIABLE: Final = re.compile(r"\$\{(?:GLOBAL\((\w+)\)|STRREPLACE\((\w+),.*?\)|(\w+)(:[-\d:]+)?)\}")
_OF_THE_CALL: Final = re.compile(r"EXTEN|CONTEXT|PBXROUTER_NUMBER|ARG\d+")
"""Variables that each call has of its own, so that no global variable stands for them."""
_NUMBER: Final = re.compile(r"\$\{(?:EXTEN|PBXROUTER_NUMBER|CALLERID\([\w-]+\))(?::[-\d:]+)?\}")
"""A number that the caller dials or has, which names a phone of the house at most."""
_WITHIN: Final = re.compile(r"([A-Za-z][A-Za-z0-9]*)/([^\s:&,?()}]+)")
"""A target within an expression."""
_CONTACTS: Final = re.compile(r"\$\{PJSIP_DIAL_CONTACTS\(([^,)]*)[^)]*\)\}")
_ELSEWHERE: Final = re.compile(r"[FGb]\(([^()^,]+)\^[^()^]+\^")
_SUBROUTINE: Final = re.compile(r"U\(([^()^]+)")
_MACRO: Final = re.compile(r"M\(([^()^]+)")

# How many arguments stand before those of Dial().
_DIALS: Final = {"dial": 0, "trydial": 0, "retrydial": 3, "page": 0, "chanisavail": 0}
_PLACES: Final = frozenset({"goto", "gosub"})
_CHOICES: Final = frozenset({"gotoif", "gosubif", "gotoiftime"})
_MACROS: Final = frozenset({"macro", "macroexclusive"})
_RUNNING_OTHERS: Final = frozenset({"exec", "tryexec"})
_CHOOSING_OTHERS: Final = frozenset({"execif", "execiftime"})
_CLOSED: Final = frozenset(
    "agi deadagi eagi externalivr followme lua minivmrecord park parkandannounce queue stasis transfer".split()
)
"""Applications that may dial, or go on in the dialplan, by what stands elsewhere."""


@dataclass(slots=True)
class Reach:
    """What a line leads to.

    Attributes:
        targets: what it dials, such as ``PJSIP/21``, each as far as its variables are known.
        contexts: the contexts that it goes on in.
        options: the options of each Dial() in it.
        unread: what cannot be read.
    """

    targets: list[str] = field(default_factory=list)
    contexts: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def add(self, other: Reach) -> None:
        """Add what another line, or an application within this one, leads to."""
        self.targets += other.targets
        self.contexts += other.contexts
        self.options += other.options
        self.unread += other.unread


def reach_of(application: str, data: str, values: Mapping[str, Sequence[str]], depth: int = 0) -> Reach:
    """What an application with this data leads to.

    Args:
        values: by name of a variable, the values that it may have.
        depth: how many applications run this one.
    """
    found, name = Reach(), application.strip().lower()
    if depth > MAX_DEPTH or name in _CLOSED:
        found.unread.append(f"{application}({data})")
        return found
    arguments = split(data, ",")
    if name in _DIALS:
        _dial(found, arguments[_DIALS[name] :], values)
    elif name in _PLACES:
        _place(found, arguments, values)
    elif name in _CHOICES:
        for choice in _choices(data):
            _place(found, split(choice, ","), values)
    elif name in _CHOOSING_OTHERS:
        _run(found, _choices(data), values, depth)
    elif name in _RUNNING_OTHERS:
        _run(found, [data], values, depth)
    elif name in _MACROS:
        _context(found, [f"macro-{arguments[0].strip()}"], values)
    elif name == "macroif":
        for choice in _choices(data):
            _context(found, [f"macro-{split(choice, ',')[0].strip()}"], values)
    elif name == "originate":
        _target(found, arguments[0], values)
        kind = arguments[1].strip().lower() if len(arguments) > 1 else ""
        if kind == "exten":
            _context(found, arguments[2:3], values)
        elif kind == "app":
            found.add(reach_of("".join(arguments[2:3]), ",".join(arguments[3:]), values, depth + 1))
    elif name == "disa":
        _context(found, arguments[1:2] or ["disa"], values)
    elif name == "background":
        _context(found, [argument for argument in arguments[3:4] if argument.strip()], values)
    return found


def assignments(application: str, data: str) -> Iterator[tuple[str, str]]:
    """The variables that a line sets, the arguments of subroutines among them, and their values."""
    name = application.strip().lower()
    if name in ("set", "mset"):
        for argument in split(data, ",") if name == "mset" else [data]:
            variable, equals, value = argument.partition("=")
            if equals:
                yield variable.strip().lstrip("_"), value.strip().strip('"')
    elif name in ("gosub", "gosubif"):
        for choice in _choices(data) if name == "gosubif" else [data]:
            arguments = re.fullmatch(r"[^(]*\((.*)\)\s*", split(choice, ",")[-1], re.DOTALL)
            if arguments:
                yield from ((f"ARG{place}", value) for place, value in enumerate(split(arguments[1], ","), 1))
    elif name in _MACROS:
        yield from ((f"ARG{place}", value) for place, value in enumerate(split(data, ",")) if place)
    elif name in _CHOOSING_OTHERS or name in _RUNNING_OTHERS:
        for text in _choices(data) if name in _CHOOSING_OTHERS else [data]:
            call = _CALL.fullmatch(text)
            if call and call[1].lower() not in _CHOOSING_OTHERS | _RUNNING_OTHERS:
                yield from assignments(call[1], call[2])


def variables_in(text: str) -> set[str]:
    """The names of global variables that a text may hold the value of."""
    return {name for name in _names_in(text) if not _OF_THE_CALL.fullmatch(name)}


def without_variables(text: str) -> str:
    """A text without its variables and expressions."""
    while True:
        shorter = re.sub(r"\$\{[^{}]*\}|\$\[[^][]*\]", "", text)
        if shorter == text:
            return text
        text = shorter


def _names_in(text: str) -> set[str]:
    return {name for found in _VARIABLE.finditer(text) for name in found.groups()[:3] if name}


def split(text: str, mark: str) -> list[str]:
    """Split a text at a mark that stands in no brackets and no quotes."""
    parts, open_, quoted, start = [], list[str](), False, 0
    for place, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif not quoted and character in _CLOSING:
            open_.append(_CLOSING[character])
        elif not quoted and open_ and character == open_[-1]:
            open_.pop()
        elif character == mark and not open_ and not quoted:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def _choices(data: str) -> list[str]:
    """The two sides of ``condition?then:otherwise``."""
    condition, *rest = split(data, "?")
    return [choice.strip() for choice in split("?".join(rest), ":") if choice.strip()] if rest else [condition]


def _run(found: Reach, applications: Iterable[str], values: Mapping[str, Sequence[str]], depth: int) -> None:
    for text in applications:
        for value in _known(text, values) if text.lstrip().startswith("$") else [text]:
            call = _CALL.fullmatch(value)
            if call:
                found.add(reach_of(call[1], call[2], values, depth + 1))
            elif "$" in value:
                found.unread.append(value)


def _dial(found: Reach, arguments: Sequence[str], values: Mapping[str, Sequence[str]]) -> None:
    for argument in arguments[:1]:
        for target in split(argument, "&"):
            _target(found, target, values)
    for options in chain.from_iterable(_known(argument, values) for argument in arguments[2:3]):
        found.options.append(options.strip())
        places = [*_ELSEWHERE.findall(options), *_SUBROUTINE.findall(options)]
        _context(found, [*places, *(f"macro-{name}" for name in _MACRO.findall(options))], values)
    if len(arguments) < 3:
        found.options.append("")


def _target(found: Reach, text: str, values: Mapping[str, Sequence[str]]) -> None:
    for target in chain.from_iterable(split(value, "&") for value in _known(text.strip(), values)):
        contacts = _CONTACTS.fullmatch(target)
        technology, slash, rest = (f"PJSIP/{contacts[1]}" if contacts else target.strip()).partition("/")
        if not technology:
            continue
        if not slash or "$" in technology or (not re.search("[@/]", without_variables(rest)) and _is_open(rest)):
            found.unread.append(target)
            if "$" in technology:
                found.targets += ["/".join(part) for part in _WITHIN.findall(target)]
        elif technology.lower() == "local":
            place = rest.rpartition("@")[2].partition("/")[0] if "@" in rest else "default"
            _context(found, [place], values)
        else:
            found.targets.append(f"{technology}/{rest}")


def _is_open(rest: str) -> bool:
    """Whether a target's part behind the technology holds a variable that may be anything."""
    return "${" in _NUMBER.sub("", rest) and _CONTACTS.fullmatch(rest) is None


def _place(found: Reach, arguments: Sequence[str], values: Mapping[str, Sequence[str]]) -> None:
    if len(arguments) > 2:
        _context(found, arguments[:1], values)
    elif len(arguments) == 1:
        for value in _known(arguments[0], values):  # a whole place in a variable
            if "," in value:
                _place(found, split(value, ","), {})
            elif value.strip().startswith("$"):
                found.unread.append(value.strip())


def _context(found: Reach, names: Iterable[str], values: Mapping[str, Sequence[str]]) -> None:
    for name in chain.from_iterable(_known(name.strip(), values) for name in names):
        if name == "${CONTEXT}":
            continue
        if _NAME.fullmatch(name):
            found.contexts.append(name)
        elif name:
            found.unread.append(name)


def _known(text: str, values: Mapping[str, Sequence[str]], depth: int = 0) -> list[str]:
    """The texts that a text with variables may stand for; variables whose value is not known stay in it."""
    names = [name for name in sorted(_names_in(text)) if values.get(name)]
    if not names or depth > MAX_DEPTH or len(text) > MAX_TEXT:
        return [text]
    texts = []
    for chosen in product(*(values[name] for name in names)):
        value_of = dict(zip(names, chosen, strict=True))

        def put(found: re.Match[str], value_of: Mapping[str, str] = value_of) -> str:
            name = found[1] or found[2] or found[3]
            return value_of.get(name, found[0])

        texts.append(_VARIABLE.sub(put, text))
        if len(texts) == MAX_VALUES:
            break
    return [known for text in texts for known in _known(text, values, depth + 1)][:MAX_VALUES]
