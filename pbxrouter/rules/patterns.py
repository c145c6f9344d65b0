"""Dial patterns: what they match, and which of several matches wins, as in Asterisk.

A pattern is a value of the column ``pattern``: ``2X``, ``_NXXXXXX``, ``911``,
``_0[1-3]!``. Asterisk knows a pattern by its leading ``_``; here the mark may be
left out when the text contains something that only a pattern has (X Z N, a set,
``.`` or ``!``). Text without any of these is a plain number and, as in Asterisk, precedes
every pattern.

Sources: docs/asterisk.md D1 and D2; Asterisk's pbx.c, ``_extension_match_core`` and
``ext_cmp_pattern_pos``.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

from pbxrouter.errors import PatternError
from pbxrouter.text import sentence

MAX_LENGTH: Final = 80  # Asterisk's AST_MAX_EXTENSION

_CLASSES: Final = {"X": "0123456789", "Z": "123456789", "N": "23456789"}
_TOKEN: Final = re.compile(r"\[[^\]]*\]|.", re.DOTALL)
_PATTERN_SIGN: Final = re.compile(r"[XxZzNn\[.!]")
_NOT_PLAIN: Final = re.compile(r"[XxZzNn\[.!-]|$")
_UNUSABLE: Final = re.compile(r"[^!-~]|/")

# How an element compares; the smaller wins. Sets of characters come first, by size,
# smallest character and membership; then these three.
_DOT: Final = (0x180, 0, ())
_BANG: Final = (0x280, 0, ())
_END: Final = (0x300, 0, ())

ElementOrder = tuple[int, int, tuple[int, ...]]
"""Sort key of one element: number of characters, smallest character, all characters."""


@dataclass(frozen=True, slots=True)
class Wildcards:
    """The part of a pattern after its leading plain characters: ``XXXX``, ``[1-3]X.``.

    A dial plan of a hundred thousand patterns has a few dozen of these, so they are
    read once and shared.

    Attributes:
        sets: what each position accepts, up to the first ``.`` or ``!``.
        tail: as Pattern.tail.
        order: how the elements compare, the pattern's end included.
        run: the elements of exactly one character that it begins with.
        is_missorted: as Pattern.is_missorted.
    """

    sets: tuple[frozenset[str], ...]
    tail: str
    order: tuple[ElementOrder, ...]
    run: str
    is_missorted: bool

    def matches(self, number: str, place: int) -> bool:
        """Whether this matches the number from a position on."""
        left = len(number) - place - len(self.sets)
        if left < (self.tail == ".") or (left and not self.tail):
            return False
        for accepted in self.sets:
            if number[place] not in accepted:
                return False
            place += 1
        return True


@dataclass(frozen=True, slots=True)
class Pattern:
    """One parsed dial pattern.

    Attributes:
        text: as stored.
        literal: the number itself, if the text is a plain number; else None.
        head: the plain characters that it begins with.
        rest: the part after them.
    """

    text: str
    literal: str | None
    head: str
    rest: Wildcards

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Parse a pattern.

        Raises:
            PatternError: empty, too long, a ``[`` without ``]``, or a character
                that no dialled number can hold.
        """
        _refuse_unusable(text)
        if text[0] != "_" and not _PATTERN_SIGN.search(text):
            digits = text.replace("-", "")
            if not digits:
                raise PatternError(sentence("pattern {pattern} is empty but for dashes", pattern=repr(text)))
            return cls(text, digits, digits, _NOTHING)
        body = text.removeprefix("_")
        found = _NOT_PLAIN.search(body)
        assert found is not None  # its end, at the latest
        rest = _read_wildcards(body[found.start() :])
        if rest is None:
            raise PatternError(sentence("pattern {pattern} has a [ without its ]", pattern=repr(body)))
        return cls(text, None, body[: found.start()], rest)

    def matches(self, number: str) -> bool:
        """Whether this pattern matches the number; dashes in it mean nothing."""
        number = number.replace("-", "")
        return number.startswith(self.head) and self.rest.matches(number, len(self.head))

    @property
    def tail(self) -> str:
        """What may follow the sets: ``""`` nothing, ``"."`` one or more characters, ``"!"`` zero or more."""
        return self.rest.tail

    @property
    def order(self) -> tuple[ElementOrder, ...]:
        """Sort key in Asterisk's order: of the patterns that match, the smallest wins."""
        return (*map(_element_order, self.head), *self.rest.order)

    @property
    def never_matches(self) -> bool:
        """Whether an element accepts nothing, as ``[5-1]`` does."""
        return frozenset() in self.rest.sets

    @property
    def is_missorted(self) -> bool:
        """Whether an element accepts one character but sorts as another, as ``[5-19]`` does."""
        return self.rest.is_missorted

    def digits_from(self, place: int) -> str:
        """The run of one-character elements that starts at a position."""
        behind = place - len(self.head)
        return self.head[place:] + self.rest.run if behind <= 0 else _run(self.rest.sets, self.rest.order, behind)

    def element(self, place: int) -> tuple[ElementOrder, frozenset[str]] | None:
        """The sort key of an element after the head and the set it accepts; None where matching has ended."""
        behind = place - len(self.head)
        if behind < len(self.rest.sets):
            return self.rest.order[behind], self.rest.sets[behind]
        return None


def _run(sets: tuple[frozenset[str], ...], order: tuple[ElementOrder, ...], place: int) -> str:
    run: list[str] = []
    for accepted, key in zip(sets[place:], order[place:], strict=False):
        if not _is_digit(accepted, key):
            break
        run.append(chr(key[1]))
    return "".join(run)


def _is_digit(accepted: frozenset[str], order: ElementOrder) -> bool:
    return order[0] == 1 and chr(order[1]) in accepted


def _refuse_bar(text: str) -> None:
    """Refuse ``9|NXX``, in which the bar marks digits that are dialled and not sent."""
    before, bar, after = text.partition("|")
    if not bar:
        return
    cut = len(_TOKEN.findall(before.removeprefix("_")))
    if not cut or not after or "|" in after:
        raise PatternError(
            sentence("pattern {pattern} holds {held}, which no dialled number can", pattern=repr(text), held=repr(bar))
        )
    raise PatternError(
        sentence(
            "pattern {pattern} has a |, which marks digits that are cut off; today the pattern is {today}, and the "
            "mapping's data cuts the number, as in {data}",
            pattern=repr(text),
            today=before + after,
            data=f"PJSIP/{{number:{cut}}}@trunk",
        )
    )


def _refuse_unusable(text: str) -> None:
    if not text or text == "_":
        raise PatternError(
            sentence("the pattern is empty; accepted are digits, * # +, X Z N, sets such as [1-3], . or ! at the end")
        )
    if len(text) > MAX_LENGTH:
        raise PatternError(
            sentence(
                "pattern {pattern}… has {count} characters; at most {most} are accepted",
                pattern=repr(text[:20]),
                count=len(text),
                most=MAX_LENGTH,
            )
        )
    _refuse_bar(text)
    found = _UNUSABLE.search(text)
    if found:
        raise PatternError(
            sentence(
                "pattern {pattern} holds {held}, which no dialled number can; "
                "accepted are digits, * # +, X Z N, sets such as [1-3], and . or ! at the end",
                pattern=repr(text),
                held=repr(found.group()),
            )
        )


@functools.lru_cache(maxsize=4096)
def _read_wildcards(text: str) -> Wildcards | None:
    """Parse the part after the plain characters into its sets and its sort key.

    Both stop at different places: matching ends at the first ``.`` or ``!``,
    comparing goes on to the end (docs/asterisk.md D2). None if a ``[`` has no ``]``.
    """
    sets: list[frozenset[str]] = []
    order: list[ElementOrder] = []
    tail: str | None = None
    empty_set_before = False
    for token in _TOKEN.findall(text):
        if token == "-":
            continue
        if token == "[":
            return None
        if token in (".", "!"):
            order.append(_DOT if token == "." else _BANG)
            if tail is None:
                # "[]" is skipped only while characters are left to match (pbx.c),
                # so "12[]!" needs one more character, as "12." does.
                tail = "." if empty_set_before else token
            continue
        key = _element_order(token)
        if key[0]:
            order.append(key)
        if tail is None:
            empty_set_before = token == "[]"
            if not empty_set_before:
                sets.append(_members(token))
    if tail is None and empty_set_before:
        sets.append(frozenset())  # likewise "12[]" never matches
    order.append(_END)
    is_missorted = any(key[0] == 1 and not _is_digit(accepted, key) for accepted, key in zip(sets, order, strict=False))
    return Wildcards(tuple(sets), tail or "", tuple(order), _run(tuple(sets), tuple(order), 0), is_missorted)


_NOTHING: Final = Wildcards((), "", (_END,), "", False)


@functools.cache
def _element_order(token: str) -> ElementOrder:
    """Sort key of one element: size, smallest character, then membership.

    At the same size and smallest character, the set that has the first character
    which only one of them has comes first: sorted code points compare just so.
    """
    if token[0] != "[" or len(token) == 1:
        members = sorted(map(ord, _CLASSES.get(token.upper(), token)))
        return len(members), members[0], tuple(members)
    members = sorted(map(ord, _members(token)))
    if not members:
        return 0, 0, ()  # as if it were not there
    return len(members), _smallest_named(token), tuple(members)


@functools.cache
def _members(token: str) -> frozenset[str]:
    if token[0] != "[" or len(token) == 1:
        return frozenset(_CLASSES.get(token.upper(), token))
    members: set[str] = set()
    for first, last in _ranges(token):
        members.update(map(chr, range(ord(first), ord(last) + 1)))
    return frozenset(members)


def _smallest_named(token: str) -> int:
    """The smallest character that opens a range, backward ranges such as 5-1 too (pbx.c's cmin)."""
    return min(ord(first) for first, _ in _ranges(token))


def _ranges(token: str) -> list[tuple[str, str]]:
    inside = token[1:-1]
    found: list[tuple[str, str]] = []
    place = 0
    while place < len(inside):
        if place + 2 < len(inside) and inside[place + 1] == "-":
            found.append((inside[place], inside[place + 2]))
            place += 3
        else:
            found.append((inside[place], inside[place]))
            place += 1
    return found
