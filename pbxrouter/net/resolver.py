"""Looks up host names, without waiting for a resolver that hangs.

The system's resolver (getaddrinfo) cannot be cancelled, and while a name server is silent it takes half a minute or
more. A look-up has a thread of its own, a time limit, and no say in when the process ends.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.logger import Logger
from zope.interface import implementer

from pbxrouter.net.threads import LeavableThread, make_leavable
from pbxrouter.text import printable

LOOKUP_S: Final = 12.0
"""Seconds that a look-up may take: two name servers, each asked once."""
MAX_LOOKUPS: Final = 16
"""Look-ups that may hang at a time; further ones fail at once."""

_FAMILIES: Final[dict[frozenset[Any] | None, int]] = {
    None: socket.AF_UNSPEC,
    frozenset([IPv4Address]): socket.AF_INET,
    frozenset([IPv6Address]): socket.AF_INET6,
}
_ADDRESSES: Final[dict[int, Any]] = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}
_SOCKETS: Final = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}

Found = Sequence[tuple[Any, ...]]
"""As getaddrinfo returns it."""
Question = tuple[str, int, int, int]
"""Host, port, family and kind of socket."""


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Fail: a look-up in a thread cannot be cancelled."""
        raise NotImplementedError


@implementer(IHostnameResolver)
class LimitedResolver:
    """Looks up host names in daemon threads, each within LOOKUP_S.

    The answer of a look-up that took longer is kept for the next attempt, which asks for it again. Who asks while the
    same look-up hangs waits for that one, so that a silent name server does not use up threads.

    Args:
        reactor: for time and threads.
        look_up: the system's resolver.
    """

    log = Logger()

    def __init__(self, reactor: Any, look_up: Callable[..., Found] = socket.getaddrinfo) -> None:
        self._reactor = reactor
        self._look_up = look_up
        self._running: dict[Question, list[Deferred[Found]]] = {}
        self._late: dict[Question, Found] = {}
        self._silent: set[str] = set()

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Look a host name up; IHostnameResolver describes the arguments."""
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        family = _FAMILIES.get(None if addressTypes is None else frozenset(addressTypes), socket.AF_UNSPEC)
        asked = self._ask((hostName, portNumber, family, _SOCKETS[transportSemantics]))

        def tell(found: Found) -> None:
            for family, _, _, _, address in found:
                if family in _ADDRESSES:
                    resolutionReceiver.addressResolved(_ADDRESSES[family](transportSemantics, *address))
            resolutionReceiver.resolutionComplete()

        asked.addCallback(tell)
        return resolution

    def _ask(self, question: Question) -> Deferred[Found]:
        """Look up a name; fires with nothing if it is not found in time."""
        answer: Deferred[Found] = Deferred()
        if question in self._late:
            answer.callback(self._late.pop(question))
            return answer
        waiting = self._running.get(question)
        if waiting is None:
            if len(self._running) >= MAX_LOOKUPS:
                self._tell_once(
                    question[0], "resolver: {name} is not looked up: too many look-ups are without an answer already"
                )
                answer.callback(())
                return answer
            waiting = self._running[question] = []
            LeavableThread(target=self._in_thread, args=(question,), name=f"look-up of {question[0]}").start()
        waiting.append(answer)
        answer.addTimeout(LOOKUP_S, self._reactor)

        def failed(failure: Any) -> Found:
            failure.trap(TimeoutError)
            waiting.remove(answer)
            self._tell_once(
                question[0],
                "resolver: no answer for {name} within {seconds:.0f} s; check the name servers in /etc/resolv.conf",
            )
            return ()

        return answer.addErrback(failed)

    def _tell_once(self, name: str, line: str) -> None:
        """Log that a name is not found, unless that has been logged since it was found last."""
        if name not in self._silent:
            self._silent.add(name)
            self.log.warn(line, name=printable(name), seconds=LOOKUP_S)

    def _in_thread(self, question: Question) -> None:
        host, port, family, kind = question
        try:
            found = self._look_up(host, port, family, kind)
        except (OSError, UnicodeError):
            found = ()
        with contextlib.suppress(Exception):  # the reactor may have ended meanwhile
            self._reactor.callFromThread(self._answered, question, found)

    def _answered(self, question: Question, found: Found) -> None:
        waiting = self._running.pop(question)
        if found:
            self._silent.discard(question[0])
        if not waiting and found:
            self._late[question] = found
        for answer in waiting:
            answer.callback(found)


def limit_threads(reactor: Any) -> None:
    """Let neither look-ups of names nor the reactor's thread pool keep the process from ending.

    Args:
        reactor: its resolver is replaced; it does not run yet.
    """
    reactor.installNameResolver(LimitedResolver(reactor))
    make_leavable(reactor.getThreadPool())
