"""Finds out from which Asterisk a call came.

A call by MAGI came over that Asterisk's AMI connection. One by FastAGI has its peer's address, which is that of an
Asterisk's AMI, and perhaps the argument ``asterisk=NAME`` of AGI() by which the dialplan says it (PBXROUTER_ASTERISK).
The argument decides where several have the address, or none has it. Where the address is another Asterisk's it is not
believed: the phones of one Asterisk would else have the grants of another's. What cannot be told is ``""``, unknown.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Mapping
from typing import Final

from twisted.logger import Logger

from pbxrouter.agi import Channel
from pbxrouter.security import RateLimit, is_loopback
from pbxrouter.text import log_field

HERE: Final = "this machine"
"""Stands for all addresses of the loopback, and for Unix sockets."""
LINES_A_MINUTE: Final = 1.0
"""Log lines of each kind about a dialplan that names another Asterisk."""
_NOT_IN_SETTINGS: Final = (
    "calls: {peer} says asterisk={told}, and no [[asterisk]] in the settings has that name: correct"
    " PBXROUTER_ASTERISK there"
)
_OTHER_ADDRESS: Final = (
    "calls: {peer} says asterisk={told}, and has the address of another [[asterisk]]: correct PBXROUTER_ASTERISK there"
)


class AsteriskFinder:
    """Tells from which Asterisk of the settings a call came.

    Args:
        hosts: by name, the host of AMI as the settings have it: an address, or a name, which says nothing.
        seconds: returns monotonic seconds.
        is_simulated: whether a call is one that the command line simulates; it comes from no Asterisk.
    """

    log = Logger()

    def __init__(
        self,
        hosts: Mapping[str, str],
        seconds: Callable[[], float],
        is_simulated: Callable[[Channel], bool] = lambda channel: False,
    ) -> None:
        self._settled: dict[str, str] = {}
        self._connected = dict.fromkeys(hosts, "")  # the address of the last connection, by name
        self._there: dict[str, list[str]] = {}  # names by address
        self._is_simulated = is_simulated
        self._seconds = seconds
        self._lines = RateLimit(LINES_A_MINUTE, 1)
        self.set_hosts(hosts)

    def set_hosts(self, hosts: Mapping[str, str]) -> None:
        """Use other hosts of the same Asterisks from the next call on."""
        self._settled = {name: _settled(host) for name, host in hosts.items() if name in self._connected}
        self._look_up()

    def connected(self, name: str, peer: str) -> None:
        """Note that AMI is connected to an Asterisk; its address is kept when that connection is lost.

        One that had the address before, by a connection, has it no longer.

        Args:
            peer: its address; ``""``: a Unix socket.
        """
        address = address_of(peer)
        for other, known in self._connected.items():
            if known == address and other != name and address != HERE:
                self._connected[other] = ""
        self._connected[name] = address
        self._look_up()

    def _look_up(self) -> None:
        self._there = {}
        for name, settled in self._settled.items():
            for address in {settled, self._connected[name]} - {""}:
                self._there.setdefault(address, []).append(name)

    def of(self, channel: Channel) -> str:
        """The Asterisk of a call, by its name in the settings; ``""`` if that is not known."""
        certain = str(getattr(channel, "asterisk", ""))
        if certain:
            return certain
        told = channel.request.asterisk
        if told and told not in self._settled:
            self._complain(_NOT_IN_SETTINGS, told, channel)
            told = ""
        if self._is_simulated(channel):
            return told
        there = self._there.get(address_of(str(getattr(channel, "peer", ""))), [])
        if not told:
            return there[0] if len(there) == 1 else ""
        if there and told not in there:
            self._complain(_OTHER_ADDRESS, told, channel)
            return ""
        return told

    def _complain(self, line: str, told: str, channel: Channel) -> None:
        """Log that a dialplan names another Asterisk, once a minute."""
        if not self._lines.wait_s(line, self._seconds()):
            self.log.warn(line, peer=log_field(str(getattr(channel, "peer", ""))), told=log_field(told))


@functools.lru_cache(maxsize=1000)
def address_of(peer: str) -> str:
    """An IP address in one form, IPv4-mapped ones as IPv4; HERE for the loopback and for what is no address."""
    if is_loopback(peer):
        return HERE
    found = ipaddress.ip_address(peer)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def _settled(host: str) -> str:
    """The address of a host that is written as one, or as localhost; ``""`` of any other."""
    if host == "localhost":
        return HERE
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return ""
    return address_of(host)
