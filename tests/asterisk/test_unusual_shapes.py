"""Further shapes of calls, side by side: what history and counter say, against Asterisk's CDR of the called legs."""

from __future__ import annotations

from typing import Final

from tests.asterisk.test_shapes import MAPPINGS, Row, Shape, SideBySideCase, adder, chosen
from tests.waiting import wait_for

SHAPES: Final[dict[Shape, tuple[Row, ...]]] = {}
ALONE: Final[list[Shape]] = []


shape = adder(SHAPES, ALONE)


class UnusualShapesTest(SideBySideCase):
    """Forwards of forwards, calls joined while one rings, announcements, recordings, limits, listeners-in…"""

    several = frozenset({"813", "836", "838", "849", "850"})
    mappings = MAPPINGS | {
        "26XX": ("dial", "Local/3{number:2}@shape"),
        "25XX": ("dial", "Local/4{number:2}@shape"),
        "33XX": ("dial", "PJSIP/8{number:2} options=U(slow)"),
        "34XX": ("dial", "PJSIP/8{number:2} options=L(2000)"),
        "35XX": ("dial", "PJSIP/8{number:2} options=A(demo-congrats)"),
        "414": ("dial", "Local/mailbox@shape"),
    }

    def test_shapes(self) -> None:
        """Each shape has its endings, the talk of CDR, and as many answered calls in the counter."""
        self.run_shapes(chosen(SHAPES, SAMPLE), ALONE)


@shape(
    Row("801", "802", "ANSWER", phone="804"),
    Row("801", "803", "ANSWER", phone="804"),
    Row("801", "804", "ANSWER", phone="804"),
)
def _forwarded_twice(case: SideBySideCase) -> None:
    call = case.phones.call("801", "802")
    case.phones.called("802").forward("803")
    case.phones.called("803").forward("804")
    case.phones.called("804").ring().answer(2.3)
    call.until_ended()


@shape(Row("805", "806", "BUSY"), Row("805", "807", "BUSY"))
def _forwarded_to_a_busy_one(case: SideBySideCase) -> None:
    call = case.phones.call("805", "806")
    case.phones.called("806").forward("807")
    case.phones.called("807").refuse("486 Busy Here")
    call.until_ended()


@shape(Row("808", "809", "ANSWER", (("808", "809"),)), Row("809", "414", "DONE"))
def _attended_to_a_mailbox(case: SideBySideCase) -> None:
    first = case.connect("808", "809").until_lasted(1.3)
    second = case.phones.call("809", "414").until_lasted(1.4)
    first.refer("414", second)
    wait_for("the transfer", lambda: first.referred)
    first.hang_up()
    second.hang_up()
    case.phones.later(2.5, lambda: case.phones.hang_up_all("808"))
    second.until_ended()


@shape(
    Row("810", "811", "ANSWER", (("810", "811"),)),
    Row("810", "421", "ANSWER", (("*", "856"),)),
)
def _blind_into_a_queue(case: SideBySideCase) -> None:
    called = case.connect("810", "811").until_lasted(1.6).refer("421")
    case.phones.called("856").ring().answer(2.2).until_ended()
    called.hang_up().until_ended()


@shape(Row("813", "814", "ANSWER", by_test_s=1))
def _parked_and_brought_back(case: SideBySideCase) -> None:
    first = case.connect("813", "814").until_lasted(1.3)
    case.ami("Park", Channel=case.channel("813"), TimeoutChannel=case.channel("814"), Parkinglot="origin")
    first.until_ended()
    case.phones.called("814").ring().answer(2.3).until_ended()


@shape(Row("815", "816", "ANSWER", (("815", "816"),)))
def _spied_on(case: SideBySideCase) -> None:
    called = case.connect("815", "816").until_lasted(0.8)
    spy = case.phones.call("817", "9316").until_answered()
    spy.until_lasted(2.4).hang_up()
    called.hang_up_after(1.0).until_ended()


@shape(Row("818", "2619", "ANSWER", (("*", "819"),)))
def _two_local_channels_taken_out(case: SideBySideCase) -> None:
    case.connect("818", "2619", "819", hang_up_after=3.4).until_ended()


@shape(Row("820", "2521", "ANSWER", (("*", "821"),)))
def _taken_out_in_mid_call(case: SideBySideCase) -> None:
    """A recording keeps the Local channel; when it stops Asterisk takes the channel out."""
    called = case.connect("820", "2521", "821").until_lasted(1.7)
    case.ami("StopMixMonitor", Channel=case.channel_named("Local/421@shape", ";2"))
    called.until_lasted(4.3).hang_up().until_ended()


@shape(Row("822", "823", "ANSWER", (("822", "823"),)))
def _held_for_most_of_it(case: SideBySideCase) -> None:
    called = case.connect("822", "823").until_lasted(0.3).hold()
    called.until_lasted(3.5).hold(False)
    called.hang_up_after(0.3).until_ended()


@shape(
    Row("824", "825", "ANSWER", (("824", "825"),)),
    Row("824", "826", "ANSWER", (("824", "826"),)),
)
def _call_waiting(case: SideBySideCase) -> None:
    first = case.connect("824", "825").until_lasted(0.6).hold()
    case.connect("824", "826", hang_up_after=1.5).until_ended()
    first.hold(False).hang_up_after(0.6).until_ended()


@shape(Row("827", "3528", "CANCEL"))
def _given_up_in_an_announcement(case: SideBySideCase) -> None:
    call = case.phones.call("827", "3528")
    case.phones.called("828").ring().answer().until_lasted(1.0)
    call.hang_up().until_ended()


@shape(Row("829", "3430", "ANSWER", (("829", "830"),)))
def _limited(case: SideBySideCase) -> None:
    case.connect("829", "3430", "830").until_ended()


@shape(Row("831", "832", "ANSWER", (("831", "832"),)))
def _called_channel_cut(case: SideBySideCase) -> None:
    called = case.connect("831", "832").until_lasted(1.4)
    case.ami("Hangup", Channel=case.channel("832"))
    called.until_ended()


@shape(
    Row("833", "570", "ANSWER", (("833", "834"), ("833", "835")), longest=True),
    Row("834", "570", "ANSWER", (("834", "835"), ("833", "834")), longest=True),
    Row("835", "570", "ANSWER", (("834", "835"), ("833", "835")), longest=True),
)
def _conference_whose_first_leaves_first(case: SideBySideCase) -> None:
    first, *others = (case.phones.call(number, "570").until_answered() for number in ("833", "834", "835"))
    first.hang_up_after(1.4).until_ended()
    for call in others:
        call.hang_up_after(1.2).until_ended()


@shape(
    Row("836", "837", "ANSWER", (("836", "837"), ("836", "838"))),
    Row("838", "839", "ANSWER", (("838", "839"), ("836", "838"))),
)
def _bridged_by_ami(case: SideBySideCase) -> None:
    case.connect("836", "837").until_lasted(1.4)
    case.connect("838", "839").until_lasted(1.2)
    case.ami("Bridge", Channel1=case.channel("836"), Channel2=case.channel("838"), Tone="no")
    case.phones.later(2.4, lambda: case.phones.hang_up_all("836"))


@shape(Row("840", "3341", "ANSWER"))
def _given_up_before_the_bridge(case: SideBySideCase) -> None:
    call = case.phones.call("840", "3341")
    case.phones.called("841").ring().answer().until_lasted(0.5)
    call.hang_up().until_ended()


@shape(
    Row("842", "843", "ANSWER", (("842", "843"),)),
    Row("842", "845", "BUSY"),
)
def _transferred_to_a_busy_one(case: SideBySideCase) -> None:
    called = case.connect("842", "843").until_lasted(1.6).refer("845")
    case.phones.called("845").refuse("486 Busy Here")
    called.hang_up()


@shape(
    Row("846", "847", "ANSWER", (("846", "847"),)),
    Row("846", "572", "ANSWER", by_test_s=2),
    Row("848", "572", "ANSWER", by_test_s=2),
)
def _transferred_into_a_conference(case: SideBySideCase) -> None:
    other = case.phones.call("848", "572").until_answered()
    called = case.connect("846", "847").until_lasted(1.6).refer("572")
    wait_for("the transfer", lambda: called.referred)
    called.hang_up()
    wait_for("both are in it", lambda: case.cli("confbridge list 572").count("PJSIP/") == 2)
    other.hang_up_after(2.3).until_ended()
    case.phones.hang_up_all("846")


@shape(
    Row("849", "850", "ANSWER", (("849", "850"), ("849", "851"))),
    Row("850", "851", "MOVED"),
)
def _transferred_while_it_rings(case: SideBySideCase) -> None:
    """The called phone's own call still rings when it joins the two."""
    first = case.connect("849", "850").until_lasted(1.3)
    second = case.phones.call("850", "851")
    third = case.phones.called("851").ring()
    second.until_ringing()
    first.refer("851", second)
    wait_for("the transfer", lambda: first.referred)
    third.answer(2.4).until_ended()


@shape(Row("852", "44", "ANSWER", (("852", "853"),)), alone=True)
def _picked_up_from_a_group(case: SideBySideCase) -> None:
    case.phones.call("852", "44")
    for number in ("846", "847", "848"):
        case.phones.called(number).ring()
    case.channel("847")
    case.phones.call("853", "5944").until_answered().hang_up_after(2.3).until_ended()


SAMPLE: Final = (_forwarded_twice, _taken_out_in_mid_call, _given_up_in_an_announcement, _transferred_while_it_rings)
"""Those that run where SHAPES=all is not set (``make shapes``)."""
