"""Limits on wrong PINs: who has guessed too often, and how long a caller waits before the next check.

Each key has a bucket (GCRA): a few wrong guesses are free, after them ``GUESSES_AN_HOUR`` an hour. The keys of a
call are its endpoint and its caller number; on a trunk, which is one endpoint for all outsiders, the number and
the trunk together. Wrong guesses at one mapping, and at the gateway as a whole, have buckets of their own: when
such a bucket is empty an attack comes from many places. Then callers who have guessed wrong have no free guess
any more, but for endpoints, whose number Asterisk bounds, and callers that are known: those may mistype twice. Other
callers are never affected, so an attacker cannot lock the company out. For the same reason the wrong guesses of a
number, which a caller can merely claim, count for an endpoint only if it has guessed wrong three times.

Two buckets are shared by callers whose names prove nothing, and hold back only those that no right PIN has made known:
that of a peer, for calls of which Asterisk could not be asked, and the queue of a trunk, which during an attack lets
its callers wait their turn, for MAX_QUEUE_S at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from pbxrouter.security.networks import network_of
from pbxrouter.text import at_asterisk

FREE_GUESSES: Final = 5
"""Wrong guesses of one endpoint or number before it is limited."""
HONEST_MISTAKES: Final = 3
"""Wrong guesses of an endpoint from which those of its caller number count for it, too; during an attack an endpoint,
or a known caller, has no further guess then."""
GUESSES_AN_HOUR: Final = 10
"""Wrong guesses an hour of one endpoint or number after those."""
MAPPING_GUESSES: Final = 30
"""Wrong guesses at one mapping before it counts as attacked, and an hour after those."""
GATEWAY_GUESSES: Final = 60
"""Wrong guesses at the gateway before the alarm, and an hour after those."""
PEER_GUESSES: Final = 60
"""Wrong guesses of all unproven calls of one peer, of callers that are not known, and an hour after those."""
MAX_DELAY_S: Final = 8.0
"""The longest wait before a PIN is checked, but for the queue of a trunk under attack."""
QUEUE_STEP_S: Final = 10.0
"""Seconds between two checks of PINs by unknown callers of one trunk during an attack."""
MAX_QUEUE_S: Final = 20.0
"""The longest wait in such a queue."""

CALLER_SCOPES: Final = ("endpoint", "number", "trunk", "unnamed")
"""Scopes of keys that stand for a caller, and not for what is attacked."""
LOCKING_SCOPES: Final = (*CALLER_SCOPES, "peer")
"""Scopes of keys that are locked after too many wrong guesses."""
SCOPES: Final = (*LOCKING_SCOPES, "mapping", "gateway")
"""Scopes of keys that owners see, and may lift."""

_BUCKETS: Final = {
    "mapping": (MAPPING_GUESSES, 3600.0 / MAPPING_GUESSES),
    "gateway": (GATEWAY_GUESSES, 3600.0 / GATEWAY_GUESSES),
    "peer": (PEER_GUESSES, 3600.0 / PEER_GUESSES),
    "queue": (round(MAX_QUEUE_S / QUEUE_STEP_S), QUEUE_STEP_S),
}
"""By scope: guesses that are free, and seconds after which one is forgiven."""
_OF_CALLERS: Final = (FREE_GUESSES, 3600.0 / GUESSES_AN_HOUR)

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
        scope: one of SCOPES, or ``queue``.
        name: the endpoint, the number, trunk and number, peer and mapping (``unnamed``), the peer, the map_id, the
            trunk (``queue``); ``""`` for the gateway.
    """

    scope: str
    name: str

    @property
    def is_caller(self) -> bool:
        """Whether it stands for a caller, and not for what is attacked."""
        return self.scope in CALLER_SCOPES

    @property
    def may_lock(self) -> bool:
        """Whether it is locked after too many wrong guesses; others are attacked."""
        return self.scope in LOCKING_SCOPES

    @property
    def free(self) -> int:
        """Guesses that are free."""
        return _BUCKETS.get(self.scope, _OF_CALLERS)[0]

    @property
    def interval_s(self) -> float:
        """Seconds after which a guess is forgiven."""
        return _BUCKETS.get(self.scope, _OF_CALLERS)[1]


class Standing(Enum):
    """What is known of a call's channel, whose name the guesses are counted by."""

    PROVEN = "proven"
    """Asterisk has it, or the call came with the secret, or over AMI."""
    UNPROVEN = "unproven"
    """Asterisk could not be asked, and the call came from this machine, or from an address of Asterisk's."""
    FOREIGN = "foreign"
    """The Asterisks that were asked do not have it, and the settings allow others to ask the gateway; or Asterisk could
    not be asked, and the call came from another machine."""
    FORGED = "forged"
    """The Asterisks that were asked do not have it."""


_WRITTEN: Final = {name.lower(): name for name in ("PJSIP", "SIP", "IAX2", "DAHDI", "MGCP", "SCCP", "Skinny", "USTM")}
"""Technologies as Asterisk writes them in the names of channels."""


def as_written(endpoint: str) -> str:
    """An endpoint with its technology as Asterisk writes it: ``PJSIP/33`` for ``pjsip/33``.

    Asterisk takes a technology in any case and the name in its own only: PJSIP/MiXed is not PJSIP/mixed.
    """
    technology, slash, name = endpoint.partition("/")
    return f"{_WRITTEN.get(technology.lower(), technology)}{slash}{name}"


def endpoint_of(channel: str) -> str:
    """The endpoint of a channel name: ``PJSIP/33-0000001a`` gives ``PJSIP/33``; ``""`` for a Local channel.

    Each call has the same one: ``IAX2/office-4711`` gives ``IAX2/office``, ``DAHDI/i1/5551234-1a`` gives ``DAHDI/i1``.
    """
    for form in _SHORT_NUMBERS:
        if match := form.fullmatch(channel):
            return match[1]
    endpoint = _CHANNEL_NUMBER.sub("", channel)
    return "" if endpoint.partition("/")[0].lower() == "local" else endpoint


def keys_of(
    channel: str,
    caller: str | None,
    map_id: int,
    trunks: frozenset[str],
    *,
    endpoint: str = "",
    peer: str = "",
    standing: Standing = Standing.PROVEN,
    asterisk: str = "",
) -> tuple[GuessKey, ...]:
    """The keys by which a call's wrong guesses are counted, that of the caller first.

    Args:
        channel: the channel's name.
        caller: the caller number; None if there is none.
        trunks: endpoints that stand for many callers, such as ``PJSIP/provider``.
        endpoint: the endpoint if it is known better than by the channel's name, as that of the channel that made a
            Local channel.
        peer: the address that the call came from.
        standing: what is known of the channel. The names that another Asterisk tells are that Asterisk's own.
        asterisk: the Asterisk that it came from, if there are several: the endpoints and numbers of one are not those
            of another. ``""`` if there is one, or it is not known.
    """
    endpoint = endpoint or as_written(endpoint_of(channel))
    peer = network_of(peer)  # one machine has a whole network of IPv6 addresses
    at = f" at {peer}" if standing is Standing.FOREIGN else ""
    keys: list[GuessKey] = []
    if endpoint in trunks:
        trunk = at_asterisk(asterisk, endpoint)
        keys += [GuessKey("trunk", f"{trunk} {caller or ''}".strip() + at), GuessKey("queue", trunk + at)]
    else:
        if endpoint:
            keys.append(GuessKey("endpoint", at_asterisk(asterisk, endpoint) + at))
        if caller:
            keys.append(GuessKey("number", at_asterisk(asterisk, caller) + at))
        if not keys:
            keys.append(GuessKey("unnamed", f"{peer or 'AMI'}, mapping {map_id}"))
    if standing is not Standing.PROVEN:
        keys.append(GuessKey("peer", peer))
    return (*keys, GuessKey("mapping", str(map_id)), GuessKey("gateway", ""))


def of_known(keys: Iterable[GuessKey]) -> tuple[GuessKey, ...]:
    """The keys of a caller whom a right PIN has made known: without those shared with callers who are not."""
    return tuple(key for key in keys if key.scope not in ("peer", "queue"))


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether a PIN is checked, and after what delay.

    Attributes:
        locked_by: the key that is locked; None if the PIN is checked.
        locked_until: epoch second at which that key gets its next guess.
        delay_s: seconds to wait before the answer, the same for a right and a wrong PIN.
        alarmed: the mapping or gateway key whose bucket is empty, if any.
        excess: guesses that the key which is locked has beyond its last free one.
    """

    locked_by: GuessKey | None
    locked_until: float
    delay_s: float
    alarmed: GuessKey | None
    excess: int = 0


def guesses(key: GuessKey, forgiven_at: float, now: float) -> int:
    """How many wrong guesses of a key are not forgiven yet.

    Args:
        forgiven_at: epoch second at which all of its guesses are forgiven.
    """
    return max(0, -int(-(forgiven_at - now) // key.interval_s)) if forgiven_at > now else 0


def lock_bounds(attacked: bool) -> dict[str, float]:
    """Seconds until all guesses are forgiven, above which a key is locked or attacked: by scope, and for ``known``, a
    caller that is known.

    Args:
        attacked: whether the gateway-wide alarm is on, so that callers have no free guess.
    """
    bounds = {}
    for scope in SCOPES:
        key = GuessKey(scope, "")
        bounds[scope] = (_free(key, attacked) - 1) * key.interval_s
    number = GuessKey("number", "")
    known = (_free(number, attacked, is_known=True) - 1) * number.interval_s
    return {**bounds, "known": known}


def rule(
    keys: tuple[GuessKey, ...],
    forgiven_at: Mapping[GuessKey, float],
    now: float,
    is_known: bool = False,
    unfinished: Mapping[GuessKey, int] = MappingProxyType({}),
) -> Ruling:
    """Decide whether a call's next PIN is checked.

    Args:
        forgiven_at: by key, epoch second at which all of its guesses are forgiven; keys without any may be missing.
        is_known: whether the caller is a phone of the rules, or one from which a right PIN came: it may mistype
            twice during an attack, too.
        unfinished: by key, how many of its guesses may still prove right; they delay no other.
    """
    counts = {key: guesses(key, forgiven_at.get(key, 0.0), now) for key in keys}
    attacked = (key for key in keys if key.scope in ("mapping", "gateway") and counts[key] >= key.free)
    alarmed = next(attacked, None)
    # Others may have claimed this number: it does not count for an endpoint that has mistyped twice at most.
    innocent = any(key.scope == "endpoint" and key.name and counts[key] < HONEST_MISTAKES for key in keys)
    delay_s = 0.0
    for key in keys:
        if key.scope == "queue" and alarmed is not None:
            delay_s = max(delay_s, float(round(min(forgiven_at.get(key, 0.0) - now, MAX_QUEUE_S))))
        if not key.may_lock or not counts[key] or (innocent and key.scope == "number"):
            continue
        free = _free(key, alarmed is not None, is_known)
        if counts[key] >= free:
            until = forgiven_at[key] - (free - 1) * key.interval_s
            delay_s = MAX_DELAY_S if alarmed is not None else _delay(counts[key])
            return Ruling(key, until, delay_s, alarmed, counts[key] - free)
        if key.is_caller:
            delay_s = max(delay_s, _delay(counts[key] - unfinished.get(key, 0)))
    return Ruling(None, 0.0, delay_s, alarmed)


def charges(keys: Iterable[GuessKey], ruling: Ruling) -> tuple[GuessKey, ...]:
    """The keys that a guess is charged to: a place in the queue of a trunk is taken only during an attack."""
    if ruling.locked_by is not None:
        return ()
    return tuple(key for key in keys if key.scope != "queue" or ruling.alarmed is not None)


def _free(key: GuessKey, attacked: bool, is_known: bool = False) -> int:
    if not (attacked and key.is_caller):
        return key.free
    return HONEST_MISTAKES if is_known or key.scope == "endpoint" else 1


def charged(key: GuessKey, forgiven_at: float, now: float) -> float:
    """The time at which all guesses are forgiven, after one more."""
    return bounded(key, max(forgiven_at, now) + key.interval_s, now)


def bounded(key: GuessKey, forgiven_at: float, now: float) -> float:
    """The time at which all guesses are forgiven, at most as many as make a lock-out, or twice an alarm.

    So an alarm ends an hour after the last wrong PIN, however many there were.
    """
    most = 2 * key.free if key.scope in ("mapping", "gateway") else key.free
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
