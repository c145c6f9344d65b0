"""Phones and contexts: what is one, what could be mistaken for one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.rules.phones import is_context, read_phone

TECHNOLOGIES = {"SIP": "PJSIP", "Zap": "DAHDI", "desk": "IAX2/loop"}


class PhoneTests(SynchronousTestCase):
    """Phones."""

    def test_phones(self) -> None:
        """A technology by its configured or its real name, and a name."""
        for text, phone in (
            ("PJSIP/33", ("PJSIP", "33")),
            ("SIP/33", ("PJSIP", "33")),
            ("sip/33", ("PJSIP", "33")),
            ("desk/31", ("IAX2", "31")),
            ("IAX2/a.b-c_d", ("IAX2", "a.b-c_d")),
        ):
            self.assertEqual(read_phone(text, TECHNOLOGIES), phone)

    def test_others(self) -> None:
        """Several at once, options, line ends, what is no phone."""
        for text in ("", "33", "PJSIP/", "PJSIP/33&PJSIP/21", "PJSIP/33@x", "PJSIP/33\r\nX: y", "Local/33"):
            self.assertIsNone(read_phone(text, TECHNOLOGIES), text)

    @given(st.text(max_size=30))
    def test_anything(self, text: str) -> None:
        """A text that is accepted as a phone contains nothing that ends an AMI header or names two phones."""
        found = read_phone(text, TECHNOLOGIES)
        if found:
            self.assertRegex("/".join(found), r"\A[A-Za-z0-9]+/[A-Za-z0-9_.-]+\Z")


class ContextTests(SynchronousTestCase):
    """Contexts."""

    def test_contexts(self) -> None:
        """Letters, digits, _ and -."""
        self.assertTrue(is_context("pbxrouter-phones"))
        for text in ("", "a b", "a,1", "a\n", "-a", "a" * 80):
            self.assertFalse(is_context(text), text)
