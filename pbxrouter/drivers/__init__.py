"""Drivers: one small class for each application that a mapping can lead to.

Drivers are found by entry points of the group ``pbxrouter.drivers``, the built-in ones too. The name of the entry
point is the ``application_name`` of mappings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final, Protocol

from pbxrouter.config import Config
from pbxrouter.lazy import lazy_names
from pbxrouter.rules import Action
from pbxrouter.text import Sentence

if TYPE_CHECKING:
    from pbxrouter.agi import Channel
    from pbxrouter.drivers.applications import DriverApplications, DriversOnDemand

__all__ = [
    "GROUP",
    "Action",
    "Call",
    "CheckingDriver",
    "Driver",
    "DriverApplications",
    "DriversOnDemand",
    "Outcome",
    "Pins",
    "load_drivers",
    "log_failure",
]

__getattr__ = lazy_names(__name__, {"DriverApplications": "applications", "DriversOnDemand": "applications"})

GROUP: Final = "pbxrouter.drivers"


class Pins(Protocol):
    """The PINs as one caller may use them. Wrong and refused ones count as guesses, across calls."""

    async def identify(self, pin: str) -> bool:
        """Whether a user has this PIN; that user's PIN is the one that ``change`` changes.

        Raises:
            ApplicationFailed: the database cannot be used now.
            ChannelHungUp: the caller hung up.
        """
        ...

    async def change(self, pin: str) -> bool:
        """Change the PIN of the identified user; False if the new one is weak or another user's.

        Raises:
            ApplicationFailed: no user was identified, or the database cannot be used now.
            ChannelHungUp: the caller hung up.
        """
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """An allowed call, which a driver is to run.

    Attributes:
        channel: the first argument of the verbs.
        caller: the calling number; None if the call shows none. May be any text.
        number: what was dialled: digits, ``*``, ``#`` and ``+`` only.
        data: the mapping's ``application_data``.
        pins: the users' PINs; None where there is no database, as in tests of drivers.
        has_talk: whether AMI will tell how long the call's people talk, so that the driver need not ask. Over FastAGI
            AMI may be lost while the call goes on.
    """

    channel: Channel
    caller: str | None
    number: str
    data: str
    pins: Pins | None = field(default=None, compare=False)
    has_talk: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a call.

    Attributes:
        status: one word for the dialplan's ``PBXROUTER_OUTCOME``: DIALSTATUS after a Dial, ``DONE`` after another
            application that came to its end, what ended it otherwise, or one of ``call.GatewayOutcome``.
        cause: Q.850 cause, as text, where Asterisk gave one.
        answered_s: seconds that two people talked, 0 if none did; None if that is not known.
        hang_up: whether the gateway is to hang the call up instead of giving it back to the dialplan.
    """

    status: str = "DONE"
    cause: str = ""
    answered_s: int | None = field(default=None, compare=False)
    hang_up: bool = False


class Driver(Protocol):
    """Runs one application. One instance, made with the configuration, runs all its calls.

    A driver with an attribute ``connects`` that is False never connects two people: its calls have no talk.
    """

    def __init__(self, config: Config) -> None: ...

    async def run(self, call: Call) -> Outcome:
        """Run the application for a call.

        Raises:
            ApplicationFailed: the application could not be run; the caller hears ``technical-failure``.
            ChannelHungUp: the caller hung up.
        """
        ...


class CheckingDriver(Driver, Protocol):
    """A driver that also tells, before a call is made, what is wrong with data and what it would do.

    Both methods may be left out: then any data is accepted, and what the driver runs is not shown. They are called in
    the reactor and must not block.
    """

    def data_problem(self, data: str) -> Sentence | None:
        """What is wrong with the data of a mapping, naming it and what is accepted; None if nothing is."""
        ...

    def action(self, data: str, number: str, caller: str | None) -> Action | None:
        """What Asterisk would be told to run for a call.

        Args:
            data: which ``data_problem`` accepts.
            number: the dialled number.
            caller: the calling number; None if the call shows none. May be any text.

        Raises:
            ApplicationFailed: ``run`` would raise it for this call.
        """
        ...


def log_failure(message: str, **values: Any) -> None:
    """Log the exception that is being handled; imports Twisted only then."""
    from twisted.logger import Logger

    Logger(namespace=__name__).failure(message, **values)


def load_drivers(config: Config, found: Iterable[EntryPoint] | None = None) -> Mapping[str, Driver]:
    """Load all installed drivers; returns them by application name in lower case.

    A driver that cannot be loaded is logged and left out; of two with the same name the first counts.

    Args:
        found: the entry points; by default those installed.
    """
    drivers: dict[str, Driver] = {}
    for point in entry_points(group=GROUP) if found is None else found:
        name = point.name.lower()
        if name in drivers:
            _warn("drivers: a second driver named {name} is left out: {value}", name=name, value=point.value)
            continue
        try:
            drivers[name] = point.load()(config)
        except Exception:
            log_failure("drivers: {name} cannot be loaded and is left out: {value}", name=name, value=point.value)
    return drivers


def _warn(message: str, **values: Any) -> None:
    from twisted.logger import Logger

    Logger(namespace=__name__).warn(message, **values)
