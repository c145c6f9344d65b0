"""Calls in progress that PINs have opened, of several gateways on a database."""

from __future__ import annotations

from pbxrouter.database.pin_calls import STALE_S, begin_pin_call, write_pin_calls
from tests.database.postgresql import OnBothEngines

NOW = 1_000_000.0


class PinCallRowsTests(OnBothEngines):
    """The rows of gateways "a" and "b"."""

    def setUp(self) -> None:
        """Create the database and connect to it."""
        self.connection = self.open(self.new_place(), timeout_s=0)

    def rows(self) -> list[tuple[str, str, int, float]]:
        """Gateway, user, calls, and seconds since NOW at which they were written."""
        self.assertFalse(self.connection.in_transaction)
        found = self.connection.execute("SELECT gateway, user_name, calls, written_at FROM pin_calls ORDER BY 1, 2")
        return [(gateway, user, calls, written_at - NOW) for gateway, user, calls, written_at in found]

    def test_limit_of_all_gateways(self) -> None:
        """A call begins while all gateways together stay within the user's limit; else nothing is written."""
        begin = begin_pin_call
        self.assertTrue(begin(self.connection, "a", "ana", 1, 3, NOW))
        self.assertTrue(begin(self.connection, "b", "ana", 1, 3, NOW))
        self.assertTrue(begin(self.connection, "a", "ana", 2, 3, NOW + 1))
        self.assertFalse(begin(self.connection, "b", "ana", 2, 3, NOW + 2))
        self.assertTrue(begin(self.connection, "b", "eva", 1, 1, NOW + 2))
        self.assertEqual(self.rows(), [("a", "ana", 2, 1), ("b", "ana", 1, 0), ("b", "eva", 1, 2)])

    def test_stale(self) -> None:
        """What another gateway wrote counts for less than STALE_S, in both directions of the clock."""
        for at, may in ((NOW + STALE_S - 0.5, False), (NOW + STALE_S, True), (NOW - STALE_S, True)):
            write_pin_calls(self.connection, "a", {"ana": 1}, NOW)
            self.assertIs(begin_pin_call(self.connection, "b", "ana", 1, 1, at), may, at)
            for gateway in "ab":
                write_pin_calls(self.connection, gateway, {}, NOW)

    def test_all_of_a_gateway(self) -> None:
        """All rows of a gateway are replaced; those of others stay unless they are stale."""
        write_pin_calls(self.connection, "a", {"ana": 1, "eva": 2}, NOW)
        write_pin_calls(self.connection, "b", {"ana": 4}, NOW + 1)
        write_pin_calls(self.connection, "c", {"ana": 5}, NOW + 2)
        write_pin_calls(self.connection, "b", {"pepe": 3}, NOW + STALE_S)
        self.assertEqual(self.rows(), [("b", "pepe", 3, STALE_S), ("c", "ana", 5, 2)])

    def test_one_user(self) -> None:
        """With a user named, only that user's row is written, or goes."""
        write_pin_calls(self.connection, "a", {"ana": 1, "eva": 2}, NOW)
        write_pin_calls(self.connection, "a", {"ana": 7, "eva": 8, "pepe": 9}, NOW + 1, only="ana")
        self.assertEqual(self.rows(), [("a", "ana", 7, 1), ("a", "eva", 2, 0)])
        write_pin_calls(self.connection, "a", {"pepe": 9}, NOW + 2, only="eva")
        self.assertEqual(self.rows(), [("a", "ana", 7, 1)])
