"""The doctor's look at the gateway itself: does it run, and listen where it should?

Connections are made and closed; nothing is said on them but one request for /metrics.
Not here: whether Asterisk reaches it (hook).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from pbxrouter.config import Config
from pbxrouter.doctor.finding import Finding, unknown, well, wrong
from pbxrouter.errors import PbxrouterError

TIMEOUT_S = 3.0
START = "start the gateway: twistd -n pbxrouter; its log tells if it cannot"

Connect = Callable[[str, float], socket.socket]
"""Connects with where an endpoint string listens, within seconds. Raises OSError, or
PbxrouterError if that string does not tell where."""


def look_at_gateway(config: Config, connect: Connect) -> Iterator[Finding]:
    """The control socket, FastAGI's port, the web server."""
    running = yield from _control(Path(config.control))
    yield from _listens("FastAGI", "fastagi.listen", config.fastagi.listen, connect, running)
    if config.web.listen is not None:
        yield from _web(config.web.listen, connect, running)


def _control(path: Path) -> Generator[Finding, None, bool | None]:
    """Whether it runs; None if that cannot be seen."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(TIMEOUT_S)
        try:
            probe.connect(str(path))
        except PermissionError:
            yield unknown(
                "gateway", f"{path} may not be opened", "run this as the gateway's own user, or root"
            )
            return None
        except OSError as error:
            why = error.strerror or str(error)
            yield wrong("gateway", f"it does not run: no answer at {path}: {why}", START)
            return False
    yield well("gateway", f"it runs, and answers at {path}")
    return True


def _listens(area: str, key: str, listen: str, connect: Connect, running: bool | None) -> Iterator[Finding]:
    try:
        connect(listen, TIMEOUT_S).close()
    except PbxrouterError as error:
        yield unknown(area, str(error), f"see that the gateway listens at {listen}")
    except OSError as error:
        why = error.strerror or str(error)
        todo = START if running is False else f"see {key} in the settings, and the gateway's log"
        yield wrong(area, f"nothing listens at {listen}: {why}", todo)
    else:
        if running is False:
            yield wrong(area, f"another program listens at {listen}", f"stop it, or change {key}")
        else:
            yield well(area, f"listens at {listen}")


def _web(listen: str, connect: Connect, running: bool | None) -> Iterator[Finding]:
    request = b"GET /metrics HTTP/1.1\r\nHost: doctor\r\nConnection: close\r\n\r\n"
    try:
        with connect(listen, TIMEOUT_S) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.sendall(request)
            answer = connection.recv(64)
    except PbxrouterError:
        yield unknown("web", f"web.listen {listen!r} does not tell where to ask", "open it in a browser")
    except OSError as error:
        why = error.strerror or str(error)
        todo = START if running is False else "see web.listen in the settings, and the gateway's log"
        yield wrong("web", f"no answer at {listen}: {why}", todo)
    else:
        if answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            yield well("web", f"/metrics answers at {listen}")
        else:
            said = answer.partition(b"\r\n")[0].decode("latin-1")
            yield wrong("web", f"{listen} answers {said!a} to /metrics", "see that no other program is there")
