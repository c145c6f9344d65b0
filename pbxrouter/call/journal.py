"""The call journal: a file beside the database with the calls that the history may not have yet.

A call is written there when it begins, before its first command, and when it is over; the decision by which it was
routed within a second. Once it is in the database it is no longer needed, and the file is written anew from time to
time. What a run of the gateway leaves, since the database could not be written or the gateway was killed, the next run
takes up: calls that were over as they were, others as cut. Each call has a key, so that the history has it once.

Written means handed to the system, which outlives the gateway; about once a second the file is synchronised, so that a
power cut costs no more. While the journal cannot be written, calls go on, and the log says so.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pbxrouter.agi import AGIRequest
from pbxrouter.call.active_calls import GatewayCall
from pbxrouter.call.journal_file import (
    HEADER,
    Begun,
    ChannelOf,
    JournalContent,
    Segment,
    begun_line,
    decided_line,
    finished_line,
    journal_files,
    lock,
    open_to_lock,
    orphan_line,
    read_descriptor,
    written_line,
)
from pbxrouter.database.calls import UNKNOWN, CallRow, trace_text
from pbxrouter.errors import JournalUnreadable
from pbxrouter.net import Outage
from pbxrouter.text import Sentence, sentence

REWRITE_AT: Final = 4 << 20
"""Bytes from which the file is written anew, with what is still needed; more if more is needed."""
MAX_NEEDED: Final = 64 << 20
"""Bytes that are kept; beyond them no call is added until others are in the history."""
ORPHAN_S: Final = 86_400.0
"""Seconds for which a call by MAGI that an earlier run left may still be taken up."""
MAX_ORPHANS: Final = 10_000
MAX_RESERVED: Final = 20_000
"""Keys that dialplans have been told and have not come back with."""

CUT: Final = Sentence("cut: the gateway died during this call; what became of it is not known")
"""The last step of the trace of such a call."""

Aside = Callable[[Callable[[], object]], Deferred[Any]]
"""Does blocking work in a thread."""


class JournalEntry(NamedTuple):
    """A call in the journal.

    Attributes:
        key: names it; ``""`` without a journal.
        began: when it began, in an earlier run of the gateway perhaps; epoch seconds.
    """

    key: str
    began: float


@dataclass(slots=True)
class TakenUp:
    """What earlier runs left.

    Attributes:
        rows: all calls that the history may lack, the first to end first.
        cut: how many of them had no end.
        unreadable: lines that could not be read.
        files: the journals.
    """

    rows: list[CallRow] = field(default_factory=list)
    cut: int = 0
    unreadable: int = 0
    files: list[Path] = field(default_factory=list)


class CallJournal:
    """The journal of this run.

    Args:
        database: the database file, beside which the journal is.
        now: returns the time in epoch seconds.
        aside: does blocking work in a thread of its own.
        gateway: the gateway's id, eight hex digits with which the keys of its calls begin; empty: it has none.

    Attributes:
        gateway: as passed.
        path: the file; None before ``open``, and while there is none.
        outage: of writing it.
    """

    log = Logger()

    def __init__(self, database: Path, now: Callable[[], float], aside: Aside, gateway: str = "") -> None:
        self.gateway = gateway
        self._database = database
        self._now = now
        self._aside = aside
        self._run: Final = gateway + secrets.token_hex(4) if gateway else secrets.token_hex(6)
        self._reserved: dict[str, None] = {}  # the oldest first
        self._used: dict[str, None] = {}  # told keys that first turns have used here, the oldest first
        self._serial = 0
        self._needed: dict[str, tuple[CallRow | None, bytes]] = {}
        self._needed_bytes = 0
        self._decided: dict[str, tuple[GatewayCall, str]] = {}  # not written yet
        self._orphans: dict[ChannelOf, tuple[str, float]] = {}
        self._segment: Segment | None = None
        self._next: Segment | None = None  # while the file is written anew, both are appended to
        self._incomplete = True  # whether something needed is not in the file
        self._unsynced = False
        self._open = False
        self.path: Path | None = None
        self.outage = Outage(
            self.log,
            now,
            "journal: calls cannot be written to it, and a kill would lose those in progress: {error}",
            "journal: calls are written to it again",
        )

    @property
    def calls(self) -> int:
        """Number of calls that are kept: in progress, or over and not in the history."""
        return len(self._needed) - len(self._orphans)

    @property
    def size(self) -> int:
        """Bytes of the file that are in use."""
        return 0 if self._segment is None else self._segment.size

    # --- the calls of this run ---

    def reserve(self) -> str:
        """A key for a call that is to come, for its dialplan to pass on."""
        self._serial += 1
        # Nobody can guess it: by a known one another call could pass for this one.
        run = self.gateway + secrets.token_hex(4) if self.gateway else secrets.token_hex(6)
        key = f"{run}-{self._serial}"
        self._reserved[key] = None
        if len(self._reserved) > MAX_RESERVED:
            del self._reserved[next(iter(self._reserved))]
        return key

    def _key_of(self, request: AGIRequest) -> str:
        """The key that the dialplan passes, if it is one to be used; else a new one.

        In a second turn it is the key of a call that another gateway, or this one, had begun and did not serve. In a
        first turn a key is used once, also if a dialplan passes it again.
        """
        key = request.call_key
        if key in self._reserved:
            del self._reserved[key]
            self._note_used(key)
            return key
        if key and request.is_second_turn:
            if key.partition("-")[0] != self._run:
                return key
        elif key and self._is_new_of_another(key):
            return key
        self._serial += 1
        return f"{self._run}-{self._serial}"

    def _is_new_of_another(self, key: str) -> bool:
        """Whether another process of this gateway, or its run before, has made a key that was not used here yet.

        It is used from now on.
        """
        run = key.partition("-")[0]
        if not self.gateway or run == self._run or not run.startswith(self.gateway) or key in self._used:
            return False
        self._note_used(key)
        return True

    def _note_used(self, key: str) -> None:
        """Note that a first turn has used a key."""
        self._used[key] = None
        if len(self._used) > MAX_RESERVED:
            del self._used[next(iter(self._used))]

    def begin(self, call: GatewayCall, request: AGIRequest) -> JournalEntry:
        """Write a call that begins, or goes on after an earlier run or at a second gateway. Never fails."""
        by_magi = request.variables.get("request") == "async"
        # A line of an earlier version does not tell the Asterisk.
        own = ((call.asterisk, call.uniqueid), ("", call.uniqueid))
        channel = next((channel for channel in own if channel in self._orphans), None) if by_magi else None
        if channel is not None:
            key, began = self._orphans.pop(channel)
            self._forget(_orphan(channel))
        else:
            key, began = self._key_of(request), call.since
        told = (call.uniqueid, call.caller, call.caller_name, call.number)
        line = begun_line(key, began, *told, by_magi, call.asterisk)
        self._keep(key, None, line)
        return JournalEntry(key, began)

    def decided(self, key: str, call: GatewayCall, verdict: str) -> None:
        """Note the decision by which a call's application runs; it is written with the next ``sync``."""
        self._decided[key] = (call, verdict)

    def finish(self, row: CallRow) -> CallRow:
        """Write a call that is over; returns the row with its key. Never fails."""
        if row.call_key:
            self._decided.pop(row.call_key, None)
        else:  # it was refused before it began
            self._serial += 1
            row = replace(row, call_key=f"{self._run}-{self._serial}")
        kept = self._needed.get(row.call_key)
        if kept is not None and kept[0] is row:  # nothing more is known of it
            return row
        self._keep(row.call_key, row, finished_line(row))
        return row

    def written(self, rows: Iterable[CallRow]) -> None:
        """Forget calls that are in the history, or given up. Never fails."""
        keys = []
        for row in rows:
            kept = self._needed.get(row.call_key)
            if kept is not None and kept[0] is row:
                self._forget(row.call_key)
                keys.append(row.call_key)
        if keys:
            self._append(written_line(keys))

    def _keep(self, key: str, row: CallRow | None, line: bytes) -> None:
        """Write a line of a call, which takes the place of those before."""
        self._forget(key)
        if self._needed_bytes + len(line) > MAX_NEEDED:
            self.outage.failed(JournalUnreadable(sentence("it has {count} calls already", count=self.calls)))
            return
        self._needed[key] = (row, line)
        self._needed_bytes += len(line)
        self._append(line)

    def _forget(self, key: str) -> None:
        kept = self._needed.pop(key, None)
        if kept is not None:
            self._needed_bytes -= len(kept[1])

    def _write_decisions(self) -> None:
        """Write the decisions of calls whose application is still running."""
        decided, self._decided = self._decided, {}
        for key, (call, verdict) in decided.items():
            kept = self._needed.get(key)
            if kept is None or kept[0] is not None:
                continue
            line = decided_line(
                key,
                (
                    call.number,
                    verdict,
                    call.pattern,
                    call.application,
                    call.data,
                    call.granted_by,
                    call.forwarded_by,
                ),
            )
            self._needed[key] = (None, kept[1] + line)
            self._needed_bytes += len(line)
            self._append(line)

    def _append(self, line: bytes) -> None:
        segment = self._segment
        if segment is None:
            return  # all that is needed is written as soon as there is a file
        try:
            segment.append(line)
            if self._next is not None:
                self._next.append(line)
            self._unsynced = True
        except OSError as error:
            self._incomplete = True
            self.outage.failed(error)

    # --- the file ---

    def open(self) -> TakenUp:
        """Read what earlier runs left, and begin this run's file. Never fails."""
        taken = TakenUp()
        with contextlib.ExitStack() as locked:  # earlier files stay locked until this run's has what they had
            self.path = self._take_up_files(taken, locked)
            self._open = True
            try:
                self._begin_file(taken)
            except OSError as error:
                self.outage.failed(error)
        return taken

    def _take_up_files(self, taken: TakenUp, locked: contextlib.ExitStack) -> Path | None:
        """Read all journals that no other gateway uses; returns the first name that is free, None if none is.

        Args:
            locked: closes their descriptors, which unlocks them.
        """
        free: Path | None = None
        for path in journal_files(self._database):
            with contextlib.ExitStack() as left:  # what is not taken up is closed at once
                try:
                    descriptor = open_to_lock(path)
                except FileNotFoundError:
                    free = free or path
                    continue
                except OSError as error:
                    self.log.error("journal: {file} cannot be read: {error}", file=str(path), error=error.strerror)
                    continue
                left.callback(os.close, descriptor)
                if not lock(descriptor):  # of another gateway on the database
                    continue
                try:
                    self._take_up(read_descriptor(descriptor), taken)
                except JournalUnreadable as error:
                    self.log.error("journal: {file} is left as it is: {error}", file=str(path), error=str(error))
                    continue
                taken.files.append(path)
                free = free or path
                locked.push(left.pop_all())
        return free

    def _begin_file(self, taken: TakenUp) -> None:
        """Write this run's file, and delete those that were taken up."""
        if self.path is None:
            raise _no_name_left()
        segment = self._new_segment(self.path)
        try:
            os.fsync(segment.descriptor)
            self._put_in_place(segment, self.path)
        except OSError:
            segment.close()
            raise
        for path in taken.files:
            if path != self.path:
                path.unlink(missing_ok=True)

    def _take_up(self, content: JournalContent, taken: TakenUp) -> None:
        """Keep what an earlier run left: its calls, and those by MAGI that may still wait."""
        ended = content.modified
        cut = [_cut_row(call, ended) for call in content.begun.values()]
        for row in (*content.finished.values(), *cut):
            self._keep(row.call_key, row, finished_line(row))
            taken.rows.append(row)
        taken.cut += len(cut)
        taken.unreadable += content.unreadable
        since = self._now() - ORPHAN_S
        waiting = {
            (call.asterisk, call.uniqueid): (call.key, call.began) for call in content.begun.values() if call.by_magi
        }
        for channel, (key, began) in {**content.orphans, **waiting}.items():
            if began >= since and len(self._orphans) < MAX_ORPHANS:
                self._orphans[channel] = (key, began)
                self._keep(_orphan(channel), None, orphan_line(channel, key, began))

    def _new_segment(self, path: Path) -> Segment:
        return Segment(path.with_name(f"{path.name}.new"), HEADER + b"".join(line for _, line in self._needed.values()))

    def _put_in_place(self, segment: Segment, path: Path) -> None:
        os.rename(path.with_name(f"{path.name}.new"), path)
        self._segment = segment
        self._incomplete = self._unsynced = False
        _sync_directory(path.parent)

    async def sync(self) -> None:
        """Synchronise the file if there is something new, or write it anew if needed. Never fails."""
        if not self._open or self.path is None:
            return
        self._write_decisions()
        try:
            segment = self._segment
            if segment is None or not segment.is_at(self.path):
                self.path = self._free_path()
                await self._rewrite(self.path)
            elif self._incomplete or self._is_large(segment):
                await self._rewrite(self.path)
            elif self._unsynced:
                self._unsynced = False
                await self._aside(partial(os.fdatasync, segment.descriptor))
        except OSError as error:
            self._incomplete = True
            self.outage.failed(error)
        else:
            self.outage.over()

    def _free_path(self) -> Path:
        """A name that no other gateway uses: one that started at the same moment may have taken ours."""
        trouble: OSError | None = None
        for path in journal_files(self._database):
            try:
                descriptor = open_to_lock(path)
            except FileNotFoundError:
                return path
            except OSError as error:  # no file, or not ours
                trouble = trouble or error
                continue
            try:
                if lock(descriptor) and path == self.path:
                    return path
            finally:
                os.close(descriptor)
        raise trouble or _no_name_left()

    def _is_large(self, segment: Segment) -> bool:
        return segment.size > max(REWRITE_AT, 2 * self._needed_bytes)

    async def _rewrite(self, path: Path) -> None:
        self._incomplete = False
        segment = self._next = self._new_segment(path)
        try:
            await self._aside(partial(os.fdatasync, segment.descriptor))
            if self._incomplete:  # an append has failed meanwhile
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.rename(path.with_name(f"{path.name}.new"), path)
        except BaseException:
            segment.close()
            with contextlib.suppress(OSError):
                os.unlink(path.with_name(f"{path.name}.new"))
            raise
        finally:
            self._next = None
        old, self._segment = self._segment, segment
        self._unsynced = True  # what was appended meanwhile
        if old is not None:
            old.close()
        await self._aside(partial(_sync_directory, path.parent))

    async def close(self) -> bool:
        """Synchronise and close the file; one that nothing needs is deleted.

        Returns:
            Whether all calls that are kept are in the file.
        """
        if not self._open:
            return True
        await self.sync()
        self._open = False
        segment, self._segment = self._segment, None
        if segment is None or self.path is None:
            return not self._needed
        whole = not self._incomplete
        if not self._needed and segment.is_at(self.path):
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        segment.close()
        return whole


def _no_name_left() -> OSError:
    """All names that a journal may have are in use."""
    return OSError(errno.EEXIST, os.strerror(errno.EEXIST))


def _orphan(channel: ChannelOf) -> str:
    """The key under which a call that an earlier run left is kept; no call of a run has such a key."""
    return f"left {' '.join(channel).strip()}"


def _cut_row(call: Begun, ended: float) -> CallRow:
    """The row of a call in which the gateway died."""
    number, verdict, pattern, application, data, granted_by, forwarded_by = call.decided or (call.number, *[""] * 6)
    return CallRow(
        call.began,
        max(call.began, ended),
        call.uniqueid,
        call.caller,
        call.caller_name,
        number,
        verdict,
        pattern,
        application,
        data,
        granted_by,
        UNKNOWN,
        "",
        None,
        trace_text([CUT]),
        forwarded_by,
        call.asterisk,
        call_key=call.key,
    )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
