"""Events as text: every header, one line, and nothing that a caller keyed.

The events are as Asterisk 22 sends them.
"""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami.messages import AMIMessage
from pbxrouter.cli.event_text import as_json, as_line, shown

PIN = "824593"


def event(name: str, *headers: str) -> AMIMessage:
    """An AMI event with the given headers."""
    return AMIMessage("\r\n".join([f"Event: {name}", *headers]).encode("utf-8", "surrogateescape"))


class LineTests(SynchronousTestCase):
    """Events as lines for people."""

    def test_line(self) -> None:
        """A line has the name, then the headers; values with blanks are quoted, empty ones and Privilege left out."""
        found = as_line(
            event(
                "Newchannel",
                "Privilege: call,all",
                "Channel: PJSIP/33-00000001",
                "CallerIDName: Treinta y tres",
                "AccountCode: ",
                'Odd: a"b',
            )
        )
        self.assertEqual(
            found,
            'Newchannel Channel=PJSIP/33-00000001 CallerIDName="Treinta y tres" Odd="a\\"b"',
        )

    def test_hostile_bytes(self) -> None:
        """Control characters and bytes that are not UTF-8 are not printed."""
        line = as_line(event("X\x1b[2J", "A: \x1b]0;title\x07", "\x00B: \udcff\u202e"))
        self.assertTrue(line.isprintable(), line)

    @given(st.binary(max_size=200))
    def test_any_bytes(self, raw: bytes) -> None:
        """Every event is one printable line, and one JSON object."""
        message = AMIMessage(b"Event: X\r\n" + raw)
        self.assertTrue(as_line(message).isprintable())
        self.assertIsInstance(json.loads(as_json(message)), dict)

    def test_shared_secret(self) -> None:
        """The secret of FastAGI calls is masked as an argument, in an environment, and as a variable."""
        for found in (
            event("Newexten", "Application: AGI", "AppData: agi://pbx:4573/pbxrouter,bounded,secret=hush+/=hush"),
            event("CoreShowChannel", "Application: AGI", "ApplicationData: agi://pbx,,secret=hush+/=hush"),
            event("AsyncAGIStart", "Env: agi_request%3A%20async%0Aagi_arg_1%3A%20secret%3Dhush%2Bhush%0A%0A"),
            event("VarSet", "Variable: PBXROUTER_SECRET", "Value: hush+/=hush"),
        ):
            for text in (as_line(found), as_json(found)):
                self.assertNotIn("hush", text)
                self.assertIn("***", text)

    def test_json(self) -> None:
        """All headers, empty ones too; a repeated one is a list."""
        found = as_json(event("X", "A: 1", "B: ", "C: x", "C: y", "C: z"))
        self.assertEqual(json.loads(found), {"Event": "X", "A": "1", "B": "", "C": ["x", "y", "z"]})
        self.assertTrue(found.isascii())


class SecretTests(SynchronousTestCase):
    """Digits that callers keyed are in neither form."""

    def assert_hidden(self, *events: AMIMessage, secret: str = PIN) -> None:
        """Check that the PIN is hidden and the event shown."""
        for message in events:
            for text in (as_line(message), as_json(message)):
                self.assertNotIn(secret, text)
                self.assertIn(message.name, text)
                self.assertIn("*", text)

    def test_keys(self) -> None:
        """The digit of a DTMF event is hidden."""
        for name in ("DTMFBegin", "DTMFEnd"):
            found = dict(shown(event(name, "Channel: x", "Digit: 7", "Direction: Received")))
            self.assertEqual((found["Digit"], found["Direction"]), ("*", "Received"))

    def test_variables(self) -> None:
        """A variable that holds only digits, or has the name of a secret, is hidden."""
        self.assert_hidden(
            event("VarSet", "Variable: NUMBER", f"Value: {PIN}"),
            event("VarSet", "Variable: X", f"Value: *{PIN}#"),
            event("VarSet", "Variable: USERPIN", f"Value: it is {PIN}"),
            event("VarSet", "Variable: pin_code", f"Value: a{PIN}"),
            event("Newchannel", f"ChanVariable: MYPIN={PIN}"),
            event("Newchannel", f"ChanVariable(PJSIP/33-1): X={PIN}"),
            event("DialBegin", f"DestChanVariable: X={PIN}"),
        )

    def test_open_variables(self) -> None:
        """Variables about the outcome of a call, and other text, are shown."""
        for name, value in (
            *(("DIALSTATUS", "ANSWER"), ("ANSWEREDTIME", "123"), ("HANGUPCAUSE", "17"), ("MAPPING", "a1")),
            *(("PBXROUTER", "done"), ("PBXROUTER_CAUSE", "17"), ("PBXROUTER_HEARTBEAT", "1795420574")),
            ("BRIDGEPEER", "PJSIP/22-00000001"),
        ):
            self.assertEqual(dict(shown(event("VarSet", f"Variable: {name}", f"Value: {value}")))["Value"], value)

    def test_results(self) -> None:
        """The result of a MAGI command does not say which command it answers: every key is hidden."""
        for result, kept in (
            *(
                (f"200 result={PIN}", "200 result=***"),
                (f"200 result={PIN} (timeout)", "200 result=*** (timeout)"),
            ),
            *(
                ("200 result=49 endpos=3520", "200 result=*** endpos=3520"),
                ("200 result=*12", "200 result=***"),
            ),
            *((f"200 result=1 ({PIN})", "200 result=1 (***)"), ("200 result=0\n", "200 result=0\n")),
            *(("200 result=-1", "200 result=-1"), ("200 result=1 (ANSWER)", "200 result=1 (ANSWER)")),
            ("200 result= (timeout)", "200 result= (timeout)"),
        ):
            found = dict(shown(event("AsyncAGIExec", "CommandId: x", f"Result: {result}")))
            self.assertEqual(found["Result"], kept)
        encoded = event("AsyncAGIExec", f"Result: 200%20result%3D{PIN}%20(timeout)%0A")
        self.assert_hidden(encoded)
        self.assertEqual(dict(shown(encoded))["Result"], "200%20result%3D***%20(timeout)%0A")
        plain = "200%20result%3D0%0A"
        self.assertEqual(dict(shown(event("AsyncAGIExec", f"Result: {plain}")))["Result"], plain)
        self.assert_hidden(event("AGIExecEnd", "Command: GET DATA x", f"Result: 200 result={PIN}"))

    def test_commands(self) -> None:
        """The arguments of a command may hold keyed digits (a variable set, keys sent), and are hidden."""
        for command in (
            f"SET VARIABLE X {PIN}",
            f'SET VARIABLE "X" "{PIN}"',
            f"EXEC SendDTMF {PIN}",
            f'EXEC "Authenticate" "{PIN}"',
            f"EXEC Dial PJSIP/21,60,D({PIN})",
            f"DATABASE PUT family key {PIN}",
        ):
            self.assert_hidden(event("AGIExecStart", f"Command: {command}"))
        for command in ("EXEC Dial PJSIP/21,60", "ANSWER", "GET DATA agent-pass 5000 20", "SET VARIABLE A b"):
            self.assertEqual(dict(shown(event("AGIExecStart", f"Command: {command}")))["Command"], command)

    def test_applications(self) -> None:
        """Arguments of the dialplan's applications are hidden, except places and sounds."""
        self.assert_hidden(
            event("Newexten", "Application: SendDTMF", f"AppData: {PIN}"),
            event("Newexten", "Application: Set", f"AppData: X={PIN}"),
            event("Newexten", "Application: GotoIf", f'AppData: "{PIN}"="1"?a:b'),
            event("Cdr", "LastApplication: Authenticate", f"LastData: {PIN}"),
        )
        for application, data in ("Dial", "PJSIP/2100,60"), ("AGI", "agi://127.0.0.1:4573/x"):
            found = dict(shown(event("Newexten", f"Application: {application}", f"AppData: {data}")))
            self.assertEqual(found["AppData"], data)

    def test_headers(self) -> None:
        """A header with the name of a secret is hidden."""
        self.assert_hidden(
            event("VoicemailPasswordChange", f"NewPassword: {PIN}"),
            event("ChallengeSent", f"Challenge: {PIN}"),
            event("UserEvent", f"PIN: {PIN}"),
            event("InvalidPassword", f"ReceivedHash: {PIN}"),
        )
