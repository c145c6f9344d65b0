"""MAGI: calls in AGI(agi:async), driven over AMI."""

from pbxrouter.magi.claim import Claims, Holder
from pbxrouter.magi.service import MagiService, Serve

__all__ = [
    "Claims",
    "Holder",
    "MagiService",
    "Serve",
]
