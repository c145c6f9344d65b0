"""Warnings about rules: every kind, for a page and for all rules, at a bounded cost."""

from __future__ import annotations

import random
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.rules.applications import Applications
from pbxrouter.rules.model import Mapping
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.rules.warnings import (
    CODES,
    KEPT,
    SLICE,
    RuleWarning,
    RuleWarnings,
    Survey,
)
from pbxrouter.text import Sentence, sentence
from tests.fakes import hash_pin, workshop_rules
from tests.work import calls

DRIVERS = ("dial", "voicemail", "conference")


def warnings_of(*mappings: Mapping, granted: bool = True) -> RuleWarnings:
    """The warnings of mappings that 33, or no caller, may use."""
    grants = frozenset(mapping.map_id for mapping in mappings) if granted else frozenset()
    return RuleWarnings(RuleSet.build(mappings, [("33", grants)], [], hash_pin), DRIVERS)


def rule(map_id: int, pattern: str, application: str = "dial", enabled: bool = True) -> Mapping:
    """A mapping; its data does not matter."""
    return Mapping(map_id, pattern, application, "SIP", enabled)


class Refusing(Applications):
    """Applications that accept no data."""

    def data_problem(self, application: str, data: str) -> Sentence:
        """Refuse what it is given."""
        return sentence("{data} is no data of {name}", data=data, name=application)


def told(warnings: Iterable[RuleWarning]) -> list[tuple[str, str]]:
    """Code and English text of each warning."""
    return [(warning.code, warning.sentence.english) for warning in warnings]


class OfMappings(SynchronousTestCase):
    """Warnings about mappings in a list."""

    def words(self, *mappings: Mapping, granted: bool = True) -> list[tuple[str, str]]:
        """The warnings about the last mapping."""
        map_id = mappings[-1].map_id
        found = warnings_of(*mappings, granted=granted).of_mappings([map_id])
        self.assertEqual({warning.map_id for warning in found.get(map_id, ())} - {map_id}, set())
        return told(found.get(map_id, ()))

    def test_well(self) -> None:
        """A good mapping and a missing one have no warning."""
        self.assertEqual(self.words(rule(1, "2X")), [])
        self.assertEqual(self.words(rule(1, "2X", "DIAL")), [])
        self.assertEqual(warnings_of(rule(1, "2X")).of_mappings([1, 99]), {})

    def test_shadowed(self) -> None:
        """A mapping shadowed by one, some or many, or by the same pattern, has a warning."""
        self.assertEqual(
            self.words(rule(1, "21"), rule(2, "_21")),
            [("shadowed", "_21 can never match: 21 always wins")],
        )
        self.assertEqual(
            self.words(rule(1, "1X"), rule(2, "2X"), rule(3, "[12]X")),
            [("shadowed", "[12]X can never match: 1X, 2X always win")],
        )
        ten = [rule(digit, f"2{digit}") for digit in range(10)]
        ((code, words),) = self.words(*ten, rule(11, "2X"))
        self.assertEqual(code, "shadowed")
        self.assertRegex(words, r"^2X can never match: 2\d, 2\d, 2\d and 7 more always win$")
        self.assertEqual(
            self.words(rule(7, "_2X"), rule(8, "2X")),
            [("shadowed", "2X can never match: _2X of mapping 7 is the same pattern and comes first")],
        )

    def test_how_many_are_named(self) -> None:
        """Of the mappings that win three are named, and further ones counted."""
        three = [rule(number, f"_{digit}X") for number, digit in enumerate("[12] [34] [56]".split(), 1)]
        self.assertEqual(
            self.words(*three, rule(9, "[1-6]X")),
            [("shadowed", "[1-6]X can never match: _[12]X, _[34]X, _[56]X always win")],
        )
        ((_, said),) = self.words(*three, rule(8, "[78]X"), rule(9, "[1-8]X"))
        self.assertRegex(
            said, r"^\[1-8\]X can never match: _?\[\d\d\]X, _?\[\d\d\]X, _?\[\d\d\]X and 1 more always win$"
        )

    def test_kinds(self) -> None:
        """The kinds are in order of severity; two are notes, since they may be intended."""
        self.assertEqual(
            CODES,
            (
                "problem",
                "unreadable",
                "never-matches",
                "shadowed",
                "not-granted",
                "no-driver",
                "cannot-work",
                "not-a-number",
                "no-pin",
                "no-grant",
            ),
        )
        notes = [code for code in CODES if RuleWarning(code, sentence("x")).is_note]
        self.assertEqual(notes, ["no-pin", "no-grant"])

    def test_whom_it_concerns(self) -> None:
        """A warning names its mapping, extension or user, and nothing else."""
        warnings = warnings_of(rule(1, "[2"), rule(2, "2X"), granted=False)
        ((unreadable,), (not_granted,)) = warnings.of_mappings([1, 2]).values()
        (extension,) = warnings.of_extension("33")
        no_pin, no_grant = warnings.of_user("ana", False, False)
        self.assertEqual(
            [
                (row.code, row.map_id, row.extension, row.user)
                for row in (unreadable, not_granted, extension, no_pin, no_grant)
            ],
            [
                ("unreadable", 1, None, None),
                ("not-granted", 2, None, None),
                ("no-grant", None, "33", None),
                ("no-pin", None, None, "ana"),
                ("no-grant", None, None, "ana"),
            ],
        )

    def test_problems(self) -> None:
        """What could not be loaded, except unreadable mappings, which the list of mappings shows."""
        rules = RuleSet.build([rule(1, "[2"), rule(2, "2X")], [], [], hash_pin, ["first", "second"])
        self.assertEqual(told(RuleWarnings(rules, DRIVERS).problems()), [("problem", "first"), ("problem", "second")])

    def test_some_of_a_page(self) -> None:
        """Only mappings with a warning are listed; grants to others do not count for them."""
        rules = RuleSet.build(
            [rule(1, "1X"), rule(2, "2X"), rule(3, "3X"), rule(4, "4X")],
            [("33", frozenset({1, 9})), ("34", frozenset({4}))],
            [("ana", "h", frozenset({2})), ("eva", None, frozenset({3, 2}))],
            hash_pin,
        )
        for map_ids, listed in (([1, 2, 3, 4], [3]), ([3], [3]), ([1, 2], []), ([4], []), ([], [])):
            self.assertEqual(list(RuleWarnings(rules, DRIVERS).of_mappings(map_ids)), listed)

    def test_left_out(self) -> None:
        """A pattern that cannot be read, or that no phone can dial, has a warning."""
        self.assertEqual(
            self.words(rule(1, "[2")),
            [("unreadable", "mapping 1 is left out: pattern '[2' has a [ without its ]")],
        )
        self.assertEqual(
            self.words(rule(1, "2[5-1]")), [("never-matches", "2[5-1] matches no number that can be dialled")]
        )

    def test_no_caller(self) -> None:
        """A mapping without a grant, or with grants of users without a PIN only, has a warning."""
        said = "no extension or user has a grant for 2X, so no caller can use it"
        self.assertEqual(self.words(rule(1, "2X"), granted=False), [("not-granted", said)])
        for pin, expected in (
            (None, "only users without a PIN have a grant for 2X, so no caller can use it"),
            ("h", None),
        ):
            rules = RuleSet.build([rule(1, "2X")], [("", frozenset({1}))], [("pepe", pin, frozenset({1}))], hash_pin)
            found = RuleWarnings(rules, DRIVERS).of_mappings([1])
            self.assertEqual(told(found.get(1, ())), [("not-granted", expected)] if expected else [])

    def test_no_driver(self) -> None:
        """The warning about a missing driver has the words of a decision."""
        self.assertEqual(self.words(rule(1, "2X", "fax")), [("no-driver", "no driver provides the application fax")])

    def test_cannot_work(self) -> None:
        """What a driver says against a mapping's data, or its pattern, is a warning that names the pattern."""
        grants = [("33", frozenset({1, 2}))]
        rules = RuleSet.build([rule(1, "2X"), rule(2, "3X", "fax")], grants, [], hash_pin)
        found = RuleWarnings(rules, Refusing(["dial"])).of_mappings([1, 2])
        self.assertEqual(
            [told(warnings) for warnings in found.values()],
            [
                [("cannot-work", "2X cannot work: SIP is no data of dial")],
                [("no-driver", "no driver provides the application fax")],
            ],
        )
        self.assertEqual([warning.map_id for warning in found[1]], [1])

    def test_several(self) -> None:
        """Several warnings have the most severe first."""
        found = self.words(rule(1, "2X"), rule(2, "2X", "fax"), granted=False)
        self.assertEqual([code for code, _ in found], ["shadowed", "not-granted", "no-driver"])
        self.assertEqual(sorted(found, key=lambda row: CODES.index(row[0])), found)

    def test_switched_off(self) -> None:
        """A disabled mapping has a warning only for what could never be right."""
        self.assertEqual(self.words(rule(1, "2X"), rule(2, "2X", "fax", enabled=False), granted=False), [])
        self.assertEqual(len(self.words(rule(1, "2[5-1]", enabled=False))), 1)
        self.assertEqual(len(self.words(rule(1, "[2", enabled=False))), 1)

    def test_quick(self) -> None:
        """A page of 50 among 20 000 mappings and 20 000 extensions takes bounded work."""
        some = random.Random(1)
        mappings = [rule(map_id, f"_00{some.randrange(10**6)}X.") for map_id in range(20_000)]
        holders = [(str(1000 + index), frozenset(some.sample(range(20_000), 5))) for index in range(20_000)]
        warnings = RuleWarnings(RuleSet.build(mappings, holders, [], hash_pin), DRIVERS)
        with calls() as count:
            warnings.of_mappings(range(10_000, 10_050))
        self.assertLess(count.total, 100_000)  # once for each holder, not once for each mapping


class OfHolders(SynchronousTestCase):
    """Warnings about extensions and users."""

    def test_extensions(self) -> None:
        """An extension without a grant has a warning; a missing one has none."""
        warnings = warnings_of(rule(1, "2X"), granted=False)
        self.assertEqual(
            told(warnings.of_extension("33")),
            [("no-grant", "33 has no grants: every number that it dials asks for a PIN")],
        )
        self.assertTrue(warnings.of_extension("33")[0].is_note)
        self.assertEqual(warnings.of_extension("34"), ())
        self.assertEqual(warnings_of(rule(1, "2X")).of_extension("33"), ())

    def test_numbers_that_no_call_shows(self) -> None:
        """An extension whose number no call can show has a warning, before that about its grants."""
        rules = RuleSet.build([], [("PJSIP/33", frozenset())], [], hash_pin)
        found = RuleWarnings(rules, DRIVERS).of_extension("PJSIP/33")
        self.assertEqual(
            [(row.code, row.extension) for row in found], [("not-a-number", "PJSIP/33"), ("no-grant", "PJSIP/33")]
        )
        self.assertFalse(found[0].is_note)

    def test_repeated(self) -> None:
        """A row of the extensions that is ignored has a warning, by its number in the table; others have none."""
        why = sentence("{number} is there twice", number="33")
        rules = RuleSet.build([], [("33", frozenset())], [], hash_pin, repeated_extensions={7: (2, why)})
        warnings = RuleWarnings(rules, DRIVERS)
        self.assertEqual(told(warnings.of_repeated(7)), [("problem", "33 is there twice")])
        self.assertEqual(warnings.of_repeated(2), ())

    def test_users(self) -> None:
        """A user without a PIN or without a grant has a warning."""
        warnings = warnings_of(rule(1, "2X"))
        self.assertEqual(warnings.of_user("pepe", True, True), ())
        self.assertEqual(
            told(warnings.of_user("pepe", False, False)),
            [
                ("no-pin", "pepe has no PIN, so no caller can identify as pepe"),
                ("no-grant", "pepe has no grants: their PIN allows no calls"),
            ],
        )


class OfAll(SynchronousTestCase):
    """Warnings of all rules."""

    def test_workshop(self) -> None:
        """The workshop's rules have one warning: the outside line is granted to no caller."""
        survey = RuleWarnings(workshop_rules(), DRIVERS).survey()
        self.assertEqual(dict(survey.counts), {"not-granted": 1})
        self.assertEqual(survey.map_ids["not-granted"], frozenset({3}))
        self.assertEqual((survey.total, survey.mappings), (1, 5))

    def test_everything(self) -> None:
        """Each kind is counted, the same as page by page; notes are not in the total."""
        rules = RuleSet.build(
            [
                rule(1, "[2"),
                rule(2, "2[5-1]"),
                rule(3, "3X"),
                rule(4, "3X"),
                rule(5, "4X", "fax"),
                rule(6, "5X"),
            ],
            [("33", frozenset({4, 5})), ("34", frozenset())],
            [("pepe", None, frozenset({6})), ("ana", "h", frozenset()), ("eva", "i", frozenset({2, 3}))],
            hash_pin,
            [sentence("a grant of user {user} is left out: there is no mapping {map_id}", user="eva", map_id=9)],
        )
        warnings = RuleWarnings(rules, DRIVERS)
        survey = warnings.survey()
        self.assertEqual(
            dict(survey.counts),
            {
                "problem": 1,
                "unreadable": 1,
                "never-matches": 1,
                "shadowed": 1,
                "no-driver": 1,
                "not-granted": 1,
                "no-grant": 2,
                "no-pin": 1,
            },
        )
        self.assertEqual(survey.total, 6)
        pages = RuleWarnings(rules, DRIVERS).of_mappings(range(1, 7))
        by_page = {(warning.code, map_id) for map_id, found in pages.items() for warning in found}
        by_survey = {(code, map_id) for code, map_ids in survey.map_ids.items() for map_id in map_ids}
        self.assertEqual(by_page, by_survey)
        self.assertEqual(warnings.of_mappings(range(1, 7)), pages)
        self.assertEqual({row.user for row in survey.first["no-pin"]}, {"pepe"})
        self.assertEqual({(row.user, row.extension) for row in survey.first["no-grant"]}, {("ana", None), (None, "34")})

    def test_first_of_each_kind(self) -> None:
        """The first warnings are kept in order, and the mappings of every one."""
        survey = warnings_of(*(rule(index, f"2{index}") for index in range(10, 20)), granted=False).survey()
        self.assertEqual([row.map_id for row in survey.first["not-granted"]], list(range(10, 20)))
        self.assertEqual(survey.map_ids, {"not-granted": frozenset(range(10, 20))})
        self.assertEqual(KEPT, 20)

    def test_slices(self) -> None:
        """A survey goes on in slices of one mapping, or of SLICE extensions or users."""
        many = 10 * SLICE
        rules = RuleSet.build(
            [rule(1, "2X"), rule(2, "[3"), rule(3, "3X")],
            [(str(number), frozenset({1})) for number in range(many)],
            [(f"user {number}", f"{number}" if number % 2 else None, frozenset({3})) for number in range(many)],
            hash_pin,
        )
        for drivers in (DRIVERS, ()):
            warnings = RuleWarnings(rules, drivers)
            slices = 0
            work = warnings.survey_in_slices()
            while True:
                with calls() as count:
                    ended = next(work, work) is work
                if ended:
                    break
                self.assertLess(count.total, 20 * SLICE)
                slices += 1
            # Extensions and users with a PIN for their grants, users without one; then each of them for warnings.
            self.assertEqual(slices, 3 + (15 + 5) + (10 + 10))

    def test_some(self) -> None:
        """A page of one kind is made of any place, beyond the first that are kept, for every kind of subject."""
        rules = RuleSet.build(
            [*(rule(index, f"2{index}") for index in range(10, 40)), rule(50, "3X", "fax")],
            [(f"9{index}", frozenset({50} - {index})) for index in (1, 50)],
            [("pepe", None, frozenset({50})), ("ana", "h", frozenset()), ("eva", "i", frozenset({50}))],
            hash_pin,
            ["first", "second", "third"],
        )
        warnings = RuleWarnings(rules, DRIVERS)
        survey = warnings.survey()
        self.assertEqual([row.map_id for row in survey.some("not-granted", 18, 5)], [28, 29, 30, 31, 32])
        self.assertEqual(told(survey.some("problem", 1, 1)), [("problem", "second")])
        self.assertEqual([row.extension for row in survey.some("no-grant", 0, 1)], ["950"])
        self.assertEqual([row.user for row in survey.some("no-grant", 1, 9)], ["ana"])
        self.assertEqual([row.user for row in survey.some("no-pin", 0, 9)], ["pepe"])
        self.assertEqual(
            told(survey.some("no-driver", 0, 9)), [("no-driver", "no driver provides the application fax")]
        )
        self.assertEqual(survey.some("no-driver", 1, 9), ())
        self.assertEqual(survey.some("shadowed", 0, 9), ())
        for code in survey.counts:
            self.assertEqual(survey.some(code, 0, KEPT), survey.first[code], code)

    def test_some_without_the_rules(self) -> None:
        """A survey that does not know its rules pages the first warnings only."""
        first = tuple(RuleWarning("problem", sentence(word)) for word in ("first", "second", "third"))
        survey = Survey({"problem": 9}, {"problem": first}, {}, 0)
        self.assertEqual(survey.some("problem", 1, 5), first[1:])
        self.assertEqual(survey.some("problem", 0, 1), first[:1])
        self.assertEqual(survey.some("shadowed", 0, 5), ())

    def test_about_one(self) -> None:
        """Before a survey, too, the warnings of one kind about a mapping are those of its page."""
        warnings = warnings_of(rule(1, "2X"), rule(2, "3X"), granted=False)
        self.assertEqual([row.map_id for row in warnings.about("not-granted", [2, 1])], [2, 1])

    def test_bounded(self) -> None:
        """Of each kind the first warnings are kept, and all are counted."""
        survey = warnings_of(*(rule(index, f"2{index}") for index in range(100)), granted=False).survey()
        self.assertEqual((survey.counts["not-granted"], len(survey.first["not-granted"])), (100, KEPT))
        self.assertEqual(len(survey.map_ids["not-granted"]), 100)


class Kept(SynchronousTestCase):
    """What a survey keeps for later pages."""

    def test_grants_are_kept(self) -> None:
        """After a survey a page says the same, and does not go through the grants again."""
        mappings = [rule(number, f"2{number:03}") for number in range(10)]
        extensions = [(f"3{number}", frozenset({number % 5})) for number in range(2000)]
        warnings = RuleWarnings(RuleSet.build(mappings, extensions, [], hash_pin), DRIVERS)
        with calls() as before:
            page = warnings.of_mappings(range(10))
        warnings.survey()
        with calls() as after:
            self.assertEqual(warnings.of_mappings(range(10)), page)
        self.assertEqual(sorted(page), [5, 6, 7, 8, 9])
        self.assertGreater(before.total, 2000)
        self.assertLess(after.total, 2000)
