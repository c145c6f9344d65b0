"""A fake Asterisk for the browser's tests: accepts the gateway's login, and connects every call.

Only its AMI is there, as much of it as the gateway uses.
"""

from __future__ import annotations

import contextlib
import threading
import time

from tests.hostile_ami import HostileServer, Session, lines
from tests.needs import PATIENCE_S

SECRET = "a secret of AMI"
CONTEXT = "pbxrouter-phones"
SETTINGS = """
[[asterisk]]
name = "lab"
ami = "tcp:127.0.0.1:{port}"
username = "pbxrouter"
secret_file = "ami.secret"
originate = ["{context}"]
"""


class PoliteAsterisk:
    """The fake Asterisk, listening on loopback.

    Attributes:
        asked: the headers of each Originate.
        talk: calls are hung up when this is set.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.talk = threading.Event()
        self._variables: dict[str, str] = {}
        self._saying = threading.Lock()
        self._server = HostileServer(self._serve)
        self.settings = SETTINGS.format(port=self._server.port, context=CONTEXT)

    def stop(self) -> None:
        """Hang up all calls, and stop."""
        self.talk.set()
        self._server.close()

    def _serve(self, session: Session) -> None:
        session.let_in()
        self._event(session, "FullyBooted", "Status: Fully Booted")
        while True:
            action = session.hear()
            with self._saying:
                self._answer(session, action)
            if action.get("Channel", "").startswith("PJSIP/"):
                self.asked.append(action)
                threading.Thread(target=self._call, args=(session, action["ChannelId"]), daemon=True).start()

    def _answer(self, session: Session, action: dict[str, str]) -> None:
        match action["Action"]:
            case "Ping":
                session.answer(action, "Ping: Pong", f"Timestamp: {time.time():.6f}")
            case "CoreStatus":
                session.answer(action, "CoreStartupDate: 2026-11-20", "CoreStartupTime: 08:00:00")
            case "CoreShowChannels":
                session.answer(action, "EventList: start")
                done = ("Event: CoreShowChannelsComplete", "EventList: Complete", "ListItems: 0")
                session.say(lines(*done, f"ActionID: {action['ActionID']}"))
            case "Originate" if "Channel" not in action:  # the doctor asks whether it might
                session.answer(action, "Message: Channel not specified", response="Error")
            case "Originate" if not action["Channel"].startswith("PJSIP/"):
                session.answer(action)
                failed = (
                    "Response: Failure",
                    f"Uniqueid: {action['ChannelId']}",
                    f"Timestamp: {time.time():.6f}",
                )
                session.say(lines("Event: OriginateResponse", *failed))
            case "Status":  # asked after an event that ends a call
                session.answer(action, "Message: No such channel", response="Error")
            case "CoreSettings":
                session.answer(action, "AsteriskVersion: 22.5.1")
            case "Setvar" if "Variable" in action:
                self._variables[action["Variable"]] = action["Value"]
                session.answer(action)
            case "Getvar":
                session.answer(action, f"Value: {self._variables.get(action['Variable'], '')}")
            case _:
                session.answer(action)

    def _event(self, session: Session, name: str, *headers: str) -> None:
        with self._saying, contextlib.suppress(OSError):
            session.say(lines(f"Event: {name}", *headers))

    def _call(self, session: Session, uniqueid: str) -> None:
        """Let the phone ring for a while, answer, and connect it until it is hung up."""
        ours = (f"Uniqueid: {uniqueid}", f"Linkedid: {uniqueid}")
        other = (f"Uniqueid: {uniqueid}-2", f"Linkedid: {uniqueid}")
        self._event(session, "Newstate", *ours, "ChannelState: 5", "ChannelStateDesc: Ringing")
        time.sleep(0.7)
        self._event(session, "OriginateResponse", *ours, "Response: Success", "Reason: 4")
        time.sleep(0.7)
        self._event(session, "BridgeEnter", *other, "BridgeUniqueid: b")
        self.talk.wait(PATIENCE_S)
        self._event(session, "Hangup", *ours, "Cause: 16")
