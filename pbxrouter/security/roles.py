"""Who may what in the console: three roles, each of which may all that the one before may. Pure."""

from __future__ import annotations

import enum


class Role(enum.Enum):
    """What somebody is to the console."""

    VIEWER = "viewer"
    """Sees calls and rules, and tests numbers."""
    OPERATOR = "operator"
    """Changes rules and PINs, takes changes back, dials from their own phone."""
    ADMIN = "admin"
    """Says who may log in, makes tokens and click-to-dial links, reads the doctor's findings."""

    def may(self, needed: Role) -> bool:
        """Whether this role may what that one may."""
        return _RANK[self] >= _RANK[needed]


_RANK = {role: rank for rank, role in enumerate(Role)}
