"""Renders the console's pages with Jinja2, autoescaped, in two languages; serves the static files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup

from pbxrouter import __version__
from pbxrouter.config import Zone
from pbxrouter.security import Role
from pbxrouter.web.console.request import PageRequest
from pbxrouter.web.language import LANGUAGES, Translator

TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class Statics:
    """The static files, in memory; each path has a hash of its content."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        for entry in files("pbxrouter.web").joinpath("static").iterdir():
            if entry.name.rpartition(".")[2] in TYPES:
                self._files[entry.name] = entry.read_bytes()

    def address(self, name: str) -> str:
        """The path of a file."""
        return f"/static/{hashlib.sha256(self._files[name]).hexdigest()[:12]}/{name}"

    def content(self, name: str) -> tuple[bytes, str] | None:
        """A file's content and type; None if there is no such file."""
        data = self._files.get(name)
        return None if data is None else (data, TYPES[name.rpartition(".")[2]])


class _CompiledTemplates(BytecodeCache):
    """The compiled templates, in memory: the same for all languages."""

    def __init__(self) -> None:
        self._compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take a compiled template, if its source has not changed."""
        if bucket.key in self._compiled:
            bucket.bytecode_from_string(self._compiled[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a compiled template."""
        self._compiled[bucket.key] = bucket.bytecode_to_string()


_COMPILED: Final = _CompiledTemplates()


def compile_templates() -> None:
    """Compile all templates, which takes half a second; later no page waits for that, and no call."""
    environment = _environment(Translator("en", Zone()), Statics())
    for name in environment.list_templates():
        environment.get_template(name)


class Pages:
    """Renders a template as a page, in the language of its user.

    Args:
        translator: a Translator for each language.
    """

    def __init__(self, translator: Mapping[str, Translator], statics: Statics) -> None:
        self.translator = translator
        self._environments = {
            language: _environment(of_language, statics) for language, of_language in translator.items()
        }

    def render(self, template: str, translator: Translator, **values: Any) -> str:
        """Render a template in a language."""
        return self._environments[translator.language].get_template(template).render(values)

    def page(self, template: str, page_request: PageRequest, **values: Any) -> bytes:
        """Render a page for a request."""
        html = self.render(template, page_request.translator, page_request=page_request, **values)
        return html.encode("utf-8", "replace")


def _environment(translator: Translator, statics: Statics) -> Environment:
    environment = Environment(
        loader=PackageLoader("pbxrouter.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=_COMPILED,
    )
    environment.install_gettext_translations(translator.translations, newstyle=True)  # type: ignore[attr-defined]

    def ngettext(one: str, many: str, number: int, **places: Any) -> Markup:
        # Jinja's own ngettext would not format the number by the locale.
        text = Markup(translator.translations.ngettext(one, many, number))  # escapes the values put into it
        return text % {"num": translator.number(number), **places}

    environment.globals.update(
        ngettext=ngettext,
        static=statics.address,
        say=translator.say,
        sentence=translator.capitalised,
        translator=translator,
        languages=LANGUAGES,
        Role=Role,
        version=__version__,
    )
    environment.filters.update(
        number=translator.number,
        moment=translator.moment,
        clock=translator.clock,
        day=translator.day,
        duration=translator.duration,
    )
    return environment
