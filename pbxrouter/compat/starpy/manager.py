"""StarPy's name for its AMI side, so that programs which only import it run.

Many of StarPy's FastAGI programs import ``manager`` by way of a helper and never use
it. Whoever does use it is told in one line what replaces it.
"""

from __future__ import annotations

from typing import NoReturn

MESSAGE = "StarPy's AMI side is not part of pbxrouter.compat.starpy; pbxrouter.library.connect replaces it"


class _Absent:
    """Stands where a class of StarPy's would; making one fails."""

    def __init__(self, *arguments: object, **named: object) -> NoReturn:
        raise NotImplementedError(MESSAGE)


class AMIProtocol(_Absent):
    """Not there; see the module."""


class AMIFactory(_Absent):
    """Not there; see the module."""
