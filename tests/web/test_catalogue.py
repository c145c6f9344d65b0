"""Each sentence of the console and the API has its Spanish translation, with the same placeholders.

Sentences are collected by scripts/catalogue.
"""

from __future__ import annotations

import re
import string
import types
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.config import Zone
from pbxrouter.text.sentences import Sentence
from pbxrouter.web.language import LANGUAGES, Translator
from tests.paths import ROOT

KNOWN = {
    ("pbxrouter/text/sentences.py", "message"),  # makes the step
    ("pbxrouter/workers/codec.py", "message"),  # makes one of another process again
    ("pbxrouter/text/sentences.py", "between.join((f'{{{name}}}' for name in values))"),  # steps in a row
}
"""Where code makes a step of what is no literal, rightly."""
SAME = set("AMI Asterisk FastAGI MAGI PIN Token web".split())
"""Words that are the same in Spanish."""


def _load() -> types.ModuleType:
    loader = SourceFileLoader("catalogue", str(ROOT / "scripts" / "catalogue"))
    spec = spec_from_loader("catalogue", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


catalogue = _load()
WANTED = catalogue.extract()


def places(text: str) -> set[str]:
    """The placeholders of a sentence: ``{name}`` of a Sentence, ``%(name)s`` of a template."""
    return {f"%{name}" for name in re.findall(r"%\((\w+)\)[sd]", text)} | set(re.findall(r"\{(\w*)\}", text))


def wording(message: Any) -> list[tuple[str, str]]:
    """Each form of a message with its translation."""
    if isinstance(message.id, str):
        return [(message.id, message.string)]
    return list(zip(message.id, message.string, strict=True))


class CatalogueTests(SynchronousTestCase):
    """The catalogues of all languages except English, which has none."""

    def catalogues(self) -> list[tuple[str, Any]]:
        """Every message of every catalogue."""
        found = []
        for language in sorted(set(LANGUAGES) - {"en"}):
            path = ROOT / "pbxrouter/web/locale" / language / "LC_MESSAGES/pbxrouter.po"
            found.append((language, catalogue.read(path)))
        self.assertTrue(found)
        return found

    def test_all_are_translated(self) -> None:
        """No sentence is missing, empty or fuzzy, and none is obsolete."""
        wanted = {_key(message) for message in WANTED if message.id}
        self.assertGreater(len(wanted), 100)
        for language, found in self.catalogues():
            there = {_key(message): message for message in found if message.id}
            self.assertEqual(sorted(wanted - set(there)), [], f"{language}: missing; run make catalogue")
            self.assertEqual(sorted(set(there) - wanted), [], f"{language}: not said any more; make catalogue")
            self.assertEqual(list(found.obsolete), [], f"{language}: obsolete")
            for key, message in there.items():
                self.assertFalse(message.fuzzy, f"{language}: uncertain: {key}")
            empty = [key for key, message in there.items() if not all(said for _, said in wording(message))]
            self.assertEqual(empty, [], f"{language}: not translated")

    def test_places(self) -> None:
        """A translation has the placeholders of its sentence, and no others; each can be filled."""
        for language, found in self.catalogues():
            for message in found:
                all_places = set().union(*(places(text) for text, _ in wording(message)))
                for english, said in wording(message):
                    if not english or not said:
                        continue
                    # One of the plural's forms may leave the number out, as "one call" does.
                    if isinstance(message.id, str):
                        self.assertEqual(places(said), places(english), f"{language}: {english}")
                    else:
                        self.assertLessEqual(places(said), all_places, f"{language}: {english}")
                    if "%(" not in english:
                        string.Formatter().vformat(said, (), dict.fromkeys(places(said), "x"))

    def test_edges(self) -> None:
        """Blanks, line ends and the final punctuation are the same as in the English sentence."""
        for language, found in self.catalogues():
            for message in found:
                for english, said in wording(message):
                    if english and said:
                        self.assertEqual(said[:1].isspace(), english[:1].isspace(), f"{language}: {english!r}")
                        self.assertEqual(said[-1:].isspace(), english[-1:].isspace(), f"{language}: {english!r}")
                        for mark in ".:…":
                            self.assertEqual(said.endswith(mark), english.endswith(mark), f"{language}: {said}")

    def test_nothing_is_left_in_english(self) -> None:
        """A translation equals the English sentence only if the words are the same in both languages."""
        for language, found in self.catalogues():
            same = [
                english
                for message in found
                for english, said in wording(message)
                if english and said == english and not _is_no_word(english)
            ]
            self.assertEqual(same, [], language)

    def test_everything_can_be_extracted(self) -> None:
        """Sentences are literals, so that they can be collected; exceptions are listed here."""
        self.assertEqual(set(catalogue.not_literal()), KNOWN)

    def test_sentences_are_no_f_strings(self) -> None:
        """No sentence is an f-string, whose translation could not be found."""
        for path, call in catalogue.calls():
            self.assertNotEqual(type(call.args[0]).__name__, "JoinedStr", f"{path}:{call.lineno}")

    def test_it_is_in_order(self) -> None:
        """The file is as `make catalogue` writes it."""
        for path in (ROOT / "pbxrouter/web/locale").glob("*/LC_MESSAGES/pbxrouter.po"):
            self.assertEqual(path.read_bytes(), catalogue.merged(catalogue.read(path), WANTED), "run make catalogue")

    def test_the_header_declares_the_plural_forms(self) -> None:
        """Each plural has as many forms as the header says, independent of Babel's tables."""
        for language, found in self.catalogues():
            path = ROOT / "pbxrouter/web/locale" / language / "LC_MESSAGES/pbxrouter.po"
            declared = re.search(r"nplurals=(\d+)", path.read_text(encoding="utf-8"))
            assert declared is not None, f"{language}: no Plural-Forms"
            plurals = [message for message in found if isinstance(message.id, tuple | list)]
            self.assertGreater(len(plurals), 5)
            for message in plurals:
                self.assertEqual(len(message.string), int(declared[1]), f"{language}: {message.id[0]}")

    def test_plural_forms_are_kept(self) -> None:
        """A new sentence gets the header's number of forms, and existing ones are kept."""
        for forms in (["gatos"], ["un gato", "dos gatos", "gatos", "de gatos"]):
            declared = f'"Plural-Forms: nplurals={len(forms)}; plural=(n % {len(forms)});\\n"\n'
            cats = 'msgid "a cat"\nmsgid_plural "cats"\n'
            cats += "".join(f'msgstr[{index}] "{form}"\n' for index, form in enumerate(forms))
            path = Path(self.mktemp()) / "es" / "LC_MESSAGES" / "pbxrouter.po"
            path.parent.mkdir(parents=True)
            path.write_text(f'msgid ""\nmsgstr ""\n{declared}\n{cats}', encoding="utf-8")
            wanted = catalogue.Catalog()
            wanted.add(("a cat", "cats"))
            wanted.add(("a dog", "dogs"))
            written = catalogue.merged(catalogue.read(path), wanted).decode()
            self.assertIn(declared, written)
            self.assertIn(cats, written)
            self.assertEqual(written.count("msgstr["), 2 * len(forms), written)

    def test_it_is_used(self) -> None:
        """A sentence is translated, with the sentences among its values."""
        translator = Translator("es", Zone("Europe/Madrid"))
        said = translator.say(Sentence("{count} times", {"count": Sentence("no PIN was keyed")}))
        self.assertNotIn("keyed", said)


def _key(message: Any) -> str:
    return message.id if isinstance(message.id, str) else str(message.id[0])


def _is_no_word(text: str) -> bool:
    rest = re.sub(r"\{\w*\}|%\(\w+\)[sd]", "", text)
    return not [word for word in re.findall(r"[A-Za-z][\w-]*", rest) if word not in SAME]
