#!/usr/bin/env python3
"""Write contrib/cacti/pbxrouter_calls.xml: Cacti's templates for what `pbxrouter counter` prints.

    python scripts/cacti_templates.py          # writes the file
    python scripts/cacti_templates.py --check  # fails if the file is not what this would write

Cacti makes an RRD file when it first stores a data source, with those fields alone that a graph uses by then, and later
an update that has any other field stores nothing at all. So each graph here has a data template of its own and uses all
fields of it: no order in which graphs are made, and none that is left out, loses anything.

Hashes name things for good: an import of a newer file changes what an older one has made.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

FILE = Path(__file__).resolve().parent.parent / "contrib/cacti/pbxrouter_calls.xml"

# Cacti 1.2.3 and newer read this version of the format.
VERSION = "0102"
GRAPH_TEMPLATE, DATA_TEMPLATE, HOST_TEMPLATE, DATA_INPUT = "00", "01", "02", "03"
GPRINT_PRESET, INPUT_FIELD, DATA_ITEM, GRAPH_ITEM = "06", "07", "08", "10"

LINE1, LINE2, AREA, STACK, GPRINT = 4, 5, 7, 8, 9
AVERAGE, MAX, LAST = 1, 3, 4
GAUGE = 1

COMMAND = (
    "sudo -n -u pbxrouter /opt/pbxrouter/bin/pbxrouter counter"
    " --minutes <minutes> --asterisk <asterisk> --config <config>"
)
INPUTS = (
    ("minutes", "Minutes between two polls", "5", ""),
    ("asterisk", "Name of the [[asterisk]]; of the device", "", "external_id"),
    ("config", "Settings of pbxrouter", "/etc/pbxrouter/pbxrouter.toml", ""),
)
"""What the command takes: name, title, default, and the field of the device that gives it, if any."""


@dataclass(frozen=True)
class Field:
    """A field of the command's output, and how its graph draws it.

    Attributes:
        name: as the command prints it.
        drawn: how: LINE1, LINE2, AREA or STACK.
        color: RRGGBB.
    """

    name: str
    title: str
    drawn: int
    color: str


@dataclass(frozen=True)
class Graph:
    """A graph template with its data template; both have the same name."""

    name: str
    unit: str
    fields: tuple[Field, ...]


REASON_GRAPH = "Failed calls"
"""The graph whose fields are the reasons why calls failed."""
GRAPHS = (
    Graph(
        "Calls",
        "calls a poll",
        (
            Field("calls", "Began", AREA, "B5CFE8"),
            Field("answered", "Answered", LINE2, "2E7D32"),
            Field("finished", "Ended", LINE1, "1F4E79"),
            Field("failed", "Failed", LINE2, "C62828"),
            Field("served", "Served (voicemail, prompt)", LINE1, "8E6C00"),
        ),
    ),
    Graph(
        "Calls in progress",
        "calls",
        (
            Field("peak", "At most", AREA, "B5CFE8"),
            Field("active", "In progress", LINE2, "1F4E79"),
        ),
    ),
    Graph("Talk", "seconds a poll", (Field("talk", "Talked, of the calls that ended", AREA, "7CB37F"),)),
    Graph(
        REASON_GRAPH,
        "calls a poll",
        (
            Field("busy", "Busy", AREA, "E6A23C"),
            Field("noanswer", "No answer", STACK, "F5D76E"),
            Field("cancelled", "Caller gave up", STACK, "B0BEC5"),
            Field("rejected", "Rejected", STACK, "D98880"),
            Field("unavailable", "Callee unavailable", STACK, "AF7AC5"),
            Field("unallocated", "Number does not exist", STACK, "7FB3D5"),
            Field("congestion", "No free line", STACK, "C0392B"),
            Field("denied", "Not allowed", STACK, "34495E"),
            Field("invalid", "No pattern matches", STACK, "76D7C4"),
            Field("refused", "Forged", STACK, "000000"),
            Field("gateway", "Error in the gateway", STACK, "FF0000"),
            Field("unknown", "End not observed", STACK, "9E9E9E"),
            Field("other", "Other", STACK, "6D4C41"),
        ),
    ),
    Graph("Time not counted", "seconds a poll", (Field("unseen", "Not counted", AREA, "9E9E9E"),)),
)
PRESET = "pbxrouter - Whole numbers"
LEGEND = (("Now", LAST), ("Average", AVERAGE), ("Maximum", MAX))

GRAPH_SETTINGS = {
    "title": "",
    "vertical_label": "",
    "image_format_id": 1,
    "height": 200,
    "width": 700,
    "base_value": 1000,
    "slope_mode": "",
    "auto_scale": "on",
    "auto_scale_opts": 2,
    "auto_scale_log": "",
    "scale_log_units": "",
    "auto_scale_rigid": "",
    "upper_limit": 100,
    "lower_limit": 0,
    "unit_value": "",
    "unit_exponent_value": "",
    "unit_length": "",
    "no_gridfit": "",
    "alt_y_grid": "",
    "right_axis": "",
    "right_axis_label": "",
    "right_axis_format": 0,
    "right_axis_formatter": 0,
    "left_axis_formatter": 0,
    "auto_padding": "on",
    "dynamic_labels": "",
    "force_rules_legend": "",
    "tab_width": 40,
    "legend_position": 0,
    "legend_direction": 0,
}

Element = tuple[str, object]
"""A name, and its text or the elements in it."""


def tag(kind: str, *names: str) -> str:
    """The element of a thing: its kind, the version of the format, and its hash."""
    return f"hash_{kind}{VERSION}{hashlib.md5('/'.join(('pbxrouter', kind, *names)).encode()).hexdigest()}"


def items(names: dict[str, object]) -> list[Element]:
    """Elements of names and values."""
    return list(names.items())


def data_input() -> Element:
    """The data input method: the command, what it takes and what it prints."""
    fields: list[Element] = [
        (
            tag(INPUT_FIELD, name),
            [
                ("name", title),
                ("update_rra", "" if direction == "in" else "on"),
                ("regexp_match", ""),
                ("allow_nulls", ""),
                ("type_code", of_device),
                ("input_output", direction),
                ("data_name", name),
            ],
        )
        for direction, name, title, of_device in (
            *(("in", name, title, of_device) for name, title, _, of_device in INPUTS),
            *(("out", field.name, f"{graph.name}: {field.title}", "") for graph in GRAPHS for field in graph.fields),
        )
    ]
    return tag(DATA_INPUT), [
        ("name", "pbxrouter - Counter"),
        ("type_id", 1),
        ("input_string", COMMAND),
        ("fields", fields),
    ]


def data_template(graph: Graph) -> Element:
    """The data template of a graph. On import Cacti sets step and heartbeat as the profile that is chosen has them."""

    def item(field: Field) -> Element:
        settings: dict[str, object] = {
            "data_source_name": field.name,
            "rrd_minimum": 0,
            "rrd_maximum": "U",
            "data_source_type_id": GAUGE,
            "rrd_heartbeat": 600,
            "data_input_field_id": tag(INPUT_FIELD, field.name),
        }
        both = [pair for name, value in settings.items() for pair in ((f"t_{name}", ""), (name, value))]
        return tag(DATA_ITEM, field.name), both

    return tag(DATA_TEMPLATE, graph.name), [
        ("name", f"pbxrouter - {graph.name}"),
        (
            "ds",
            [
                ("t_name", ""),
                ("name", f"|host_description| - {graph.name}"),
                ("data_source_path", ""),
                ("data_input_id", tag(DATA_INPUT)),
                ("t_data_source_profile_id", ""),
                ("data_source_profile_id", 1),
                ("t_rrd_step", ""),
                ("rrd_step", 300),
                ("t_active", ""),
                ("active", "on"),
            ],
        ),
        ("items", [item(field) for field in graph.fields]),
        (
            "data",
            [
                (
                    f"item_{place:03}",
                    [
                        ("data_input_field_id", tag(INPUT_FIELD, name)),
                        ("t_value", "" if of_device else "on"),
                        ("value", value),
                    ],
                )
                for place, (name, _, value, of_device) in enumerate(INPUTS)
            ],
        ),
    ]


def graph_items(graph: Graph) -> Iterator[Element]:
    """Each field's line or area, and its figures in the legend."""
    place = 0

    def item(field: Field, part: str, **settings: object) -> Element:
        nonlocal place
        place += 1
        shown: dict[str, object] = {
            "graph_type_id": GPRINT,
            "task_item_id": tag(DATA_ITEM, field.name),
            "color_id": 0,
            "alpha": "FF",
            "consolidation_function_id": AVERAGE,
            "cdef_id": 0,
            "vdef_id": 0,
            "shift": "",
            "value": "",
            "gprint_id": tag(GPRINT_PRESET),
            "textalign": "",
            "text_format": "",
            "hard_return": "",
            "line_width": "0.00",
            "dashes": "",
            "dash_offset": 0,
            "sequence": place,
        }
        return tag(GRAPH_ITEM, field.name, part), items(shown | settings)

    for field in graph.fields:
        width = {LINE1: "1.00", LINE2: "2.00"}.get(field.drawn, "0.00")
        yield item(
            field,
            "drawn",
            graph_type_id=field.drawn,
            color_id=field.color,
            line_width=width,
            text_format=field.title,
        )
        for title, function in LEGEND:
            is_last = (title, function) == LEGEND[-1]
            yield item(
                field,
                title,
                consolidation_function_id=function,
                text_format=f"{title}:",
                hard_return="on" if is_last else "",
            )


def graph_template(graph: Graph) -> Element:
    """The graph template."""
    settings = GRAPH_SETTINGS | {
        "title": f"|host_description| - {graph.name}",
        "vertical_label": graph.unit,
    }
    both = [pair for name, value in settings.items() for pair in ((f"t_{name}", ""), (name, value))]
    return tag(GRAPH_TEMPLATE, graph.name), [
        ("name", f"pbxrouter - {graph.name}"),
        ("multiple", ""),
        ("test_source", ""),
        ("graph", both),
        ("items", list(graph_items(graph))),
        ("inputs", ""),
    ]


def host_template() -> Element:
    """The device template: all graphs."""
    return tag(HOST_TEMPLATE), [
        ("name", "pbxrouter"),
        ("class", "application"),
        ("graph_templates", "|".join(tag(GRAPH_TEMPLATE, graph.name) for graph in GRAPHS)),
        ("data_queries", ""),
    ]


def preset() -> Element:
    """The format of numbers in legends: averages are no whole numbers."""
    return tag(GPRINT_PRESET), [("name", PRESET), ("gprint_text", "%8.1lf")]


def written(elements: Iterable[Element], depth: int) -> Iterator[str]:
    """The lines of elements."""
    indent = "\t" * depth
    for name, value in elements:
        if isinstance(value, list):
            yield f"{indent}<{name}>"
            yield from written(value, depth + 1)
            yield f"{indent}</{name}>"
        else:
            yield f"{indent}<{name}>{escape(str(value))}</{name}>"


def document() -> str:
    """The whole file."""
    elements = [
        host_template(),
        *map(graph_template, GRAPHS),
        *map(data_template, GRAPHS),
        data_input(),
        preset(),
    ]
    return "\n".join(written([("cacti", elements)], 0)) + "\n"


def main() -> int:
    """Write the file, or compare it."""
    if sys.argv[1:] == ["--check"]:
        if FILE.read_text(encoding="utf-8") != document():
            print(f"{FILE.name} is not up to date; run {Path(__file__).name}", file=sys.stderr)
            return 1
    elif sys.argv[1:]:
        print("accepted is --check", file=sys.stderr)
        return 2
    else:
        FILE.write_text(document(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
