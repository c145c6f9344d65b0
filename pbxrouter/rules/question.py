"""The facts of a call that is asked about and not made, from what was typed.

Shared by ``pbxrouter explain``, the console and the API.
"""

from __future__ import annotations

from collections.abc import Collection

from pbxrouter.errors import EditRefused
from pbxrouter.rules.model import NO_CALLER, Facts, Party
from pbxrouter.rules.phones import MAX_ENDPOINT, read_endpoint
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.text import sentence


def facts_of(
    rules: RuleSet,
    trunks: Collection[str],
    caller: str | None,
    number: str,
    pin: str | None = None,
    *,
    endpoint: str = "",
    forwarded_by: str = "",
    claimed_by: str = "",
) -> Facts:
    """The facts of a call.

    Args:
        trunks: endpoints whose callers are outsiders.
        caller: None, blank or NO_CALLER if the call shows no number.
        endpoint: by which the call comes; ``""`` if that is not known.
        forwarded_by: an extension, or an endpoint, that sent the call on, as Asterisk itself tells; ``""`` for none.
        claimed_by: a number that the call merely claims to have been sent on by; ``""`` for none.

    Raises:
        EditRefused: one of the last three is not accepted; the field is its name.
    """
    caller = (caller or "").strip()
    endpoint, forwarded_by, claimed_by = endpoint.strip(), forwarded_by.strip(), claimed_by.strip()
    endpoint = read_endpoint(endpoint) if endpoint else ""
    if forwarded_by and claimed_by:
        raise EditRefused(
            sentence("accepted is a party that sent the call on, or one that the call claims, not both"), "claimed_by"
        )
    sent_on_by = (_party(rules, trunks, forwarded_by),) if forwarded_by else ()
    return Facts(
        None if caller in ("", NO_CALLER) else caller,
        number,
        pin,
        endpoint,
        endpoint in trunks,
        sent_on_by,
        Party(number=_claimed(claimed_by)) if claimed_by else None,
    )


def _party(rules: RuleSet, trunks: Collection[str], text: str) -> Party:
    """A party that sent the call on."""
    if "/" in text:
        endpoint = read_endpoint(text, "forwarded_by")
        return Party(endpoint, is_trunk=endpoint in trunks)
    if text not in rules.extensions:
        raise EditRefused(
            sentence(
                "{text} is not among the extensions; accepted is the number of an extension, or an endpoint such as "
                "PJSIP/33",
                text=text,
            ),
            "forwarded_by",
        )
    endpoint = rules.endpoints.get(text, "")
    return Party(endpoint, text, endpoint in trunks)


def _claimed(text: str) -> str:
    """The number that a call claims to have been sent on by; any number can be claimed."""
    if "/" in text or not text.isprintable() or len(text) > MAX_ENDPOINT:
        raise EditRefused(
            sentence("{text} is not a number that a call can claim; accepted is a number, such as 33", text=text),
            "claimed_by",
        )
    return text
