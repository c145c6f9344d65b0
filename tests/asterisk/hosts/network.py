"""Hosts as network namespaces on one switch. Needs root and iproute2."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CLONE_NEWNET: Final = 0x40000000
NET: Final = "10.213.0"
_libc = ctypes.CDLL(None, use_errno=True)


def why_not() -> str | None:
    """The reason why there can be no namespaces here; None if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip") or not shutil.which("unshare"):
        return "ip (iproute2) or unshare (util-linux) is not installed"
    name = f"pbxrouter-{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    with contextlib.ExitStack() as after:
        after.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
        pair = ["ip", "-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two"]
        made = subprocess.run(pair, capture_output=True, text=True, check=False)
        return f"no veth pair can be made here: {made.stderr.strip()}" if made.returncode else None


class Host:
    """A host: a network namespace with an address.

    Attributes:
        name: of the host, and of its port of the switch.
        namespace: what ``ip netns`` calls it.
        address: on the switch; 127.0.0.1 is its own.
    """

    def __init__(self, name: str, namespace: str, address: str) -> None:
        self.name = name
        self.namespace = namespace
        self.address = address

    def command(self, *command: str | Path) -> list[str | Path]:
        """A command to be run on this host."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def set_kernel(self, name: str, value: int) -> None:
        """Set a sysctl of this host's network, such as ``net.ipv4.tcp_retries2``."""
        path = "/proc/sys/" + name.replace(".", "/")
        subprocess.run(self.command("sh", "-c", f"echo {value} > {path}"), check=True)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that this thread makes in the body are this host's, and stay so."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        other = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(other)
            try:
                yield
            finally:
                _enter(own)
        finally:
            os.close(own)
            os.close(other)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Network:
    """Hosts on a switch, each of which can be cut off and slowed.

    Args:
        names: of the hosts, at most eight characters each.
    """

    def __init__(self, *names: str) -> None:
        self._prefix = f"pbxrouter-{os.getpid()}"
        self._made: list[str] = []
        self._switch: subprocess.Popen[str] | None = None
        self.hosts: dict[str, Host] = {}
        try:
            hub = self._namespace("switch")
            for number, name in enumerate(names, 11):
                host = Host(name, self._namespace(name), f"{NET}.{number}")
                ip = ["ip", "-n", host.namespace]
                _run(
                    "ip",
                    "-n",
                    hub,
                    "link",
                    "add",
                    "name",
                    name,
                    "type",
                    "veth",
                    "peer",
                    "name",
                    "eth0",
                    "netns",
                    host.namespace,
                )
                _run(*ip, "addr", "add", f"{host.address}/24", "dev", "eth0")
                _run(*ip, "link", "set", "eth0", "up")
                _run(*ip, "link", "set", "lo", "up")
                _run("ip", "-n", hub, "link", "set", "dev", name, "up")
                self.hosts[name] = host
            self._switch = subprocess.Popen(
                ["ip", "netns", "exec", hub, sys.executable, "-m", "tests.asterisk.hosts.switch", *names],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._answer("ready")
        except BaseException:
            self.close()
            raise

    def _namespace(self, name: str) -> str:
        namespace = f"{self._prefix}-{name}"
        _run("ip", "netns", "add", namespace)
        self._made.append(namespace)
        return namespace

    def _answer(self, expected: str) -> None:
        assert self._switch is not None and self._switch.stdout is not None
        said = self._switch.stdout.readline().strip()
        assert said == expected, f"the switch said {said!r}"

    def order(self, name: str, order: str) -> None:
        """Order the switch something about a host: ``cut``, ``slow SECONDS`` or ``ok``."""
        assert self._switch is not None and self._switch.stdin is not None
        self._switch.stdin.write(f"{name} {order}\n")
        self._switch.stdin.flush()
        self._answer("done")

    def unplug(self, name: str) -> None:
        """Take a host's network interface down, as its kernel notices."""
        _run("ip", "-n", self.hosts[name].namespace, "link", "set", "eth0", "down")

    def plug_in(self, name: str) -> None:
        """Bring it up again."""
        _run("ip", "-n", self.hosts[name].namespace, "link", "set", "eth0", "up")

    def close(self) -> None:
        """Remove switch and namespaces; what runs there must have ended."""
        if self._switch is not None and self._switch.stdin is not None:
            self._switch.stdin.close()
            self._switch.wait(10)
            self._switch = None
        while self._made:
            subprocess.run(["ip", "netns", "del", self._made.pop()], check=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
