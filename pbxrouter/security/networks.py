"""Whose an address is, for limits by address. Pure."""

from __future__ import annotations

import ipaddress


def network_of(address: str) -> str:
    """Whose address it is: of IPv6 the first half, for the rest is theirs to choose."""
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
