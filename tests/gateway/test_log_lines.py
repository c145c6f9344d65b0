"""Log lines can be written and are bounded, also when they quote hostile text."""

from __future__ import annotations

import io
import sys

from twisted.logger import Logger, LogPublisher, textFileLogObserver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.gateway.log_lines import MAX_MESSAGE, MAX_TRACEBACK, LineCleaner, clean, clean_log
from tests.hostile_text import TEXTS


class Unspeakable(Exception):
    """An exception whose text cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class LineTests(SynchronousTestCase):
    """A log in a file, with the observer ahead of the one that writes."""

    def setUp(self) -> None:
        """Open the log."""
        self.file = io.BytesIO()
        self.publisher = LogPublisher()
        clean_log(self.publisher)
        self.publisher.addObserver(textFileLogObserver(self.file))
        self.log = Logger("test", observer=self.publisher)

    def written(self) -> str:
        """What has been written since the last call."""
        text = self.file.getvalue().decode("utf-8")
        self.file.seek(0)
        self.file.truncate()
        return text

    def test_usual(self) -> None:
        """A usual line is not touched."""
        event = {"log_format": "{who} called", "who": "Núñez"}
        LineCleaner()(event)
        self.assertEqual(event, {"log_format": "{who} called", "who": "Núñez"})

    def test_hostile(self) -> None:
        """Any text in a value, a format or an exception is written as one bounded line, or a traceback."""
        for name, text in TEXTS.items():
            value = text.decode("utf-8", "surrogateescape")
            self.log.info("call of {caller}", caller=value)
            self.log.info(value.replace("{", "{{").replace("}", "}}"))
            self.log.failure("it failed: {why}", Failure(ValueError(value)), why=value)
            written = self.written()
            self.assertEqual(written.count("test#"), 3, name)
            self.assertNotIn("UNFORMATTABLE", written, name)
            self.assertLess(len(written), 12 * (3 * MAX_MESSAGE + MAX_TRACEBACK), name)
            for line in written.split("\n"):
                self.assertTrue(line.replace("\t", "").isprintable(), f"{name}: {line[:200]!a}")

    def test_traceback(self) -> None:
        """Of a long traceback the beginning and the end are written."""
        self.log.failure("it failed", Failure(ValueError("a" + "x" * 1_000_000 + "z")))
        written = self.written()
        self.assertIn("Traceback", written)
        self.assertIn("characters left out", written)
        self.assertTrue(written.rstrip().endswith("z"))

    def test_unspeakable(self) -> None:
        """So is an exception whose text cannot be made."""
        self.log.failure("it failed", Failure(Unspeakable()))
        self.assertIn("it failed", self.written())

    def test_lines(self) -> None:
        """Line ends and tabs of a message stay; all other controls are escaped."""
        self.assertEqual(clean("a\n\tb\r\x1b", 99), "a\n\tb\\r\\x1b")
        self.assertEqual(clean("x" * 20, 10), "x" * 10 + "… (cut, 20 characters)")

    def test_traceback_that_cannot_be_made(self) -> None:
        """An event whose traceback fails when it is made is written all the same, with the exception's type."""

        class Broken(Failure):
            """A failure without a traceback."""

            def getTraceback(self, *arguments: object, **named: object) -> str:
                """Raise, as a broken exception does."""
                raise RuntimeError("no traceback")

        self.log.failure("it failed", Broken(ValueError("why")))
        written = self.written()
        self.assertIn("it failed", written)
        self.assertIn("(a traceback that cannot be shown, of <class 'ValueError'>)", written)

    def test_streams(self) -> None:
        """What the terminal's encoding lacks is escaped; a stream that has no encoding to set is left as it is."""
        raw = io.BytesIO()
        terminal = io.TextIOWrapper(raw, "ascii")
        self.patch(sys, "stdout", io.StringIO())
        self.patch(sys, "stderr", terminal)
        clean_log(LogPublisher())
        terminal.write("Núñez\n")
        terminal.flush()
        self.assertEqual(raw.getvalue(), b"N\\xfa\\xf1ez\n")
