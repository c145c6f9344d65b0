"""MAGI: calls in AGI(agi:async), driven over AMI."""

from pbxrouter.magi.claim import CLAIM_VARIABLE, ClaimText, MagiClaim
from pbxrouter.magi.service import MagiService, Serve

__all__ = [
    "CLAIM_VARIABLE",
    "ClaimText",
    "MagiClaim",
    "MagiService",
    "Serve",
]
