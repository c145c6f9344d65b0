"""Removes PINs from the process list.

Every user of the machine can read a process's arguments (`ps`, /proc/PID/cmdline). Linux reads them from the
memory of the process, which can overwrite them. Until it does they can be seen; `--pin -` reads the PIN from
standard input instead.
"""

import sys
from collections.abc import Iterator, Sequence

_OPTION = "--pin"
_ARG_START, _ARG_END = 48, 49  # the fields of /proc/PID/stat, see proc(5)


def hide_pins(arguments: Sequence[str]) -> None:
    """Overwrite each PIN in this process's own arguments with `*`.

    Where that is impossible (no Linux, no /proc) it does nothing.

    Args:
        arguments: sys.argv, to check quickly whether there is a PIN at all.
    """
    if not any(argument.startswith(_OPTION) for argument in arguments) or not sys.platform.startswith("linux"):
        return
    try:
        _overwrite()
    except Exception:  # the command must run on unusual systems, too
        return


def _overwrite() -> None:
    import ctypes

    with open("/proc/self/stat", "rb") as file:
        # The second field, the name in parentheses, may hold blanks and parentheses.
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[_ARG_START - 3]), int(fields[_ARG_END - 3])
    with open("/proc/self/cmdline", "rb") as file:
        memory = file.read()
    # Both are zero if the kernel does not tell them. Memory that is not the arguments must not be written to.
    if not start or len(memory) != end - start or ctypes.string_at(start, end - start) != memory:
        return
    for offset, length in pin_spans(memory):
        ctypes.memset(start + offset, ord("*"), length)


def pin_spans(memory: bytes) -> Iterator[tuple[int, int]]:
    """Find the PINs in the arguments.

    Args:
        memory: the arguments, each ended by a NUL.

    Yields:
        Offset and length, in bytes, of each PIN given as `--pin PIN` or `--pin=PIN`.
    """
    option = _OPTION.encode()
    offset, is_pin = 0, False
    for argument in memory.split(b"\0"):
        if is_pin:
            if argument not in (b"", b"-"):
                yield offset, len(argument)
            is_pin = False
        elif argument == option:
            is_pin = True
        elif argument.startswith(option + b"=") and argument != option + b"=-":
            yield offset + len(option) + 1, len(argument) - len(option) - 1
        offset += len(argument) + 1
