"""An alarm, and how it is written as JSON and signed."""

from __future__ import annotations

import datetime
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

SIGNATURE: Final = "X-Pbxrouter-Signature"
TIMESTAMP: Final = "X-Pbxrouter-Timestamp"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that the owner should know at once.

    Attributes:
        kind: a word for programs: ``pin-attack``, ``pin-lockout``, ``forged-calls`` or ``test``.
        text: a line for people; printable, without PINs and secrets.
        details: further values for programs, such as the channel; printable, without PINs and secrets.
    """

    kind: str
    text: str
    details: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Notice:
    """An alarm on its way.

    Attributes:
        number: identifies it: the same in each attempt to deliver it.
        raised_at: epoch seconds.
        gateway: the host's name.
        suppressed: alarms of this kind that were not sent since the last one.
    """

    number: str
    alarm: Alarm
    raised_at: float
    gateway: str
    suppressed: int

    def body(self) -> bytes:
        """The JSON that command and webhook receive."""
        raised = datetime.datetime.fromtimestamp(int(self.raised_at), datetime.UTC)
        return json.dumps(
            {
                "id": self.number,
                "kind": self.alarm.kind,
                "text": self.alarm.text,
                "details": dict(self.alarm.details),
                "raised_at": raised.isoformat().replace("+00:00", "Z"),
                "gateway": self.gateway,
                "suppressed": self.suppressed,
            }
        ).encode("utf-8")


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """The signature of a webhook request: ``sha256=`` and the HMAC-SHA256 of timestamp, a dot, and the body."""
    return "sha256=" + hmac.digest(secret, timestamp.encode("ascii") + b"." + body, "sha256").hex()
