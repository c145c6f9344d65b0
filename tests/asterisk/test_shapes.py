"""Shapes of calls, side by side: what history and counter say of each, against Asterisk's CDR of the called legs."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from tests.asterisk.ami import EventListener
from tests.asterisk.harness import PROJECT, SCRIPTED_PHONES, AsteriskTest, mapping_inserts, the_lab
from tests.asterisk.relay import Relay
from tests.asterisk.sip_phones import PhoneCall, SipPhones
from tests.waiting import wait_for

MAPPINGS: Final = {
    "8XX": ("dial", "PJSIP/{number}"),
    "17XX": ("dial", "Local/{number:1}@shape/n"),
    "28XX": ("dial", "Local/{number:1}@shape"),
    "36XX": ("dial", "PJSIP/8{number:2} options=tT"),
    "38XX": ("dial", "PJSIP/{number:1} options=g"),
    "412": ("dial", "Local/prompt@shape"),
    "421": ("dial", "Local/queuesupport@shape/n"),
    "422": ("dial", "Local/queuesales@shape"),
    "423": ("dial", "Local/queueservice@shape/n"),
    "44": ("dial", "PJSIP/846&PJSIP/847&PJSIP/848"),
    "5XX": ("conference", ""),
    "*97": ("voicemail", ""),
}
AGENTS: Final = {"support": 856, "sales": 858, "service": 860}
CONFIG: Final = """
[dial]
timeout = 30
forwarding = true

[[asterisk]]
name = "lab"
ami = "tcp:127.0.0.1:AMI_PORT"
username = "gateway"
secret_file = "ami.secret"
magi = ["pbxrouter-magi"]

[fastagi]
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A row that the history is to have.

    Attributes:
        legs: the CDRs, by calling and called phone, whose seconds together are the talk; none: nobody talked.
        longest: whether the talk is that of the longest of them, as in a conference.
        split_s: seconds that may be missing, where Asterisk gives a part of them to a record of a Local channel.
        phone: by whose clock the talk is, where Asterisk has more than one record of the same seconds.
        by_test_s: the talk by what the phones do, where Asterisk's record has the wait for the other party, too.
    """

    caller: str
    number: str
    outcome: str
    legs: tuple[tuple[str, str], ...] = ()
    longest: bool = False
    split_s: int = 0
    phone: str = ""
    by_test_s: int | None = None


class CallEvents(EventListener):
    """Keeps Asterisk's records of calls."""

    events = "cdr"

    def __init__(self, port: int) -> None:
        self.records: list[dict[str, str]] = []
        super().__init__(port)

    def _heard(self, message: dict[str, str]) -> None:
        if message.get("Event") == "Cdr":
            self.records.append(message)

    def seconds(self, caller: str, called: str) -> list[int]:
        """The seconds of the records of one phone's talk with another; that of a Local channel's half is any phone's.

        Args:
            caller: its number, or ``*`` for any channel.
            called: its number, or how the name of its channel begins.
        """
        return [
            int(record["BillableSeconds"])
            for record in tuple(self.records)
            if (caller == "*" or record["Channel"].startswith(f"PJSIP/{caller}-"))
            and record["DestinationChannel"].startswith(called if "/" in called else f"PJSIP/{called}-")
        ]


class ShapeCase(AsteriskTest):
    """Has scripted phones, all mappings, and each extension's grant for them."""

    config = CONFIG
    maxDiff = None
    mappings: Mapping[str, tuple[str, str]] = MAPPINGS

    def setUp(self) -> None:
        """Add the rules, and agents to the queues; history and counts begin empty."""
        super().setUp()
        self.gateway.change_rules(
            "DELETE FROM applications_mappings WHERE pattern <> '2X'",
            "DELETE FROM extensions_mappings",
            "DELETE FROM users_mappings",
            "DELETE FROM extensions",
            "DELETE FROM calls",
            "DELETE FROM counter_minutes",
            *mapping_inserts(self.mappings),
            *(f"INSERT INTO extensions (extension_number) VALUES ('{number}')" for number in SCRIPTED_PHONES),
            "INSERT INTO extensions_mappings (extension_id, map_id)"
            " SELECT extension_id, map_id FROM extensions, applications_mappings",
        )
        self._lock = threading.Lock()
        self.phones = SipPhones(self.lab.base + 90, self.lab.base + 60, self.lab.base + 690)
        self.addCleanup(self.phones.close)
        self.cdr = CallEvents(self.lab.base + 38)
        self.addCleanup(self.cdr.close)

    def ami(self, action: str, **headers: str) -> None:
        """Send an action; shapes do so side by side."""
        with self._lock:
            reply = self.lab.ami.action(action, **headers)
        self.assertEqual(reply["Response"], "Success", reply)

    def cli(self, command: str) -> str:
        """What a command of Asterisk's command line says; shapes ask side by side."""
        with self._lock:
            return self.lab.cli(command)

    def channel(self, number: str) -> str:
        """The name of a phone's channel, once there is one."""
        return self.channel_named(f"PJSIP/{number}-")

    def channel_named(self, beginning: str, ending: str = "") -> str:
        """The name of a channel by its beginning and its end, once there is one."""
        found: list[str] = []

        def is_there() -> bool:
            with self._lock:
                names = self.lab.channels()
            found[:] = [name for name in names if name.startswith(beginning) and name.endswith(ending)]
            return bool(found)

        wait_for(f"a channel {beginning}…{ending}", is_there)
        return found[0]

    def connect(self, caller: str, number: str, called: str = "", hang_up_after: float | None = None) -> PhoneCall:
        """Let a phone call a number, at which the called phone answers; return the call of the called one."""
        call = self.phones.call(caller, number)
        called_call = self.phones.called(called or number).ring().answer(hang_up_after)
        call.until_answered()
        return called_call

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """The rows of a query of the gateway's database."""
        with contextlib.closing(sqlite3.connect(self.gateway.database)) as connection:
            return connection.execute(query).fetchall()

    def wrong(self, expected: tuple[Row, ...]) -> list[str]:
        """What history and counter say otherwise than CDR."""
        found = {
            (row[0], row[1]): row[2:] for row in self.rows("SELECT caller, number, outcome, answered_s FROM calls")
        }
        wrong = []
        for row in expected:
            legs = [self.cdr.seconds(*leg) for leg in row.legs]
            wanted = (max if row.longest else sum)([sum(leg) for leg in legs] or [0])
            if row.phone:
                legs, wanted = [[0]], self.phones.talk_s(row.phone)
            if row.by_test_s is not None:
                legs, wanted = [[0]], row.by_test_s
            outcome, talk_s = found.pop((row.caller, row.number), ("none", None))
            is_right = isinstance(talk_s, int) and abs(talk_s - wanted) <= sum(map(len, legs)) + row.split_s
            if outcome != row.outcome or not is_right or [] in legs:
                wrong.append(f"{row}: {outcome} {talk_s}, by CDR {legs}")
        wrong += [f"not expected: {name} {row}" for name, row in found.items()]
        return wrong

    def await_history(self, *expected: Row) -> None:
        """Wait until the history has what is expected, and nothing else."""
        with contextlib.suppress(AssertionError):
            wait_for("the history", lambda: not self.wrong(expected))
        self.assertEqual(self.wrong(expected), [])


Shape = Callable[["SideBySideCase"], None]


class SideBySideCase(ShapeCase):
    """Runs shapes at once, and compares what each part of the product says of them."""

    several: frozenset[str] = frozenset()
    """Callers whose call goes on in another row, or without the gateway."""

    def run_shapes(self, shapes: Mapping[Shape, tuple[Row, ...]], alone: Collection[Shape]) -> None:
        """Run them all; those alone after the others.

        Args:
            shapes: with the rows that the history is to have of each.
        """
        for queue, number in AGENTS.items():
            self.lab.ami.action("QueueAdd", Queue=queue, Interface=f"PJSIP/{number}")
        failures: list[str] = []

        def run(shape: Shape) -> None:
            try:
                shape(self)
            except BaseException:
                failures.append(traceback.format_exc())

        threads = [threading.Thread(target=run, args=(shape,)) for shape in shapes if shape not in alone]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for shape in alone:
            if shape in shapes:
                run(shape)
        self.assertEqual(failures, [])
        self.await_history(*(row for rows in shapes.values() for row in rows))
        self._assert_counted()
        self._assert_exported()

    def _assert_counted(self) -> None:
        """The counter has as many answered calls, and as much talk, as the history has of each caller alone."""
        wait_for("the counts are written", lambda: not self.rows("SELECT * FROM counter_live"))
        counted = {
            name: (answered, talk_s)
            for name, answered, talk_s in self.rows(
                "SELECT name, sum(answered), sum(talk_seconds) FROM counter_minutes"
                " WHERE kind = 'extension' GROUP BY name"
            )
        }
        for caller, number, outcome, talk_s in self.rows(
            "SELECT caller, number, outcome, answered_s FROM calls"
            " WHERE caller IN (SELECT caller FROM calls GROUP BY caller HAVING count(*) = 1) AND forwarded_by = ''"
        ):
            if caller in self.several:
                continue
            answered, counted_s = counted[caller]
            self.assertEqual(answered, outcome == "ANSWER", (caller, number, counted[caller]))
            self.assertEqual(int(str(counted_s).partition(".")[0]), talk_s, (caller, number))

    def _assert_exported(self) -> None:
        """The command line has the same, as JSON and as CSV."""
        rows = {(row[0], row[1]): row[2] for row in self.rows("SELECT caller, number, answered_s FROM calls")}
        output = self.gateway.command("history", "--json", "--limit", "1000")
        shown = [json.loads(line) for line in output.splitlines()]
        self.assertEqual({(row["caller"], row["number"]): row["answered_s"] for row in shown}, rows)
        table = csv.DictReader(io.StringIO(self.gateway.command("history", "--csv", "--limit", "1000")))
        self.assertEqual({(row["caller"], row["number"]): int(row["answered_s"]) for row in table}, rows)


SHAPES: Final[dict[Shape, tuple[Row, ...]]] = {}
ALONE: Final[list[Shape]] = []
"""Those that run after the others: two pick-ups at once can lock up PJSIP in Asterisk."""


def adder(shapes: dict[Shape, tuple[Row, ...]], alone_ones: list[Shape]) -> Callable[..., Callable[[Shape], Shape]]:
    """A decorator that adds a shape to these, with the rows that the history is to have of it."""

    def shape(*rows: Row, alone: bool = False) -> Callable[[Shape], Shape]:
        def add(do: Shape) -> Shape:
            shapes[do] = rows
            if alone:
                alone_ones.append(do)
            return do

        return add

    return shape


def chosen(shapes: Mapping[Shape, tuple[Row, ...]], sample: Collection[Shape]) -> Mapping[Shape, tuple[Row, ...]]:
    """All shapes where SHAPES=all is set (``make shapes``), else a sample."""
    return shapes if os.environ.get("SHAPES") == "all" else {shape: shapes[shape] for shape in sample}


shape = adder(SHAPES, ALONE)


@shape(Row("841", "842", "ANSWER", (("841", "842"),)))
def _called_hangs_up(case: SideBySideCase) -> None:
    case.connect("841", "842", hang_up_after=2.2).until_ended()


@shape(Row("843", "44", "ANSWER", (("843", "847"),)))
def _several_ring(case: SideBySideCase) -> None:
    case.phones.call("843", "44")
    legs = [case.phones.called(number).ring() for number in ("846", "847", "848")]
    legs[1].answer(1.5).until_ended()


@shape(Row("844", "845", "BUSY"))
def _busy(case: SideBySideCase) -> None:
    call = case.phones.call("844", "845")
    case.phones.called("845").refuse("486 Busy Here")
    call.until_ended()


@shape(Row("849", "850", "ANSWER", (("849", "850"),)))
def _early_media(case: SideBySideCase) -> None:
    call = case.phones.call("849", "850")
    called = case.phones.called("850").early_media()
    case.phones.later(0.7, lambda: called.answer(1.5))
    call.until_ended()


@shape(Row("851", "852", "ANSWER", (("851", "852"),)))
def _hung_up_at_once(case: SideBySideCase) -> None:
    case.connect("851", "852", hang_up_after=0.0).until_ended()


@shape(Row("853", "854", "CANCEL"))
def _given_up(case: SideBySideCase) -> None:
    call = case.phones.call("853", "854")
    case.phones.called("854").ring()
    call.hang_up_after(0.8).until_ended()


@shape(Row("855", "421", "ANSWER", (("*", "856"),)))
def _queue(case: SideBySideCase) -> None:
    call = case.phones.call("855", "421")
    case.phones.called("856").ring().answer(2.2)
    call.until_ended()


@shape(Row("857", "422", "HANGUP"))
def _queue_given_up(case: SideBySideCase) -> None:
    call = case.phones.call("857", "422")
    case.phones.called("858").ring()
    call.until_answered().hang_up_after(0.8).until_ended()


@shape(Row("859", "423", "DONE"))
def _queue_whose_agent_refuses(case: SideBySideCase) -> None:
    call = case.phones.call("859", "423")
    case.phones.called("860").refuse("486 Busy Here")
    call.until_ended()


@shape(Row("861", "1762", "ANSWER", (("*", "862"),)))
def _behind_a_local_channel(case: SideBySideCase) -> None:
    case.connect("861", "1762", "862", hang_up_after=2.4).until_ended()


@shape(Row("863", "2864", "ANSWER", (("*", "864"),)))
def _behind_one_that_is_taken_out(case: SideBySideCase) -> None:
    case.connect("863", "2864", "864", hang_up_after=2.4).until_ended()


@shape(Row("865", "412", "HANGUP"))
def _prompt(case: SideBySideCase) -> None:
    case.phones.call("865", "412").until_answered().hang_up_after(1.2).until_ended()


@shape(
    Row("866", "566", "ANSWER", (("866", "867"),)),
    Row("867", "566", "ANSWER", (("866", "867"),)),
)
def _conference_of_two(case: SideBySideCase) -> None:
    first = case.phones.call("866", "566").until_answered()
    case.phones.call("867", "566").until_answered().hang_up_after(2.4).until_ended()
    first.hang_up_after(0.8).until_ended()


@shape(
    Row("868", "568", "ANSWER", (("868", "869"), ("868", "870")), longest=True),
    Row("869", "568", "ANSWER", (("868", "869"), ("869", "870")), longest=True),
    Row("870", "568", "ANSWER", (("868", "870"), ("869", "870")), longest=True),
)
def _conference_of_three(case: SideBySideCase) -> None:
    calls = [case.phones.call(number, "568").until_answered() for number in ("868", "869", "870")]
    for call in calls:
        call.hang_up_after(1.0).until_ended()


@shape(Row("871", "571", "DONE"))
def _conference_of_one(case: SideBySideCase) -> None:
    case.phones.call("871", "571").until_answered().hang_up_after(1.0).until_ended()


@shape(Row("872", "*97", "HANGUP"))
def _mailbox_not_entered(case: SideBySideCase) -> None:
    case.phones.call("872", "*97").until_answered().hang_up_after(1.0).until_ended()


@shape(Row("873", "874", "ANSWER", (("*", "874"),)))
def _gateway_on_a_half(case: SideBySideCase) -> None:
    """The dialplan's Dial(Local/874@pbxrouter): Asterisk takes out the channel that the gateway has."""
    case.connect("873", "9874", "874", hang_up_after=2.4).until_ended()


@shape(Row("837", "840", "ANSWER", (("*", "840"),)))
def _gateway_on_a_half_that_stays(case: SideBySideCase) -> None:
    case.connect("837", "9740", "840", hang_up_after=2.4).until_ended()


@shape(Row("838", "839", "ANSWER", (("838", "839"),)))
def _hold(case: SideBySideCase) -> None:
    called = case.connect("838", "839")
    case.phones.later(0.5, called.hold)
    case.phones.later(1.2, lambda: called.hold(False))
    called.hang_up_after(2.2).until_ended()


@shape(
    Row("878", "879", "ANSWER", (("878", "880"),)),
    Row("878", "880", "ANSWER", (("878", "880"),)),
)
def _forwarded(case: SideBySideCase) -> None:
    call = case.phones.call("878", "879")
    case.phones.called("879").forward("880")
    case.phones.called("880").ring().answer(2.3)
    call.until_ended()


@shape(Row("881", "882", "DONE"), Row("881", "99", "INVALID"))
def _forwarded_nowhere(case: SideBySideCase) -> None:
    call = case.phones.call("881", "882")
    case.phones.called("882").forward("99")
    call.until_ended()


@shape(
    Row("801", "804", "ANSWER", (("801", "804"),)),
    Row("801", "805", "ANSWER", (("801", "805"),)),
)
def _transferred_by_the_called(case: SideBySideCase) -> None:
    called = case.connect("801", "804").until_lasted(1.6).refer("805")
    case.phones.called("805").answer(2.4).until_ended()
    called.hang_up().until_ended()


@shape(
    Row("806", "807", "ANSWER", (("806", "807"),)),
    Row("807", "808", "ANSWER", (("807", "808"),)),
)
def _transferred_by_the_caller(case: SideBySideCase) -> None:
    caller = case.phones.call("806", "807")
    case.phones.called("807").answer()
    caller.until_lasted(1.6).refer("808")
    case.phones.called("808").answer(2.4).until_ended()
    caller.hang_up().until_ended()


def _attended(case: SideBySideCase, first: PhoneCall, user: str, number: str) -> None:
    """The phone that has the first call calls a number, and joins the two."""
    second = case.phones.call(user, number)
    third = case.phones.called(number).answer()
    second.until_lasted(1.4)
    first.refer(number, second)
    wait_for("the transfer", lambda: first.referred)
    third.hang_up_after(2.4).until_ended()
    first.hang_up().until_ended()
    second.hang_up().until_ended()


@shape(
    Row("809", "810", "ANSWER", (("809", "810"), ("809", "811"))),
    Row("810", "811", "ANSWER", (("810", "811"),)),
)
def _attended_by_the_called(case: SideBySideCase) -> None:
    _attended(case, case.connect("809", "810").until_lasted(1.2), "810", "811")


@shape(
    Row("812", "813", "ANSWER", (("812", "813"),)),
    Row("812", "814", "ANSWER", (("812", "814"),)),
)
def _attended_by_the_caller(case: SideBySideCase) -> None:
    caller = case.phones.call("812", "813")
    case.phones.called("813").answer()
    _attended(case, caller.until_lasted(1.2), "812", "814")


@shape(
    Row("815", "3616", "ANSWER", (("815", "816"), ("815", "817")), split_s=2),
    Row("816", "817", "ANSWER", phone="817"),
)
def _keys_of_the_called(case: SideBySideCase) -> None:
    """An attended transfer by Asterisk's own keys; the new call comes to the gateway on a Local channel."""
    called = case.connect("815", "3616", "816").until_lasted(1.3)
    case.ami("Atxfer", Channel=case.channel("816"), Exten="817", Context="keys")
    third = case.phones.called("817").answer()
    third.until_lasted(1.5)
    called.hang_up()
    third.hang_up_after(2.4).until_ended()


@shape(
    Row("818", "3619", "ANSWER", (("818", "819"), ("818", "Local/820")), split_s=1),
    Row("818", "820", "ANSWER", phone="820"),
)
def _keys_of_the_caller(case: SideBySideCase) -> None:
    """The same by the caller, whose channel is the one that asks 820 first."""
    caller = case.phones.call("818", "3619")
    case.phones.called("819").answer()
    caller.until_lasted(1.3)
    case.ami("Atxfer", Channel=case.channel("818"), Exten="820", Context="keys")
    third = case.phones.called("820").answer()
    third.until_lasted(1.5)
    caller.hang_up()
    third.hang_up_after(2.4).until_ended()


@shape(Row("821", "822", "ANSWER", (("821", "822"), ("821", "823"))))
def _parked(case: SideBySideCase) -> None:
    case.connect("821", "822").until_lasted(1.3)
    case.ami("Park", Channel=case.channel("821"), TimeoutChannel=case.channel("822"), Parkinglot="patient")
    case.phones.call("823", "741").until_answered().hang_up_after(2.3).until_ended()


@shape(Row("824", "825", "ANSWER", (("824", "826"),)), alone=True)
def _picked_up(case: SideBySideCase) -> None:
    case.phones.call("824", "825")
    case.phones.called("825").ring()
    case.channel("825")
    case.phones.call("826", "5825").until_answered().hang_up_after(2.3).until_ended()


@shape(Row("827", "828", "ANSWER", (("827", "829"),)), alone=True)
def _picked_up_by_keys(case: SideBySideCase) -> None:
    case.phones.call("827", "828")
    case.phones.called("828").ring()
    case.channel("828")
    case.phones.call("829", "*8").until_answered().hang_up_after(2.3).until_ended()


@shape(
    Row("830", "3831", "ANSWER", (("830", "831"),)),
    Row("830", "899", "ANSWER", (("830", "899"),)),
)
def _two_calls_of_one_channel(case: SideBySideCase) -> None:
    case.connect("830", "3831", "831", hang_up_after=1.4)
    case.phones.called("899").answer(2.4).until_ended()


@shape(Row("832", "833", "ANSWER", (("832", "833"),)))
def _redirected(case: SideBySideCase) -> None:
    """AMI's Redirect takes the caller to a Dial() of the dialplan's own."""
    case.connect("832", "833").until_lasted(1.4)
    case.ami("Redirect", Channel=case.channel("832"), Context="shape", Exten="834", Priority="1")
    case.phones.called("834").answer(2.4).until_ended()


@shape(Row("835", "836", "CUT"))
def _cut(case: SideBySideCase) -> None:
    call = case.phones.call("835", "836")
    case.phones.called("836").ring()
    case.ami("Hangup", Channel=case.channel("835"))
    call.until_ended()


@shape(Row("885", "886", "ANSWER", (("885", "886"),)))
def _by_magi(case: SideBySideCase) -> None:
    case.connect("885", "886", hang_up_after=2.2).until_ended()


@shape(Row("887", "888", "CANCEL"))
def _given_up_by_magi(case: SideBySideCase) -> None:
    call = case.phones.call("887", "888")
    case.phones.called("888").ring()
    call.hang_up_after(0.8).until_ended()


@shape(
    Row("889", "890", "ANSWER", (("889", "890"),)),
    Row("889", "891", "ANSWER", (("889", "891"),)),
)
def _transferred_by_magi(case: SideBySideCase) -> None:
    called = case.connect("889", "890").until_lasted(1.6).refer("891")
    case.phones.called("891").answer(2.4).until_ended()
    called.hang_up().until_ended()


@shape(
    Row("895", "595", "ANSWER", (("895", "896"),)),
    Row("896", "595", "ANSWER", (("895", "896"),)),
)
def _conference_by_magi(case: SideBySideCase) -> None:
    first = case.phones.call("895", "595").until_answered()
    case.phones.call("896", "595").until_answered().hang_up_after(2.4).until_ended()
    first.hang_up_after(0.8).until_ended()


@shape(Row("897", "2898", "ANSWER", (("*", "898"),)))
def _behind_a_local_channel_by_magi(case: SideBySideCase) -> None:
    case.connect("897", "2898", "898", hang_up_after=2.4).until_ended()


SAMPLE: Final = (
    _called_hangs_up,
    _given_up,
    _queue_given_up,
    _behind_one_that_is_taken_out,
    _conference_of_two,
    _mailbox_not_entered,
    _gateway_on_a_half,
    _two_calls_of_one_channel,
    _transferred_by_the_called,
    _by_magi,
)
"""Those that run where SHAPES=all is not set (``make shapes``)."""


class ShapesTest(SideBySideCase):
    """All shapes that need nothing of their own."""

    several = frozenset({"806", "809", "810", "815", "818", "832"})

    def test_shapes(self) -> None:
        """Each shape has its endings, the talk of CDR, and as many answered calls in the counter."""
        self.run_shapes(chosen(SHAPES, SAMPLE), ALONE)


class LostAmiTest(ShapeCase):
    """AMI that is lost in the middle of a talk."""

    config = CONFIG.replace("AMI_PORT", "RELAY_PORT").replace('magi = ["pbxrouter-magi"]\n', "")

    def setUp(self) -> None:
        """Put a relay between, and wait until the counter counts."""
        self.relay = Relay(the_lab().base + 74, the_lab().base + 38)
        self.addCleanup(self.relay.close)
        super().setUp()
        self._until_connected(self._gateway_mark)

    def _until_connected(self, mark: int) -> None:
        wait_for("AMI", lambda: "AMI lab: connected" in self.gateway.log(0 if mark == self._gateway_mark else mark))

    def _cut(self) -> int:
        mark = self.gateway.log_size()
        self.relay.refusing = True
        wait_for("AMI is away", lambda: "AMI lab" in self.gateway.log(mark))
        return mark

    def test_comes_back(self) -> None:
        """Talk that goes on while AMI is away is known, and so is that which ends then, if Dial has answered."""
        first, second, third = (
            self.connect(caller, number, called)
            for caller, number, called in (("801", "804", "804"), ("806", "807", "807"), ("861", "1762", "862"))
        )
        wait_for("the counter has them", lambda: self.rows("SELECT count(*) FROM counter_live")[0][0] == 3)
        mark = self._cut()
        for call in (second, third):
            call.until_lasted(1.5).hang_up().until_ended()
        wait_for("CDR", lambda: self.cdr.seconds("806", "807"))
        self.relay.refusing = False
        wait_for("AMI", lambda: "calls are counted again" in self.gateway.log(mark))
        first.hang_up().until_ended()
        wait_for("three rows", lambda: self.rows("SELECT count(*) FROM calls")[0][0] == 3)
        found = {row[0]: row[1:] for row in self.rows("SELECT caller, outcome, answered_s FROM calls")}
        for caller, number in (("801", "804"), ("806", "807")):
            (wanted,) = self.cdr.seconds(caller, number)
            outcome, talk_s = found[caller]
            self.assertEqual(outcome, "ANSWER")
            self.assertAlmostEqual(int(str(talk_s)), wanted, delta=1)
        self.assertEqual(found["861"], ("ANSWER", None))  # a prompt may have been behind the Local channel


WITHHELD: Final = {
    "newchannel": ("Newchannel", "!Event: Newchannel"),
    "bridges": ("BridgeEnter", "!Event: Bridge"),
    "enter": ("BridgeEnter", "!Event: BridgeEnter"),
    "leave": ("BridgeLeave", "!Event: BridgeLeave"),
    "dial": ("DialEnd", "!Event: DialEnd"),
    "nothing": ("", "!Event: NoSuchEvent"),
}
"""What a user's eventfilter withholds, and the event that the gateway is to name."""
LOOPBACK: Final = ("127.0.0.1", "0x7f.1", "0x7f.0.1", "0177.1", "0x7f000001", "2130706433")
"""Ways to write 127.0.0.1: the settings have one [[asterisk]] for each address."""


class WithheldTest(ShapeCase):
    """Events that Asterisk withholds from the gateway's user, one connection for each kind."""

    config = "".join(
        f"""
[[asterisk]]
name = "{name}"
ami = "tcp:{host}:AMI_PORT"
username = "without-{name}"
secret_file = "ami.secret"
"""
        for name, host in zip(WITHHELD, LOOPBACK, strict=True)
    )

    def setUp(self) -> None:
        """Give the lab these users."""
        lab = the_lab()
        conf = lab.run / "etc/manager.conf"
        if "[without-" not in conf.read_text():
            with conf.open("a") as file:
                for name, (_, excluded) in WITHHELD.items():
                    file.write(f"\n[without-{name}]\nsecret = enero2007\nread = system,call,agi\n")
                    file.write(f"write = call,agi,originate,reporting\neventfilter = {excluded}\n")
            lab.cli("manager reload")
        super().setUp()

    def _until_told(self, line: str) -> None:
        wait_for(line, lambda: line in self.gateway.log(self._gateway_mark))

    def test_named(self) -> None:
        """The counter is unknown, the log names the events, and the doctor the settings; history asks Dial instead."""
        for caller, number in (("801", "804"), ("806", "807"), ("809", "810")):
            self.connect(caller, number, hang_up_after=0.3).until_ended()
        for name, (event, _) in WITHHELD.items():
            if event:
                self._until_told(f"counter {name}: Asterisk withholds {event}")
        self.assertNotIn("counter nothing: Asterisk withholds", self.gateway.log(self._gateway_mark))
        program = [sys.executable, "-c", "from pbxrouter.cli import main; main()", "doctor"]
        done = subprocess.run(
            [*program, "--config", str(self.gateway.config)], cwd=PROJECT, capture_output=True, text=True
        )
        said = " ".join(done.stdout.split())
        for name, (event, _) in WITHHELD.items():
            if event:
                self.assertIn(f"without-{name} does not get {event}", said)
                self.assertIn(f"eventfilter of [without-{name}]", said)
        self.assertNotIn("without-nothing does not get", said)
