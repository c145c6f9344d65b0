"""All endpoints of the API, in the order of the document."""

from __future__ import annotations

from typing import Final

from pbxrouter.web.api.resources import (
    audit,
    calls,
    console_users,
    decision,
    dial_links,
    doctor,
    grants,
    holders,
    lockouts,
    mappings,
    now,
    originate,
    tokens,
    user_pins,
    warnings,
)
from pbxrouter.web.api.resources.meta import with_document

ENDPOINTS: Final = with_document(
    (
        *mappings.ENDPOINTS,
        *holders.ENDPOINTS,
        *user_pins.ENDPOINTS,
        *lockouts.ENDPOINTS,
        *grants.ENDPOINTS,
        *warnings.ENDPOINTS,
        *decision.ENDPOINTS,
        *now.ENDPOINTS,
        *calls.ENDPOINTS,
        *originate.ENDPOINTS,
        *audit.ENDPOINTS,
        *console_users.ENDPOINTS,
        *tokens.ENDPOINTS,
        *dial_links.ENDPOINTS,
        *doctor.ENDPOINTS,
    )
)
