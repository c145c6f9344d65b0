"""The index finds what sorting all patterns and taking the first match would find, and fast.

Asterisk's order itself, and what patterns mean, are tested in test_patterns.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.rules.pattern_index import PatternIndex
from pbxrouter.rules.patterns import Pattern

ELEMENTS = st.sampled_from("X N Z 1 2 5 [12] [1-3] [5-1] [5-19] [9-17] [] # . !".split())
PATTERNS = st.builds(
    lambda mark, parts: mark + "".join(parts),
    st.sampled_from(["", "_"]),
    st.lists(ELEMENTS, min_size=1, max_size=5),
)


def index_of(texts: list[str]) -> PatternIndex[int]:
    """An index in which each pattern leads to its place in the list."""
    return PatternIndex((Pattern.parse(text), place) for place, text in enumerate(texts))


def chosen(texts: list[str], number: str) -> str | None:
    """The pattern that wins."""
    best = index_of(texts).best(number)
    return None if best is None else texts[best[1]]


class Finding(SynchronousTestCase):
    """Finding patterns by the dialled number."""

    @given(st.lists(PATTERNS, max_size=15), st.text("0123459#-", max_size=6))
    def test_as_if_all_were_tried(self, texts: list[str], number: str) -> None:
        """A plain number wins, then the first match in order; of equal patterns the first configured one."""
        parsed = [(Pattern.parse(text), place) for place, text in enumerate(texts)]
        # Asterisk loads only the first of equals (docs/asterisk.md D2), also if that one never matches.
        patterns = [
            entry
            for entry in parsed
            if not any(
                (other.order, other.literal is None) == (entry[0].order, entry[0].literal is None)
                for other, _ in parsed[: entry[1]]
            )
        ]
        matching = [entry for entry in patterns if entry[0].matches(number) and not entry[0].never_matches]
        plain = [entry for entry in matching if entry[0].literal is not None]
        matching.sort(key=lambda entry: entry[0].order)
        self.assertEqual(index_of(texts).best(number), next(iter(plain or matching), None))

    def test_empty(self) -> None:
        """An empty index finds nothing, and so does an empty number."""
        self.assertIsNone(PatternIndex[int]([]).best("21"))
        self.assertIsNone(chosen(["2X", "21"], ""))
        self.assertIsNone(chosen(["2X"], "-"))

    def test_dashes(self) -> None:
        """Dashes are ignored, in numbers and patterns."""
        self.assertEqual(chosen(["5-5-5", "_55X"], "55-5"), "5-5-5")

    def test_falls_back(self) -> None:
        """If the narrower branch does not match, the wider one is tried."""
        self.assertEqual(chosen(["_12X3", "_1XXX"], "1299"), "_1XXX")
        self.assertEqual(chosen(["_1[12]3", "_1X4", "_1!"], "124"), "_1X4")
        self.assertEqual(chosen(["_1[12]3", "_1X4", "_1!"], "125"), "_1!")

    def test_odd_sets(self) -> None:
        """A set that accepts one character and sorts as another is found (docs/asterisk.md D2)."""
        self.assertEqual(chosen(["_[5-19]X", "_9X"], "91"), "_[5-19]X")
        self.assertEqual(chosen(["_[5-19]1", "_4X", "_91"], "91"), "_[5-19]1")
        self.assertEqual(chosen(["_91", "_[5-19]1"], "91"), "_[5-19]1")
        self.assertEqual(chosen(["_6X", "_[5-19]X", "_9X"], "91"), "_[5-19]X")
        self.assertEqual(chosen(["_X1", "_[9-17]1"], "71"), "_[9-17]1")

    def test_ways_to_end(self) -> None:
        """A dot wins over a bang, and a bang over neither."""
        self.assertEqual(chosen(["_12", "_12!", "_12.", "_12."], "123"), "_12.")
        self.assertEqual(chosen(["_12", "_12!", "_12."], "12"), "_12!")

    def test_repeated(self) -> None:
        """An entry that is ignored is listed by its position, with the earlier entry of an equal pattern."""
        texts = ["2X", "21", "_21", "_2X", "2-1", "[1]X", "_2[0-9]", "_1X"]
        index = index_of(texts)
        self.assertEqual(
            {position: (pattern.text, first) for position, (pattern, first) in index.repeated.items()},
            {3: ("2X", 0), 4: ("21", 1), 6: ("2X", 0), 7: ("[1]X", 5)},
        )

    def test_ignored_behind_one_that_never_matches(self) -> None:
        """Asterisk loads only the first of equal patterns, although an empty set keeps it from matching."""
        index = index_of(["_2[5-1]", "_2"])
        self.assertEqual(list(index.repeated), [1])
        self.assertIsNone(index.best("2"))

    def test_many(self) -> None:
        """Among many thousands, each pattern is found."""
        texts = [f"_{number}X" for number in range(10_000, 30_000)]
        index = index_of(texts)
        for place in range(0, 20_000, 997):
            best = index.best(f"{10_000 + place}5")
            assert best is not None
            self.assertEqual(best[1], place)
        self.assertIsNone(index.best("999995"))
