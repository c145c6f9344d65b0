"""Opening hours: what can be written, when it is open, when it opens next."""

from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.click_to_dial.hours import (
    DAY_MIN,
    DAYS,
    Hours,
    Span,
)
from pbxrouter.errors import EditRefused

OFFICE = Hours.parse("mon-fri 09:00-14:00 16:00-19:00, sat 10:00-14:00")
BAR = Hours.parse("fri-sat 22:00-02:30")

spans = st.builds(
    Span,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.lists(
        st.tuples(st.integers(0, DAY_MIN - 1), st.integers(1, DAY_MIN - 1)).map(
            lambda pair: (pair[0], pair[0] + pair[1])
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
)
moments = st.datetimes(datetime.datetime(2026, 1, 1), datetime.datetime(2027, 1, 1))


def at(text: str) -> datetime.datetime:
    """A time on a day of November 2026; the 23rd is a Monday."""
    return datetime.datetime.fromisoformat(f"2026-11-{text}")


class ParseTests(SynchronousTestCase):
    """What opening hours may be written."""

    def test_kept_in_english(self) -> None:
        """Each way of writing the same hours is stored as the same text."""
        for written, kept in (
            ("", ""),
            (" , ", ""),
            ("mon-fri 09:00-18:00, sat 10:00-14:00", "mon-fri 09:00-18:00, sat 10:00-14:00"),
            ("lun-vie 9-18; sáb 10:00-14:00", "mon-fri 09:00-18:00, sat 10:00-14:00"),
            ("Lunes a viernes 9:00 a 18:00", "mon-fri 09:00-18:00"),
            ("Monday to Friday 9.00 to 18.00", "mon-fri 09:00-18:00"),
            ("MIÉRCOLES 09:00 \u2013 14:00", "wed 09:00-14:00"),
            ("mie. 8h-9h", "wed 08:00-09:00"),
            ("09:00-18:00", "mon-sun 09:00-18:00"),
            ("mon, wed, fri 9-14, 16-19", "mon wed fri 09:00-14:00 16:00-19:00"),
            ("sat-mon 9-10", "mon sat-sun 09:00-10:00"),
            ("dom 0:00-24:00", "sun 00:00-24:00"),
            ("fri 22:00-02:00", "fri 22:00-02:00"),
            ("fri 22:00-00:00", "fri 22:00-24:00"),
            ("9-10 mon 11-12", "mon-sun 09:00-10:00, mon 11:00-12:00"),
        ):
            self.assertEqual(Hours.parse(written).text, kept, written)
            self.assertEqual(Hours.parse(kept).text, kept)

    def test_refused(self) -> None:
        """The error names what is wrong and what is accepted, and can be translated."""
        for written, wrong, accepted in (
            ("mon-fri", "mon-fri", "09:00-18:00"),
            ("mon 9-10, tue", "tue", "times are missing"),
            ("noday 9-10", "noday", "mon tue wed"),
            ("mo 9-10", "mo", "mon tue wed"),
            ("mon-funday 9-10", "mon-funday", "mon tue wed"),
            ("mon 25:00-26:00", "25:00-26:00", "22:00-02:00"),
            ("mon 24:00-25:00", "24:00-25:00", "22:00-02:00"),
            ("mon 9:60-10:00", "9:60-10:00", "22:00-02:00"),
            ("mon 9:00", "9:00", "22:00-02:00"),
            ("mon 09:00-09:00", "09:00-09:00", "00:00-24:00"),
            ("mon \u0669-\u0661\u0660", "\u0669", "09:00-18:00"),
            ("<b> 9-10", "<b>", "mon tue wed"),
            ("x" * 201, "200", "at most"),
        ):
            error = self.assertRaises(EditRefused, Hours.parse, written)
            self.assertIn(wrong, str(error))
            self.assertIn(accepted, str(error))
            self.assertEqual(error.field, "hours")
            self.assertNotEqual(error.sentence.message, "{text}")

    @given(st.lists(spans, max_size=4).map(tuple))
    def test_kept_and_read_again(self, found: tuple[Span, ...]) -> None:
        """Stored hours are parsed to the same hours."""
        hours = Hours(found)
        if len(hours.text) <= 200:
            self.assertEqual(Hours.parse(hours.text), hours)

    @given(st.text(max_size=60))
    def test_anything(self, text: str) -> None:
        """Any text is parsed, or refused with a message."""
        try:
            Hours.parse(text)
        except EditRefused as error:
            self.assertTrue(str(error).isprintable())


class OpenTests(SynchronousTestCase):
    """When hours are open."""

    def test_always(self) -> None:
        """Without hours it is always open."""
        self.assertTrue(Hours.parse("").is_open(at("23T03:00")))
        self.assertEqual(Hours.parse("").next_opening(at("23T03:00")), at("23T03:00"))

    def test_office(self) -> None:
        """Office hours include their first minute and exclude the minute in which they end."""
        for moment, is_open in (
            *(("23T08:59:59", False), ("23T09:00", True), ("23T13:59:59", True), ("23T14:00", False)),
            *(("27T18:59", True), ("28T16:30", False), ("28T10:00", True), ("29T11:00", False)),
        ):
            self.assertEqual(OFFICE.is_open(at(moment)), is_open, moment)

    def test_past_midnight(self) -> None:
        """Hours past midnight belong to the day on which they begin."""
        for moment, is_open in (
            *(("27T21:59", False), ("27T22:00", True), ("28T02:29", True), ("28T02:30", False)),
            *(("28T23:59", True), ("29T00:00", True), ("29T22:00", False), ("27T01:00", False)),
        ):
            self.assertEqual(BAR.is_open(at(moment)), is_open, moment)

    def test_sunday_to_monday(self) -> None:
        """Hours of Sunday may end on Monday."""
        hours = Hours.parse("sun 23:00-01:00")
        self.assertTrue(hours.is_open(at("23T00:30")))
        self.assertFalse(hours.is_open(at("23T01:00")))

    def test_next_opening(self) -> None:
        """The next opening is on the same day, the next one, after the weekend, or a week later."""
        for moment, opening in (
            ("23T03:00", "23T09:00"),
            ("23T14:00", "23T16:00"),
            ("23T19:00", "24T09:00"),
            ("28T14:00", "30T09:00"),
            ("23T10:30", "23T10:30"),
        ):
            self.assertEqual(OFFICE.next_opening(at(moment)), at(opening))
        self.assertEqual(Hours.parse("mon 9-10").next_opening(at("23T10:00")), at("30T09:00"))

    def test_with_an_offset(self) -> None:
        """A time with an offset counts by its wall clock."""
        moment = at("23T08:00").replace(tzinfo=datetime.timezone(datetime.timedelta(hours=5)))
        self.assertEqual(OFFICE.next_opening(moment), at("23T09:00"))

    @given(st.lists(spans, min_size=1, max_size=3).map(tuple), moments)
    def test_opens_when_it_says(self, found: tuple[Span, ...], moment: datetime.datetime) -> None:
        """Hours are open at their next opening, which is within a week, and closed until then."""
        hours = Hours(found)
        opening = hours.next_opening(moment)
        self.assertTrue(hours.is_open(opening))
        self.assertLessEqual(opening - moment, datetime.timedelta(days=7))
        if opening > moment:
            self.assertFalse(hours.is_open(opening - datetime.timedelta(seconds=1)))


class ShowTests(SynchronousTestCase):
    """The values that pages show."""

    def test_runs_and_clocks(self) -> None:
        """Pages get values from which they make sentences in their language."""
        (span,) = Hours.parse("mon wed-fri 9-14 22-2").spans
        self.assertEqual(span.runs, ((0, 0), (2, 4)))
        self.assertEqual(span.clocks, (("09:00", "14:00"), ("22:00", "02:00")))
        self.assertEqual(DAYS[at("23T00:00").weekday()].english, "Monday")
