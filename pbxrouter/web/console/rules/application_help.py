"""Descriptions of the built-in applications and their data, for the mapping form.

Applications of other packages are offered by name only.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from pbxrouter.text import Sentence


@dataclass(frozen=True, slots=True)
class Application:
    """Description of a built-in application.

    Attributes:
        does: what it does.
        data: the meaning of its data.
        examples: examples of data, with their effect.
    """

    name: str
    does: Sentence
    data: Sentence
    examples: tuple[tuple[str, Sentence], ...] = ()


BUILT_IN: Final = (
    Application(
        "dial",
        Sentence("calls a phone or a trunk"),
        Sentence(
            "a technology, to which the number is appended; a phone; or a template with {number} and {caller}, or "
            "parts of them. Several, joined by {and_sign}, ring together. Behind a blank may stand {settings}.",
            {
                "number": "{number}",
                "caller": "{caller}",
                "and_sign": "&",
                "settings": "timeout=30, options=tT, callerid=600112233, append=no",
            },
        ),
        (
            ("SIP", Sentence("21 rings at {place}", {"place": "PJSIP/21"})),
            (
                "PJSIP/{number}@trunk",
                Sentence("21 goes out through a trunk: {place}", {"place": "PJSIP/21@trunk"}),
            ),
            (
                "PJSIP/{number:1}@trunk",
                Sentence("without its first digit, 9600 goes out as {place}", {"place": "PJSIP/600@trunk"}),
            ),
            (
                "PJSIP/00{number:-9}@trunk",
                Sentence("the last nine digits with 00 before them go out through a trunk"),
            ),
            ("PJSIP/21&PJSIP/22 timeout=20", Sentence("two phones ring for 20 seconds, for any dialled number")),
            (
                "SIP&PJSIP/{number}@branch",
                Sentence("both ring: {place}", {"place": "PJSIP/21&PJSIP/21@branch"}),
            ),
        ),
    ),
    Application(
        "voicemail",
        Sentence("opens the caller's own mailbox"),
        Sentence("the context of the mailboxes in Asterisk; empty means {default}", {"default": "default"}),
        (("sales", Sentence("33 gets the mailbox {place}", {"place": "33@sales"})),),
    ),
    Application(
        "conference",
        Sentence("enters the conference room of the dialled number"),
        Sentence("a bridge profile, or a bridge and a user profile with a comma between; usually empty"),
        (("quiet_bridge,guest", Sentence("the room has both profiles")),),
    ),
    Application(
        "playback",
        Sentence("plays a sound"),
        Sentence(
            "the sound, as Asterisk names it; {language} in it is the channel's language",
            {"language": "{language}"},
        ),
        (("hello-world", Sentence("the caller hears it, and the call ends")),),
    ),
    Application(
        "changepin",
        Sentence("lets a user change the PIN by phone"),
        Sentence("not used; leave it empty"),
    ),
    Application("saydigits", Sentence("reads out the dialled number"), Sentence("not used; leave it empty")),
    Application(
        "hangup",
        Sentence("ends the call"),
        Sentence("empty for a normal hangup, or a Q.850 cause"),
        (("17", Sentence("the caller hears the busy tone")),),
    ),
)
_BY_NAME: Final = {application.name: application for application in BUILT_IN}


def about(name: str) -> Application | None:
    """The description of an application, by its name in any case; None if it is not built in."""
    return _BY_NAME.get(name.lower())


def choices(provided: Collection[str], chosen: str) -> list[tuple[str, Application | None, bool]]:
    """The applications to choose from: value, description, and whether a driver provides it.

    Built-in applications come first. The current choice keeps its spelling, and is offered even without
    a driver.
    """
    names = [application.name for application in BUILT_IN if application.name in provided]
    names += sorted(name for name in provided if name not in _BY_NAME)
    offered = [(chosen if name == chosen.lower() else name, about(name), True) for name in names]
    if chosen and chosen.lower() not in provided:
        offered.append((chosen, about(chosen), False))
    return offered
