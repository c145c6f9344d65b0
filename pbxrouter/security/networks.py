"""The network to rate-limit an address by."""

from __future__ import annotations

import ipaddress


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
