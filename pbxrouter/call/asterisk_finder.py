"""Finds out from which Asterisk a call came.

A call by MAGI came over that Asterisk's AMI connection. One by FastAGI has its peer's address, which is that of an
Asterisk's AMI, and perhaps the argument ``asterisk=NAME`` of AGI() by which the dialplan says it (PBXROUTER_ASTERISK).
The argument decides where several have the address, or none has it. Where the address is another Asterisk's it is not
believed: the phones of one Asterisk would else have the grants of another's. What cannot be told is ``""``, unknown.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from twisted.logger import Logger

from pbxrouter.agi import Channel
from pbxrouter.security import RateLimit, is_loopback
from pbxrouter.text import log_field

HERE: Final = "this machine"
"""Stands for all addresses of the loopback, and for Unix sockets."""
MAX_ADDRESSES: Final = 16
"""Addresses that are remembered of one Asterisk."""
LINES_A_MINUTE: Final = 1.0
"""Log lines of each kind about a dialplan that names another Asterisk."""
_NOT_IN_SETTINGS: Final = (
    "calls: {peer} says asterisk={told}, and no [[asterisk]] in the settings has that name: correct"
    " PBXROUTER_ASTERISK there"
)
_OTHER_ADDRESS: Final = (
    "calls: {peer} says asterisk={told}, and has the address of another [[asterisk]]: correct PBXROUTER_ASTERISK there"
)


class Connection(Protocol):
    """The part of AMIConnection that is used here."""

    @property
    def peer(self) -> str:
        """The address of the connected Asterisk; ``""`` if there is none."""
        ...


class AsteriskFinder:
    """Tells from which Asterisk of the settings a call came.

    Args:
        hosts: by name, the host of AMI as the settings have it: an address, or a name, which says nothing.
        connections: by name, the AMI connections.
        is_simulated: whether a call is one that the command line simulates; it comes from no Asterisk.
        seconds: returns monotonic seconds.
    """

    log = Logger()

    def __init__(
        self,
        hosts: Mapping[str, str],
        connections: Mapping[str, Connection],
        seconds: Callable[[], float],
        is_simulated: Callable[[Channel], bool] = lambda channel: False,
    ) -> None:
        self._addresses = {name: _settled(host) for name, host in hosts.items()}
        self._connections = connections
        self._is_simulated = is_simulated
        self._seconds = seconds
        self._lines = RateLimit(LINES_A_MINUTE, 1)

    @property
    def names(self) -> Iterable[str]:
        """The names of all Asterisks."""
        return self._addresses.keys()

    def of(self, channel: Channel) -> str:
        """The Asterisk of a call, by its name in the settings; ``""`` if that is not known."""
        certain = str(getattr(channel, "asterisk", ""))
        if certain:
            return certain
        told = channel.request.asterisk
        if told and told not in self._addresses:
            self._complain(_NOT_IN_SETTINGS, told, channel)
            told = ""
        if self._is_simulated(channel):
            return told
        address = address_of(str(getattr(channel, "peer", "")))
        there = self._at(address)
        if not told:
            return there[0] if len(there) == 1 else ""
        if there and told not in there:
            self._complain(_OTHER_ADDRESS, told, channel)
            return ""
        return told

    def _at(self, address: str) -> list[str]:
        """The Asterisks that have an address; those that were connected have it still."""
        for name, connection in self._connections.items():
            peer = connection.peer
            if peer:
                self._addresses[name][address_of(peer)] = None
                if len(self._addresses[name]) > MAX_ADDRESSES:
                    del self._addresses[name][next(iter(self._addresses[name]))]
        return [name for name, addresses in self._addresses.items() if address in addresses]

    def _complain(self, line: str, told: str, channel: Channel) -> None:
        """Log that a dialplan names another Asterisk, once a minute."""
        if not self._lines.wait_s(line, self._seconds()):
            self.log.warn(line, peer=log_field(str(getattr(channel, "peer", ""))), told=log_field(told))


def address_of(peer: str) -> str:
    """An IP address in one form, IPv4-mapped ones as IPv4; HERE for the loopback and for what is no address."""
    if is_loopback(peer):
        return HERE
    found = ipaddress.ip_address(peer)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def _settled(host: str) -> dict[str, None]:
    """The address of a host that is written as one, or as localhost."""
    if host == "localhost":
        return {HERE: None}
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return {}
    return {address_of(host): None}
