"""Watchers of AGI dialogues: which calls they see, and what of them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.dialogue_watch import DialogueLine, DialogueWatch
from pbxrouter.agi.messages import AGIRequest, parse_request
from pbxrouter.simulator import SimulatedCall
from tests.fakes import request_of

CALL = request_of(SimulatedCall("21", caller="33"))
OTHER = request_of(SimulatedCall("34", caller="44"))


class Watching(SynchronousTestCase):
    """Who is told of a call's dialogue by DialogueWatch."""

    def setUp(self) -> None:
        """A watch without watchers."""
        self.watch = DialogueWatch()
        self.seen: list[DialogueLine] = []

    def test_no_watcher(self) -> None:
        """Without watchers it is not active, and its methods do nothing."""
        self.assertFalse(self.watch.active)
        self.watch.sent(CALL, "NOOP")

    def test_directions(self) -> None:
        """Lines to Asterisk, from Asterisk and about the connection have their directions."""
        self.watch.add(self.seen.append)
        self.assertTrue(self.watch.active)
        self.watch.sent(CALL, "NOOP")
        self.watch.received(CALL, "NOOP", b"200 result=0")
        self.watch.noted(CALL, "closed")
        self.assertEqual(
            [str(line) for line in self.seen],
            [
                "1795409729.6 33->21 > NOOP",
                "1795409729.6 33->21 < 200 result=0",
                "1795409729.6 33->21 - closed",
            ],
        )

    def test_long(self) -> None:
        """Of a long line, a long caller's number and a long extension the beginning is shown."""
        self.watch.add(self.seen.append)
        call = request_of(SimulatedCall("2" * 900, caller="3" * 900))
        self.watch.received(call, "NOOP", b"200 result=1 (" + b"\xff" * 1_000_000 + b")")
        self.watch.sent(call, "x" * 5000)
        first, second = self.seen
        self.assertEqual(first.text, "200 result=1 (" + "\\udcff" * (2000 - 14))
        self.assertEqual(second.text, "x" * 2000 + "… (cut, 5000 characters)")
        self.assertEqual(first.caller, "3" * 200 + "… (cut, 900 characters)")
        self.assertEqual(first.extension, "2" * 200 + "… (cut, 900 characters)")

    def test_opened(self) -> None:
        """The opening block is shown in Asterisk's order, with the arguments last."""
        self.watch.add(self.seen.append)
        self.watch.opened(request_of(SimulatedCall("21", caller="33", arguments=("a", "b\x1b"))))
        texts = [line.text for line in self.seen]
        self.assertEqual(texts[0], "agi_network: yes")
        self.assertEqual(texts[-2:], ["agi_arg_1: a", "agi_arg_2: b\\x1b"])
        self.assertEqual({line.direction for line in self.seen}, {"<"})

    def test_choosing(self) -> None:
        """A watcher may ask for a caller, an extension or both."""
        for caller, extension, count in (
            (None, None, 2),
            ("33", None, 1),
            (None, "34", 1),
            ("33", "34", 0),
            ("33", "21", 1),
        ):
            seen: list[DialogueLine] = []
            stop = self.watch.add(seen.append, caller, extension)
            self.watch.noted(CALL, "x")
            self.watch.noted(OTHER, "x")
            stop()
            self.assertEqual(len(seen), count, (caller, extension))

    def test_stop(self) -> None:
        """Stopping ends one watcher and no other; it may be repeated, and done while a line is shown."""
        first = self.watch.add(lambda line: first())
        second = self.watch.add(self.seen.append)
        self.watch.noted(CALL, "x")
        first()
        self.assertTrue(self.watch.active)
        self.assertEqual(len(self.seen), 1)
        second()
        self.assertFalse(self.watch.active)

    def test_added_twice(self) -> None:
        """A watcher that is added twice gets lines twice; each addition is ended by its own function, once."""
        first, second = self.watch.add(self.seen.append), self.watch.add(self.seen.append)
        self.watch.noted(CALL, "x")
        self.assertEqual(len(self.seen), 2)
        first()
        first()
        self.watch.noted(CALL, "x")
        self.assertEqual((len(self.seen), self.watch.active), (3, True))
        second()
        self.assertFalse(self.watch.active)

    def test_masked(self) -> None:
        """Digits that were keyed are starred, and so is the shared secret."""
        self.watch.add(self.seen.append)
        self.watch.received(CALL, "GET DATA agent-pass 5000 20", b"200 result=123456 (timeout)")
        self.assertEqual(self.seen[0].text, "200 result=*** (timeout)")
        self.watch.opened(request_of(SimulatedCall("21", arguments=("bounded", "secret=s3cret"))))
        self.assertEqual(self.seen[-2].text, "agi_arg_1: bounded")
        self.assertEqual(self.seen[-1].text, "agi_arg_2: secret=***")
        misplaced = SimulatedCall("21", arguments=("Secret=s3cret",)).environment()
        misplaced = misplaced.replace(b"network_script: ", b"network_script: x?secret=s3cret&y=")
        self.watch.opened(parse_request(misplaced.removesuffix(b"\n\n")))
        shown = [line.text for line in self.seen if "***" in line.text]
        self.assertEqual(shown[-2:], ["agi_network_script: x?secret=***", "agi_arg_1: Secret=***"])
        self.assertNotIn("s3cret", "".join(map(str, self.seen)))

    def test_one_line(self) -> None:
        """Text that callers send is shown as one printable line."""
        request = AGIRequest({"uniqueid": "1\n", "callerid": "5\udcff", "extension": "\x1b[2J"})
        self.watch.add(self.seen.append)
        self.watch.received(request, "", b"a\xff\rb")
        self.assertEqual(str(self.seen[0]), "1\\n 5\\udcff->\\x1b[2J < a\\udcff\\rb")

    def test_unknown_caller(self) -> None:
        """The caller of a call that shows no number is unknown."""
        self.watch.add(self.seen.append)
        self.watch.noted(AGIRequest({}), "x")
        self.assertEqual(self.seen[0].caller, "unknown")
