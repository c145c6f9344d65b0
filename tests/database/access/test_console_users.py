"""Console users and their sessions, in a real database."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from pbxrouter.database.access.console_users import (
    add_console_user,
    console_user,
    credentials,
    delete_console_user,
    list_console_users,
    set_console_password,
    update_console_user,
)
from pbxrouter.database.access.sessions import (
    IDLE_S,
    LONGEST_S,
    SETUP_S,
    close_session,
    is_setup_link,
    live_sessions,
    needs_setup,
    open_session,
    put_setup_link,
    session_user,
    touch_session,
    use_setup_link,
)
from pbxrouter.database.audit import Actor, AuditSearch, find_entries
from pbxrouter.errors import EditConflict, EditRefused, NotThere
from pbxrouter.security.roles import Role
from tests.database.postgresql import OnBothEngines, listen

ROOT = Actor("root", "command")


class ConsoleUserCase(OnBothEngines):
    """Test case with a new database."""

    def setUp(self) -> None:
        """Create the database and connect to it."""
        self.place = self.new_place()
        self.connection = self.open(self.place)

    def add(self, login: str, role: Role = Role.VIEWER) -> int:
        """Add console users."""
        return add_console_user(self.connection, ROOT, 10.0, login, "hash", role)

    def actions(self) -> list[tuple[str, str]]:
        """The actions in the audit log, oldest first."""
        found = find_entries(self.connection, AuditSearch(), 50)
        return [(entry.action, entry.name) for entry in reversed(found)]


class ConsoleUsers(ConsoleUserCase):
    """Adding, changing and deleting users."""

    def test_life(self) -> None:
        """Each change is in the audit log; the password's hash is not shown."""
        self.add("ana", Role.ADMIN)
        ben = self.add(" ben ")
        update_console_user(self.connection, ROOT, 11.0, ben, role=Role.OPERATOR, phone="PJSIP/33", language="es")
        set_console_password(self.connection, ROOT, 12.0, ben, "other")
        found = console_user(self.connection, ben)
        self.assertEqual(
            (found.login, found.role, found.phone, found.language), ("ben", Role.OPERATOR, "PJSIP/33", "es")
        )
        self.assertNotIn("other", repr(list_console_users(self.connection)))
        delete_console_user(self.connection, ROOT, 13.0, ben)
        self.assertRaises(NotThere, console_user, self.connection, ben)
        self.assertEqual(
            self.actions(),
            [("create", "ana"), ("create", "ben"), ("update", "ben"), ("password", "ben"), ("delete", "ben")],
        )

    def test_a_login_is_there_once(self) -> None:
        """A login exists once, in any case."""
        self.add("ana", Role.ADMIN)
        error = self.assertRaises(EditConflict, self.add, "ANA")
        self.assertEqual(error.field, "login")
        found = credentials(self.connection, "aNa")
        assert found is not None
        self.assertEqual((found[0].login, found[1]), ("ana", "hash"))

    def test_logins_and_phones_that_cannot_be(self) -> None:
        """For an invalid login or phone the error names the field."""
        for login in ("", "  ", "x" * 61, "a\nb", "a\x00b"):
            self.assertEqual(self.assertRaises(EditRefused, self.add, login).field, "login")
        number = self.add("ana", Role.ADMIN)
        for phone in ("33", "PJSIP/", "/33", "PJSIP/3\r\n3", "PJSIP/" + "3" * 60):
            error = self.assertRaises(EditRefused, update_console_user, self.connection, ROOT, 1.0, number, phone=phone)
            self.assertEqual(error.field, "phone")

    def test_not_there(self) -> None:
        """An unknown user is named by number, one too large for SQLite too."""
        for number in (99, 2**64, -(2**70)):
            for change in (
                lambda: console_user(self.connection, number),  # noqa: B023
                lambda: update_console_user(self.connection, ROOT, 1.0, number, phone="PJSIP/33"),  # noqa: B023
                lambda: set_console_password(self.connection, ROOT, 1.0, number, "hash"),  # noqa: B023
                lambda: delete_console_user(self.connection, ROOT, 1.0, number),  # noqa: B023
            ):
                self.assertEqual(str(self.assertRaises(NotThere, change)), f"there is no console user {number}")

    def test_an_admin_is_left(self) -> None:
        """The last admin can be neither demoted nor disabled nor deleted."""
        ana = self.add("ana", Role.ADMIN)
        self.add("ben")
        for change in ({"role": Role.VIEWER}, {"enabled": False}):
            self.assertRaises(EditRefused, update_console_user, self.connection, ROOT, 1.0, ana, **change)
        self.assertRaises(EditRefused, delete_console_user, self.connection, ROOT, 1.0, ana)
        self.assertEqual(console_user(self.connection, ana).role, Role.ADMIN)
        self.add("carla", Role.ADMIN)
        update_console_user(self.connection, ROOT, 1.0, ana, enabled=False)
        self.assertFalse(console_user(self.connection, ana).enabled)

    def refused(self, kind: type[EditRefused], change: Callable[[], object]) -> tuple[str, str]:
        """Check that a change is refused; returns message and field."""
        error = self.assertRaises(kind, change)
        return str(error), error.field

    def test_what_is_said(self) -> None:
        """Each refusal has its message and field."""
        ana = self.add("ana", Role.ADMIN)
        change = partial(update_console_user, self.connection, ROOT, 1.0, ana)
        self.assertEqual(
            self.refused(EditConflict, lambda: self.add(" ANA ")), ("the login ANA is already taken", "login")
        )
        self.assertEqual(
            self.refused(EditRefused, lambda: self.add("x" * 61)),
            ("a login has 1 to 60 printable characters", "login"),
        )
        self.assertEqual(
            self.refused(EditRefused, lambda: change(phone="x" * 70)),
            (f"{'x' * 60} is not a phone; enter one such as PJSIP/33", "phone"),
        )
        last = ("at least one enabled admin must remain; make another user admin first", "role")
        for attempt in (
            lambda: change(role=Role.OPERATOR),
            lambda: change(enabled=False),
            lambda: delete_console_user(self.connection, ROOT, 1.0, ana),
        ):
            self.assertEqual(self.refused(EditRefused, attempt), last)
        self.assertEqual(self.actions(), [("create", "ana")])

    def test_kinds_of_entries(self) -> None:
        """Each change is in the audit log as one of a console user, with author and time."""
        ana = self.add("ana", Role.ADMIN)
        ben = self.add("ben", Role.ADMIN)
        update_console_user(self.connection, ROOT, 11.0, ana, language="es")
        set_console_password(self.connection, ROOT, 12.0, ana, "other")
        delete_console_user(self.connection, ROOT, 13.0, ben)
        found = [(row.kind, row.action, row.who, row.via, row.changed_at) for row in find_entries(self.connection)]
        self.assertEqual(
            found,
            [
                ("console_user", action, "root", "command", at)
                for action, at in (
                    ("delete", 13.0),
                    ("password", 12.0),
                    ("update", 11.0),
                    ("create", 10.0),
                    ("create", 10.0),
                )
            ],
        )

    def test_bounds(self) -> None:
        """A login and a phone have up to 60 characters; the phone may be empty."""
        self.assertTrue(self.add("x" * 60))
        ana = self.add("ana", Role.ADMIN)
        for phone in (" PJSIP/33 ", "PJSIP/" + "3" * 54, "a/b", ""):
            update_console_user(self.connection, ROOT, 1.0, ana, phone=phone)
            self.assertEqual(console_user(self.connection, ana).phone, phone.strip())
        self.assertEqual([user.login for user in list_console_users(self.connection)], ["ana", "x" * 60])

    def test_only_what_is_given_is_changed(self) -> None:
        """Only given values change; a change to the same values is not recorded."""
        ana = self.add("ana", Role.ADMIN)
        change = partial(update_console_user, self.connection, ROOT, 5.0, ana)
        was = console_user(self.connection, ana)
        self.assertEqual((was.phone, was.language, was.created_at, was.last_login_at), ("", "", 10.0, None))
        changes: tuple[dict[str, Any], ...] = ({"phone": "PJSIP/33"}, {"language": "es"})
        for values in changes:
            change(**values)
            was = dataclasses.replace(was, **values)
            self.assertEqual(console_user(self.connection, ana), was)
        count = len(self.actions())
        change()
        change(enabled=True)
        change(role=Role.ADMIN, phone="PJSIP/33", language="es")
        self.assertEqual((len(self.actions()), console_user(self.connection, ana)), (count, was))
        self.add("ben", Role.ADMIN)
        change(enabled=False)
        disabled = "SELECT disabled_at FROM console_users WHERE login = 'ana'"
        self.assertEqual(self.connection.execute(disabled).fetchone(), (5.0,))
        change(enabled=True)
        self.assertEqual(self.connection.execute(disabled).fetchone(), (None,))


class Sessions(ConsoleUserCase):
    """Sessions of users who are logged in."""

    def setUp(self) -> None:
        """Add an admin, and ben, who is logged in."""
        super().setUp()
        self.add("ana", Role.ADMIN)
        self.ben = self.add("ben")
        open_session(self.connection, self.ben, "h", "127.0.0.1", 1000.0)

    def whose(self, now: float) -> str | None:
        """The user of the session."""
        found = session_user(self.connection, "h", now)
        return found[0].login if found else None

    def test_life(self) -> None:
        """A session is found until it is closed; its use is stored once a minute."""
        found = session_user(self.connection, "h", 1030.0)
        assert found is not None
        self.assertEqual((found[0].login, found[0].last_login_at, found[1]), ("ben", 1000.0, False))
        late = session_user(self.connection, "h", 1090.0)
        assert late is not None and late[1]
        self.assertIsNone(session_user(self.connection, "other", 1030.0))
        close_session(self.connection, "h")
        self.assertIsNone(self.whose(1030.0))

    def sessions(self) -> list[str]:
        """The hashes in the table, of usable and unusable sessions."""
        return [row[0] for row in self.connection.execute("SELECT session_hash FROM console_sessions ORDER BY 1")]

    def test_noted_by_the_minute(self) -> None:
        """Use is to be stored when more than 60 seconds have passed since the last time."""
        due = []
        for now in (1000.0, 1059.0, 1060.0, 1060.5, 1061.0):
            found = session_user(self.connection, "h", now)
            assert found is not None
            due.append(found[1])
        self.assertEqual(due, [False, False, False, True, True])
        touch_session(self.connection, "h", 1061.0)
        found = session_user(self.connection, "h", 1121.0)
        assert found is not None
        self.assertIs(found[1], False)

    def test_live_ones(self) -> None:
        """A session can be used if its last use is within 8 hours, its login within 7 days, and its user enabled."""
        self.assertEqual((IDLE_S, LONGEST_S, SETUP_S), (28_800, 604_800, 86_400))
        for now, live in ((1000.0 + IDLE_S - 0.5, {"h"}), (1000.0 + IDLE_S, set())):
            self.assertEqual(live_sessions(self.connection, now), live)
        touch_session(self.connection, "h", 1000.0 + LONGEST_S - 1)
        for now, live in ((1000.0 + LONGEST_S - 0.5, {"h"}), (1000.0 + LONGEST_S, set())):
            self.assertEqual(live_sessions(self.connection, now), live)

    def test_which_changes_end_sessions(self) -> None:
        """Disabling a user and changing the role delete the user's sessions; other changes and users do not."""
        other = self.add("eva", Role.OPERATOR)
        open_session(self.connection, other, "e", "127.0.0.1", 1000.0)
        change = partial(update_console_user, self.connection, ROOT, 1.0, self.ben)
        for values, ends in (
            ({"phone": "PJSIP/33"}, False),
            ({"role": Role.VIEWER}, False),
            ({"enabled": True}, False),
            ({"enabled": True, "language": "es"}, False),
            ({"enabled": False}, True),
            ({"enabled": True}, True),
            ({"role": Role.OPERATOR}, True),
        ):
            change(**values)
            self.assertEqual(self.sessions(), ["e"] if ends else ["e", "h"], values)
            if values in ({"enabled": True}, {"role": Role.OPERATOR}) and ends:
                open_session(self.connection, self.ben, "h", "127.0.0.1", 1000.0)
        set_console_password(self.connection, ROOT, 1.0, self.ben, "new")
        self.assertEqual(self.sessions(), ["e"])
        open_session(self.connection, self.ben, "h", "127.0.0.1", 1000.0)
        delete_console_user(self.connection, ROOT, 1.0, self.ben)
        self.assertEqual(self.sessions(), ["e"])

    def test_which_old_ones_are_forgotten(self) -> None:
        """A login deletes sessions unused for 8 hours or 7 days old, and no others."""
        for now, left in ((1000.0 + IDLE_S - 1, ["h", "new"]), (1000.0 + IDLE_S, ["new"])):
            open_session(self.connection, self.ben, "new", "::1", now)
            self.assertEqual(self.sessions(), left)
            close_session(self.connection, "new")
        open_session(self.connection, self.ben, "h", "::1", 1000.0)
        for now, left in ((1000.0 + LONGEST_S - 1, ["h", "new"]), (1000.0 + LONGEST_S, ["new"])):
            touch_session(self.connection, "h", 1000.0 + LONGEST_S - 2)
            open_session(self.connection, self.ben, "new", "::1", now)
            self.assertEqual(self.sessions(), left)
            close_session(self.connection, "new")

    def test_a_login_is_noted(self) -> None:
        """A login stores address and time, for this user only."""
        rows = self.connection.execute("SELECT * FROM console_sessions").fetchall()
        self.assertEqual(rows, [("h", self.ben, 1000.0, 1000.0, "127.0.0.1")])
        self.assertEqual([user.last_login_at for user in list_console_users(self.connection)], [None, 1000.0])

    def test_it_ends_by_itself(self) -> None:
        """A session ends after a working day without use, or after a week."""
        self.assertEqual(self.whose(1000.0 + IDLE_S - 1), "ben")
        self.assertIsNone(self.whose(1000.0 + IDLE_S))
        now = 1000.0
        while now < 1000.0 + LONGEST_S - IDLE_S:
            now += IDLE_S / 2
            touch_session(self.connection, "h", now)
            self.assertEqual(self.whose(now), "ben")
        touch_session(self.connection, "h", 1000.0 + LONGEST_S - 1)
        self.assertIsNone(self.whose(1000.0 + LONGEST_S))

    def test_it_ends_with_what_its_owner_may(self) -> None:
        """A session ends when its user's role or password changes, or the user is disabled or deleted."""
        for end in (
            lambda: update_console_user(self.connection, ROOT, 1.0, self.ben, role=Role.OPERATOR),
            lambda: set_console_password(self.connection, ROOT, 1.0, self.ben, "new"),
            lambda: update_console_user(self.connection, ROOT, 1.0, self.ben, enabled=False),
            lambda: delete_console_user(self.connection, ROOT, 1.0, self.ben),
        ):
            self.assertEqual(live_sessions(self.connection, 1001.0), {"h"})
            end()
            self.assertEqual(live_sessions(self.connection, 1001.0), frozenset())
            self.assertIsNone(self.whose(1001.0))
            if any(person.login == "ben" for person in list_console_users(self.connection)):
                update_console_user(self.connection, ROOT, 1.0, self.ben, enabled=True)
                open_session(self.connection, self.ben, "h", "127.0.0.1", 1000.0)

    def test_old_ones_are_forgotten(self) -> None:
        """Old sessions are deleted at a login."""
        open_session(self.connection, self.ben, "new", "::1", 1000.0 + IDLE_S)
        rows = self.connection.execute("SELECT session_hash FROM console_sessions").fetchall()
        self.assertEqual(rows, [("new",)])


class SessionRows(ConsoleUserCase):
    """What a session tells, and what is left of it."""

    def test_user_of_a_session(self) -> None:
        """The user of a session is enabled: a session of one who is not, or was deleted, is none, and has no row."""
        add_console_user(self.connection, ROOT, 10.0, "root", "hash", Role.ADMIN)
        for end in (
            lambda number: delete_console_user(self.connection, ROOT, 12.0, number),
            lambda number: update_console_user(self.connection, ROOT, 12.0, number, enabled=False),
        ):
            number = self.add("ana")
            open_session(self.connection, number, "s", "::1", 11.0)
            found = session_user(self.connection, "s", 11.5)
            assert found is not None
            self.assertEqual((found[0].login, found[0].enabled), ("ana", True))
            end(number)
            self.assertIsNone(session_user(self.connection, "s", 12.5))
            self.assertEqual(self.connection.execute("SELECT * FROM console_sessions").fetchall(), [])


class SetupLinks(ConsoleUserCase):
    """Set-up links for the first admin."""

    def use(self, link: str, now: float = 20.0) -> int:
        """Create ana by a link."""
        return use_setup_link(self.connection, link, now, "ana", "hash", Actor("ana", "console"))

    def test_once(self) -> None:
        """A link creates an admin, and can be used once."""
        self.assertTrue(needs_setup(self.connection))
        put_setup_link(self.connection, "h", 10.0)
        self.assertEqual(console_user(self.connection, self.use("h")).role, Role.ADMIN)
        self.assertFalse(needs_setup(self.connection))
        self.assertRaises(EditRefused, self.use, "h")
        self.assertEqual(len(list_console_users(self.connection)), 1)

    def test_void(self) -> None:
        """A link that was used, never made, or has expired is refused alike; a wrong login leaves it valid."""
        said = "this set-up link has been used or has expired"
        self.assertEqual(str(self.assertRaises(EditRefused, self.use, "h")), said)
        put_setup_link(self.connection, "h", 10.0)
        self.assertEqual(str(self.assertRaises(EditRefused, self.use, "h", 10.0 + SETUP_S)), said)
        self.assertRaises(EditRefused, use_setup_link, self.connection, "h", 20.0, " ", "hash", Actor("ana", "console"))
        self.assertTrue(needs_setup(self.connection))
        self.use("h")
        self.assertFalse(is_setup_link(self.connection, "h", 20.0))
        self.assertEqual(str(self.assertRaises(EditRefused, self.use, "h")), said)
        found = credentials(self.connection, "ana")
        assert found is not None
        self.assertEqual((found[0].role, found[0].created_at, found[1]), (Role.ADMIN, 20.0, "hash"))

    def test_only_the_newest_and_not_for_ever(self) -> None:
        """A newer link makes an older one void, and a link is valid for a day."""
        put_setup_link(self.connection, "old", 10.0)
        put_setup_link(self.connection, "new", 10.0)
        self.assertFalse(is_setup_link(self.connection, "old", 20.0))
        self.assertTrue(is_setup_link(self.connection, "new", 9.0 + SETUP_S))
        self.assertFalse(is_setup_link(self.connection, "new", 10.0 + SETUP_S))
        self.assertRaises(EditRefused, self.use, "new", 10.0 + SETUP_S)
        self.assertTrue(needs_setup(self.connection))

    def test_login_that_is_taken(self) -> None:
        """A login that is taken leaves the link valid."""
        self.add("ana")
        put_setup_link(self.connection, "h", 10.0)
        self.assertRaises(EditConflict, self.use, "h")
        self.assertTrue(is_setup_link(self.connection, "h", 20.0))

    def test_two_at_once(self) -> None:
        """Of two visitors who use a link at the same moment, one becomes an admin; the other leaves no trace."""
        put_setup_link(self.connection, "h", 10.0)
        before = self.actions()

        def faster(statement: str) -> None:
            if statement.startswith(("BEGIN IMMEDIATE", "BEGIN ISOLATION LEVEL READ COMMITTED")):
                listen(self.connection, None)
                use_setup_link(other, "h", 20.0, "eva", "hash", Actor("eva", "console"))

        other = self.open(self.place)
        listen(self.connection, faster)
        error = self.assertRaises(EditRefused, self.use, "h")
        self.assertEqual(str(error), "this set-up link has been used or has expired")
        self.assertEqual([user.login for user in list_console_users(self.connection)], ["eva"])
        self.assertEqual(self.actions(), [*before, ("create", "eva")])
