"""Opening hours, such as ``mon-fri 09:00-18:00, sat 10:00-14:00``.

Days, then times, repeated; blanks and commas separate. Times without days apply to every day, an
empty text means always open, and a span that ends before it begins goes on past midnight. English
and Spanish names of days are accepted; English is stored. All times are
the caller's wall clock.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from pbxrouter.errors import EditRefused
from pbxrouter.text import Sentence, sentence

MAX_LENGTH: Final = 200
"""Maximum length of the text."""
DAY_MIN: Final = 24 * 60
"""Minutes of a day."""

DAYS: Final = (
    sentence("Monday"),
    sentence("Tuesday"),
    sentence("Wednesday"),
    sentence("Thursday"),
    sentence("Friday"),
    sentence("Saturday"),
    sentence("Sunday"),
)
"""The days of the week, for showing; 0 is Monday."""

_SHORT: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG: Final = (
    ("monday", "lunes"),
    ("tuesday", "martes"),
    ("wednesday", "miercoles"),
    ("thursday", "jueves"),
    ("friday", "viernes"),
    ("saturday", "sabado"),
    ("sunday", "domingo"),
)
_TO: Final = re.compile(r"\s*[-\u2010-\u2015]\s*|(?<=\S)\s+(?:to|a)\s+(?=\S)")
_SEPARATORS: Final = re.compile(r"[\s,;]+")
_TIMES: Final = re.compile(r"([0-9]{1,2})(?:[:.]([0-9]{2}))?h?-([0-9]{1,2})(?:[:.]([0-9]{2}))?h?", re.ASCII)
_EXAMPLE: Final = "mon-fri 09:00-18:00, sat 10:00-14:00"


@dataclass(frozen=True, slots=True)
class Span:
    """The same times on one or more days.

    Attributes:
        days: 0 is Monday.
        times: from and until, in minutes since midnight; until may be past ``DAY_MIN``.
    """

    days: frozenset[int]
    times: tuple[tuple[int, int], ...]

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """The days as runs, first and last of each."""
        found = [
            [day for _, day in run] for _, run in groupby(enumerate(sorted(self.days)), lambda pair: pair[1] - pair[0])
        ]
        return tuple((run[0], run[-1]) for run in found)

    @property
    def clocks(self) -> tuple[tuple[str, str], ...]:
        """The times as people read them: ``(("09:00", "18:00"),)``."""
        return tuple((_clock(begin), _clock(end)) for begin, end in self.times)

    @property
    def text(self) -> str:
        """The span in its stored form."""
        days = " ".join(
            _SHORT[first] if first == last else f"{_SHORT[first]}-{_SHORT[last]}" for first, last in self.runs
        )
        return " ".join([days, *(f"{begin}-{end}" for begin, end in self.clocks)])


@dataclass(frozen=True, slots=True)
class Hours:
    """Opening hours; without spans: always open."""

    spans: tuple[Span, ...] = ()

    @classmethod
    def parse(cls, text: str, field: str = "hours") -> Hours:
        """Parse opening hours.

        Raises:
            EditRefused: it cannot be read; the line names what, and what is accepted.
        """
        too_long = EditRefused(sentence("opening hours have at most {most} characters", most=MAX_LENGTH), field)
        if len(text) > MAX_LENGTH:
            raise too_long
        try:
            hours = cls(tuple(_spans([part for part in _SEPARATORS.split(_plain(text)) if part])))
        except _Unreadable as error:
            raise EditRefused(error.args[0], field) from None
        if len(hours.text) > MAX_LENGTH:  # it is stored in this form, and read again
            raise too_long
        return hours

    @property
    def text(self) -> str:
        """The hours in their stored form; ``""`` means always."""
        return ", ".join(span.text for span in self.spans)

    def is_open(self, local: datetime.datetime) -> bool:
        """Whether the hours are open at a wall clock time."""
        today, minute = local.weekday(), local.hour * 60 + local.minute
        yesterday = (today - 1) % 7
        return not self.spans or any(
            (today in span.days and begin <= minute < end) or (yesterday in span.days and minute + DAY_MIN < end)
            for span in self.spans
            for begin, end in span.times
        )

    def next_opening(self, local: datetime.datetime) -> datetime.datetime:
        """The wall clock time of the next opening, without an offset; ``local`` itself if open then."""
        now = local.replace(tzinfo=None)
        if self.is_open(now):
            return now
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return min(
            opening
            for ahead in range(8)
            for span in self.spans
            if (now.weekday() + ahead) % 7 in span.days
            for begin, _ in span.times
            if (opening := midnight + datetime.timedelta(days=ahead, minutes=begin)) > now
        )


class _Unreadable(Exception):
    """The text cannot be parsed; its argument is the reason, a Sentence."""


def _plain(text: str) -> str:
    """Normalise: lower case, no accents, and a plain dash for every way to write "until"."""
    bare = "".join(
        character for character in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(character)
    )
    return _TO.sub("-", bare)


def _spans(parts: list[str]) -> list[Span]:
    spans: list[Span] = []
    days: set[int] = set()
    times: list[tuple[int, int]] = []
    for part in parts:
        if part[0].isdigit():
            times.append(_times(part))
            continue
        if times:
            spans.append(Span(frozenset(days or range(7)), tuple(times)))
            days, times = set(), []
        days |= _days(part)
    if days and not times:
        raise _Unreadable(
            sentence(
                "{part}: its times are missing; enter hours such as {example}",
                part=parts[-1],
                example=_EXAMPLE,
            )
        )
    if times:
        spans.append(Span(frozenset(days or range(7)), tuple(times)))
    return spans


def _days(part: str) -> set[int]:
    first, dash, last = part.partition("-")
    begin = _day(first, part)
    end = _day(last, part) if dash else begin
    return {(begin + count) % 7 for count in range((end - begin) % 7 + 1)}


def _day(name: str, part: str) -> int:
    bare = name.rstrip(".")
    for day, names in enumerate(_LONG):
        if len(bare) >= 3 and any(name.startswith(bare) for name in names):
            return day
    raise _Unreadable(
        sentence(
            "{part}: there is no such day; accepted are mon tue wed thu fri sat sun, as in {example}",
            part=part,
            example=_EXAMPLE,
        )
    )


def _times(part: str) -> tuple[int, int]:
    found = _TIMES.fullmatch(part)
    if found is None:
        raise _Unreadable(_no_times(part))
    begin = int(found[1]) * 60 + int(found[2] or 0)
    end = int(found[3]) * 60 + int(found[4] or 0)
    if int(found[2] or 0) > 59 or int(found[4] or 0) > 59 or begin >= DAY_MIN or end > DAY_MIN:
        raise _Unreadable(_no_times(part))
    if begin == end:
        raise _Unreadable(sentence("{part}: this period is empty; the whole day is 00:00-24:00", part=part))
    return begin, end if end > begin else end + DAY_MIN


def _no_times(part: str) -> Sentence:
    return sentence(
        "{part}: these are not times of day; enter them as 09:00-18:00, or 22:00-02:00 past midnight",
        part=part,
    )


def _clock(minute: int) -> str:
    # 24:00 rather than 00:00 where a day ends; past it, the next day's clock.
    shown = minute if minute <= DAY_MIN else minute - DAY_MIN
    return f"{shown // 60:02}:{shown % 60:02}"
