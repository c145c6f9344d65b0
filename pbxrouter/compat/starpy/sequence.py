"""InSequence: runs several actions one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure


class InSequence:
    """Actions run in order, each after the one before; can be run once.

    Attributes:
        actions: the actions still to run: function, positional and keyword arguments.
        results: the results of the actions that have run.
    """

    def __init__(self) -> None:
        self.actions: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
        self.results: list[Any] = []

    def append(self, function: Callable[..., Any], *args: Any, **named: Any) -> None:
        """Add an action; the function may return a Deferred."""
        self.actions.append((function, args, named))

    def __call__(self) -> Deferred[list[Any]]:
        """Run the actions in order, each when the one before it has fired.

        Returns:
            Fires with all results. It fails with the first failure, which then carries
            the ``results`` so far; later actions are not run.
        """
        return Deferred.fromCoroutine(self._run()).addErrback(self._failed)

    async def _run(self) -> list[Any]:
        while self.actions:
            function, args, named = self.actions.pop(0)
            self.results.append(await maybeDeferred(function, *args, **named))
        return self.results

    def _failed(self, failure: Failure) -> Failure:
        failure.results = self.results  # type: ignore[attr-defined]
        return failure
