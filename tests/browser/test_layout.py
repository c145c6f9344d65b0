"""Nothing on a page is drawn over something else, cut off, or out of reach, at any width from 320 to 1920 px.

Each page is opened once in each language; then the window takes one width after the other, and a script looks
at all that is drawn (layout.js). The lists have no rows, some, or many with long names.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from klein import Klein
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.web.console.app import add_console
from pbxrouter.web.http.guard import Visitors
from tests.api_fakes import make_web_context
from tests.browser.asterisk import PoliteAsterisk
from tests.browser.gateway import Gateway, crowd_users
from tests.browser.harness import BrowserCase, Visitor, cached
from tests.browser.test_pages import AFTER_FORMS, MOVED, PAGES, STRANGERS

LOOK: Final = Path(__file__).with_name("layout.js").read_text(encoding="utf-8")
WIDTHS: Final = {
    "en": (320, 400, 600, 720, 840, 950, 1060, 1200, 1440),
    "es": (320, 360, 500, 641, 780, 900, 1000, 1120, 1280, 1920),
}
"""By language, so that each step between 320 and 1920 px is seen in one of them."""
FEW_WIDTHS: Final = (320, 641, 960, 1280)
HEIGHT: Final = 800
LANGUAGES: Final = ("en", "es")
LISTS: Final = (
    "now",
    "calls",
    "calls_busiest",
    "dial",
    "lockouts",
    *(name for name in PAGES if name.startswith(("rules_", "settings_"))),
)
"""Pages with lists, by their names in PAGES."""
ALL: Final = {
    **PAGES,
    "warnings_of_kind": "/rules/warnings?code=not-granted&after=0",
    "now_oldest": "/?order=oldest&page=2",
    "grants_next": "/rules/grants?kind=extension&mapping_after=3&holder_after=3",
}
"""Every page that an admin can open by its address."""
MADE: Final = {
    "/rules/users/<int:number>/pin/made": ("/rules/users/1", "Generate PIN"),
    "/settings/console-users/<int:number>/password": ("/settings/console-users/2", "Reset password"),
    "/settings/tokens/<int:number>": ("/settings/tokens", "Create"),
    "/dial/<call>": ("/dial?number=91234567", "Call"),
}
"""Pages that a form leads to: the page of the form, and its button."""
VISITORS: Final = {"/click/<int:link_id>", "/click/<int:link_id>/<call>"}
"""Pages of visitors of a site."""
NO_PAGES: Final = {"/calls.csv", "/now/events", *MOVED}
"""Answers to GET that are no pages: files, streams and redirects; parts of pages end in ``/news``."""


@cached
def crowded_gateway() -> Gateway:
    """A gateway with many rows in every list."""
    return Gateway(lived_in=True, asterisk=PoliteAsterisk(), crowded=True)


class LayoutCase(BrowserCase):
    """Looks at pages at many widths."""

    def faults(self, visitor: Visitor, widths: Iterable[int]) -> dict[str, list[int]]:
        """The faults of the open page, each with the widths at which it is seen."""
        # A page that reloads by itself would do so while it is looked at.
        visitor.page.wait_for_selector("meta[http-equiv=refresh]", state="detached")
        found: dict[str, list[int]] = {}
        for width in widths:
            visitor.page.set_viewport_size({"width": width, "height": HEIGHT})
            for fault in visitor.page.evaluate(LOOK):
                found.setdefault(fault, []).append(width)
        return found

    def walk(self, visitor: Visitor, pages: Iterable[tuple[str, int]], widths: Iterable[int]) -> None:
        """Assert that no page has faults."""
        found = {}
        for path, status in pages:
            visitor.go(path, status)
            found[path] = self.faults(visitor, widths)
        self.check_none(found)

    def check_none(self, found: dict[str, dict[str, list[int]]]) -> None:
        """Assert that there are no faults; else each is a line."""
        lines = [f"{page}: {fault} {widths}" for page, faults in found.items() for fault, widths in faults.items()]
        if lines:
            self.fail("\n".join(lines))


@functools.cache
def crowded() -> tuple[Any, str]:
    """The cookies of an admin of the crowded gateway, and the path of a click-to-dial link."""
    case, gateway = BrowserCase(), crowded_gateway()
    with case.visitor(gateway) as visitor:
        case.set_up(visitor, gateway)
        crowd_users(gateway.database)
        page = visitor.go("/settings/account")
        page.fill("#f-phone", "PJSIP/35")
        visitor.press("Save")
        link = case.make_link(visitor).removeprefix(gateway.url)
        visitor.go("/settings/doctor")
        visitor.press("Run checks")
        return visitor.context.storage_state(), link


class ManyRowsTests(LayoutCase):
    """Every page, with many rows and long names in its lists."""

    def look(self, language: str) -> None:
        """Open each page in a language."""
        given, link = crowded()
        gateway = crowded_gateway()
        with ExitStack() as calls, self.visitor(gateway, given, language) as visitor:
            for number in range(60):
                calls.enter_context(gateway.calling(("33", "34", "999999999999999")[number % 3], "21"))
            void = link.replace("sig=", "sig=x")
            pages = [*((path, 200) for path in ALL.values()), (link, 200), (void, 404)]
            self.walk(visitor, pages, WIDTHS[language])
        with self.visitor(gateway, None, language) as visitor:
            self.walk(visitor, STRANGERS.values(), FEW_WIDTHS)

    def test_english(self) -> None:
        """In English."""
        self.look("en")

    def test_spanish(self) -> None:
        """In Spanish, whose words are longer."""
        self.look("es")

    def test_pages_after_forms(self) -> None:
        """The pages that forms lead to: secrets, calls, and what is wrong in a form."""
        given, link = crowded()
        found = {}
        with self.visitor(crowded_gateway(), given) as visitor:
            page = visitor.page
            for path, button in MADE.values():
                visitor.go(path)
                if "token" in path:
                    page.fill("#f-name", "shop")
                    page.get_by_label("read:").check()
                visitor.press(button)
                found[page.url] = self.faults(visitor, FEW_WIDTHS)
            visitor.go("/settings/links/1")
            visitor.press("Create address")
            found["signed address"] = self.faults(visitor, FEW_WIDTHS)
            visitor.go("/rules/mappings/new")
            page.fill("#f-pattern", "9|NXX[")
            page.fill("#f-data", "SIP,60" * 30)
            visitor.press("Create")
            found["mapping that cannot be"] = self.faults(visitor, FEW_WIDTHS)
            visitor.go("/rules/grants")
            with page.expect_response("**/rules/grants/set"):
                page.locator("[name=g]:not(:checked)").first.check()
            page.locator("#said .notice").wait_for()
            found["grant by a click"] = self.faults(visitor, FEW_WIDTHS)
            visitor.go(link)
            page.fill("#number", "91234567")
            page.check("#agree")
            page.get_by_role("button", name="Call me").click()
            page.locator(".way").wait_for()
            found["call of a visitor"] = self.faults(visitor, FEW_WIDTHS)
        self.check_none(found)

    def test_log_out_is_in_sight(self) -> None:
        """Log out is in sight without scrolling, in both languages, in low windows, too."""
        given, _ = crowded()
        for language, name in zip(LANGUAGES, ("Log out", "Salir"), strict=True):
            with self.visitor(crowded_gateway(), given, language) as visitor:
                page = visitor.go("/rules/changes")
                for height in (400, 600, 800):
                    page.set_viewport_size({"width": 1280, "height": height})
                    box = page.locator(".side").get_by_role("button", name=name).bounding_box()
                    assert box is not None
                    self.assertLessEqual(box["y"] + box["height"], height, f"{language}, {height} px")

    def test_busy_hours_are_in_sight(self) -> None:
        """On a telephone's screen the graphs of busy minutes show all hours, without scrolling."""
        given, _ = crowded()
        with self.visitor(crowded_gateway(), given) as visitor:
            page = visitor.go("/calls/busiest")
            page.set_viewport_size({"width": 360, "height": HEIGHT})
            shown = page.locator(".graph-svg").filter(visible=True)
            self.assertEqual(shown.count(), 2)
            for place in range(2):
                box = shown.nth(place).bounding_box()
                assert box is not None
                self.assertGreaterEqual(box["x"], 0)
                self.assertLessEqual(box["x"] + box["width"], 360)


class FewRowsTests(LayoutCase):
    """Lists without rows and with some; of a gateway that was just set up, the set-up itself, too."""

    def test_no_rows(self) -> None:
        """Lists without rows, in Spanish."""
        gateway = self.new_gateway(bare=True)
        with self.visitor(gateway, None, "es") as visitor:
            visitor.page.goto(gateway.setup_url)
            self.check_none({"set-up": self.faults(visitor, FEW_WIDTHS)})
            visitor.page.fill("#f-login", "ana")
            visitor.page.fill("#f-password", "correct horse battery")
            visitor.page.fill("#f-again", "correct horse battery")
            visitor.press("Crear el administrador")
            pages = [(PAGES[name], 200) for name in LISTS]
            self.walk(visitor, pages, FEW_WIDTHS)

    def test_some_rows(self) -> None:
        """Lists with some rows, in Spanish."""
        gateway = self.new_gateway(lived_in=True)
        with self.visitor(gateway, None) as visitor:
            self.set_up(visitor, gateway)
            given = visitor.context.storage_state()
        with self.visitor(gateway, given, "es") as visitor:
            pages = [(PAGES[name], 200) for name in LISTS]
            self.walk(visitor, pages, FEW_WIDTHS)


GOOD: Final = """<!doctype html><html lang="en"><body><main>
<h1>Fine</h1><p>A page with <a href="#x">a link</a> and a button <button>Press</button></p>
<div style="width: 8rem; overflow-x: auto" tabindex="0">
<table><tr><td style="min-width: 40rem">A wide row</td></tr></table></div>
<p><label><input type="checkbox"> Agree</label></p></main></body></html>"""
BROKEN: Final = {
    "overlap": '<p style="height: 1em; margin: 0">First line</p><p style="margin-top: -1.2em">Second one</p>',
    "overlap: fixed": '<style>.f { position: fixed; left: 9rem }</style><p class="f">One</p><p class="f">Two</p>',
    "cut off": '<div style="width: 4rem; overflow: hidden"><p style="width: 30rem">At the end of it</p></div>',
    "cut off: svg": '<svg width="200" height="50"><text x="-9" y="30">100</text></svg>',
    "cut off: hint": '<input placeholder="Search by number or by name or by something" style="width: 4rem">',
    "shortened": '<p style="width: 4rem; overflow: hidden; text-overflow: ellipsis"><nobr>A long name</nobr></p>',
    "sticks out": '<p style="width: 2000px; text-align: right">At the far right</p>',
    "the page scrolls sideways": '<div style="width: 2000px">wide</div>',
    "off the page": '<p style="margin-left: -5rem">The beginning is lost</p>',
    "covered": '<div style="position: fixed; inset: 0; background: white">Wait</div>',
    "cannot be clicked": '<div style="position: relative"><button>Save</button><i class="lid"></i></div>'
    "<style>.lid { position: absolute; inset: 0 }</style>",
    "cannot be scrolled to": '<div style="width: 8rem; overflow: auto"><p style="margin-left: -4rem">Lost it</p></div>',
    "scrolls, but not by keyboard": '<div style="width: 6rem; overflow: auto"><p style="width: 30rem">Long</p></div>',
    "not on the line of its label": '<input type="radio" id="r" style="display: block"><label for="r">viewer</label>',
    "broken word": '<p style="width: 4rem; overflow-wrap: anywhere">Descriptors of files</p>',
    "cards scroll sideways": '<div class="scroll" style="width: 9rem; overflow: auto" tabindex="0">'
    '<table class="stack" style="display: block"><tr><td><nobr>went on after a stop of the gateway</nobr></td></tr>'
    "</table></div>",
    "squeezed": '<p style="width: 1.2em; overflow-wrap: anywhere">0034911223344</p>',
}
"""Broken pages, by the beginning of what must be said of them."""


class LookTests(LayoutCase):
    """The script that looks at a page finds what is wrong, and nothing else."""

    def look(self, html: str) -> dict[str, list[int]]:
        """What it says of a page."""
        with self.visitor(crowded_gateway()) as visitor:
            visitor.page.set_content(html)
            return self.faults(visitor, (1000,))

    def test_a_good_page(self) -> None:
        """A page without faults."""
        self.assertEqual(self.look(GOOD), {})

    def test_broken_pages(self) -> None:
        """Each kind of fault is found in a page that has it."""
        with self.visitor(crowded_gateway()) as visitor:
            for kind, part in BROKEN.items():
                visitor.page.set_content(GOOD.replace("</main>", f"{part}</main>"))
                said = self.faults(visitor, (1000,))
                kind = kind.partition(":")[0]
                self.assertTrue(any(fault.startswith(kind) for fault in said), f"{part}: {said}")

    def test_a_style_that_breaks_a_real_page(self) -> None:
        """Faults in the console's own pages are found, at the widths that have them."""
        given, _ = crowded()
        with self.visitor(crowded_gateway(), given) as visitor:
            page = visitor.go("/rules/changes")
            page.evaluate(
                "() => { const sheet = new CSSStyleSheet();"
                " sheet.replaceSync('.scroll { overflow: hidden } table.stack { min-width: 60rem }"
                " .foot { position: fixed; bottom: 0; left: 0; right: 0; height: 70vh; background: red }');"
                " document.adoptedStyleSheets = [sheet]; }"
            )
            said = self.faults(visitor, (700, 1920))
        for kind, width in (("cut off", 700), ("cannot be clicked", 700), ("cannot be clicked", 1920)):
            self.assertTrue(any(fault.startswith(kind) and width in widths for fault, widths in said.items()), kind)


class AllRoutesTests(SynchronousTestCase):
    """Completeness of the walk."""

    def test_every_page_is_walked(self) -> None:
        """Every address that answers GET with a page is among those above, and no other."""
        app = Klein()
        web = make_web_context(pathlib.Path(self.mktemp()).absolute(), {}, Clock())
        self.addCleanup(web.reading.close)
        self.addCleanup(web.writing.close)
        router = add_console(app, web, Visitors(web.config.web), _nowhere)
        addresses = app.url_map.bind("localhost")
        paths = [*ALL.values(), *(path for path, _ in STRANGERS.values() if path != "/nowhere"), "/setup"]
        seen = {str(addresses.match(path.partition("?")[0], "GET")[0]).removeprefix("GET ") for path in paths}
        pages = {
            route.path
            for route in router.routes
            if "GET" in route.methods and route.path not in NO_PAGES and not route.path.endswith("/news")
        }
        self.assertEqual(pages, seen | set(MADE) | VISITORS)
        self.assertEqual(set(MADE), AFTER_FORMS)


async def _nowhere(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
