"""Roles of console users; each role includes the one before it."""

from __future__ import annotations

import enum


class Role(enum.Enum):
    """The role of a console user."""

    VIEWER = "viewer"
    """Sees calls and rules, and tests numbers."""
    OPERATOR = "operator"
    """Changes rules and PINs, undoes changes, dials from their own phone."""
    ADMIN = "admin"
    """Manages console users, tokens and click-to-dial links, reads the doctor's findings."""

    def may(self, needed: Role) -> bool:
        """Whether this role includes another."""
        return _RANK[self] >= _RANK[needed]


_RANK = {role: rank for rank, role in enumerate(Role)}
