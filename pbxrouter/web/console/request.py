"""A request to the console: its user, language, query and form."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from twisted.web.iweb import IRequest

from pbxrouter.config import Zone
from pbxrouter.database.access import ConsoleUser
from pbxrouter.database.audit import Actor
from pbxrouter.errors import EditConflict, EditRefused
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.http.site import MAX_FORM, header
from pbxrouter.web.language import Translator

MAX_FIELDS: Final = 4000
COOKIES: Final = "pbxrouter_"
"""With what the names of the console's cookies begin."""
MAX_ONWARD: Final = 2000
"""The longest address, in characters, that is kept to lead back to it."""


class TooManyTries(EditRefused):
    """There were too many attempts, such as to log in or to guess a PIN.

    Attributes:
        wait_s: seconds until the next attempt is accepted.
    """

    def __init__(self, wait_s: float, message: Sentence | None = None, field: str = "") -> None:
        self.wait_s = int(wait_s) + 1
        message = message or Sentence("too many attempts; wait {seconds} s and try again")
        super().__init__(sentence(message.message, seconds=self.wait_s), field)


TOO_MANY_PINS: Final = Sentence("too many PIN attempts; wait {seconds} s")


class Form(Mapping[str, str]):
    """The fields of a form or query; ``[]`` returns the first value of a repeated field."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._all: dict[str, list[str]] = {}
        for name, value in pairs:
            self._all.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> str:
        return self._all[name][0]

    def __iter__(self) -> Any:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def every(self, name: str) -> list[str]:
        """All values of a field."""
        return list(self._all.get(name, ()))

    def text(self, name: str) -> str:
        """A field's value, stripped; ``""`` if the field is missing."""
        return self.get(name, "").strip()


@dataclass(slots=True)
class PageRequest:
    """A request to a page.

    Attributes:
        translator: of the language in which the page is shown.
        address: the client's IP address, behind trusted proxies too.
        user: the logged-in user; None without one.
        session: the session's hash; ``""`` without one.
        csrf_token: the value of the field ``csrf`` in this page's forms.
        query: the URL's query.
        form: the posted form, after the CSRF check.
    """

    request: IRequest
    translator: Translator
    address: str
    user: ConsoleUser | None = None
    session: str = ""
    csrf_token: str = ""
    query: Form = field(default_factory=lambda: Form([]))
    form: Form = field(default_factory=lambda: Form([]))

    @property
    def path(self) -> str:
        """The requested path, percent-encoded as received."""
        uri: bytes = self.request.uri
        return uri.partition(b"?")[0].decode("ascii", "replace")

    @property
    def here(self) -> str:
        """The page that the browser shows or is to show, with its query: of a posted form that of the form."""
        uri: bytes = self.request.uri
        here = local_path(uri.decode("ascii", "replace"))
        if self.request.method not in (b"GET", b"HEAD"):
            here = own_referer(self.request) or "/"
        path, _, query = here.partition("?")
        # What looks like one of our cookies is in no address that we send.
        kept = "&".join(pair for pair in query.split("&") if pair and not pair.startswith(COOKIES))
        return f"{path}?{kept}" if kept and len(path) + len(kept) < MAX_ONWARD else path[:MAX_ONWARD]

    @property
    def actor(self) -> Actor:
        """The user, for the audit log."""
        assert self.user is not None  # only routes with a role use it
        return Actor(self.user.login, "console")

    def say(self, message: Sentence | str) -> str:
        """Translate a sentence into the page's language."""
        return self.translator.say(message)


def read_query(request: IRequest) -> Form:
    """Parse the URL's query; empty if it cannot be parsed."""
    uri: bytes = request.uri
    raw = uri.partition(b"?")[2].decode("ascii", "replace")
    try:
        return Form(parse_qsl(raw, keep_blank_values=True, errors="replace", max_num_fields=100))
    except ValueError:
        return Form([])


def read_form(request: IRequest) -> Form:
    """Parse the posted form.

    Raises:
        EditRefused: it is too long, or not a URL-encoded form.
    """
    content: Any = request.content
    body: bytes = content.read(MAX_FORM + 1)
    if len(body) > MAX_FORM:
        raise EditRefused(sentence("the form is too long; at most {bytes} bytes are accepted", bytes=MAX_FORM))
    kind = header(request, "Content-Type").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise EditRefused(sentence("the form must be sent as application/x-www-form-urlencoded"))
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise EditRefused(sentence("the form is not valid")) from None
    # Browsers end the lines of a text area with CR LF.
    return Form([(name, value.replace("\r\n", "\n")) for name, value in pairs])


def read_time(text: str, field: str, zone: Zone) -> float | None:
    """Epoch seconds of a time in the PBX's time zone, as a form field of the type datetime-local sends it.

    Returns:
        None if the text is empty.

    Raises:
        EditRefused: the text is not a time between the years 1971 and 9000.
    """
    if not text:
        return None
    try:
        local = datetime.datetime.fromisoformat(text).replace(tzinfo=None)
        if not 1971 <= local.year <= 9000:  # the days before and after it are computed, too
            raise ValueError
        return zone.seconds(local)
    except (ValueError, OverflowError, OSError):
        raise EditRefused(
            sentence("{text} is not a time; enter one such as 2026-11-23T14:30", text=text[:40]), field
        ) from None


def set_refused_status(page_request: PageRequest, error: EditRefused) -> None:
    """Set the status of the page that shows an error of its form."""
    request: Any = page_request.request
    if isinstance(error, TooManyTries):
        request.setResponseCode(429, b"Too Many Requests")
        request.setHeader("Retry-After", str(error.wait_s))
    else:
        request.setResponseCode(409 if isinstance(error, EditConflict) else 400)


def own_referer(request: IRequest) -> str:
    """The page of this console, with its query, that the Referer names; ``""`` if it names none."""
    try:
        parts = urlsplit(header(request, "Referer"))
    except ValueError:
        return ""
    if not parts.netloc or parts.netloc.lower() != header(request, "Host").lower():
        return ""
    return local_path(parts.path + (f"?{parts.query}" if parts.query else ""))


def local_path(wanted: str) -> str:
    """A path within the console to redirect to; ``/`` if the given one could lead to another site."""
    if not (wanted.isascii() and wanted.isprintable()) or "\\" in wanted:
        return "/"
    return wanted if wanted.startswith("/") and not wanted.startswith("//") else "/"
