"""Composition of the gateway: all parts put together into one service."""

from pbxrouter.gateway.log_lines import clean_log
from pbxrouter.gateway.reload import demand_file

__all__ = [
    "clean_log",
    "demand_file",
    "out_of_memory",
    "service",
    "signals",
    "worker_service",
]
