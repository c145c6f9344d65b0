"""Composition of the gateway: all parts put together into one service."""

from pbxrouter.gateway.reload import demand_file

__all__ = [
    "demand_file",
    "service",
    "signals",
]
