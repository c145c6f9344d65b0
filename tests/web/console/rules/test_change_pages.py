"""The pages of warnings and changes; roles on all pages of rules; long lists."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Callable
from typing import Any, cast

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock, deferLater

from pbxrouter.database.access.tokens import add_token
from pbxrouter.database.audit import note
from pbxrouter.database.audit.entries import KINDS as ALL_KINDS
from pbxrouter.database.upgrade import schema
from pbxrouter.rules.warnings import CODES
from pbxrouter.security.roles import Role
from pbxrouter.security.tokens import Scope, hash_token, new_token
from pbxrouter.web.console.rules.change_messages import KINDS, VIA
from pbxrouter.web.console.rules.warning_pages import TITLES, WAIT_S
from tests.api_fakes import Ticking
from tests.databases import unrecorded
from tests.web_fakes import ACTOR, Answer, ConsoleCase
from tests.work import calls, count_sql

reactor = cast(Any, the_reactor)


class RulesCase(ConsoleCase):
    """Tests with a logged-in operator."""

    async def start(self) -> None:
        """Start the console and log in as an operator."""
        await super().start()
        self.me = await self.operator()

    async def newest(self) -> int:
        """The number of the newest entry that the page lists."""
        links = (await self.get("/rules/changes")).links
        return max(int(found[1]) for link in links if (found := re.fullmatch(r"/rules/changes/(\d+)", link)))

    async def by_hand(self, *statements: str) -> None:
        """Run SQL with foreign keys off."""

        def run() -> None:
            connection = sqlite3.connect(self.path)
            for statement in statements:
                connection.execute(statement)
            connection.commit()
            connection.close()

        run()
        await self.web.reloader.reload()


class WarningTests(RulesCase):
    """The page ``/rules/warnings``."""

    def test_every_kind_has_its_words(self) -> None:
        """Every kind of warning has a title and advice."""
        self.assertEqual(set(TITLES), set(CODES))

    async def test_what_it_shows(self) -> None:
        """Each kind has its heading, and each line links to the page where it is corrected."""
        await self.by_hand(
            "INSERT INTO applications_mappings VALUES (10, 'dial', 'SIP', '4['), (11, 'teleport', '', '51'),"
            " (12, 'dial', 'SIP', '[2]X'), (13, 'dial', 'SIP', '[5-1]X'), (14, 'dial', 'SIP', '52')",
            "INSERT INTO extensions_mappings (extension_id, map_id) VALUES (1, 11), (1, 12), (1, 13)",
            "INSERT INTO extensions VALUES (10, '<b>40</b>')",
            "INSERT INTO users (user_id, user_name) VALUES (10, 'Ana & Co')",
            "INSERT INTO users_mappings (user_id, map_id) VALUES (10, 14)",
        )
        page = await self.get("/rules/warnings")
        for translator, link in (
            ("has a [ without its ]", "/rules/mappings/10"),
            ("No driver provides the application teleport", "/rules/mappings/11"),
            ("[2]X can never match: 2X of mapping 2 is the same pattern", "/rules/mappings/12"),
            ("[5-1]X matches no number that can be dialled", "/rules/mappings/13"),
            ("Only users without a PIN have a grant for 52", "/rules/mappings/14"),
            ("<b>40</b> has no grant", "/rules/extensions?q=%3Cb%3E40%3C%2Fb%3E"),
            ("Ana & Co has no PIN", "/rules/users?q=Ana+%26+Co"),
        ):
            self.assertIn(translator, page.text)
            self.assertIn(link, page.links)

    async def test_all_is_well(self) -> None:
        """Without warnings the page says so."""
        await self.me.send("/rules/mappings/3/delete")
        self.assertIn("No warnings: every mapping", (await self.get("/rules/warnings")).text)

    async def test_grants_to_what_is_gone(self) -> None:
        """A button removes grants to missing rows; the audit log has the change."""
        await self.by_hand("INSERT INTO extensions_mappings (extension_id, map_id) VALUES (1, 99), (98, 2)")
        page = await self.get("/rules/warnings")
        self.assertIn("A grant of extension 33 is left out: there is no mapping 99", page.text)
        page = await self.me.send("/rules/warnings/orphans")
        self.assertIn("Orphaned grants deleted: 2", page.text)
        self.assertNotIn("left out", page.text)
        changes = await self.get("/rules/changes")
        self.assertIn("33 may no longer use number 99", changes.text)
        self.assertIn("number 98 may no longer use 2X", changes.text)


class ChangeTests(RulesCase):
    """The pages ``/rules/changes``."""

    def test_the_schema_names_all(self) -> None:
        """The comments of audit_log in schema.sql name each kind of change, and each way by which one is made."""
        table = schema().partition("CREATE TABLE audit_log")[2].partition(");")[0]
        lists = {frozenset(re.split(", | or ", text)) for text in re.findall(r"-- ([a-z_, ]+)\.\n", table)}
        self.assertLessEqual({frozenset(KINDS), frozenset(VIA)}, lists)

    async def test_words(self) -> None:
        """Values before and after are in words, without JSON or row numbers."""
        await self.me.send("/rules/mappings/new", pattern="9X", application="dial", data="SIP", enabled="1")
        await self.me.send("/rules/mappings/6/change", pattern="9XX", application="voicemail", data="", enabled="1")
        await self.me.send("/rules/grants/set", kind="user", holder="1", mapping="6", on="1")
        await self.me.send("/rules/mappings/6/switch", on="0")
        await self.me.send("/rules/extensions", number="34")
        await self.me.send("/rules/extensions/2/change", number="35")
        await self.me.send("/rules/mappings/6/delete")
        await self.me.send("/rules/users/1/pin", pin="806149", again="806149")
        page = await self.get("/rules/changes")
        for translator in (
            "Mapping 9X was created",
            "pattern: 9X → 9XX",
            "application: dial → voicemail",
            "data: SIP → nothing",
            "Granted: moises silva → 9XX",
            "9X leads to dial SIP",
            "9XX led to voicemail",
            "Mapping 9XX was disabled",
            "Number of extension 35 was changed number: 34 → 35",
            "Mapping 9XX was deleted",
            "moises silva may no longer use 9XX",
            "PIN of moises silva was changed PIN changed",
        ):
            self.assertIn(translator, page.text)
        self.assertNotIn("806149", page.html)
        self.assertNotIn("map_id", page.html.replace("mapping", ""))
        self.assertNotIn("{", page.text)

    async def test_no_code_words(self) -> None:
        """What admins change, lock-outs and orphans are told in words, too, in both languages."""
        admin = await self.admin()
        users, links = "/settings/console-users", "/settings/links"
        await admin.send(users, login="ben", role="viewer")
        ben = max(link for link in (await admin.get(users)).links if re.fullmatch(rf"{users}/\d", link))
        await admin.send(ben, role="operator")
        await admin.send(f"{ben}/password")
        fields = {"name": "Sales", "phone": "PJSIP/33", "context": "phones", "destinations": "XX"}
        await admin.send(f"{links}/new", {**fields, "calls_a_day": "9", "calls_an_hour": "9"})
        await admin.send(f"{links}/1/enabled", enabled="0")
        await admin.send(f"{links}/1/enabled", enabled="1")
        await admin.send(f"{links}/1/void")

        def write(connection: Any) -> None:
            with connection:
                note(connection, ACTOR, 1.0, "lift", "lockout", "endpoint PJSIP/36")
                note(connection, ACTOR, 1.0, "lift", "lockout", "gateway")
                note(connection, ACTOR, 1.0, "revoke", "grant", "-3")

        await self.web.write(write)
        page = await admin.get("/rules/changes")
        for words in (
            "Console user ben was changed role: viewer → operator disabled",
            "Password of console user ben was changed",
            "Click-to-dial link Sales was disabled",
            "Click-to-dial link Sales was enabled",
            "All addresses of click-to-dial link Sales were revoked all addresses revoked",
            "Lock-out lifted: endpoint PJSIP/36",
            "Lock-out lifted: whole gateway",
            "Orphaned grants deleted: 3",
        ):
            self.assertIn(words, page.text)
        spanish = await admin.get("/rules/changes", Accept_Language="es")
        for words in ("rol: observador → operador", "Bloqueo levantado: toda la pasarela", "direcciones revocadas"):
            self.assertIn(words, spanish.text)
        for code in ("void", "console_user", "dial_link", "generation", "disabled_at", "viewer"):
            self.assertNotIn(code, spanish.text)

    async def test_undo_and_links_both_ways(self) -> None:
        """An entry and its undo link to each other; an undone change cannot be undone again."""
        await self.me.send("/rules/mappings/2/switch", on="0")
        number = await self.newest()
        page = await self.me.send(f"/rules/changes/{number}/undo")
        self.assertIn("Undone: mapping 2X was disabled", page.text)
        self.assertIn(f"/rules/changes/{number + 1}", page.links)
        self.assertIn("Undone by", page.text)
        back = await self.get(f"/rules/changes/{number + 1}")
        self.assertIn(f"/rules/changes/{number}", back.links)
        again = await self.post(f"/rules/changes/{number}/undo")
        self.assertEqual(again.status, 409)
        self.assertIn("already been undone", again.text)
        listed = await self.get("/rules/changes")
        self.assertIn(f"/rules/changes/{number + 1}", listed.links)
        self.assertNotIn(f"/rules/changes/{number}/undo", [form.action for form in listed.forms])

    async def test_where_an_undo_leads(self) -> None:
        """An undo returns to the page of rules with the button, and nowhere else."""
        for place, (referer, location) in enumerate(
            (
                ("http://localhost/rules/mappings?q=2X&after=1", "/rules/mappings?q=2X&after=1"),
                ("http://localhost/rules/mappings/2/change", "/rules/mappings/2"),
                ("http://localhost/rules/mappings/99", "/rules/mappings"),
                (f"http://localhost/rules/users/{'9' * 5000}", f"/rules/users/{'9' * 5000}"),
                ("http://localhost/logout", ""),
                ("https://example.org/rules/mappings", ""),
                ("http://localhost//example.org/rules/", ""),
                ("", ""),
            )
        ):
            await self.me.send("/rules/mappings/2/switch", on=str(place % 2))
            number = await self.newest()
            answer = await self.me.submit(f"/rules/changes/{number}/undo", [], {"Referer": referer})
            self.assertEqual(answer.location, location or f"/rules/changes/{number}", referer[:60])
            await self.me.send("/rules/mappings/2/switch", on=str(place % 2))

    async def test_changed_since(self) -> None:
        """An undo after a further change is refused with a message, and changes nothing."""
        await self.me.send("/rules/extensions/1/change", number="34")
        number = await self.newest()
        await self.me.send("/rules/extensions/1/change", number="35")
        answer = await self.post(f"/rules/changes/{number}/undo")
        self.assertEqual(answer.status, 409)
        self.assertIn("has been changed since", answer.text)
        self.assertIn("35", (await self.get("/rules/extensions")).text)

    async def test_filters(self) -> None:
        """Filters by author, kind and time, in the PBX's time zone."""
        other = await self.operator()
        await self.me.send("/rules/mappings/2/switch", on="0")
        await other.send("/rules/extensions", number="34")
        listed = await self.get("/rules/changes")
        who = next(link for link in listed.links if "who=" in link)
        self.assertNotIn("2X", (await self.get(who)).text)
        of_extensions = await self.get("/rules/changes?kind=extension")
        self.assertIn("34", of_extensions.text)
        self.assertNotIn("2X", of_extensions.text)
        now = self.web.zone.local(time.time())
        for since, until, found in ((-3600, 3600, True), (3600, 7200, False), (-7200, -3600, False)):
            ends = [now.timestamp() + value for value in (since, until)]
            texts = [self.web.zone.local(moment).strftime("%Y-%m-%dT%H:%M") for moment in ends]
            page = await self.get(f"/rules/changes?since={texts[0]}&until={texts[1]}")
            self.assertEqual("2X" in page.text, found, texts)
        for query, field in (
            ("since=yesterday", "since"),
            ("until=99999-01-01", "until"),
            ("since=0000-01-01T00:00", "since"),
            ("kind=x", "kind"),
        ):
            answer = await self.get(f"/rules/changes?{query}")
            self.assertEqual(answer.status, 400)
            self.assertIn(f'id="e-{field}"', answer.html)

    async def test_pages(self) -> None:
        """The newest entries come first, older ones on the next pages."""

        def fill(connection: Any) -> None:
            with connection:
                for index in range(60):
                    note(connection, ACTOR, 1000.0 + index, "import", "import", f"rows {index:02}")

        await self.web.write(fill)
        page = await self.get("/rules/changes")
        self.assertIn("rows 59", page.text)
        self.assertNotIn("rows 34", page.text)
        page = await self.get(next(link for link in page.links if "older=" in link))
        self.assertIn("rows 34", page.text)
        page = await self.get(next(link for link in page.links if "older=" in link))
        self.assertIn("rows 00", page.text)
        self.assertFalse([link for link in page.links if "older=" in link])

    async def test_what_cannot_be_undone(self) -> None:
        """An entry that cannot be undone has no button, and says why."""

        def write(connection: Any) -> None:
            with connection:
                note(connection, ACTOR, time.time(), "import", "import", "3 mappings")

        await self.web.write(write)
        number = await self.newest()
        page = await self.get(f"/rules/changes/{number}")
        self.assertIn("This import cannot be undone", page.text)
        answer = await self.post(f"/rules/changes/{number}/undo")
        self.assertEqual(answer.status, 400)

    async def test_what_only_admins_change(self) -> None:
        """Changes that only admins make are shown to admins only."""
        hashed = hash_token(new_token())
        await self.web.write(lambda connection: add_token(connection, ACTOR, time.time(), "crm", hashed, [Scope.READ]))
        admin = await self.admin()
        seen = await admin.get("/rules/changes?kind=token")
        self.assertIn("Token crm was created", seen.text)
        self.assertNotIn(hashed, seen.html)
        number = next(link for link in seen.links if re.fullmatch(r"/rules/changes/\d+", link))
        self.assertIn("cannot be undone", (await admin.get(number)).text)
        self.assertNotIn("crm", (await self.get("/rules/changes")).text)
        self.assertNotIn("crm", (await self.get("/rules/changes?kind=token")).text)
        self.assertEqual((await self.get(number)).status, 404)
        self.assertEqual((await self.post(f"{number}/undo")).status, 404)

    async def test_newcomer(self) -> None:
        """An empty log says what will be in it; an unknown entry is 404."""
        await self.by_hand("DELETE FROM audit_log")
        self.assertIn("No changes yet", (await self.get("/rules/changes")).text)
        self.assertEqual((await self.get("/rules/changes/999")).status, 404)
        self.assertEqual((await self.post("/rules/changes/999/undo")).status, 404)

    async def test_sql(self) -> None:
        """A change with SQL is shown as such, with what was there, and can be undone; so can one of many rows."""
        await self.by_hand(
            "UPDATE applications_mappings SET application_data = 'Moisés' || char(0) WHERE map_id = 2",
            "UPDATE users_limits SET max_calls = 7",
            "INSERT INTO users_limits VALUES (1, 9)",
            "DELETE FROM applications_mappings",
        )
        page = await self.get("/rules/changes?who=SQL")
        for text in (
            "SQL directly in the database",
            "Mapping 2X was changed data: SIP → Moisés",
            "Call limit of moises silva was changed maximum calls at once: 9",
            "Mapping 3X, 2X, XXXXXXXX, 66, 7X was deleted",
        ):
            self.assertIn(text, page.text)
        for number in (await self.newest(), await self.newest() - 2):
            self.assertEqual((await self.post(f"/rules/changes/{number}/undo")).status, 303)
        page = await self.get("/rules/mappings/2")
        self.assertIn("SIP", page.text)

    async def test_an_entry_by_another_version(self) -> None:
        """An entry of another version is shown as far as possible."""
        await self.by_hand(
            "INSERT INTO audit_log (changed_at, who, via, action, kind, name, changes) VALUES"
            " (1.0, '<i>x</i>', 'fax', 'polish', 'brass', '<script>', 'no JSON'),"
            " (2.0, 'x', 'console', 'update', 'mapping', '2X', '[{\"table\": \"nowhere\"}]')"
        )
        page = await self.get("/rules/changes")
        self.assertEqual(page.status, 200)
        self.assertIn("polish: <script>", page.text)
        self.assertNotIn("<i>x", page.html)
        newest = await self.newest()
        for number in (newest - 1, newest):
            self.assertEqual((await self.get(f"/rules/changes/{number}")).status, 200)

    def test_every_kind_has_a_name(self) -> None:
        """Every kind has a name in the filter."""
        self.assertEqual(tuple(KINDS), ALL_KINDS)


class RoleTests(RulesCase):
    """Roles on every page of rules."""

    def of_rules(self, method: str) -> list[Any]:
        """The routes under /rules."""
        return [route for route in self.router.routes if route.path.startswith("/rules/") and method in route.methods]

    async def test_reading(self) -> None:
        """Viewers see all pages without forms; others are sent to the login."""
        viewer = await self.viewer()
        stranger = self.new_client()
        routes = self.of_rules("GET")
        self.assertGreaterEqual(len(routes), 12)
        await self.me.send("/rules/mappings/2/switch", on="0")
        for route in routes:
            number = await self.newest() if "changes" in route.path else 1
            path = route.path.replace("<int:number>", str(number))
            for client, allowed in ((viewer, route.role is Role.VIEWER), (self.me, True)):
                answer = await client.get(path)
                self.assertEqual(answer.status, 200 if allowed else 403, path)
                if client is viewer and allowed:
                    posts = {form.action for form in answer.forms if form.method == "post"}
                    self.assertEqual({post for post in posts if post.startswith("/rules")}, set(), path)
            answer = await stranger.get(path)
            self.assertEqual((answer.status, answer.location.partition("?")[0]), (303, "/login"))

    async def test_changing(self) -> None:
        """Viewers change nothing, and no form works without the CSRF token."""
        viewer = await self.viewer()
        routes = self.of_rules("POST")
        self.assertGreaterEqual(len(routes), 15)
        before = await self.dump()
        for route in routes:
            self.assertIs(route.role, Role.OPERATOR, route.path)
            path = route.path.replace("<int:number>", "1")
            fields = {"on": "1", "name": "x", "number": "x", "pattern": "5", "application": "dial"}
            for answer in (
                await viewer.post(path, fields),
                await self.me.post(path, fields, csrf=""),
                await self.me.post(path, fields, csrf="0" * 64),
                await self.me.submit(path, fields.items(), {"Origin": "https://example.org"}),
                await self.me.submit(path, fields.items(), {"Sec-Fetch-Site": "cross-site"}),
            ):
                self.assertEqual(answer.status, 403, path)
            self.assertEqual((await self.new_client().post(path, fields)).status, 303, path)
            self.assertEqual((await self.me.get(path)).status in (200, 404, 405), True)
        self.assertEqual(await self.dump(), before)

    async def dump(self) -> list[tuple[Any, ...]]:
        """All rules and the audit log, as SQL."""
        tables = ("applications_mappings", "extensions", "users", "extensions_mappings", "users_mappings")

        def read(connection: Any) -> list[tuple[Any, ...]]:
            return [
                row
                for table in (*tables, "mappings_disabled", "audit_log")
                for row in connection.execute(f"SELECT * FROM {table}")
            ]

        return await self.web.read(read)


class SlicedClock(Ticking):
    """A clock that advances 10 µs at each reading, so that a survey takes time on it."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = Clock()
        self._waits: list[IDelayedCall] = []

    @property
    def waiting(self) -> bool:
        """Whether a page waits for the survey."""
        return any(call.active() for call in self._waits)

    def seconds(self) -> float:
        """The time, a little later at each look."""
        self._clock.rightNow += 1e-5
        return self._clock.seconds()

    def callLater(self, delay: float, call: Callable[..., object], *arguments: Any, **named: Any) -> IDelayedCall:
        """Schedule a call, and keep the pauses between slices."""
        called_later = self._clock.callLater(delay, call, *arguments, **named)
        if delay == WAIT_S:
            self._waits.append(called_later)
        return called_later

    def advance(self, seconds: float) -> None:
        """Advance the clock."""
        self._clock.advance(seconds)


class LongListCase(RulesCase):
    """Tests with 100 000 rows."""

    MANY = 100_000

    async def start(self) -> None:
        """Start the console with long lists of rules, and an entry of the audit log with as many rows."""
        await super().start()
        numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {self.MANY})"
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            with unrecorded(connection):
                for statement in (
                    f"{numbers} INSERT INTO applications_mappings (application_name, application_data, pattern)"
                    " SELECT 'dial', 'SIP', '8' || printf('%06d', i) FROM n",
                    f"{numbers} INSERT INTO extensions (extension_number) SELECT '7' || printf('%06d', i) FROM n",
                    f"{numbers} INSERT INTO users (user_name) SELECT 'user ' || printf('%06d', i) FROM n",
                    "INSERT INTO extensions_mappings (extension_id, map_id) SELECT extension_id, 2 FROM extensions"
                    " WHERE extension_id > 1",
                ):
                    connection.execute(statement)
            # The rows of an entry that the triggers make, as often as they would be there.
            connection.execute("INSERT INTO users (user_name) VALUES ('user 100001')")
            connection.execute(
                f"{numbers} INSERT INTO audit_rows (audit_id, table_name, before, after, user_id)"
                " SELECT audit_id, table_name, before, after, user_id FROM audit_rows JOIN n"
                " WHERE row_id = (SELECT max(row_id) FROM audit_rows)"
            )
            connection.commit()
        await self.web.reloader.reload()


class LongListTests(LongListCase):
    """Pages of long lists."""

    async def test_each_page_comes_at_once(self) -> None:
        """Lists, searches, the matrix, a widely granted mapping: SQLite passes each row at most once."""
        await self.web.surveyor.survey()  # a survey goes on beside the pages, and is work for each row
        steps = await self.web.read(count_sql)

        async def page(path: str) -> Answer:
            await self.get(path)  # templates are compiled once
            while True:
                await self.web.surveyor.survey()
                rules = self.web.engine.rules
                steps.total = 0
                with calls() as count:
                    answer = await self.get(path)
                if self.web.engine.rules is rules:  # else they were loaded again meanwhile, and are surveyed again
                    break
            self.assertEqual(answer.status, 200, path)
            self.assertLess(steps.total, 50 * self.MANY, path)
            self.assertLess(count.total, self.MANY, path)
            return answer

        for path, translator in (
            ("/rules/mappings", "2X"),
            ("/rules/mappings?q=8099999", "8099999"),
            ("/rules/mappings?after=99000", "8099"),
            ("/rules/extensions?q=7099999", "7099999"),
            ("/rules/users", "user 000001"),
            ("/rules/users?q=user+099", "user 099"),
            ("/rules/grants?holder_q=7099000&mapping_q=8099000", "7099000 may use 8099000"),
            ("/rules/mappings/2", "100,001"),
            ("/rules/mappings/2?extension_q=7099999", "7099999 granted"),
            ("/rules/mappings/2?extension_after=99000", "7099"),
            ("/rules/extensions/5?mapping_show=all", "3X"),
            ("/rules/changes", "directly in the database"),
        ):
            self.assertIn(translator, (await page(path)).text, path)


class LongSurveyTests(LongListCase):
    """A survey that takes long, by a clock of its own."""

    clock: SlicedClock

    def make_clock(self) -> Ticking:
        """Create a clock that counts slices."""
        return SlicedClock()

    async def page(self) -> Answer:
        """The page of warnings; the clock advances while the page waits."""
        asked = Deferred.fromCoroutine(self.get("/rules/warnings"))
        while not asked.called:
            if self.clock.waiting:
                self.clock.advance(0.001)
            await deferLater(reactor, 0)
        return await asked

    async def test_warnings_of_all(self) -> None:
        """The page waits two seconds at most; the complete result comes later."""
        came_back = 0
        while True:
            began = self.clock.seconds()
            page = await self.page()
            self.assertLess(self.clock.seconds() - began, 2 * WAIT_S)
            if "http-equiv" not in page.html:
                break
            self.assertIn("This page reloads by itself", page.text)
            came_back += 1
        self.assertIn(came_back, range(1, 60))
        self.assertIn("Mappings that no caller can use 100,001", page.text)
        self.assertIn("Showing the first 20 of 100,001", page.text)
        # All can be reached, and the rules are not surveyed again for it.
        self.assertIn("/rules/warnings?code=not-granted", page.links)
        survey = self.web.surveyor.known
        assert survey is not None
        for after, said in ((0, "1 to 100 of 100,001"), (99_900, "99,901 to 100,000"), (100_000, "100,001 to 100,001")):
            page = await self.get(f"/rules/warnings?code=not-granted&after={after}")
            self.assertIn(said, page.text)
        self.assertNotIn('rel="next"', page.html)
        self.assertIn("/rules/warnings?code=not-granted&after=99900", page.links)
        await self.page()
        self.assertIs(self.web.surveyor.known, survey)
