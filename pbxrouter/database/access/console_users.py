"""Console users: adding, changing and deleting them; every change is in the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pbxrouter.database.audit import Actor, Change, changing
from pbxrouter.database.connection import read_row, reading
from pbxrouter.database.engine import Connection, dialect_of
from pbxrouter.database.values import bounded, read_as
from pbxrouter.errors import EditConflict, EditRefused, NotThere
from pbxrouter.security import Role
from pbxrouter.text import sentence

MAX_LOGIN: Final = 60
_TABLE: Final = "console_users"
_COLUMNS: Final = "console_user_id, login, role, phone, language, created_at, last_login_at, disabled_at IS NULL"


@dataclass(frozen=True, slots=True)
class ConsoleUser:
    """A user of the console.

    Attributes:
        phone: the phone that rings when they dial from the console, such as PJSIP/33; ``""`` if none.
        language: ``en`` or ``es``; ``""`` is the browser's.
        created_at: epoch seconds.
        last_login_at: epoch seconds; None if never.
        enabled: whether they may log in.
    """

    console_user_id: int
    login: str
    role: Role
    phone: str
    language: str
    created_at: float
    last_login_at: float | None
    enabled: bool


def user_of_row(row: tuple[Any, ...]) -> ConsoleUser:
    """The ConsoleUser of a row of the columns in _COLUMNS."""
    return read_as(ConsoleUser, (*row[:2], Role(row[2]), *row[3:]))


def list_console_users(connection: Connection) -> list[ConsoleUser]:
    """List all users, by login."""
    with reading(connection):
        by_login = dialect_of(connection).without_case("login")
        rows = connection.execute(f"SELECT {_COLUMNS} FROM console_users ORDER BY {by_login}")
        return [user_of_row(row) for row in rows]


def console_user(connection: Connection, console_user_id: int) -> ConsoleUser:
    """Get a user.

    Raises:
        NotThere: there is no such user.
    """
    query = f"SELECT {_COLUMNS} FROM console_users WHERE console_user_id = :id"
    missing = NotThere(sentence("there is no console user {id}", id=console_user_id))
    return user_of_row(read_row(connection, query, {"id": bounded(console_user_id)}, missing))


def any_console_user(connection: Connection) -> bool:
    """Whether there is any console user."""
    with reading(connection):
        return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM console_users)").fetchone()[0])


def credentials(connection: Connection, login: str) -> tuple[ConsoleUser, str] | None:
    """The user of a login, and the password's hash; None if there is no such login."""
    without_case = dialect_of(connection).without_case
    query = (
        f"SELECT {_COLUMNS}, password_hash FROM console_users WHERE {without_case('login')} = {without_case(':login')}"
    )
    with reading(connection):
        row = connection.execute(query, {"login": login}).fetchone()
    return None if row is None else (user_of_row(row[:-1]), row[-1])


def add_console_user(
    connection: Connection,
    actor: Actor,
    now: float,
    login: str,
    password_hash: str,
    role: Role,
    phone: str = "",
    language: str = "",
) -> int:
    """Add a user; returns the console_user_id.

    Raises:
        EditRefused: the login or the phone is not valid.
        EditConflict: the login is in use.
    """
    with changing(connection, actor, now, "create", "console_user") as change:
        return insert_console_user(change, now, login, password_hash, role, phone, language)


def insert_console_user(
    change: Change, now: float, login: str, password_hash: str, role: Role, phone: str = "", language: str = ""
) -> int:
    """Add a user as a part of a change, which gets the user's login as its name; returns the console_user_id.

    Raises: as add_console_user.
    """
    change.name = login = check_login(login)
    values = {
        "login": login,
        "password_hash": password_hash,
        "role": role.value,
        "phone": _check_phone(phone),
        "language": language,
        "created_at": now,
    }
    if credentials(change.connection, login) is not None:
        raise EditConflict(sentence("the login {login} is already taken", login=login), "login")
    return change.insert(_TABLE, values)


def update_console_user(
    connection: Connection,
    actor: Actor,
    now: float,
    console_user_id: int,
    role: Role | None = None,
    phone: str | None = None,
    language: str | None = None,
    enabled: bool | None = None,
) -> None:
    """Change a user; sessions end if the role is changed or the user is disabled.

    Raises:
        NotThere: there is no such user.
        EditRefused: the phone is not valid, or no admin would be left.
    """
    values: dict[str, Any] = {}
    if role is not None:
        values["role"] = role.value
    if phone is not None:
        values["phone"] = _check_phone(phone)
    if language is not None:
        values["language"] = language
    if enabled is not None:
        values["disabled_at"] = None if enabled else now
    with changing(connection, actor, now, "update", "console_user") as change:
        user = console_user(connection, console_user_id)
        change.name = user.login
        if enabled == user.enabled:
            del values["disabled_at"]
        if not values:
            return
        change.update(_TABLE, console_user_id, values)
        if values.keys() & {"role", "disabled_at"}:
            _demand_an_admin(connection)
        if enabled is False or (role is not None and role is not user.role):
            _end_sessions(connection, console_user_id)


def set_console_password(
    connection: Connection, actor: Actor, now: float, console_user_id: int, password_hash: str
) -> None:
    """Change a user's password; all sessions of the user end.

    Raises:
        NotThere: there is no such user.
    """
    user = console_user(connection, console_user_id)
    with changing(connection, actor, now, "password", "console_user", user.login) as change:
        change.update(_TABLE, console_user_id, {"password_hash": password_hash})
        _end_sessions(connection, console_user_id)


def delete_console_user(connection: Connection, actor: Actor, now: float, console_user_id: int) -> None:
    """Delete a user; all sessions of the user end.

    Raises:
        NotThere: there is no such user.
        EditRefused: no admin would be left.
    """
    user = console_user(connection, console_user_id)
    with changing(connection, actor, now, "delete", "console_user", user.login) as change:
        _end_sessions(connection, console_user_id)
        change.delete(_TABLE, console_user_id)
        _demand_an_admin(connection)


def check_login(login: str) -> str:
    """The login without surrounding blanks.

    Raises:
        EditRefused: it is not valid.
    """
    login = login.strip()
    if not login or len(login) > MAX_LOGIN or not login.isprintable():
        raise EditRefused(sentence("a login has 1 to {most} printable characters", most=MAX_LOGIN), "login")
    return login


def _check_phone(phone: str) -> str:
    """Check that it looks like a phone; whether it exists is known when it is called."""
    phone = phone.strip()
    technology, slash, name = phone.partition("/")
    if phone and (not (technology and slash and name) or len(phone) > MAX_LOGIN or not phone.isprintable()):
        raise EditRefused(
            sentence("{phone} is not a phone; enter one such as PJSIP/33", phone=phone[:MAX_LOGIN]), "phone"
        )
    return phone


def _demand_an_admin(connection: Connection) -> None:
    found = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM console_users WHERE role = 'admin' AND disabled_at IS NULL)"
    ).fetchone()[0]
    if not found:
        raise EditRefused(sentence("at least one enabled admin must remain; make another user admin first"), "role")


def _end_sessions(connection: Connection, console_user_id: int) -> None:
    connection.execute("DELETE FROM console_sessions WHERE console_user_id = :id", {"id": console_user_id})
