"""The exceptions that StarPy programs catch, under StarPy's names."""

from __future__ import annotations


class AMICommandFailure(Exception):
    """Asterisk refused an AMI action. Nothing here raises it; programs may name it."""


class AGICommandFailure(Exception):
    """An AGI command failed.

    Attributes:
        args: a code, and Asterisk's words. The code is AGI's own (510, 511, 520), or
            -1 where the command was understood but did not succeed.
    """


class MenuFinished(Exception):
    """The caller left a menu without a choice."""


class MenuExit(MenuFinished):
    """The caller left a menu by its exit option."""


class MenuTimeout(MenuFinished):
    """The caller took too long."""


class MenuUnexpectedOption(MenuFinished):
    """The caller chose an option that the menu does not have."""
