"""The command group `pbxrouter`: its commands, and how their failures are shown.

To add a command, write a module with a click command that takes `@config_option` (see
`pbxrouter.cli.options`) and name it in `COMMANDS`. A command returns its exit status, or None for 0, and
raises a PbxrouterError if it fails. Modules that are slow to import (Twisted above all) are imported
inside it.
"""

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from pbxrouter import __version__
from pbxrouter.errors import PbxrouterError
from pbxrouter.text import printable

COMMANDS = {
    "init": "pbxrouter.cli.init:init",
    "explain": "pbxrouter.cli.explain:explain",
    "call": "pbxrouter.cli.call:call",
    "import": "pbxrouter.cli.imports:import_",
    "migrate": "pbxrouter.cli.migrate:migrate",
    "pin": "pbxrouter.cli.pin:pin",
    "endpoint": "pbxrouter.cli.endpoint:endpoint",
    "token": "pbxrouter.cli.token:token",
    "lockouts": "pbxrouter.cli.lockouts:lockouts",
    "changes": "pbxrouter.cli.changes:changes",
    "alarm": "pbxrouter.cli.alarm:alarm",
    "console": "pbxrouter.cli.console:console",
    "originate": "pbxrouter.cli.originate:originate",
    "counter": "pbxrouter.cli.counter:counter",
    "history": "pbxrouter.cli.history:history",
    "debug": "pbxrouter.cli.debug:debug",
    "events": "pbxrouter.cli.events:events",
    "doctor": "pbxrouter.cli.doctor:doctor",
    "reload": "pbxrouter.cli.reload:reload",
}

WRONG = 2  # bad input, a file that cannot be used, no gateway that listens
_INTERRUPTED = 130
_CLOSED_PIPE = 1


class CommandGroup(click.Group):
    """Imports a command when it is run, and turns every failure into one line on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order of `--help`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is no command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C ends it without a message."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(_INTERRUPTED) from None

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> Any:
        """Run a command line, and exit.

        Args:
            args: the arguments; None is those of the process.
            extra: for click's own tests of commands.
        """
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            # Characters that the terminal's encoding lacks are escaped.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        extra.update(prog_name="pbxrouter", standalone_mode=False)
        status = self._status(args, extra)
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            status = _drop_output()
        except (AttributeError, OSError, ValueError):  # no stdout at all, or it is closed
            pass
        sys.exit(status)

    def _status(self, args: Sequence[str] | None, extra: dict[str, Any]) -> int:
        try:
            status = super().main(args, **extra)
        except click.UsageError as error:
            return _usage(error)
        except click.ClickException as error:
            return complain(error.format_message())
        except click.Abort:
            return _INTERRUPTED
        except PbxrouterError as error:
            return complain(str(error))
        except BrokenPipeError:
            return _drop_output()
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return complain(f"{where}{error.strerror or error}")
        except UnicodeEncodeError as error:  # an argument reached the database, which takes characters only
            return complain(f"{error.object[:60]!a} holds bytes that are no text; accepted is text in UTF-8")
        except Exception as error:
            return complain(_unexpected(error))
        return status if isinstance(status, int) else 0


def complain(message: str) -> int:
    """Print an error on stderr, in one line.

    Returns:
        The exit status of a failed command.
    """
    line = " ".join(part.strip() for part in message.splitlines() if part.strip())
    click.echo(f"pbxrouter: {printable(line)}", err=True)
    return WRONG


def _usage(error: click.UsageError) -> int:
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        error.show()
        return WRONG
    message = error.format_message().rstrip(".")
    command = error.ctx.command_path if error.ctx else "pbxrouter"
    name = command.removeprefix("pbxrouter").strip()
    return complain(f"{name + ': ' if name else ''}{message[:1].lower()}{message[1:]} (see `{command} --help`)")


def _unexpected(error: Exception) -> str:
    """An exception that is a bug: one line with its type and place, for a report."""
    places = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(places[-1].filename)}:{places[-1].lineno}" if places else ""
    return f"a bug in pbxrouter: {type(error).__name__}{where}: {error}; please report it"


def _drop_output() -> int:
    """The reader of standard output has gone: discard the rest."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _CLOSED_PIPE


@click.command(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pbxrouter", message="%(prog)s %(version)s")
def pbxrouter() -> None:
    """Route the calls of an Asterisk PBX by rules, extensions and PINs.

    Start the gateway itself with `twistd -n pbxrouter`. For help on a command, run `pbxrouter COMMAND --help`.
    """
