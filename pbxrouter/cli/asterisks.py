"""Which of the configured Asterisks a command means, and how to log in there."""

from typing import TYPE_CHECKING

from pbxrouter.errors import ConfigError
from pbxrouter.trace import printable

if TYPE_CHECKING:
    from pbxrouter.config import Asterisk, Config
    from pbxrouter.manager_service import Account


def chosen_asterisk(config: "Config", name: str | None) -> "Asterisk":
    """The one of that name; the only one if none is named.

    Raises:
        ConfigError: there is none, it must be named, or it has no secret.
    """
    found = {each.name: each for each in config.asterisk}
    if not found:
        raise ConfigError("there is no Asterisk in the settings: add an [[asterisk]] with a secret_file")
    if name is None and len(found) == 1:
        chosen = next(iter(found.values()))
    elif name is None or name not in found:
        raise ConfigError(f"which Asterisk? accepted are {printable(', '.join(found))} (--asterisk NAME)")
    else:
        chosen = found[name]
    if not chosen.secret_file:
        raise ConfigError(f"{printable(chosen.name)}: no secret_file is set, so nobody can log in to AMI")
    return chosen


def account_of(asterisk: "Asterisk") -> "Account":
    """How to log in to its AMI.

    Raises:
        ConfigError: the secret cannot be read, or the endpoint trusts nobody.
    """
    from pbxrouter.asterisk_service import check_trust, read_secret
    from pbxrouter.manager_service import Account

    check_trust(asterisk.ami)
    secret = read_secret(asterisk)
    return Account(asterisk.username, lambda: secret, plain=asterisk.login == "plain")
