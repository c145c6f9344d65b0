"""Choosing one of the configured Asterisks."""

from typing import TYPE_CHECKING

from pbxrouter.errors import ConfigError
from pbxrouter.text import printable

if TYPE_CHECKING:
    from pbxrouter.config import Asterisk, Config


def chosen_asterisk(config: "Config", name: str | None) -> "Asterisk":
    """The Asterisk of that name; without a name, the only one.

    Raises:
        ConfigError: none is configured, a name is needed, or it has no secret_file.
    """
    found = {asterisk.name: asterisk for asterisk in config.asterisk}
    if not found:
        raise ConfigError("no Asterisk is configured: add an [[asterisk]] with a secret_file to the settings")
    if name is None and len(found) == 1:
        chosen = next(iter(found.values()))
    elif name is None or name not in found:
        raise ConfigError(f"which Asterisk? accepted are {printable(', '.join(found))} (--asterisk NAME)")
    else:
        chosen = found[name]
    if not chosen.secret_file:
        raise ConfigError(f"{printable(chosen.name)}: no secret_file is set, so AMI cannot be used")
    return chosen
