"""What the installed drivers do with the data of mappings, for the parts that show or check rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points

from pbxrouter.config import Config
from pbxrouter.drivers import GROUP, Driver, log_failure
from pbxrouter.errors import ApplicationFailed
from pbxrouter.rules import Action, Applications
from pbxrouter.rules import Mapping as Rule
from pbxrouter.text import Sentence, sentence


class DriverApplications(Applications):
    """The applications of drivers, with what each says about data.

    A driver without ``data_problem`` and ``action`` accepts any data, and does not say what it runs.

    Args:
        drivers: by application name, lower case.
    """

    def __init__(self, drivers: Mapping[str, Driver]) -> None:
        super().__init__(drivers)
        self._drivers = drivers
        self._failed: set[tuple[str, str]] = set()

    def replace(self, drivers: Mapping[str, Driver]) -> None:
        """Ask these drivers from now on, which have the same names."""
        self._drivers = dict(drivers)
        self._problems.clear()
        self.generation += 1

    def __contains__(self, name: object) -> bool:
        return name in self._drivers

    def data_problem(self, application: str, data: str) -> Sentence | None:
        """What is wrong with data, by the application's driver."""
        said = self._ask(application, "data_problem", data)
        if isinstance(said, Sentence):
            return said
        return sentence("{text}", text=said) if isinstance(said, str) and said else None

    def action(self, mapping: Rule, number: str, caller: str | None) -> Action | None:
        """What the driver would have Asterisk run for a call."""
        said = self._ask(mapping.application.lower(), "action", mapping.data, number, caller)
        return said if isinstance(said, Action) else None

    def _ask(self, application: str, name: str, *arguments: object) -> object:
        """What a method of a driver returns; None if it has none, or if that fails.

        Raises:
            ApplicationFailed: as the method does.
        """
        method = getattr(self._drivers.get(application), name, None)
        if not callable(method):
            return None
        try:
            return method(*arguments)
        except ApplicationFailed as error:
            if name == "action":
                raise
            return error.sentence
        except Exception:
            if (application, name) not in self._failed:  # once, since it may be asked for each call
                self._failed.add((application, name))
                log_failure("drivers: {name} of {driver} failed", name=name, driver=application)
            return None


class DriversOnDemand(Mapping[str, Driver]):
    """The installed drivers, each of which is loaded when it is first asked for."""

    def __init__(self, config: Config, found: Iterable[EntryPoint] | None = None) -> None:
        self._config = config
        self._points: dict[str, EntryPoint] = {}
        for point in entry_points(group=GROUP) if found is None else found:
            self._points.setdefault(point.name.lower(), point)
        self._loaded: dict[str, Driver] = {}

    def __getitem__(self, name: str) -> Driver:
        if name not in self._loaded:
            point = self._points[name]
            try:
                self._loaded[name] = point.load()(self._config)
            except Exception:
                log_failure("drivers: {name} cannot be loaded and is left out: {value}", name=name, value=point.value)
                del self._points[name]
                raise KeyError(name) from None
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._points)

    def __len__(self) -> int:
        return len(self._points)
