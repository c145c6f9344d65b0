"""What a driver or script does with a call: answer, play, ask for digits, dial, set variables.

The public address of the verbs; docs/drivers.md lists them.
"""

from pbxrouter.agi.verbs import (
    KEYS,
    DialResult,
    Keyed,
    answer,
    dial,
    get_digits,
    get_variable,
    hang_up,
    play_interruptible,
    playback,
    raise_if_hung_up,
    run_application,
    say_digits,
    set_variable,
)

__all__ = [
    "KEYS",
    "DialResult",
    "Keyed",
    "answer",
    "dial",
    "get_digits",
    "get_variable",
    "hang_up",
    "play_interruptible",
    "playback",
    "raise_if_hung_up",
    "run_application",
    "say_digits",
    "set_variable",
]
