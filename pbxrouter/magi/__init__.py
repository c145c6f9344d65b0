"""MAGI: calls in AGI(agi:async), driven over AMI."""

from pbxrouter.magi.service import MagiService, Serve

__all__ = [
    "MagiService",
    "Serve",
]
