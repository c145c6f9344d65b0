"""Click-to-dial links in the database."""

from pbxrouter.database.click_to_dial.link_values import (
    MAX_A_DAY,
    MAX_AN_HOUR,
    MAX_CONSENT,
    MAX_LIST_TEXT,
    DialLink,
    LinkOptions,
    LinkValues,
)
from pbxrouter.database.click_to_dial.links import (
    add_dial_link,
    delete_dial_link,
    dial_link,
    give_call_back,
    list_dial_links,
    set_dial_link_enabled,
    take_call,
    update_dial_link,
    void_dial_link,
)

__all__ = [
    "MAX_AN_HOUR",
    "MAX_A_DAY",
    "MAX_CONSENT",
    "MAX_LIST_TEXT",
    "DialLink",
    "LinkOptions",
    "LinkValues",
    "add_dial_link",
    "delete_dial_link",
    "dial_link",
    "give_call_back",
    "list_dial_links",
    "set_dial_link_enabled",
    "take_call",
    "update_dial_link",
    "void_dial_link",
]
