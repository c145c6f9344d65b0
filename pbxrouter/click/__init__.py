"""Click-to-dial values: opening hours and signed links."""

from pbxrouter.click.hours import DAYS, Hours, Span
from pbxrouter.click.signing import (
    FORM_EXPIRED,
    LINK_WORDS,
    LinkState,
    Signer,
)

__all__ = [
    "DAYS",
    "FORM_EXPIRED",
    "LINK_WORDS",
    "Hours",
    "LinkState",
    "Signer",
    "Span",
]
