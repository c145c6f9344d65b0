"""Makes new inputs from known ones: single changes of bytes, blocks that move, words of the format."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

MAX_INPUT: Final = 4096
"""Maximum bytes of an input; longer ones are cut."""

HOSTILE: Final = (
    b"",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xae",
    b"\xc2\x85",
    b"\xef\xbc\x91",
    b"\r\n\r\n",
    b"\n\n",
    b"\r",
    b"\t",
    b"\x1b[2J",
    b"%0a",
    b"%",
    b"-1",
    b"0",
    b"9223372036854775808",
    b"1e309",
    b"NaN",
    b"'",
    b'"',
    b"\\",
    b"{",
    b"}}",
    b"[",
    b"]",
    b"(",
    b")",
    b"<",
    b"&",
    b"=",
    b":",
    b",",
    b";",
)
"""Pieces that break parsers of many kinds."""


def mutated(random: Random, corpus: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A new input from one or two of the corpus.

    Args:
        words: pieces of the format, which a change of bytes would hardly find.
    """
    data = bytearray(random.choice(corpus))
    for _ in range(1 << random.randrange(4)):
        place = random.randint(0, len(data))
        end = min(len(data), place + random.randint(0, 1 << random.randrange(8)))
        kind = random.randrange(8)
        if kind == 0 and data:
            data[min(place, len(data) - 1)] = random.randrange(256)
        elif kind == 1 and data:
            data[min(place, len(data) - 1)] ^= 1 << random.randrange(8)
        elif kind == 2:
            del data[place:end]
        elif kind == 3:
            data[place:end] = data[place:end] * random.randint(1, 1 << random.randrange(5))
        elif kind == 4:
            data[place:place] = random.choice(words or HOSTILE)
        elif kind == 5:
            data[place:end] = random.choice(HOSTILE)
        elif kind == 6:
            other = random.choice(corpus)
            begin = random.randint(0, len(other))
            data[place:end] = other[begin : begin + random.randint(0, 64)]
        else:
            piece = data[place:end]
            del data[place:end]
            moved = random.randint(0, len(data))
            data[moved:moved] = piece
    return bytes(data[:MAX_INPUT])
