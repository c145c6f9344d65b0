"""The command `pbxrouter`.

Each subcommand is a module, named in `pbxrouter.cli.app`. This entry point imports next to nothing, so
that PINs among the arguments are removed from the process list before slow imports.
"""

import sys

from pbxrouter.cli.procname import hide_pins

_INTERRUPTED = 130  # a shell's status for a program that Ctrl-C ended


def main() -> None:
    """Run the command line of this process, and exit."""
    hide_pins(sys.argv)
    try:
        from pbxrouter.cli.app import pbxrouter

        pbxrouter()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
