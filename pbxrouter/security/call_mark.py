"""The mark by which the gateway knows a call that its own command line simulates.

``pbxrouter call`` has no Asterisk that could prove its channel. It can read the PIN key, which strangers cannot.
"""

from __future__ import annotations

import hmac

from pbxrouter.security.pins import derive


def call_mark(key: bytes, uniqueid: str, channel: str, caller: str | None) -> str:
    """The mark of one simulated call, as 64 hex digits.

    Args:
        key: the PIN key.
        caller: the caller number; None if there is none.
    """
    text = "\n".join((uniqueid, channel, caller or ""))
    return hmac.digest(derive(key, "simulated call"), text.encode("utf-8", "surrogatepass"), "sha256").hex()
