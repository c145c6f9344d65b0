"""Makes the JSON types of responses from rows and other values."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

_Item = TypeVar("_Item", bound=msgspec.Struct)


def item_of(struct: type[_Item], row: object, **values: Any) -> _Item:
    """Make a struct of the attributes of a row that are named as its fields.

    Args:
        values: fields that the row lacks, or has in another form.
    """
    names = struct.__struct_fields__
    return struct(**{name: values[name] if name in values else getattr(row, name) for name in names})
