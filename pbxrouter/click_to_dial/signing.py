"""Signed click-to-dial links and forms.

A link names its page, the page's generation, and its expiry; a new generation voids all earlier
links. A form names the time and the address it was given to; it can be posted for an hour. Both are
signed by HMAC-SHA256 under keys derived for that purpose. The time is passed in.
"""

from __future__ import annotations

import base64
import enum
import hmac
import re
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pbxrouter.security import derive
from pbxrouter.text import Sentence, sentence

FORM_S: Final = 3600.0
"""Seconds for which a form can be posted."""
EARLY_S: Final = 60.0
"""Seconds by which a form may seem to come from the future, since clocks are set back."""

_LINK: Final = re.compile(r"([0-9]{1,9})\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})")
_FORM: Final = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]{43})")


class LinkState(enum.Enum):
    """Validity of a link or form."""

    VALID = "valid"
    MALFORMED = "malformed"
    """It is incomplete or not a link of this kind."""
    FORGED = "forged"
    """The signature is wrong."""
    VOID = "void"
    """It was valid and has been revoked."""
    EXPIRED = "expired"


LINK_WORDS: Final[Mapping[LinkState, Sentence]] = MappingProxyType(
    {
        LinkState.MALFORMED: sentence("This link is incomplete. Please copy all of it, or ask for a new one."),
        LinkState.FORGED: sentence("This link is not valid. Please ask for a new one."),
        LinkState.VOID: sentence("This link is no longer valid. Please ask for a new one."),
        LinkState.EXPIRED: sentence("This link has expired. Please ask for a new one."),
    }
)
"""The messages for visitors whose link is not valid."""
FORM_EXPIRED: Final = sentence("This form has expired. Please send it again.")
"""The message for visitors whose form has expired."""


class Signer:
    """Signs and verifies links and forms.

    Args:
        key: the gateway's PIN key, from which the signing keys are derived.
    """

    def __init__(self, key: bytes) -> None:
        self._link_key: Final = derive(key, "click-to-dial link")
        self._form_key: Final = derive(key, "click-to-dial form")

    def link(self, link_id: int, generation: int, expires: float) -> str:
        """Make a link's signed part: letters, digits, ``.``, ``-`` and ``_``.

        Args:
            expires: epoch seconds.
        """
        until = int(expires)
        return f"{generation}.{until}.{self._link_mac(link_id, generation, until)}"

    def check_link(self, link_id: int, generation: int | None, signature: str, now: float) -> LinkState:
        """Check a link.

        Args:
            generation: the page's current generation; None if the page does not exist.
            now: epoch seconds.
        """
        found = _LINK.fullmatch(signature)
        if found is None:
            return LinkState.MALFORMED
        if not _same(self._link_mac(link_id, int(found[1]), int(found[2])), found[3]):
            return LinkState.FORGED
        if generation is None or generation != int(found[1]):
            return LinkState.VOID
        return LinkState.VALID if now < int(found[2]) else LinkState.EXPIRED

    def form(self, link_id: int, who: str, now: float) -> str:
        """Make a form's signed hidden value; each is unique, so that a form posted twice is recognised.

        Args:
            who: the visitor's address, so that the form works for that visitor only.
        """
        issued, nonce = int(now), secrets.token_urlsafe(12)
        return f"{issued}.{nonce}.{self._form_mac(link_id, who, issued, nonce)}"

    def check_form(self, link_id: int, who: str, token: str, now: float) -> LinkState:
        """Check the signature and age of a form's token."""
        found = _FORM.fullmatch(token)
        if found is None:
            return LinkState.MALFORMED
        issued = int(found[1])
        if not _same(self._form_mac(link_id, who, issued, found[2]), found[3]):
            return LinkState.FORGED
        return LinkState.VALID if issued - EARLY_S <= now < issued + FORM_S else LinkState.EXPIRED

    def _link_mac(self, link_id: int, generation: int, expires: int) -> str:
        return _mac(self._link_key, f"{link_id}.{generation}.{expires}")

    def _form_mac(self, link_id: int, who: str, issued: int, nonce: str) -> str:
        return _mac(self._form_key, f"{link_id}.{issued}.{nonce}.{who}")


def _mac(key: bytes, text: str) -> str:
    digest = hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _same(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode("ascii"), theirs.encode("ascii"))
