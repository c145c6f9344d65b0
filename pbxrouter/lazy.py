"""Names that a package offers but imports only when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Make a package's ``__getattr__`` (PEP 562).

    What needs Twisted is offered so by packages that the command line uses without it: ``pbxrouter explain``
    starts in a fraction of the time.

    Args:
        package: the package's ``__name__``.
        modules: for each name the module within the package that defines it.
    """

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get
