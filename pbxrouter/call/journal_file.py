"""The file of the call journal: its lines, how they are written and read.

The first line is HEADER. Each other line is a JSON list: its kind, the call's key, and what the kind has. Space is
allocated ahead, so that calls can still be written when the disk is full; the end of the file is therefore NUL bytes.
A line that cannot be read is left out and counted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import msgspec

from pbxrouter.database.calls import CallRow
from pbxrouter.errors import JournalUnreadable
from pbxrouter.text import sentence

HEADER: Final = b"pbxrouter calls 1\n"
"""The first line; the number is the version of the format."""
SUFFIX: Final = ".calls"
"""What the journal's name has behind that of the database; a second gateway on it has ``.calls.2``."""
MAX_FILES: Final = 80
"""Journals beside one database: the processes of all gateways that use it at once."""
CHUNK: Final = 1 << 20
"""Bytes that are allocated at a time; half of it is always left."""
MAX_READ: Final = 256 << 20
"""Bytes of a journal that are read."""
MAX_LINE: Final = 32 << 10
"""Bytes of a line; of a longer row the texts are cut and the trace is left out."""
_MAX_TEXT: Final = 500

ChannelOf = tuple[str, str]
"""An Asterisk, ``""`` if it is not known, and the Uniqueid of a channel there: two Asterisks may have equal ones."""

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that was begun and has no line of its end.

    Attributes:
        began: epoch seconds.
        by_magi: whether it came by MAGI, so that the next run may find it waiting.
        decided: number, verdict, pattern, application, data, granted_by and forwarded_by, if its application was run.
        asterisk: the Asterisk that it came from; ``""`` if that is not known, or an earlier version wrote the line.
    """

    key: str
    began: float
    uniqueid: str
    caller: str
    caller_name: str
    number: str
    by_magi: bool
    decided: tuple[str, ...] = ()
    asterisk: str = ""


@dataclass(slots=True)
class JournalContent:
    """What a journal holds.

    Attributes:
        begun: calls without an end, by key.
        finished: calls that are over and not known to be in the history, by key, the first to end first.
        orphans: calls by MAGI that earlier runs left, as (key, began), by Asterisk and Uniqueid.
        unreadable: lines that cannot be read.
        size: bytes, without the space that is allocated ahead.
        modified: when it was last written, epoch seconds.
    """

    begun: dict[str, Begun] = field(default_factory=dict)
    finished: dict[str, CallRow] = field(default_factory=dict)
    orphans: dict[ChannelOf, tuple[str, float]] = field(default_factory=dict)
    unreadable: int = 0
    size: int = 0
    modified: float = 0.0


# --- lines --------------------------------------------------------------------


def begun_line(
    key: str,
    began: float,
    uniqueid: str,
    caller: str,
    caller_name: str,
    number: str,
    by_magi: bool,
    asterisk: str = "",
) -> bytes:
    """The line of a call that begins; see Begun."""
    return _line(("b", key, began, uniqueid, caller, caller_name, number, by_magi, asterisk))


def decided_line(key: str, decided: Sequence[str]) -> bytes:
    """The line of a call whose application is about to run; see Begun.decided."""
    return _line(("d", key, *decided))


def finished_line(row: CallRow) -> bytes:
    """The line of a call that is over."""
    line = _line(("f", *_cells(row)))
    return line if len(line) <= MAX_LINE else _line(("f", *_cells(_cut(row))))


def orphan_line(channel: ChannelOf, key: str, began: float) -> bytes:
    """The line of a call by MAGI that an earlier run left and that may still wait."""
    asterisk, uniqueid = channel
    return _line(("o", key, uniqueid, began, asterisk))


def written_line(keys: Sequence[str]) -> bytes:
    """The line of calls that are in the history."""
    return _line(("w", *keys))


def _line(record: tuple[object, ...]) -> bytes:
    try:
        return _encode(record) + b"\n"
    except (UnicodeError, TypeError, ValueError, msgspec.MsgspecError):  # surrogates, for one
        return json.dumps(record, default=str).encode("ascii") + b"\n"


def _cut(row: CallRow) -> CallRow:
    texts: dict[str, Any] = {name: value[:_MAX_TEXT] for name in _NAMES if isinstance(value := getattr(row, name), str)}
    return replace(row, **{**texts, "trace": "[]"})


_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "began": (int, float),
    "ended": (int, float),
    "answered_s": (int, type(None)),
}
_NAMES: Final[tuple[str, ...]] = CallRow.__match_args__
_cells: Final = attrgetter("call_key", *_NAMES)


# --- reading ------------------------------------------------------------------


def read_content(content: bytes) -> JournalContent:
    """What the bytes of a journal hold.

    Raises:
        JournalUnreadable: they do not begin as a journal of this version.
    """
    found = JournalContent()
    content = content.rstrip(b"\0")
    found.size = len(content)
    if not content:
        return found
    if not content.startswith(HEADER):
        raise JournalUnreadable(sentence("it is no journal of calls, or one of another version"))
    lines = content[len(HEADER) :].split(b"\n")
    for line in lines[:-1]:  # behind the last line end there is nothing, or a line that was not written whole
        line = line.lstrip(b"\0")  # a page that a power cut has left out
        if line and not _take(found, line):
            found.unreadable += 1
    return found


def _take(found: JournalContent, line: bytes) -> bool:
    """Take a line; returns whether it could be read."""
    try:
        kind, *values = json.loads(line)
        _TAKERS[kind](found, *values)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return False
    return True


def _take_begun(found: JournalContent, key: str, began: float, *values: Any) -> None:
    uniqueid, caller, caller_name, number, by_magi, *added = values
    asterisk = str(added[0]) if added else ""  # earlier versions have not written it
    texts = str(uniqueid), str(caller), str(caller_name), str(number)
    call = Begun(str(key), _finite(began), *texts, bool(by_magi), asterisk=asterisk)
    found.begun[call.key] = call


def _take_decided(found: JournalContent, key: str, *decided: Any) -> None:
    number, verdict, pattern, application, data, granted_by, forwarded_by = map(str, decided)
    if key in found.begun:
        of_it = (number, verdict, pattern, application, data, granted_by, forwarded_by)
        found.begun[key] = replace(found.begun[key], decided=of_it)


def _take_finished(found: JournalContent, key: str, *cells: Any) -> None:
    for name, value in zip(_NAMES, cells, strict=False):  # columns that a later version adds are missing
        if not isinstance(value, _TYPES.get(name, str)) or isinstance(value, bool):
            raise TypeError(name)
        if name in ("began", "ended"):
            _finite(value)
    found.begun.pop(key, None)
    found.finished.pop(key, None)
    found.finished[str(key)] = CallRow(*cells, call_key=str(key))


def _take_orphan(found: JournalContent, key: str, uniqueid: str, began: float, asterisk: str = "") -> None:
    found.orphans[(str(asterisk), str(uniqueid))] = (str(key), _finite(began))


def _finite(value: Any) -> float:
    seconds = float(value)
    if not math.isfinite(seconds):
        raise ValueError(value)
    return seconds


def _take_written(found: JournalContent, *keys: str) -> None:
    for key in keys:
        found.finished.pop(key, None)


_TAKERS: Final[dict[str, Callable[..., None]]] = {
    "b": _take_begun,
    "d": _take_decided,
    "f": _take_finished,
    "o": _take_orphan,
    "w": _take_written,
}


def journal_files(database: Path) -> list[Path]:
    """The names that journals beside a database have, whether they exist or not; a gateway uses the first free one."""
    return [Path(f"{database}{SUFFIX}{f'.{number}' if number > 1 else ''}") for number in range(1, MAX_FILES + 1)]


def read_journal(path: Path) -> JournalContent:
    """Read a journal, which a gateway may be writing.

    Raises:
        FileNotFoundError: there is none.
        JournalUnreadable: it cannot be read, or is something else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise JournalUnreadable(sentence("{text}", text=error.strerror)) from None
    try:
        return read_descriptor(descriptor)
    finally:
        os.close(descriptor)


def read_descriptor(descriptor: int) -> JournalContent:
    """Read a journal that is open.

    Raises:
        JournalUnreadable: it cannot be read, or is something else.
    """
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise JournalUnreadable(sentence("it is not a file"))
        content = bytearray()
        while len(content) < MAX_READ and (piece := os.pread(descriptor, 1 << 20, len(content))):
            content += piece
    except OSError as error:
        raise JournalUnreadable(sentence("{text}", text=error.strerror)) from None
    found = read_content(bytes(content))
    found.modified = status.st_mtime
    return found


# --- writing ------------------------------------------------------------------


def open_to_lock(path: Path) -> int:
    """Open a journal that may be taken up, without waiting if it is a named pipe.

    Raises:
        OSError: it is not there, or cannot be opened.
    """
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)


def lock(descriptor: int) -> bool:
    """Lock an open journal for this gateway; False if another one has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Segment:
    """A journal file that this gateway has created and writes.

    Args:
        path: a new name; a file that is there is replaced.

    Attributes:
        size: bytes that are written.

    Raises:
        OSError: it cannot be created, or there is no room.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # of a gateway that was killed while it wrote
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self.descriptor = os.open(path, flags, 0o600)
        self.size = 0
        self._allocated = self._enough_until = 0
        try:
            lock(self.descriptor)
            os.posix_fallocate(self.descriptor, 0, len(content) + CHUNK)
            self._allocated = len(content) + CHUNK
            self._enough_until = self._allocated - CHUNK // 2
            self.append(content)
        except BaseException:
            os.close(self.descriptor)
            os.unlink(path)
            raise

    def append(self, data: bytes) -> None:
        """Write behind what is written.

        Raises:
            OSError: it cannot be written; what was written before stays as it is.
        """
        end = self.size + len(data)
        if end > self._enough_until:
            self._allocate(end)
        if os.pwrite(self.descriptor, data, self.size) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size = end

    def _allocate(self, end: int) -> None:
        try:
            os.posix_fallocate(self.descriptor, self._allocated, CHUNK)
        except OSError:
            if end > self._allocated:
                raise
            self._enough_until = self._allocated  # the disk is full: this is what is left
        else:
            self._allocated += CHUNK
            self._enough_until = self._allocated - CHUNK // 2

    def is_at(self, path: Path) -> bool:
        """Whether it is the file at a path, with all that was written."""
        try:
            there = os.stat(path)
        except OSError:
            return False
        own = os.fstat(self.descriptor)
        return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino) and own.st_size >= self.size

    def close(self) -> None:
        """Close the file, which frees it for another gateway."""
        os.close(self.descriptor)
