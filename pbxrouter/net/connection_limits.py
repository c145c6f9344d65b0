"""Limits on open connections: in all, of one network, and without a complete request.

A peer can open connections and send nothing. So that these do not use up what calls and browsers need, they have
limits of their own, and the oldest of them are closed when room is needed: first those of networks that have never
made a complete request, whichever number of networks that is, and last those of trusted ones. Networks that are not
trusted leave a share of all connections to those that are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

LIMIT_REASONS: Final = ("full", "peer", "half-open")
"""Why a connection is refused: the limit of all connections is reached; the limit of its
network is reached; it was closed to make room, since it had sent no complete request."""


MAX_PROVEN: Final = 1024
"""Networks of which it is remembered that they have made a complete request."""
_SHARE_OF_OTHERS: Final = 0.75
"""The part of all connections that networks may have which are not trusted, where one is."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Maximum numbers of open connections.

    Attributes:
        most: in all.
        of_network: of one network.
        waiting: in all, without a complete request.
        waiting_of_network: of one network, without a complete request.
    """

    most: int
    of_network: int
    waiting: int
    waiting_of_network: int


class OtherProcesses(Protocol):
    """Counts the connections of processes that share one port; see SharedBoard."""

    def count(self, network: str, change: int) -> None:
        """Count connections of this process; negative if they are closed."""
        ...

    def elsewhere(self) -> int:
        """Number of connections that the other processes have open."""
        ...

    def elsewhere_of(self, network: str) -> int:
        """Number of connections of a network that the other processes have open."""
        ...


@dataclass(frozen=True, slots=True)
class SharedBounds:
    """Maximum numbers of connections of all processes that share one port together; 0: as many as each may have.

    Attributes:
        most: in all.
        of_network: of one network.
    """

    most: int = 0
    of_network: int = 0


UNSHARED: Final = SharedBounds()
"""No common limits."""


class _Alone:
    """The counts of the other processes, for a gateway that is one process: always 0."""

    def count(self, network: str, change: int) -> None:
        """Count nothing."""

    def elsewhere(self) -> int:
        """Return 0."""
        return 0

    def elsewhere_of(self, network: str) -> int:
        """Return 0."""
        return 0


class ConnectionSlot:
    """One open connection, as counted against the limits; without a request at first.

    Attributes:
        network: of the peer.
        close: closes the connection; called when it must make room for another.
    """

    __slots__ = ("_limits", "close", "network")

    def __init__(self, limits: ConnectionLimits, network: str) -> None:
        self._limits = limits
        self.network = network
        self.close: Callable[[], object] = lambda: None

    def prove(self) -> None:
        """Note that its network has made a complete request: it is preferred to those that have not."""
        self._limits.prove(self.network)

    def busy(self) -> None:
        """Note a complete request: the connection is not closed to make room until it is answered."""
        self._limits.busy(self)

    def idle(self) -> None:
        """Note that the request was answered: the connection waits for the next one."""
        self._limits.idle(self)

    def release(self) -> None:
        """Note that the connection is closed; does nothing if it was closed to make room."""
        self._limits.release(self)


class ConnectionLimits:
    """Counts the open connections of a server against its limits.

    Args:
        bounds: the limits.
        refused: called with a reason, one of LIMIT_REASONS, and the network of each connection that is refused,
            or closed to make room.
        trusted: returns the networks for which there must always be room.
        others: counts the connections of other processes at the same port.
        shared: what all these processes may have together.
    """

    def __init__(
        self,
        bounds: Bounds,
        refused: Callable[[str, str], object],
        trusted: Callable[[], Collection[str]] = tuple,
        others: OtherProcesses | None = None,
        shared: SharedBounds = UNSHARED,
    ) -> None:
        self._bounds = bounds
        self._others: OtherProcesses = _Alone() if others is None else others
        self._shared = shared
        self._trusted = trusted
        self._proven: dict[str, None] = {}  # the oldest first
        self._refused = refused
        self._open: set[ConnectionSlot] = set()
        self._by_network: Counter[str] = Counter()
        # By network, the longest waiting first.
        self._waiting: dict[str, dict[ConnectionSlot, None]] = {}
        self._waiting_count = 0

    def set_bounds(self, bounds: Bounds, shared: SharedBounds = UNSHARED) -> None:
        """Use other limits for the connections that come from now on."""
        self._bounds = bounds
        self._shared = shared

    def acquire(self, network: str) -> ConnectionSlot | None:
        """Count a new connection, closing another if needed; None if it must be refused."""
        bounds, trusted = self._bounds, frozenset(self._trusted())
        if len(self._waiting.get(network, ())) >= bounds.waiting_of_network:
            self._evict(network)
        elif self._waiting_count >= bounds.waiting and not self._make_room(network, trusted):
            self._refused("full", network)
            return None
        if self._network_is_full(network) and not self._evict(network):
            self._refused("peer", network)
            return None
        if self._is_full() and not self._make_room(network, trusted):
            self._refused("full", network)
            return None
        takes_share = trusted and network not in trusted and self._others_have_their_share(trusted)
        if takes_share and not self._make_room(network, trusted, True):
            self._refused("full", network)
            return None
        slot = ConnectionSlot(self, network)
        self._open.add(slot)
        self._by_network[network] += 1
        self._others.count(network, 1)
        self.idle(slot)
        return slot

    def _network_is_full(self, network: str) -> bool:
        own, shared = self._by_network[network], self._shared.of_network
        return own >= self._bounds.of_network or 0 < shared <= own + self._others.elsewhere_of(network)

    def _is_full(self) -> bool:
        own, shared = len(self._open), self._shared.most
        return own >= self._bounds.most or 0 < shared <= own + self._others.elsewhere()

    def _others_have_their_share(self, trusted: Collection[str]) -> bool:
        """Whether networks that are not trusted have as many connections as they may."""
        own = len(self._open) - sum(self._by_network.get(name, 0) for name in trusted)
        if own >= _share_of_others(self._bounds.most):
            return True
        if not self._shared.most:
            return False
        there = self._others.elsewhere() - sum(self._others.elsewhere_of(name) for name in trusted)
        return own + there >= _share_of_others(self._shared.most)

    def busy(self, slot: ConnectionSlot) -> None:
        """Note that a connection's request is complete; ConnectionSlot.busy calls it."""
        waiting = self._waiting.get(slot.network, {})
        if slot in waiting:
            del waiting[slot]
            self._waiting_count -= 1
            if not waiting:
                del self._waiting[slot.network]

    def idle(self, slot: ConnectionSlot) -> None:
        """Note that a connection waits for a request again; ConnectionSlot.idle calls it."""
        if slot in self._open:
            waiting = self._waiting.setdefault(slot.network, {})
            if slot not in waiting:
                waiting[slot] = None
                self._waiting_count += 1

    def release(self, slot: ConnectionSlot) -> None:
        """Free the place of a closed connection; ConnectionSlot.release calls it."""
        if slot in self._open:
            self.busy(slot)
            self._open.discard(slot)
            self._others.count(slot.network, -1)
            self._by_network[slot.network] -= 1
            if not self._by_network[slot.network]:
                del self._by_network[slot.network]

    def prove(self, network: str) -> None:
        """Remember that a network has sent a valid call."""
        self._proven.pop(network, None)
        self._proven[network] = None
        if len(self._proven) > MAX_PROVEN:
            del self._proven[next(iter(self._proven))]

    def _make_room(self, network: str, trusted: Collection[str], of_others: bool = False) -> bool:
        """Close a connection that waits, of a network that is no better than the new one's; False if there is none.

        Of equal networks it is that with most of them, so that a flood from one network does not affect others.

        Args:
            network: that of the new connection.
            of_others: whether it must be a connection of one that is not trusted.
        """

        def rank(name: str) -> int:
            return 2 if name in trusted else 1 if name in self._proven else 0

        victim = min(self._waiting, key=lambda name: (rank(name), -len(self._waiting[name])), default="")
        if not victim or rank(victim) > rank(network) or (of_others and victim in trusted):
            return False
        return self._evict(victim)

    def _evict(self, network: str) -> bool:
        """Close the connection of a network that has waited longest; returns whether there was one."""
        slot = next(iter(self._waiting.get(network, ())), None)
        if slot is None:
            return False
        self.release(slot)
        slot.close()
        self._refused("half-open", network)
        return True


def _share_of_others(most: int) -> int:
    return max(1, int(most * _SHARE_OF_OTHERS))
