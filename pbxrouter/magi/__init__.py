"""MAGI: calls in AGI(agi:async), driven over AMI."""

from pbxrouter.magi.claim import DEAD_S, Claims, Holder, claim_variable
from pbxrouter.magi.service import MagiService, Serve

__all__ = [
    "DEAD_S",
    "Claims",
    "Holder",
    "MagiService",
    "Serve",
    "claim_variable",
]
