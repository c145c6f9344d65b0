"""Search and keyset paging, shared by all lists of the API."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from pbxrouter.database import MAX_LIMIT, MAX_SEARCH
from pbxrouter.web.api.endpoint import MAX_ID

Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="How many, at most.")]
After = Annotated[
    int,
    Meta(ge=1, le=MAX_ID, description="`next` of the page before; without it the list begins."),
]
Next = Annotated[int, Meta(description="Give it as `after` for the next page.")] | None
"""None on the last page."""


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a list."""

    search: Annotated[str, Meta(max_length=MAX_SEARCH, description="Only what has this text in it, in any case.")] = ""
    after: After | None = None
    limit: Limit = 50
