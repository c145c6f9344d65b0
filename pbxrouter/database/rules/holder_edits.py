"""Changing extensions and users, and users' PINs, by the same rules as all edits (edits)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from pbxrouter.database.audit import Actor, changing
from pbxrouter.database.backup import path_of
from pbxrouter.database.edit_text import MAX_NAME, checked_text, no_holder
from pbxrouter.database.rules.holders import HolderTable, holders
from pbxrouter.database.values import bounded, text_of
from pbxrouter.errors import EditConflict, EditRefused, PinError, StoreError
from pbxrouter.rules import NO_CALLER
from pbxrouter.security import generate_pin
from pbxrouter.text import Sentence, sentence

PIN_TAKEN: Final = sentence("this PIN cannot be used; choose another one")
_TRIES: Final = 20


def add_extension(connection: sqlite3.Connection, actor: Actor, now: float, number: str) -> int:
    """Make an extension, and return its id.

    Raises:
        EditRefused: the number cannot be a caller's; the field is number.
        EditConflict: there is an extension with this number.
        StoreError: the database cannot be written.
    """
    return _add(connection, actor, now, holders("extension"), _number(number), {})


def add_user(connection: sqlite3.Connection, actor: Actor, now: float, name: str, pin_hash: str | None = None) -> int:
    """Make a user, and return its id.

    Args:
        pin_hash: what is stored of the PIN; None is no PIN.

    Raises:
        EditRefused: the name cannot be used; the field is name.
        EditConflict: there is a user of this name.
        PinError: the PIN is another user's.
        StoreError: the database cannot be written.
    """
    return _add(connection, actor, now, holders("user"), _name(name), {"user_pin": pin_hash})


def update_extension(connection: sqlite3.Connection, actor: Actor, now: float, extension_id: int, number: str) -> None:
    """Give an extension another number.

    Raises:
        NotThere: there is no such extension.
        EditRefused, EditConflict, StoreError: as add_extension.
    """
    _rename(connection, actor, now, holders("extension"), extension_id, _number(number))


def update_user(connection: sqlite3.Connection, actor: Actor, now: float, user_id: int, name: str) -> None:
    """Give a user another name.

    Raises:
        NotThere: there is no such user.
        EditRefused, EditConflict, StoreError: as add_user.
    """
    _rename(connection, actor, now, holders("user"), user_id, _name(name))


def delete_holder(connection: sqlite3.Connection, actor: Actor, now: float, kind: str, row_id: int) -> None:
    """Delete an extension or a user, with its grants.

    Args:
        kind: "extension" or "user".

    Raises:
        NotThere: there is no such one.
        StoreError: the database cannot be written.
    """
    table = holders(kind)
    with changing(connection, actor, now, "delete", kind) as change:
        change.name = holder_name(connection, table, row_id)
        change.delete(table.table, row_id)


def set_user_pin(connection: sqlite3.Connection, actor: Actor, now: float, user_id: int, pin_hash: str | None) -> None:
    """Give a user a PIN, by its hash, or take it away with None.

    Raises:
        NotThere: there is no such user.
        PinError: the PIN is another user's.
        StoreError: the database cannot be written.
    """
    table = holders("user")
    with changing(connection, actor, now, "pin", "user") as change:
        change.name = holder_name(connection, table, user_id)
        refuse_pin_of_another(connection, pin_hash, user_id)
        change.update(table.table, user_id, {"user_pin": pin_hash})


def generate_user_pin(
    connection: sqlite3.Connection, actor: Actor, now: float, user_id: int, hash_pin: Callable[[str], str]
) -> str:
    """Give a user a new PIN that nobody else has, and return it: to be shown this once.

    Raises:
        NotThere, PinError, StoreError: as set_user_pin.
    """
    for left in reversed(range(_TRIES)):
        pin = generate_pin()
        try:
            set_user_pin(connection, actor, now, user_id, hash_pin(pin))
        except PinError:  # by chance another user's
            if not left:
                raise
        else:
            break
    return pin


def refuse_pin_of_another(connection: sqlite3.Connection, pin_hash: str | None, user_id: int) -> None:
    """See, in a transaction, that no other user has a PIN.

    Raises:
        PinError: one has.
    """
    if (
        pin_hash is not None
        and connection.execute(
            "SELECT 1 FROM users WHERE user_pin = :pin AND user_id <> :id", {"pin": pin_hash, "id": user_id}
        ).fetchone()
    ):
        raise PinError(PIN_TAKEN)


def holder_name(connection: sqlite3.Connection, table: HolderTable, row_id: int) -> str:
    """The number of an extension, the name of a user.

    Raises:
        NotThere: there is no such one.
    """
    row = connection.execute(
        f"SELECT {table.name} FROM {table.table} WHERE {table.row_id} = :id", {"id": bounded(row_id)}
    ).fetchone()
    if row is None:
        raise no_holder(table.kind, row_id)
    return text_of(row[0])


_TAKEN: Final = {
    "extension": (Sentence("there is an extension with this number already"), "number"),
    "user": (Sentence("there is a user of this name already"), "name"),
}


def _add(
    connection: sqlite3.Connection,
    actor: Actor,
    now: float,
    table: HolderTable,
    name: str,
    more: dict[str, Any],
) -> int:
    with changing(connection, actor, now, "create", table.kind, name) as change:
        _refuse_taken(connection, table, name, 0)
        refuse_pin_of_another(connection, more.get("user_pin"), 0)
        return change.insert(table.table, {table.name: name, **more})


def _rename(
    connection: sqlite3.Connection, actor: Actor, now: float, table: HolderTable, row_id: int, name: str
) -> None:
    with changing(connection, actor, now, "update", table.kind, name) as change:
        holder_name(connection, table, row_id)
        _refuse_taken(connection, table, name, row_id)
        change.update(table.table, row_id, {table.name: name})


def _refuse_taken(connection: sqlite3.Connection, table: HolderTable, name: str, but: int) -> None:
    # Trimmed as the rules are when they are read: a hand may have written blanks around it.
    found = connection.execute(
        f"SELECT 1 FROM {table.table} WHERE trim({table.name}) = :name AND {table.row_id} <> :but LIMIT 1",
        {"name": name, "but": but},
    ).fetchone()
    if found:
        message, field = _TAKEN[table.kind]
        raise EditConflict(message, field)


def _number(text: str) -> str:
    number = checked_text(
        text,
        "number",
        sentence(
            "an extension's number is 1 to {most} printable characters, as Asterisk shows the caller",
            most=MAX_NAME,
        ),
        MAX_NAME,
    )
    if number == NO_CALLER:
        raise EditRefused(
            sentence("{number} is what Asterisk says of a caller without number; it is nobody's", number=number),
            "number",
        )
    return number


def _name(text: str) -> str:
    return checked_text(
        text, "name", sentence("a user's name is 1 to {most} printable characters", most=MAX_NAME), MAX_NAME
    )


def set_pin(connection: sqlite3.Connection, actor: Actor, now: float, user_name: str, pin_hash: str | None) -> None:
    """Give a user a PIN, by its hash, or take it away with None.

    Args:
        actor: who does it, for the audit log.
        now: epoch seconds.

    Raises:
        StoreError: no user of that name, or several; the database cannot be written.
        PinError: the PIN is another user's.
    """
    with changing(connection, actor, now, "pin", "user", user_name) as change:
        rows = connection.execute(
            "SELECT user_id FROM users WHERE user_name = :name LIMIT 2", {"name": user_name}
        ).fetchall()
        if len(rows) != 1:
            count = "several users are" if rows else "no user is"
            raise StoreError(f"{count} named {user_name!r} in {path_of(connection)}; accepted is the name of one")
        refuse_pin_of_another(connection, pin_hash, rows[0][0])
        change.update("users", rows[0][0], {"user_pin": pin_hash})
