"""Parses requests strictly: what is not exactly as declared is refused, and the error names it."""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect
from twisted.web.iweb import IRequest

from pbxrouter.text import printable
from pbxrouter.web.api.endpoint import FORM, JSON, MAX_ID, ApiError, Endpoint
from pbxrouter.web.http.site import header

MAX_FIELDS: Final = 50
_WHOLE: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_SHOWN: Final = 60
"""Maximum characters of the input repeated in an error."""


def read_numbers(endpoint: Endpoint, found: dict[str, str]) -> dict[str, int]:
    """Parse the ids in a path.

    Raises:
        ApiError: one of them is not an id.
    """
    numbers = {}
    for name in endpoint.numbers:
        text = found[name]
        number = int(text) if _WHOLE.fullmatch(text) else 0
        if not 1 <= number <= MAX_ID:
            raise ApiError(400, f"{name}: accepted is a whole number from 1, not {_quoted(text)}", name)
        numbers[name] = number
    return numbers


def read_query(endpoint: Endpoint, request: IRequest) -> Any:
    """Parse the query; None if the endpoint takes none.

    Raises:
        ApiError: it is not as declared.
    """
    uri: bytes = request.uri
    raw = uri.partition(b"?")[2].decode("latin-1")
    pairs = _pairs(raw, "the query")
    kinds: dict[str, inspect.Type] = {}
    if endpoint.query is not None:
        information = inspect.type_info(endpoint.query)
        assert isinstance(information, inspect.StructType)
        kinds = {field.encode_name: _simple(field.type) for field in information.fields}
    values = {name: _value(name, text, kinds.get(name)) for name, text in _once(pairs, kinds)}
    return None if endpoint.query is None else _convert(values, endpoint.query)


def read_body(endpoint: Endpoint, request: IRequest) -> Any:
    """Parse the body; None if the endpoint takes none.

    Raises:
        ApiError: it is too long, of another content type, or not as declared.
    """
    if endpoint.body is None:
        return None
    content: Any = request.content
    body: bytes = content.read(endpoint.longest + 1)
    if len(body) > endpoint.longest:
        raise ApiError(413, f"the body may have {endpoint.longest} bytes")
    kind = header(request, "Content-Type").partition(";")[0].strip().lower()
    if kind not in endpoint.kinds:
        raise ApiError(415, f"accepted is a body that is {' or '.join(endpoint.kinds)}")
    if kind == FORM:
        return _form(body, endpoint.body)
    try:
        value = msgspec.json.decode(body)
        json.loads(body, object_pairs_hook=_no_repeats)
        value = _whole(value)
    except (ValueError, RecursionError, msgspec.DecodeError) as error:
        raise ApiError(400, f"the body cannot be read as {JSON}: {printable(str(error))}") from None
    return _convert(value, endpoint.body)


def given(change: msgspec.Struct) -> dict[str, Any]:
    """The fields of a change that the request contains; those left out are UNSET."""
    return {name: value for name, value in msgspec.structs.asdict(change).items() if value is not msgspec.UNSET}


def _whole(value: Any) -> Any:
    """Convert 5.0 to 5, which JSON Schema accepts as an integer, too."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items()}
    return value


def _form(body: bytes, struct: type[msgspec.Struct]) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise ApiError(400, "the body cannot be read: it is not UTF-8") from None
    return _convert(dict(_once(_pairs(text, "the body"), _fields(struct))), struct)


def _fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def _pairs(text: str, what: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise ApiError(400, f"{what} cannot be read: accepted is name=value, with & between") from None


def _once(pairs: list[tuple[str, str]], accepted: dict[str, Any]) -> list[tuple[str, str]]:
    """Check that each name is accepted and occurs once."""
    seen = set()
    for name, _ in pairs:
        if name not in accepted:
            raise ApiError(400, f"there is no field {_quoted(name)} here; {_names(accepted)}", name[:_SHOWN])
        if name in seen:
            raise ApiError(400, f"{name}: accepted is one value, not several", name)
        seen.add(name)
    return pairs


def _names(accepted: dict[str, Any]) -> str:
    return f"accepted are {', '.join(accepted)}" if accepted else "none is accepted"


def _simple(kind: inspect.Type) -> inspect.Type:
    """A field's type without None."""
    if isinstance(kind, inspect.UnionType):
        return _simple(next(choice for choice in kind.types if not isinstance(choice, inspect.NoneType)))
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _value(name: str, text: str, kind: inspect.Type | None) -> Any:
    """Convert a query value to its field's type; bounds are checked later."""
    if isinstance(kind, inspect.IntType):
        if _WHOLE.fullmatch(text):
            return int(text)
        raise ApiError(400, f"{name}: accepted is a whole number, not {_quoted(text)}", name)
    if isinstance(kind, inspect.FloatType):
        if _NUMBER.fullmatch(text):
            return float(text)
        raise ApiError(400, f"{name}: accepted is a number, not {_quoted(text)}", name)
    if isinstance(kind, inspect.BoolType):
        if text in ("true", "false"):
            return text == "true"
        raise ApiError(400, f"{name}: accepted is true or false, not {_quoted(text)}", name)
    return text


def _convert(values: Any, struct: type[msgspec.Struct]) -> Any:
    try:
        return msgspec.convert(values, struct, strict=True)
    except msgspec.ValidationError as error:
        raise _refused(error) from None


_AT: Final = re.compile(r"(.*?)(?: - at `(?:key in )?\$\.?(.*)`)?", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`", re.DOTALL)


def _refused(error: msgspec.ValidationError) -> ApiError:
    """Rewrite msgspec's validation message."""
    found = _AT.fullmatch(str(error))
    what, path = (found[1], found[2] or "") if found else (str(error), "")
    for pattern, words in (
        (_UNKNOWN, "there is no field {} here"),
        (_MISSING, "{}: it must be there"),
    ):
        inner = pattern.fullmatch(what)
        if inner:
            name = f"{path}.{inner[1]}".lstrip(".")
            return ApiError(400, words.format(printable(name[:_SHOWN])), name[:_SHOWN])
    words = what.replace("`", "").replace("Expected", "accepted is").replace("got", "not")
    return ApiError(
        400, printable(f"{path or 'the body'}: {words[:1].lower()}{words[1:]}"[: 5 * _SHOWN]), path[:_SHOWN]
    )


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:_SHOWN]} is there twice")
        found[name] = value
    return found


def _quoted(text: str) -> str:
    return f"{text[:_SHOWN]!a}"
