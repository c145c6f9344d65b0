"""What there is to say of a call when it is over, and the words for how calls end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pbxrouter.agi import AGIRequest
from pbxrouter.drivers import Outcome
from pbxrouter.rules import Decision
from pbxrouter.text import Sentence


class GatewayOutcome:
    """Outcomes that are no driver's."""

    INVALID: Final = "INVALID"
    """No pattern matches the number."""
    DENIED: Final = "DENIED"
    """No PIN given opens the mapping."""
    NO_DRIVER: Final = "NODRIVER"
    """The mapping leads to an application that nobody provides."""
    FAILED: Final = "FAILED"
    """Something broke on our side."""
    REFUSED: Final = "REFUSED"
    """The call was forged."""
    HUNG_UP: Final = "HANGUP"
    """The caller, or the connection, went before it was over."""
    DEAD: Final = "DEAD"
    """The dialplan ran us on a channel that was hung up before."""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What there is to say of a call when it is over for us.

    Attributes:
        decision: the last one made; None if the call ended before any.
        began: when we got it, epoch seconds.
        ended: when we were done with it.
        note: a last step for the trace, such as why the call was refused; None if there is nothing to add.
    """

    request: AGIRequest
    decision: Decision | None
    outcome: Outcome
    began: float = field(default=0.0, compare=False)
    ended: float = field(default=0.0, compare=False)
    note: Sentence | None = field(default=None, compare=False)
