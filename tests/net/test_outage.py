"""An outage: since when, why, and what the log says of it."""

from __future__ import annotations

from typing import cast

from twisted.logger import LogEvent, Logger, LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import StoreError
from pbxrouter.net.outage import Outage
from pbxrouter.text.sentences import Sentence, sentence


class OutageTests(SynchronousTestCase):
    """Outage logs once that a part is away, and once that it is back."""

    def setUp(self) -> None:
        """There is none yet, and the log is watched."""
        self.now = 1000.0
        self.outage = Outage(
            Logger("pbxrouter.test"),
            lambda: self.now,
            "tea {name}: cannot be made: {error}",
            "tea {name}: is made again",
            name="green",
        )
        self.logs = cast("list[LogEvent]", self.enterContext(capturedLogs()))

    def lines(self) -> list[tuple[LogLevel, str]]:
        """Level and text of the lines since the last look."""
        lines = [
            (event["log_level"], event["log_format"].format(name=event["name"], error=event.get("error")))
            for event in self.logs
        ]
        self.logs.clear()
        return lines

    def test_none(self) -> None:
        """Successes without an outage change nothing and log nothing."""
        self.outage.over()
        self.outage.over()
        self.assertEqual((self.outage.away_since, self.outage.trouble, self.lines()), (None, None, []))

    def test_begins_and_ends(self) -> None:
        """The first failure and the first success are logged; time is the first failure's, reason the last one's."""
        for reason in ("no water", "no leaves"):
            self.outage.failed(StoreError(sentence("{what} left", what=reason)))
            self.now += 5
        self.assertEqual(self.outage.away_since, 1000.0)
        assert self.outage.trouble is not None
        self.assertEqual(self.outage.trouble.english, "no leaves left")
        self.assertEqual(self.lines(), [(LogLevel.error, "tea green: cannot be made: no water left")])
        self.outage.over()
        self.outage.over()
        self.assertEqual((self.outage.away_since, self.outage.trouble), (None, None))
        self.assertEqual(self.lines(), [(LogLevel.info, "tea green: is made again")])

    def test_again(self) -> None:
        """A second outage has its own time and its own lines."""
        self.outage.failed(StoreError("no water"))
        self.outage.over()
        self.lines()
        self.now = 2000.0
        self.outage.failed(ValueError("no {fire}"))
        self.assertEqual(self.outage.away_since, 2000.0)
        self.assertEqual(self.lines(), [(LogLevel.error, "tea green: cannot be made: no {fire}")])

    def test_noted(self) -> None:
        """What the caller has logged begins an outage without a line; its end has one, and so has a failure in it."""
        self.outage.note(Sentence("the kettle broke"))
        self.assertEqual((self.outage.away_since, self.outage.trouble), (1000.0, Sentence("the kettle broke")))
        self.assertEqual(self.lines(), [])
        self.outage.failed(StoreError("no water"))
        self.assertEqual(self.outage.away_since, 1000.0)
        self.assertEqual(len(self.lines()), 1)
        self.outage.over()
        self.assertEqual(len(self.lines()), 1)
