"""Accounts on Asterisk's manager interface: user, secret, trusted certificates."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pbxrouter.errors import ConfigError, ManagerError
from pbxrouter.text import Sentence, file_text, sentence

if TYPE_CHECKING:  # the library logs in without settings
    from pbxrouter.config import Asterisk

_TRUST: Final = re.compile(r"tls:.*:trustRoots=([^:]*)")


def check_trust(description: str) -> None:
    """Check that the ``trustRoots`` of a ``tls:`` endpoint contain a certificate; Twisted would not say why it fails.

    Raises:
        ConfigError: the folder cannot be read or contains no certificate.
    """
    found = _TRUST.match(description)
    if found is None:
        return
    folder = Path(found[1])
    try:
        certificates = (path.read_bytes() for path in folder.glob("*.[Pp][Ee][Mm]"))
        if any(b"BEGIN CERTIFICATE" in certificate for certificate in certificates):
            return
    except OSError as error:
        raise ConfigError(
            sentence("asterisk.ami: {path}: cannot be read: {why}", path=error.filename, why=error.strerror)
        ) from None
    raise ConfigError(
        sentence(
            "asterisk.ami: no certificate in {folder}; trustRoots takes a folder with files named *.pem",
            folder=folder,
        )
    )


def account_of(config: Asterisk) -> Account:
    """The account configured for an Asterisk; its secret is read now.

    Raises:
        ConfigError: the secret cannot be read, or the endpoint's folder of certificates is empty.
    """
    check_trust(config.ami)
    secret = read_secret(config)
    return Account(config.username, lambda: secret, plain=config.login == "plain")


def read_secret(config: Asterisk) -> str:
    """Read the AMI user's secret: the first line of its file.

    Raises:
        ConfigError: the file cannot be read or is empty.
    """
    try:
        secret = file_text(Path(config.secret_file).read_bytes()).partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or Sentence("it is not text")
        raise ConfigError(
            sentence("asterisk.secret_file: {path}: cannot be read: {why}", path=config.secret_file, why=why)
        ) from None
    if not secret:
        raise ConfigError(
            sentence(
                "asterisk.secret_file: {path} is empty; accepted is one line, the secret",
                path=config.secret_file,
            )
        )
    return secret


@dataclass(frozen=True, slots=True)
class Account:
    """The account on one Asterisk. ``secret`` is called at each log-in and never shown."""

    username: str
    secret: Callable[[], str]
    plain: bool = False


def with_reporting_hint(error: ManagerError) -> Sentence:
    """Why Asterisk did not tell about its channels, and the write class that this needs."""
    return sentence("{why}; is reporting among the user's write classes?", why=error.sentence)
