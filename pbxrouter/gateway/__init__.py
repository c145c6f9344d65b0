"""Composition of the gateway: all parts put together into one service."""

from pbxrouter.gateway.log_lines import clean_log

__all__ = [
    "clean_log",
    "service",
]
