"""The facts of a call that is asked about and not made, from what was typed.

Shared by ``pbxrouter explain``, the console and the API.
"""

from __future__ import annotations

from collections.abc import Collection

from pbxrouter.errors import EditRefused
from pbxrouter.rules.model import NO_CALLER, Facts, Forwarder
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
    claimed_forwarder: str = "",
) -> Facts:
    """The facts of a call.

    Args:
        trunks: endpoints whose callers are outsiders.
        caller: None, blank or NO_CALLER if the call shows no number.
        endpoint: by which the call comes; ``""`` if that is not known.
        forwarded_by: an extension, or an endpoint, that forwarded the call, as Asterisk itself tells; ``""`` for none.
        claimed_forwarder: the number that forwarded the call by its own claim, without proof; ``""`` for none.

    Raises:
        EditRefused: one of the last three is not accepted; the field is its name.
    """
    caller = (caller or "").strip()
    endpoint, forwarded_by, claimed_forwarder = endpoint.strip(), forwarded_by.strip(), claimed_forwarder.strip()
    endpoint = read_endpoint(endpoint) if endpoint else ""
    if forwarded_by and claimed_forwarder:
        raise EditRefused(sentence("accepted is a forwarder, or a claimed forwarder, not both"), "claimed_forwarder")
    forwarders = (_forwarder(rules, trunks, forwarded_by),) if forwarded_by else ()
    return Facts(
        None if caller in ("", NO_CALLER) else caller,
        number,
        pin,
        endpoint,
        endpoint in trunks,
        forwarders,
        Forwarder(number=_claimed(claimed_forwarder)) if claimed_forwarder else None,
    )


def _forwarder(rules: RuleSet, trunks: Collection[str], text: str) -> Forwarder:
    """The forwarder that was typed: an extension or an endpoint."""
    if "/" in text:
        endpoint = read_endpoint(text, "forwarded_by")
        return Forwarder(endpoint, is_trunk=endpoint in trunks)
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
    return Forwarder(endpoint, text, endpoint in trunks)


def _claimed(text: str) -> str:
    """The number of a claimed forwarder; a call can claim any number."""
    if "/" in text or not text.isprintable() or len(text) > MAX_ENDPOINT:
        raise EditRefused(
            sentence("{text} is not a number that a call can claim; accepted is a number, such as 33", text=text),
            "claimed_forwarder",
        )
    return text
