"""All endpoints of the API, in the order in which the document tells of them."""

from __future__ import annotations

from typing import Final

from pbxrouter.web.api import audit, decide, grants, holders, mappings, originate, tokens, user_pins
from pbxrouter.web.api.about import with_document

ENDPOINTS: Final = with_document(
    (
        *mappings.ENDPOINTS,
        *holders.ENDPOINTS,
        *user_pins.ENDPOINTS,
        *grants.ENDPOINTS,
        *decide.ENDPOINTS,
        *originate.ENDPOINTS,
        *audit.ENDPOINTS,
        *tokens.ENDPOINTS,
    )
)
