"""Checks who is taken for an extension: trunks, and the endpoints that extensions are tied to.

Whether Asterisk has an endpoint is asked over AMI, by its device state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from pbxrouter.doctor.finding import Finding, ok, unknown, wrong
from pbxrouter.doctor.probe import AsteriskProbe
from pbxrouter.errors import EditRefused
from pbxrouter.rules import RuleSet, read_endpoint
from pbxrouter.text import Sentence, printable, sentence, split_asterisk

NAMED: Final = 20
"""How many extensions one finding names."""
MAX_ASKED: Final = 1000
"""Endpoints that an Asterisk is asked about at most."""

_EXTENSIONS: Final = Sentence("extensions")
_TRUNKS: Final = Sentence("trunks")


def check_extensions(rules: RuleSet, trunks: Collection[str]) -> Iterator[Finding]:
    """Name the extensions that a caller on a trunk could claim to be, and those that no call can come from."""
    on_trunks = {number: endpoint for number, endpoint in rules.endpoints.items() if endpoint in trunks}
    for number, endpoint in on_trunks.items():
        yield wrong(
            _EXTENSIONS,
            sentence(
                "extension {number} is tied to the trunk {endpoint}, so no call counts as one of {number}",
                number=printable(number),
                endpoint=endpoint,
            ),
            sentence(
                "tie it to its phone: pbxrouter endpoint {number} ENDPOINT; or take {endpoint} out of trunks",
                number=printable(number),
                endpoint=endpoint,
            ),
        )
    open_to_claims = [number for number, grants in rules.extensions.items() if grants and number not in rules.endpoints]
    if open_to_claims and not trunks:
        yield unknown(
            _EXTENSIONS,
            sentence(
                "no trunk is named in the settings, so an outside caller who shows the number of one of these "
                "extensions gets its grants: {extensions}",
                extensions=_listed(open_to_claims),
            ),
            Sentence(
                'if Asterisk has trunks, name them, such as trunks = ["PJSIP/provider"]; or tie each extension to its '
                "endpoint: pbxrouter endpoint 33 PJSIP/33 (docs/rules.md)"
            ),
        )
    elif rules.extensions and not on_trunks:
        yield ok(_EXTENSIONS, Sentence("no caller on a trunk that is named can claim to be one of them"))


async def unknown_endpoints(probe: AsteriskProbe, endpoints: Collection[str]) -> frozenset[str] | None:
    """Those of the endpoints that an Asterisk does not have; None if it does not tell, or if they are too many."""
    found = set()
    if len(endpoints) > MAX_ASKED:
        return None
    for endpoint in sorted(endpoints):
        try:
            read_endpoint(endpoint)
        except EditRefused:  # the rules name it
            continue
        state = await probe.variable(f"DEVICE_STATE({endpoint})")
        if not state:
            return None
        if state == "INVALID":
            found.add(endpoint)
    return frozenset(found)


def check_endpoints(
    trunks: Collection[str], tied: Mapping[str, str] | None, missing: Mapping[str, frozenset[str] | None]
) -> Iterator[Finding]:
    """Name trunks, and endpoints of extensions, that no Asterisk has, or not the one that the extension belongs to.

    Args:
        trunks: of the settings.
        tied: by number of an extension, the endpoint that it is tied to; None if that is not known.
        missing: the results of unknown_endpoints, by the Asterisk that was asked.
    """
    if tied is None:
        yield unknown(
            _EXTENSIONS,
            Sentence(
                "whether Asterisk has the endpoints that extensions are tied to was not checked, since the database "
                "cannot be read"
            ),
            Sentence("see database"),
        )
        tied = {}
    if not (trunks or tied) or not missing:
        return
    of_trunks = {trunk: _is_there(trunk, missing.values()) for trunk in trunks}
    of_extensions = {number: _is_there(tied[number], _where(number, missing)) for number in tied}
    if None in (*of_trunks.values(), *of_extensions.values()):
        names = ", ".join(name for name, endpoints in missing.items() if endpoints is None)
        yield unknown(
            _TRUNKS if trunks else _EXTENSIONS,
            Sentence("whether Asterisk has the trunks, and the endpoints that extensions are tied to")
            if len(missing) == 1
            else sentence(
                "whether {names} has trunks, and endpoints that extensions are tied to, which no other Asterisk has",
                names=names,
            ),
            sentence("type in Asterisk: {command}", command="pjsip show endpoints"),
        )
    for trunk, is_there in of_trunks.items():
        if is_there is False:
            yield wrong(
                _TRUNKS,
                sentence(
                    "Asterisk has no endpoint {trunk}, so callers on the trunk that is meant are not recognised as "
                    "outsiders",
                    trunk=printable(trunk),
                ),
                Sentence(
                    "correct trunks in the settings; for a channel PJSIP/provider-0000001a in `core show channels` it "
                    "is PJSIP/provider"
                ),
            )
    lost = [number for number, is_there in of_extensions.items() if is_there is False]
    for number in lost[:NAMED]:
        asterisk = split_asterisk(number)[0]
        yield wrong(
            _EXTENSIONS,
            sentence(
                "extension {number} is tied to {endpoint}, which {asterisk} does not have: no call counts as one of "
                "{number}"
                if asterisk
                else "extension {number} is tied to {endpoint}, which Asterisk does not have: no call counts as one of "
                "{number}",
                number=printable(number),
                endpoint=tied[number],
                asterisk=asterisk,
            ),
            sentence("tie it to its endpoint: pbxrouter endpoint {number} ENDPOINT", number=printable(number)),
        )
    if trunks and all(of_trunks.values()):
        yield ok(_TRUNKS, sentence("Asterisk has {trunks}", trunks=", ".join(map(printable, trunks))))


def _where(number: str, missing: Mapping[str, frozenset[str] | None]) -> Iterable[frozenset[str] | None]:
    """What the Asterisks lack on which a call may be an extension's."""
    asterisk = split_asterisk(number)[0]
    return missing.values() if not asterisk else [missing[asterisk]] if asterisk in missing else []


def _is_there(endpoint: str, missing: Iterable[frozenset[str] | None]) -> bool | None:
    """Whether one of these Asterisks has an endpoint; None if that is not known."""
    found = list(missing)
    if any(lacked is not None and endpoint not in lacked for lacked in found):
        return True
    return None if None in found else not found


def _listed(numbers: list[str]) -> str:
    named = ", ".join(printable(number) for number in numbers[:NAMED])
    return named if len(numbers) <= NAMED else f"{named}, … ({len(numbers)})"
