"""The commands of the control socket.

``watch`` streams the AGI dialogues of calls; ``originate`` originates a call and streams its progress; ``queues``
tells what waits to be written or sent, and what Asterisk withholds; ``reload`` reads the settings again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbxrouter.agi import DialogueLine, DialogueWatch
from pbxrouter.control.server import JsonObject
from pbxrouter.errors import ControlRefused, PbxrouterError
from pbxrouter.net import QueueFigures
from pbxrouter.originate import RING_S, CallRequest, Originator, Progress, originator_for
from pbxrouter.text import sentence

Send = Callable[[JsonObject], None]
End = Callable[[], None]


def text(arguments: JsonObject, name: str) -> str | None:
    """An optional text value of a command.

    Raises:
        ControlRefused: the value is of another type.
    """
    value: Any = arguments.get(name)
    if value is None or isinstance(value, str):
        return value
    raise ControlRefused(sentence("{name}: accepted is text", name=name))


def whole(arguments: JsonObject, name: str, default: int) -> int:
    """An optional whole number of a command.

    Raises:
        ControlRefused: it is something else.
    """
    value: Any = arguments.get(name)
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ControlRefused(sentence("{name}: accepted is a whole number", name=name))


class WatchCommand:
    """``{"watch": {"caller": "33", "extension": null}}``: dialogue lines, PINs masked."""

    def __init__(self, watch: DialogueWatch) -> None:
        self._watch = watch

    def __call__(self, arguments: JsonObject, send: Send, end: End) -> Callable[[], None]:
        """Send the dialogue lines of calls as they come, until the client disconnects."""

        def tell(line: DialogueLine) -> None:
            send(dataclasses.asdict(line))

        stop = self._watch.add(tell, text(arguments, "caller"), text(arguments, "extension"))
        send({"watching": True})
        return stop


class ReloadCommand:
    """``{"reload": {}}``: one object with ``line`` for each thing that was reloaded or needs a restart.

    Args:
        reload: reloads, and returns the lines. Raises PbxrouterError if something is wrong; nothing is changed then.
    """

    def __init__(self, reload: Callable[[], list[str]]) -> None:
        self._reload = reload

    def __call__(self, arguments: JsonObject, send: Send, end: End) -> Callable[[], None]:
        """Reload, and send what was done, line by line."""
        for line in self._reload():
            send({"line": line})
        end()
        return lambda: None


class QueuesCommand:
    """``{"queues": {}}``: the figures of all queues, and the events that each Asterisk withholds.

    Args:
        queues: returns the figures.
        withheld: returns the names of events, by that of the Asterisk.
    """

    def __init__(
        self, queues: Callable[[], Sequence[QueueFigures]], withheld: Callable[[], Mapping[str, Sequence[str]]] = dict
    ) -> None:
        self._queues = queues
        self._withheld = withheld

    def __call__(self, arguments: JsonObject, send: Send, end: End) -> Callable[[], None]:
        """Send the figures, and end."""
        withheld = {asterisk: list(names) for asterisk, names in self._withheld().items()}
        send({"queues": [dataclasses.asdict(queue) for queue in self._queues()], "withheld": withheld})
        end()
        return lambda: None


class OriginateCommand:
    """``{"originate": {"channel": …, "to": …, "context": …, "wait": false, "ring": 30}}``: a call."""

    log = Logger()

    def __init__(self, originators: Mapping[str, Originator]) -> None:
        self._originators = originators

    def __call__(self, arguments: JsonObject, send: Send, end: End) -> Callable[[], None]:
        """Originate a call and send its progress."""
        asterisk = text(arguments, "asterisk")
        channel, number, context = (text(arguments, name) or "" for name in ("channel", "to", "context"))
        request = CallRequest(channel, number, context, whole(arguments, "ring", RING_S))
        wait = arguments.get("wait") is True

        def tell(progress: Progress) -> None:
            send({"state": progress.state, "why": progress.why, "uniqueid": progress.uniqueid})
            if progress.is_last or (progress.state == "answered" and not wait):
                end()

        def refused(failure: Failure) -> None:
            if failure.check(PbxrouterError):
                send({"error": str(failure.value)})
            else:  # the client waits for an answer
                self.log.failure("control: unhandled error while originating a call", failure)
                send({"error": "internal error; see the gateway's log"})
            end()

        async def originate() -> None:
            originator, placed = await originator_for(asterisk, request, self._originators)
            await originator.originate(placed, tell)

        Deferred.fromCoroutine(originate()).addErrback(refused)
        return lambda: None
