"""Click-to-dial values: opening hours and signed links."""

from pbxrouter.click_to_dial.hours import DAYS, Hours, Span
from pbxrouter.click_to_dial.signing import (
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
