"""`pbxrouter migrate`: carries everything over to another database, such as from SQLite to PostgreSQL."""

import contextlib
import pathlib
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from pbxrouter.cli.options import config_option, read_config

if TYPE_CHECKING:
    from pbxrouter.config import Config

_SCHEME = "sqlite:"


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option("--replace", is_flag=True, help="Delete what is in TARGET already, also if it is in use.")
@config_option
def migrate(source: str, target: str, replace: bool, config_file: str | None) -> None:
    """Carry all rules, calls, counts, changes and console users over from SOURCE to TARGET.

    Each is sqlite:FILE or postgresql://USER@HOST/NAME. A password is in database_password_file of the settings, in
    ~/.pgpass or in PGPASSWORD. TARGET gets its tables if it has none. Either everything arrives or nothing; what a
    migration has brought there is replaced by the next one, as long as no gateway has used it.
    """
    from pbxrouter import database as databases

    old, new = _place(source, config_file), _place(target, config_file)
    if old.place == new.place:
        raise click.UsageError("SOURCE and TARGET are the same database")
    # First the source: a typo there must not create the target.
    with contextlib.closing(databases.connect_read_only(old.place)) as reading:
        if _is_new(new):
            databases.create(new.place)
            click.echo(f"created the database {new.place}")
        with contextlib.closing(databases.connect(new.place)) as writing, _Progress() as progress:
            done = databases.carry_over(
                reading, writing, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), replace, progress.tell
            )
    for table, rows in done.rows.items():
        if rows:
            click.echo(f"{rows:>10} {table}")
    click.echo(
        f"{sum(done.rows.values())} rows of {len(done.rows)} tables are in {new.place}, as many as in {old.place}"
    )
    if done.odd_values:
        click.echo(
            f"{done.odd_values} texts hold bytes that are no text, which {new.place} cannot keep, and are there with "
            f"signs in their place: {'; '.join(done.odd)}{', ...' if done.odd_values > len(done.odd) else ''}"
        )
    if done.unknown:
        click.echo(f"not carried over, since they are not pbxrouter's: {', '.join(done.unknown)}")
    key = pathlib.Path(new.pin_key_file)
    if not key.exists() and pathlib.Path(old.pin_key_file).exists():
        click.echo(f"PINs need their key: cp -p {old.pin_key_file} {key}")
    click.echo(f'now set database = "{new.place}" in the settings, and restart the gateway')


def _place(given: str, config_file: str | None) -> "Config":
    path = given.removeprefix(_SCHEME) if given.startswith(_SCHEME) else given
    if not path:
        raise click.UsageError(f"{given!r} names no file; accepted is sqlite:FILE or postgresql://USER@HOST/NAME")
    if "://" in path and not path.startswith(("postgresql://", "postgres://")):
        raise click.UsageError(f"{given!r} is no database; accepted is sqlite:FILE or postgresql://USER@HOST/NAME")
    return read_config(config_file, path)


def _is_new(config: "Config") -> bool:
    from pbxrouter import database as databases

    place = config.place
    if isinstance(place, pathlib.Path):
        return not place.exists() or (place.is_file() and not place.stat().st_size)
    return databases.is_empty(place)


class _Progress:
    """A bar at a terminal, and a line for each big table elsewhere, on standard error."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._table = ""
        self._done = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def tell(self, table: str, done: int, total: int) -> None:
        """Show how many rows of a table are written."""
        if table != self._table:
            self._stack.close()
            self._table, self._done = table, 0
            bar: Any = click.progressbar(length=total, label=f"{table:<24}", file=sys.stderr)
            self._bar = self._stack.enter_context(bar)
        self._bar.update(done - self._done)
        self._done = done
