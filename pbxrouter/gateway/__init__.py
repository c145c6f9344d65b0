"""Composition of the gateway: all parts put together into one service."""

__all__ = [
    "service",
    "signals",
]
