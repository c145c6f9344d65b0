"""How long the console keeps a secret that it shows once."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.database.access import list_console_users
from pbxrouter.web.console.shown_once import KEPT_S, MAX_KEPT, ShownOnce
from tests.web_fakes import PASSWORD, ConsoleCase


class ShownOnceTests(SynchronousTestCase):
    """Secrets in memory."""

    def setUp(self) -> None:
        """A clock of the test's."""
        self.clock = Clock()
        self.once = ShownOnce(self.clock.seconds)

    def test_only_its_session_and_page(self) -> None:
        """No other session and no other page gets it, and it is gone when its session opens another page."""
        self.once.put("mine", "/pin", "123456")
        self.assertIsNone(self.once.get("other", "/pin"))
        self.assertIsNone(self.once.get("", "/pin"))
        self.assertIsNone(self.once.get("mine", "/pin/"))
        self.once.leave("other", "/")
        self.once.leave("mine", "/pin")
        self.once.leave("mine", "/settings/doctor")  # it reloads itself in another tab, before the redirect is followed
        self.assertEqual(self.once.get("mine", "/pin"), "123456")
        self.once.leave("mine", "/")
        self.assertIsNone(self.once.get("mine", "/pin"))

    def test_forgotten_by_itself(self) -> None:
        """A secret whose session never comes back is dropped from memory by what others do, and by a closed session."""
        self.once.put("gone", "/pin", "123456")
        self.clock.advance(KEPT_S)
        self.once.leave("other", "/")
        self.assertEqual(self.once.count, 0)
        for number in range(MAX_KEPT + 5):
            self.once.put(f"{number}", "/pin", number)
        self.assertEqual(self.once.count, MAX_KEPT)
        self.once.forget("500")
        self.once.forget("500")
        self.assertEqual(self.once.count, MAX_KEPT - 1)


class LogOutTests(ConsoleCase):
    """Secrets of sessions that end."""

    async def test_log_out(self) -> None:
        """Logging out, and logging in again in the same browser, forget the secret."""
        me = await self.admin()
        kept = self.router.once
        self.assertEqual((await me.post("/settings/tokens", name="one", scope="read")).status, 303)
        self.assertEqual(kept.count, 1)
        await me.post("/logout")
        self.assertEqual(kept.count, 0)
        login = (await self.web.read(list_console_users))[0].login
        self.assertEqual((await me.log_in(login)).status, 303)
        self.assertEqual((await me.post("/settings/tokens", name="two", scope="read")).status, 303)
        self.assertEqual(kept.count, 1)
        self.assertEqual((await me.post("/login", login=login, password=PASSWORD)).status, 303)
        self.assertEqual(kept.count, 0)
