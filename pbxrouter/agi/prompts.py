"""The sounds a caller hears from the gateway, by role.

The defaults are files of Asterisk's core sounds that exist in English and in
Spanish; Asterisk itself chooses by the channel's language. A name may hold
``{language}``, for sounds that carry their language in the name, as the workshop's
``iss_ask_auth_en`` do.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_NAME: Final = re.compile(r"[A-Za-z0-9_./{}-]+")


class Prompts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Names of sounds by role: the section ``[prompts]`` of the settings."""

    ask_pin: str = "agent-pass"
    """«Please enter your password followed by the pound key.»"""
    wrong_pin: str = "vm-incorrect"
    """«Login incorrect.»"""
    invalid_number: str = "invalid"
    """«I am sorry, that is not a valid extension.»"""
    goodbye: str = "vm-goodbye"
    """«Goodbye.»"""
    technical_failure: str = "tt-somethingwrong"
    """«Something is terribly wrong.»"""
    ask_number: str = "vm-enter-num-to-call"
    """«Please enter the number you wish to call.»"""
    new_pin: str = "vm-newpassword"
    """«Please enter your new password followed by the pound key.»"""
    repeat_pin: str = "vm-reenterpassword"
    """«Please re-enter your password followed by the pound key.»"""
    pins_differ: str = "vm-mismatch"
    """«The passwords you entered and re-entered did not match. Please try again.»"""
    pin_refused: str = "vm-invalid-password"
    """«That is not a valid password. Please try again.»"""
    pin_changed: str = "vm-passchanged"
    """«Your passwords have been changed.»"""


def is_prompt_name(name: str) -> bool:
    """Whether this is the name of one sound: nothing in it means more to Playback() or leaves its directory."""
    return bool(_NAME.fullmatch(name)) and ".." not in name


def localised(name: str, language: str) -> str:
    """Fill ``{language}`` in a sound's name with the channel's language, or with ``en`` if that is no plain code."""
    if "{language}" not in name:
        return name
    safe = language if re.fullmatch(r"[A-Za-z0-9_-]{1,20}", language) else "en"
    return name.replace("{language}", safe)
