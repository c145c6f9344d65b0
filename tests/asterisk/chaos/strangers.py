"""Connections from anyone: many that say little, and lines without an end."""

from __future__ import annotations

import contextlib
import re
import resource
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pbxrouter.simulator import SimulatedCall
from tests.asterisk.chaos.bench import Bench
from tests.asterisk.chaos.proxy import GIGABYTE

TAKEN: Final = 32 << 20
"""Bytes of a line that may be taken; most of them stand in the kernel's buffers."""
GROWTH_KB: Final = 64 << 10
"""By how much the gateway's memory may grow meanwhile."""
CLOSED_S: Final = 20.0
"""Seconds in which a line without an end must be refused."""

_POST: Final = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def connections(number: int, data: bytes) -> Callable[[Bench], Callable[[], None]]:
    """So many connections to FastAGI, each of which sends the data and waits."""

    def begin(bench: Bench) -> Callable[[], None]:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        strangers = []
        for _ in range(number):
            with contextlib.suppress(OSError):
                stranger = socket.create_connection(("127.0.0.1", bench.lab.agi_port), 2)
                stranger.sendall(data)
                strangers.append(stranger)

        def end() -> None:
            for stranger in strangers:
                stranger.close()

        return end

    return begin


class EndlessLine(threading.Thread):
    """Sends up to a gigabyte without a line end, until the connection is closed.

    Attributes:
        taken: bytes that were taken.
        answer: what came back.
        is_closed: whether the other side closed it.
    """

    def __init__(self, name: str, address: tuple[str, int] | str, begin: bytes) -> None:
        super().__init__(name=name, daemon=True)
        self._address = address
        self._begin = begin
        self.taken = 0
        self.answer = b""
        self.is_closed = False

    def run(self) -> None:
        """Connect and send."""
        is_path = isinstance(self._address, str)
        with socket.socket(socket.AF_UNIX if is_path else socket.AF_INET) as line:
            line.settimeout(CLOSED_S)
            line.connect(self._address)
            try:
                line.sendall(self._begin)
                while self.taken < GIGABYTE:
                    self.taken += line.send(b"a" * 65536)
            except TimeoutError:
                return
            except OSError:
                self.is_closed = True
            with contextlib.suppress(OSError):
                self.answer = line.recv(65536)


def endless_lines(bench: Bench) -> Callable[[], None]:
    """Lines of a gigabyte at each door of the gateway; its memory is bounded, and each is closed with a reason."""
    call = SimulatedCall("21", caller="33", channel="PJSIP/33-0000dead", uniqueid="1.1").environment()
    agi, web = ("127.0.0.1", bench.lab.agi_port), ("127.0.0.1", bench.web_port)
    control = str(Path(f"{bench.gateway.database}.sock"))
    lines = [
        EndlessLine("FastAGI: a first line", agi, b"agi_network: yes\nagi_network_script: "),
        EndlessLine("FastAGI: no AGI", agi, b""),
        EndlessLine("FastAGI: a reply", agi, call + b"200 result=1 ("),
        EndlessLine("web: a request line", web, b"GET /"),
        EndlessLine("web: a header", web, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "),
        EndlessLine("web: a body", web, _POST + b"Content-Length: %d\r\n\r\n" % GIGABYTE),
        EndlessLine("web: a chunk", web, _POST + b"Transfer-Encoding: chunked\r\n\r\n40000000\r\n"),
        EndlessLine("web: the size of a chunk", web, _POST + b"Transfer-Encoding: chunked\r\n\r\n"),
        EndlessLine("control: a command", control, b'{"status": '),
    ]
    Path(f"/proc/{bench.pid}/clear_refs").write_text("5")  # the peak begins here
    before_kb = bench.memory_kb("VmRSS")
    bench.proxy.manner = "endless"
    for line in lines:
        line.start()

    def end() -> None:
        for line in lines:
            line.join(2 * CLOSED_S)
            if not line.is_closed:
                bench.wrong.append(f"{line.name}: not closed after {line.taken} bytes without a line end")
            elif line.taken > TAKEN:
                bench.wrong.append(f"{line.name}: {line.taken} bytes were taken")
            elif line.name.startswith("control") and b"a command may have" not in line.answer:
                bench.wrong.append(f"{line.name}: closed without a reason")
        bench.proxy.restore()
        bench.wrong += [f"AMI: {taken} bytes of a line were taken" for taken in bench.proxy.taken if taken > TAKEN]
        if not bench.proxy.taken:
            bench.wrong.append("AMI: no line was sent")
        grown_kb = bench.memory_kb("VmHWM") - before_kb
        if grown_kb > GROWTH_KB:
            bench.wrong.append(f"memory grew by {grown_kb} kB")
        said = bench.said()
        bench.wrong += [f"the log does not say: {why}" for why in _REASONS if not re.search(why, said)]
        bench.until_connected()

    return end


_REASONS: Final = (
    # Of connections without a call it says so for one in a while.
    "refused: (Asterisk's side sent more than 1048576 bytes without an end|.* is not how Asterisk opens a call)",
    "AMI: the far end sent [0-9]+ bytes without an end; closing the connection",
)
