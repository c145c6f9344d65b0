"""Chooses the Asterisk of a call that begins with the gateway: the one that is named, or that has the phone.

Each connected Asterisk is asked for the state of the phone's device, all at once, and each answers within
``originator.ASK_S`` or counts as one that cannot tell. One that is away, or whose settings do not allow the context, is
not asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from twisted.internet.defer import Deferred, gatherResults

from pbxrouter.errors import ControlRefused, ManagerUnavailable, OriginateRefused
from pbxrouter.originate.originator import CallRequest, Originator, PhoneState
from pbxrouter.text import sentence, split_asterisk


async def originator_for(
    name: str | None, request: CallRequest, originators: Mapping[str, Originator]
) -> tuple[Originator, CallRequest]:
    """The Originator for a request, and the request without the name of an Asterisk in front of its phone.

    Args:
        name: the Asterisk; None or ``""`` if none is named. The phone may have it in front: ``madrid:PJSIP/33``.
        originators: by the Asterisks' names.

    Raises:
        ControlRefused: no Asterisk is connected by AMI in the settings, or the name is unknown.
        ManagerUnavailable: no Asterisk that could be asked is connected now.
        OriginateRefused: none of the connected Asterisks has the phone, or several have.
    """
    if not originators:
        raise ControlRefused(
            sentence("there is no connection to AMI: no [[asterisk]] with a secret_file is configured")
        )
    in_front, phone = split_asterisk(request.channel)
    if name and in_front and name != in_front:
        raise ControlRefused(sentence("{phone} is not a phone of {asterisk}", phone=request.channel, asterisk=name))
    name, request = name or in_front, replace(request, channel=phone)
    if name:
        if name not in originators:
            raise ControlRefused(sentence("choose one of these Asterisks: {names}", names=", ".join(originators)))
        return originators[name], request
    if len(originators) == 1:
        return next(iter(originators.values())), request
    return await _with_the_phone(request, originators), request


async def _with_the_phone(request: CallRequest, originators: Mapping[str, Originator]) -> Originator:
    """The only connected Asterisk that has a phone."""
    allowed = {name: originator for name, originator in originators.items() if originator.allows(request.context)}
    if not allowed or not next(iter(allowed.values())).is_phone(request.channel):
        return next(iter((allowed or originators).values()))  # which refuses it, and says why
    away = [name for name, originator in allowed.items() if not originator.is_up]
    asked = {name: originator for name, originator in allowed.items() if originator.is_up}
    if not asked:
        raise ManagerUnavailable(sentence("there is no connection to {name} now", name=", ".join(away)))
    asking = [Deferred.fromCoroutine(originator.phone_state(request.channel)) for originator in asked.values()]
    states = dict(zip(asked, cast(Sequence[PhoneState], await gatherResults(asking)), strict=True))
    for accepted in (PhoneState.THERE, PhoneState.AWAY, PhoneState.UNTOLD):
        having = [name for name, state in states.items() if state is accepted]
        if len(having) == 1:
            return asked[having[0]]
        if having:
            raise OriginateRefused(
                sentence(
                    "channel: it is not known which of these Asterisks has {phone}: {names}; choose one"
                    if accepted is PhoneState.UNTOLD
                    else "channel: several Asterisks have {phone}: {names}; choose one",
                    phone=request.channel,
                    names=", ".join(having),
                )
            )
    raise OriginateRefused(
        sentence(
            "channel: {phone} is on none of these Asterisks: {names}; there is no connection to {away} now"
            if away
            else "channel: {phone} is on none of these Asterisks: {names}",
            phone=request.channel,
            names=", ".join(asked),
            away=", ".join(away),
        )
    )
