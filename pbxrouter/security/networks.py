"""Networks of IP addresses: the one to rate-limit an address by, and those that a setting allows."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable


def network_of(address: str) -> str:
    """The network to rate-limit by: an IPv4 address itself, or an IPv6 address's /64."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    assert isinstance(found, ipaddress.IPv6Address)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), 64), strict=False))


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_network(text: str) -> Network | None:
    """An address or a network such as ``192.0.2.0/24``; None if it is neither, or has bits set beyond its prefix.

    A network of IPv4-mapped IPv6 addresses becomes the IPv4 network.
    """
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    mapped = network.network_address.ipv4_mapped if network.version == 6 else None
    if mapped is not None and network.prefixlen >= 96:
        return ipaddress.ip_network((int(mapped), network.prefixlen - 96))
    return network


def is_within(address: str, networks: Iterable[Network]) -> bool:
    """Whether an IP address, IPv4-mapped ones included, is in one of the networks."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in networks)


def is_loopback(address: str) -> bool:
    """Whether an IP address, IPv4-mapped ones included, is this machine's own loopback; so is what is no address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return True
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_loopback
