"""Roles, in order of their rights."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.security.roles import Role


class RoleTests(SynchronousTestCase):
    """Each role has the rights of those before it."""

    def test_order(self) -> None:
        """The order is viewer, operator, admin."""
        allowed = [[value.may(needed) for needed in Role] for value in (Role.VIEWER, Role.OPERATOR, Role.ADMIN)]
        self.assertEqual(allowed, [[True, False, False], [True, True, False], [True, True, True]])
