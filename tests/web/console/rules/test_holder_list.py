"""The pages of extensions and users, and PINs, over real requests."""

from __future__ import annotations

import re

from pbxrouter.database import Connection
from pbxrouter.database.audit import find_entries
from pbxrouter.rules.model import Facts, Verdict
from tests.web_fakes import Answer, ConsoleCase

GIVEN = "806149"
HOSTILE = ('<script>alert("1")</script>', '"><img src=x onerror=alert(1)>', '{"a": [null]}', "x" * 80, "José")


class HolderCase(ConsoleCase):
    """Tests with a logged-in operator."""

    async def start(self) -> None:
        """Start the console and log in as an operator."""
        await super().start()
        self.me = await self.operator()

    async def verdict(self, number: str, caller: str = "34", pin: str | None = None) -> Verdict:
        """The decision about a call now."""
        return (await self.web.engine.decide(Facts(caller, number, pin))).verdict

    async def undo(self, answer: Answer, stood_on: str) -> Answer:
        """Press the Undo button of the page's notice."""
        form = next(form for form in answer.forms if form.action.endswith("/undo"))
        referer = {"Referer": f"http://localhost{stood_on}"}
        return await self.me.follow(await self.me.submit(form.action, form.fields, referer))

    async def make(self, path: str, name: str) -> str:
        """Create a holder, and return the path of its page."""
        answer = await self.post(path, {"number": name, "name": name})
        self.assertEqual(answer.status, 303, answer.text)
        return answer.location


class ExtensionTests(HolderCase):
    """The pages ``/rules/extensions``."""

    async def test_an_owners_day(self) -> None:
        """Create, grant, undo, delete: each applies from the next call."""
        path = await self.make("/rules/extensions", "34")
        page = await self.get(path)
        self.assertIn("Extension 34 was created", page.text)
        self.assertIn("34 has no grant", page.text)
        self.assertEqual(await self.verdict("21"), Verdict.PIN)
        page = await self.get(f"{path}?mapping_show=all&mapping_q=2X")
        form = page.form("/rules/grants/set")
        page = await self.me.send(form.action, [*form.fields, ("on", "1")])
        self.assertIn("34 may use 2X now", page.text)
        self.assertEqual(await self.verdict("21"), Verdict.ALLOW)
        await self.undo(page, path)
        self.assertEqual(await self.verdict("21"), Verdict.PIN)
        page = await self.me.send(f"{path}/delete")
        self.assertIn("Extension 34 and its grants were deleted", page.text)
        self.assertEqual((await self.get(path)).status, 404)
        await self.undo(page, "/rules/extensions")
        self.assertEqual((await self.get(path)).status, 200)

    async def test_undoing_what_was_made(self) -> None:
        """Undoing a creation leads to the list, since the page is gone."""
        path = await self.make("/rules/extensions", "34")
        page = await self.undo(await self.get(path), path)
        self.assertEqual((page.status, page.title), (200, "Extensions"))
        self.assertIn("Undone: extension 34 was created", page.text)

    async def test_another_number(self) -> None:
        """The grants are kept when the number changes."""
        page = await self.me.send("/rules/extensions/1/change", number="35")
        self.assertIn("35 was changed", page.text)
        self.assertEqual(await self.verdict("21", "35"), Verdict.ALLOW)

    async def test_endpoint(self) -> None:
        """An endpoint is set, shown, changed, removed and undone; each change applies from the next call."""
        answer = await self.post("/rules/extensions", number="44", endpoint=" pjsip/44 ")
        page = await self.get(answer.location)
        self.assertIn("Calls from this number by the endpoint PJSIP/44", page.text)
        self.assertIn("PJSIP/44", (await self.get("/rules/extensions?q=pjsip/4")).text)
        form = (await self.get("/rules/extensions/1/change")).form("/rules/extensions/1/change")
        self.assertEqual([pair for pair in form.fields if pair[0] != "csrf"], [("number", "33"), ("endpoint", "")])
        page = await self.me.send("/rules/extensions/1/change", number="33", endpoint="PJSIP/desk")
        self.assertIn("33 was changed", page.text)
        self.assertIn("endpoint of extension 33 was changed", page.text)
        self.assertEqual(await self.verdict("21", "33"), Verdict.PIN)
        self.assertIn("endpoint: PJSIP/desk", (await self.get("/rules/changes")).text)
        page = await self.me.send("/rules/extensions/1/change", number="33", endpoint="")
        self.assertEqual(await self.verdict("21", "33"), Verdict.ALLOW)
        await self.undo(page, "/rules/extensions/1")
        self.assertEqual(await self.verdict("21", "33"), Verdict.PIN)

    async def test_refused_endpoint(self) -> None:
        """The error is beside the field, which keeps what was typed; nothing was changed."""
        for path, number in (("/rules/extensions", "44"), ("/rules/extensions/1/change", "34")):
            answer = await self.post(path, number=number, endpoint="33")
            self.assertEqual(answer.status, 400)
            self.assertIn("33 is not an endpoint; accepted is a technology and a name", answer.text)
            self.assertIn('id="e-endpoint"', answer.html)
            self.assertEqual(dict(answer.form(path).fields)["endpoint"], "33")
        self.assertEqual(await self.verdict("21", "33"), Verdict.ALLOW)

    async def test_number_twice(self) -> None:
        """The second row of a number is marked wherever it is shown, and its page says which row counts."""

        def repeat(connection: Connection) -> None:
            connection.execute("INSERT INTO extensions VALUES (77, '33 ')")
            connection.execute("INSERT INTO extensions_mappings (extension_id, map_id) VALUES (77, 3)")
            connection.commit()

        await self.web.change(repeat)
        said = "is there twice: row 77 is ignored, with its grants and its endpoint; row 1 counts"
        for path in ("/rules/extensions/77", "/rules/warnings"):
            self.assertIn(said, (await self.get(path)).text, path)
        for path in ("/rules/extensions", "/rules/grants", "/rules/mappings/3"):
            self.assertEqual((await self.get(path)).html.count(">ignored<"), 1, path)
        self.assertNotIn("is there twice", (await self.get("/rules/extensions/1")).text)
        self.assertEqual((await self.verdict("21", "33"), await self.verdict("34", "33")), (Verdict.ALLOW, Verdict.PIN))
        answer = await self.post("/rules/extensions/77/change", number="33", endpoint="")
        self.assertEqual(answer.status, 409)

    async def test_refused(self) -> None:
        """The error is beside the field, which keeps what was typed."""
        for number, translator in (
            ("", "1 to 80"),
            ("unknown", "it cannot be an extension"),
            ("33", "already"),
            ("x\ty", "printable"),
        ):
            answer = await self.post("/rules/extensions", number=number)
            self.assertIn(answer.status, (400, 409))
            self.assertIn(translator, answer.text)
            self.assertIn('id="e-number"', answer.html)
            self.assertEqual(dict(answer.form("/rules/extensions").fields)["number"], number)
        await self.make("/rules/extensions", "34")
        answer = await self.post("/rules/extensions/1/change", number="34")
        self.assertEqual(answer.status, 409)
        self.assertIn("there is already an extension with this number", answer.text.lower())


class UserTests(HolderCase):
    """The pages ``/rules/users``."""

    async def test_hostile_names(self) -> None:
        """Names are shown as text on every page."""
        for name in HOSTILE:
            path = await self.make("/rules/users", name)
            for where in (path, f"{path}/change", "/rules/users", "/rules/grants?kind=user"):
                page = await self.get(where)
                self.assertEqual(page.status, 200)
                self.assertNotIn("<script>alert", page.html)
                self.assertNotIn("<img", page.html)
            self.assertIn(name, (await self.get(path)).text)
        for where in ("/rules/warnings", "/rules/changes"):
            html = (await self.get(where)).html
            self.assertNotIn("<script>alert", html)
            self.assertNotIn("<img", html)

    async def test_pages_of_many(self) -> None:
        """The list is paged by name, forwards to the end."""
        for index in range(30):
            await self.make("/rules/users", f"user {index:02}")
        await self.get("/rules/users")  # which says what was made
        first = await self.get("/rules/users?q=user")
        following = await self.get(next(link for link in first.links if "after=" in link))
        self.assertIn("user 00", first.text)
        self.assertNotIn("user 29", first.text)
        self.assertIn("user 29", following.text)
        self.assertIn("No users match", (await self.get("/rules/users?q=nobody")).text)

    async def test_newcomer(self) -> None:
        """Without users the page says what a user is."""
        await self.me.send("/rules/users/1/delete")
        self.assertIn("There are no users yet", (await self.get("/rules/users")).text)


class PinTests(HolderCase):
    """A PIN is set, generated and removed, and only a generated one is shown, once."""

    async def test_made(self) -> None:
        """A generated PIN is shown on the response, which is not cached, and nowhere else."""
        path = await self.make("/rules/users", "Ana")
        answer = await self.post(f"{path}/pin/make")
        self.assertEqual((answer.status, answer.location), (303, f"{path}/pin/made"))
        answer = await self.get(answer.location)
        self.assertEqual((answer.status, answer.header("Cache-Control")), (200, "no-store"))
        found = re.search(r'class="secret"[^>]*>([0-9]+)<', answer.html)
        assert found
        pin = found[1]
        self.assertEqual(len(pin), 6)
        other = await self.admin()
        newest = await self.web.read(lambda connection: find_entries(connection)[0].audit_id)
        # Loading the page again makes no other one; another session does not see it.
        self.assertIn(f">{pin}<", (await self.get(f"{path}/pin/made")).html)
        self.assertNotIn(pin, (await other.get(f"{path}/pin/made")).html)
        self.assertEqual(await self.web.read(lambda connection: find_entries(connection)[0].audit_id), newest)
        for where in (path, "/rules/users", "/rules/changes", f"/rules/changes/{await self.newest()}"):
            page = await self.get(where)
            self.assertNotIn(pin, page.html.replace(page.csrf, ""))  # its digits may be those of any PIN
            self.assertNotIn(self.web.hash_pin(pin), page.html)
        left = await self.get(f"{path}/pin/made")
        self.assertNotIn(pin, left.html.replace(left.csrf, ""))
        self.assertIn("The generated PIN is not shown any more", left.text)
        self.assertIn("has a PIN", (await self.get(path)).text)
        self.assertIn("PIN of Ana was changed PIN set", (await self.get("/rules/changes")).text)
        await self.me.send("/rules/grants/set", kind="user", holder="2", mapping="2", on="1")
        self.assertEqual(await self.verdict("21", pin=pin), Verdict.ALLOW)

    async def newest(self) -> int:
        """The number of the newest entry of the audit log."""
        links = (await self.get("/rules/changes")).links
        return max(int(found[1]) for link in links if (found := re.fullmatch(r"/rules/changes/(\d+)", link)))

    async def test_typed(self) -> None:
        """A PIN is typed twice and set; removing it can be undone."""
        page = await self.me.send("/rules/users/1/pin", pin=GIVEN, again=GIVEN)
        self.assertIn("has a new PIN", page.text)
        self.assertNotIn(GIVEN, page.html)
        self.assertEqual(await self.verdict("21", pin=GIVEN), Verdict.ALLOW)
        page = await self.me.send("/rules/users/1/pin/remove")
        self.assertIn("The PIN of moises silva was removed", page.text)
        self.assertIn("so no caller can identify as", page.text)
        self.assertNotEqual(await self.verdict("21", pin=GIVEN), Verdict.ALLOW)
        await self.undo(page, "/rules/users/1")
        self.assertEqual(await self.verdict("21", pin=GIVEN), Verdict.ALLOW)

    async def test_refused(self) -> None:
        """The error is beside the field; the PIN is not shown again."""
        await self.make("/rules/users", "Ana")
        await self.me.send("/rules/users/2/pin", pin=GIVEN, again=GIVEN)
        for pin, again, field, translator in (
            ("12", "12", "pin", "3 to 16 digits"),
            ("12ab", "12ab", "pin", "3 to 16 digits"),
            (GIVEN, "806159", "again", "the two pins are different"),
            (GIVEN, GIVEN, "pin", "choose another one"),
        ):
            answer = await self.post("/rules/users/1/pin", pin=pin, again=again)
            self.assertEqual(answer.status, 400)
            self.assertIn(translator, answer.text.lower())
            self.assertIn(f'id="e-{field}"', answer.html)
            self.assertNotIn(f'value="{pin}"', answer.html)

    async def test_trying_is_slow(self) -> None:
        """Attempts are limited, since the error tells that another user has the PIN."""
        for _ in range(20):
            await self.post("/rules/users/1/pin", pin=GIVEN, again=GIVEN)
        answer = await self.post("/rules/users/1/pin", pin="806159", again="806159")
        self.assertEqual(answer.status, 429)
        self.assertRegex(answer.header("Retry-After"), r"^[1-9][0-9]?$")
        self.assertIn("too many PIN attempts", answer.text.replace("Too", "too"))
        self.wait(60)
        self.assertEqual((await self.post("/rules/users/1/pin", pin="806159", again="806159")).status, 303)

    async def test_gone(self) -> None:
        """Pages of a deleted user are 404."""
        for path in ("pin/make", "pin/remove", "delete"):
            self.assertEqual((await self.post(f"/rules/users/99/{path}")).status, 404, path)
        self.assertEqual((await self.post("/rules/users/99/pin", pin=GIVEN, again=GIVEN)).status, 404)
        self.assertEqual((await self.post("/rules/users/99/change", name="Ana")).status, 404)
