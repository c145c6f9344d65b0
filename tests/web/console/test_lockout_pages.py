"""The page of lock-outs, and what the page Now says of them."""

from __future__ import annotations

from pbxrouter.database import admit_guess
from pbxrouter.database.audit import AuditSearch, find_entries
from pbxrouter.security import GuessKey, keys_of
from pbxrouter.security.guess_limits import FREE_GUESSES, GATEWAY_GUESSES, MAPPING_GUESSES
from tests.web_fakes import ConsoleCase


class LockoutCase(ConsoleCase):
    """A console, and callers who guess PINs."""

    async def guess(self, count: int, endpoint: str = "PJSIP/33", caller: str = "33", map_id: int = 1) -> None:
        """Count wrong PINs of an endpoint."""
        keys = keys_of(f"{endpoint}-0000001a", caller, map_id, frozenset())
        now = self.web.now()

        def guesses(connection: object) -> None:
            for _ in range(count):
                admit_guess(connection, keys, now)  # type: ignore[arg-type]  # a connection

        await self.web.write(guesses)


class LockoutPageTests(LockoutCase):
    """The page ``/lockouts``."""

    async def test_none(self) -> None:
        """Without lock-outs the page says that there are none."""
        self.me = await self.viewer()
        page = await self.get("/lockouts")
        self.assertEqual((page.status, page.title), (200, "Lock-outs"))
        self.assertIn("No wrong PINs are held against any caller.", page.text)

    async def test_lifted(self) -> None:
        """A locked caller is listed first; an operator lifts it, and the audit log and the guard know."""
        self.me = await self.operator()
        await self.guess(1, "PJSIP/44", "44")
        await self.guess(FREE_GUESSES + 2)
        guard = self.web.pin_guard
        guard._locked[GuessKey("endpoint", "PJSIP/33")] = self.web.now() + 60
        page = await self.get("/lockouts")
        self.assertLess(page.text.index("PJSIP/33"), page.text.index("PJSIP/44"))
        self.assertEqual(
            page.text.count("locked out"), 4
        )  # endpoint, number, the explanation, and the link to the history
        page = await self.me.send("/lockouts/lift", scope="endpoint", name="PJSIP/33")
        self.assertIn("Lock-out lifted: endpoint PJSIP/33", page.text)
        self.assertEqual(page.text.count("PJSIP/33"), 1)
        self.assertEqual(guard._locked, {})
        (entry, *_) = await self.web.read(lambda connection: find_entries(connection, AuditSearch(), 1))
        self.assertEqual((entry.action, entry.kind, entry.name), ("lift", "lockout", "endpoint PJSIP/33"))
        self.assertIn("Lock-out lifted: endpoint PJSIP/33", (await self.get("/rules/changes")).text)

    async def test_mapping(self) -> None:
        """An attacked mapping is shown by its pattern, and can be lifted."""
        self.me = await self.operator()
        for line in range(MAPPING_GUESSES):
            await self.guess(1, f"PJSIP/{line}", f"{line}", map_id=3)
        page = await self.get("/lockouts")
        pattern = (
            await self.web.read(
                lambda c: c.execute("SELECT pattern FROM applications_mappings WHERE map_id = 3").fetchone()
            )
        )[0]
        self.assertIn(f"{pattern} mapping attacked", page.text)
        page = await self.me.send("/lockouts/lift", scope="mapping", name="3")
        self.assertNotIn("attacked", page.text)

    async def test_refused(self) -> None:
        """Nothing is lifted without a token of the form, by a viewer, or where there is nothing."""
        await self.guess(FREE_GUESSES)
        self.me = await self.viewer()
        page = await self.get("/lockouts")
        self.assertEqual(page.status, 200)
        self.assertNotIn("/lockouts/lift", [form.action for form in page.forms])
        self.assertEqual((await self.me.post("/lockouts/lift", scope="endpoint", name="PJSIP/33")).status, 403)
        self.me = await self.operator()
        for scope, name in (("endpoint", "PJSIP/99"), ("planet", "x"), ("", "")):
            self.assertEqual((await self.me.post("/lockouts/lift", scope=scope, name=name)).status, 400)
        answer = await self.me.submit("/lockouts/lift", [("csrf", "x"), ("scope", "endpoint"), ("name", "PJSIP/33")])
        self.assertEqual(answer.status, 403)
        self.assertIn("PJSIP/33", (await self.get("/lockouts")).text)

    async def test_hostile_name(self) -> None:
        """Markup in a caller's number is shown as text."""
        self.me = await self.viewer()
        await self.guess(1, "PJSIP/33", "<script>alert(1)</script>")
        self.assertNotIn("<script>alert", (await self.get("/lockouts")).html)


class NowTests(LockoutCase):
    """Lock-outs and attacks on the page Now."""

    async def test_locked(self) -> None:
        """A caller who is locked out is told, with a link to the page."""
        self.me = await self.viewer()
        self.assertNotIn("Wrong PINs", (await self.get("/")).text)
        await self.guess(FREE_GUESSES)
        self.wait(10)
        page = await self.get("/")
        self.assertIn("Wrong PINs: 2 callers are locked out.", page.text)
        self.assertIn("/lockouts", page.links)
        self.assertNotIn("Attack", page.text)

    async def test_attack(self) -> None:
        """An attack under way is told, and numbers that guessed wrong once count as locked then."""
        self.me = await self.viewer()
        for line in range(GATEWAY_GUESSES):
            await self.guess(1, f"PJSIP/{line}", f"{line}", map_id=line)
        page = await self.get("/")
        self.assertIn("Attack on PINs: wrong PINs come from many places. 60 callers are locked out.", page.text)
        self.assertIn("Attack on PINs", (await self.get("/lockouts")).text)
