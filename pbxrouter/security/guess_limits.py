"""Limits on wrong PINs: who has guessed too often, and how long a caller waits before the next check.

Each key has a bucket (GCRA): a few wrong guesses are free, after them ``GUESSES_AN_HOUR`` an hour. The keys of a
call are its endpoint and its caller number; on a trunk, which is one endpoint for all outsiders, the number and
the trunk together. Wrong guesses at one mapping, and at the gateway as a whole, have buckets of their own: when
such a bucket is empty an attack comes from many places. Then callers who have guessed wrong have no free guess
any more; other callers are never affected, so an attacker cannot lock the company out. For the same reason the wrong
guesses of a number, which a caller can merely claim, count for an endpoint only if it has guessed wrong three times.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

FREE_GUESSES: Final = 5
"""Wrong guesses of one endpoint or number before it is limited."""
HONEST_MISTAKES: Final = 3
"""Wrong guesses of an endpoint from which those of its caller number count for it, too."""
GUESSES_AN_HOUR: Final = 10
"""Wrong guesses an hour of one endpoint or number after those."""
MAPPING_GUESSES: Final = 30
"""Wrong guesses at one mapping before it counts as attacked, and an hour after those."""
GATEWAY_GUESSES: Final = 60
"""Wrong guesses at the gateway before the alarm, and an hour after those."""
MAX_DELAY_S: Final = 8.0
"""The longest wait before a PIN is checked."""

CALLER_SCOPES: Final = ("endpoint", "number", "trunk")
"""Scopes of keys that stand for a caller, and not for what is attacked."""
SCOPES: Final = (*CALLER_SCOPES, "mapping", "gateway")

_CHANNEL_NUMBER: Final = re.compile(r"-[0-9a-f]{8}(?:;[12])?\Z", re.IGNORECASE)
"""The number of a channel, as Asterisk's core writes it: eight hexadecimal digits; in upper case by SCCP."""
_SHORT_NUMBERS: Final = (
    re.compile(r"(IAX2/.+)-[0-9]+\Z", re.IGNORECASE),
    re.compile(r"(DAHDI/i[0-9]+)/.*\Z", re.IGNORECASE | re.DOTALL),
    re.compile(r"(DAHDI/.+)-[0-9]+\Z", re.IGNORECASE),
)
"""Names of channel drivers with numbers of their own: ``IAX2/office-4711`` (chan_iax2), ``DAHDI/1-1``, and
``DAHDI/i1/5551234-1a`` on the ISDN span 1, where the other party's number is in the name (chan_dahdi, sig_pri)."""


@dataclass(frozen=True, slots=True)
class GuessKey:
    """What wrong guesses are counted by.

    Attributes:
        scope: ``endpoint``, ``number``, ``trunk``, ``mapping`` or ``gateway``.
        name: the endpoint, the number, trunk and number, the map_id; ``""`` for the gateway.
    """

    scope: str
    name: str

    @property
    def is_caller(self) -> bool:
        """Whether it stands for a caller, and not for what is attacked."""
        return self.scope in CALLER_SCOPES

    @property
    def free(self) -> int:
        """Guesses that are free."""
        return {"mapping": MAPPING_GUESSES, "gateway": GATEWAY_GUESSES}.get(self.scope, FREE_GUESSES)

    @property
    def interval_s(self) -> float:
        """Seconds after which a guess is forgiven."""
        return 3600.0 / {"mapping": MAPPING_GUESSES, "gateway": GATEWAY_GUESSES}.get(self.scope, GUESSES_AN_HOUR)


def endpoint_of(channel: str) -> str:
    """The endpoint of a channel name: ``PJSIP/33-0000001a`` gives ``PJSIP/33``; ``""`` for a Local channel.

    Each call has the same one: ``IAX2/office-4711`` gives ``IAX2/office``, ``DAHDI/i1/5551234-1a`` gives ``DAHDI/i1``.
    """
    for form in _SHORT_NUMBERS:
        if match := form.fullmatch(channel):
            return match[1]
    endpoint = _CHANNEL_NUMBER.sub("", channel)
    return "" if endpoint.partition("/")[0].lower() == "local" else endpoint


def keys_of(channel: str, caller: str | None, map_id: int, trunks: frozenset[str]) -> tuple[GuessKey, ...]:
    """The keys by which a call's wrong guesses are counted.

    Args:
        channel: the channel's name.
        caller: the caller number; None if there is none.
        trunks: endpoints that stand for many callers, such as ``PJSIP/provider``.
    """
    endpoint = endpoint_of(channel)
    keys: list[GuessKey] = []
    if endpoint in trunks:
        keys.append(GuessKey("trunk", f"{endpoint} {caller or ''}".strip()))
    else:
        if endpoint:
            keys.append(GuessKey("endpoint", endpoint))
        if caller:
            keys.append(GuessKey("number", caller))
        if not keys:
            keys.append(GuessKey("endpoint", ""))
    return (*keys, GuessKey("mapping", str(map_id)), GuessKey("gateway", ""))


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether a PIN is checked, and after what delay.

    Attributes:
        locked_by: the key that is locked; None if the PIN is checked.
        locked_until: epoch second at which that key gets its next guess.
        delay_s: seconds to wait before the answer, the same for a right and a wrong PIN.
        alarmed: the mapping or gateway key whose bucket is empty, if any.
    """

    locked_by: GuessKey | None
    locked_until: float
    delay_s: float
    alarmed: GuessKey | None


def guesses(key: GuessKey, forgiven_at: float, now: float) -> int:
    """How many wrong guesses of a key are not forgiven yet.

    Args:
        forgiven_at: epoch second at which all of its guesses are forgiven.
    """
    return max(0, -int(-(forgiven_at - now) // key.interval_s)) if forgiven_at > now else 0


def lock_bounds(attacked: bool) -> dict[str, float]:
    """Seconds until all guesses are forgiven, above which a key is locked or attacked: by scope, and for ``caller``.

    Args:
        attacked: whether the gateway-wide alarm is on, so that callers have no free guess.
    """
    bounds = {}
    for scope in SCOPES:
        key = GuessKey(scope, "")
        free = 1 if attacked and key.is_caller else key.free
        bounds[scope] = (free - 1) * key.interval_s
    return {**bounds, "caller": bounds["endpoint"]}


def rule(keys: tuple[GuessKey, ...], forgiven_at: Mapping[GuessKey, float], now: float) -> Ruling:
    """Decide whether a call's next PIN is checked.

    Args:
        forgiven_at: by key, epoch second at which all of its guesses are forgiven; keys without any may be missing.
    """
    counts = {key: guesses(key, forgiven_at.get(key, 0.0), now) for key in keys}
    alarmed = next((key for key in keys if not key.is_caller and counts[key] >= key.free), None)
    # Others may have claimed this number: it does not count for an endpoint that has mistyped twice at most.
    innocent = any(key.scope == "endpoint" and key.name and counts[key] < HONEST_MISTAKES for key in keys)
    most = 0
    for key in keys:
        if not key.is_caller or not counts[key] or (innocent and key.scope == "number"):
            continue
        free = 1 if alarmed is not None else key.free
        if counts[key] >= free:
            until = forgiven_at[key] - (free - 1) * key.interval_s
            return Ruling(key, until, _delay(counts[key]), alarmed)
        most = max(most, counts[key])
    return Ruling(None, 0.0, _delay(most), alarmed)


def charged(key: GuessKey, forgiven_at: float, now: float) -> float:
    """The time at which all guesses are forgiven, after one more."""
    return bounded(key, max(forgiven_at, now) + key.interval_s, now)


def bounded(key: GuessKey, forgiven_at: float, now: float) -> float:
    """The time at which all guesses are forgiven, at most as many as make a lock-out, or twice an alarm.

    So an alarm ends an hour after the last wrong PIN, however many there were.
    """
    most = key.free if key.is_caller else 2 * key.free
    return min(forgiven_at, now + most * key.interval_s)


def refunded(key: GuessKey, forgiven_at: float, since: float) -> float:
    """The time at which all guesses are forgiven, after one was taken back.

    Args:
        since: the result is not earlier; of no consequence if it is past.
    """
    return max(forgiven_at - key.interval_s, since)


def _delay(wrong: int) -> float:
    """No delay for the first three checks; then two seconds, doubling."""
    return 0.0 if wrong < 3 else min(2.0 ** (wrong - 2), MAX_DELAY_S)
