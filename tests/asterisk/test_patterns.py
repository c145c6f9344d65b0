"""The choice among dial patterns, compared with the real Asterisk's, case by case."""

from __future__ import annotations

import json
import random
from typing import Any

from pbxrouter.rules.pattern_index import PatternIndex
from pbxrouter.rules.patterns import Pattern
from tests.asterisk.harness import LAB, AsteriskTest


class PatternChoiceTest(AsteriskTest):
    """Asterisk's choice, its recorded choice and pbxrouter's are the same."""

    config = None

    def _asterisk_picks(self, cases: list[tuple[list[str], str]]) -> list[str | None]:
        """Put each case into a context of its own and ask EVAL_EXTEN which extension it takes."""
        lines = []
        for place, (patterns, _) in enumerate(cases):
            lines.append(f"[case-{place}]")
            lines += [f"exten => {pattern},1,NoOp({pattern})" for pattern in patterns]
        (self.lab.run / "etc/extensions_cases.conf").write_text("\n".join(lines) + "\n")
        self.lab.cli("dialplan reload")
        return [
            self.lab.ami.getvar(f"EVAL_EXTEN(case-{place},{number},1)") or None
            for place, (_, number) in enumerate(cases)
        ]

    def _we_pick(self, patterns: list[str], number: str) -> str | None:
        index = PatternIndex([(Pattern.parse(pattern), pattern) for pattern in patterns])
        best = index.best(number)
        return None if best is None else best[1]

    def test_recorded_cases(self) -> None:
        """lab/dialplan-cases.json has this Asterisk's choices, and pbxrouter's are the same."""
        recorded: list[dict[str, Any]] = json.loads((LAB / "dialplan-cases.json").read_text())
        cases = [(case["patterns"], case["dialled"]) for case in recorded]
        expected = [case["pick"] for case in recorded]
        self.assertEqual(self._asterisk_picks(cases), expected)
        self.assertEqual([self._we_pick(*case) for case in cases], expected)

    def test_fresh_cases(self) -> None:
        """500 random cases: the choice is Asterisk's. A failure names the seed."""
        seed = random.SystemRandom().randrange(1_000_000)
        chance = random.Random(seed)
        cases = [_random_case(chance) for _ in range(500)]
        for case, pick in zip(cases, self._asterisk_picks(cases), strict=True):
            self.assertEqual(self._we_pick(*case), pick, f"seed {seed}: {case}")


def _random_case(chance: random.Random) -> tuple[list[str], str]:
    """A few patterns, most of which match the number, and the number."""
    number = "".join(chance.choice("0123456789*#") for _ in range(chance.randint(1, 6)))
    return list(dict.fromkeys(_random_pattern(chance, number) for _ in range(chance.randint(2, 6)))), number


def _random_pattern(chance: random.Random, number: str) -> str:
    if chance.random() < 0.1:
        return number
    body = ""
    length = chance.randint(0, len(number)) if (ends := chance.choice(["", "", ".", "!"])) else len(number)
    for digit in number[:length]:
        digit = digit if chance.random() < 0.9 else chance.choice("0123456789*#")
        low = chance.randint(0, 9)
        sets = [f"[{digit}]", f"[{digit}{low}]", f"[{low}-{chance.randint(low, 9)}]"]
        body += chance.choice([digit, "-" + digit, "X", "Z", "N", *sets])
    return f"_{body}{ends}" if body + ends else "_."
