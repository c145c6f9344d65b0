"""The commands that end a forged call."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.fastagi.refusal import DRAIN_S, MAX_REST, STEP_S, ForgedCallEnding

WORDS = [b"SET VARIABLE PBXROUTER refused\n", b"HANGUP\n"]


class LastWords(SynchronousTestCase):
    """ForgedCallEnding: what is sent to a forged call before it is closed."""

    def begin(self, asked: bool = False) -> ForgedCallEnding:
        """Begin an ending whose commands and end are recorded."""
        self.clock = Clock()
        self.said: list[bytes] = []
        self.ends = 0
        refusal = ForgedCallEnding(self.said.append, self.end, self.clock, asked)
        if not asked:
            self.assertEqual(self.said, [])
            refusal.data_received(b"200 result=1\n")  # still of what was forged
            self.assertEqual(self.said, [])
            self.clock.advance(DRAIN_S)
        return refusal

    def end(self) -> None:
        """Count that the connection was ended."""
        self.ends += 1

    def test_replies(self) -> None:
        """After anything that looks like a reply, forged or not, the next command is sent."""
        refusal = self.begin()
        self.assertEqual(self.said, WORDS[:1])
        refusal.data_received(b"agi_callerid: 22\n200 result=1\n")
        self.assertEqual(self.said, WORDS)
        refusal.data_received(b"511 Command Not Permitted\n")
        self.assertEqual((self.ends, self.clock.getDelayedCalls()), (1, []))

    def test_hurry(self) -> None:
        """In a hurry the first command is sent without waiting for the rest of the opening; only once."""
        self.clock = Clock()
        self.said = []
        refusal = ForgedCallEnding(self.said.append, self.end, self.clock, False)
        for _ in range(2):
            refusal.hurry()
            self.assertEqual(self.said, WORDS[:1])
        refusal.data_received(b"200 result=1\n")
        self.assertEqual(self.said, WORDS)

    def test_what_is_no_reply(self) -> None:
        """Other lines, HANGUP among them, are not taken for a reply."""
        refusal = self.begin()
        for data in (b"HANGUP\n", b"agi_x: 200 result=1\n", b"x\n", b"2000\n", b""):
            refusal.data_received(data)
        self.assertEqual(self.said, WORDS[:1])

    def test_endless(self) -> None:
        """A peer that sends without end is closed at once."""
        refusal = self.begin()
        for _ in range(MAX_REST // 65536 - 1):
            refusal.data_received(b"a" * 65536)
        self.assertEqual((self.said, self.ends), (WORDS[:1], 0))
        refusal.data_received(b"a" * 65536)
        self.assertEqual((self.said, self.ends, self.clock.getDelayedCalls()), (WORDS[:1], 1, []))

    def test_all_that_may_come(self) -> None:
        """A peer may send MAX_REST bytes; it is closed by the next one."""
        refusal = self.begin(asked=True)
        refusal.data_received(b"a" * MAX_REST)
        self.assertEqual(self.ends, 0)
        refusal.data_received(b"a")
        self.assertEqual(self.ends, 1)

    def test_silence(self) -> None:
        """Each reply is waited for a second."""
        self.begin()
        self.clock.advance(STEP_S)
        self.assertEqual(self.said, WORDS)
        self.clock.advance(STEP_S)
        self.assertEqual((self.ends, self.clock.getDelayedCalls()), (1, []))

    def test_asked(self) -> None:
        """A command that was sent before gets its reply first, or a second."""
        refusal = self.begin(asked=True)
        self.assertEqual(self.said, [])
        refusal.data_received(b"200 result=12\n")
        self.assertEqual(self.said, WORDS[:1])
        self.begin(asked=True)
        self.clock.advance(0.9)
        self.assertEqual(self.said, [])
        self.clock.advance(0.1)
        self.assertEqual(self.said, WORDS[:1])
        self.clock.advance(0.9)
        self.assertEqual(self.said, WORDS[:1])

    def test_stopped(self) -> None:
        """When the connection is gone nothing more is sent."""
        self.begin().stop()
        self.clock.advance(10)
        self.assertEqual((self.said, self.ends), (WORDS[:1], 0))
