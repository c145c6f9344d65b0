"""Which peers may connect to the FastAGI server; refused connections are counted and logged.

FastAGI itself has no password: a peer that may connect is treated as Asterisk.
"""

from __future__ import annotations

import hmac
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from twisted.internet.interfaces import IAddress, IReactorTime, ITransport
from twisted.logger import Logger

from pbxrouter.agi import AGIRequest, encode
from pbxrouter.net import (
    LIMIT_REASONS,
    UNSHARED,
    Bounds,
    ConnectionLimits,
    ConnectionSlot,
    OtherProcesses,
    SharedBounds,
    waited_s,
)
from pbxrouter.security import Network, RateLimit, is_within, network_of

_UNBOUNDED: Final = Bounds(sys.maxsize, sys.maxsize, sys.maxsize, sys.maxsize)
LOG_EVERY_S: Final = 60.0
"""Seconds between two log lines about the same peer."""
FORGED_LINES: Final = 60
"""Log lines about forged calls of one peer, and one a minute after those."""
UNIX_SOCKET: Final = "a Unix socket"
"""What the log calls a peer that has no address."""
MAX_PEERS: Final = 1024
"""Peers whose last log line is remembered; while more of them are refused, further ones are only counted."""

LATE_S: Final = 3.0
"""Seconds by which the gateway may be behind with its work and still take up calls."""
WAITED_S: Final = 1.0
"""Seconds that a new connection may have waited to be accepted; Asterisk writes the opening block at once."""
REASONS: Final = ("network", "secret", *LIMIT_REASONS, "late")
"""Why a connection is refused: the peer is not in fastagi.allow; the call does not pass the secret; a limit of
connections is reached (LIMIT_REASONS); the gateway is behind with its work."""

_NOT_ALLOWED: Final = "fastagi: refused a connection from {peer}, which is not in fastagi.allow"
_NO_SECRET: Final = "fastagi: refused a call from {peer}, which came without the secret of fastagi.secret_file"
_WRONG_SECRET: Final = "fastagi: refused a call from {peer}, whose secret is not that of fastagi.secret_file"
_LATE: Final = "fastagi: refused a connection from {peer}: the gateway is behind with its work"
_OVER_LIMIT: Final = {
    "full": "fastagi: refused a connection from {peer}: as many are open as fastagi.max_connections allows",
    "peer": (
        "fastagi: refused a connection from {peer}, which has as many open as fastagi.max_connections_per_peer allows"
    ),
    "half-open": "fastagi: closed a connection from {peer}, which sent no opening block while another needed its place",
}


class Admission:
    """Decides which connections are accepted.

    Args:
        clock: for the interval between log lines.
        allow: the networks that may connect; empty: any. Unix sockets, which file modes guard, may always.
        secret: what a call must pass in the argument ``secret=…``; empty: nothing.
        bounds: how many connections may be open; None: any number.
        reserve: how many more may be open to be told that the gateway is busy.
        lateness: returns by how many seconds the gateway is behind with its work.
        trusted: returns the addresses for which there must always be room, such as that of the connected Asterisk.
        others: counts the connections of the gateway's other processes.
        shared: how many connections may be open in all processes together.

    Attributes:
        reserve: the same.
        refused: number of refused connections by reason, one of REASONS.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        allow: Sequence[Network] = (),
        secret: str = "",
        bounds: Bounds | None = None,
        reserve: int = 32,
        lateness: Callable[[], float] = lambda: 0.0,
        trusted: Callable[[], Iterable[str]] = tuple,
        others: OtherProcesses | None = None,
        shared: SharedBounds = UNSHARED,
    ) -> None:
        self.reserve = reserve
        self._clock = clock
        self._allow = tuple(allow)
        self._secret = encode(secret)
        self.refused: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self._lateness = lateness
        self._limits = ConnectionLimits(
            bounds or _UNBOUNDED,
            lambda reason, peer: self._refuse(reason, peer, _OVER_LIMIT[reason]),
            lambda: {network_of(address) for address in trusted()},
            others,
            shared,
        )
        self._logged: dict[tuple[str, str], float] = {}
        self._forged_lines = RateLimit(60 / LOG_EVERY_S, FORGED_LINES)

    def reconfigure(
        self,
        allow: Sequence[Network],
        secret: str,
        bounds: Bounds,
        reserve: int,
        shared: SharedBounds = UNSHARED,
    ) -> None:
        """Use other settings for the connections and calls that come from now on; see the class's arguments."""
        self._allow = tuple(allow)
        self._secret = encode(secret)
        self._limits.set_bounds(bounds, shared)
        self.reserve = reserve

    def allows(self, address: IAddress | None) -> bool:
        """Whether a peer is in the networks that may connect; a refusal is counted, and logged once a minute each."""
        peer = host_of(address)
        if self._allow and peer and not is_within(peer, self._allow):
            self._refuse("network", peer, _NOT_ALLOWED)
            return False
        return True

    def enter(self, address: IAddress | None) -> ConnectionSlot | None:
        """Admit a new connection; None if it is refused, which is counted, and logged at most once a minute per peer.

        The oldest connection without a complete opening block may be turned away to make room for it.
        """
        if not self.allows(address):
            return None
        if self._lateness() > LATE_S:
            self._refuse("late", host_of(address), _LATE)
            return None
        return self._limits.acquire(network_of(host_of(address)))

    def has_waited_too_long(self, transport: ITransport) -> bool:
        """Whether a connection has waited longer than WAITED_S to be accepted: then the gateway is behind.

        Those behind it wait as long; only if each of these is answered in no time will the next ones be in time.
        """
        if waited_s(transport) <= WAITED_S:
            return False
        self._refuse("late", host_of(transport.getPeer()), _LATE)
        return True

    def knows_secret(self, request: AGIRequest, peer: str) -> bool:
        """Whether a call passes the secret; a refusal is counted and logged as in ``enter``."""
        secret = request.secret
        if not self._secret or (secret is not None and hmac.compare_digest(encode(secret), self._secret)):
            self._limits.prove(network_of(peer))
            return True
        self._refuse("secret", peer, _NO_SECRET if secret is None else _WRONG_SECRET)
        return False

    def _refuse(self, reason: str, peer: str, line: str) -> None:
        self.refused[reason] += 1
        if self.may_log(reason, peer):
            self.log.warn(line, peer=peer or UNIX_SOCKET)

    def may_log_forged(self, peer: str) -> bool:
        """Whether a line about a forged call of this peer may be logged now: FORGED_LINES, and then one a minute."""
        return not self._forged_lines.wait_s(network_of(peer), self._clock.seconds())

    def may_log(self, matter: str, peer: str) -> bool:
        """Whether a line about this peer may be logged now: one a minute for each matter.

        At most MAX_PEERS peers are remembered.
        """
        key = (matter, network_of(peer))
        now = self._clock.seconds()
        logged = self._logged
        while logged and now - next(iter(logged.values())) >= LOG_EVERY_S:  # the oldest is first
            del logged[next(iter(logged))]
        if key in logged or len(logged) >= MAX_PEERS:
            return False
        logged[key] = now
        return True


def bounds_of(most: int, of_peer: int) -> Bounds:
    """The bounds of connections: at most half of all, and of one peer's, may lack a complete opening block."""
    return Bounds(most, of_peer, max(1, most // 2), max(1, of_peer // 2))


def host_of(address: IAddress | None) -> str:
    """The IP address of a peer; ``""`` over a Unix socket."""
    return str(getattr(address, "host", ""))
