"""Runs what a page of the documentation shows, in a directory of its own.

A page is Markdown. What its fenced blocks mean:

* ``console``: lines with ``$ `` are run by bash, the lines beneath are what must come of it, with ``…`` for
  any text; a line that is ``…`` alone stands for any number of lines. A command that goes on
  (the gateway, ``pbxrouter debug``) runs until the page's end, and what it wrote is looked at then. On a page that
  begins with ``pbxrouter init`` this is a program of its own; other commands of that name run in this process, which
  is quicker.
* ``sql``: run on the page's database. ``toml``: must be accepted as settings. ``python``: run.
* ``sql FILE``, ``toml FILE``, ``python FILE``: put into that file instead.
* ``text`` and ``ini``: for people only, since it needs a PBX or would last too long.

In what commands write, the page's own directory is shown as ``/srv/pbxrouter``, and the port of its gateway
as 4573; where its console blocks name 127.0.0.1:8080, the gateway serves the web at a port that is shown so.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from click.testing import CliRunner

from pbxrouter.cli import app
from pbxrouter.config import parsing
from tests.forked import ForkedTwistd
from tests.needs import PATIENCE_S
from tests.paths import ROOT
from tests.workshop.test_import import WORKSHOP

RUN = ("console", "sql", "toml", "python")
SHOWN = ("text", "ini")
SHOWN_DIRECTORY = "/srv/pbxrouter"
_FENCE = re.compile(r"^```(\w*)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_GOES_ON = re.compile(r"(?:twistd -n|make run|pbxrouter debug)\b(?!.*tcp:no)")
_NEEDS_GATEWAY = re.compile(r"(?:pbxrouter|make) (?:call|debug|originate)\b|\bcurl ")
_IN_PARTS = re.compile(r"^\s*(?:BEGIN|PRAGMA|VACUUM|ATTACH)\b", re.MULTILINE)
_WEB = "127.0.0.1:8080"
_GATEWAY = ("-n", "--pidfile=", "pbxrouter")
_UP = {"debug": "watching;", "gateway": "rules loaded"}
_HERE = re.compile(r"(?:echo (\d+) \| )?pbxrouter ([^|;&<>$`]+)")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        kind: the language behind the fence.
        file: the name behind the language; empty if there is none.
        line: where it begins in the page.
    """

    kind: str
    file: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page."""
    return [
        Block(found[1], found[2] or "", found[3], page.count("\n", 0, found.start()) + 1)
        for found in _FENCE.finditer(page)
    ]


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output that is expected."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def fits(expected: str, actual: str) -> bool:
    """Whether output is what a page shows; ``…`` matches any text."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else ".*".join(map(re.escape, line.rstrip().split("…"))) + r"\n"
        for line in expected.splitlines()
    )
    return bool(re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in actual.splitlines())))


class Page:
    """One page while it is run.

    Attributes:
        ran: how many blocks of each kind were run.
        directory: where its commands run; it is the page's, and has the sample rules unless the page makes
            its own database.
    """

    def __init__(self, path: Path) -> None:
        self.ran: Counter[str] = Counter()
        self.directory = Path(tempfile.mkdtemp(prefix="docs-"))
        self._name = path.relative_to(ROOT)
        self._text = path.read_text(encoding="utf-8")
        self._going_on: list[tuple[str, str, subprocess.Popen[bytes] | ForkedTwistd, Path]] = []
        self._was_started = False
        self._installs = any(block.file == "pyproject.toml" for block in blocks(self._text))
        with socket.socket() as probe, socket.socket() as another:
            probe.bind(("127.0.0.1", 0))
            another.bind(("127.0.0.1", 0))
            self._port = str(probe.getsockname()[1])
            self._web_port = str(another.getsockname()[1])
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{self.directory}{os.pathsep}{ROOT}",
            "PYTHONUNBUFFERED": "1",
            "LC_ALL": "C.UTF-8",
        }
        self._prepare()

    def _prepare(self) -> None:
        """Put the files of a checkout into the directory, with a gateway on a port of its own."""
        settings = f'[fastagi]\nlisten = "tcp:{self._port}:interface=127.0.0.1"\n'
        if any(_WEB in block.text for block in blocks(self._text) if block.kind == "console"):
            settings += f'[web]\nlisten = "tcp:{self._web_port}:interface=127.0.0.1"\n'
        (self.directory / "pbxrouter.toml").write_text(settings, encoding="utf-8")
        (self.directory / "Makefile").symlink_to(ROOT / "Makefile")
        for name, target in (("scripts/setup-venv", "/bin/true"), (".venv/bin", Path(sys.executable).parent)):
            (self.directory / name).parent.mkdir()
            (self.directory / name).symlink_to(target)
        (self.directory / "workshop.sql").write_text(WORKSHOP, encoding="utf-8")
        if not re.search(r"^\$ (?:pbxrouter init(?: --sample)?|make run)$", self._text, re.MULTILINE):
            self._run_here(["init", "--sample"], "")
            self._was_started = True

    def run(self) -> None:
        """Run the page from top to bottom.

        Raises:
            AssertionError: a block does not do what the page says.
        """
        for block in blocks(self._text):
            if block.kind in SHOWN:
                continue
            where = f"{self._name}, line {block.line}"
            if block.file:
                (self.directory / block.file).write_text(block.text, encoding="utf-8")
                if block.file == "pyproject.toml":
                    self._install(tomllib.loads(block.text))
            elif block.kind == "console":
                for command, expected in commands(block):
                    self._check(where, command, expected)
            elif block.kind == "sql":
                self._run_sql(block.text)
            elif block.kind == "toml":
                parsing.parse(block.text, where, self.directory)
            elif block.kind == "python":
                self._check(where, f"python - <<'END'\n{block.text}END", "…")
            else:
                raise AssertionError(f"{where}: what is a {block.kind!r} block?")
            self.ran[block.kind] += 1
        self._check_going_on()

    def close(self) -> None:
        """End the background programs, and remove the directory."""
        while self._going_on:
            _, _, process, _ = self._going_on.pop()
            # What bash starts is a group of its own.
            send = process.send_signal if isinstance(process, ForkedTwistd) else partial(os.killpg, process.pid)
            send(signal.SIGTERM)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                send(signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.directory)

    def _check_going_on(self) -> None:
        """Compare the output of background programs, of which the last part may come a moment later."""
        for command, expected, _, log in self._going_on:
            until = time.monotonic() + PATIENCE_S
            while not fits(expected, actual := self._shown(log.read_bytes())):
                if time.monotonic() > until:
                    raise AssertionError(f"{self._name}: $ {command}\n{actual}\ninstead of\n{expected}")
                time.sleep(0.02)

    def _check(self, where: str, command: str, expected: str) -> None:
        if _NEEDS_GATEWAY.search(command) and not self._gateway_log():
            self._start_gateway()
        if _GOES_ON.search(command):
            self._start(command, expected)
            return
        output, status = self._run(command)
        told = any(line.startswith("pbxrouter: ") for line in expected.splitlines())
        if not fits(expected, output) or (status != 0) != told:
            raise AssertionError(f"{where}: $ {command}\n{output}(status {status}) instead of\n{expected}")

    def _run(self, command: str) -> tuple[str, int]:
        found = _HERE.fullmatch(command)
        if found and self._was_started and not self._installs:
            return self._run_here(shlex.split(found[2]), f"{found[1]}\n" if found[1] else "")
        self._was_started = self._was_started or bool(found)
        done = subprocess.run(
            ["bash", "-c", command.replace(_WEB, f"127.0.0.1:{self._web_port}")],
            cwd=self.directory,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
        )
        return self._shown(done.stdout), done.returncode

    def _run_here(self, arguments: list[str], typed: str) -> tuple[str, int]:
        with contextlib.chdir(self.directory):
            done = CliRunner().invoke(app.pbxrouter, arguments, input=typed)
        return self._shown(done.output.encode()), done.exit_code

    def _start_gateway(self) -> None:
        """Start the gateway that the page needs and does not start itself."""
        if self._installs:  # what it installs is found by a Python that starts
            self._start(f"twistd {' '.join(_GATEWAY)}", "…")
            return
        log = self.directory / f"log{len(self._going_on)}"
        with log.open("wb") as output:
            process = ForkedTwistd(_GATEWAY, self.directory, self._environ, output.fileno())
        self._going_on.append(("the gateway", "…", process, log))
        self._await(log, _UP["gateway"], 1)

    def _start(self, command: str, expected: str) -> None:
        log = self.directory / f"log{len(self._going_on)}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.directory,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._going_on.append((command, expected, process, log))
        self._await(log, _UP["debug" if "debug" in command else "gateway"], 1)

    def _await(self, log: Path, words: str, times: int) -> None:
        until = time.monotonic() + PATIENCE_S
        while log.read_text(errors="replace").count(words) < times:
            if time.monotonic() > until:
                raise AssertionError(f"{self._name}: no {words!r} came in\n{log.read_text(errors='replace')}")
            time.sleep(0.02)

    def _gateway_log(self) -> Path | None:
        return next((log for command, _, _, log in self._going_on if "debug" not in command), None)

    def _run_sql(self, script: str) -> None:
        log = self._gateway_log()
        before = log.read_text(errors="replace").count("loaded") if log else 0
        connection = sqlite3.connect(self.directory / "pbxrouter.sqlite")
        try:
            changes = connection.total_changes
            with contextlib.chdir(self.directory):
                # At once, or a gateway may load what is between two statements, and is waited for no longer.
                connection.executescript(script if _IN_PARTS.search(script) else f"BEGIN;\n{script};\nCOMMIT")
            changed = connection.total_changes > changes
        finally:
            connection.close()
        if log and changed:
            self._await(log, "loaded", before + 1)

    def _install(self, project: dict[str, dict[str, object]]) -> None:
        """Make what pip would install of a package besides its modules; PYTHONPATH leads here."""
        name, version = project["project"]["name"], project["project"]["version"]
        info = self.directory / f"{str(name).replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        groups = project["project"]["entry-points"]
        assert isinstance(groups, dict)
        lines = [
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
            for group, points in groups.items()
        ]
        (info / "entry_points.txt").write_text("".join(lines))

    def _shown(self, output: bytes) -> str:
        text = output.decode("utf-8", "backslashreplace")
        text = text.replace(str(self.directory), SHOWN_DIRECTORY).replace(self._port, "4573")
        return text.replace(f"127.0.0.1:{self._web_port}", _WEB)
