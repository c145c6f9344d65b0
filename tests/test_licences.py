"""docs/licences.md lists the licence of every package that an installed gateway has."""

from __future__ import annotations

import os
import re
from email.message import Message
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from tests import test_lock

ROOT = Path(__file__).resolve().parent.parent
ACCEPTED = {
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "Apache-2.0",
    "ISC",
    "PSF-2.0",
    "ZPL-2.1",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
}
_ROW = re.compile(r"^\| (?!package )([a-z0-9-]+) \| ([^|]+) \|$", re.MULTILINE)
_WORDS = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
}
"""Classifiers of packages that do not give an SPDX expression."""


def licence(package: str) -> str:
    """The licence of an installed package, as an SPDX expression where its metadata has one."""
    metadata = cast(Message, distribution(package).metadata)
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = metadata.get_all("Classifier") or []
    last = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")]
    return _WORDS[last[-1]] if last else str(metadata.get("License") or "unknown")


class LicenceTests(SynchronousTestCase):
    """The list of licences."""

    def test_list(self) -> None:
        """It has each locked package of the gateway once, with the licence that the installed one states."""
        rows = _ROW.findall((ROOT / "docs" / "licences.md").read_text(encoding="utf-8"))
        listed = dict(rows)
        self.assertEqual(len(listed), len(rows))
        self.assertEqual(set(listed), {entry.name for entry in test_lock.locked("run.txt")} - {"setuptools"})
        if os.environ.get("PBXROUTER_UNLOCKED"):
            return
        for package, said in listed.items():
            try:
                found = licence(package)
            except PackageNotFoundError:  # another Python's
                continue
            self.assertEqual(said, found, package)

    def test_accepted(self) -> None:
        """Each licence lets an owner run and pass on the gateway, which is under MIT."""
        for package, said in _ROW.findall((ROOT / "docs" / "licences.md").read_text(encoding="utf-8")):
            for word in re.split(r" (?:OR|AND) ", said):
                self.assertIn(word, ACCEPTED, package)
