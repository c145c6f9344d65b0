"""StarPy where it is installed, its stand-in, and the adapters on either."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import pbxrouter.adapters

HAS_STARPY = importlib.util.find_spec("starpy") is not None
WHY_NOT = None if HAS_STARPY else "StarPy is not installed here; docs/starpy.md tells how"

ADAPTERS = ("starpy_ami", "starpy_fastagi")


@dataclass(frozen=True)
class Library:
    """StarPy, or its stand-in.

    Attributes:
        package: the name under which it is imported.
    """

    package: str

    def module(self, name: str) -> ModuleType:
        """Import one of the library's modules."""
        return importlib.import_module(f"{self.package}.{name}" if name else self.package)

    @property
    def error(self) -> Any:
        """The library's module of exceptions."""
        return self.module("error")

    @property
    def fastagi(self) -> Any:
        """The library's module of the FastAGI protocol."""
        return self.module("fastagi")

    @property
    def manager(self) -> Any:
        """The library's module of the AMI protocol."""
        return self.module("manager")


STAND_IN = Library("tests.adapters.starpy_stand_in")
STARPY = Library("starpy")
LIBRARIES = [STAND_IN, STARPY] if HAS_STARPY else [STAND_IN]
"""Those that are here."""

LIBRARY = LIBRARIES[-1]
"""StarPy where it is installed, or else the stand-in."""


@contextmanager
def installed_as_starpy(library: Library | None) -> Iterator[None]:
    """``import starpy`` gives this library, or nothing (None); the adapters are imported anew meanwhile."""
    starpy_names = ["", "error", "fastagi", "manager"]
    replaced: dict[str, Any] = {f"starpy.{name}".rstrip("."): library and library.module(name) for name in starpy_names}
    adapters = [f"{pbxrouter.adapters.__name__}.{name}" for name in ADAPTERS]
    before = {name: sys.modules.pop(name, None) for name in (*replaced, *adapters)}
    sys.modules.update(replaced)
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
        for name, full_name in zip(ADAPTERS, adapters, strict=True):
            # The package keeps what was imported from it, too.
            vars(pbxrouter.adapters).pop(name, None)
            if full_name in sys.modules:
                setattr(pbxrouter.adapters, name, sys.modules[full_name])


@cache
def adapter(name: str) -> Any:
    """A module of pbxrouter.adapters, on LIBRARY."""
    with installed_as_starpy(LIBRARY):
        return importlib.import_module(f"{pbxrouter.adapters.__name__}.{name}")
