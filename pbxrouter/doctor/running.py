"""Checks that the gateway runs and listens where it should.

Connections are opened and closed; the only requests are for /metrics and the control socket's ``queues``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import struct
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

from pbxrouter.config import Config, is_local
from pbxrouter.doctor.classes import take_out_of_filters
from pbxrouter.doctor.finding import AS_OWNER, Finding, ok, unknown, wrong
from pbxrouter.doctor.probe import area_of
from pbxrouter.errors import PbxrouterError
from pbxrouter.net import QueueFigures
from pbxrouter.text import Sentence, sentence

TIMEOUT_S = 3.0
MAX_ANSWER = 1_000_000
"""Bytes of an answer of the gateway's that are read."""
QUEUE_TODO = Sentence("the gateway's log names what failed and why; docs/operations.md explains each queue")
FREE_DESCRIPTORS = 32
"""Free descriptors below which the doctor warns."""
START = Sentence("start the gateway: twistd -n pbxrouter; its log says why if it cannot start")

Connect = Callable[[str, float], socket.socket]
"""Connects to the place where an endpoint string listens, within seconds. Raises OSError, or
PbxrouterError if the string does not tell the place."""


def check_gateway(config: Config, connect: Connect) -> Iterator[Finding]:
    """Check the control socket, the FastAGI port and the web server."""
    running = yield from _control(config)
    yield from _listens(Sentence("FastAGI"), "fastagi.listen", config.fastagi.listen, connect, running)
    yield from _peers(config)
    if config.web.listen is not None:
        yield from _web(config.web.listen, connect, running)


def _peers(config: Config) -> Iterator[Finding]:
    """Who may connect to FastAGI, unless that is this machine alone."""
    if is_local(config.fastagi.listen):
        return
    area = Sentence("FastAGI peers")
    if config.fastagi.allow:
        yield ok(
            area, sentence("fastagi.allow names who may connect: {networks}", networks=", ".join(config.fastagi.allow))
        )
    elif config.fastagi.secret_file:
        yield ok(area, Sentence("calls must pass the secret of fastagi.secret_file"))
    else:
        yield wrong(
            area,
            sentence("any machine that can connect to {listen} is treated as Asterisk", listen=config.fastagi.listen),
            Sentence('name the address of Asterisk in fastagi.allow, such as ["192.0.2.7"]'),
        )


def _control(config: Config) -> Generator[Finding, None, bool | None]:
    """Check the control socket; returns whether the gateway runs, None if that is unknown."""
    path = Path(config.control)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(TIMEOUT_S)
        try:
            probe.connect(str(path))
        except PermissionError:
            yield unknown(
                Sentence("gateway"),
                sentence("{path} may not be opened", path=path),
                AS_OWNER,
            )
            return None
        except OSError as error:
            why = error.strerror or str(error)
            yield wrong(
                Sentence("gateway"),
                sentence("not running: no answer at {path}: {why}", path=path, why=why),
                START,
            )
            return False
        answer = _queues_told(probe)
        if answer:
            yield ok(Sentence("gateway"), sentence("running; answers at {path}", path=path))
        else:  # the kernel accepts connections of a process that is stopped
            yield wrong(
                Sentence("gateway"),
                sentence(
                    "it does not answer at {path} within {seconds} s: it hangs", path=path, seconds=f"{TIMEOUT_S:.0f}"
                ),
                Sentence("see its log: kill -USR2 writes its state there; then restart it"),
            )
        yield from _queues(answer)
        yield from _withheld(answer, config)
        yield from _descriptors(probe)
    return True


def _queues_told(probe: socket.socket) -> bytes:
    """Ask the gateway what waits to be written or sent; returns as much of its answer as came in time."""
    answer = b""
    with contextlib.suppress(OSError):
        probe.sendall(b'{"queues": {}}\n')
        while b"\n" not in answer and len(answer) < MAX_ANSWER and (more := probe.recv(65_536)):
            answer += more
    return answer


def _queues(answer: bytes) -> Iterator[Finding]:
    """What the gateway has told of its queues."""
    area = Sentence("queues")
    try:
        queues = [QueueFigures(**queue) for queue in json.loads(answer)["queues"]]
        states = [(queue, queue.state, queue.sentence) for queue in queues]
    except (ValueError, TypeError, KeyError, RecursionError):
        yield unknown(
            area,
            Sentence("the gateway does not tell what waits to be written or sent"),
            Sentence("restart it if it is of another version than this program; its log may say more"),
        )
        return
    good = True
    for queue, state, said in states:
        if state != "good":
            good = False
            yield wrong(area, sentence("{name}: {state}", name=queue.name, state=said), QUEUE_TODO)
    if good:
        yield ok(area, sentence("nothing waits long: {names}", names=", ".join(queue.name for queue in queues)))


def _withheld(answer: bytes, config: Config) -> Iterator[Finding]:
    """What the gateway has told of events that do not come, as it has found out by others."""
    try:
        told = json.loads(answer).get("withheld", {})
        names = {str(asterisk): ", ".join(map(str, events)) for asterisk, events in told.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return  # said of the queues already
    for asterisk in config.asterisk:
        if names.get(str(asterisk.name)):
            yield wrong(
                area_of(asterisk),
                sentence(
                    "{user} does not get {names}: calls cannot be counted",
                    user=asterisk.username,
                    names=names[str(asterisk.name)],
                ),
                take_out_of_filters(asterisk.username),
            )


def _descriptors(connection: socket.socket) -> Iterable[Finding]:
    """Check that the process at the other end of a Unix socket may open more files; nothing if there is no /proc."""
    area = Sentence("descriptors")
    if not hasattr(socket, "SO_PEERCRED"):
        return []
    process, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        in_use = len(os.listdir(f"/proc/{process}/fd"))
        found = re.search(r"^Max open files +(\d+)", Path(f"/proc/{process}/limits").read_text("ascii"), re.MULTILINE)
    except OSError as error:
        return [
            unknown(
                area,
                sentence("those of process {process} cannot be counted: {why}", process=process, why=error.strerror),
                AS_OWNER,
            )
        ]
    if found is None:
        return []
    limit = int(found[1])
    said = sentence("{count} of {limit} are in use", count=in_use, limit=limit)
    if limit - in_use >= FREE_DESCRIPTORS:
        return [ok(area, said)]
    return [
        wrong(area, said, Sentence("raise the limit of open files (LimitNOFILE of its systemd unit), and restart it"))
    ]


def _listens(area: Sentence, key: str, listen: str, connect: Connect, running: bool | None) -> Iterator[Finding]:
    try:
        connect(listen, TIMEOUT_S).close()
    except PbxrouterError as error:
        yield unknown(area, error.sentence, sentence("check that the gateway listens at {listen}", listen=listen))
    except PermissionError:
        yield unknown(area, sentence("{path} may not be opened", path=listen), AS_OWNER)
    except OSError as error:
        why = error.strerror or str(error)
        todo = (
            START
            if running is False
            else sentence("check {setting} in the settings, and the gateway's log", setting=key)
        )
        yield wrong(area, sentence("nothing listens at {listen}: {why}", listen=listen, why=why), todo)
    else:
        if running is False:
            yield wrong(
                area,
                sentence("another program listens at {listen}", listen=listen),
                sentence("stop it, or change {setting}", setting=key),
            )
        elif running is None:
            yield unknown(
                area,
                sentence("a program listens at {listen}; whether it is the gateway was not seen", listen=listen),
                AS_OWNER,
            )
        else:
            yield ok(area, sentence("listens at {listen}", listen=listen))


def _web(listen: str, connect: Connect, running: bool | None) -> Iterator[Finding]:
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        with connect(listen, TIMEOUT_S) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.sendall(request)
            answer = connection.recv(64)
    except PbxrouterError:
        yield unknown(
            Sentence("web"),
            sentence("web.listen {listen} does not tell where to ask", listen=repr(listen)),
            Sentence("open it in a browser"),
        )
    except PermissionError:
        yield unknown(Sentence("web"), sentence("{path} may not be opened", path=listen), AS_OWNER)
    except OSError as error:
        why = error.strerror or str(error)
        todo = (
            START
            if running is False
            else sentence("check {setting} in the settings, and the gateway's log", setting="web.listen")
        )
        yield wrong(Sentence("web"), sentence("no answer at {listen}: {why}", listen=listen, why=why), todo)
    else:
        if answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            yield ok(Sentence("web"), sentence("/metrics answers at {listen}", listen=listen))
        else:
            said = answer.partition(b"\r\n")[0].decode("latin-1")
            yield wrong(
                Sentence("web"),
                sentence("{listen} answers {said} to /metrics", listen=listen, said=ascii(said)),
                Sentence("check that no other program listens there"),
            )
