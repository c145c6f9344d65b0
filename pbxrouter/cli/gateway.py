"""Requests to the running gateway over its control socket."""

import json
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

from pbxrouter.errors import PbxrouterError

_CONNECT_TIMEOUT_S = 5.0


def answers(control: str, name: str, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send a command to the gateway and yield its answers.

    Args:
        control: the socket's path, as configured.
        name: the command.
        values: its parameters.

    Raises:
        PbxrouterError: no gateway answers, or it refuses.
    """
    with _connected(pathlib.Path(control)) as connection, connection.makefile("rb") as lines:
        connection.sendall(json.dumps({name: values}).encode("ascii") + b"\n")
        for line in lines:
            try:
                answer: dict[str, Any] = json.loads(line)
            except ValueError:  # the gateway was killed while it wrote
                raise PbxrouterError(f"the gateway at {control} stopped in the middle of a line") from None
            if "error" in answer:
                raise PbxrouterError(str(answer["error"]))
            yield answer


def _connected(path: pathlib.Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_CONNECT_TIMEOUT_S)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        why = error.strerror or str(error)
        raise PbxrouterError(
            f"no gateway answers at {path}: {why}; start it with `twistd -n pbxrouter`, as the same user"
        ) from None
    connection.settimeout(None)
    return connection
