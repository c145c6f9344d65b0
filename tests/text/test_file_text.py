"""Text files as people write them."""

from __future__ import annotations

import codecs

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.text import file_text

TEXT = 'secret = "x"\r\n# ñ\r\n'
SHOWN = 'secret = "x"\n# ñ\n'


class FileTextTests(SynchronousTestCase):
    """file_text, for what Notepad, PowerShell and others save."""

    def test_marks(self) -> None:
        """A file with a byte order mark is read in its encoding, without the mark."""
        for mark, encoding in (
            (codecs.BOM_UTF8, "utf-8"),
            (codecs.BOM_UTF16_LE, "utf-16-le"),
            (codecs.BOM_UTF16_BE, "utf-16-be"),
            (codecs.BOM_UTF32_LE, "utf-32-le"),
            (codecs.BOM_UTF32_BE, "utf-32-be"),
        ):
            self.assertEqual(file_text(mark + TEXT.encode(encoding)), SHOWN, encoding)

    def test_no_mark(self) -> None:
        """Without a mark UTF-8 and UTF-16 are told apart."""
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            self.assertEqual(file_text(TEXT.encode(encoding)), SHOWN, encoding)

    def test_line_ends(self) -> None:
        """Those of any system become one character."""
        self.assertEqual(file_text(b"a\r\nb\rc\nd"), "a\nb\nc\nd")

    def test_no_text(self) -> None:
        """What is in no such encoding is refused; a NUL within text is kept for its reader to refuse."""
        for content in (b"\xe9", b"\xff\xfea", b"a\0\xe9"):
            self.assertRaises(UnicodeDecodeError, file_text, content)
        self.assertEqual((file_text(b"ab\0d"), file_text(b"")), ("ab\0d", ""))

    @given(st.text(st.characters(exclude_characters="\r\0\ufeff", exclude_categories=["Cs"])))
    def test_any_text(self, text: str) -> None:
        """Any text in UTF-8 is read as it is."""
        self.assertEqual(file_text(text.encode()), text)
