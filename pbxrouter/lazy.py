"""Lazy imports: names that a package offers but imports only on first use."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Make a package's ``__getattr__`` (PEP 562).

    Packages that the command line uses without Twisted offer what needs Twisted so: ``pbxrouter explain`` starts in
    a fraction of the time.

    Args:
        package: the package's ``__name__``.
        modules: the module within the package that defines each name.
    """

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get
