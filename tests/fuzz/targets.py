"""What is fuzzed: for each parser, a function that feeds it bytes and checks what must hold for any.

A target returns if the bytes were parsed or refused as documented; any other exception is a finding. Where a
stream may be cut anywhere, the places are chosen by a checksum of the bytes, so that an input behaves the same
each time.
"""

from __future__ import annotations

import datetime
import io
import json
import tempfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Final, cast

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.iweb import IRequest

from pbxrouter.agi import (
    AGIReader,
    AGIRequest,
    encode,
    encode_command,
    format_request,
    masked_reply,
    masked_secret,
    parse_request,
)
from pbxrouter.agi.commands import command
from pbxrouter.ami import AMIMessage
from pbxrouter.ami.messages import AMIReader
from pbxrouter.ami.protocol import AMIProtocol
from pbxrouter.call.journal_file import HEADER, finished_line, read_content
from pbxrouter.cli.event_text import as_json, as_line
from pbxrouter.click_to_dial.hours import Hours
from pbxrouter.click_to_dial.signing import LinkState, Signer
from pbxrouter.config import Zone
from pbxrouter.config.address import of_endpoint, of_option
from pbxrouter.config.parsing import parse
from pbxrouter.control.server import ControlProtocol
from pbxrouter.counter.call_table import CallListener, CallTable
from pbxrouter.drivers.dial import dial_string
from pbxrouter.errors import (
    ApplicationFailed,
    ConfigError,
    EditRefused,
    ForgedRequest,
    ImportRefused,
    InvalidArgument,
    JournalUnreadable,
    ManagerProtocolError,
    PatternError,
    PinError,
    ProtocolViolation,
)
from pbxrouter.magi.wire import historical_request, piece, without_break_on_error, without_progress
from pbxrouter.rules import Mapping, Pattern, RuleSet, normalise_number, read_endpoint, read_phone
from pbxrouter.rules.warnings import RuleWarnings
from pbxrouter.security import as_written, networks, pins, tokens
from pbxrouter.simulator.words import LineReader, split_words
from pbxrouter.text import csv_cells, printable
from pbxrouter.web.api.endpoint import ApiError, Endpoint
from pbxrouter.web.api.parsing import read_body, read_numbers, read_query
from pbxrouter.web.api.resources.endpoints import ENDPOINTS
from pbxrouter.web.click_to_dial.number import ClickRefused, read_number
from pbxrouter.web.console.call_pages import read_place
from pbxrouter.web.console.request import local_path, read_form, read_time
from pbxrouter.web.console.request import read_query as read_page_query
from pbxrouter.web.http.public_url import base_url, check_url, is_open_without_tls
from pbxrouter.web.language import preferred_language
from pbxrouter.workshop.source_file import read_file
from pbxrouter.workshop.sql import read_sql


@dataclass(frozen=True, slots=True)
class Target:
    """A parser under fuzzing.

    Attributes:
        run: feeds it; raises AssertionError, or what the parser raised undocumented.
        words: pieces of its format.
    """

    run: Callable[[bytes], None]
    words: tuple[bytes, ...]


def pieces(data: bytes) -> Iterable[bytes]:
    """The data, cut at some places."""
    random = Random(zlib.crc32(data))
    place = 0
    while place < len(data):
        end = place + random.choice((1, 1, 2, 3, 7, 64, 1024))
        yield data[place:end]
        place = end


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _is_line(text: str) -> None:
    """Check that an error is one line that any log and terminal takes."""
    assert text and text.isprintable(), ascii(text)
    text.encode("utf-8")


# --- AGI ---

_COMMANDS: Final = (
    "NOOP",
    "GET DATA agent-pass 5000 20",
    "GET FULL VARIABLE ${X}",
    "STREAM FILE beep 0123456789*#",
    "EXEC Dial PJSIP/21",
    "CHANNEL STATUS",
)
_BLOCK: Final = format_request(
    {
        "request": "agi://127.0.0.1/pbxrouter",
        "channel": "PJSIP/33-00000001",
        "language": "en",
        "type": "PJSIP",
        "uniqueid": "1.1",
        "version": "22.10.1",
        "callerid": "33",
        "calleridname": "unknown",
        "callingpres": "0",
        "callingani2": "0",
        "callington": "0",
        "callingtns": "0",
        "dnid": "21",
        "rdnis": "unknown",
        "context": "pbxrouter",
        "extension": "21",
        "priority": "1",
        "enhanced": "0.0",
        "accountcode": "",
        "threadid": "1",
    }
)


def _read_agi(chunks: Iterable[bytes], commands: Iterable[str]) -> tuple[list[object], ProtocolViolation | None]:
    """What a reader makes of the chunks: the events, and the violation that ended them."""
    reader = AGIReader()
    waiting = iter(commands)
    events: list[object] = []
    try:
        for chunk in chunks:
            reader.feed(chunk)
            while (event := reader.next_event()) is not None:
                events.append(event)
                if not reader.command:
                    reader.command = next(waiting, "")
    except ProtocolViolation as violation:
        _is_line(str(violation))
        return events, violation
    return events, None


def _agi_opening(data: bytes) -> None:
    """An opening block: a whole one, byte by byte, or forged."""
    whole, violation = _read_agi([data], ())
    if violation is None:
        assert _read_agi(pieces(data), ()) == (whole, None)
    for event in whole:
        if isinstance(event, AGIRequest):
            with suppress(ForgedRequest):  # of a value with a line end in it
                assert parse_request(format_request(event.variables, event.arguments)[:-2]) == event
            shown = [event.caller, event.caller_name, event.extension, event.dnid, event.channel, event.script]
            assert (
                event.secret is None
                or event.secret not in masked_secret(" ".join(event.arguments))
                or (event.secret in "secret=***")
            )
            assert all(printable(text or "").isprintable() for text in shown)
            assert isinstance(event.query, dict)


def _agi_reply(data: bytes) -> None:
    """Replies to each kind of command."""
    commands = [_COMMANDS[(zlib.crc32(data) + place) % len(_COMMANDS)] for place in range(8)]
    whole, violation = _read_agi([_BLOCK, *data.splitlines(keepends=True)], commands)
    assert whole, violation
    if violation is None:
        one_by_one = [data[place : place + 1] for place in range(len(data))]
        assert _read_agi([_BLOCK, *one_by_one], commands) == (whole, None)
    masked = masked_reply("GET DATA agent-pass 5000 20", _text(data))
    assert masked == "***" or "result=" in masked or masked[:1] == "5", ascii(masked)


def _agi_command(data: bytes) -> None:
    """An argument that is accepted is what Asterisk reads; else nothing is sent."""
    arguments = [_text(part) for part in data.split(b"\x01")][:20]
    try:
        line = encode_command(command("EXEC", *arguments))
    except InvalidArgument as error:
        _is_line(str(error))
        return
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    (read,) = LineReader().feed(line)
    assert split_words(read) == [b"EXEC", *map(encode, arguments)]


# --- AMI ---


def _ami(data: bytes) -> None:
    """A stream, cut anywhere, gives the same messages; each header found alone is the one found in order."""
    whole, refused = _read_ami([data])
    if not refused:
        assert _read_ami(pieces(data)) == (whole, False)
    for raw in whole:
        message = AMIMessage(raw)
        with_colon = [header for header, line in zip(message, raw.split(b"\r\n"), strict=True) if b":" in line]
        for name, _ in with_colon[:30]:
            if name.isascii():
                values = [value for header, value in with_colon if header.lower() == name.lower()]
                assert message.get(name) == values[0], (raw, name)
        assert repr(message).isprintable()


def _read_ami(chunks: Iterable[bytes]) -> tuple[list[bytes], bool]:
    reader = AMIReader()
    messages: list[bytes] = []
    try:
        for chunk in chunks:
            messages += reader.cut(chunk)
    except ManagerProtocolError as error:
        _is_line(str(error))
        return messages, True
    return messages, False


class _Watched(CallListener):
    """Counts calls that begin and end."""

    def __init__(self) -> None:
        self.open = 0

    def started(self, call: Any) -> None:
        """Count a call that has started."""
        self.open += 1

    def finished(self, call: Any, ended: float, cause: str) -> None:
        """Count a call that has finished."""
        self.open -= 1
        assert self.open >= 0


def _ami_events(data: bytes) -> None:
    """Events reach handlers and the table of calls; each call that began is open or has ended."""
    listener = _Watched()
    table = CallTable(listener)
    handled: list[str] = []
    clock = Clock()

    def handle(event: AMIMessage) -> None:
        handled.append(event.name)
        clock.advance(1)
        table.event(event.name, event.get, clock.seconds())

    protocol = AMIProtocol(clock, {b"*": [handle]})
    transport = StringTransport()
    protocol.makeConnection(transport)
    answered: list[object] = []
    protocol.action("Ping").addBoth(answered.append)
    protocol.action_list("Status").addBoth(answered.append)
    prefix = protocol.new_action_id().rpartition("-")[0].encode("ascii")
    for chunk in (b"Asterisk Call Manager/11.0.0\r\n", *pieces(data.replace(b"ACTIONID", prefix))):
        if transport.disconnected:
            break
        protocol.dataReceived(chunk)
    assert len(table.live) == listener.open
    assert all(call.channels for call in table.live.values())


# --- MAGI ---


def _magi(data: bytes) -> None:
    """Values of Env and Result, commands that are replaced, and the 2006 patch's event."""
    text = _text(data)
    found = piece(text)
    assert found.more or not found.lost
    assert not without_progress(found.data).startswith(b"100 ") or b"\n" not in found.data
    assert without_break_on_error(text)[:8] == text[:8] or text[:11].upper() == "STREAM FILE"
    with suppress(ForgedRequest):
        request = historical_request(AMIMessage(data))
        assert request is None or request.channel


# --- settings ---


def _config(data: bytes) -> None:
    """Settings, or one line that says what is accepted."""
    try:
        parse(_text(data), "pbxrouter.toml", Path("/etc"))
    except ConfigError as error:
        _is_line(str(error))
        assert str(error).startswith("pbxrouter.toml: ") or "web.url" in str(error), str(error)


def _address(data: bytes) -> None:
    """Endpoint strings, --connect and web.url."""
    text = _text(data)
    for read in (of_endpoint, of_option, check_url):
        with suppress(ConfigError):
            read(text)
    base_url("", text)
    is_open_without_tls("", text)
    network = networks.parse_network(text)
    if network is not None:
        assert networks.is_within(str(network.network_address), [network])
    networks.network_of(text)
    networks.is_within(text, ())


# --- rules ---


def _pattern(data: bytes) -> None:
    """A pattern is parsed or refused; it matches numbers of its own making."""
    text = _text(data)
    try:
        pattern = Pattern.parse(text)
    except PatternError as error:
        _is_line(error.sentence.english)
        return
    for number in ("", "21", "0034600112233", "*43#", text[:40]):
        pattern.matches(number)
    normalise_number(text)


def _rules(data: bytes) -> None:
    """Lines of patterns: the index finds what a search in order finds, and the survey ends."""
    texts = [_text(line)[:40] for line in data.split(b"\n")][:12]
    mappings = [Mapping(place, text, "dial", "PJSIP") for place, text in enumerate(texts, 1)]
    rules = RuleSet.build(mappings, [("33", frozenset({1}))], [], hash_pin=str)
    numbers = {normalise_number(text) for text in texts} | {"21", "33", "112"}
    for number in numbers - {None}:
        assert number is not None
        matching = [entry for entry in rules.entries.values() if entry[0].matches(number)]
        winner = rules.winner(number)
        assert (winner is None) == (not matching), (texts, number)
        if winner is not None:
            assert winner in matching
            if winner[0].literal is None:
                assert winner[0].order == min(pattern.order for pattern, _ in matching), (texts, number)
    RuleWarnings(rules, ["dial"]).of_mappings(list(rules.entries))
    assert len(rules.entries) + len(rules.unreadable) == len(texts)


def _phone(data: bytes) -> None:
    """Endpoints, telephones, numbers, PINs and dial strings from forms."""
    text = _text(data)
    with suppress(EditRefused):
        endpoint = read_endpoint(text)
        assert as_written(endpoint) == as_written(as_written(endpoint))
    read_phone(text, {"SIP": "PJSIP"})
    for for_visitor in (False, True):
        with suppress(ClickRefused):
            assert normalise_number(read_number(text, for_visitor))
    with suppress(PinError):
        assert pins.check_pin(text).isascii()
    with suppress(ApplicationFailed):
        assert "{" not in dial_string(text, "21", "33", {"SIP": "PJSIP"})


# --- the workshop's files ---


def _workshop_sql(data: bytes) -> None:
    """SQL text: the tables, or one line."""
    try:
        read_sql(_text(data))
    except ImportRefused as error:
        _is_line(str(error))


def _workshop_file(data: bytes) -> None:
    """A file of any kind."""
    with tempfile.TemporaryDirectory(prefix="pbxrouter-fuzz-") as folder:
        path = Path(folder, "rules")
        path.write_bytes(data)
        try:
            read_file(path)
        except ImportRefused as error:
            _is_line(str(error))


# --- the console and the API ---


def _request(body: bytes, kind: str, uri: bytes = b"/") -> IRequest:
    """A request as far as the parsers look at it."""
    headers = SimpleNamespace(getRawHeaders=lambda name, default=None: [kind.encode("ascii")])
    made = SimpleNamespace(
        content=io.BytesIO(body),
        uri=uri,
        path=uri.partition(b"?")[0],
        requestHeaders=headers,
    )
    return cast(IRequest, made)


_WITH_QUERY: Final = tuple(endpoint for endpoint in ENDPOINTS if endpoint.query is not None)
_WITH_BODY: Final = tuple(endpoint for endpoint in ENDPOINTS if endpoint.body is not None)


def _is_refusal(error: ApiError, endpoint: Endpoint) -> None:
    assert error.status in endpoint.refusals | {400, 404}, error.status
    _is_line(str(error.refusal.error))


def _api_body(data: bytes) -> None:
    """A body for each endpoint that takes one."""
    for endpoint in _WITH_BODY:
        for kind in ("application/json", "application/x-www-form-urlencoded"):
            try:
                read_body(endpoint, _request(data, kind))
            except ApiError as error:
                _is_refusal(error, endpoint)


def _api_query(data: bytes) -> None:
    """A query for each endpoint that takes one, and ids in paths."""
    for endpoint in _WITH_QUERY:
        try:
            read_query(endpoint, _request(b"", "", b"/api/x?" + data))
        except ApiError as error:
            _is_refusal(error, endpoint)
    for endpoint in ENDPOINTS:
        if endpoint.numbers:
            with suppress(ApiError):
                numbers = read_numbers(endpoint, dict.fromkeys(endpoint.numbers, data.decode("utf-8", "replace")))
                assert all(1 <= number < 2**63 for number in numbers.values())


def _console_form(data: bytes) -> None:
    """A form, a query, and the fields that are parsed further."""
    read_page_query(_request(b"", "", b"/calls?" + data))
    with suppress(EditRefused):
        read_form(_request(data, "application/x-www-form-urlencoded"))
    text = _text(data)
    with suppress(EditRefused):
        read_time(text, "since", Zone("Europe/Madrid"))
    read_place(text)
    path = local_path(text)
    assert path.startswith("/") and not path.startswith("//")
    assert preferred_language(text) in ("en", "es")
    bearer = tokens.bearer(text)
    assert bearer is None or bearer.startswith(tokens.PREFIX)


def _control(data: bytes) -> None:
    """A line to the control socket: it is answered by one object."""
    asked: list[dict[str, Any]] = []

    def run(arguments: dict[str, Any], send: Any, end: Any) -> Callable[[], None]:
        asked.append(arguments)
        return lambda: None

    transport = StringTransport()
    protocol = ControlProtocol(cast(Any, {"watch": run}))
    protocol.makeConnection(transport)
    for chunk in pieces(data):
        if transport.disconnecting:
            break
        protocol.dataReceived(chunk)
    said = transport.value()
    assert len(asked) + said.count(b"\n") <= 1
    for line in said.splitlines():
        assert "error" in json.loads(line)


_SIGNER: Final = Signer(b"k" * 32)


def _link(data: bytes) -> None:
    """A signature, or a form's token: only ours is valid."""
    text = _text(data)
    for state in (_SIGNER.check_link(1, 1, text, 0.0), _SIGNER.check_form(1, "a", text, 0.0)):
        assert state is not LinkState.VALID, ascii(text)


_NOON: Final = datetime.datetime(2026, 11, 23, 12)


def _journal(data: bytes) -> None:
    """The journal of calls: what it holds can be written to another one, and read from that again."""
    for content in (data, HEADER + data):
        with suppress(JournalUnreadable):
            found = read_content(content)
            again = read_content(HEADER + b"".join(map(finished_line, found.finished.values())))
            assert list(again.finished) == list(found.finished) and not again.unreadable, again
            assert all(isinstance(call.began, float) for call in found.begun.values())


def _hours(data: bytes) -> None:
    """Opening hours: what is stored reads as the same hours."""
    try:
        hours = Hours.parse(_text(data))
    except EditRefused as error:
        _is_line(printable(error.sentence.english))
        return
    assert Hours.parse(hours.text) == hours, hours.text
    assert hours.is_open(hours.next_opening(_NOON))


# --- text for people ---


def _shown(data: bytes) -> None:
    """Text from outside on a line, in a cell and in an event's line."""
    text = _text(data)
    _is_line(f"x{printable(text)}")
    line = csv_cells.csv_line([printable(text), 1])
    assert line.endswith(",1\r\n")
    event = AMIMessage(data)
    _is_line(f"x{as_line(event)}")
    assert isinstance(json.loads(as_json(event)), dict)


AGI_WORDS: Final = (
    b"agi_network: yes\n",
    b"agi_callerid: ",
    b"agi_arg_1: ",
    b"agi_extension: 21\n",
    b"HANGUP\n",
    b"200 result=1 (",
    b"520-Invalid\n",
    b"520 End of proper usage.\n",
    b"510 Invalid or unknown command\n",
    b"511 Command Not Permitted on a dead channel\n",
    b"100 Trying...\n",
    b" endpos=160",
    b"secret=",
)
AMI_WORDS: Final = (
    b"Asterisk Call Manager/11.0.0\r\n",
    b"Event: Newchannel\r\n",
    b"Event: Hangup\r\n",
    b"Event: BridgeEnter\r\n",
    b"Event: DialEnd\r\n",
    b"Uniqueid: 1.1\r\n",
    b"Linkedid: 1.1\r\n",
    b"BridgeUniqueid: b\r\n",
    b"Response: Success\r\n",
    b"ActionID: ACTIONID-1\r\n",
    b"ActionID: ACTIONID-2\r\n",
    b"EventList: start\r\n",
    b"EventList: Complete\r\n",
    b"DestUniqueid: 1.2\r\n",
    b"\r\n\r\n",
)

TARGETS: Final[dict[str, Target]] = {
    "agi-opening": Target(_agi_opening, AGI_WORDS),
    "agi-reply": Target(_agi_reply, AGI_WORDS),
    "agi-command": Target(_agi_command, (b"\x01", b'"', b"\\", b" ", b"${X}")),
    "ami": Target(_ami, AMI_WORDS),
    "ami-events": Target(_ami_events, AMI_WORDS),
    "magi": Target(_magi, (b"200%20result%3d1%0a", b"STREAM FILE ", b' "0123456789*#"', b"agi_channel: ", b"Result: ")),
    "config": Target(_config, (b"[fastagi]\n", b"[[asterisk]]\n", b"allow = [", b"[web]\n", b'listen = "tcp:', b'"\n')),
    "address": Target(_address, (b"tcp:", b"tls:", b"interface=", b"\\:", b"[::1]", b"/24", b"https://")),
    "pattern": Target(_pattern, (b"[2-7]", b"X", b"Z", b"N", b".", b"!", b"_", b"-")),
    "rules": Target(_rules, (b"[2-7]", b"X", b"Z", b"N", b".", b"!", b"_", b"\n")),
    "phone": Target(_phone, (b"PJSIP/", b"{number}", b"{caller}", b"&", b"+34", b"@trunk")),
    "workshop-sql": Target(
        _workshop_sql,
        (
            b"INSERT INTO extensions VALUES (",
            b"CREATE TABLE users (",
            b"BEGIN;",
            b"-- ",
            b"/*",
            b"'",
            b";",
            b"?",
            b"\\'",
            b"`",
        ),
    ),
    "workshop-file": Target(_workshop_file, (b"SQLite format 3\0", b"\xff\xfe", b"\xfe\xff", b"** This file contains")),
    "api-body": Target(_api_body, (b'{"', b'": ', b"null", b"[]", b"true", b"&", b"=", b'"\\ud800"', b"1e400")),
    "api-query": Target(_api_query, (b"&", b"=", b"limit=", b"after=", b"%", b"+")),
    "console-form": Target(_console_form, (b"&", b"=", b"%", b"2026-11-23T14:30", b"q=", b"Bearer pbxr_", b";q=0.5")),
    "control": Target(_control, (b'{"watch": {', b"}}\n", b'"', b"\n", b"null")),
    "link": Target(_link, (b".", b"-", b"0", b"=")),
    "journal": Target(
        _journal,
        (HEADER, b'["f", "k-1", ', b'["b", "k-2", 1.0, "1.2", "33", "", "21", true]\n', b'["w", "', b'"]\n', b"\0"),
    ),
    "hours": Target(_hours, (b"mon-fri ", b"09:00-18:00", b", ", b"sabado", b" to ", b"24:00")),
    "shown": Target(_shown, (b"=", b"@", b"Event: ", b"\x1b[", b"\xe2\x80\xae")),
}
"""All of them, by name."""
