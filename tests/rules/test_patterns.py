"""Dial patterns have the meaning that they have in Asterisk."""

from __future__ import annotations

import functools
import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import PatternError
from pbxrouter.rules.pattern_index import PatternIndex
from pbxrouter.rules.patterns import Pattern
from tests.paths import ROOT

CASES = ROOT / "lab" / "dialplan-cases.json"

# docs/asterisk.md D3: patterns in configured order, number dialled, choice.
VERIFIED = """
_X. _XXX 911 | 911 | 911
_9XX _91X _X11 | 911 | _91X
_X11 _1XX | 111 | _1XX
_NXX _ZXX _XXX | 222 | _NXX
_NXX _ZXX _XXX | 122 | _ZXX
_NXX _ZXX _XXX | 022 | _XXX
_12. _12! _1. | 123 | _12.
_12. _12! _1. | 12 | _12!
_12 _12! | 12 | _12!
12 _12! | 12 | 12
_1XX _1XX. | 123 | _1XX
_1X. _1. | 123 | _1X.
_X. | 5 | none
_X! _X. _XX | 12 | _XX
_. _! | 5 | _.
_XXX _XXX! _XX. | 123 | _XXX!
_[0-9*#]! _X. _XX! | 123 | _XX!
_9. _9011. _91NXXNXXXXXX | 90114420 | _9011.
_[135]X _[1-3]X | 15 | _[1-3]X
_[15]X _[13]X _[1-9]X | 15 | _[13]X
_[2-4]X _[1-3]X | 25 | _[1-3]X
_[0-9a]X _XX | 12 | _XX
_0[1-3]X _0Z2 | 022 | _0[1-3]X
_0Z2 _0[1-3]X | 042 | _0Z2
_XX3 _X2X | 123 | _X2X
_NXX _[2-9]XX | 222 | _NXX
_5-5-5 _555 | 555 | _5-5-5
_NXX-XXXX | 5551234 | _NXX-XXXX
_NXXXXXX | 55-51-234 | _NXXXXXX
_n1 | n1 | none
_[n]1 | 21 | none
_[a-c]XX _bXX | b12 | _bXX
_[a-c]XX | B12 | none
_#X _[#*]X | #5 | _#X
_1.3 _1.2 | 199 | _1.2
"""


def choose(patterns: list[str], number: str) -> str | None:
    """The text of the winning pattern."""
    best = PatternIndex((Pattern.parse(text), text) for text in patterns).best(number)
    return best and best[1]


class VerifiedCases(SynchronousTestCase):
    """Choices recorded with a real Asterisk."""

    def test_recorded(self) -> None:
        """The hundred recorded choices are made."""
        cases = json.loads(CASES.read_text())
        self.assertEqual(len(cases), 100)
        for case in cases:
            self.assertEqual(choose(case["patterns"], case["dialled"]), case["pick"], case)

    def test_facts(self) -> None:
        """The choices of docs/asterisk.md D3 are made."""
        for line in VERIFIED.strip().splitlines():
            patterns, number, pick = line.split(" | ")
            self.assertEqual(choose(patterns.split(), number) or "none", pick, line)


class Reading(SynchronousTestCase):
    """Parsing dial patterns."""

    def test_mark_may_be_left_out(self) -> None:
        """The mark may be left out: the workshop's 2X is Asterisk's _2X."""
        self.assertEqual(choose(["2X"], "21"), "2X")
        self.assertEqual(choose(["XXXXXXXX"], "12345678"), "XXXXXXXX")
        self.assertIsNone(choose(["XXXXXXXX"], "1234567"))

    def test_plain_number_beats_patterns(self) -> None:
        """A text without characters of a pattern is a plain number, which precedes every pattern."""
        self.assertEqual(choose(["_9[1]1", "911"], "911"), "911")
        self.assertEqual(Pattern.parse("9-1-1").literal, "911")

    def test_plus_star_hash(self) -> None:
        """+, * and # stand for themselves."""
        self.assertEqual(choose(["*X", "*7X.", "_+1."], "*72#"), "*7X.")
        self.assertEqual(choose(["*X", "*7X.", "_+1."], "+15"), "_+1.")

    def test_empty_set(self) -> None:
        """[] is skipped while digits are left, and fails when none are (pbx.c)."""
        self.assertEqual(choose(["_1[]2"], "12"), "_1[]2")
        self.assertIsNone(choose(["_12[]"], "12"))
        self.assertIsNone(choose(["_12[]!"], "12"))
        self.assertEqual(choose(["_12[]!"], "123"), "_12[]!")

    def test_unreadable(self) -> None:
        """Each unreadable pattern is refused with a line that names it."""
        for text in ("", "_", "[12", "_1[2", "1 2", "5/22", "1\n2", "ñ", "-", "1" * 81):
            with self.assertRaises(PatternError) as caught:
                Pattern.parse(text)
            self.assertNotIn("\n", str(caught.exception))

    def test_why_unreadable(self) -> None:
        """The error names the pattern, what is wrong with it and what is accepted."""
        empty = "the pattern is empty; accepted are digits, * # +, X Z N, sets such as [1-3], . or ! at the end"
        held = (
            "which no dialled number can; accepted are digits, * # +, X Z N, sets such as [1-3], and . or ! at the end"
        )
        for text, why in (
            ("", empty),
            ("_", empty),
            ("--", "pattern '--' is empty but for dashes"),
            ("_1[2", "pattern '1[2' has a [ without its ]"),
            ("[12", "pattern '[12' has a [ without its ]"),
            ("1 2X", f"pattern '1 2X' holds ' ', {held}"),
            ("5/22", f"pattern '5/22' holds '/', {held}"),
            ("1\x7f", f"pattern '1\\x7f' holds '\\x7f', {held}"),
            (
                "_9|NXX",
                "pattern '_9|NXX' has a |, which marks digits that are cut off; today the pattern is _9NXX, and the "
                "mapping's data cuts the number, as in PJSIP/{number:1}@trunk",
            ),
            ("|2X", "pattern '|2X' holds '|', which no dialled number can"),
            ("9|", "pattern '9|' holds '|', which no dialled number can"),
            ("9|2|X", "pattern '9|2|X' holds '|', which no dialled number can"),
            ("12345678901234567890" * 5, "pattern '12345678901234567890'… has 100 characters; at most 80 are accepted"),
            ("X" * 81, f"pattern '{'X' * 20}'… has 81 characters; at most 80 are accepted"),
        ):
            error = self.assertRaises(PatternError, Pattern.parse, text)
            self.assertEqual(str(error), why)
            self.assertNotEqual(error.sentence.message, "{text}", "it can be translated")

    def test_as_long_as_an_extension(self) -> None:
        """80 characters are accepted, as by Asterisk."""
        self.assertEqual(choose(["2" * 80], "2" * 80), "2" * 80)
        self.assertEqual(choose(["_" + "X" * 79], "2" * 79), "_" + "X" * 79)

    def test_signs_of_a_pattern(self) -> None:
        """A text without _ is a pattern if it holds a class, a set, a dot or a bang; else it is a plain number."""
        for sign in ("X", "x", "Z", "z", "N", "n", "[5]", ".", "!"):
            pattern = Pattern.parse(f"7{sign}")
            self.assertIsNone(pattern.literal, sign)
            self.assertTrue(pattern.matches("75"), sign)
        for text, literal in (("75", "75"), ("7-5", "75"), ("s", "s"), ("~", "~"), ("*#+", "*#+")):
            self.assertEqual(Pattern.parse(text).literal, literal)
        self.assertIsNone(Pattern.parse("_75").literal)

    def test_matches_at_its_ends(self) -> None:
        """A dot needs one character more, a bang none; without either the number ends with the pattern."""
        for text, matching, others in (
            ("_2X", ("21", "2-1"), ("2", "211", "31", "")),
            ("_2X.", ("211", "2111"), ("21", "2")),
            ("_2X!", ("21", "211"), ("2", "3")),
            ("_NZX", ("210", "999"), ("110", "200")),
            ("_[5-19]", ("9",), ("5", "1")),
            ("_[1-35]", ("1", "2", "3", "5"), ("4", "-")),
            ("_[-1]", ("1",), ("2",)),
            ("_[1-]", ("1",), ("2",)),
        ):
            pattern = Pattern.parse(text)
            for number in matching:
                self.assertIs(pattern.matches(number), True, (text, number))
            for number in others:
                self.assertIs(pattern.matches(number), False, (text, number))

    def test_never_matches(self) -> None:
        """A pattern with a set that holds nothing can match no number."""
        for text, never in (("_2[5-1]", True), ("_2[]", True), ("_2[]X", False), ("_2X", False), ("21", False)):
            self.assertIs(Pattern.parse(text).never_matches, never, text)


class Parts(SynchronousTestCase):
    """What a pattern is parsed into."""

    def parts(self, text: str) -> tuple[str, list[str], str, str, bool]:
        """The head, the set of each further place, the tail, the run of digits, whether it is missorted."""
        pattern = Pattern.parse(text)
        sets = ["".join(sorted(accepted)) for accepted in pattern.rest.sets]
        return pattern.head, sets, pattern.tail, pattern.rest.run, pattern.is_missorted

    def test_parts(self) -> None:
        """Matching ends at the first dot or bang; a run has sets of one digit; an empty set counts at the end."""
        for text, parts in (
            ("21", ("21", [], "", "", False)),
            ("_21", ("21", [], "", "", False)),
            ("_2XZN", ("2", ["0123456789", "123456789", "23456789"], "", "", False)),
            ("_12[3-3]4X5", ("12", ["3", "4", "0123456789", "5"], "", "34", False)),
            ("_[7]8[99].", ("", ["7", "8", "9"], ".", "789", False)),
            ("_1.2X!", ("1", [], ".", "", False)),
            ("_1X!3.", ("1", ["0123456789"], "!", "", False)),
            ("_[5-19]1", ("", ["9", "1"], "", "", True)),
            ("_X[5-19]", ("", ["0123456789", "9"], "", "", True)),
            ("_1[]", ("1", [""], "", "", False)),
            ("_1[]2", ("1", ["2"], "", "2", False)),
            ("_1[].", ("1", [], ".", "", False)),
            ("_1[]!", ("1", [], ".", "", False)),
            ("_1[]2!", ("1", ["2"], "!", "2", False)),
            ("_1.[]", ("1", [], ".", "", False)),
            ("_1![]", ("1", [], "!", "", False)),
            ("_1-[2]", ("1", ["2"], "", "2", False)),
        ):
            self.assertEqual(self.parts(text), parts, text)

    def test_order(self) -> None:
        """Elements sort by number of characters, the smallest one, and all of them; dot, bang and end follow."""
        dot, bang, end = (0x180, 0, ()), (0x280, 0, ()), (0x300, 0, ())
        for text, order in (
            ("21", ((1, 50, (50,)), (1, 49, (49,)), end)),
            ("_2[13]", ((1, 50, (50,)), (2, 49, (49, 51)), end)),
            ("_[5-19].", ((1, 53, (57,)), dot, end)),
            ("_1[]!2", ((1, 49, (49,)), bang, (1, 50, (50,)), end)),
        ):
            self.assertEqual(Pattern.parse(text).order, order, text)

    def test_runs_of_digits(self) -> None:
        """From each place a run has the rest of the head and the sets of one digit that follow."""
        for text, runs in (
            ("_12[3-3]4X5", ["1234", "234", "34", "4", "", "5", ""]),
            ("_2X[5-5]7!", ["2", "", "57", "7", ""]),
            ("_[5-19]1", ["", "1", ""]),
            ("21", ["21", "1", ""]),
            ("_X21.3", ["", "21", "1", ""]),
        ):
            pattern = Pattern.parse(text)
            self.assertEqual([pattern.digits_from(place) for place in range(len(runs))], runs, text)

    def test_elements(self) -> None:
        """The elements behind the head are those that matching uses."""
        pattern = Pattern.parse("_2[13]X.5")
        self.assertEqual(pattern.element(1), ((2, 49, (49, 51)), frozenset("13")))
        self.assertEqual(pattern.element(2), ((10, 48, tuple(range(48, 58))), frozenset("0123456789")))
        self.assertIsNone(pattern.element(3))
        self.assertIsNone(Pattern.parse("21").element(2))


ELEMENTS = st.sampled_from(
    [
        "X",
        "N",
        "Z",
        "x",
        "n",
        "1",
        "2",
        "5",
        "9",
        "0",
        "-",
        "[12]",
        "[1-3]",
        "[5-1]",
        "[5-19]",
        "[]",
        "[31]",
        "#",
        ".",
        "!",
    ]
)
PATTERNS = st.lists(ELEMENTS, min_size=1, max_size=5).map(lambda parts: "_" + "".join(parts))
NUMBERS = st.text("0123459#-", min_size=1, max_size=6)


class AgainstTheSource(SynchronousTestCase):
    """The index compared with Asterisk's own algorithm, as in pbx.c."""

    @given(st.lists(PATTERNS, max_size=12), NUMBERS)
    def test_choice(self, patterns: list[str], number: str) -> None:
        """Loading the first of equal patterns, sorting, and taking the first match gives the same choice."""
        loaded: list[str] = []
        for text in patterns:
            if all(compare_as_pbx_c(text, other) for other in loaded):
                loaded.append(text)
        loaded.sort(key=functools.cmp_to_key(compare_as_pbx_c))
        expected = next((text for text in loaded if match_as_pbx_c(text[1:], number)), None)
        self.assertEqual(choose(patterns, number), expected, (patterns, number))


def position(text: str, place: int) -> tuple[int, bytes, int | None]:
    """ext_cmp_pattern_pos: score, bitmap, next place (None at the end)."""
    while True:
        while place < len(text) and text[place] == "-":
            place += 1
        if place >= len(text):
            return 0x30000, bytes(32), None
        character = text[place]
        place += 1
        sets = {
            "n": (0x800 | 0x32, "23456789"),
            "x": (0xA00 | 0x30, "0123456789"),
            "z": (0x900 | 0x31, "123456789"),
        }
        if character.lower() in sets:
            score, members = sets[character.lower()]
            return score, bitmap(members), place
        if character in ".!":
            return {".": 0x18000, "!": 0x28000}[character], bytes(32), place
        if character != "[":
            return 0x100 | ord(character), bitmap(character), place
        end = text.index("]", place)
        inside: set[str] = set()
        smallest = 0xFF
        while place < end:
            first = last = text[place]
            if place + 2 < end and text[place + 1] == "-":
                last = text[place + 2]
                place += 2
            smallest = min(smallest, ord(first))
            inside |= {chr(code) for code in range(ord(first), ord(last) + 1)}
            place += 1
        place = end + 1
        if inside:
            return len(inside) << 8 | smallest, bitmap("".join(inside)), place


def bitmap(members: str) -> bytes:
    """The most significant bit stands for the lowest character."""
    bits = bytearray(32)
    for member in members:
        bits[ord(member) // 8] |= 0x80 >> ord(member) % 8
    return bytes(bits)


def compare_as_pbx_c(left: str, right: str) -> int:
    """Compare two patterns as ext_cmp_pattern of Asterisk's pbx.c does."""
    one: int | None = 1
    two: int | None = 1
    while True:
        assert one is not None and two is not None
        left_score, left_bits, one = position(left, one)
        right_score, right_bits, two = position(right, two)
        if left_score != right_score:
            return left_score - right_score
        if left_bits != right_bits:
            return -1 if right_bits < left_bits else 1
        if one is None:
            return 0


def match_as_pbx_c(pattern: str, data: str) -> bool:
    """_extension_match_core, for a pattern without its mark."""
    p = d = 0
    while True:
        while data[d : d + 1] == "-":
            d += 1
        while pattern[p : p + 1] == "-":
            p += 1
        if d >= len(data) or p >= len(pattern):
            break
        sign, character = pattern[p], data[d]
        if sign == "[":
            end = pattern.index("]", p)
            if end == p + 1:
                p += 2
                continue
            p += 1
            while p < end:
                if p + 2 < end and pattern[p + 1] == "-":
                    if pattern[p] <= character <= pattern[p + 2]:
                        break
                    p += 3
                    continue
                if character == pattern[p]:
                    break
                p += 1
            if p >= end:
                return False
            p = end
        elif sign in "nN":
            if not "2" <= character <= "9":
                return False
        elif sign in "xX":
            if not "0" <= character <= "9":
                return False
        elif sign in "zZ":
            if not "1" <= character <= "9":
                return False
        elif sign in ".!":
            return True
        elif sign != character:
            return False
        p += 1
        d += 1
    return d >= len(data) and pattern[p : p + 1] in ("", "!")
