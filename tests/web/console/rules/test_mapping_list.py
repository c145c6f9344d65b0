"""The pages of mappings, over real requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pbxrouter.database.rules import MappingValues, add_mapping
from pbxrouter.database.rules.lists import MappingRow, mapping
from pbxrouter.rules.model import Facts, Verdict
from tests.web_fakes import ACTOR, Answer, ConsoleCase

HOSTILE = ('<script>alert("1")</script>', '"><img src=x onerror=alert(1)>', "\u202e\u0645\u0631", "{'a': []}")


class MappingCase(ConsoleCase):
    """Tests with a logged-in operator."""

    async def start(self) -> None:
        """Start the console and log in as an operator."""
        await super().start()
        self.me = await self.operator()

    async def add(self, pattern: str, application: str = "dial", data: str = "SIP") -> int:
        """Add a mapping to the database directly."""
        return await self.web.change(
            lambda connection: (
                add_mapping(connection, ACTOR, self.web.now(), MappingValues(pattern, application, data)).value
            )
        )

    async def row(self, number: int) -> MappingRow:
        """The mapping's row in the database."""
        return await self.web.read(lambda connection: mapping(connection, number))

    async def verdict(self, number: str, caller: str = "33") -> Verdict:
        """The decision about a call now."""
        return (await self.web.engine.decide(Facts(caller, number))).verdict

    async def undo(self, answer: Answer, stood_on: str = "/rules/mappings/1") -> Answer:
        """Press the Undo button of the page's notice."""
        form = next(form for form in answer.forms if form.action.endswith("/undo"))
        referer = {"Referer": f"http://localhost{stood_on}"}
        return await self.me.follow(await self.me.submit(form.action, form.fields, referer))


class ListTests(MappingCase):
    """The page ``/rules/mappings``."""

    async def test_what_it_shows(self) -> None:
        """The list shows pattern, application, grants and warnings."""
        page = await self.get("/rules/mappings")
        self.assertEqual((page.status, page.title), (200, "Mappings"))
        for translator in ("2X dial SIP", "66 voicemail", "No extension or user has a grant for XXXXXXXX"):
            self.assertIn(translator, page.text)

    async def test_search(self) -> None:
        """The search finds pattern, application and data; an empty result is reported."""
        page = await self.get("/rules/mappings?q=voice")
        self.assertIn("66", page.text)
        self.assertNotIn("2X", page.text)
        nothing = await self.get("/rules/mappings?q=no-such")
        self.assertIn("No mappings match", nothing.text)

    async def test_for_a_newcomer(self) -> None:
        """Without mappings the page says what a mapping is."""
        for index in range(1, 6):
            await self.me.send(f"/rules/mappings/{index}/delete")
        page = await self.get("/rules/mappings")
        self.assertIn("There are no mappings yet", page.text)
        self.assertIn("/rules/mappings/new?pattern=2X&application=dial&data=SIP", page.links)

    async def test_pages(self) -> None:
        """Paging forwards and backwards lists each mapping once."""
        for index in range(60):
            await self.add(f"8{index:02}")
        seen: list[str] = []
        path = "/rules/mappings"
        while path:
            page = await self.get(path)
            seen += [link for link in page.links if link.removeprefix("/rules/mappings/").isdecimal()]
            path, here = next((link for link in page.links if "after=" in link), ""), path
        self.assertEqual(len(seen), 65)
        self.assertEqual(len(set(seen)), 65)
        back = next(link for link in (await self.get(here)).links if "before=" in link)
        self.assertIn(seen[25], (await self.get(back)).links)

    async def test_numbers_that_are_none(self) -> None:
        """An invalid address gives a page all the same."""
        for query in ("after=x", "before=-1", "after=99999999999999999999", "q=%00%ff", "state=maybe"):
            self.assertEqual((await self.get(f"/rules/mappings?{query}")).status, 200, query)

    async def test_hostile(self) -> None:
        """Values from the tables are shown as text."""
        ids = [await self.add("88", "playback", text) for text in HOSTILE if text.isprintable()]
        for path in ("/rules/mappings", "/rules/grants", *(f"/rules/mappings/{number}" for number in ids)):
            html = (await self.get(path)).html
            self.assertNotIn("<script>alert", html)
            self.assertNotIn("<img", html)
        self.assertIn(HOSTILE[0], (await self.get("/rules/mappings")).text)


class ChangeTests(MappingCase):
    """Creating, changing, disabling, deleting."""

    async def test_create(self) -> None:
        """A new mapping applies from the next call, and can be undone."""
        page = await self.me.send("/rules/mappings/new", pattern="9[1-3]", application="dial", data="SIP", enabled="1")
        self.assertIn("Mapping 9[1-3] was created", page.text)
        self.assertIn("no caller can use it", page.text)
        self.assertEqual(await self.verdict("92"), Verdict.PIN)
        page = await self.undo(page, "/rules/mappings/6")
        self.assertIn("Undone: mapping 9[1-3] was created", page.text)
        self.assertEqual(page.title, "Mappings")
        self.assertEqual(await self.verdict("92"), Verdict.INVALID)

    async def test_refused(self) -> None:
        """The error is beside the field; the form keeps what was typed."""
        answer = await self.post("/rules/mappings/new", pattern="4[", application="dial", data="my <data>")
        self.assertEqual(answer.status, 400)
        self.assertIn("has a [ without its ]", answer.text)
        self.assertIn('aria-describedby="e-pattern', answer.html)
        fields = dict(answer.form("/rules/mappings/new").fields)
        self.assertEqual((fields["pattern"], fields["data"]), ("4[", "my <data>"))
        for values, translator in (
            ({"pattern": ""}, "pattern"),
            ({"pattern": "2X", "application": ""}, "an application is 1 to 80"),
            ({"pattern": "2X", "application": "dial", "data": "x" * 256}, "at most 255"),
            ({"pattern": "2X", "application": "DIAL", "data": "SIP"}, "already has this pattern, application and data"),
        ):
            answer = await self.post("/rules/mappings/new", values)
            self.assertIn(answer.status, (400, 409))
            self.assertIn(translator.lower(), answer.text.lower())

    async def test_change(self) -> None:
        """The form has the current values; saving changes them, and can be undone."""
        form = (await self.get("/rules/mappings/2/change")).form("/rules/mappings/2/change")
        fields = dict(form.fields)
        self.assertEqual((fields["pattern"], fields["application"], fields["enabled"]), ("2X", "dial", "1"))
        page = await self.me.send(form.action, {**fields, "data": "PJSIP/{number}@trunk"})
        self.assertIn("Mapping 2X was changed", page.text)
        self.assertIn("PJSIP/{number}@trunk", page.text)
        await self.undo(page)
        self.assertEqual((await self.row(2)).data, "SIP")

    async def test_statements_of_a_change(self) -> None:
        """The entry of a change is known from the change: the audit log is written once, and not searched."""
        csrf = await self.me.csrf()
        statements: list[str] = []

        def trace(callback: Callable[[str], object] | None) -> Callable[[Any], None]:
            return lambda connection: connection.set_trace_callback(callback)

        await self.web.write(trace(statements.append))
        answer = await self.me.post("/rules/mappings/2/switch", on="0", csrf=csrf)
        await self.web.write(trace(None))
        self.assertEqual(answer.status, 303)
        self.assertEqual(
            # Those of triggers begin as comments do.
            [row.split(" SET ")[0] for row in statements if "audit_log" in row and not row.startswith("--")],
            ["UPDATE audit_log"],
        )
        (audit_id,) = await self.web.read(
            lambda connection: connection.execute("SELECT max(audit_id) FROM audit_log").fetchone()
        )
        page = await self.me.follow(answer)
        self.assertIn(f"/rules/changes/{audit_id}/undo", [form.action for form in page.forms])

    async def test_nothing_changed(self) -> None:
        """Saving without a change shows no notice and no undo."""
        form = (await self.get("/rules/mappings/2/change")).form("/rules/mappings/2/change")
        page = await self.me.send(form.action, form.fields)
        self.assertEqual(page.status, 200)
        self.assertNotIn("was changed", page.text)

    async def test_changed_meanwhile(self) -> None:
        """A change by another user is not overwritten unseen; saving again does it."""
        form = (await self.get("/rules/mappings/2/change")).form("/rules/mappings/2/change")
        other = await self.operator()
        fields = {name: value for name, value in form.fields if name != "csrf"}
        await other.send(form.action, {**fields, "data": "IAX2"})
        mine = {**fields, "data": "Zap"}
        answer = await self.post(form.action, mine)
        self.assertEqual(answer.status, 409)
        self.assertIn("this was changed in the meantime", answer.text.lower())
        self.assertIn("IAX2", answer.text)
        again = answer.form(form.action)
        self.assertEqual(dict(again.fields)["data"], "Zap")
        await self.me.send(form.action, again.fields)
        self.assertEqual((await self.row(2)).data, "Zap")

    async def test_data_that_cannot_work(self) -> None:
        """The form refuses what cannot work at its field; a row that is there keeps its data when it is switched."""
        for application, data, said in (
            ("dial", "PJSIP/{nummer}", "accepted are {number} and {caller}"),
            ("dial", "SIP,60", "a comma would begin another argument"),
            ("dial", "", "it is empty"),
            ("hangup", "999", "a cause from 0 to 127"),
            ("dail", "SIP", "no driver provides the application dail"),
        ):
            answer = await self.post("/rules/mappings/new", pattern="77", application=application, data=data)
            self.assertEqual(answer.status, 400, data)
            self.assertIn(said.lower(), answer.text.lower())
        number = await self.add("77", "dial", "PJSIP/{nummer}")
        path = f"/rules/mappings/{number}"
        self.assertIn("77 cannot work:", (await self.get(path)).text)
        self.assertEqual((await self.post(f"{path}/switch", on="0")).status, 303)
        self.assertEqual((await self.post(f"{path}/switch", on="1")).status, 303)
        form = (await self.get(f"{path}/change")).form(f"{path}/change")
        self.assertEqual((await self.post(form.action, {**dict(form.fields), "pattern": "78"})).status, 400)
        self.assertEqual((await self.post(form.action, {**dict(form.fields), "data": "PJSIP/21"})).status, 303)

    async def test_an_application_that_nothing_provides(self) -> None:
        """An application without a driver is kept and marked; names match in any case."""
        for name in ("teleport", "DIAL"):
            number = await self.add("77", name)
            page = await self.get(f"/rules/mappings/{number}/change")
            self.assertEqual(dict(page.form(f"/rules/mappings/{number}/change").fields)["application"], name)
            self.assertEqual("no driver provides it" in page.text, name == "teleport")

    async def test_switch(self) -> None:
        """Disable and enable, back on the same page; grants are kept."""
        page = await self.me.send("/rules/mappings/2/switch", on="0", back="/rules/mappings?q=2X")
        self.assertIn("Mapping 2X was disabled", page.text)
        self.assertNotIn("66", page.text)
        self.assertEqual(await self.verdict("21"), Verdict.INVALID)
        await self.me.send("/rules/mappings/2/switch", on="1")
        self.assertEqual(await self.verdict("21"), Verdict.ALLOW)

    async def test_only_back_to_rules(self) -> None:
        """A form's ``back`` outside the pages of rules is ignored."""
        for back in ("https://example.org/", "//example.org", "/logout", "/rules/../logout\\"):
            answer = await self.post("/rules/mappings/2/switch", on="1", back=back)
            self.assertEqual(answer.location, "/rules/mappings/2", back)

    async def test_delete(self) -> None:
        """A mapping is deleted at once with its grants; the undo restores all."""
        page = await self.me.send("/rules/mappings/2/delete")
        self.assertIn("Mapping 2X and its grants were deleted", page.text)
        self.assertEqual(await self.verdict("21"), Verdict.INVALID)
        await self.undo(page)
        self.assertEqual(await self.verdict("21"), Verdict.ALLOW)

    async def test_gone(self) -> None:
        """Pages of a deleted mapping are 404, for GET and POST."""
        for answer in (
            await self.get("/rules/mappings/99"),
            await self.get("/rules/mappings/99/change"),
            await self.post("/rules/mappings/99/change", pattern="2X", application="dial"),
            await self.post("/rules/mappings/99/delete"),
            await self.post("/rules/mappings/99/switch", on="1"),
        ):
            self.assertEqual(answer.status, 404)
            self.assertIn("there is no mapping", answer.text.lower())


class OneTests(MappingCase):
    """The page ``/rules/mappings/<number>``."""

    async def test_what_it_shows(self) -> None:
        """The page shows values, a number to test, and grants."""
        page = await self.get("/rules/mappings/2")
        self.assertEqual(page.title, "Mapping 2X")
        for translator in ("such as 20", "Extensions that may use it 1", "33 granted", "Users that may use it"):
            self.assertIn(translator, page.text)
        self.assertIn("/test?number=20", page.links)

    async def test_grant_and_revoke_there(self) -> None:
        """Grant and revoke on the page, with undo."""
        self.assertEqual(await self.verdict("31"), Verdict.PIN)
        page = await self.get("/rules/mappings/1?extension_show=all&extension_q=3")
        form = page.form("/rules/grants/set")
        page = await self.me.send(form.action, [*form.fields, ("on", "1")])
        self.assertIn("33 may use 3X now", page.text)
        self.assertEqual(await self.verdict("31"), Verdict.ALLOW)
        self.assertIn("granted: 33 → 3X", page.text)
        page = await self.me.send(form.action, [*form.fields, ("on", "0")])
        self.assertIn("33 may no longer use 3X", page.text)
        await self.undo(page)
        self.assertEqual(await self.verdict("31"), Verdict.ALLOW)

    async def test_its_changes(self) -> None:
        """The page lists the changes of this mapping only."""
        await self.me.send("/rules/mappings/2/switch", on="0")
        await self.me.send("/rules/mappings/1/switch", on="0")
        page = await self.get("/rules/mappings/2")
        self.assertIn("mapping 2X was disabled", page.text)
        self.assertNotIn("3X", page.text)
