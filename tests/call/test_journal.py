"""The call journal: what a run leaves in it and the next one takes up, its file, and what may go wrong with that."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import database
from pbxrouter.agi import AGIRequest
from pbxrouter.call import history_writer, journal_file
from pbxrouter.call import journal as journal_module
from pbxrouter.call.active_calls import ActiveCalls, GatewayCall
from pbxrouter.call.history_writer import HistoryWriter
from pbxrouter.call.journal import CUT, CallJournal, JournalEntry, TakenUp
from pbxrouter.call.journal_file import (
    CHUNK,
    HEADER,
    MAX_FILES,
    MAX_LINE,
    Segment,
    finished_line,
    journal_files,
    read_content,
    read_journal,
)
from pbxrouter.database.calls import CallRow, Search, add_calls, find_calls
from pbxrouter.errors import JournalUnreadable
from pbxrouter.rules.model import Decision, Mapping, Verdict
from tests.call.test_history_writer import FakeStore, record
from tests.databases import new_database
from tests.fakes import loud

NOW = 5000.0


def request(uniqueid: str = "1.2", by_magi: bool = False, caller: str = "33") -> AGIRequest:
    """What Asterisk says of a call."""
    return AGIRequest(
        {
            "request": "async" if by_magi else "agi://x",
            "callerid": caller,
            "calleridname": "Ana",
            "uniqueid": uniqueid,
            "extension": "21",
        }
    )


def row(key: str = "", uniqueid: str = "1.2", **changed: Any) -> CallRow:
    """The row of a call that was answered."""
    made = CallRow(
        NOW,
        NOW + 7,
        uniqueid,
        "33",
        "Ana",
        "21",
        "allow",
        "2X",
        "dial",
        "SIP",
        "33",
        "ANSWER",
        "",
        5,
        "[]",
        call_key=key,
    )
    return replace(made, **changed)


class JournalCase(SynchronousTestCase):
    """Journals beside a database that need not exist."""

    def setUp(self) -> None:
        """Choose the place."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.database = self.folder / "x.db"
        self.path = self.folder / "x.db.calls"
        self.now = NOW
        self.calls = ActiveCalls()
        self.running: list[CallJournal] = []
        self.addCleanup(lambda: list(map(self.kill, self.running)))

    def made(self, aside: Callable[[Callable[[], object]], Deferred[Any]] | None = None) -> CallJournal:
        """A journal that is not open yet."""
        journal = CallJournal(self.database, lambda: self.now, aside or (lambda work: succeed(work())))
        self.running.append(journal)
        return journal

    def opened(self, expected: int = 0) -> tuple[CallJournal, TakenUp]:
        """A journal that is open, and what it took up."""
        journal = self.made()
        taken = journal.open()
        self.assertEqual(len(taken.rows), expected)
        return journal, taken

    def kill(self, journal: CallJournal) -> None:
        """End a run as SIGKILL does: its file stays as it is, and is locked no more."""
        segment, journal._segment = journal._segment, None
        if segment is not None:
            segment.close()

    def begun(
        self, journal: CallJournal, uniqueid: str = "1.2", by_magi: bool = False, asterisk: str = ""
    ) -> tuple[GatewayCall, JournalEntry]:
        """Begin a call."""
        asked = request(uniqueid, by_magi)
        call = self.calls.add(asked, self.now, asterisk)
        return call, journal.begin(call, asked)

    def sync(self, journal: CallJournal) -> None:
        """Let it synchronise."""
        self.successResultOf(Deferred.fromCoroutine(journal.sync()))

    def close(self, journal: CallJournal) -> bool:
        """End a run as a stop does."""
        return self.successResultOf(Deferred.fromCoroutine(journal.close()))

    def other(self) -> Path:
        """Another file."""
        path = self.folder / "other"
        path.write_bytes(b"other")
        return path

    def descriptors(self) -> int:
        """How many descriptors this process has open."""
        count = 0
        for descriptor in range(1000):
            with contextlib.suppress(OSError):
                os.fstat(descriptor)
                count += 1
        return count


class Disk:
    """The module ``os`` on a disk where a file has so much room.

    Args:
        room: bytes.

    Attributes:
        allocations: how often room was asked for.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.allocations = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def posix_fallocate(self, descriptor: int, offset: int, length: int) -> None:
        """Allocate room, as os.posix_fallocate does."""
        self.allocations += 1
        if offset + length > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.posix_fallocate(descriptor, offset, length)

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        """Write as os.pwrite does, as much as there is room for."""
        return os.pwrite(descriptor, data[: max(0, self.room - offset)], offset)


class TakingUpTests(JournalCase):
    """Calls that a run has left, and the next takes up."""

    def test_cut(self) -> None:
        """A call without an end is cut: facts and times are there, the outcome is unknown."""
        journal, _ = self.opened()
        self.begun(journal)
        self.kill(journal)
        os.utime(self.path, (NOW + 60, NOW + 60))
        _, taken = self.opened(1)
        (cut,) = taken.rows
        self.assertEqual(
            (cut.began, cut.ended, cut.uniqueid, cut.caller, cut.caller_name), (NOW, NOW + 60, "1.2", "33", "Ana")
        )
        self.assertEqual((cut.number, cut.verdict, cut.outcome, cut.answered_s), ("21", "", "UNKNOWN", None))
        self.assertEqual((cut.cause, cut.forwarded_by, cut.pattern, cut.application), ("", "", "", ""))
        self.assertEqual((cut.data, cut.granted_by), ("", ""))
        (step,) = cut.steps
        self.assertEqual(step, CUT)
        self.assertEqual(step.english, "cut: the gateway died during this call; what became of it is not known")
        self.assertEqual((taken.cut, taken.unreadable, taken.files), (1, 0, [self.path]))

    def test_decided(self) -> None:
        """A call that was cut while its application ran names what was decided; it is written within the second."""
        journal, _ = self.opened()
        call, entry = self.begun(journal)
        decision = Decision(Verdict.ALLOW, "21", Mapping(2, "2X", "dial", "SIP"), "33", ())
        self.calls.set_decision(call, decision)
        journal.decided(entry.key, call, "allow")
        self.sync(journal)
        self.kill(journal)
        _, taken = self.opened(1)
        (cut,) = taken.rows
        self.assertEqual(
            (cut.verdict, cut.pattern, cut.application, cut.data, cut.granted_by), ("allow", "2X", "dial", "SIP", "33")
        )

    def test_clock_set_back(self) -> None:
        """A call does not end before it began, whenever the journal was last written."""
        journal, _ = self.opened()
        self.begun(journal)
        self.kill(journal)
        os.utime(self.path, (NOW - 60, NOW - 60))
        (cut,) = self.opened(1)[1].rows
        self.assertEqual((cut.began, cut.ended), (NOW, NOW))

    def test_decisions_are_written_once(self) -> None:
        """A decision is one line; that of a call which is over by then, or is not known, is none."""
        journal, _ = self.opened()
        call, entry = self.begun(journal)
        over_call, over_entry = self.begun(journal, "1.3")
        decision = Decision(Verdict.ALLOW, "22", Mapping(2, "2X", "dial", "SIP"), "33", (), forwarded_by="44")
        self.calls.set_decision(call, decision)
        journal.decided(entry.key, call, "allow")
        journal.decided(over_entry.key, over_call, "allow")
        over = journal.finish(row(over_entry.key, "1.3"))
        journal.decided("unknown", call, "allow")
        journal.decided(over.call_key, over_call, "deny")
        before = journal.size
        self.sync(journal)
        once = journal.size
        self.assertGreater(once, before)
        self.sync(journal)
        self.assertEqual(journal.size, once)
        self.kill(journal)
        finished, cut = self.opened(2)[1].rows
        self.assertEqual(finished, over)
        self.assertEqual((cut.number, cut.verdict, cut.forwarded_by), ("22", "allow", "44"))

    def test_decision_behind_one_that_is_over(self) -> None:
        """A decision that is no longer needed keeps none that comes after it from being written."""
        journal, _ = self.opened()
        over_call, over_entry = self.begun(journal, "1.3")
        over = journal.finish(row(over_entry.key, "1.3"))
        call, entry = self.begun(journal)
        journal.decided(over.call_key, over_call, "deny")
        journal.decided("unknown", over_call, "deny")
        journal.decided(entry.key, call, "allow")
        self.sync(journal)
        self.kill(journal)
        finished, cut = self.opened(2)[1].rows
        self.assertEqual((finished, cut.call_key, cut.verdict), (over, entry.key, "allow"))

    def test_finished(self) -> None:
        """A call that was over is as it was; one that is in the history is not there."""
        journal, _ = self.opened()
        kept, gone = (journal.finish(row(self.begun(journal)[1].key, uniqueid)) for uniqueid in ("1.3", "1.4"))
        journal.written([gone])
        self.kill(journal)
        _, taken = self.opened(1)
        self.assertEqual((taken.rows, taken.rows[0].call_key, taken.cut), ([kept], kept.call_key, 0))

    def test_refused_before_it_began(self) -> None:
        """A call that was never begun gets a key when it is over."""
        journal, _ = self.opened()
        keys = {journal.finish(row()).call_key for _ in range(3)}
        self.assertEqual(len(keys - {""}), 3)
        self.kill(journal)
        self.assertEqual({taken.call_key for taken in self.opened(3)[1].rows}, keys)

    def test_no_run_is_lost(self) -> None:
        """What was taken up and not written is taken up again, with the same keys."""
        journal, _ = self.opened()
        self.begun(journal)
        journal.finish(row())
        self.kill(journal)
        keys = []
        for _ in range(3):
            journal, taken = self.opened(2)
            keys.append(sorted(of_it.call_key for of_it in taken.rows))
            self.kill(journal)
        self.assertEqual(keys, [keys[0]] * 3)

    def test_in_the_database_once(self) -> None:
        """The history has each call once, however often it is written."""
        new_database(self.database)
        with contextlib.closing(database.connect(self.database)) as connection:
            journal, _ = self.opened()
            self.begun(journal)
            over = journal.finish(row(uniqueid="1.9"))
            add_calls(connection, [over])  # and then it is killed
            self.kill(journal)
            _, taken = self.opened(2)
            for _ in range(2):
                add_calls(connection, taken.rows)
            found = [(of_it.uniqueid, of_it.outcome) for of_it in find_calls(connection, Search(), 10)]
            self.assertEqual(sorted(found), [("1.2", "UNKNOWN"), ("1.9", "ANSWER")])

    def test_magi(self) -> None:
        """A call by MAGI that the next run takes up goes on: it is one call in the history, since its beginning."""
        new_database(self.database)
        with contextlib.closing(database.connect(self.database)) as connection:
            journal, _ = self.opened()
            _, first = self.begun(journal, by_magi=True)
            self.begun(journal, "1.7", by_magi=True)
            self.kill(journal)
            journal, taken = self.opened(2)
            add_calls(connection, taken.rows)
            journal.written(taken.rows)
            self.kill(journal)  # before it has found the call
            self.now += 30
            journal, _ = self.opened(0)
            _, entry = self.begun(journal, by_magi=True)
            self.assertEqual(entry, first)
            over = journal.finish(row(entry.key, began=entry.began))
            add_calls(connection, [over])
            journal.written([over])
            found = {of_it.uniqueid: (of_it.began, of_it.outcome) for of_it in find_calls(connection, Search(), 10)}
            self.assertEqual(found, {"1.2": (NOW, "ANSWER"), "1.7": (NOW, "UNKNOWN")})
            self.assertNotEqual(self.begun(journal, by_magi=True)[1].key, first.key)  # a second AGI() of the same call

    def test_second_turn(self) -> None:
        """A call that another gateway had first keeps its key: the history has it once, whichever row comes first."""
        database.create(self.database)
        with contextlib.closing(database.connect(self.database)) as connection:
            for second_is_first in (True, False):
                first = CallJournal(self.database, lambda: self.now, lambda work: succeed(work()), "1a2b3c4d")
                second = CallJournal(self.database, lambda: self.now, lambda work: succeed(work()), "5e6f7081")
                uniqueid = f"1.{second_is_first}"
                key = first.reserve()
                self.assertTrue(key.startswith("1a2b3c4d"), key)
                asked = replace(request(uniqueid), arguments=(f"call={key}",))
                self.assertEqual(first.begin(self.calls.add(asked, NOW), asked).key, key)
                again = replace(asked, arguments=(f"again={key}",))
                entry = second.begin(self.calls.add(again, NOW + 2), again)
                self.assertEqual(entry.key, key)
                rows = [row(key, uniqueid, outcome="UNKNOWN"), row(key, uniqueid, began=NOW + 2)]
                for each in reversed(rows) if second_is_first else rows:
                    add_calls(connection, [each])
            found = [(of_it.uniqueid, of_it.outcome) for of_it in find_calls(connection, Search(), 10)]
            self.assertEqual(sorted(found), [("1.False", "ANSWER"), ("1.True", "ANSWER")])

    def test_keys_that_are_not_taken(self) -> None:
        """A key that was never told, that of another call, or in a first turn a used one, is not taken."""
        journal, _ = self.opened()
        key = journal.reserve()

        def begin(argument: str) -> str:
            asked = replace(request(), arguments=(argument,))
            return journal.begin(self.calls.add(asked, NOW), asked).key

        self.assertEqual(begin(f"call={key}"), key)
        another = begin("nothing")
        for argument in (
            f"call={key}",
            f"call={another}",
            f"again={another}",
            "call=0123456789abcdef-1",
            "again=nonsense",
        ):
            self.assertNotIn(begin(argument), argument)
        for known in (key, "0123456789abcdef-1"):
            self.assertEqual(begin(f"again={known}"), known)

    def test_key_of_another_process(self) -> None:
        """A gateway of several processes takes the key that another one of them has told; not another gateway's."""
        first, second = (
            CallJournal(self.database, lambda: self.now, lambda work: succeed(work()), "1a2b3c4d") for _ in range(2)
        )
        other = CallJournal(self.database, lambda: self.now, lambda work: succeed(work()), "5e6f7081")
        key = first.reserve()
        asked = replace(request(), arguments=(f"call={key}",))
        self.assertEqual(second.begin(self.calls.add(asked, NOW), asked).key, key)
        self.assertNotEqual(other.begin(self.calls.add(asked, NOW), asked).key, key)

    def test_reserved(self) -> None:
        """Of the keys that dialplans were told and did not come back with, the latest are kept."""
        self.patch(journal_module, "MAX_RESERVED", 2)
        journal, _ = self.opened()
        keys = [journal.reserve() for _ in range(3)]
        used = []
        for key in keys:
            asked = replace(request(), arguments=(f"call={key}",))
            used.append(journal.begin(self.calls.add(asked, NOW), asked).key == key)
        self.assertEqual(used, [False, True, True])

    def test_magi_before_the_history_has_it(self) -> None:
        """A call by MAGI that goes on before its cut row is written is kept until it is over."""
        journal, _ = self.opened()
        self.begun(journal, by_magi=True)
        self.kill(journal)
        journal, taken = self.opened(1)
        _, entry = self.begun(journal, by_magi=True)
        journal.written(taken.rows)
        self.assertEqual(journal.calls, 1)
        over = journal.finish(row(entry.key))
        self.kill(journal)
        self.assertEqual(self.opened(1)[1].rows, [over])

    def test_magi_of_two_asterisks(self) -> None:
        """Of calls by MAGI with equal Uniqueids on two Asterisks each goes on as itself, at the next run and after."""
        journal, _ = self.opened()
        first = {name: self.begun(journal, by_magi=True, asterisk=name)[1] for name in ("a", "b")}
        self.kill(journal)
        journal, _ = self.opened(2)
        self.kill(journal)
        journal, taken = self.opened(2)
        self.assertEqual(sorted(row.asterisk for row in taken.rows), ["a", "b"])
        for name in ("b", "a"):
            self.assertEqual(self.begun(journal, by_magi=True, asterisk=name)[1], first[name])

    def test_magi_of_an_earlier_version(self) -> None:
        """A line that does not tell the Asterisk, as an earlier version wrote it, is of whichever takes it up."""
        journal, _ = self.opened()
        _, first = self.begun(journal, by_magi=True)
        self.kill(journal)
        journal, _ = self.opened(1)
        self.assertEqual(self.begun(journal, by_magi=True, asterisk="a")[1], first)
        lines = [b'["b", "k", 5.0, "1.2", "33", "", "21", true]', b'["o", "l", "1.3", 6.0]']
        found = read_content(HEADER + b"\n".join(lines) + b"\n")
        self.assertEqual(
            (found.begun["k"].asterisk, found.orphans, found.unreadable), ("", {("", "1.3"): ("l", 6.0)}, 0)
        )

    def test_magi_within_a_day(self) -> None:
        """A call by MAGI goes on for a day after it began; it is counted once, and bounds how many are kept."""
        self.patch(journal_module, "MAX_ORPHANS", 2)
        journal, _ = self.opened()
        first = [self.begun(journal, f"1.{number}", by_magi=True)[1] for number in range(3)]
        self.kill(journal)
        self.now += 86_400
        journal, _ = self.opened(3)
        self.assertEqual(journal.calls, 3)
        again = [self.begun(journal, f"1.{number}", by_magi=True)[1] for number in range(3)]
        self.assertEqual(again[:2], first[:2])
        self.assertNotEqual(again[2].key, first[2].key)
        self.assertEqual((again[2].began, journal.calls), (self.now, 4))

    def test_fastagi_is_no_continuation(self) -> None:
        """A FastAGI call with the Uniqueid of one that was left is another call, and so is one after a day."""
        journal, _ = self.opened()
        _, first = self.begun(journal, by_magi=True)
        self.kill(journal)
        journal, _ = self.opened(1)
        self.assertNotEqual(self.begun(journal)[1].key, first.key)
        self.kill(journal)
        self.now += 86_401
        journal, _ = self.opened(2)
        self.assertNotEqual(self.begun(journal, by_magi=True)[1].key, first.key)


class FileTests(JournalCase):
    """The file."""

    def test_mode(self) -> None:
        """Others cannot read it, and a stop with nothing left deletes it."""
        journal, _ = self.opened()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertTrue(self.close(journal))
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_stop(self) -> None:
        """A stop keeps what is not written."""
        journal, _ = self.opened()
        journal.finish(row())
        self.assertTrue(self.close(journal))
        self.opened(1)

    def test_two_gateways(self) -> None:
        """A second gateway has a file of its own; once both are gone, the next start takes up both."""
        first, _ = self.opened()
        second, _ = self.opened()
        self.assertEqual([first.path, second.path], [self.path, self.folder / "x.db.calls.2"])
        for journal in (first, second):
            journal.finish(row())
            self.kill(journal)
        _, taken = self.opened(2)
        self.assertEqual(taken.files, [first.path, second.path])
        self.assertEqual([path.name for path in self.folder.iterdir()], ["x.db.calls"])

    def test_a_gateway_that_starts_meanwhile(self) -> None:
        """While a gateway takes up journals they are locked: one that starts at the same time takes up nothing."""
        for _ in range(2):
            journal, _ = self.opened()
            journal.finish(row())
        for journal in self.running:
            self.kill(journal)
        others: list[TakenUp] = []

        class Meanwhile(Disk):
            """A disk on which another gateway starts when the first asks for room."""

            def posix_fallocate(self, descriptor: int, offset: int, length: int) -> None:
                """Start the other gateway, and allocate."""
                if not self.allocations:
                    self.allocations += 1
                    others.append(other.open())
                super().posix_fallocate(descriptor, offset, length)

        other = self.made()
        self.patch(journal_file, "os", Meanwhile(1 << 30))
        journal, taken = self.opened(2)
        self.assertEqual(taken.files, [self.path, self.folder / "x.db.calls.2"])
        self.assertEqual([(found.rows, found.files) for found in others], [([], [])])
        self.assertEqual(other.path, self.folder / "x.db.calls.3")
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["x.db.calls", "x.db.calls.3"])

    def test_first_line(self) -> None:
        """The file begins with the version of its format, which the next version must know."""
        journal, _ = self.opened()
        self.assertEqual(self.path.read_bytes().rstrip(b"\0"), b"pbxrouter calls 1\n")
        self.assertEqual(journal.size, len(b"pbxrouter calls 1\n"))

    def test_before_it_is_open(self) -> None:
        """A journal that is not open keeps calls, has no bytes, and is closed at once; opened, it writes them."""
        journal = self.made()
        self.begun(journal)
        self.sync(journal)
        self.assertEqual((journal.calls, journal.size, journal.path), (1, 0, None))
        self.assertTrue(self.close(journal))
        self.assertEqual(list(self.folder.iterdir()), [])
        journal.open()
        self.kill(journal)
        self.opened(1)

    def test_too_many_gateways(self) -> None:
        """A gateway for which there is no file goes on without, and says so."""
        for _ in range(MAX_FILES):
            self.opened()
        with capturedLogs() as logs:
            journal, _ = self.opened()
            journal.finish(row())
            self.sync(journal)
        (line,) = loud(logs)
        self.assertEqual(
            line["log_format"],
            "journal: calls cannot be written to it, and a kill would lose those in progress: {error}",
        )
        self.assertEqual((line["error"], journal.path), (f"[Errno {errno.EEXIST}] {os.strerror(errno.EEXIST)}", None))
        self.assertEqual(self.close(journal), False)

    def test_bounded(self) -> None:
        """The file is written anew when it is large; what is needed stays, and what comes meanwhile, too."""
        self.patch(journal_module, "REWRITE_AT", 20_000)
        journal, waiting = self.held_back()
        needed = [journal.finish(row(uniqueid="first")), journal.finish(row(uniqueid="second"))]
        for _ in range(200):
            journal.written([journal.finish(row())])
        before = journal.size
        self.assertGreater(before, 20_000)
        syncing = Deferred.fromCoroutine(journal.sync())
        needed.append(journal.finish(row(uniqueid="third")))
        while waiting:
            waiting.pop().callback(None)
        self.successResultOf(syncing)
        self.assertLess(journal.size, 2000)
        self.kill(journal)
        self.assertEqual(self.opened(3)[1].rows, needed)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["x.db.calls"])

    def test_most_calls(self) -> None:
        """Beyond its bound no call is added; the log says so once, and again there is room when calls are written."""
        self.patch(journal_module, "MAX_NEEDED", 1000)
        journal, _ = self.opened()
        with capturedLogs() as logs:
            rows = [journal.finish(row()) for _ in range(20)]
        (line,) = loud(logs)
        kept = journal.calls
        self.assertEqual(kept, 1000 // len(finished_line(rows[0])))
        self.assertEqual(line["error"], f"it has {kept} calls already")
        journal.written(rows)
        self.assertEqual(journal.calls, 0)
        journal.finish(row())
        self.kill(journal)
        self.opened(1)

    def test_what_is_no_longer_needed(self) -> None:
        """Calls that are in the history take no room, nor do earlier lines of a call: any number can follow."""
        self.patch(journal_module, "MAX_NEEDED", 1000)
        journal, _ = self.opened()
        for number in range(50):
            call, entry = self.begun(journal, f"1.{number}")
            journal.decided(entry.key, call, "allow")
            self.sync(journal)
            over = journal.finish(row(entry.key))
            self.assertEqual(journal.calls, 1)
            journal.written([over])
        self.assertEqual((journal.calls, journal.outage.away_since), (0, None))
        before = journal.size
        journal.written([over, row("other")])
        self.assertEqual(journal.size, before)

    def test_name_that_another_gateway_took(self) -> None:
        """A gateway whose file was deleted, and whose name another one uses now, writes its calls under the next."""
        first, _ = self.opened()
        over = first.finish(row())
        self.path.unlink()
        second, _ = self.opened()
        self.assertEqual(second.path, self.path)
        before = self.descriptors()
        self.sync(first)
        self.assertEqual(self.descriptors(), before)
        self.assertEqual((first.path, first.outage.away_since), (self.folder / "x.db.calls.2", None))
        self.assertEqual(list(read_journal(self.folder / "x.db.calls.2").finished), [over.call_key])
        self.assertEqual(len(read_journal(self.path).finished), 0)

    def test_name_that_is_no_file_any_more(self) -> None:
        """A gateway in whose file's place there is a folder writes its calls under the next name."""
        journal, _ = self.opened()
        over = journal.finish(row())
        self.path.unlink()
        self.path.mkdir()
        self.sync(journal)
        self.assertEqual((journal.path, journal.outage.away_since), (self.folder / "x.db.calls.2", None))
        self.assertEqual(list(read_journal(self.folder / "x.db.calls.2").finished), [over.call_key])

    def test_no_name_is_left_any_more(self) -> None:
        """A gateway whose file was deleted, and for which there is no name, says so, and goes on when there is one."""
        journal, _ = self.opened()
        over = journal.finish(row())
        self.path.unlink()
        others = [self.opened()[0] for _ in range(MAX_FILES)]
        with capturedLogs() as logs:
            self.sync(journal)
        (line,) = loud(logs)
        self.assertIn(os.strerror(errno.EEXIST), line["error"])
        self.close(others[4])
        self.sync(journal)
        self.assertEqual((journal.path, journal.outage.away_since), (self.folder / "x.db.calls.5", None))
        self.assertEqual(list(read_journal(self.folder / "x.db.calls.5").finished), [over.call_key])

    def test_taken_away(self) -> None:
        """A file that was deleted, replaced or emptied is written again with all that is needed."""
        journal, _ = self.opened()
        over = journal.finish(row())
        for harm in (
            self.path.unlink,
            lambda: os.replace(self.other(), self.path),
            lambda: self.path.write_bytes(b""),
        ):
            harm()
            self.sync(journal)
            self.assertEqual(list(read_journal(journal.path or self.path).finished), [over.call_key])

    def test_full_disk(self) -> None:
        """With the disk full, what was allocated ahead takes thousands of calls; then the log says that there is no
        room, and once there is, all are in the file."""
        journal, _ = self.opened()
        disk = Disk(CHUNK)
        self.patch(journal_file, "os", disk)
        with capturedLogs() as logs:
            count = 0
            while not loud(logs):
                journal.finish(row(uniqueid=f"1.{count}"))
                count += 1
            self.assertGreater(count, 2000)
            self.sync(journal)
        self.assertEqual(len(loud(logs)), 1)
        found = read_journal(self.path)
        self.assertEqual((len(found.finished), found.unreadable), (count - 1, 0))
        disk.room = 1 << 30
        self.sync(journal)
        self.assertIsNone(journal.outage.away_since)
        self.kill(journal)
        self.opened(count)

    def test_what_a_full_disk_has_left(self) -> None:
        """On a full disk what is allocated is used up without asking for more each time, and no more is taken."""
        journal, _ = self.opened()
        disk = Disk(self.path.stat().st_size + 2000)
        self.patch(journal_file, "os", disk)
        line = len(finished_line(journal.finish(row())))
        with capturedLogs() as logs:
            while not loud(logs):
                journal.finish(row())
        self.assertEqual(disk.allocations, 2)
        self.assertEqual(self.path.stat().st_size, disk.room - 2000)
        self.assertLess(disk.room - 2000 - journal.size, line + 5)

    def test_room_is_allocated_ahead(self) -> None:
        """At least half of what is allocated at a time is left, so that a disk that becomes full stops no call."""
        journal, _ = self.opened()
        disk = Disk(1 << 40)
        self.patch(journal_file, "os", disk)
        large = row(data="x" * 30_000)
        for _ in range(200):
            journal.finish(large)
            self.assertGreaterEqual(self.path.stat().st_size - journal.size, CHUNK // 2)
        self.assertEqual(disk.allocations, (self.path.stat().st_size - CHUNK) // CHUNK)

    def test_disk_that_fails_at_the_start(self) -> None:
        """A file that cannot be put in its place is closed; what was taken up stays where it is, and is tried again."""
        for _ in range(2):
            journal, _ = self.opened()
            journal.finish(row())
        for journal in self.running:
            self.kill(journal)
        before = self.descriptors()

        class Failing(Disk):
            """A disk that cannot synchronise."""

            def fsync(self, descriptor: int) -> None:
                """Refuse to synchronise."""
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        with capturedLogs() as logs:
            self.patch(journal_module, "os", Failing(1 << 40))
            journal, _ = self.opened(2)
            self.patch(journal_module, "os", os)
        self.assertEqual([event["error"] for event in loud(logs)], [f"[Errno {errno.EIO}] {os.strerror(errno.EIO)}"])
        self.assertEqual((journal.size, self.descriptors()), (0, before))
        for path in (self.path, self.folder / "x.db.calls.2"):
            self.assertEqual(len(read_journal(path).finished), 1)
        self.sync(journal)
        self.assertEqual(len(read_journal(self.path).finished), 2)
        self.assertIsNone(journal.outage.away_since)

    def test_no_room_at_the_start(self) -> None:
        """With no room for a file the calls of earlier runs are taken up all the same, and stay where they are."""
        journal, _ = self.opened()
        journal.finish(row())
        self.kill(journal)
        disk = Disk(1000)
        self.patch(journal_file, "os", disk)
        with capturedLogs() as logs:
            journal, _ = self.opened(1)
        self.assertEqual(len(loud(logs)), 1)
        self.assertEqual(len(read_journal(self.path).finished), 1)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["x.db.calls"])
        disk.room = 1 << 30
        self.sync(journal)
        self.assertIsNone(journal.outage.away_since)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["x.db.calls"])

    def test_synchronised_when_needed(self) -> None:
        """The file is synchronised only if something was written; a failure is told once, and all is written anew."""
        done: list[str] = []
        errors: list[Exception] = []

        def aside(work: Callable[[], object]) -> Deferred[Any]:
            done.append("")
            return fail(errors.pop()) if errors else succeed(work())

        journal = self.made(aside)
        journal.open()
        self.sync(journal)
        self.assertEqual(len(done), 0)
        journal.finish(row())
        for _ in range(3):
            self.sync(journal)
        self.assertEqual(len(done), 1)
        journal.finish(row())
        errors.append(OSError(errno.EIO, os.strerror(errno.EIO)))
        with capturedLogs() as logs:
            self.sync(journal)
        self.assertEqual(len(loud(logs)), 1)
        self.assertIsNotNone(journal.outage.away_since)
        self.sync(journal)
        self.assertIsNone(journal.outage.away_since)
        self.kill(journal)
        self.opened(2)

    def held_back(self) -> tuple[CallJournal, list[Deferred[None]]]:
        """An open journal, and what its disk has been asked to do, which each callback lets it do."""
        waiting: list[Deferred[None]] = []

        def aside(work: Callable[[], object]) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1].addCallback(lambda _: work())

        journal = self.made(aside)
        journal.open()
        return journal, waiting

    def rewriting(self) -> tuple[CallJournal, list[Deferred[None]], Deferred[None]]:
        """A journal with a call that is being written anew, and what its disk has been asked to do."""
        self.patch(journal_module, "REWRITE_AT", 1000)
        journal, waiting = self.held_back()
        journal.finish(row(uniqueid="first"))
        while journal.size < 2000:
            journal.written([journal.finish(row())])
        syncing = Deferred.fromCoroutine(journal.sync())
        self.assertTrue(Path(f"{self.path}.new").exists())
        return journal, waiting, syncing

    def test_disk_that_fails_while_it_is_written_anew(self) -> None:
        """A new file that cannot be synchronised is deleted; calls go into the old one until the next attempt."""
        journal, waiting, syncing = self.rewriting()
        before = self.descriptors()
        with capturedLogs() as logs:
            waiting.pop().errback(OSError(errno.EIO, os.strerror(errno.EIO)))
            self.successResultOf(syncing)
        self.assertEqual(len(loud(logs)), 1)
        self.assertEqual(self.descriptors(), before - 1)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["x.db.calls"])
        journal.finish(row(uniqueid="second"))
        again = Deferred.fromCoroutine(journal.sync())
        while waiting:
            waiting.pop().callback(None)
        self.successResultOf(again)
        self.assertIsNone(journal.outage.away_since)
        self.kill(journal)
        self.opened(2)

    def test_full_disk_while_it_is_written_anew(self) -> None:
        """A new file that lacks a call, since the disk became full meanwhile, does not take the old one's place."""
        journal, waiting, syncing = self.rewriting()
        disk = Disk(0)
        self.patch(journal_file, "os", disk)
        with capturedLogs() as logs:
            journal.finish(row(uniqueid="second"))
            waiting.pop().callback(None)
            self.successResultOf(syncing)
        self.assertEqual(len(loud(logs)), 1)
        self.assertEqual(str(journal.outage.trouble), f"[Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["x.db.calls"])
        disk.room = 1 << 40
        again = Deferred.fromCoroutine(journal.sync())
        while waiting:
            waiting.pop().callback(None)
        self.successResultOf(again)
        self.kill(journal)
        self.assertEqual([taken.uniqueid for taken in self.opened(2)[1].rows], ["first", "second"])

    def test_what_came_while_it_was_written_anew(self) -> None:
        """What was appended while the file was written anew is synchronised by the next sync."""
        journal, waiting, syncing = self.rewriting()
        journal.finish(row(uniqueid="second"))
        while waiting:
            waiting.pop().callback(None)
        self.successResultOf(syncing)
        again = Deferred.fromCoroutine(journal.sync())
        self.assertEqual(len(waiting), 1)
        waiting.pop().callback(None)
        self.successResultOf(again)
        self.sync(journal)
        self.assertEqual(waiting, [])


class ContentTests(JournalCase):
    """What is read of a file."""

    def test_torn(self) -> None:
        """Of a file that was cut anywhere, each line that is whole is read; nothing is taken for another thing."""
        journal, _ = self.opened()
        for number in range(3):
            journal.finish(row(uniqueid=f"1.{number}"))
        content = self.path.read_bytes().rstrip(b"\0")
        for length in range(len(HEADER), len(content)):
            found = read_content(content[:length])
            self.assertEqual((len(found.finished), found.unreadable), (content[:length].count(b"\n") - 1, 0))

    def test_damaged(self) -> None:
        """A line that cannot be read is counted and left out; the others are read, also behind missing pages."""
        lines = [finished_line(row(f"k-{number}")) for number in range(4)]
        spoilt = (
            b"x\n",
            b"[]\n",
            b"{}\n",
            b"null\n",
            b'["x", "k"]\n',
            b'["f", "k"]\n',
            b'["b", "k", "then", "1", "2", "3", "4", 0]\n',
            lines[0].replace(b"5000.0", b'"5000.0"'),
            lines[0].replace(b",5,", b",true,"),
            b"[" * 100_000 + b"\n",
            b"\xff\xfe\n",
            b'["d", "k"]\n',
            b'["o", "k"]\n',
            b'["w", {}]\n',
            lines[0].replace(b"5000.0", b"NaN"),
            lines[0].replace(b"5007.0", b"Infinity"),
            b'["b", "k", -Infinity, "1", "2", "3", "4", 0]\n',
            b'["o", "k", "1.2", NaN]\n',
        )
        for line in spoilt:
            found = read_content(HEADER + lines[1] + line + bytes(4096) + lines[2] + bytes(4096))
            self.assertEqual((list(found.finished), found.unreadable), (["k-1", "k-2"], 1), line[:40])

    def test_lines_of_other_versions(self) -> None:
        """A call without the columns that later versions add is read; one with more than are known is not."""
        whole = json.loads(finished_line(row("k")))
        for end in (-1, -2):  # asterisk; forwarded_by
            found = read_content(HEADER + json.dumps(whole[:end]).encode() + b"\n")
            self.assertEqual((found.finished, found.unreadable), ({"k": row("k")}, 0))
        for cells in (whole[:-3], [*whole, "more", "than", "known"]):
            found = read_content(HEADER + json.dumps(cells).encode() + b"\n")
            self.assertEqual((found.finished, found.unreadable), ({}, 1))

    def test_decision_of_a_call_that_is_not_there(self) -> None:
        """The decision of a call without a line of its beginning is passed over: that line may be lost."""
        line = b'["d", "k", "21", "allow", "2X", "dial", "SIP", "33", ""]\n'
        found = read_content(HEADER + line)
        self.assertEqual((found.begun, found.finished, found.unreadable), ({}, {}, 0))

    def test_no_regular_file(self) -> None:
        """A named pipe is refused without waiting for a writer; so are what cannot be opened or read."""
        os.mkfifo(self.path)
        error = self.assertRaises(JournalUnreadable, read_journal, self.path)
        self.assertEqual(str(error), "it is not a file")
        loop = self.folder / "loop"
        loop.symlink_to(loop)
        error = self.assertRaises(JournalUnreadable, read_journal, loop)
        self.assertEqual(str(error), os.strerror(errno.ELOOP))
        unreadable = os.open(self.other(), os.O_WRONLY)
        self.addCleanup(os.close, unreadable)
        error = self.assertRaises(JournalUnreadable, journal_file.read_descriptor, unreadable)
        self.assertEqual(str(error), os.strerror(errno.EBADF))

    def test_other_files(self) -> None:
        """A file of another kind or version is left as it is, and the next name is used; an empty one is replaced."""
        for content in (b"pbxrouter calls 2\nx\n", b"SQLite format 3\0", b"x"):
            self.path.write_bytes(content)
            with capturedLogs() as logs:
                journal, _ = self.opened()
            self.assertEqual(len(loud(logs)), 1)
            self.assertEqual(journal.path, self.folder / "x.db.calls.2")
            self.assertEqual(self.path.read_bytes(), content)
            self.close(journal)
        for content in (b"", bytes(5000)):
            self.path.write_bytes(content)
            journal, _ = self.opened()
            self.assertEqual(journal.path, self.path)
            self.close(journal)

    def test_no_files(self) -> None:
        """A folder, a named pipe and a link in the file's place are left alone."""
        for make in (Path.mkdir, os.mkfifo, lambda path: path.symlink_to(self.folder / "elsewhere")):
            make(self.path)
            with capturedLogs() as logs:
                journal, _ = self.opened()
            self.assertEqual((len(loud(logs)), journal.path), (1, self.folder / "x.db.calls.2"))
            self.close(journal)
            self.assertTrue(os.path.lexists(self.path))
            self.path.rmdir() if self.path.is_dir() else self.path.unlink()

    def test_texts(self) -> None:
        """Texts come back as they were, whichever characters they have; too long ones are cut, without the trace."""
        for text in ("", "ñ€\U0001f600", '"\\\n\0', "\udcff", "x" * 499):
            found = read_content(HEADER + finished_line(row("k", data=text)))
            self.assertEqual(found.finished["k"].data, text)
        line = finished_line(row("k", data="x" * MAX_LINE, trace='[["x", {}]]'))
        self.assertLess(len(line), MAX_LINE)
        (found_row,) = read_content(HEADER + line).finished.values()
        self.assertEqual((found_row.trace, set(found_row.data), found_row.outcome), ("[]", {"x"}, "ANSWER"))

    def test_reading(self) -> None:
        """A journal can be read while a gateway writes it; one that is none says why."""
        journal, _ = self.opened()
        self.begun(journal)
        journal.finish(row())
        found = read_journal(self.path)
        self.assertEqual((len(found.begun), len(found.finished), found.size), (1, 1, journal.size))
        self.assertRaises(FileNotFoundError, read_journal, self.folder / "none")
        self.assertRaises(JournalUnreadable, read_journal, self.folder)
        self.assertEqual(journal_files(self.database)[:2], [self.path, self.folder / "x.db.calls.2"])

    def test_a_new_file_in_the_way(self) -> None:
        """What a killed gateway left of a file that it was writing anew is replaced."""
        Path(f"{self.path}.new").write_bytes(b"x")
        segment = Segment(Path(f"{self.path}.new"), HEADER)
        self.addCleanup(segment.close)
        self.assertEqual(read_journal(Path(f"{self.path}.new")).size, len(HEADER))

    def test_room_of_a_new_file(self) -> None:
        """A new file has room for what it begins with and CHUNK more."""
        path = Path(f"{self.path}.new")
        segment = Segment(path, HEADER)
        self.addCleanup(segment.close)
        self.assertEqual(path.stat().st_size, len(HEADER) + CHUNK)


class HistoryTests(JournalCase):
    """The history with a journal."""

    def setUp(self) -> None:
        """Make a database."""
        super().setUp()
        new_database(self.database)
        self.connection = database.connect(self.database)
        self.addCleanup(self.connection.close)
        self.store = FakeStore(self.connection)

    def history(self) -> HistoryWriter:
        """A history that has started."""
        self.clock = Clock()
        history = HistoryWriter(self.store, 90, self.clock, lambda: self.now, self.made())
        history.startService()
        return history

    def found(self) -> list[str]:
        """The numbers of the calls that are found, newest first."""
        return [of_it.number for of_it in find_calls(self.connection, Search(), 100)]

    def test_stop_while_away(self) -> None:
        """Calls that a stop could not write are written by the next run; each of the two says so in one line."""
        history = self.history()
        self.store.away = True
        with capturedLogs() as logs:
            for number in ("21", "22"):
                history.report(record(number))
            self.successResultOf(history.stopService())
        said = [str(event.get("log_format")) for event in loud(logs)]
        self.assertEqual(len(said), 2)
        self.assertIn("the next start takes them up from {file}", said[1])
        self.store.away = False
        with capturedLogs() as logs:
            self.history()
            self.clock.advance(1)
        (line,) = loud(logs)
        self.assertEqual((line["calls"], line["cut"], line["files"]), (2, 0, str(self.path)))
        self.assertEqual(sorted(self.found()), ["21", "22"])

    def test_cut_and_unreadable(self) -> None:
        """A start tells how many calls it took up, how many were cut, and how many lines could not be read."""
        journal, _ = self.opened()
        self.begun(journal)
        journal.finish(row())
        self.kill(journal)
        self.path.write_bytes(self.path.read_bytes().rstrip(b"\0") + b"x\ny\n")
        with capturedLogs() as logs:
            self.history()
        self.assertEqual(
            [formatEvent(event) for event in loud(logs)],
            [
                f"history: took up 2 calls that an earlier run left in {self.path}; 1 of them were cut when the "
                "gateway died",
                f"history: 2 lines of {self.path} could not be read, and may have been calls",
            ],
        )

    def test_nothing_to_take_up(self) -> None:
        """A start with nothing to take up says nothing, and so does a stop with nothing left."""
        with capturedLogs() as logs:
            history = self.history()
            history.report(record())
            self.successResultOf(history.stopService())
        self.assertEqual(loud(logs), [])
        self.assertEqual(self.found(), ["21"])

    def test_synchronised_each_second(self) -> None:
        """The journal is synchronised while the history runs, without being asked."""
        history = self.history()
        journal = history.journal
        assert journal is not None
        call, entry = self.begun(journal)
        journal.decided(entry.key, call, "allow")
        before = journal.size
        self.clock.advance(1)
        self.assertGreater(journal.size, before)

    def test_neither(self) -> None:
        """Calls that can be written neither to the database nor to the journal are named as lost."""
        history = self.history()
        journal = history.journal
        assert journal is not None
        self.kill(journal)
        self.patch(journal_file, "os", Disk(0))
        self.store.away = True
        with capturedLogs() as logs:
            history.report(record())
            self.successResultOf(history.stopService())
        self.assertIn("are lost", str(loud(logs)[-1]["log_format"]))

    def test_given_up(self) -> None:
        """Calls beyond the bound of the queue are given up in the journal, too."""
        self.patch(history_writer, "MAX_QUEUED", 5)
        history = self.history()
        self.store.away = True
        with capturedLogs():
            for number in range(8):
                history.report(record(str(number)))
            self.clock.advance(1)
        journal = history.journal
        assert journal is not None
        self.assertEqual((history.queued, journal.calls, history.lost), (5, 5, 3))


class DatabaseTests(SynchronousTestCase):
    """The key in the database."""

    def test_another_outcome(self) -> None:
        """Only a call whose outcome is unknown is replaced; calls without a key are all written."""
        path = Path(self.mktemp())
        new_database(path)
        with contextlib.closing(database.connect(path)) as connection:
            add_calls(connection, [row("a", outcome="UNKNOWN"), row("b", outcome="BUSY"), row(), row()])
            add_calls(connection, [row("a"), row("b"), row("a", outcome="BUSY"), row("a", outcome="UNKNOWN")])
            found = connection.execute("SELECT call_key, outcome FROM calls ORDER BY call_id").fetchall()
            self.assertEqual(found, [("a", "ANSWER"), ("b", "BUSY"), ("", "ANSWER"), ("", "ANSWER")])
            self.assertEqual(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
