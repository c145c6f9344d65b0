"""Graphs of calls as inline SVG: drawn by pygal, without its styles, scripts and links.

The content security policy allows no inline styles, so the SVG keeps only shapes and class names;
graphs.css styles them, in light and dark. Drawing takes tens of milliseconds and runs in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree

import pygal
from markupsafe import Markup
from pygal.style import Style

from pbxrouter.counter import MINUTE_S
from pbxrouter.web.language import Translator

_SVG: Final = "http://www.w3.org/2000/svg"
_KEPT: Final = frozenset({"svg", "g", "path", "rect", "circle", "line", "polyline", "polygon", "text", "title"})
_ATTRIBUTES: Final = frozenset(
    "class d x y x1 y1 x2 y2 cx cy r rx ry width height points transform viewBox text-anchor".split()
)
_DAY_PIECE_S: Final = 15 * MINUTE_S
_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Size:
    """The units of a graph, which is as wide as its place on the page.

    Attributes:
        kind: the graph's class in the style sheet, which has the size of the text, too; ``""`` for none.
        text: height of the text. The room for the numbers on the left depends on it.
    """

    kind: str
    width: int
    height: int
    text: int


LIVE: Final = Size("live", 960, 340, 18)
"""The size of calls per minute, which scrolls in a narrow window."""
WIDE: Final = Size("wide", 960, 240, 13)
NARROW: Final = Size("narrow", 360, 210, 14)
"""The size of a graph that fits a telephone's screen; it stands beside the wide one, and one of them is shown."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a graph.

    Attributes:
        value: None if unknown, which is drawn differently from zero.
        label: text below it; empty for none.
        tooltip: shown for the bar.
    """

    value: float | None
    label: str
    tooltip: str


def calls_per_minute(
    minutes: Mapping[int, int | None], began: float, ended: float, translator: Translator, title: str, summary: str
) -> Markup:
    """Draw a bar for each minute of some hours, the current one included.

    Args:
        minutes: calls by a minute's first second; None where unknown, none where zero.
        began: epoch seconds, as ``ended``.
        title: of the graph.
        summary: the main figures in words, for screen readers.
    """
    first, last = int(began // MINUTE_S * MINUTE_S), int(ended // MINUTE_S * MINUTE_S)
    bars = []
    for minute in range(first, last + 1, MINUTE_S):
        value = minutes.get(minute, 0)
        tooltip = f"{translator.clock(minute)}: {'?' if value is None else translator.number(value)}"
        bars.append(Bar(value, translator.clock(minute) if minute % 1800 == 0 else "", tooltip))
    return draw(bars, title, summary, LIVE)


def busy_day(
    minutes: Mapping[int, int], began: float, ended: float, translator: Translator, size: Size = WIDE
) -> Markup:
    """Draw a bar for each quarter of an hour of a day: the maximum of calls in one minute."""
    label_hours = 6 if size is NARROW else 3
    pieces = _by_pieces(minutes, began, ended, _DAY_PIECE_S)
    bars = [
        Bar(
            most,
            translator.clock(start) if translator.zone.local(start).hour % label_hours == 0 and _is_hour(start) else "",
            f"{translator.clock(start)}: {translator.number(most)}",
        )
        for start, most in pieces
    ]
    title = translator.text("Peak calls per minute, by quarter of an hour")
    return draw(bars, title, _summary(minutes, translator), size)


def busy_week(
    minutes: Mapping[int, int], began: float, ended: float, translator: Translator, size: Size = WIDE
) -> Markup:
    """Draw a bar for each hour of a week: the maximum of calls in one minute."""
    pieces = _by_pieces(minutes, began, ended, _HOUR_S)
    bars = [
        Bar(
            most,
            translator.weekday(start) if _has_date(start, began, size, translator) else "",
            f"{translator.weekday(start)}, {translator.clock(start)}: {translator.number(most)}",
        )
        for start, most in pieces
    ]
    return draw(bars, translator.text("Peak calls per minute, by hour"), _summary(minutes, translator), size)


def _has_date(start: float, began: float, size: Size, translator: Translator) -> bool:
    """Whether an hour's bar has the date below it: midnight's, or where there is little room every other noon's."""
    local = translator.zone.local(start)
    if size is not NARROW:
        return local.hour == 0
    return local.hour == 12 and (local.date() - translator.zone.local(began).date()).days % 2 == 1


def _is_hour(start: float) -> bool:
    return start % _HOUR_S == 0


def _by_pieces(minutes: Mapping[int, int], began: float, ended: float, piece_s: int) -> list[tuple[int, int]]:
    most = dict.fromkeys(range(int(began), int(ended), piece_s), 0)
    for minute, calls in minutes.items():
        piece = int(began) + (minute - int(began)) // piece_s * piece_s
        if piece in most:
            most[piece] = max(most[piece], calls)
    return sorted(most.items())


def _summary(minutes: Mapping[int, int], translator: Translator) -> str:
    if not minutes:
        return translator.text("no calls")
    minute, calls = max(minutes.items(), key=lambda item: (item[1], -item[0]))
    return translator.count(
        "the busiest minute was %(when)s, with %(num)s call",
        "the busiest minute was %(when)s, with %(num)s calls",
        calls,
        when=f"{translator.weekday(minute)}, {translator.clock(minute)}",
    )


def draw(bars: Sequence[Bar], title: str, summary: str, size: Size = WIDE) -> Markup:
    """Draw bars as SVG for a page with a strict content security policy.

    Args:
        title: read by screen readers first, then ``summary``; the bars are not read.
        size: its units, and those of its text, for which pygal leaves room.
    """
    highest = max([4.0, *(bar.value for bar in bars if bar.value)])
    chart = pygal.StackedBar(
        width=size.width,
        height=size.height,
        margin=4,
        margin_top=4 + size.text // 2,
        margin_left=4 + size.text // 2,  # pygal takes digits for narrower than they are
        margin_right=8 + size.text * 2,
        spacing=6 if size.width > 600 else 2,
        explicit_size=False,
        show_legend=False,
        print_values=False,
        disable_xml_declaration=True,
        no_prefix=True,
        js=[],
        style=Style(label_font_size=size.text, major_label_font_size=size.text, font_family="inherit"),
        show_minor_x_labels=False,
        truncate_label=-1,
        range=(0, highest),
        max_scale=5,
        min_scale=1,
        rounded_bars=1,
        formatter=lambda value: f"{value:.0f}" if value == int(value) else f"{value:g}",
    )
    chart.x_labels = [f"{place}" for place in range(len(bars))]
    chart.x_labels_major = [f"{place}" for place, bar in enumerate(bars) if bar.label]
    chart.add("", [bar.value for bar in bars])
    if any(bar.value is None for bar in bars):
        chart.add("", [highest if bar.value is None else None for bar in bars])
    tree = ElementTree.fromstring(chart.render())
    return Markup(_clean(tree, bars, title, summary, size))  # all text in it goes through ElementTree


def _clean(tree: Any, bars: Sequence[Bar], title: str, summary: str, size: Size) -> str:
    """Keep only shapes, texts and classes."""
    ElementTree.register_namespace("", _SVG)
    _strip(tree)
    labels = {f"{place}": bar.label for place, bar in enumerate(bars)}
    for group in tree.iter(f"{{{_SVG}}}g"):
        names = group.get("class", "").split()
        if "axis" in names and "x" in names:
            for text in group.iter(f"{{{_SVG}}}text"):
                text.text = labels.get(text.text or "", "")
    bars_of = {"serie-0": [bar for bar in bars if bar.value is not None]}
    bars_of["serie-1"] = [bar for bar in bars if bar.value is None]
    for group in tree.iter(f"{{{_SVG}}}g"):
        for serie in bars_of.keys() & group.get("class", "").split():
            drawn = [drawn_group for drawn_group in group.iter(f"{{{_SVG}}}g") if drawn_group.get("class") == "bar"]
            for shape, bar in zip(drawn, bars_of[serie], strict=False):
                ElementTree.SubElement(shape, f"{{{_SVG}}}title").text = bar.tooltip
    tree.set("role", "img")
    tree.set("aria-label", f"{title}: {summary}")
    tree.set("class", f"graph-svg {size.kind}")
    return ElementTree.tostring(tree, encoding="unicode")


def _strip(element: Any) -> None:
    for child in list(element):
        name = str(child.tag).rpartition("}")[2]
        if name not in _KEPT or name == "title":
            element.remove(child)
        else:
            _strip(child)
    for name in list(element.attrib):
        if name not in _ATTRIBUTES:
            del element.attrib[name]
