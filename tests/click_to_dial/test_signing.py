"""Signed links and forms: which are valid, and why others are not."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.click_to_dial.signing import (
    FORM_S,
    LINK_WORDS,
    LinkState,
    Signer,
)
from pbxrouter.security.pins import derive, hash_pin

KEY = bytes(range(32))
NOW = 1_795_409_729.4
signer = Signer(KEY)


class DeriveTests(SynchronousTestCase):
    """Keys that are derived from the gateway's key."""

    def test_rfc_5869(self) -> None:
        """derive is HKDF-SHA256 with the salt pbxrouter; the value was computed with another library (cryptography)."""
        self.assertEqual(
            derive(KEY, "click-to-dial link").hex(),
            "4ee2f0e64a556ce1efaedfa7bccf05d87c2767a2d859049499d483fb548dfbb4",
        )

    def test_apart(self) -> None:
        """Each purpose and each key gives another key; none is the hash of a PIN."""
        found = {derive(KEY, "a"), derive(KEY, "b"), derive(bytes(32), "a"), derive(KEY, "")}
        self.assertEqual(len(found), 4)
        self.assertNotIn(bytes.fromhex(hash_pin(KEY, "a\x01")), found)


class LinkTests(SynchronousTestCase):
    """Signed links: checked, expired, void."""

    def setUp(self) -> None:
        """Sign a link that holds for a minute."""
        self.link = signer.link(7, 3, NOW + 60)

    def check(self, link: str, link_id: int = 7, generation: int | None = 3, now: float = NOW) -> LinkState:
        """The state of a link."""
        return signer.check_link(link_id, generation, link, now)

    def test_valid(self) -> None:
        """A link is valid until it expires, and needs no quoting in a URL."""
        self.assertEqual(self.check(self.link), LinkState.VALID)
        self.assertRegex(self.link, r"^[A-Za-z0-9._-]+$")
        self.assertEqual(self.check(self.link, now=NOW + 59), LinkState.VALID)
        self.assertEqual(self.check(self.link, now=NOW + 60), LinkState.EXPIRED)

    def test_void(self) -> None:
        """A link of another generation, or of a deleted page, is void."""
        self.assertEqual(self.check(self.link, generation=4), LinkState.VOID)
        self.assertEqual(self.check(self.link, generation=None), LinkState.VOID)

    def test_forged(self) -> None:
        """A link with another page, time, generation or key is forged."""
        generation, expires, mac = self.link.split(".")
        self.assertEqual(self.check(self.link, link_id=8), LinkState.FORGED)
        self.assertEqual(self.check(f"{generation}.{int(expires) + 1}.{mac}"), LinkState.FORGED)
        self.assertEqual(self.check(f"4.{expires}.{mac}", generation=4), LinkState.FORGED)
        self.assertEqual(self.check(Signer(bytes(32)).link(7, 3, NOW + 60)), LinkState.FORGED)
        # A link of a deleted page does not reveal whether it existed.
        self.assertEqual(self.check(f"4.{expires}.{mac}", generation=None), LinkState.FORGED)

    def test_malformed(self) -> None:
        """A link that is cut short, or is something else, is malformed."""
        for link in (
            "",
            "x",
            self.link[:-1],
            self.link + "A",
            self.link + "\n",
            "." * 3,
            "\u0663" + self.link[1:],
        ):
            self.assertEqual(self.check(link), LinkState.MALFORMED, repr(link))

    @given(st.integers(0, len(signer.link(7, 3, NOW)) - 1), st.characters())
    def test_one_character_altered(self, place: int, character: str) -> None:
        """A link with one character altered is never valid."""
        link = signer.link(7, 3, NOW + 60)
        altered = link[:place] + character + link[place + 1 :]
        if altered != link:
            # The last character of a base64 text has two bits that mean nothing: it is compared as text.
            self.assertIn(self.check(altered), (LinkState.FORGED, LinkState.MALFORMED))

    def test_words(self) -> None:
        """Each state but valid has words for the visitor."""
        self.assertEqual({*LINK_WORDS}, {*LinkState} - {LinkState.VALID})
        for words in LINK_WORDS.values():
            self.assertFalse(re.search(r"[{}]", words.message))


class FormTests(SynchronousTestCase):
    """Signed forms: checked, expired, of another link."""

    def test_an_hour(self) -> None:
        """A form is valid for its page and its visitor's address, for an hour."""
        form = signer.form(7, "192.0.2.1", NOW)
        for link_id, who, now, state in (
            (7, "192.0.2.1", NOW, LinkState.VALID),
            (7, "192.0.2.1", NOW + FORM_S - 1, LinkState.VALID),
            (7, "192.0.2.1", NOW + FORM_S, LinkState.EXPIRED),
            (7, "192.0.2.1", NOW - 3600, LinkState.EXPIRED),
            (7, "192.0.2.2", NOW, LinkState.FORGED),
            (8, "192.0.2.1", NOW, LinkState.FORGED),
        ):
            self.assertEqual(signer.check_form(link_id, who, form, now), state)

    def test_each_is_another(self) -> None:
        """Two forms of the same moment differ; a form is no link, and a link no form."""
        first, second = (signer.form(7, "192.0.2.1", NOW) for _ in range(2))
        self.assertNotEqual(first, second)
        self.assertEqual(signer.check_link(7, 3, first, NOW), LinkState.MALFORMED)
        link = signer.link(7, 3, NOW + 60)
        self.assertEqual(signer.check_form(7, "192.0.2.1", link, NOW), LinkState.MALFORMED)
        self.assertEqual(signer.check_form(7, "192.0.2.1", "", NOW), LinkState.MALFORMED)
