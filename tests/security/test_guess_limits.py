"""Limits on wrong PINs: what is counted by which key, delays, lock-outs, an attack from many places."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.security import GuessKey, Standing, charged, endpoint_of, guesses, keys_of, refunded, rule
from pbxrouter.security.guess_limits import (
    FREE_GUESSES,
    GATEWAY_GUESSES,
    GUESSES_AN_HOUR,
    MAPPING_GUESSES,
    MAX_DELAY_S,
)

TRUNKS = frozenset({"PJSIP/provider"})


class Attack:
    """Keys wrong PINs one after the other, on a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.forgiven: dict[GuessKey, float] = {}
        self.delay_s = 0.0
        self.alarmed: GuessKey | None = None

    def guess(self, channel: str, caller: str | None = None, map_id: int = 1) -> bool:
        """Key a wrong PIN; returns whether it was checked."""
        keys = keys_of(channel, caller, map_id, TRUNKS)
        ruling = rule(keys, self.forgiven, self.now)
        self.delay_s, self.alarmed = ruling.delay_s, ruling.alarmed
        if ruling.locked_by is None:
            for key in keys:
                self.forgiven[key] = charged(key, self.forgiven.get(key, 0.0), self.now)
        return ruling.locked_by is None


class KeyTests(SynchronousTestCase):
    """The keys of a call."""

    def test_endpoint_of(self) -> None:
        """endpoint_of gives the channel's name without its number; a Local channel has no endpoint."""
        self.assertEqual(endpoint_of("PJSIP/33-0000001a"), "PJSIP/33")
        self.assertEqual(endpoint_of("PJSIP/an-endpoint-0000001a"), "PJSIP/an-endpoint")
        self.assertEqual(endpoint_of("SCCP/33-0000001A"), "SCCP/33")
        self.assertEqual(endpoint_of("Local/21@phones-00000001;2"), "")

    def test_endpoint_of_short_numbers(self) -> None:
        """IAX2 numbers its channels in decimal, DAHDI otherwise; the endpoint is the same for each call."""
        self.assertEqual(endpoint_of("IAX2/office-4711"), "IAX2/office")
        self.assertEqual(endpoint_of("IAX2/branch-office-12345678"), "IAX2/branch-office")
        self.assertEqual(endpoint_of("DAHDI/1-1"), "DAHDI/1")
        self.assertEqual(endpoint_of("DAHDI/i1/5551234-1a"), "DAHDI/i1")
        self.assertEqual(endpoint_of("DAHDI/i2/-3"), "DAHDI/i2")
        self.assertEqual(endpoint_of("PJSIP/line-1"), "PJSIP/line-1")

    def test_phone_and_trunk(self) -> None:
        """A phone has keys for endpoint and number; a trunk has one for the number on it."""
        phone = keys_of("PJSIP/33-0000001a", "33", 7, TRUNKS)
        self.assertEqual([(key.scope, key.name) for key in phone[:2]], [("endpoint", "PJSIP/33"), ("number", "33")])
        outside = keys_of("PJSIP/provider-0000001a", "555", 7, TRUNKS)
        self.assertEqual([key.scope for key in outside], ["trunk", "queue", "mapping", "gateway"])
        self.assertEqual(outside[0].name, "PJSIP/provider 555")

    def test_machine_with_many_addresses(self) -> None:
        """A machine that speaks from all addresses of its IPv6 network is one peer, with one set of names."""
        keys = [
            keys_of("PJSIP/33-0000001a", "33", 7, TRUNKS, peer=f"2001:db8::{place:x}", standing=Standing.FOREIGN)
            for place in range(3)
        ]
        self.assertEqual(len(set(keys)), 1)
        self.assertEqual(
            [key.name for key in keys[0][:3]],
            ["PJSIP/33 at 2001:db8::/64", "33 at 2001:db8::/64", "2001:db8::/64"],
        )

    def test_every_call_has_a_caller_key(self) -> None:
        """A call without endpoint and number has a caller key too."""
        self.assertTrue(keys_of("Local/21@phones-00000001;2", None, 7, TRUNKS)[0].is_caller)


class RuleTests(SynchronousTestCase):
    """Delays and lock-outs after wrong guesses."""

    def test_two_mistakes_go_unnoticed(self) -> None:
        """The first three PINs are checked at once."""
        attack = Attack()
        for _ in range(3):
            self.assertTrue(attack.guess("PJSIP/33-00000001", "33"))
            self.assertEqual(attack.delay_s, 0.0)

    def test_delays_grow_and_are_bounded(self) -> None:
        """Delays grow from the fourth PIN on, up to MAX_DELAY_S."""
        attack = Attack()
        delays = []
        for _ in range(FREE_GUESSES + 3):
            attack.guess("PJSIP/33-00000001")
            delays.append(attack.delay_s)
        self.assertEqual(delays, sorted(delays))
        self.assertGreater(delays[3], 0)
        self.assertEqual(max(delays), MAX_DELAY_S)

    def test_ten_an_hour(self) -> None:
        """After the free ones an endpoint has ten guesses an hour checked, however many it makes."""
        attack = Attack()
        self.assertEqual(sum(attack.guess("PJSIP/33-00000001") for _ in range(100)), FREE_GUESSES)
        checked = 0
        for _ in range(3600):
            attack.now += 1
            checked += attack.guess("PJSIP/33-00000001")
        self.assertEqual(checked, GUESSES_AN_HOUR)

    def test_a_number_counts_across_endpoints(self) -> None:
        """Endpoints with the same caller number share its limit, once each has guessed wrong three times."""
        attack = Attack()
        first = [attack.guess(f"PJSIP/{line}-00000001", "33") for line in range(8) for _ in range(3)]
        more = [attack.guess(f"PJSIP/{line}-00000002", "33") for line in range(8)]
        self.assertEqual((sum(first), sum(more)), (24, 0))
        without_endpoint = Attack()
        checked = sum(without_endpoint.guess(f"Local/34@x-{line:08x};2", "33") for line in range(40))
        self.assertEqual(checked, FREE_GUESSES)

    def test_a_claimed_number(self) -> None:
        """Endpoints that claim to be 33 do not lock out the phone 33: its PIN is checked at once."""
        attack = Attack()
        for call in range(20):
            attack.guess(f"PJSIP/stranger-{call:08x}", "33")
        self.assertFalse(attack.guess("PJSIP/stranger-00000001", "33"))
        self.assertTrue(attack.guess("PJSIP/33-00000001", "33"))
        self.assertEqual(attack.delay_s, 0.0)

    def test_mistypes_while_others_claim_the_number(self) -> None:
        """Those who claim to be 33 do not lock out the phone 33 that mistypes twice, nor delay its third PIN."""
        attack = Attack()
        for call in range(20):
            attack.guess(f"PJSIP/stranger-{call:08x}", "33")
        for _ in range(3):
            self.assertTrue(attack.guess("PJSIP/33-00000001", "33"))
            self.assertEqual(attack.delay_s, 0.0)
        self.assertFalse(attack.guess("PJSIP/33-00000001", "33"))

    def test_short_channel_numbers(self) -> None:
        """A peer by IAX2, and an ISDN span, have the limits of one endpoint although each call has another name."""
        attack = Attack()
        self.assertEqual(sum(attack.guess(f"IAX2/office-{call}", "555") for call in range(40)), FREE_GUESSES)
        attack = Attack()
        checked = sum(attack.guess(f"DAHDI/i1/555{call}-{call:x}", f"555{call}") for call in range(20))
        self.assertEqual(checked, FREE_GUESSES)

    def test_many_places(self) -> None:
        """An attack from many endpoints limits those who have guessed wrong; others are not affected."""
        attack = Attack()
        attack.guess("Local/34@x-00000001;2", "555")
        attack.guess("PJSIP/provider-00000001", "556")
        for line in range(MAPPING_GUESSES):
            self.assertTrue(attack.guess(f"PJSIP/{line}-00000001"))
        self.assertFalse(attack.guess("Local/34@x-00000001;2", "555"))
        self.assertFalse(attack.guess("PJSIP/provider-00000001", "556"))
        self.assertEqual([attack.guess("PJSIP/0-00000001") for _ in range(3)], [True, True, False])
        self.assertEqual(attack.alarmed, GuessKey("mapping", "1"))
        self.assertTrue(attack.guess("PJSIP/honest-00000001"))
        self.assertEqual(attack.delay_s, 0.0)

    def test_mistypes_during_an_attack(self) -> None:
        """An endpoint that no right PIN has made known mistypes twice during an attack and notices nothing."""
        attack = Attack()
        for line in range(2 * GATEWAY_GUESSES):
            attack.guess(f"PJSIP/{line}-00000001", str(line))
        for _ in range(3):
            self.assertTrue(attack.guess("PJSIP/honest-00000001", "36"))
            self.assertEqual(attack.delay_s, 0.0)
        self.assertFalse(attack.guess("PJSIP/honest-00000001", "36"))

    def test_many_mappings(self) -> None:
        """Guesses spread over mappings raise the gateway's alarm."""
        attack = Attack()
        for line in range(GATEWAY_GUESSES):
            attack.guess(f"PJSIP/{line}-00000001", map_id=line)
        self.assertEqual([attack.guess("PJSIP/0-00000001", map_id=1000) for _ in range(3)], [True, True, False])
        self.assertEqual(attack.alarmed, GuessKey("gateway", ""))
        self.assertTrue(attack.guess("PJSIP/honest-00000001", map_id=1000))

    def test_outsiders_do_not_lock_a_trunk(self) -> None:
        """One number on a trunk is locked, another on the same trunk is not."""
        attack = Attack()
        while attack.guess("PJSIP/provider-00000001", "555"):
            pass
        self.assertTrue(attack.guess("PJSIP/provider-00000002", "556"))

    def test_refund(self) -> None:
        """A right PIN takes its charge back."""
        key = GuessKey("endpoint", "PJSIP/33")
        after = refunded(key, charged(key, 0.0, 1000.0), 1000.0)
        self.assertEqual(guesses(key, after, 1000.0), 0)

    def test_forgiven(self) -> None:
        """Guesses are forgiven one after the other."""
        key = GuessKey("endpoint", "PJSIP/33")
        until = charged(key, charged(key, 0.0, 0.0), 0.0)
        self.assertEqual([guesses(key, until, now) for now in (0.0, 359.0, 361.0, 721.0)], [2, 2, 1, 0])


class BoundTests(SynchronousTestCase):
    """How long wrong PINs are held against a key at most."""

    def test_an_alarm_ends_an_hour_after_the_last_wrong_pin(self) -> None:
        """An alarm of ten thousand wrong PINs is over an hour after the last."""
        attack = Attack()
        for number in range(10_000):
            attack.guess(f"PJSIP/{number}-0000001a")
        attack.now += 3590.0
        attack.guess("PJSIP/21-0000001a")
        self.assertIsNotNone(attack.alarmed)
        attack.now += 3660.0
        attack.guess("PJSIP/22-0000001a")
        self.assertIsNone(attack.alarmed)
