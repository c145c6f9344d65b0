"""Drivers: one small class for each application that a mapping can lead to.

A driver is found by entry point, group ``pbxrouter.drivers``, under the name that
stands in ``application_name``; the built-in ones are found in no other way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol

from twisted.logger import Logger

from pbxrouter.agi import Channel
from pbxrouter.config import Config

GROUP: Final = "pbxrouter.drivers"

_log = Logger(namespace=__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """An allowed call, as a driver gets it.

    Attributes:
        channel: what the verbs work on.
        caller: the calling number; None if the call shows none. May be any text.
        number: what was dialled: digits, ``*``, ``#`` and ``+`` only.
        data: the mapping's ``application_data``.
    """

    channel: Channel
    caller: str | None
    number: str
    data: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call.

    Attributes:
        status: one word, left for the dialplan in ``PBXROUTER_OUTCOME``: DIALSTATUS
            after a Dial, ``DONE`` after other applications, or what call.flow names.
        cause: Q.850 cause, as text, where Asterisk gave one.
        answered_s: seconds of talk, where that is known.
        hang_up: whether the call is to be hung up now, and not given back to the dialplan.
    """

    status: str = "DONE"
    cause: str = ""
    answered_s: int | None = field(default=None, compare=False)
    hang_up: bool = False


class Driver(Protocol):
    """Runs one application. Made once, with the configuration; runs any number of calls."""

    def __init__(self, config: Config) -> None: ...

    async def run(self, call: Call) -> Outcome:
        """Run the application for a call.

        Raises:
            ApplicationFailed: it could not be run; the caller hears so.
            ChannelHungUp: the caller went.
        """
        ...


def load_drivers(config: Config, found: Iterable[EntryPoint] | None = None) -> Mapping[str, Driver]:
    """All installed drivers by application name, lower case.

    One that cannot be loaded is named in the log and left out; of two with one name
    the first counts.

    Args:
        found: the entry points; those installed if not given.
    """
    drivers: dict[str, Driver] = {}
    for point in entry_points(group=GROUP) if found is None else found:
        name = point.name.lower()
        if name in drivers:
            _log.warn("a second driver named {name} is left out: {value}", name=name, value=point.value)
            continue
        try:
            drivers[name] = point.load()(config)
        except Exception:
            _log.failure("the driver {name} cannot be loaded: {value}", name=name, value=point.value)
    return drivers
