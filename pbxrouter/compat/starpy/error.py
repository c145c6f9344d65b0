"""The failures that StarPy's programs catch, by their names."""

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
    """A menu was left without a choice."""


class MenuExit(MenuFinished):
    """The caller left it."""


class MenuTimeout(MenuFinished):
    """The caller took too long."""


class MenuUnexpectedOption(MenuFinished):
    """The caller chose what is not offered."""
