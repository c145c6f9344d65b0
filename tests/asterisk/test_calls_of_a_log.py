"""What the fault table reads in Asterisk's log: what became of a call, and how long its caller heard nothing."""

from __future__ import annotations

from datetime import datetime

from twisted.trial import unittest

from tests.asterisk.chaos.calls import Call, read_calls

CHANNEL = "PJSIP/36-00000009"


def _line(second: float, text: str, call_id: str = "C-0000014e") -> str:
    return f"[2026-11-29 09:12:{second:06.3f}] VERBOSE[26388][{call_id}] pbx.c: {text}"


def _executing(step: str, application: str, data: str = "") -> str:
    return f'Executing [{step}] {application}("{CHANNEL}", "{data}") in new stack'


ENTERED = _line(10, _executing("21@pbxrouter-phones:1", "Goto", "pbxrouter-ask,21,1"))
AT_10 = datetime(2026, 11, 29, 9, 12, 10).timestamp()


def _call(*lines: str) -> Call:
    (call,) = read_calls([ENTERED, *lines])
    return call


class CallTest(unittest.TestCase):
    """One call, its lines, and what is made of them."""

    def _silence(self, call: Call, until: float = 60, keys_count: bool = False) -> tuple[float, float]:
        longest, begin = call.silence(AT_10, AT_10 + until, lambda name: 2.0, keys_count)
        return round(longest, 3), round(begin - AT_10, 3)

    def test_kinds(self) -> None:
        """Routed, fallback, refused, ended: by the place of the dialplan that it came to."""
        self.assertEqual(_call().kind(), "ended")
        self.assertEqual(_call(_line(11, "Called PJSIP/21")).kind(), "routed")
        self.assertEqual(_call(_line(11, _executing("CONGESTION@pbxrouter-outcome:1", "Congestion"))).kind(), "refused")
        for place in "fallback", "pbxrouter-fallback":
            self.assertEqual(_call(_line(11, _executing(f"21@{place}:1", "Dial"))).kind(), "fallback")

    def test_silent_for_ever(self) -> None:
        """A call that is left alone is silent until now, and has not ended."""
        call = _call()
        self.assertIsNone(call.ended)
        self.assertEqual(self._silence(call), (60, 0))

    def test_after_a_sound(self) -> None:
        """The silence counts from the end of the sound to the end of the call."""
        sound = _line(11, f"<{CHANNEL}> Playing 'agent-pass.gsm' (language 'en')")
        self.assertEqual(self._silence(_call(sound, _line(20, _executing("h@pbxrouter-ask:1", "Verbose")))), (7, 3))

    def test_asked(self) -> None:
        """The time for keys after a prompt counts as silence if the gateway is gone."""
        call = _call(
            _line(11, f"<{CHANNEL}> Playing 'agent-pass.gsm' (language 'en')"),
            _line(18, f"<{CHANNEL}>AGI Tx >> 200 result= (timeout)"),
            _line(21, _executing("T@pbxrouter-ask:1", "Set")),
            _line(22, _executing("h@pbxrouter-ask:1", "Verbose")),
        )
        self.assertEqual(self._silence(call), (9, 3))
        self.assertEqual(self._silence(call, keys_count=True), (4, 8))

    def test_ringing_and_talk(self) -> None:
        """Ringing and talk are no silence, from the call of the phone to the end of the talk."""
        call = _call(
            _line(11, "Called PJSIP/21"),
            _line(12, "PJSIP/21-0000000a is ringing"),
            _line(30, f"Channel {CHANNEL} joined 'simple_bridge' basic-bridge <1>"),
            _line(40, f"Channel {CHANNEL} left 'native_rtp' basic-bridge <1>"),
            _line(46, _executing("h@pbxrouter-ask:1", "Verbose")),
        )
        self.assertEqual(self._silence(call), (6, 30))

    def test_end_without_h(self) -> None:
        """In a context without the extension h the end is that of the last step; a step that leads on is no end."""
        spawn = f"Spawn extension (pbxrouter-ask, 21, 5) exited non-zero on '{CHANNEL}'"
        self.assertEqual(_call(_line(12, spawn)).ended, AT_10 + 2)
        call = _call(_line(12, spawn), _line(13, _executing("21@fallback:1", "Dial")))
        self.assertIsNone(call.ended)

    def test_anothers_sound(self) -> None:
        """A sound on another channel of the call is not heard by the caller."""
        call = _call(_line(11, "<PJSIP/21-0000000a> Playing 'beep.gsm' (language 'en')"))
        self.assertEqual(self._silence(call), (60, 0))

    def test_ids_begun_anew(self) -> None:
        """After a restart of Asterisk its ids begin anew: the same id is another call."""
        calls = read_calls([ENTERED, "[2026-11-29 09:12:50.000] NOTICE[1] loader.c: Asterisk Ready.", ENTERED])
        self.assertEqual(len(calls), 2)

    def test_other_contexts(self) -> None:
        """Calls that came in elsewhere are not read."""
        self.assertEqual(read_calls([_line(10, _executing("21@fallback:1", "Dial"))]), [])
