"""The facts of a call that is asked about and not made, from what was typed.

Shared by ``pbxrouter explain``, the console and the API.
"""

from __future__ import annotations

from collections.abc import Collection

from pbxrouter.errors import EditRefused
from pbxrouter.rules.model import NO_CALLER, Facts, Forwarder
from pbxrouter.rules.phones import MAX_ENDPOINT, read_endpoint
from pbxrouter.rules.ruleset import RuleSet
from pbxrouter.text import sentence, split_asterisk


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
    asterisk: str = "",
    asterisks: Collection[str] = (),
) -> Facts:
    """The facts of a call.

    Args:
        trunks: endpoints whose callers are outsiders.
        caller: None, blank or NO_CALLER if the call shows no number.
        endpoint: by which the call comes; ``""`` if that is not known.
        forwarded_by: an extension, or an endpoint, that forwarded the call, as Asterisk itself tells; ``""`` for none.
        claimed_forwarder: the number that forwarded the call by its own claim, without proof; ``""`` for none.
        asterisk: the Asterisk that the call comes from; ``""`` if that is not known. A caller, an endpoint or a
            forwarder may have it in front, as in ``madrid:33``.
        asterisks: the names of all Asterisks in the settings.

    Raises:
        EditRefused: one of the texts is not accepted; the field is its name.
    """
    asterisk = _asterisk(asterisk.strip(), asterisks)
    caller, asterisk = _without_name((caller or "").strip(), asterisk, "caller", asterisks)
    endpoint, asterisk = _without_name(endpoint.strip(), asterisk, "endpoint", asterisks)
    forwarded_by, asterisk = _without_name(forwarded_by.strip(), asterisk, "forwarded_by", asterisks)
    claimed_forwarder = claimed_forwarder.strip()
    endpoint = read_endpoint(endpoint) if endpoint else ""
    if forwarded_by and claimed_forwarder:
        raise EditRefused(sentence("accepted is a forwarder, or a claimed forwarder, not both"), "claimed_forwarder")
    forwarders = (_forwarder(rules, trunks, forwarded_by, asterisk),) if forwarded_by else ()
    return Facts(
        None if caller in ("", NO_CALLER) else caller,
        number,
        pin,
        endpoint,
        endpoint in trunks,
        forwarders,
        Forwarder(number=_claimed(claimed_forwarder)) if claimed_forwarder else None,
        asterisk,
    )


def _asterisk(text: str, asterisks: Collection[str]) -> str:
    if text and text not in asterisks:
        raise EditRefused(
            sentence(
                "there is no Asterisk {name} in the settings; accepted are: {names}"
                if asterisks
                else "there is no Asterisk {name} in the settings",
                name=text,
                names=", ".join(asterisks),
            ),
            "asterisk",
        )
    return text


def _without_name(text: str, asterisk: str, field: str, asterisks: Collection[str]) -> tuple[str, str]:
    """A text without the Asterisk in front of it, and the Asterisk that is meant."""
    named, rest = split_asterisk(text)
    if not named or named not in asterisks:
        return text, asterisk
    if asterisk not in ("", named):
        raise EditRefused(
            sentence("{text} is on another Asterisk than {asterisk}", text=text, asterisk=asterisk), field
        )
    return rest, named


def _forwarder(rules: RuleSet, trunks: Collection[str], text: str, asterisk: str) -> Forwarder:
    """The forwarder that was typed: an extension or an endpoint."""
    if "/" in text:
        endpoint = read_endpoint(text, "forwarded_by")
        return Forwarder(endpoint, is_trunk=endpoint in trunks)
    extension = rules.extension_of(text, asterisk)
    if extension is None:
        raise EditRefused(
            sentence(
                "{text} is not among the extensions; accepted is the number of an extension, or an endpoint such as "
                "PJSIP/33",
                text=text,
            ),
            "forwarded_by",
        )
    endpoint = rules.endpoints.get(extension, "")
    return Forwarder(endpoint, text, endpoint in trunks)


def _claimed(text: str) -> str:
    """The number of a claimed forwarder; a call can claim any number."""
    if "/" in text or not text.isprintable() or len(text) > MAX_ENDPOINT:
        raise EditRefused(
            sentence("{text} is not a number that a call can claim; accepted is a number, such as 33", text=text),
            "claimed_forwarder",
        )
    return text
