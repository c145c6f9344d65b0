"""The limits that the documentation names are those of the code, and each that has a figure is compared."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi import commands, messages, reader, verbs
from pbxrouter.alarms import delivery, targets
from pbxrouter.ami import channel_check, channel_variable, heartbeat, watchdog
from pbxrouter.ami import connection as ami_connection
from pbxrouter.ami import messages as ami_messages
from pbxrouter.ami import protocol as ami_protocol
from pbxrouter.call import flow, history_writer, record
from pbxrouter.control import server as control_server
from pbxrouter.database import connection, set_aside, store
from pbxrouter.fastagi import protocol, server
from pbxrouter.gateway import asterisk_service, drain, log_lines, sequential, service
from pbxrouter.magi import channel as magi_channel
from pbxrouter.magi import claim
from pbxrouter.magi import service as magi_service
from pbxrouter.net import keepalive, output, queues, resolver, threads
from pbxrouter.originate import originator
from pbxrouter.rules import model, reloader
from pbxrouter.text import sentences
from pbxrouter.web import context
from pbxrouter.web.http import site
from pbxrouter.web.now import event_stream
from tests.paths import ROOT
from tests.test_docs import read, rows, section

TIMES = ("once", "twice", "three", "four", "five")


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
    "the database, locked": f"{seconds(connection.TIMEOUT_S)} by SQLite",
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
"""The limits of docs/architecture.md that have a figure, by what waits."""

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


class LimitTests(SynchronousTestCase):
    """The tables of limits, and the sentences that have one."""

    def setUp(self) -> None:
        """Read the pages."""
        self.architecture = section(read(ROOT / "docs/architecture.md"), "Every wait has an end")
        self.operations = read(ROOT / "docs/operations.md")

    def test_waits(self) -> None:
        """Each wait of docs/architecture.md whose limit has a figure has the code's."""
        found = {what: limit for what, limit, _ in rows(self.architecture) if limit[:1].isdigit() or what in WAITS}
        self.assertEqual(found, WAITS)
        self.assertEqual(protocol.HANGUP_GRACE_S, magi_channel.END_GRACE_S)

    def test_waits_besides(self) -> None:
        """So have those that are told beside: of applications, of new attempts."""
        text = " ".join(self.architecture.split())
        probes = TIMES[keepalive.KEEPALIVE_PROBES - 1]
        for said in (
            f"lost after {seconds(keepalive.KEEPALIVE_IDLE_S)} of silence and {probes} probes "
            f"{seconds(keepalive.KEEPALIVE_EVERY_S)} apart",
            f"over AMI after {seconds(watchdog.DEAD_AFTER_S)}",
            f"tried again after {ami_connection.FIRST_RETRY_S:g} to {seconds(ami_connection.SLOWEST_RETRY_S)}",
            f"tried again up to {TIMES[len(delivery.BACK_OFF_S) - 1]} times",
        ):
            self.assertIn(said, text)

    def test_texts(self) -> None:
        """Each text of docs/operations.md is kept as far as the code keeps it."""
        found = dict(tuple(cells) for cells in rows(section(self.operations, "Limits of text")))
        del found["what"]
        self.assertEqual(found, TEXTS)

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
