"""The gateway's id, by which the dialplan and other gateways know it."""

from __future__ import annotations

import hashlib
import os
import socket

from pbxrouter.config.schema import Config


def gateway_id(config: Config) -> str:
    """The gateway's id: the same at each start, and another one for each gateway."""
    own = (socket.gethostname(), config.fastagi.listen, os.path.abspath(config.database))
    return hashlib.sha256(repr(own).encode("utf-8", "surrogateescape")).hexdigest()[:8]
