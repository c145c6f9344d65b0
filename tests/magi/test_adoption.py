"""Adopting calls: which channels wait for the gateway, and whether a start agrees with its channel's status."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.agi.messages import AGIRequest
from pbxrouter.ami.messages import AMIMessage
from pbxrouter.magi.adoption import (
    agrees_with,
    has_gone_on,
    is_block,
    is_waiting,
    may_be_waiting,
    request_so_far,
    whole_request,
)
from tests.fakes import Answers, FakeChannel

CONTEXT = "pbxrouter-magi"


def channel(*more: str, **changed: str) -> AMIMessage:
    """What Asterisk tells of a channel, with some headers changed."""
    headers = {
        "Channel": "PJSIP/34-0000",
        "ChannelState": "4",
        "ChannelStateDesc": "Ring",
        "CallerIDNum": "33",
        "CallerIDName": "x",
        "ConnectedLineNum": "<unknown>",
        "ConnectedLineName": "<unknown>",
        "Language": "en",
        "AccountCode": "",
        "Context": CONTEXT,
        "Exten": "21",
        "Priority": "1",
        "Uniqueid": "1795.7",
        "Linkedid": "1795.7",
        **changed,
    }
    return AMIMessage("\r\n".join([*(f"{name}: {value}" for name, value in headers.items()), *more]).encode())


def listed(application: str = "AGI", data: str = "agi:async", *more: str, **changed: str) -> AMIMessage:
    """An item of CoreShowChannels."""
    return channel(f"Application: {application}", f"ApplicationData: {data}", *more, **changed)


class WaitingTests(SynchronousTestCase):
    """Items of the list of channels."""

    def test_waiting(self) -> None:
        """A call in AGI(agi:async), with arguments or without, in one of the contexts."""
        for data in ("agi:async", "agi:async,a,b"):
            self.assertTrue(is_waiting(listed(data=data), ["other", CONTEXT]))
            self.assertFalse(is_waiting(listed(data=data), ["other"]))

    def test_not_waiting(self) -> None:
        """Another application, another script, and a header that is missing or twice."""
        for item in (
            listed("EAGI"),
            listed("Playback", "agi:async"),
            listed(data="agi:async2"),
            listed(data="x,agi:async"),
            listed("AGI", "agi:async", "Application: AGI"),
            listed("AGI", "agi:async", "ApplicationData: agi:async"),
            listed("AGI", "agi:async", "Uniqueid: 1.1"),
            channel("Application: AGI", "Data: agi:async"),
        ):
            self.assertFalse(is_waiting(item, [CONTEXT]))

    def test_may_be_waiting(self) -> None:
        """After an EXEC the list names that application: any whole item in a context may be such a call."""
        self.assertTrue(may_be_waiting(listed("Dial", "PJSIP/21"), [CONTEXT]))
        self.assertFalse(may_be_waiting(listed("Dial", "PJSIP/21"), ["other"]))
        self.assertFalse(may_be_waiting(listed("Dial", "PJSIP/21", "Application: x"), [CONTEXT]))
        self.assertFalse(may_be_waiting(listed("Dial", "PJSIP/21", "ApplicationData: x"), [CONTEXT]))
        self.assertFalse(may_be_waiting(listed("Dial", "PJSIP/21", "Channel: x"), [CONTEXT]))

    def test_what_it_tells(self) -> None:
        """The part of the request that an item tells."""
        self.assertEqual(
            dict(request_so_far(listed()).variables),
            {
                "request": "async",
                "channel": "PJSIP/34-0000",
                "language": "en",
                "uniqueid": "1795.7",
                "context": CONTEXT,
            },
        )
        self.assertIsInstance(request_so_far(listed()), AGIRequest)


class AgreementTests(SynchronousTestCase):
    """A start and the status of its channel."""

    def block(self, **changed: str) -> bytes:
        """An opening block, with some values changed."""
        values = {
            "request": "async",
            "channel": "PJSIP/34-0000",
            "language": "en",
            "type": "PJSIP",
            "uniqueid": "1795.7",
            "version": "22.1.0",
            "callerid": "33",
            "calleridname": "x",
            "callingpres": "0",
            "callingani2": "0",
            "callington": "0",
            "callingtns": "0",
            "dnid": "21",
            "rdnis": "unknown",
            "context": CONTEXT,
            "extension": "21",
            "priority": "1",
            "enhanced": "0.0",
            "accountcode": "",
            "threadid": "1",
            **changed,
        }
        return "".join(f"agi_{name}: {value}\n" for name, value in values.items()).encode() + b"\n"

    def start(self, env: bytes, **changed: str) -> AMIMessage:
        """An AsyncAGIStart event with the given environment."""
        return channel(f"Env: {quote(env[:1023], safe='')[:2047]}", **changed)

    def test_agrees(self) -> None:
        """Channel, caller and numbers are the same, with DNID where the status tells it and without."""
        self.assertTrue(agrees_with(channel("DNID: 21"), self.start(self.block())))
        self.assertTrue(agrees_with(channel(), self.start(self.block(dnid="5"))))

    def test_not_shown(self) -> None:
        """A caller or DNID that the status does not show is `unknown` in the block."""
        for hidden in ("", "<unknown>"):
            self.assertTrue(agrees_with(channel(CallerIDNum=hidden), self.start(self.block(callerid="unknown"))))
            self.assertFalse(agrees_with(channel(CallerIDNum=hidden), self.start(self.block())))
            self.assertTrue(agrees_with(channel(f"DNID: {hidden}"), self.start(self.block(dnid="unknown"))))
            self.assertFalse(agrees_with(channel(f"DNID: {hidden}"), self.start(self.block())))

    def test_disagrees(self) -> None:
        """Another channel, context, number or caller, in the headers or in the block."""
        for header in ("Uniqueid", "Context", "Exten"):
            self.assertFalse(agrees_with(channel(**{header: "9"}), self.start(self.block())), header)
            self.assertFalse(agrees_with(channel(), self.start(self.block(), **{header: "9"})), header)
        for name in ("callerid", "context", "extension", "dnid"):
            self.assertFalse(agrees_with(channel("DNID: 21"), self.start(self.block(**{name: "9"}))), name)

    def test_gone_on(self) -> None:
        """A channel in another application may have been in AGI; one with another name or caller has not."""
        event = self.start(self.block())
        self.assertTrue(has_gone_on(channel("Application: Congestion", Exten="T"), event))
        self.assertFalse(has_gone_on(channel("Application: AGI", Exten="T"), event))
        self.assertFalse(has_gone_on(channel(Exten="T"), event))
        self.assertFalse(has_gone_on(channel("Application: Congestion", "Uniqueid: 1795.7"), event))
        for header in ("Uniqueid", "Channel", "CallerIDNum"):
            self.assertFalse(has_gone_on(channel("Application: Congestion", **{header: "9"}), event), header)

    def test_status_that_is_forged(self) -> None:
        """A status with a header twice agrees with nothing."""
        self.assertIs(agrees_with(channel("Uniqueid: 1795.7"), self.start(self.block())), False)

    def test_block_that_is_cut(self) -> None:
        """Lines that did not come cannot disagree; those that came can."""
        long = self.block(arg_1="a" * 300, arg_2="b" * 500)
        head = long.partition(b"agi_dnid")[0]
        for status in (channel("DNID: 21"), channel("DNID: 34", Exten="21")):
            self.assertTrue(agrees_with(status, self.start(head + b"y" * 1023)))
        self.assertTrue(agrees_with(channel("DNID: 21"), self.start(long)))
        self.assertFalse(agrees_with(channel("DNID: 34"), self.start(long)))

    def test_block_that_is_none(self) -> None:
        """A block that Asterisk would not write agrees, for the call to be refused; one it would write does not."""
        for env in (b"agi_network: yes\n\n", self.block() + b"x", b"", self.block().replace(b"agi_dnid", b"agi_type")):
            self.assertIs(is_block(self.start(env)), False, env)
            self.assertTrue(agrees_with(channel(), self.start(env.replace(b"callerid: 33", b"callerid: 22"))), env)
        self.assertTrue(is_block(self.start(self.block())))
        self.assertTrue(is_block(self.start(b"agi_network: yes\n" + b"x" * 1023)))


class WholeRequestTests(SynchronousTestCase):
    """The request of an adopted call, made from values that its channel is asked for."""

    def request(self, answers: Answers) -> AGIRequest:
        """The request of a call with these answers."""
        call: Any = FakeChannel(answers=answers)
        call.request = AGIRequest({"request": "async", "uniqueid": "1795.7"})
        return self.successResultOf(Deferred.fromCoroutine(whole_request(call)))

    def test_missing_values(self) -> None:
        """A missing value is the word unknown, as in the block that Asterisk writes."""
        for nothing in ("200 result=0", "200 result=1 ()"):
            request = self.request(
                {
                    "GET VARIABLE": nothing,
                    "GET FULL VARIABLE": nothing,
                    'GET FULL VARIABLE "${EXTEN}"': "200 result=1 (s)",
                }
            )
            asked = dict.fromkeys(("callerid", "calleridname", "dnid", "rdnis"), "unknown")
            self.assertEqual(request.variables, {"request": "async", "uniqueid": "1795.7", "extension": "s", **asked})
            self.assertEqual(request.arguments, ())
            self.assertEqual((request.caller, request.caller_name, request.dnid), (None, "", None))

    def test_values(self) -> None:
        """Each value is that of its own expression."""
        values = {"CALLERID(num)": "33", "CALLERID(name)": "x", "CALLERID(dnid)": "34", "CALLERID(rdnis)": "22"}
        answers: Answers = {
            "GET VARIABLE PBXROUTER_BOUNDED": "200 result=1 (bounded)",
            **{f'GET FULL VARIABLE "${{{name}}}"': f"200 result=1 ({value})" for name, value in values.items()},
            'GET FULL VARIABLE "${EXTEN}"': "200 result=1 (21)",
        }
        request = self.request(answers)
        self.assertEqual((request.caller, request.caller_name, request.dnid), ("33", "x", "34"))
        self.assertEqual((request.variables["rdnis"], request.extension, request.is_bounded), ("22", "21", True))
