"""Takes PINs out of the list of processes.

Anybody on the machine can read a process's arguments (`ps`, /proc/PID/cmdline). Linux reads them from the
memory of the process itself, so it can overwrite them. Between its start and that moment they can be seen:
`--pin -`, which reads the PIN from standard input, is never seen.
"""

import sys
from collections.abc import Iterator, Sequence

_OPTION = "--pin"
_ARG_START, _ARG_END = 48, 49  # the fields of /proc/PID/stat, see proc(5)


def hide_pins(arguments: Sequence[str]) -> None:
    """Overwrite each PIN in this process's own arguments with `*`.

    Where that cannot be done (no Linux, no /proc) it does nothing: it is a precaution, no promise.

    Args:
        arguments: of this process, as in sys.argv, to see quickly whether there is a PIN at all.
    """
    if not any(argument.startswith(_OPTION) for argument in arguments) or not sys.platform.startswith("linux"):
        return
    try:
        _overwrite()
    except Exception:  # whatever is odd about this system, it is no reason not to do the work
        return


def _overwrite() -> None:
    import ctypes

    with open("/proc/self/stat", "rb") as file:
        # The second field, the name in parentheses, may hold blanks and parentheses.
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[_ARG_START - 3]), int(fields[_ARG_END - 3])
    with open("/proc/self/cmdline", "rb") as file:
        memory = file.read()
    # Both zero when the kernel does not tell; anything else unexpected must not be written to either.
    if not start or len(memory) != end - start or ctypes.string_at(start, end - start) != memory:
        return
    for offset, length in pin_spans(memory):
        ctypes.memset(start + offset, ord("*"), length)


def pin_spans(memory: bytes) -> Iterator[tuple[int, int]]:
    """Find the PINs among arguments.

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
