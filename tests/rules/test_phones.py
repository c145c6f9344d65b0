"""Phones and contexts: which texts are accepted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.errors import EditRefused
from pbxrouter.rules.phones import (
    extension_number,
    extension_problem,
    is_context,
    read_endpoint,
    read_phone,
)

TECHNOLOGIES = {"SIP": "PJSIP", "Zap": "DAHDI", "desk": "IAX2/loop"}


class PhoneTests(SynchronousTestCase):
    """Which channels are phones that may be dialled."""

    def test_phones(self) -> None:
        """A phone is a technology, by its configured or real name, and a name."""
        for text, phone in (
            ("PJSIP/33", ("PJSIP", "33")),
            ("SIP/33", ("PJSIP", "33")),
            ("sip/33", ("PJSIP", "33")),
            ("desk/31", ("IAX2", "31")),
            ("IAX2/a.b-c_d", ("IAX2", "a.b-c_d")),
        ):
            self.assertEqual(read_phone(text, TECHNOLOGIES), phone)

    def test_each_technology_of_phones(self) -> None:
        """Technologies are accepted in any case; without settings they keep their spelling."""
        for technology in ("PJSIP", "SIP", "IAX2", "DAHDI", "Zap", "SCCP", "Skinny", "MGCP", "UniStim"):
            for written in (technology, technology.lower(), technology.upper()):
                self.assertEqual(read_phone(f"{written}/33", {}), (written, "33"))
        for technology in ("Local", "CBAnn", "AudioSocket", "desk"):
            self.assertIsNone(read_phone(f"{technology}/33", {}), technology)

    def test_configured_technologies(self) -> None:
        """A technology is found by its configured name, then in any case, then by its real name; Local is no phone."""
        technologies = {"desk": "Motif/x", "Desk": "Console", "trunk": "Local"}
        for text, phone in (
            ("desk/a", ("Motif", "a")),
            ("Desk/a", ("Console", "a")),
            ("DESK/a", ("Console", "a")),
            ("motif/a", ("motif", "a")),
            ("console/a", ("console", "a")),
            ("trunk/a", ("Local", "a")),
            ("local/a", None),
        ):
            self.assertEqual(read_phone(text, technologies), phone, text)

    def test_how_long_a_name_may_be(self) -> None:
        """A phone's name has up to 64 characters."""
        self.assertEqual(read_phone("SIP/" + "a" * 64, {}), ("SIP", "a" * 64))
        self.assertIsNone(read_phone("SIP/" + "a" * 65, {}))
        self.assertEqual(read_phone("SIP/3", {}), ("SIP", "3"))

    def test_how_short_a_name_may_be(self) -> None:
        """A phone's name has at least one letter, also that of a configured technology."""
        self.assertEqual(read_phone("p/3", {"P": "PJSIP"}), ("PJSIP", "3"))
        for text in ("9/3", "/3", "p/_3", "p/-3"):
            self.assertIsNone(read_phone(text, {"P": "PJSIP", "9": "PJSIP"}), text)

    def test_others(self) -> None:
        """Several phones, options, line ends and other technologies are refused."""
        for text in ("", "33", "PJSIP/", "PJSIP/33&PJSIP/21", "PJSIP/33@x", "PJSIP/33\r\nX: y", "Local/33"):
            self.assertIsNone(read_phone(text, TECHNOLOGIES), text)

    @given(st.text(max_size=30))
    def test_anything(self, text: str) -> None:
        """A text that is accepted as a phone contains nothing that ends an AMI header or names two phones."""
        found = read_phone(text, TECHNOLOGIES)
        if found:
            self.assertRegex("/".join(found), r"\A[A-Za-z0-9]+/[A-Za-z0-9_.-]+\Z")


class ExtensionTests(SynchronousTestCase):
    """The number of an extension, and which numbers a call can show."""

    def test_numbers(self) -> None:
        """Blanks, unseen characters and digits of another script make no other extension; other spellings do."""
        for text, number in (
            (" 33 ", "33"),
            ("3 3", "33"),
            ("\u00a033\t", "33"),
            ("\uff13\uff13", "33"),
            ("\u0663\u0663", "33"),
            ("3\u200b3", "33"),
            ("033", "033"),
            ("+34 600", "+34600"),
            (" ana maria ", "ana maria"),
            ("Ana", "Ana"),
        ):
            self.assertEqual(extension_number(text), number, text)

    def test_problems(self) -> None:
        """A number that no call can show is refused with what is accepted; a phone, with the number that it meant."""
        for number in ("33", "+34600", "ana", "33-a", "*72"):
            self.assertIsNone(extension_problem(number), number)
        for number, why in (
            ("PJSIP/33", "PJSIP/33 is a phone, not the number that its calls show; accepted is a number such as 33"),
            ("ana maria", "'ana maria' is not a number that a call can show; accepted are digits"),
            ("/33", "'/33' is not a number"),
            ("PJ-SIP/33", "'PJ-SIP/33' is not a number"),
            ("PJSIP/3 3", "'PJSIP/3 3' is not a number"),
        ):
            problem = extension_problem(number)
            assert problem is not None, number
            self.assertTrue(problem.english.startswith(why), problem.english)


class EndpointTests(SynchronousTestCase):
    """Which texts are endpoints."""

    def test_an_iax2_endpoint_may_end_in_a_number(self) -> None:
        """The name of an IAX2 peer may end as its channels do; a channel of PJSIP is refused."""
        self.assertEqual(read_endpoint("iax2/branch-1"), "IAX2/branch-1")
        self.assertRaises(EditRefused, read_endpoint, "PJSIP/33-0000001a")


class ContextTests(SynchronousTestCase):
    """Which contexts calls may be originated in."""

    def test_contexts(self) -> None:
        """A context has letters, digits, _ and -."""
        self.assertTrue(is_context("pbxrouter-phones"))
        for text in ("a", "9", "a_B-9", "a" * 79):
            self.assertIs(is_context(text), True, text)
        for text in ("", "a b", "a,1", "a\n", "-a", "a" * 80):
            self.assertFalse(is_context(text), text)
