"""Each page in a browser: English and Spanish, wide and narrow, light and dark, with and without JavaScript.

On each: nothing goes wrong (no error, nothing that the content policy refuses), nothing sticks out, no
English is left on a Spanish page, Tab reaches every control, the accessibility checker finds nothing.
"""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from babel.messages.pofile import read_po
from klein import Klein
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.web.console.app import add_console
from pbxrouter.web.console.menu import MENU
from pbxrouter.web.http.guard import Visitors
from tests.api_fakes import make_web_context
from tests.browser.asterisk import PoliteAsterisk
from tests.browser.gateway import Gateway
from tests.browser.harness import LINK, NARROW, WIDE, BrowserCase, Visitor, cached
from tests.browser.scripts import TEXTS
from tests.waiting import wait_for

CATALOGUE: Final = pathlib.Path(__file__).resolve().parents[2] / "pbxrouter/web/locale/es/LC_MESSAGES/pbxrouter.po"
PAGES: Final[Mapping[str, str]] = {
    **{
        (re.sub("[/-]", "_", entry.path.strip("/")) or "now"): entry.path
        for section in MENU
        for entry in section.entries
    },
    "test_answer": "/test?caller=33&number=21",
    "test_forwarded": "/test?caller=33&number=21&forwarded_by=PJSIP/22&endpoint=PJSIP/33",
    "test_pin": "/test?caller=44&number=91234567",
    "call": "/calls/400",
    "calls_none": "/calls?number=000",
    "calls_busiest": "/calls/busiest",
    "console_user": "/settings/console-users/1",
    "mapping": "/rules/mappings/1",
    "mappings_search": "/rules/mappings?q=9",
    "mapping_new": "/rules/mappings/new",
    "mapping_change": "/rules/mappings/1/change",
    "mapping_grants": "/rules/mappings/1?extension_show=all",
    "extension_change": "/rules/extensions/1/change",
    "user_change": "/rules/users/1/change",
    "grants_users": "/rules/grants?kind=user",
    "extension": "/rules/extensions/1",
    "user": "/rules/users/1",
    "change": "/rules/changes/3",
    "link": "/settings/links/1",
    "link_new": "/settings/links/new",
}
"""Every page that an admin sees, by a name for its test and picture."""
STRANGERS: Final[Mapping[str, tuple[str, int]]] = {
    "login": ("/login?next=/calls", 200),
    "nowhere": ("/nowhere", 404),
    "setup_void": ("/setup/AAAA", 404),
}
"""Pages of those who are not in, and their status."""
MOVED: Final = {"/settings/people", "/settings/people/<int:number>"}
AFTER_FORMS: Final = {
    "/dial/<call>",
    "/rules/users/<int:number>/pin/made",
    "/settings/console-users/<int:number>/password",
    "/settings/tokens/<int:number>",
}
"""Pages that a form leads to."""
NO_PAGES: Final = {"/calls.csv", "/now/events", "/dial/<call>/news", *AFTER_FORMS, *MOVED}
"""Answers to GET that are no pages, or that the walks see."""
PICTURES: Final = {
    *(name for name in PAGES if name.startswith(("rules_", "settings_"))),
    *"lockouts calls call calls_busiest test_answer mapping user link click login".split(),
}
"""Of which there is a picture in docs/images; of others the walks make one."""
NARROW_TOO: Final = {"rules_mappings", "test_answer"}
DARK_TOO: Final = {"rules_grants"}
SPANISH_TOO: Final = {"rules_grants", "rules_changes", "calls", "test_answer"}
ENGLISH: Final = frozenset("the is are was of and not with this that which who may from nobody here".split())
"""Words that are in most English sentences and in no Spanish one."""
DATA: Final = {"dial", "queue", "playback", "conference", "voicemail", "hangup", *LINK.values()}
"""Names of applications, and what an admin has written: the same in every language."""


@cached
def the_gateway() -> Gateway:
    """The gateway shared by all pages."""
    return Gateway(lived_in=True, asterisk=PoliteAsterisk())


def state() -> Any:
    """The cookies of an admin, who was created by the set-up link."""
    return _first_admin()[0]


def link() -> str:
    """A click-to-dial link's path."""
    return _first_admin()[1].removeprefix(the_gateway().url)


@functools.cache
def _first_admin() -> tuple[Any, str]:
    case = BrowserCase()
    with case.visitor(the_gateway()) as visitor:
        case.set_up(visitor, the_gateway())
        page = visitor.go("/settings/account")
        page.fill("#f-phone", "PJSIP/35")
        visitor.press("Save")
        address = case.make_link(visitor)
        visitor.go("/settings/doctor")
        visitor.press("Run checks")

        def is_done() -> bool:
            visitor.go("/settings/doctor")
            return "Looking…" not in visitor.main

        wait_for("the doctor has looked", is_done)
        return visitor.context.storage_state(), address


@functools.cache
def english() -> list[tuple[re.Pattern[str], str]]:
    """A regular expression for each English sentence that has a Spanish translation, and the sentence."""
    found = []
    with CATALOGUE.open("rb") as file:
        for message in read_po(file, locale="es"):
            said = message.string if isinstance(message.string, str) else "".join(message.string or ())
            for value in (message.id,) if isinstance(message.id, str) else message.id or ():
                parts = re.split(r"\{\w+\}|%\(\w+\)[sd]", value)
                if said and said != value and any(re.search(r"[A-Za-z]{2}", part) for part in parts):
                    place = r"[\d,.]+" if "%(num)s" in value else ".+"
                    found.append((re.compile(place.join(map(re.escape, parts)), re.IGNORECASE), value))
    return found


def pictured(name: str) -> str:
    """The file name of a page's picture."""
    name = {"test_answer": "test"}.get(name, name)
    return name.removeprefix("rules_").removeprefix("settings_").replace("_", "-")


def texts(visitor: Visitor) -> list[str]:
    """All texts of the page in pieces; data is marked as such and left out."""
    found: list[str] = visitor.page.evaluate(TEXTS)
    return found


def left_english(pieces: list[str]) -> list[str]:
    """The pieces of a Spanish page that are English."""
    return [
        piece
        for piece in pieces
        if piece not in DATA
        and (
            ENGLISH & set(re.findall(r"[a-z]+", piece.lower()))
            or any(pattern.fullmatch(piece) for pattern, _ in english())
        )
    ]


class PagesTests(BrowserCase):
    """Pages of an admin."""

    def look(self, name: str, path: str, given: Any, status: int = 200) -> None:
        """Check everything that must hold for a page."""
        gateway = the_gateway()
        with self.visitor(gateway, given) as visitor:
            page = visitor.go(path, status)
            self.assertEqual(page.locator("html").get_attribute("lang"), "en")
            heading = visitor.heading()
            self.check_keyboard(visitor, name)
            visitor.go(path, status)
            if name in PICTURES:
                self.picture(visitor, pictured(name))
            self.check_axe(visitor, f"{name}, light")
            self.check_width(visitor, name)
            if name in NARROW_TOO:
                page.set_viewport_size(NARROW)
                self.picture(visitor, f"{pictured(name)}-narrow")
                page.set_viewport_size(WIDE)
            page.emulate_media(color_scheme="dark")
            self.check_axe(visitor, f"{name}, dark", colours_alone=True)
            if name in DARK_TOO:
                self.picture(visitor, f"{pictured(name)}-dark")
        with self.visitor(gateway, given, script=False) as visitor:
            visitor.go(path, status)
            self.assertEqual(visitor.heading(), heading)
            self.check_width(visitor, f"{name} without JavaScript")
        for script in (True, False):
            with self.visitor(gateway, given, "es", script) as visitor:
                page = visitor.go(path, status)
                self.assertEqual(page.locator("html").get_attribute("lang"), "es")
                self.assertEqual(left_english(texts(visitor)), [], f"{name}: still English")
                self.check_width(visitor, f"{name} in Spanish")
                if script and name in SPANISH_TOO:
                    self.picture(visitor, f"{pictured(name)}-es")


def _of_admin(name: str, path: str) -> Callable[[PagesTests], None]:
    def test(self: PagesTests) -> None:
        self.look(name, path, state())

    test.__doc__ = f"The page {path}."
    return test


def _of_stranger(name: str, path: str, status: int) -> Callable[[PagesTests], None]:
    def test(self: PagesTests) -> None:
        state()  # afterwards the login page has no hint to set up the console
        self.look(name, path, None, status)

    test.__doc__ = f"The page {path}, not logged in."
    return test


for _name, _path in PAGES.items():
    setattr(PagesTests, f"test_{_name}", _of_admin(_name, _path))
for _name, (_path, _status) in STRANGERS.items():
    setattr(PagesTests, f"test_{_name}", _of_stranger(_name, _path, _status))


def _of_visitor(self: PagesTests) -> None:
    """The page on which visitors of a site leave their number."""
    self.look("click", link(), None)


def _of_visitor_whose_link_is_void(self: PagesTests) -> None:
    """The same page at an address with a wrong signature."""
    self.look("click_void", re.sub("sig=.", "sig=", link()), None, 404)


setattr(PagesTests, "test_click", _of_visitor)  # noqa: B010
setattr(PagesTests, "test_click_void", _of_visitor_whose_link_is_void)  # noqa: B010


class NowTests(BrowserCase):
    """The page Now, with calls in progress."""

    def test_calls_in_progress(self) -> None:
        """Calls are shown while they last: in both languages, light and dark, wide and narrow."""
        gateway = self.new_gateway(lived_in=True, asterisk=PoliteAsterisk())
        with self.visitor(gateway) as visitor:
            self.set_up(visitor, gateway)
            given = visitor.context.storage_state()
            page = visitor.page
            with gateway.calling("34", "21"), gateway.calling("35", "91234567"), gateway.calling("37", "112"):
                page.locator("[data-rows] tr").nth(2).wait_for()
                self.check_axe(visitor, "calls in progress")
                self.check_width(visitor, "calls in progress")
                self.picture(visitor, "now")
                page.emulate_media(color_scheme="dark")
                self.check_axe(visitor, "calls in progress, dark", colours_alone=True)
                self.picture(visitor, "now-dark")
                page.emulate_media(color_scheme="light")
                page.set_viewport_size(NARROW)
                self.picture(visitor, "now-narrow")
                with self.visitor(gateway, given, "es") as spanish:
                    spanish.go("/").locator("[data-rows] tr").nth(2).wait_for()
                    self.assertEqual(left_english(texts(spanish)), [])
                    self.picture(spanish, "now-es")
            page.locator("[data-rows] tr").first.wait_for(state="detached")


class AllPagesTests(SynchronousTestCase):
    """Completeness of the pages above."""

    def test_every_page_is_looked_at(self) -> None:
        """Every address that answers GET with a page is among those above."""
        app = Klein()
        web = make_web_context(pathlib.Path(self.mktemp()).absolute(), {}, Clock())
        self.addCleanup(web.reading.close)
        self.addCleanup(web.writing.close)
        router = add_console(app, web, Visitors(web.config.web), _nowhere)
        addresses = app.url_map.bind("localhost")
        paths = [*PAGES.values(), *(path for path, _ in STRANGERS.values() if path != "/nowhere")]
        seen = {str(addresses.match(path.partition("?")[0], "GET")[0]) for path in paths}
        wanted = {
            f"GET {route.path}"
            for route in router.routes
            if "GET" in route.methods and route.path not in NO_PAGES and route.role is not None
        }
        self.assertEqual(wanted - seen, set())


async def _nowhere(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
