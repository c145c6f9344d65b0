"""Finds the winning dial pattern among a million in microseconds.

The winner is the first match in Asterisk's order (patterns.Pattern.order), which
compares element by element from the left; so a tree walked best branch first meets
the winner first. Most patterns of a dial plan start with plain digits, so each level
of the tree is one dictionary from such a run of digits to what comes after it:
a longer run that fits always beats a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from pbxrouter.rules.patterns import ElementOrder, Pattern

T = TypeVar("T")


class PatternIndex(Generic[T]):
    """Index from dial patterns to their entries, looked up by dialled number.

    Args:
        entries: in configured order; of patterns equal in every element the first
            counts, as in Asterisk.

    Attributes:
        repeated: by position among the entries, each entry that is ignored because an equal pattern
            precedes it, and that earlier entry.
    """

    def __init__(self, entries: Iterable[tuple[Pattern, T]]) -> None:
        self._literals: dict[str, tuple[Pattern, T]] = {}
        self.repeated: dict[int, tuple[Pattern, T]] = {}
        items: dict[tuple[ElementOrder, ...], _Item[T]] = {}
        for place, entry in enumerate(entries):
            pattern = entry[0]
            if pattern.literal is not None:
                first = self._literals.setdefault(pattern.literal, entry)
            else:
                # Asterisk loads only the first of equal patterns, even where that one can never match.
                first = items.setdefault(pattern.order, entry)
            if first is not entry:
                self.repeated[place] = first
        in_order = [items[order] for order in sorted(items)]
        self._tree: _Level[T] = _Level([item for item in in_order if not item[0].never_matches], 0)

    def best(self, number: str) -> tuple[Pattern, T] | None:
        """Return the entry whose pattern Asterisk would choose for the number, or None."""
        number = number.replace("-", "")
        return self._literals.get(number) or self._tree.best(number, 0)


_Item = tuple[Pattern, T]


class _Level(Generic[T]):
    """A node of the tree: what patterns with a common beginning accept at the next position."""

    __slots__ = ("_lengths", "_odd", "_runs")

    def __init__(self, items: list[_Item[T]], place: int) -> None:
        """Args: items: sorted by order. place: elements already behind us."""
        runs: dict[str, list[_Item[T]]] = {}
        # A set such as [5-19] accepts only 9 but sorts as 5 (pbx.c counts where a
        # backward range starts), before the digit 9. Such oddities are compared one by one.
        self._odd: list[_Item[T]] = []
        for item in items:
            pattern = item[0]
            if pattern.is_missorted:
                self._odd.append(item)
            else:
                runs.setdefault(pattern.digits_from(place), []).append(item)
        self._runs: dict[str, _Fork[T] | _Item[T]] = {
            digits: group[0] if len(group) == 1 else _Fork(group, place + len(digits)) for digits, group in runs.items()
        }
        self._lengths = sorted({len(digits) for digits in runs}, reverse=True)

    def best(self, number: str, place: int) -> _Item[T] | None:
        found: _Item[T] | None = None
        left = len(number) - place
        for length in self._lengths:
            if length <= left:
                onward = self._runs.get(number[place : place + length])
                if onward is not None:
                    found = _follow(onward, number, place + length)
                    if found is not None:
                        break
        for item in self._odd:
            if item[0].matches(number) and (found is None or item[0].order < found[0].order):
                return item
        return found


class _Fork(Generic[T]):
    """A branch after a run of digits: wider elements in Asterisk's order, then the possible ends."""

    __slots__ = ("_branches", "_last")

    def __init__(self, items: list[_Item[T]], place: int) -> None:
        groups: dict[tuple[ElementOrder, frozenset[str]], list[_Item[T]]] = {}
        self._last: list[_Item[T]] = []
        seen_tails: set[str] = set()
        for item in items:
            pattern = item[0]
            element = pattern.element(place)
            if element is not None:
                groups.setdefault(element, []).append(item)
            elif pattern.tail not in seen_tails:  # sorted: "." before "!" before the end, the best of each first
                seen_tails.add(pattern.tail)
                self._last.append(item)
        self._branches: list[tuple[frozenset[str], _Level[T] | _Item[T]]] = [
            (accepted, group[0] if len(group) == 1 else _Level(group, place + 1))
            for (_, accepted), group in groups.items()
        ]

    def best(self, number: str, place: int) -> _Item[T] | None:
        if place < len(number):
            character = number[place]
            for accepted, onward in self._branches:
                if character in accepted:
                    found = _follow(onward, number, place + 1)
                    if found is not None:
                        return found
        for item in self._last:
            if item[0].rest.matches(number, len(item[0].head)):
                return item
        return None


def _follow(onward: _Level[T] | _Fork[T] | _Item[T], number: str, place: int) -> _Item[T] | None:
    """Descend the tree; a subtree with a single pattern is stored as that pattern itself."""
    if isinstance(onward, tuple):
        pattern = onward[0]  # its head is behind us
        return onward if pattern.rest.matches(number, len(pattern.head)) else None
    return onward.best(number, place)
