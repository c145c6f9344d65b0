"""Decodes the text files that people write: with a byte order mark, in UTF-16, with the line ends of any system."""

from __future__ import annotations

import codecs
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as that of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def file_text(content: bytes) -> str:
    """Decode a text file: UTF-8, UTF-16 or UTF-32, as editors and shells of all systems save them.

    Without a byte order mark it is UTF-8, or UTF-16 if each other byte is 0, as of mostly ASCII text. Line ends
    become ``\\n``.

    Raises:
        UnicodeDecodeError: it is none of these.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            text = content[len(mark) :].decode(encoding)
            break
    else:
        text = content.decode(_encoding(content))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding(content: bytes) -> str:
    """The encoding of a text without a mark, by where its zeros are."""
    if len(content) % 2 == 0 and b"\0" in content:
        even, odd = content[::2], content[1::2]
        if even.count(0) > len(even) / 2 and not odd.count(0):
            return "utf-16-be"
        if odd.count(0) > len(odd) / 2 and not even.count(0):
            return "utf-16-le"
    return "utf-8"
