"""The limits that the documentation names are those of the code."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import commands, messages, reader, verbs
from pbxrouter.alarms import delivery, targets
from pbxrouter.ami import channel_check, channel_variable, heartbeat, watchdog
from pbxrouter.ami import connection as ami_connection
from pbxrouter.ami import messages as ami_messages
from pbxrouter.ami import protocol as ami_protocol
from pbxrouter.call import (
    active_calls,
    flow,
    history_writer,
    journal,
    journal_file,
    origin,
    pin_guard,
    record,
    refusals,
    repeats,
)
from pbxrouter.control import server as control_server
from pbxrouter.counter import call_table, counts, report, talk, withheld
from pbxrouter.counter import service as counter_service
from pbxrouter.database import connection, guesses, set_aside, store
from pbxrouter.database.calls import csv_process
from pbxrouter.drivers import dial
from pbxrouter.fastagi import admission, protocol, server, standstill, standstill_process
from pbxrouter.gateway import asterisk_service, drain, log_lines, sequential, service
from pbxrouter.magi import channel as magi_channel
from pbxrouter.magi import claim
from pbxrouter.magi import service as magi_service
from pbxrouter.net import connection_limits, keepalive, output, queues, resolver, threads
from pbxrouter.originate import originator
from pbxrouter.rules import applications, model, patterns, reloader, ruleset
from pbxrouter.text import sentences
from pbxrouter.web import context
from pbxrouter.web.http import site
from pbxrouter.web.now import event_stream
from tests.paths import ROOT
from tests.test_docs import read, rows, section

NUMBERS = {0.25: "0.25", 1: "once", 2: "two", 3: "three", 4: "four", 5: "five", 10: "ten", 30: "thirty", 60: "sixty"}


def word(number: float) -> str:
    """A number as a sentence has it: "three", "2.5"."""
    return NUMBERS.get(number, f"{number:g}")


def seconds(*values: float) -> str:
    """Seconds as the pages write them: "2.5 s; 3 s"."""
    return "; ".join(f"{value:g} s" for value in values)


def spaced(number: int) -> str:
    """A number of more than four digits as the pages write it: "20 000"."""
    return f"{number:,}".replace(",", " ")


def megabytes(number: int) -> str:
    """Bytes as the pages write them, in units of 1024."""
    return f"{number >> 20} MB" if number >= 1 << 20 else f"{number >> 10} kB"


WAITS = {
    "opening block of a FastAGI connection": seconds(protocol.OPENING_TIMEOUT_S),
    "talk by `agi:async` without a sign of life of the gateway": (
        f"{seconds(magi_channel.SILENT_S, magi_channel.KEYED_S)} behind a prompt"
    ),
    "first reply of a FastAGI call": f"{protocol.SETTLE_S * 1000:g} ms",
    "HANGUP line after a reply of -1; AsyncAGIEnd likewise": seconds(protocol.HANGUP_GRACE_S),
    "reply to a command that takes no time": seconds(commands.REPLY_TIMEOUT_S),
    "reply to a command that plays or waits for keys": (
        f"{seconds(commands.KEYING_TIMEOUT_S)}; Asterisk bounds them itself"
    ),
    "number and PIN, all prompts together": seconds(flow.TALK_S),
    "Asterisk's word, over AMI, that the channel of a call that keys a PIN is its own": seconds(channel_variable.ASK_S),
    "database, to charge or refund a guess of a PIN, or to count its calls": seconds(service.CALL_WAIT_S),
    "database, to change a PIN by phone": seconds(service.CALL_WAIT_S),
    "new rules after a change by phone": seconds(reloader.RELOAD_S),
    "last bytes of a FastAGI connection, last reply on a dead channel": seconds(protocol.ENDING_TIMEOUT_S),
    "look-up of a host name": seconds(resolver.LOOKUP_S),
    "connection to AMI": "30 s for each address",  # Twisted's
    "banner of AMI": seconds(watchdog.BANNER_TIMEOUT_S),
    "answer to an action": (
        f"{seconds(ami_protocol.ACTION_TIMEOUT_S)}; the heartbeat's {seconds(heartbeat.TIMEOUT_S)}"
    ),
    "a silent AMI connection; one that does not answer a Ping": seconds(watchdog.DEAD_AFTER_S, watchdog.DEAF_AFTER_S),
    "confirmation of a hang-up or an AsyncAGIEnd by Asterisk": (
        f"{', then '.join(map(seconds, channel_check.ASK_AGAIN_S))}; without an answer it is asked again every "
        f"{channel_check.UNANSWERED_S[0]:g} to {seconds(channel_check.UNANSWERED_S[-1])}"
    ),
    "AsyncAGIEnd of a call that was given back": seconds(magi_service.RELEASED_S),
    "a change of the variable by which another gateway serves a context's calls (`magi/claim.py`)": seconds(
        claim.DEAD_S
    ),
    "other gateways that take it at the same moment": (
        f"{seconds(claim.SETTLE_S, claim.SLOW_SETTLE_S)} after a slow exchange"
    ),
    "a phone that is dialled for click-to-dial": f"ringing time and {seconds(originator.MARGIN_S)}",
    "the database, locked": f"{seconds(connection.TIMEOUT_S)} by SQLite or PostgreSQL",
    "reading the rules": seconds(reloader.ANSWER_S),
    "the database, for a page or the API": seconds(context.ANSWER_S),
    "a whole HTTP request; a browser that reads too slowly": (
        f"{seconds(site.WHOLE_REQUEST_S, event_stream.SLOWEST_S)} for the stream of *Now*"
    ),
    "alarm: command; webhook": (
        f"{seconds(targets.TIMEOUT_S)}, and {seconds(targets._KILL_S)} more until it is killed; "
        f"{seconds(targets.TIMEOUT_S)}"
    ),
    "control socket: another gateway at it": seconds(control_server.PROBE_TIMEOUT_S),
    "conversations with callers": seconds(drain.DRAIN_S),
    "the last bytes of calls that are closed then": seconds(protocol.ENDING_TIMEOUT_S),
    "Asterisk's answer to the last actions": (
        f"{seconds(asterisk_service.LEAVING_S)}, and {seconds(ami_connection.LEAVING_S)} until they are read"
    ),
    "the database's queued work": seconds(store.CLOSE_S),
    "any part": seconds(sequential.STOP_S),
    "a thread that hangs": seconds(threads.LEAVE_S),
    "lines of the log": seconds(output.CLOSING_S),
}
"""Limits of docs/architecture.md that have a figure, by what waits."""

TEXTS = {
    "a variable of the opening block of a call; an argument of AGI()": (
        f"{messages.MAX_FIELD} characters; {messages.MAX_ARGUMENT}, and {messages.MAX_ARGUMENTS} arguments"
    ),
    "a number that can be dialled": f"{model.MAX_NUMBER} characters; a longer one is no number",
    "a variable of a channel's": f"{verbs.MAX_VALUE} characters, as Asterisk gives it",
    "the opening block of a FastAGI call": (
        f"{megabytes(reader.MAX_BUFFER)}; all those longer than {megabytes(protocol.LONG_OPENING)} together "
        f"{megabytes(server.MAX_OPENINGS)}, then a further one is told that the gateway is busy"
    ),
    "a line or the headers of a web request; its body": (
        f"16 kB; {megabytes(site.CUT_OFF)}. Answered with 431 or 413, and closed"  # the first is Twisted's
    ),
    "a reply of Asterisk's": (
        f"{megabytes(reader.MAX_BUFFER)} and {reader.MAX_LINES} lines; the call is refused beyond that"
    ),
    "an AMI message; an AMI event": (
        f"{megabytes(ami_messages.MAX_MESSAGE)}; {ami_protocol.MAX_HEADERS} headers, one with more is ignored"
    ),
    "a text in a row of the history": (
        f"{history_writer.MAX_TEXT} characters; {record.MAX_WORD} of an outcome and a cause"
    ),
    "a value in a sentence of a trace": f"{sentences.MAX_VALUE} characters",
    "a line of the log; a traceback": (
        f"{spaced(log_lines.MAX_MESSAGE)} characters; {spaced(log_lines.MAX_TRACEBACK)}"
    ),
    "a body of the API; a form of the console": (
        f"{site.MAX_BODY} bytes, unless the document says another number; {megabytes(site.MAX_FORM)}"
    ),
}
"""The limits of texts in docs/operations.md, by what is kept."""


BOUNDS = {
    "calls in progress that are listed": spaced(active_calls.MAX_CALLS),
    "parties that sent one call on; their names together": (
        f"{origin.MAX_PARTIES}; {spaced(origin.MAX_VALUES)} characters"
    ),
    "keys of wrong PINs in memory; callers known there": f"{spaced(pin_guard.MAX_IN_MEMORY)} each",
    "the same in the database": f"{spaced(guesses.MAX_KEYS)}; {spaced(guesses.MAX_KNOWN)}",
    "sources of guesses and forged calls that are told of one by one": f"{repeats.MAX_SOURCES}",
    "forged calls that are remembered for the alarm": spaced(refusals.MAX_REMEMBERED),
    "journals beside one database": f"{journal_file.MAX_FILES}",
    "a journal that is read; a line of it": f"{megabytes(journal_file.MAX_READ)}; {megabytes(journal_file.MAX_LINE)}",
    "calls by `agi:async` of an earlier run that may go on": spaced(journal.MAX_ORPHANS),
    "calls that are written to the history in one transaction": f"{history_writer.BATCH}",
    "finished calls whose end AMI has not told of": f"{talk.MAX_WATCHED}",
    "records that came before the first event of their call": f"{counter_service.EARLY_RECORDS}",
    "seconds of talk that Asterisk's variables or a driver tell of a call": spaced(record.MAX_TALK_S),
    "talks of one channel that are kept apart": f"{call_table.MAX_TALKS}",
    "phones of which it is remembered that they were dialled": spaced(withheld.MAX_DIALLED),
    "items of a list over AMI": spaced(ami_protocol.MAX_ITEMS),
    "a reply over AMI that is put together": megabytes(magi_channel.MAX_ANSWER),
    "calls that are remembered as another gateway's": spaced(magi_service.MAX_THEIRS),
    "peers of FastAGI whose last log line is remembered; networks that have told of a call": (
        f"{admission.MAX_PEERS}; {connection_limits.MAX_PROVEN}"
    ),
    "host names that are looked up at a time": f"{resolver.MAX_LOOKUPS}",
    "answers of drivers about data; data of `dial` that is kept parsed": f"{spaced(applications.KEPT)}; {dial.KEPT}",
}
"""The bounds of docs/architecture.md, by what grows."""

SENTENCES = {
    "ami": (
        f"closed after {watchdog.DEAD_AFTER_S:g} to {watchdog.DEAD_AFTER_S + watchdog.LOOK_EVERY_S:g} seconds of",
        f"After a refused login it tries {word(ami_connection.REFUSED_RETRY_S / 60)} a minute",
        f"has not changed for {claim.DEAD_S:g} seconds",
        f"read again {claim.SETTLE_S:g} seconds later",
        f"is waited for {claim.SLOW_SETTLE_S:g} seconds",
        f"without asking for {word(claim.LEASE_S)} seconds after it sent the value",
        f"the gateway's own {flow.TALK_S:g} seconds",
        f"at {word(magi_channel.SILENT_S)} seconds while it waits for nothing",
    ),
    "counter": (
        f"after {word(talk.HOLD_S)} seconds at the latest",
        f"Asterisk is asked again every {word(counter_service.RESYNC_S / 60)} minutes",
        f"has not counted for {report.FRESH_S:g} seconds",
        f"At most {counts.MAX_NAMES} names of a kind",
        f"written about {word(counter_service.WRITE_S)} a second",
    ),
    "dialplan": (
        f"from the gateway for {standstill_process.STILL_S:g} seconds",
        f"a limit of {word(magi_channel.KEYED_S)} seconds",
        "three seconds, again each second while it lives",
    ),
    "operations": (
        f"for {standstill_process.STILL_S:g} seconds, because it was stopped by a signal",
        f"after {word(standstill.RESTART_S)} seconds if it ended within one",
        f"(`nice` {csv_process.NICE}, `SCHED_BATCH`)",
        f"recorded each up to {word(repeats.RECORDED_EACH)} from one source",
        f"one in {word(1 / repeats.PER_MINUTE)} minutes is recorded as usual",
        f"left to it for {magi_service.MAY_COME_BACK_S:g} seconds",
        f"about {megabytes(journal.REWRITE_AT)} as a rule, {megabytes(journal.MAX_NEEDED)} while the database is away",
        f"refused as forged within {word(refusals.ALARM_S / 60)} minutes",
        f"at most {word(ruleset.DEFAULT_MAX_CALLS)} calls at once",
        f"have {word(drain.DRAIN_S)} seconds to end as always",
        f"from which a right PIN came within {word(guesses.KNOWN_S / 86_400)} days",
        f"no answer within {seconds(channel_variable.ASK_S)}",
    ),
    "rules": (
        f"At most {patterns.MAX_LENGTH} characters",
        f"asked for a PIN, {word(flow.PIN_PROMPTS)} times at most",
        f"{word(verbs.PIN_TIMEOUT_MS / 1000)} seconds without a key end it",
    ),
    "security": (
        f"{flow.TALK_S:g} seconds for number and PIN",
        f"make {word(pin_guard.NEW_KNOWN_A_DAY)} callers known, and {word(pin_guard.NEW_KNOWN_A_DAY)} more a day",
        f"{word(ruleset.DEFAULT_MAX_CALLS)} calls at once for a PIN",
    ),
}
"""What other pages say in a sentence, by the page."""


class LimitTests(SynchronousTestCase):
    """The tables of limits, and the sentences that have one."""

    def setUp(self) -> None:
        """Read the pages."""
        self.architecture = section(read(ROOT / "docs/architecture.md"), "Every wait has an end")
        self.operations = read(ROOT / "docs/operations.md")

    def test_waits(self) -> None:
        """Each wait of docs/architecture.md that is listed here has the code's limit there."""
        found = {what: limit for what, limit, _ in rows(self.architecture) if what in WAITS}
        self.assertEqual(found, WAITS)
        self.assertEqual(protocol.HANGUP_GRACE_S, magi_channel.END_GRACE_S)

    def test_waits_besides(self) -> None:
        """So have those that are told beside: of applications, of new attempts."""
        text = " ".join(self.architecture.split())
        probes = word(keepalive.KEEPALIVE_PROBES)
        for said in (
            f"lost after {seconds(keepalive.KEEPALIVE_IDLE_S)} of silence and {probes} probes "
            f"{seconds(keepalive.KEEPALIVE_EVERY_S)} apart",
            f"over AMI after {seconds(watchdog.DEAD_AFTER_S)}",
            f"tried again after {ami_connection.FIRST_RETRY_S:g} to {seconds(ami_connection.SLOWEST_RETRY_S)}",
            f"tried again up to {word(len(delivery.BACK_OFF_S))} times",
        ):
            self.assertIn(said, text)

    def test_texts(self) -> None:
        """Each text of docs/operations.md is kept as far as the code keeps it."""
        found = {what: kept for what, kept in rows(section(self.operations, "Limits of text")) if what != "what"}
        self.assertEqual(found, TEXTS)

    def test_bounds(self) -> None:
        """What docs/architecture.md says to have a bound has the one that is named there."""
        text = section(read(ROOT / "docs/architecture.md"), "What grows has a bound")
        self.assertEqual({what: bound for what, bound, _ in rows(text) if what != "what"}, BOUNDS)

    def test_sentences(self) -> None:
        """What the other pages say of times and numbers holds."""
        self.assertEqual({repeats.RECORDED_EACH, flow.REFUSED_LINES, admission.FORGED_LINES}, {60})
        self.assertEqual((standstill.WORKED_S, magi_channel.RENEW_S, magi_channel.SILENT_S), (1.0, 1.0, 3))
        for page, sentences_of_page in SENTENCES.items():
            text = " ".join(read(ROOT / f"docs/{page}.md").split())
            for said in sentences_of_page:
                self.assertIn(said, text, page)

    def test_queues(self) -> None:
        """What waits, and for how long that is no problem."""
        text = " ".join(section(self.operations, "Queues").split())
        self.assertEqual(delivery.MAX_QUEUED, 20)
        for said in (
            f"The oldest of more than {seconds(queues.LATE_S)} is a problem",
            f"up to {spaced(history_writer.MAX_QUEUED)}; beyond that the oldest are lost",
            f"beside the database, up to {set_aside.MAX_FILE // 10**6} MB",
            "twenty wait; after six attempts within an hour one is lost",
        ):
            self.assertIn(said, text)
