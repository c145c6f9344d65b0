"""The PIN key file: the key of the PIN hashes.

64 hex digits and a line end, readable by its owner alone, beside the database but not
in it: a stolen copy of the database reveals no PIN. If it is lost, every PIN must be set again.
Under systemd the key may come as a credential instead: ``LoadCredential=pbxrouter.pinkey:…``
puts a file of that name into $CREDENTIALS_DIRECTORY, and then that one is read.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pbxrouter.errors import KeyFileError
from pbxrouter.text import file_text, sentence

CREDENTIAL: Final = "pbxrouter.pinkey"
KEY_BYTES: Final = 32
_KEY: Final = re.compile(rb"\s*([0-9a-fA-F]{%d})\s*" % (2 * KEY_BYTES))
_MAX_FILE: Final = 1024


def create_key(path: Path) -> bytes:
    """Generate a key and write it to a new file of mode 0600.

    Raises:
        KeyFileError: the file exists, or cannot be written.
    """
    key = secrets.token_bytes(KEY_BYTES)
    try:
        # O_EXCL: a key that PINs were hashed with is never overwritten.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileError(sentence("PIN key {path} exists already: it is kept as it is", path=path)) from None
    except OSError as error:
        raise KeyFileError(sentence("PIN key {path} cannot be written: {why}", path=path, why=error.strerror)) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.hex().encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        os.unlink(path)
        raise KeyFileError(sentence("PIN key {path} cannot be written: {why}", path=path, why=error.strerror)) from None
    return key


def read_key(path: Path, environ: Mapping[str, str] = os.environ) -> bytes:
    """Read the key from the systemd credential if there is one, else from the file at ``path``.

    Raises:
        KeyFileError: no such file; it cannot be read; others than its owner can read it
            (a credential excepted, systemd sees to that); it holds no key.
    """
    directory = environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(directory, CREDENTIAL) if directory else None
    if credential is not None and os.path.lexists(credential):
        return _read(credential, private=False)
    return _read(path, private=True)


def _read(path: Path, private: bool) -> bytes:
    try:
        # O_NONBLOCK: a named pipe in that place must not hold us up.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise KeyFileError(sentence("PIN key {path} is not a file", path=path))
            if private and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise KeyFileError(
                    sentence("PIN key {path} can be read by other users; type: chmod 600 {path}", path=path)
                )
            content = file.read(_MAX_FILE)
    except FileNotFoundError:
        raise KeyFileError(
            sentence(
                "PIN key {path} is missing: restore it from a backup (`pbxrouter init` "
                "makes a new one with a new database)",
                path=path,
            )
        ) from None
    except OSError as error:
        raise KeyFileError(sentence("PIN key {path} cannot be read: {why}", path=path, why=error.strerror)) from None
    try:
        content = file_text(content).encode("utf-8")  # an editor may have saved it
    except UnicodeDecodeError:
        content = b""
    found = _KEY.fullmatch(content)
    if not found:
        raise KeyFileError(
            sentence("PIN key {path} holds no key; accepted are {count} hex digits", path=path, count=2 * KEY_BYTES)
        )
    return bytes.fromhex(found.group(1).decode("ascii"))
