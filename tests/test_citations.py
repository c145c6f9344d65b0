"""Citations of docs/asterisk.md: each names a section that the page has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "asterisk.md"
FOLDERS = ("pbxrouter", "tests", "docs", "lab", "dialplan", "examples", "bench", "scripts", "tac", "twisted")

# A section by its letter, with or without a number: A, B6. There may be several, or the first and the last.
_SECTION = r"[A-F]\d?\b"
_CITATION = re.compile(rf"docs/asterisk\.md[\s#`]+({_SECTION}(?:(?:,? and|,| to)[\s#]+{_SECTION})*)")


def cited(text: str) -> Iterator[str]:
    """The sections that a text cites; of a range, each one in it."""
    for citation in _CITATION.finditer(text):
        for part in re.split(r",? and |, ?", re.sub(r"[\s#]+", " ", citation[1])):
            first, _, last = part.partition(" to ")
            numbers = range(int(first[1]), int(last[1]) + 1) if last else ()
            yield from (f"{first[0]}{number}" for number in numbers) if last else (first,)


def sources() -> Iterator[tuple[str, str]]:
    """Every text file of the tree except the page itself, with its name."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))]
    for path in (*sorted(ROOT.glob("*.*")), *files):
        if path.is_file() and path not in (PAGE, Path(__file__).resolve()) and "__pycache__" not in path.parts:
            try:
                yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # a picture, a database


class CitationTests(SynchronousTestCase):
    """The citations in the tree."""

    def test_reading(self) -> None:
        """Single sections, lists and ranges are found, across lines and in comments too."""
        text = "docs/asterisk.md A1; (docs/asterisk.md B6, rule 7); docs/asterisk.md A2, A5 and C. "
        text += "docs/asterisk.md B1 to B3"
        self.assertEqual(list(cited(text)), ["A1", "B6", "A2", "A5", "C", "B1", "B2", "B3"])
        self.assertEqual(list(cited("# see docs/asterisk.md\n# D1 and D2; docs/asterisk.md for all")), ["D1", "D2"])

    def test_every_citation(self) -> None:
        """Each names a heading of the page; the code cites every lettered part of it but the last."""
        headings = re.findall(rf"^##+ ({_SECTION})\. ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        self.assertEqual(len(headings), len(set(headings)))
        found = [(name, section) for name, text in sources() for section in cited(text)]
        self.assertEqual([(name, section) for name, section in found if section not in headings], [])
        by_code = {section[0] for name, section in found if name.startswith("pbxrouter/")}
        self.assertEqual(by_code, set("ABCD"))

    def test_mentions_name_a_section(self) -> None:
        """Code and tests never cite the page as a whole, nor the facts by a name that leads nowhere."""
        for name, text in sources():
            if name.startswith(("pbxrouter/", "tests/")) and name.endswith(".py"):
                mentions = text.count("docs/asterisk.md")
                self.assertEqual(len(_CITATION.findall(text)), mentions, name)
                self.assertNotRegex(text, r"\b[Ff]acts [A-F](?:\d|[).])", name)
