"""What the database package asks of a connection, whichever the engine.

sqlite3.Connection is one as it is; ``engine.postgresql`` has one over psycopg. SQL is written once, in what both
engines understand, with ``?`` or ``:name`` for values. What must differ is in ``engine.dialect``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

Values = Sequence[Any] | Mapping[str, Any]
"""The values of a statement: by place for ``?``, by name for ``:name``."""


class Cursor(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """How many rows an INSERT, UPDATE or DELETE has changed."""
        ...

    @property
    def description(self) -> Sequence[Any] | None:
        """The columns of the rows, each a sequence that begins with its name; None if the statement has none."""
        ...

    def fetchone(self) -> Any:
        """The next row, a tuple; None if there is no further one, or the statement has none."""
        ...

    def fetchmany(self, size: int = ..., /) -> list[Any]:
        """The next rows, at most ``size``."""
        ...

    def fetchall(self) -> list[Any]:
        """All further rows."""
        ...

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> object:
        """Forget the rows that were not fetched."""
        ...


class Connection(Protocol):
    """An open database.

    INSERT, UPDATE and DELETE open a transaction where none is open; other statements do not.
    """

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    @property
    def total_changes(self) -> int:
        """How many rows this connection has changed since it was opened."""
        ...

    def execute(self, sql: str, parameters: Values = ..., /) -> Cursor:
        """Run one statement.

        Raises:
            One of DATABASE_ERRORS; one of CONSTRAINT_ERRORS for a violated constraint.
        """
        ...

    def executemany(self, sql: str, parameters: Iterable[Values], /) -> Cursor:
        """Run a statement that returns no rows once for each element of ``parameters``."""
        ...

    def commit(self) -> None:
        """Commit the transaction that is open, if one is."""
        ...

    def rollback(self) -> None:
        """Undo the transaction that is open, if one is."""
        ...

    def close(self) -> None:
        """Close the connection; what is not committed is lost."""
        ...
