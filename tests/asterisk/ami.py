"""A blocking AMI client for the tests: to press keys without a phone, and to query Asterisk."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable

from tests.needs import PATIENCE_S
from tests.waiting import wait_for

KEY_S = 0.1
"""Seconds between two keys. Asterisk puts off those that follow one another faster; on a channel without sound it may
read them only when the next time limit runs out."""
_numbers = itertools.count(1)


class Ami:
    """One logged-in AMI connection of a user with all permissions."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._stream = self._socket.makefile("rwb")
        self._stream.readline()  # the banner
        login = self.action("Login", Username="fsl", Secret="junio2006", Events="off")
        assert login["Response"] == "Success", login

    def action(self, name: str, *, variables: Iterable[str] = (), **headers: str | int) -> dict[str, str]:
        """Send one action and return the headers of its response; "Output" holds all the output lines."""
        action_id = f"test-{next(_numbers)}"
        lines = [f"Action: {name}", f"ActionID: {action_id}"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        lines += [f"Variable: {variable}" for variable in variables]
        self._stream.write("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")
        self._stream.flush()
        while (reply := self._message()).get("ActionID") != action_id or "Response" not in reply:
            pass
        return reply

    def getvar(self, variable: str) -> str:
        """The value of a variable or function, global or without a channel."""
        return self.action("Getvar", Variable=variable).get("Value", "")

    def originate(self, channel: str, *, variables: Iterable[str] = (), **headers: str | int) -> str:
        """Start a call; return the Uniqueid of its Local channel's ``;2`` half, the one in the dialplan."""
        number = f"test-{next(_numbers):06}"  # of one length: no id may be the beginning of another
        headers = {"Application": "Wait", "Data": "60", **headers}
        reply = self.action(
            "Originate",
            variables=variables,
            Channel=channel,
            Async="true",
            ChannelId=f"{number}-1",
            OtherChannelId=f"{number}-2",
            **headers,
        )
        assert reply["Response"] == "Success", reply
        return f"{number}-2"

    def channel_named(self, prefix: str, suffix: str = "") -> str:
        """The name of a live channel, or an empty string."""
        output = self.action("Command", Command="core show channels concise")["Output"]
        for line in output.splitlines():
            name = line.partition("!")[0]
            if name.startswith(prefix) and name.endswith(suffix):
                return name
        return ""

    def press(self, channel: str, digits: str) -> None:
        """Press keys on a channel, as fast as a person can; none is lost if AGI is waiting for digits."""
        for digit in digits:
            time.sleep(KEY_S)
            reply = self.action("PlayDTMF", Channel=channel, Digit=digit, Receive="true")
            assert reply["Response"] == "Success", reply

    def close(self) -> None:
        """Log off and close the connection."""
        self._stream.close()
        self._socket.close()

    def _message(self) -> dict[str, str]:
        headers: dict[str, str] = {"Output": ""}
        while raw := self._stream.readline():
            line = raw.rstrip(b"\r\n").decode("utf-8", "replace")
            if not line:
                return headers
            key, _, value = line.partition(": ")
            headers[key] = headers[key] + value + "\n" if key == "Output" else value
        raise ConnectionError("Asterisk has closed the AMI connection")


class EventListener:
    """A connection that receives events, each of which a subclass takes up in ``_heard``."""

    events = "call,cdr"

    def __init__(self, port: int) -> None:
        self._logged_in = False
        self._socket = socket.create_connection(("127.0.0.1", port))
        login = f"Action: Login\r\nUsername: fsl\r\nSecret: junio2006\r\nEvents: {self.events}\r\n\r\n"
        self._socket.sendall(login.encode("ascii"))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_for("the listener is logged in", lambda: self._logged_in)

    def close(self) -> None:
        """Close the connection."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(PATIENCE_S)

    def _read(self) -> None:
        message: dict[str, str] = {}
        with self._socket.makefile("r", encoding="utf-8", errors="replace", newline="\r\n") as lines:
            try:
                for line in lines:
                    name, found, value = line.rstrip("\r\n").partition(": ")
                    if found:
                        message.setdefault(name, value)
                    elif message:
                        self._logged_in = self._logged_in or message.get("Response") == "Success"
                        self._heard(message)
                        message = {}
            except OSError:
                pass

    def _heard(self, message: dict[str, str]) -> None:
        """Take up an event; in the reading thread."""
        raise NotImplementedError


class CdrListener(EventListener):
    """Receives Asterisk's records of calls, as AMI's event Cdr."""

    events = "cdr"

    def __init__(self, port: int) -> None:
        self._records: list[dict[str, str]] = []
        super().__init__(port)

    def wait(self, wanted: Callable[[dict[str, str]], object]) -> dict[str, str]:
        """The first record that is wanted, which is forgotten; those of one call come in any order."""
        wait_for("a CDR", lambda: any(map(wanted, self._records)))
        place = next(place for place, record in enumerate(self._records) if wanted(record))
        return self._records.pop(place)

    def _heard(self, message: dict[str, str]) -> None:
        if message.get("Event") == "Cdr":
            self._records.append(message)
