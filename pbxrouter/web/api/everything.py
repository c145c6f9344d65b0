"""All endpoints of the API, in the order in which the document tells of them."""

from __future__ import annotations

from typing import Final

from pbxrouter.web.api import decide, originate
from pbxrouter.web.api.about import with_document

ENDPOINTS: Final = with_document(
    (
        *decide.ENDPOINTS,
        *originate.ENDPOINTS,
    )
)
