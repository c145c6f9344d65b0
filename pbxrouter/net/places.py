"""Places for connections: bounded in all, for one network, and for those that have not sent a request yet.

A stranger can open connections and say nothing; the places that calls and browsers need are kept from
such connections, and the oldest of them are closed when room is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

PLACE_REASONS: Final = ("full", "peer", "half-open")
"""Why a connection is refused: all places are taken; its network has its share; it sent no request in time to
keep a place that another one needed."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many connections may be open.

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


class Place:
    """The place of one open connection; it waits for a request at first.

    Attributes:
        network: of the peer.
        close: closes the connection; called when the place is given to another.
    """

    __slots__ = ("_places", "close", "network")

    def __init__(self, places: Places, network: str) -> None:
        self._places = places
        self.network = network
        self.close: Callable[[], object] = lambda: None

    def busy(self) -> None:
        """A request is complete: the place is kept until it is answered."""
        self._places.busy(self)

    def waits(self) -> None:
        """The next request is waited for."""
        self._places.waits(self)

    def leave(self) -> None:
        """The connection is closed; harmless if the place was given away before."""
        self._places.leave(self)


class Places:
    """The places of a server.

    Args:
        bounds: how many there are.
        refused: called with a reason, one of PLACE_REASONS, and the network of each connection that is refused,
            or closed to make room.
    """

    def __init__(self, bounds: Bounds, refused: Callable[[str, str], object]) -> None:
        self._bounds = bounds
        self._refused = refused
        self._open: set[Place] = set()
        self._by_network: Counter[str] = Counter()
        # By network, the longest waiting first.
        self._waiting: dict[str, dict[Place, None]] = {}
        self._waiting_count = 0

    def enter(self, network: str) -> Place | None:
        """A place for a new connection; None if there is none, and it is to be closed."""
        bounds = self._bounds
        if len(self._waiting.get(network, ())) >= bounds.waiting_of_network:
            self._evict(network)
        elif self._waiting_count >= bounds.waiting:
            self._evict(self._most_waiting())
        if self._by_network[network] >= bounds.of_network and not self._evict(network):
            self._refused("peer", network)
            return None
        if len(self._open) >= bounds.most and not self._evict(self._most_waiting()):
            self._refused("full", network)
            return None
        place = Place(self, network)
        self._open.add(place)
        self._by_network[network] += 1
        self.waits(place)
        return place

    def busy(self, place: Place) -> None:
        """See Place.busy."""
        waiting = self._waiting.get(place.network, {})
        if place in waiting:
            del waiting[place]
            self._waiting_count -= 1
            if not waiting:
                del self._waiting[place.network]

    def waits(self, place: Place) -> None:
        """See Place.waits."""
        if place in self._open:
            waiting = self._waiting.setdefault(place.network, {})
            if place not in waiting:
                waiting[place] = None
                self._waiting_count += 1

    def leave(self, place: Place) -> None:
        """See Place.leave."""
        if place in self._open:
            self.busy(place)
            self._open.discard(place)
            self._by_network[place.network] -= 1
            if not self._by_network[place.network]:
                del self._by_network[place.network]

    def _most_waiting(self) -> str:
        """The network with the most connections that wait, so that none is hurt by the flood of another."""
        return max(self._waiting, key=lambda network: len(self._waiting[network]), default="")

    def _evict(self, network: str) -> bool:
        """Close the connection of a network that has waited longest; returns whether there was one."""
        place = next(iter(self._waiting.get(network, ())), None)
        if place is None:
            return False
        self.leave(place)
        place.close()
        self._refused("half-open", network)
        return True
