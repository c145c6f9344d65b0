"""The matrix of grants, over real requests, by the button and by script."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pbxrouter.database.rules import MappingValues, add_extension, add_mapping
from pbxrouter.database.rules.names import granted_among
from pbxrouter.rules.model import Facts, Verdict
from tests.web_fakes import ACTOR, Answer, ConsoleCase, PageForm

PATH = "/rules/grants"


def matrix_of(page: Answer) -> PageForm:
    """The form with the checkboxes."""
    return next(form for form in page.forms if (form.action, form.method) == (PATH, "post"))


def ticked(form: PageForm) -> set[str]:
    """The checked checkboxes of a form."""
    return {value for name, value in form.fields if name == "g"}


def with_ticks(form: PageForm, boxes: Iterable[str]) -> list[tuple[str, str]]:
    """The form as a browser sends it with these checkboxes checked."""
    return [*((name, value) for name, value in form.fields if name != "g"), *(("g", box) for box in boxes)]


class MatrixTests(ConsoleCase):
    """The page ``/rules/grants``."""

    async def start(self) -> None:
        """Start the console and log in as an operator."""
        await super().start()
        self.me = await self.operator()

    async def verdict(self, number: str) -> Verdict:
        """The decision about a call of 33 now."""
        return (await self.web.engine.decide(Facts("33", number))).verdict

    async def test_what_it_shows(self) -> None:
        """Each cell names holder and mapping, and is checked if there is a grant."""
        page = await self.get(PATH)
        self.assertIn("33 may use 3X", page.text)
        self.assertEqual(ticked(matrix_of(page)), {"1.2"})
        page = await self.get(f"{PATH}?kind=user")
        self.assertIn("1.1", ticked(matrix_of(page)))

    async def test_save(self) -> None:
        """All checkboxes are saved as one change, undone by one button."""
        form = matrix_of(await self.get(PATH))
        page = await self.me.send(PATH, with_ticks(form, {"1.1", "1.3"}))
        self.assertIn("Grants added: 2; revoked: 1", page.text)
        self.assertEqual(ticked(matrix_of(page)), {"1.1", "1.3"})
        self.assertEqual(await self.verdict("31"), Verdict.ALLOW)
        self.assertEqual(await self.verdict("21"), Verdict.PIN)
        undo = next(form for form in page.forms if form.action.endswith("/undo"))
        referer = {"Referer": f"http://localhost{PATH}"}
        page = await self.me.follow(await self.me.submit(undo.action, undo.fields, referer))
        self.assertEqual(ticked(matrix_of(page)), {"1.2"})
        page = await self.me.send(PATH, matrix_of(page).fields)
        self.assertIn("Nothing was changed", page.text)

    async def test_changes_of_others_stay(self) -> None:
        """Only checkboxes that the user changed are saved."""
        form = matrix_of(await self.get(PATH))
        other = await self.operator()
        await other.send(f"{PATH}/set", kind="extension", holder="1", mapping="5", on="1")
        page = await self.me.send(PATH, with_ticks(form, {"1.2", "1.1"}))
        self.assertEqual(ticked(matrix_of(page)), {"1.1", "1.2", "1.5"})

    async def test_invalid_forms(self) -> None:
        """Invalid forms are refused with a message."""
        good = {"kind": "extension", "holders": "1", "mappings": "1 2", "was": "1.2"}
        for wrong in (
            {"kind": "console_users"},
            {"g": "7.7"},
            {"g": "1.1; DROP TABLE users"},
            {"g": "1"},
            {"was": "x"},
            {"holders": "1 x"},
            {"holders": " ".join(map(str, range(101)))},
            {"mappings": "²"},
            {"mappings": "9" * 30},
        ):
            answer = await self.post(PATH, {**good, **wrong})
            self.assertEqual(answer.status, 400, wrong)
        answer = await self.post(PATH, {**good, "holders": "99", "was": "", "g": "99.1"})
        self.assertEqual(answer.status, 404)

    async def test_by_script(self) -> None:
        """A single click is saved at once; the response has the message and the undo."""
        code = {"X-CSRF": await self.me.csrf(), "Accept": "application/json"}
        fields = [("kind", "extension"), ("holder", "1"), ("mapping", "1"), ("on", "1"), ("csrf", "")]
        answer = await self.me.submit(f"{PATH}/set", fields, code)
        self.assertEqual(answer.header("Content-Type"), "application/json")
        said = json.loads(answer.body)
        self.assertEqual(said["said"], "33 may use 3X now")
        self.assertEqual(await self.verdict("31"), Verdict.ALLOW)
        await self.me.send(f"/rules/changes/{said['undo']}/undo")
        self.assertEqual(await self.verdict("31"), Verdict.PIN)
        gone = await self.me.submit(
            f"{PATH}/set",
            [("mapping", "99") if name == "mapping" else (name, value) for name, value in fields],
            code,
        )
        self.assertEqual((gone.status, json.loads(gone.body)["undo"]), (404, None))
        self.assertIn("there is no mapping 99", json.loads(gone.body)["said"].lower())

    async def test_by_script_without_code(self) -> None:
        """A script of another site is refused."""
        fields = [("kind", "extension"), ("holder", "1"), ("mapping", "1"), ("on", "1"), ("csrf", "")]
        for headers in (
            {},
            {"X-CSRF": "0" * 64},
            {"X-CSRF": await self.me.csrf(), "Origin": "https://x.example"},
        ):
            answer = await self.me.submit(f"{PATH}/set", fields, {"Accept": "application/json", **headers})
            self.assertEqual(answer.status, 403)
        self.assertEqual(await self.verdict("31"), Verdict.PIN)

    async def test_twice(self) -> None:
        """Granting twice is reported, and has nothing to undo."""
        code = {"X-CSRF": await self.me.csrf(), "Accept": "application/json"}
        fields = [("kind", "extension"), ("holder", "1"), ("mapping", "2"), ("on", "1")]
        self.assertIsNone(json.loads((await self.me.submit(f"{PATH}/set", fields, code)).body)["undo"])

    async def test_search_and_pages_on_both_axes(self) -> None:
        """Each axis is searched and paged by itself; saving returns to the same place."""

        def fill(connection: object) -> None:
            for index in range(40):
                now = self.web.now()
                add_mapping(connection, ACTOR, now, MappingValues(f"8{index:02}", "dial", "SIP"))  # type: ignore[arg-type]
                add_extension(connection, ACTOR, now, f"7{index:02}")  # type: ignore[arg-type]

        await self.web.change(fill)
        first = await self.get(PATH)
        right = next(link for link in first.links if "mapping_after=" in link)
        down = next(link for link in first.links if "holder_after=" in link)
        self.assertNotIn("807", first.text)
        self.assertIn("807", (await self.get(right)).text)
        below = await self.get(down)
        self.assertIn("739", below.text)
        self.assertIn("33 may use 3X", first.text)
        both = next(link for link in below.links if "mapping_after=" in link)
        self.assertIn("739 may use 807", (await self.get(both)).text)
        page = await self.get(f"{PATH}?holder_q=733&mapping_q=822")
        form = matrix_of(page)
        holder, what = dict(form.fields)["holders"], dict(form.fields)["mappings"]
        page = await self.me.send(PATH, with_ticks(form, [f"{holder}.{what}"]))
        self.assertEqual(ticked(matrix_of(page)), {f"{holder}.{what}"})
        pair = (int(holder), int(what))
        granted = await self.web.read(lambda connection: granted_among(connection, "extension", [pair[0]], [pair[1]]))
        self.assertEqual(granted, {pair})
        self.assertIn("No matches", (await self.get(f"{PATH}?holder_q=nobody")).text)

    async def test_viewers_see_no_boxes(self) -> None:
        """Viewers see the grants in words, without checkboxes."""
        page = await (await self.viewer()).get(PATH)
        self.assertIn("33 may use 2X", page.text)
        self.assertIn("33 may not use 3X", page.text)
        self.assertNotIn("checkbox", page.html)
        self.assertNotIn("matrix.js", page.html)

    async def test_newcomer(self) -> None:
        """Without rows or columns the page says where to create some."""
        await self.me.send("/rules/extensions/1/delete")
        self.assertIn("There are no extensions yet", (await self.get(PATH)).text)
        for index in range(1, 6):
            await self.me.send(f"/rules/mappings/{index}/delete")
        self.assertIn("There are no mappings yet", (await self.get(f"{PATH}?kind=user")).text)
