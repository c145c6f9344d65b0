"""The id of a gateway, which Asterisk's dialplan and other gateways know it by."""

from __future__ import annotations

import hashlib
import os
import socket

from pbxrouter.config.database_place import beside
from pbxrouter.config.schema import Config


def gateway_id(config: Config) -> str:
    """The gateway's id: the same at each start, and another one for each gateway."""
    # Of a database of PostgreSQL, which many gateways use, the files on this machine: its URL is no gateway's own.
    own = (socket.gethostname(), config.fastagi.listen, os.path.abspath(beside(config.place, "")))
    return hashlib.sha256(repr(own).encode("utf-8", "surrogateescape")).hexdigest()[:8]
