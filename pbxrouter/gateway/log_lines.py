"""Makes each log event writable: what it quotes is escaped, and its length is bounded.

An observer that goes ahead of those that write: it changes only an event that they could not write (a byte that is not
UTF-8), or that would do something to a terminal, or that is too long. So it does not matter who logs: the gateway, a
driver, Twisted, or a traceback.
"""

from __future__ import annotations

import sys
from typing import Final

from twisted.logger import ILogObserver, LogEvent, LogPublisher, formatEvent, globalLogPublisher
from zope.interface import implementer

from pbxrouter.text import cut, printable

MAX_MESSAGE: Final = 10_000
"""Characters of a log message; a longer one is cut."""
MAX_TRACEBACK: Final = 30_000
"""Characters of a traceback; of a longer one the middle is left out."""


@implementer(ILogObserver)
class LineCleaner:
    """The observer."""

    def __call__(self, event: LogEvent) -> None:
        """Make an event writable."""
        failure = event.get("log_failure")
        if failure is None:
            message = formatEvent(event)
            if len(message) > MAX_MESSAGE or not message.isprintable():
                event["log_format"], event["log_text"] = "{log_text}", clean(message, MAX_MESSAGE)
            return
        traceback: str | None = None
        try:
            traceback = text = str(failure.getTraceback())
        except Exception:  # an exception of other people's code whose text cannot be made
            text = f"(a traceback that cannot be shown, of {getattr(failure, 'type', None)!r})"
        message = formatEvent(event)
        shown = clean(message, MAX_MESSAGE), clean(_without_middle(text), MAX_TRACEBACK)
        if shown != (message, traceback):
            del event["log_failure"]
            event["log_format"], event["log_text"] = "{log_text}", "\n".join(shown)


def clean(text: str, most: int) -> str:
    """Text of several lines as it can be written: each line printable, all together at most so many characters."""
    lines = cut(text, most).split("\n")
    return "\n".join("\t".join(printable(part, len(part)) for part in line.split("\t")) for line in lines)


def _without_middle(traceback: str) -> str:
    """A traceback with its beginning and its end, where the error is named."""
    if len(traceback) <= MAX_TRACEBACK:
        return traceback
    half = MAX_TRACEBACK // 2 - 50
    return f"{traceback[:half]}\n(… {len(traceback) - 2 * half} characters left out …)\n{traceback[-half:]}"


def clean_log(publisher: LogPublisher = globalLogPublisher) -> None:
    """Put the observer ahead of those that are added from now on, and let the terminal's encoding lack characters."""
    publisher.addObserver(LineCleaner())
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
