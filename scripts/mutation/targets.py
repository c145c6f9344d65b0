"""What is mutated, and which tests must notice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent.parent


class Target(NamedTuple):
    """A part of the core: its modules, and the tests that are related beside those of its own folder.

    Names are paths without `.py`, below pbxrouter/ and tests/; a folder stands for all in it, and what
    does not exist is passed over.
    """

    modules: str
    tests: str


TARGETS: Final = {
    "agi": Target(
        "agi verbs agi_commands agi_reader channel prompts watch",
        "agi fastagi/test_protocol magi/test_channel call/test_flow test_agi test_agi_commands "
        "test_agi_reader test_channel test_verbs test_prompts test_watch test_fastagi test_magi_channel "
        "test_callflow",
    ),
    "fastagi": Target(
        "fastagi fastagi_factory refusal sender",
        "fastagi agi/test_channel gateway/test_service test_fastagi test_fastagi_factory test_refusal "
        "test_sender test_channel test_service",
    ),
    "ami": Target(
        "ami manager manager_once manager_service manager_watchdog heartbeat",
        "ami magi/test_service gateway/test_asterisk test_ami test_manager test_manager_once "
        "test_manager_service test_heartbeat test_magi test_asterisk_service test_library",
    ),
    "magi": Target(
        "magi magi_channel magi_waiting magi_wire",
        "magi agi/test_channel test_magi test_magi_channel test_magi_wire test_channel",
    ),
    "rules": Target(
        "rules patterns pattern_index engine explained shadows rule_warnings rule_survey",
        "rules call/test_flow database/rules database/test_store test_rules test_patterns test_pattern_index "
        "test_engine test_explained test_shadows test_rule_warnings test_rule_survey test_callflow",
    ),
    "call": Target(
        "call callflow call_record reports live history outcomes",
        "call gateway/test_service database/calls test_callflow test_reports test_live test_history "
        "test_outcomes test_service test_database_history",
    ),
    "drivers": Target("drivers library", "drivers test_library call/test_flow test_drivers test_callflow"),
    "counter": Target(
        "counter calls counting counter_clock counter_rows counter_writer counter_service counter_report "
        "live_calls",
        "counter call/test_active_calls test_counter test_counting test_calls test_live",
    ),
    "database": Target(
        "database store",
        "database rules/test_engine security/test_tokens counter/test_service test_database "
        "test_database_audit test_database_console_users test_database_dial_links test_database_edits "
        "test_database_history test_database_rule_lists test_database_rule_names test_store test_tokens "
        "test_counting test_counter test_rules",
    ),
}


def modules(target: Target) -> list[Path]:
    """The modules to mutate, as paths below the root."""
    return [path for path in _files("pbxrouter", target.modules) if path.name != "__main__.py"]


def tests(target: Target) -> list[str]:
    """The related test modules, as dotted names, in the order of the table."""
    return [dotted(path) for path in _files("tests", target.tests) if path.name.startswith("test_")]


def dotted(path: Path) -> str:
    """A file's name for import."""
    return ".".join(path.with_suffix("").parts)


def mirrors(module: Path) -> tuple[str, ...]:
    """The names that a module's own test module may have."""
    parts = list(module.with_suffix("").parts[1:])
    if parts[-1] == "__init__":
        parts.pop()
    nested = ".".join(["tests", *parts[:-1], f"test_{parts[-1]}"])
    return nested, f"tests.test_{'_'.join(parts)}", f"tests.test_{parts[0]}"


def _files(top: str, names: str) -> Iterator[Path]:
    found: dict[Path, None] = {}
    for name in names.split():
        path = ROOT / top / name
        if path.is_dir():
            found.update(dict.fromkeys(sorted(path.rglob("*.py"))))
        elif path.with_suffix(".py").is_file():
            found[path.with_suffix(".py")] = None
    for path in found:
        yield path.relative_to(ROOT)
