"""Which of the configured Asterisks a command means."""

from typing import TYPE_CHECKING

from pbxrouter.errors import ConfigError
from pbxrouter.text import printable

if TYPE_CHECKING:
    from pbxrouter.config import Asterisk, Config


def chosen_asterisk(config: "Config", name: str | None) -> "Asterisk":
    """The one of that name; the only one if none is named.

    Raises:
        ConfigError: there is none, it must be named, or it has no secret.
    """
    found = {asterisk.name: asterisk for asterisk in config.asterisk}
    if not found:
        raise ConfigError("there is no Asterisk in the settings: add an [[asterisk]] with a secret_file")
    if name is None and len(found) == 1:
        chosen = next(iter(found.values()))
    elif name is None or name not in found:
        raise ConfigError(f"choose one of these Asterisks: {printable(', '.join(found))} (--asterisk NAME)")
    else:
        chosen = found[name]
    if not chosen.secret_file:
        raise ConfigError(f"{printable(chosen.name)}: no secret_file is set, so nobody can log in to AMI")
    return chosen
