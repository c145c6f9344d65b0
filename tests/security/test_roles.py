"""Roles, from the one that may least."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.security.roles import Role


class RoleTests(SynchronousTestCase):
    """Each may what those before it may."""

    def test_order(self) -> None:
        """viewer, operator, admin."""
        allowed = [[value.may(needed) for needed in Role] for value in (Role.VIEWER, Role.OPERATOR, Role.ADMIN)]
        self.assertEqual(allowed, [[True, False, False], [True, True, False], [True, True, True]])
