"""Adding, changing and deleting extensions and users; setting users' PINs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pbxrouter.database.audit import Actor, Change, Edited, changing
from pbxrouter.database.backup import place_of
from pbxrouter.database.connection import read_row, reading
from pbxrouter.database.edit_text import MAX_NAME, PIN_TAKEN, checked_text
from pbxrouter.database.engine import Connection, dialect_of
from pbxrouter.database.rules.holders import HolderTable, holders, no_holder
from pbxrouter.database.values import bounded, text_of
from pbxrouter.errors import EditConflict, EditRefused, PinError, StoreError
from pbxrouter.rules import NO_CALLER, extension_number, extension_problem, read_endpoint
from pbxrouter.security import generate_pin
from pbxrouter.text import sentence, split_asterisk

_TRIES: Final = 20
"""How many PINs generate_user_pin tries before it gives up."""


def add_extension(connection: Connection, actor: Actor, now: float, number: str, endpoint: str = "") -> Edited[int]:
    """Add an extension; the value is its extension_id.

    Args:
        endpoint: the endpoint that it is tied to, such as ``PJSIP/33``; ``""`` for none.

    Raises:
        EditRefused: number or endpoint is not valid; the field is number or endpoint.
        EditConflict: there is an extension with this number.
        StoreError: the database cannot be written.
    """
    entered = number
    table, number, tied = holders("extension"), _number(number), _endpoint(endpoint)
    with changing(connection, actor, now, "create", table.kind, number) as change:
        _refuse_taken(connection, table, number, 0)
        _refuse_unshown(entered)
        row_id = change.insert(table.table, {table.name: number})
        _tie(connection, change, row_id, tied)
    return Edited(row_id, change.audit_id)


def add_user(connection: Connection, actor: Actor, now: float, name: str, pin_hash: str | None = None) -> Edited[int]:
    """Add a user; the value is its user_id.

    Args:
        pin_hash: the PIN's hash; None is no PIN.

    Raises:
        EditRefused: the name is not valid; the field is name.
        EditConflict: there is a user of this name.
        PinError: the PIN is another user's.
        StoreError: the database cannot be written.
    """
    table, name = holders("user"), _name(name)
    with changing(connection, actor, now, "create", table.kind, name) as change:
        _refuse_taken(connection, table, name, 0)
        refuse_pin_of_another(connection, pin_hash, 0)
        row_id = change.insert(table.table, {table.name: name, "user_pin": pin_hash})
    return Edited(row_id, change.audit_id)


def update_extension(
    connection: Connection,
    actor: Actor,
    now: float,
    extension_id: int,
    number: str | None = None,
    endpoint: str | None = None,
) -> Edited[None]:
    """Change an extension's number, or the endpoint that it is tied to.

    Args:
        number: None leaves it as it is.
        endpoint: ``""`` unties the extension; None leaves it as it is.

    Raises:
        NotThere: there is no such extension.
        EditRefused, EditConflict, StoreError: as add_extension.
    """
    table = holders("extension")
    wanted = None if number is None else _number(number)
    tied = None if endpoint is None else _endpoint(endpoint)
    with changing(connection, actor, now, "update", table.kind) as change:
        change.name = holder_name(connection, table, extension_id)
        renamed = False
        if wanted is not None:
            _refuse_taken(connection, table, wanted, extension_id)
            if wanted != extension_number(change.name):
                _refuse_unshown(number or "")
            renamed = change.update(table.table, extension_id, {table.name: wanted})
            change.name = wanted
        if tied is not None and _tie(connection, change, extension_id, tied) and not renamed:
            change.action = "endpoint"
    return Edited(None, change.audit_id)


def update_user(connection: Connection, actor: Actor, now: float, user_id: int, name: str) -> Edited[None]:
    """Change a user's name.

    Raises:
        NotThere: there is no such user.
        EditRefused, EditConflict, StoreError: as add_user.
    """
    table, name = holders("user"), _name(name)
    with changing(connection, actor, now, "update", table.kind, name) as change:
        holder_name(connection, table, user_id)
        _refuse_taken(connection, table, name, user_id)
        change.update(table.table, user_id, {table.name: name})
    return Edited(None, change.audit_id)


def delete_holder(connection: Connection, actor: Actor, now: float, kind: str, row_id: int) -> Edited[None]:
    """Delete an extension or a user, and its grants.

    Args:
        kind: "extension" or "user".

    Raises:
        NotThere: there is no such holder.
        StoreError: the database cannot be written.
    """
    table = holders(kind)
    with changing(connection, actor, now, "delete", kind) as change:
        change.name = holder_name(connection, table, row_id)
        change.delete(table.table, row_id)
    return Edited(None, change.audit_id)


def set_user_pin(connection: Connection, actor: Actor, now: float, user_id: int, pin_hash: str | None) -> Edited[None]:
    """Set a user's PIN by its hash; None removes it.

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
    return Edited(None, change.audit_id)


def user_of_pin(connection: Connection, pin_hash: str) -> tuple[int, str] | None:
    """The user_id and name of the user who has a PIN; None if there is none.

    Raises:
        StoreError: the database cannot be read.
    """
    with reading(connection):
        row = connection.execute(
            "SELECT user_id, user_name FROM users WHERE user_pin = :pin", {"pin": pin_hash}
        ).fetchone()
    return None if row is None else (int(row[0]), text_of(row[1]))


def change_own_pin(connection: Connection, now: float, user_id: int, old_hash: str, new_hash: str) -> Edited[None]:
    """Change a PIN on behalf of its user, who has keyed the old one.

    Raises:
        EditConflict: the user's PIN is no longer the old one.
        PinError: the new PIN is another user's.
        StoreError: the database cannot be written.
    """
    table = holders("user")
    owner = user_of_pin(connection, old_hash)
    if owner is None or owner[0] != user_id:
        raise EditConflict(sentence("the PIN has been changed meanwhile"))
    with changing(connection, Actor(owner[1], "phone"), now, "pin", "user", owner[1]) as change:
        if user_of_pin(connection, old_hash) != owner:  # since another gateway may change it
            raise EditConflict(sentence("the PIN has been changed meanwhile"))
        refuse_pin_of_another(connection, new_hash, user_id)
        change.update(table.table, user_id, {"user_pin": new_hash})
    return Edited(None, change.audit_id)


def generate_user_pin(
    connection: Connection, actor: Actor, now: float, user_id: int, hash_pin: Callable[[str], str]
) -> Edited[str]:
    """Set a generated PIN that no other user has; the value is the PIN, to be shown once.

    Raises:
        NotThere, PinError, StoreError: as set_user_pin.
    """
    for _ in range(_TRIES):
        pin = generate_pin()
        try:
            return Edited(pin, set_user_pin(connection, actor, now, user_id, hash_pin(pin)).audit_id)
        except PinError:  # by chance another user's
            continue
    raise PinError(PIN_TAKEN)


def refuse_pin_of_another(connection: Connection, pin_hash: str | None, user_id: int) -> None:
    """Check, inside a transaction, that no other user has a PIN.

    Raises:
        PinError: another user has it.
    """
    if (
        pin_hash is not None
        and connection.execute(
            "SELECT 1 FROM users WHERE user_pin = :pin AND user_id <> :id", {"pin": pin_hash, "id": user_id}
        ).fetchone()
    ):
        raise PinError(PIN_TAKEN)


def holder_name(connection: Connection, table: HolderTable, row_id: int) -> str:
    """The number of an extension, or the name of a user.

    Raises:
        NotThere: there is no such holder.
    """
    query = f"SELECT {table.name} FROM {table.table} WHERE {table.row_id} = :id"
    return text_of(read_row(connection, query, {"id": bounded(row_id)}, no_holder(table.kind, row_id))[0])


def _tie(connection: Connection, change: Change, extension_id: int, endpoint: str) -> bool:
    """Tie an extension to an endpoint, or untie it with ``""``; returns whether that is a change."""
    row = connection.execute(
        "SELECT 1 FROM extensions_endpoints WHERE extension_id = :id", {"id": extension_id}
    ).fetchone()
    if row is None and endpoint:
        change.insert("extensions_endpoints", {"extension_id": extension_id, "endpoint": endpoint})
        return True
    if row is None:
        return False
    if endpoint:
        return change.update("extensions_endpoints", extension_id, {"endpoint": endpoint})
    change.delete("extensions_endpoints", extension_id)
    return True


def _refuse_taken(connection: Connection, table: HolderTable, name: str, but: int) -> None:
    # Read as when the rules are loaded: rows written by SQL may spell it in another way.
    written = f"CAST({table.name} AS TEXT)"
    found = connection.execute(
        f"SELECT {table.name} FROM {table.table} WHERE {table.row_id} <> :but"
        f" AND (instr({written}, :name) > 0 OR {dialect_of(connection).is_unusual(written)})",
        {"name": name, "but": but},
    )
    read = extension_number if table.kind == "extension" else str.strip
    if any(read(text_of(other)) == name for (other,) in found):
        raise EditConflict(table.taken, table.field)


def _endpoint(text: str) -> str:
    return read_endpoint(text) if text.strip() else ""


def _number(text: str) -> str:
    number = checked_text(
        extension_number(text) if text.isprintable() else text,
        "number",
        sentence(
            "an extension's number is 1 to {most} printable characters, as Asterisk shows the caller",
            most=MAX_NAME,
        ),
        MAX_NAME,
    )
    if split_asterisk(number)[1] == NO_CALLER:
        raise EditRefused(
            sentence(
                "{number} is the number that Asterisk uses for callers without a number; it cannot be an extension",
                number=number,
            ),
            "number",
        )
    return number


def _refuse_unshown(text: str) -> None:
    """Refuse a number that no call can show; as it was entered, since ``4 4`` may be meant as 44, or as two numbers.

    Raises:
        EditRefused: a phone, blanks between digits, or a sign that no caller's number has.
    """
    why = extension_problem(text.strip())
    if why is not None:
        raise EditRefused(why, "number")


def _name(text: str) -> str:
    return checked_text(
        text, "name", sentence("a user's name is 1 to {most} printable characters", most=MAX_NAME), MAX_NAME
    )


def set_pin(connection: Connection, actor: Actor, now: float, user_name: str, pin_hash: str | None) -> Edited[None]:
    """Set the PIN of the user of a name by its hash; None removes it.

    Args:
        actor: the author, for the audit log.
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
            raise StoreError(f"{count} named {user_name!r} in {place_of(connection)}; accepted is the name of one")
        refuse_pin_of_another(connection, pin_hash, rows[0][0])
        change.update("users", rows[0][0], {"user_pin": pin_hash})
    return Edited(None, change.audit_id)
