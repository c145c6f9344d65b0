"""Checks which gateway serves an Asterisk's calls in AGI(agi:async), if several could."""

from __future__ import annotations

from typing import Final

from twisted.internet.task import deferLater

from pbxrouter.doctor.finding import Finding, ok, unknown, wrong
from pbxrouter.doctor.probe import AsteriskProbe
from pbxrouter.magi import DEAD_S, Holder, claim_variable
from pbxrouter.text import Sentence, printable, sentence

SECOND_URL: Final = "PBXROUTER_URL_2"
"""The dialplan's variable that says that there are two gateways."""
SERVING: Final = Sentence("start the gateway, or see its log: it serves no call by agi:async")


async def check_claims(probe: AsteriskProbe, gateway: str) -> list[Finding]:
    """Check who serves each context that this gateway is to serve.

    Args:
        gateway: this gateway's id.

    Raises:
        ManagerUnavailable: the connection was lost.
    """
    return [await _check(probe, context, gateway) for context in probe.config.magi]


async def _check(probe: AsteriskProbe, context: str, gateway: str) -> Finding:
    variable, shown = claim_variable(context), printable(context)
    value = await probe.variable(variable)
    if value is None:
        return unknown(
            probe.area,
            sentence("which gateway serves the calls in {context} cannot be read", context=shown),
            Sentence("add reporting and call to the user's write classes, or be sure that there is one gateway alone"),
        )
    holder = Holder.parse(value)
    if holder is None:
        return wrong(probe.area, sentence("no gateway serves the calls in {context}", context=shown), SERVING)
    if holder.gateway == gateway:
        return ok(probe.area, sentence("this gateway serves the calls in {context}", context=shown))
    await deferLater(probe.clock, DEAD_S)
    if await probe.variable(variable) == value:
        return wrong(
            probe.area,
            sentence(
                "gateway {gateway} on {host}, which served the calls in {context}, gives no sign of life",
                gateway=holder.gateway,
                host=holder.host,
                context=shown,
            ),
            SERVING,
        )
    if await probe.variable(SECOND_URL):
        return ok(
            probe.area,
            sentence(
                "gateway {gateway} on {host} serves the calls in {context}; this one stands by, "
                "as the dialplan wants it",
                gateway=holder.gateway,
                host=holder.host,
                context=shown,
            ),
        )
    return wrong(
        probe.area,
        sentence(
            "another gateway serves the calls in {context}: {gateway} on {host}; this one stands by",
            gateway=holder.gateway,
            host=holder.host,
            context=shown,
        ),
        Sentence("nothing, if that is meant (docs/operations.md, a hot standby); else stop one of the two"),
    )
