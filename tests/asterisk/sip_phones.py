"""SIP phones of a test's own, many at one port: each call of each is scripted by the test, in its own time."""

from __future__ import annotations

import heapq
import itertools
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from tests.waiting import wait_for

TICK_S = 0.02
REPEAT_S = 0.5
"""Seconds after which a message that is not answered is sent again; it may be lost on a loaded machine."""
REPEAT_INVITE_S = 5.0
"""The same for an INVITE: one that comes when Asterisk has answered the call already is a second call to it."""
REPEATS = 60
PACKET_S = 0.1
"""Seconds between two packets of sound; a real phone sends five times as many."""
SAMPLES = 160
SILENCE = b"\xff" * SAMPLES
SDP = (
    "v=0\r\no=phone 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio {audio} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
    "a=fmtp:101 0-16\r\na=ptime:20\r\na={direction}\r\n"
)
_numbers = itertools.count(1)


def header(message: str, name: str) -> str:
    """A header's value; ``""`` if there is none."""
    found = re.search(f"(?im)^{name}: *(.*?)\r$", message)
    return found[1] if found else ""


class PhoneCall:
    """One call of one phone.

    Attributes:
        user: the phone's number.
        answered: when it was answered, monotonic; None before.
        ended: when it ended, monotonic; None before.
        status: of the final answer to the INVITE, such as 486; 0 before.
        hung_up_here: whether the phone ended it.
        referred: the answers to its REFER.
    """

    def __init__(self, phones: SipPhones, user: str, call_id: str) -> None:
        self.user = user
        self.call_id = call_id
        self.answered: float | None = None
        self.ended: float | None = None
        self.status = 0
        self.hung_up_here = False
        self.referred: list[str] = []
        self.ours = self.theirs = self.ringing = self.target = self.invite = ""
        self.branch = ""
        self.hears_at: tuple[str, int] | None = None  # where Asterisk wants the sound
        self.talk_limit_s: float | None = None
        self.sequence = itertools.count(1)
        self._version = itertools.count(1)
        self._phones = phones

    # What the test waits for

    def until_answered(self) -> PhoneCall:
        """Wait until the call is answered."""
        wait_for(f"the call of {self.user} is answered", lambda: self.answered is not None or self.ended is not None)
        assert self.answered is not None, f"the call of {self.user} was refused: {self.status}"
        return self

    def until_ringing(self) -> PhoneCall:
        """Wait until the called party rings; from then on the call can be told from others."""
        wait_for(f"the call of {self.user} rings", lambda: ";tag=" in self.ringing)
        return self

    def until_ended(self) -> PhoneCall:
        """Wait until the call is over."""
        wait_for(f"the call of {self.user} ends", lambda: self.ended is not None)
        return self

    def until_lasted(self, seconds: float) -> PhoneCall:
        """Wait until the call has been answered for so long."""
        self.until_answered()
        wait_for(f"the call of {self.user} lasts", lambda: time.monotonic() >= (self.answered or 0.0) + seconds)
        return self

    @property
    def talk_s(self) -> float:
        """Seconds from the answer to the end, as the phone has them."""
        assert self.answered is not None and self.ended is not None
        return self.ended - self.answered

    # What the phone does

    def ring(self) -> PhoneCall:
        """Tell Asterisk that the phone rings."""
        self._reply("180 Ringing")
        return self

    def early_media(self) -> PhoneCall:
        """Send sound before the answer."""
        self._reply("183 Session Progress", self._sdp())
        return self

    def answer(self, hang_up_after: float | None = None) -> PhoneCall:
        """Answer, and hang up that many seconds after Asterisk has confirmed it."""
        self.talk_limit_s = hang_up_after
        self.answered = time.monotonic()
        self._reply("200 OK", self._sdp())
        return self

    def confirmed(self) -> None:
        """Asterisk has confirmed the answer."""
        limit_s, self.talk_limit_s = self.talk_limit_s, None
        if limit_s is not None:
            self.hang_up_after(limit_s)

    def described(self, message: str) -> None:
        """Note where the sound is to go, as a message says."""
        address = re.search(r"(?m)^c=IN IP4 (\S+)", message)
        port = re.search(r"(?m)^m=audio (\d+)", message)
        if address and port:
            self.hears_at = address[1], int(port[1])

    def refuse(self, status: str) -> PhoneCall:
        """Refuse the call, as by ``486 Busy Here``."""
        self.status, self.ended = int(status[:3]), time.monotonic()
        self._reply(status)
        return self

    def forward(self, number: str) -> PhoneCall:
        """Forward the call by 302."""
        self.status, self.ended = 302, time.monotonic()
        self._reply("302 Moved Temporarily", contact=f"<sip:{number}@127.0.0.1:{self._phones.sip_port}>")
        return self

    def hang_up(self) -> PhoneCall:
        """Hang up: end a call, or give it up before its answer."""
        if self.ended is None:
            self.hung_up_here = True
            if self.answered is None:
                self._phones.send(self, f"CANCEL {self.target} SIP/2.0", "1 CANCEL", branch=self.branch)
            else:
                self.ended = time.monotonic()
                self._request("BYE")
        return self

    def hang_up_after(self, seconds: float) -> PhoneCall:
        """Hang up so many seconds from now."""
        self._phones.later(seconds, self.hang_up)
        return self

    def hold(self, held: bool = True) -> PhoneCall:
        """Hold the other party, or take it back."""
        self._request("INVITE", body=self._sdp("sendonly" if held else "sendrecv"))
        return self

    def refer(self, number: str, replaces: PhoneCall | None = None) -> PhoneCall:
        """Transfer the other party to a number, or to the party of another call of this phone."""
        target = f"sip:{number}@127.0.0.1:{self._phones.sip_port}"
        if replaces is not None:
            other = replaces.theirs if replaces.answered else replaces.ringing
            theirs, ours = (re.search(r"tag=([^;\s>]+)", party) for party in (other, replaces.ours))
            assert theirs is not None and ours is not None
            target += f"?Replaces={replaces.call_id}%3Bto-tag%3D{theirs[1]}%3Bfrom-tag%3D{ours[1]}"
        me = f"<sip:{self.user}@127.0.0.1:{self._phones.port}>"
        self._request("REFER", [f"Refer-To: <{target}>", f"Referred-By: {me}"])
        return self

    def _sdp(self, direction: str = "sendrecv") -> str:
        return SDP.format(version=next(self._version), audio=self._phones.audio, direction=direction)

    def _reply(self, status: str, body: str = "", contact: str = "") -> None:
        self._phones.answer(self.invite, status, self, body, contact)

    def _request(self, method: str, headers: list[str] | None = None, body: str = "") -> None:
        self._phones.send(self, f"{method} {self.target} SIP/2.0", f"{next(self.sequence)} {method}", headers, body)


class SipPhones:
    """Phones that share one port, known by their numbers. A thread reads, and does what is to be done later.

    Args:
        port: theirs.
        sip_port: Asterisk's.
        audio: the port that they say they hear at.
    """

    def __init__(self, port: int, sip_port: int, audio: int) -> None:
        self.port, self.sip_port, self.audio = port, sip_port, audio
        self._calls: dict[str, PhoneCall] = {}
        self._came: dict[str, list[PhoneCall]] = {}
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._last: dict[tuple[str, str], str] = {}  # answers, which repeated requests get again
        self._lock = threading.Lock()
        self._awaited: set[tuple[str, str]] = set()  # requests and answers that Asterisk has not taken up
        self._closed = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", port))
        self._socket.settimeout(TICK_S)
        self._packets = 0
        self._sound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sound.bind(("127.0.0.1", audio))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and give the port back."""
        self._closed = True
        self._thread.join()
        self._socket.close()
        self._sound.close()

    def call(self, user: str, number: str) -> PhoneCall:
        """Let a phone dial a number."""
        call = PhoneCall(self, user, f"shape-{self.port}-{next(_numbers)}")
        number = number.replace("#", "%23")
        call.ours = f"<sip:{user}@127.0.0.1:{self.port}>;tag=c{next(_numbers)}"
        call.theirs = f"<sip:{number}@127.0.0.1:{self.sip_port}>"
        call.target = f"sip:{number}@127.0.0.1:{self.sip_port}"
        call.branch = f"z9hG4bK{call.call_id}-{next(_numbers)}"
        self._calls[call.call_id] = call
        sequence = next(call.sequence)
        self.send(call, f"INVITE {call.target} SIP/2.0", f"{sequence} INVITE", body=call._sdp(), branch=call.branch)
        return call

    def called(self, user: str) -> PhoneCall:
        """The next call to a phone, once it comes."""
        wait_for(f"the phone {user} is called", lambda: self._came.get(user))
        return self._came[user].pop(0)

    def has_call(self, user: str) -> bool:
        """Whether a call to a phone has come that was not taken by ``called``."""
        return bool(self._came.get(user))

    def hang_up_all(self, user: str) -> None:
        """Hang up all calls of a phone."""
        for call in list(self._calls.values()):
            if call.user == user:
                call.hang_up()

    def talk_s(self, user: str) -> int:
        """Seconds of the ended calls of a phone, by its clock."""
        calls = [call for call in list(self._calls.values()) if call.user == user]
        return int(sum(call.talk_s for call in calls if call.answered is not None and call.ended is not None))

    def later(self, seconds: float, do: Callable[[], object]) -> None:
        """Do something so many seconds from now."""
        with self._lock:
            heapq.heappush(self._timers, (time.monotonic() + seconds, next(_numbers), do))

    def send(
        self,
        call: PhoneCall,
        first: str,
        sequence: str,
        headers: list[str] | None = None,
        body: str = "",
        branch: str = "",
    ) -> None:
        """Send a request of a call."""
        branch = branch or f"z9hG4bK{call.call_id}-{next(_numbers)}"
        lines = [first, f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch}", f"From: {call.ours}"]
        lines += [f"To: {call.theirs}", f"Call-ID: {call.call_id}", f"CSeq: {sequence}", "Max-Forwards: 70"]
        sent = self._send([*lines, f"Contact: <sip:{call.user}@127.0.0.1:{self.port}>", *(headers or [])], body)
        if not first.startswith("ACK"):
            self._repeat((call.call_id, sequence), sent, REPEATS)

    def _repeat(self, key: tuple[str, str], sent: str, times: int) -> None:
        """Send a message again until Asterisk has taken it up."""
        if times == REPEATS:
            self._awaited.add(key)
        elif key not in self._awaited or self._closed:
            return
        else:
            self._socket.sendto(sent.encode(), ("127.0.0.1", self.sip_port))
        if times:
            wait_s = REPEAT_INVITE_S if sent.startswith("INVITE ") else REPEAT_S
            self.later(wait_s, lambda: self._repeat(key, sent, times - 1))

    def answer(self, request: str, status: str, call: PhoneCall, body: str = "", contact: str = "") -> None:
        """Answer a request of Asterisk's."""
        copied = re.findall(r"(?im)^((?:Via|From|Call-ID|CSeq): .*?)\r$", request)
        to = header(request, "To")
        lines = [f"SIP/2.0 {status}", *copied, f"To: {to if 'tag=' in to else call.ours}"]
        lines.append(f"Contact: {contact or f'<sip:{call.user}@127.0.0.1:{self.port}>'}")
        sent = self._send(lines, body)
        sequence = header(request, "CSeq")
        self._last[call.call_id, sequence] = sent
        if status.startswith("200") and sequence.endswith("INVITE"):
            self._repeat((call.call_id, f"{sequence} answered"), sent, REPEATS)

    def _send(self, lines: list[str], body: str) -> str:
        lines += ["Content-Type: application/sdp"] if body else []
        text = "\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n" + body
        self._socket.sendto(text.encode(), ("127.0.0.1", self.sip_port))
        return text

    def _speak(self) -> None:
        """Send a packet of sound in each call, which lets Asterisk take Local channels out as with real phones."""
        self._packets += 1
        for call in list(self._calls.values()):
            if call.answered is not None and call.ended is None and call.hears_at is not None:
                head = struct.pack("!BBHII", 0x80, 0, self._packets & 0xFFFF, self._packets * SAMPLES, 1)
                with suppress(OSError):
                    self._sound.sendto(head + SILENCE, call.hears_at)

    def _run(self) -> None:
        spoken = 0.0
        while not self._closed:
            if time.monotonic() - spoken >= PACKET_S:
                spoken = time.monotonic()
                self._speak()
            with suppress(TimeoutError):
                self._received(self._socket.recv(65535).decode("utf-8", "replace"))
                # All that has come, before anything is sent again for want of an answer.
                while select.select([self._socket], [], [], 0)[0]:
                    self._received(self._socket.recv(65535).decode("utf-8", "replace"))
            now = time.monotonic()
            while True:
                with self._lock:
                    if not self._timers or self._timers[0][0] > now:
                        break
                    do = heapq.heappop(self._timers)[2]
                do()

    def _received(self, message: str) -> None:
        word, what = message.split(" ", 2)[:2]
        call = self._calls.get(header(message, "Call-ID"))
        method = header(message, "CSeq").split(" ")[-1]
        sequence = header(message, "CSeq")
        if word == "SIP/2.0":
            self._awaited.discard((header(message, "Call-ID"), sequence))
            if call is not None:
                self._answered(call, message, int(what), method)
        elif call is None:
            if word == "INVITE":
                self._invited(message)
        elif word == "ACK":
            self._awaited.discard((call.call_id, f"{sequence.split(' ')[0]} INVITE answered"))
            call.confirmed()
        else:
            self._asked(call, message, word)

    def _answered(self, call: PhoneCall, message: str, status: int, method: str) -> None:
        if method == "REFER":
            call.referred.append(str(status))
        if method == "INVITE" and 100 < status < 200:
            call.ringing = header(message, "To")
        if method != "INVITE" or status < 200:
            return
        sequence = header(message, "CSeq").split(" ")[0]
        if status >= 300:
            branch = re.search(r"branch=([^;\s]+)", header(message, "Via"))
            assert branch is not None
            call.theirs = header(message, "To")
            self.send(call, f"ACK {call.target} SIP/2.0", f"{sequence} ACK", branch=branch[1])
            if call.answered is None and call.ended is None:
                call.status, call.ended = status, time.monotonic()
            return
        call.theirs = header(message, "To")
        contact = re.search(r"<([^>]*)>", header(message, "Contact"))
        call.target = contact[1] if contact else call.target
        call.described(message)
        self.send(call, f"ACK {call.target} SIP/2.0", f"{sequence} ACK")
        if call.answered is None:
            call.answered, call.status = time.monotonic(), status
            if call.hung_up_here:  # the answer has crossed the CANCEL
                call.hang_up()

    def _invited(self, message: str) -> None:
        found = re.match(r"INVITE sip:([^@;>]*)@", message)
        user = found[1] if found else ""
        call = PhoneCall(self, user, header(message, "Call-ID"))
        call.invite, call.theirs = message, header(message, "From")
        call.ours = f"{header(message, 'To')};tag=p{next(_numbers)}"
        contact = re.search(r"<([^>]*)>", header(message, "Contact"))
        call.target = contact[1] if contact else ""
        call.described(message)
        self._calls[call.call_id] = call
        self._came.setdefault(user, []).append(call)

    def _asked(self, call: PhoneCall, message: str, method: str) -> None:
        again = self._last.get((call.call_id, header(message, "CSeq")))
        if again is not None:
            self._socket.sendto(again.encode(), ("127.0.0.1", self.sip_port))
            return
        if method == "INVITE" and message.split("\r\n", 1)[0] == call.invite.split("\r\n", 1)[0]:
            return  # repeated before it was answered
        call.described(message)
        self.answer(message, "200 OK", call, call._sdp() if method == "INVITE" else "")
        if method == "CANCEL":
            self.answer(call.invite, "487 Request Terminated", call)
        if method in ("CANCEL", "BYE") and call.ended is None:
            call.ended = time.monotonic()
