"""The hierarchy of exceptions, each with a message of one line."""

from __future__ import annotations

import inspect

from twisted.trial.unittest import SynchronousTestCase

from pbxrouter import errors
from pbxrouter.text.sentences import sentence


class Tree(SynchronousTestCase):
    """The hierarchy and its messages."""

    def test_one_root(self) -> None:
        """All exceptions have one root, and a message for people."""
        own = inspect.getmembers(
            errors, lambda member: inspect.isclass(member) and member.__module__ == errors.__name__
        )
        for name, kind in own:
            self.assertTrue(issubclass(kind, errors.PbxrouterError), name)
            self.assertTrue(inspect.getdoc(kind), name)

    def test_gone(self) -> None:
        """A lost connection is a hang-up; neither is a ProtocolViolation, and both have a message."""
        self.assertTrue(issubclass(errors.ConnectionClosed, errors.ChannelHungUp))
        self.assertFalse(issubclass(errors.ChannelHungUp, errors.ProtocolViolation))
        self.assertEqual(str(errors.ChannelHungUp()), "the channel is hung up")
        self.assertEqual(str(errors.ConnectionClosed()), "the connection was closed")

    def test_refused_command(self) -> None:
        """The message names code and command."""
        error = errors.CommandRefused(510, "FOO", "Invalid or unknown command")
        self.assertEqual(str(error), "Asterisk answered 510 to FOO: Invalid or unknown command")
        self.assertEqual(error.code, 510)

    def test_a_line_that_can_be_translated(self) -> None:
        """A Sentence is kept as it is; a text becomes a Sentence without placeholders."""
        said = errors.EditRefused(sentence("{name} is too long", name="x"), field="name")
        self.assertEqual(
            (str(said), said.sentence.message, said.field), ("x is too long", "{name} is too long", "name")
        )
        self.assertEqual(errors.StoreError("it is {gone}").sentence.english, "it is {gone}")
