"""One request to the console: who asks, in which language, and what they sent."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from twisted.web.iweb import IRequest

from pbxrouter.database.audit import Actor
from pbxrouter.database.people import ConsoleUser
from pbxrouter.errors import EditRefused
from pbxrouter.text import Sentence, sentence
from pbxrouter.web.http.site import MAX_FORM, header
from pbxrouter.web.language import Translator, Zone

MAX_FIELDS: Final = 4000


class Form(Mapping[str, str]):
    """The fields of a form; of a name that comes several times ``[]`` gives the first."""

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
        """All values of a name."""
        return list(self._all.get(name, ()))

    def text(self, name: str) -> str:
        """A value without the blanks around it; ``""`` if it is not there."""
        return self.get(name, "").strip()


@dataclass(slots=True)
class PageRequest:
    """One request.

    Attributes:
        user: who is logged in; None if nobody is.
        session: the session's hash; ``""`` without one.
        csrf: what a form must bring back.
        address: the visitor's own.
        form: what was posted, checked to come from a page of ours.
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
        """The path that was asked for, percent-encoded as it came."""
        uri: bytes = self.request.uri
        return uri.partition(b"?")[0].decode("ascii", "replace")

    @property
    def actor(self) -> Actor:
        """Who it is, for the audit log."""
        assert self.user is not None  # only routes for those logged in ask
        return Actor(self.user.login, "console")

    def say(self, message: Sentence | str) -> str:
        """A sentence in the visitor's language."""
        return self.translator.say(message)


def read_query(request: IRequest) -> Form:
    """The part of the address behind ``?``; what is no text there is left out."""
    uri: bytes = request.uri
    raw = uri.partition(b"?")[2].decode("ascii", "replace")
    try:
        return Form(parse_qsl(raw, keep_blank_values=True, errors="replace", max_num_fields=100))
    except ValueError:
        return Form([])


def read_form(request: IRequest) -> Form:
    """What was posted.

    Raises:
        EditRefused: it is too long, or no form.
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


def local_path(wanted: str) -> str:
    """A path within the console to go on to; ``/`` for whatever could lead elsewhere."""
    if not (wanted.isascii() and wanted.isprintable()) or "\\" in wanted:
        return "/"
    return wanted if wanted.startswith("/") and not wanted.startswith("//") else "/"
