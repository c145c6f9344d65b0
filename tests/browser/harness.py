"""The base of the browser's tests: one Chromium for all, gateways, and checks for any page.

Playwright's synchronous calls belong to one thread, and no asyncio loop may be left running in
trial's own: so each test here runs in a thread of its own kind.

Without Chromium or Playwright the tests are skipped with the reason; with CI=true in the
environment they fail. PBXROUTER_CHROMIUM is the browser's path if it is not Debian's, and
PBXROUTER_SCREENSHOTS a folder that pictures of the pages are written to.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from importlib.resources import files
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

from twisted.trial.unittest import SynchronousTestCase

from tests import needs
from tests.browser.asterisk import CONTEXT, PoliteAsterisk
from tests.browser.gateway import Gateway
from tests.browser.scripts import AXE, FOCUS, MARK, MISSED, TAGS, WHERE, WIDTH
from tests.needs import PATIENCE_S

try:
    from playwright.sync_api import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Page,
        Response,
        ViewportSize,
        sync_playwright,
    )
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None

ROOT: Final = Path(__file__).resolve().parents[2]
T = TypeVar("T")
CHROMIUM: Final = os.environ.get("PBXROUTER_CHROMIUM", "/usr/bin/chromium")
FLAGS: Final = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
LOGIN: Final = "ana"
PASSWORD: Final = "correct horse battery"
WIDE: Final[ViewportSize] = {"width": 1280, "height": 800}
NARROW: Final[ViewportSize] = {"width": 360, "height": 740}
LOCALES: Final = {"en": "en-GB", "es": "es-ES"}
LINK: Final = {
    "name": "Sales",
    "phone": "PJSIP/35",
    "context": CONTEXT,
    "destinations": "XXXXXXXX",
    "consent_en": "Call me, please.",
    "consent_es": "Llámenme, por favor.",
    "sites": "https://www.example.org",
}
"""A click-to-dial link; 35 may dial eight digits by the rules of a gateway that is lived in."""
MAX_PICTURE: Final = 200_000

MOST_TABS: Final = 150


class _BrowserThread:
    """The thread that talks to the browser; unlike an executor's it lives until Python ends."""

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Callable[[], object], Future[Any]]] = SimpleQueue()
        Thread(target=self._run, name="browser", daemon=True).start()

    def _run(self) -> None:
        while True:
            work, done = self._work.get()
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

    def do(self, work: Callable[[], T]) -> T:
        """Call a function in the thread, and wait for the result."""
        done: Future[T] = Future()
        self._work.put((work, done))
        return done.result()


@functools.cache
def _thread() -> _BrowserThread:
    return _BrowserThread()


def why_not() -> str | None:
    """The reason why these tests cannot run on this machine."""
    if MISSING is not None:
        return f"Playwright is not installed ({MISSING}); make test installs it"
    if not shutil.which(CHROMIUM):
        return f"no Chromium at {CHROMIUM}; run scripts/setup-browser, or name one with PBXROUTER_CHROMIUM"
    return None


@functools.cache
def the_browser() -> Browser:
    """Chromium, with a fresh profile, for the whole run."""
    playwright = sync_playwright().start()
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)

    def close() -> None:
        with contextlib.suppress(Exception):
            browser.close()
            playwright.stop()

    atexit.register(lambda: _thread().do(close))
    return browser


@functools.cache
def axe() -> str:
    """The accessibility checker's script."""
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


class Visitor:
    """A browser context with one page, and the errors that occurred in it.

    Attributes:
        troubles: errors on the browser's console (violations of the content policy among them), scripts
            that broke, and answers that were none.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_S * 1000)
        self.troubles: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.troubles.append(f"script: {error}"))
        self.page.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        # A page's own status is seen by _response.
        if message.type in ("error", "warning") and "the server responded with a status" not in message.text:
            self.troubles.append(f"console: {message.text}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.request.resource_type != "document":
            self.troubles.append(f"{response.status}: {response.url}")

    def go(self, path: str, status: int = 200) -> Page:
        """Open a page and check its status."""
        answer = self.page.goto(self.url + path, wait_until="load")
        assert answer is not None and answer.status == status, f"{path}: {answer and answer.status}"
        return self.page

    def press(self, name: str, exact: bool = True) -> None:
        """Press a button of the main part, and wait for the next page."""
        with self.page.expect_navigation():
            self.page.locator("main").get_by_role("button", name=name, exact=exact).click()

    @property
    def main(self) -> str:
        """The text of the main part."""
        return self.page.locator("main").inner_text()

    @property
    def notice(self) -> str:
        """The notice on top of the page."""
        found = self.page.locator("main .notice")
        return found.first.inner_text() if found.count() else ""

    def heading(self) -> str:
        """The heading of the open page."""
        return self.page.locator("h1").first.inner_text()


class BrowserCase(SynchronousTestCase):
    """A test with a browser and a gateway."""

    gateway: Gateway

    def run(self, result: Any = None) -> Any:
        """Run the test in the browser's thread."""
        return _thread().do(lambda: super(BrowserCase, self).run(result))

    def setUp(self) -> None:
        """Skip where there is no browser."""
        if reason := why_not():
            needs.missing(reason)

    def new_gateway(
        self, lived_in: bool = False, asterisk: PoliteAsterisk | None = None, bare: bool = False
    ) -> Gateway:
        """A gateway of this test's own."""
        gateway = Gateway(lived_in, asterisk, bare=bare)
        self.addCleanup(gateway.stop)
        self.addCleanup(lambda: self.assertEqual(gateway.complaints(), []))
        return gateway

    @contextlib.contextmanager
    def visitor(
        self,
        gateway: Gateway,
        state: Any = None,
        language: str = "en",
        script: bool = True,
        troubles: tuple[str, ...] = (),
    ) -> Iterator[Visitor]:
        """A visitor with a browser window of their own; no error may occur in it.

        Args:
            state: cookies to begin with, of BrowserContext.storage_state.
            script: whether JavaScript is allowed.
            troubles: parts of those that are expected.
        """
        context = the_browser().new_context(
            viewport=WIDE,
            locale=LOCALES[language],
            timezone_id="Europe/Madrid",
            java_script_enabled=script,
            storage_state=state,
            reduced_motion="reduce",
        )
        try:
            visitor = Visitor(context, gateway.url)
            yield visitor
            left = [trouble for trouble in visitor.troubles if not any(part in trouble for part in troubles)]
            self.assertEqual(left, [])
        finally:
            context.close()

    def set_up(self, visitor: Visitor, gateway: Gateway) -> None:
        """Create the first admin by the link that the gateway printed."""
        page = visitor.page
        page.goto(gateway.setup_url)
        page.get_by_label("Login", exact=True).fill(LOGIN)
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("Repeat password").fill(PASSWORD)
        visitor.press("Create administrator")

    def make_link(self, visitor: Visitor) -> str:
        """Create a click-to-dial link that is always open, as an admin; returns its signed address."""
        page = visitor.go("/settings/links/new")
        for name, value in LINK.items():
            page.fill(f"#f-{name}", value)
        visitor.press("Create")
        visitor.press("Create address")
        return page.locator("#give pre").first.inner_text().strip()

    # --- what holds for any page ---

    def check_width(self, visitor: Visitor, what: str) -> None:
        """Assert that nothing overflows at 360 px; the window is wide again afterwards."""
        visitor.page.set_viewport_size(NARROW)
        wide, over = visitor.page.evaluate(WIDTH)
        visitor.page.set_viewport_size(WIDE)
        self.assertLessEqual(wide, NARROW["width"], f"{what}: at 360 px these stick out: {over}")

    def check_axe(self, visitor: Visitor, what: str, colours_alone: bool = False) -> None:
        """Assert that the accessibility checker finds nothing.

        Args:
            colours_alone: the page was looked at before, in other colours.
        """
        page = visitor.page
        if not page.evaluate("() => typeof axe === 'object'"):
            page.evaluate(axe())
        found = page.evaluate(AXE, ["color-contrast"] if colours_alone else TAGS)
        self.assertEqual(found, [], what)

    def check_keyboard(self, visitor: Visitor, what: str) -> None:
        """The first Tab stop leads to the content; every control can be reached, and shows the focus."""
        page = visitor.page
        page.keyboard.press("Tab")
        first = page.evaluate("() => document.activeElement.getAttribute('href')")
        # A field that waits to be filled in has the focus already; pages for frames have no menu to skip.
        if page.locator("[autofocus]").count() == 0 and page.locator(".skip").count():
            self.assertEqual(first, "#main", what)
        page.evaluate(MARK)
        for _ in range(MOST_TABS):
            page.keyboard.press("Tab")
            left, seen = page.evaluate(FOCUS)
            self.assertIn(seen, ("marked", "none"), f"{what}: {page.evaluate(WHERE)}")
            if not left:
                return
        self.assertEqual(page.evaluate(MISSED), [], f"{what}: not reached by Tab")

    def picture(self, visitor: Visitor, name: str) -> None:
        """Write a picture of the page, if PBXROUTER_SCREENSHOTS is set."""
        folder = os.environ.get("PBXROUTER_SCREENSHOTS")
        if not folder:
            return
        path = ROOT / folder / f"console-{name}.png"  # trial works in a folder of its own
        path.parent.mkdir(parents=True, exist_ok=True)
        visitor.page.evaluate("() => { document.activeElement.blur(); window.scrollTo(0, 0); }")
        visitor.page.screenshot(path=path, animations="disabled", caret="hide")
        self.assertLess(path.stat().st_size, MAX_PICTURE, path.name)


def cached(make: Callable[[], Gateway]) -> Callable[[], Gateway]:
    """A gateway shared by several tests; stopped when Python ends."""

    @functools.cache
    def made() -> Gateway:
        gateway = make()
        atexit.register(gateway.stop)
        return gateway

    return made
