"""The command `pbxrouter`.

The commands are one module each, named in `pbxrouter.cli.app`; this is only the way in. It imports next to
nothing, so that a PIN among the arguments leaves the list of processes before anything slow happens.
"""

import sys

from pbxrouter.cli.procname import hide_pins

_INTERRUPTED = 130  # as a shell says of a program that Ctrl-C ended


def main() -> None:
    """Run the command line of this process, and exit."""
    hide_pins(sys.argv)
    try:
        from pbxrouter.cli.app import pbxrouter

        pbxrouter()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
