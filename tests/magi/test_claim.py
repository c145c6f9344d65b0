"""MagiClaim: which of several gateways serves the calls in agi:async of an Asterisk."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami.messages import AMIMessage
from pbxrouter.errors import ActionFailed, ActionTimeout
from pbxrouter.magi.claim import CLAIM_VARIABLE, EVERY_S, LEASE_S, SETTLE_S, STALE_S, ClaimText, MagiClaim
from tests.ami_fakes import FakeAMIConnection


class Asterisk:
    """Its time and its global variables."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_795_419_652.0)
        self.variables: dict[str, str] = {}


class Connection(FakeAMIConnection):
    """A gateway's connection to that Asterisk.

    Attributes:
        refuses: answer every action with an error.
        late: answers that are held back; None while they are not.
    """

    def __init__(self, asterisk: Asterisk) -> None:
        super().__init__()
        self.asterisk = asterisk
        self.refuses: Exception | None = None
        self.late: list[Deferred[None]] | None = None
        self.asked = 0

    def action(self, name: str, headers: Iterable[tuple[str, str]] = (), timeout_s: float = 10) -> Deferred[AMIMessage]:
        """Answer from the variables."""
        given = dict(headers)
        if self.refuses is not None:
            return fail(self.refuses)
        self.answers["Ping"] = {"Timestamp": f"{self.asterisk.clock.seconds():.6f}"}
        if name == "Setvar":
            self.asterisk.variables[given["Variable"]] = given["Value"]
        elif name == "Getvar":
            self.asked += 1
            self.answers["Getvar"] = {"Value": self.asterisk.variables.get(given["Variable"], "")}
        answer = super().action(name, headers, timeout_s)
        if self.late is None:
            return answer
        waiting: Deferred[None] = Deferred()
        self.late.append(waiting)
        return waiting.addCallback(lambda _: answer)


class Gateway:
    """A gateway's claim, what it was told, and whether it stands still."""

    def __init__(self, asterisk: Asterisk, gateway: str) -> None:
        self.connection = Connection(asterisk)
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.claim = MagiClaim(self.connection, self.clock, gateway, f"host of {gateway}")  # type: ignore[arg-type]
        self.told: list[str] = []
        self.claim.gained = lambda goes_on: self.told.append("gained, goes on" if goes_on else "gained")
        self.claim.lost = lambda: self.told.append("lost")
        self.connection.is_up = True
        self.claim.startService()

    def confirmed(self) -> bool:
        """Whether the claim holds, when Asterisk is asked if need be."""
        answers: list[bool] = []
        self.claim.confirm().addCallback(answers.append)
        return answers == [True]


class ClaimTests(SynchronousTestCase):
    """Claims of gateways on one Asterisk."""

    def setUp(self) -> None:
        """Create an Asterisk."""
        self.asterisk = Asterisk()
        self.gateways: list[Gateway] = []

    def gateway(self, name: str) -> Gateway:
        """Start a gateway."""
        self.gateways.append(Gateway(self.asterisk, name))
        return self.gateways[-1]

    def passes(self, seconds: float, *frozen: Gateway) -> None:
        """Time passes; for gateways that stand still in one step at the end."""
        for _ in range(round(seconds * 10)):
            self.asterisk.clock.advance(0.1)
            for gateway in self.gateways:
                if gateway not in frozen:
                    gateway.clock.advance(0.1)

    def holders(self) -> list[bool]:
        """Of each gateway, whether it would take a call now."""
        return [gateway.confirmed() for gateway in self.gateways]

    def test_alone(self) -> None:
        """A single gateway has the calls after a moment, and keeps them; it sends little."""
        one = self.gateway("a")
        self.assertEqual(self.holders(), [False])
        self.passes(SETTLE_S + 0.1)
        self.assertEqual((self.holders(), one.told), ([True], ["gained"]))
        one.connection.sent.clear()
        self.passes(60)
        self.assertEqual((self.holders(), one.told, one.claim.other), ([True], ["gained"], ""))
        self.assertLess(len(one.connection.sent), 3 * 60 + 10)

    def test_standby(self) -> None:
        """A second one stands by, and knows for whom; it has the calls soon after the first has stopped."""
        one = self.gateway("a")
        self.passes(5)
        two = self.gateway("b")
        self.passes(30)
        self.assertEqual((self.holders(), two.claim.other, two.told), ([True, False], "a on host_of_a", []))
        one.claim.stopService()
        self.passes(EVERY_S + SETTLE_S + 0.2)
        self.assertEqual((self.holders(), two.told, two.claim.other), ([False, True], ["gained, goes on"], ""))

    def test_killed(self) -> None:
        """After one that has died without a word they are the other's, who looks for its calls."""
        one = self.gateway("a")
        self.passes(5)
        two = self.gateway("b")
        self.passes(5)
        self.gateways.remove(one)
        self.passes(STALE_S - 1.5)
        self.assertEqual(self.holders(), [False])
        self.passes(1.5 + EVERY_S + SETTLE_S + 0.2)
        self.assertEqual((self.holders(), two.told), ([True], ["gained"]))

    def test_at_the_same_moment(self) -> None:
        """Of two that start at the same moment one has the calls."""
        self.gateway("a")
        self.gateway("b")
        for _ in range(50):
            self.passes(0.1)
            self.assertLess(sum(self.holders()), 2)
        self.assertEqual(sum(self.holders()), 1)

    def test_thaw(self) -> None:
        """One that stood still takes no call before it has asked, and leaves its calls to the one that has them."""
        one = self.gateway("a")
        self.passes(5)
        two = self.gateway("b")
        self.passes(5)
        self.passes(10, one)
        self.assertEqual((two.confirmed(), two.told), (True, ["gained"]))
        one.clock.rightNow += 10  # its timers have not run yet, but a call's event has come
        self.assertTrue(one.claim.is_held)
        self.assertFalse(one.confirmed())
        self.passes(2)
        self.assertEqual(
            (one.told, one.claim.other, self.holders()), (["gained", "lost"], "b on host_of_b", [False, True])
        )

    def test_thaw_of_a_single_one(self) -> None:
        """Without another gateway it goes on with its calls."""
        one = self.gateway("a")
        self.passes(5)
        self.passes(10, one)
        one.clock.rightNow += 10
        self.assertTrue(one.confirmed())
        self.passes(2)
        self.assertEqual(one.told, ["gained"])

    def test_asked_once(self) -> None:
        """While Asterisk's answer is awaited, all calls wait for the same one."""
        one = self.gateway("a")
        self.passes(5)
        one.clock.rightNow += LEASE_S
        one.connection.late, one.connection.asked = [], 0
        answers: list[bool] = []
        for _ in range(100):
            one.claim.confirm().addCallback(answers.append)
        self.assertEqual((one.connection.asked, answers), (1, []))
        for waiting in one.connection.late:
            waiting.callback(None)
        self.assertEqual(answers, [True] * 100)

    def test_no_answer(self) -> None:
        """If Asterisk does not answer, the call is not taken."""
        one = self.gateway("a")
        self.passes(5)
        one.clock.rightNow += LEASE_S
        one.connection.refuses = ActionTimeout("Getvar")
        self.assertFalse(one.confirmed())

    def test_restarted(self) -> None:
        """The next run of the same gateway has the calls at once, also after kill -9."""
        one = self.gateway("a")
        self.passes(5)
        self.gateways.remove(one)
        again = self.gateway("a")
        self.assertEqual((self.holders(), again.told), ([True], ["gained"]))

    def test_the_same_id_twice(self) -> None:
        """Of two processes with one id the second has the calls, and keeps them."""
        one = self.gateway("a")
        self.passes(5)
        self.gateway("a")
        self.passes(20)
        self.assertEqual((self.holders(), one.told), ([False, True], ["gained", "lost"]))

    def test_asterisk_restarts(self) -> None:
        """A restart of Asterisk loses the variable; the first to claim has the calls."""
        one = self.gateway("a")
        self.passes(5)
        two = self.gateway("b")
        self.passes(5)
        self.asterisk.variables.clear()
        for gateway in (one, two):
            gateway.connection.goes_down()
            self.assertFalse(gateway.confirmed())
        two.connection.comes_up()
        self.passes(1)
        one.connection.comes_up()
        self.passes(1)
        self.assertEqual(self.holders(), [False, True])

    def test_not_permitted(self) -> None:
        """Without the right to variables it is as with a single gateway, and logged once."""
        one = self.gateway("a")
        one.connection.refuses = ActionFailed("Getvar: Permission denied")
        self.passes(10)
        self.assertEqual((self.holders(), one.told), ([True], ["gained"]))

    def test_released_early(self) -> None:
        """After release it takes nothing more, also if it is still connected."""
        one = self.gateway("a")
        self.passes(5)
        one.claim.release()
        self.passes(5)
        self.assertEqual((self.holders(), self.asterisk.variables[CLAIM_VARIABLE]), ([False], ""))
        one.claim.stopService()


class ClaimTextTests(SynchronousTestCase):
    """The value of the variable."""

    def test_round_trip(self) -> None:
        """It is read as it was written."""
        claim = ClaimText("3563c08a", "5f2a", "pbx", 1_795_961_636_039)
        self.assertEqual(ClaimText.parse(claim.text), claim)

    def test_of_others(self) -> None:
        """What is no claim counts as none."""
        for text in ("", "1", "a b c", "a b c d", "a b c -5", "a b c ٣", "a b c 1 2", f"a b c {'9' * 20}"):
            self.assertEqual(ClaimText.parse(text), ClaimText(), text)
