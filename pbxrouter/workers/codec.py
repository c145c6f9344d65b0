"""Records of calls, rows of the history and sentences as plain lists, for the connection between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

from pbxrouter.agi import AGIRequest
from pbxrouter.call import CallRecord, GatewayCall, Phase
from pbxrouter.database.calls import CallRow
from pbxrouter.drivers import Outcome
from pbxrouter.rules import Decision, Verdict
from pbxrouter.rules import Mapping as Rule
from pbxrouter.security import GuessKey, Ruling
from pbxrouter.text import Sentence

_ROW: Final = tuple(field.name for field in fields(CallRow) if field.name != "call_key")
_ROW_VALUES: Final = attrgetter(*_ROW)
_CALL: Final = tuple(field.name for field in fields(GatewayCall) if field.name not in ("serial", "phase"))
_CALL_VALUES: Final = attrgetter(*_CALL)
_RECORD: Final = tuple(
    field.name for field in fields(CallRecord) if field.name not in ("request", "decision", "outcome", "note")
)
_RECORD_VALUES: Final = attrgetter(*_RECORD)
_DECISION: Final = tuple(
    field.name for field in fields(Decision) if field.name not in ("verdict", "mapping", "trace", "problem")
)
_DECISION_VALUES: Final = attrgetter(*_DECISION)


def packed_sentence(sentence: Sentence) -> list[Any]:
    """A sentence as its message and values."""
    values = {
        name: packed_sentence(value) if isinstance(value, Sentence) else value
        for name, value in sentence.values.items()
    }
    return [sentence.message, values]


def unpacked_sentence(packed: list[Any]) -> Sentence:
    """The sentence."""
    message, values = packed
    return Sentence(
        message,
        {name: unpacked_sentence(value) if isinstance(value, list) else value for name, value in values.items()},
    )


def packed_request(request: AGIRequest) -> Mapping[str, str]:
    """What a call's opening block says, but for the arguments: they may have the secret."""
    return request.variables


def packed_record(record: CallRecord) -> list[Any]:
    """The record of a finished call; of its decision what is kept of calls that are over."""
    decision, outcome = record.decision, record.outcome
    return [
        packed_request(record.request),
        None if decision is None else _packed_decision(decision),
        (outcome.status, outcome.cause, outcome.answered_s, outcome.hang_up),
        None if record.note is None else packed_sentence(record.note),
        *_RECORD_VALUES(record),
    ]


def unpacked_record(packed: list[Any]) -> CallRecord:
    """The record of a finished call."""
    variables, decision, outcome, note, *rest = packed
    return CallRecord(
        AGIRequest(variables),
        None if decision is None else _unpacked_decision(decision),
        Outcome(*outcome),
        note=None if note is None else unpacked_sentence(note),
        **dict(zip(_RECORD, rest, strict=True)),
    )


def _packed_decision(decision: Decision) -> list[Any]:
    rule = decision.mapping
    return [
        decision.verdict.value,
        None if rule is None else (rule.map_id, rule.pattern, rule.application, rule.data),
        [packed_sentence(step) for step in decision.trace],
        *_DECISION_VALUES(decision),
    ]


def _unpacked_decision(packed: list[Any]) -> Decision:
    verdict, rule, trace, *rest = packed
    return Decision(
        verdict=Verdict(verdict),
        mapping=None if rule is None else Rule(*rule),
        trace=tuple(unpacked_sentence(step) for step in trace),
        **dict(zip(_DECISION, rest, strict=True)),
    )


def packed_row(row: CallRow) -> list[Any]:
    """A row of the history, with its key."""
    return [row.call_key, *_ROW_VALUES(row)]


def unpacked_row(packed: list[Any]) -> CallRow:
    """The row of the history."""
    return CallRow(*packed[1:], call_key=packed[0])


def packed_call(call: GatewayCall) -> list[Any]:
    """A call in progress, with its number in the process that serves it."""
    return [call.serial, call.phase.value, *_CALL_VALUES(call)]


def update_call(call: GatewayCall, packed: list[Any]) -> None:
    """Give a call in progress the values of another process."""
    call.phase = Phase(packed[1])
    for name, value in zip(_CALL, packed[2:], strict=True):
        setattr(call, name, value)


def packed_ruling(ruling: Ruling) -> list[Any]:
    """Whether a PIN is checked."""
    return [
        _packed_key(ruling.locked_by),
        ruling.locked_until,
        ruling.delay_s,
        _packed_key(ruling.alarmed),
        ruling.excess,
    ]


def unpacked_ruling(packed: list[Any]) -> Ruling:
    """Whether a PIN is checked."""
    locked_by, locked_until, delay_s, alarmed, excess = packed
    return Ruling(_unpacked_key(locked_by), locked_until, delay_s, _unpacked_key(alarmed), excess)


def _packed_key(key: GuessKey | None) -> list[str] | None:
    return None if key is None else [key.scope, key.name]


def _unpacked_key(packed: list[str] | None) -> GuessKey | None:
    return None if packed is None else GuessKey(*packed)
