"""Transports by other libraries in place of pbxrouter's own, where the settings ask for one.

Importing a module in here imports its library; ``demand_starpy`` first says in one line
what to do where that is not installed.
"""

from __future__ import annotations

import importlib.util

from pbxrouter.errors import ConfigError

STARPY_FROM = "git+https://github.com/asterisk/starpy.git@1.1.1"
"""What pip installs StarPy from: it is in no package index."""


def demand_starpy(key: str) -> None:
    """Make sure that StarPy can be imported.

    Args:
        key: the setting that asks for it.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec("starpy") is None:
        raise ConfigError(
            f'{key}: "starpy" is asked for, but StarPy is not installed: pip install "{STARPY_FROM}"; '
            'or set it to "pbxrouter"'
        )
