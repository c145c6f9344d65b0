"""StarPy's name for its AMI side, so that programs which only import it run.

Many of StarPy's FastAGI programs import ``manager`` through a helper and never use it.
Using it raises an error that names the replacement.
"""

from __future__ import annotations

from typing import NoReturn

MESSAGE = "StarPy's AMI side is not part of pbxrouter.compat.starpy; pbxrouter.library.connect replaces it"


class _Absent:
    """Base of the placeholders for StarPy's AMI classes; instantiating one fails."""

    def __init__(self, *arguments: object, **named: object) -> NoReturn:
        raise NotImplementedError(MESSAGE)


class AMIProtocol(_Absent):
    """Placeholder for StarPy's AMIProtocol, which is not provided."""


class AMIFactory(_Absent):
    """Placeholder for StarPy's AMIFactory, which is not provided."""
