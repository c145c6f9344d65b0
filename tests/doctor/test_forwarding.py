"""The doctor's check of what lets parties forward calls."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from pbxrouter.ami import AMIMessage
from pbxrouter.config import Config
from pbxrouter.doctor.finding import Finding
from pbxrouter.doctor.forwarding import MAX_ASKED, NAMED, check_forwarding, check_options, letters
from pbxrouter.errors import ActionFailed
from pbxrouter.text import Sentence

AREA = Sentence("dialplan")
USUAL = {"redirect_method": "user", "callerid": '"A" <21>', "trust_id_inbound": "false"}


def line(data: str, application: str = "Dial", context: str = "house", extension: str = "_2X") -> AMIMessage:
    """A line of the dialplan as ShowDialPlan lists it."""
    headers = f"Event: ListDialplan\r\nContext: {context}\r\nExtension: {extension}\r\n"
    return AMIMessage(f"{headers}Application: {application}\r\nAppData: {data}".encode())


class FakeProbe:
    """An Asterisk with these lines and endpoints."""

    def __init__(self, *lines: AMIMessage) -> None:
        self.lines: list[AMIMessage] | ActionFailed = list(lines)
        self.endpoints: dict[str, dict[str, str]] = {}
        self.listed: list[str] | None = None  # by default those of which it tells
        self.listing = "PJSIPShowEndpoints"
        self.protocol = self
        self.asked: list[str] = []

    async def variable(self, name: str) -> str | None:
        """Answer with a setting of an endpoint."""
        self.asked.append(name)
        endpoint, setting = name.removeprefix("PJSIP_ENDPOINT(").removesuffix(")").split(",")
        return self.endpoints.get(endpoint, {}).get(setting, "")

    def action_list(self, name: str, headers: object = ()) -> Deferred[list[AMIMessage]]:
        """Answer ShowDialPlan, and the action by which endpoints may be listed."""
        if name == "ShowDialPlan":
            return fail(self.lines) if isinstance(self.lines, ActionFailed) else succeed(self.lines)
        if name != self.listing:
            return fail(ActionFailed(f"{name}: Permission denied"))
        names = list(self.endpoints) if self.listed is None else self.listed
        header = "ObjectName: " if name == "PJSIPShowEndpoints" else "Device: PJSIP/"
        other = ["Event: DeviceStateChange\r\nDevice: Custom:lamp", "Event: EndpointList"]
        items = [f"Event: Item\r\n{header}{endpoint}" for endpoint in names]
        return succeed([AMIMessage(item.encode()) for item in (*items, *other)])


class ForwardingTests(SynchronousTestCase):
    """What check_forwarding finds in settings and dialplan."""

    def find(self, probe: FakeProbe, *endpoints: str, config: str = "") -> list[Finding]:
        """The findings."""
        asterisk: Any = probe
        settings = msgspec.toml.decode(config.encode(), type=Config)
        return self.successResultOf(Deferred.fromCoroutine(check_forwarding(asterisk, settings, AREA, endpoints)))

    def told(self, probe: FakeProbe, *endpoints: str, config: str = "") -> list[tuple[str, str]]:
        """States and texts of the findings that are not ok."""
        found = self.find(probe, *endpoints, config=config)
        return [(finding.state, str(finding.what)) for finding in found if finding.state != "ok"]

    def test_plain(self) -> None:
        """A dialplan whose Dial()s have option i, and endpoints as they should be, have two findings that say so."""
        probe = FakeProbe(line("PJSIP/${EXTEN},20,i"), line("PJSIP/${EXTEN}@provider,60"))
        probe.endpoints["33"] = USUAL
        self.assertEqual([finding.state for finding in self.find(probe, "PJSIP/33")], ["ok", "ok"])

    def test_keys(self) -> None:
        """Options that let a party transfer or park are named with their places, also within other applications."""
        probe = FakeProbe(
            line("PJSIP/${EXTEN},20,tTi"),
            line("$[1]?Dial(PJSIP/1,2,ik)", "ExecIf", extension="s"),
            line("PJSIP/1,2,iU(text^K)", extension="9"),
        )
        probe.endpoints["33"] = USUAL
        ((state, what),) = self.told(probe, "PJSIP/33")
        self.assertEqual((state, "t, T, k or K at _2X@house, s@house:" in what), ("unknown", True))

    def test_no_option_i(self) -> None:
        """Where forwarding is not wanted, each Dial() of a phone without option i is named; not those of trunks."""
        lines = [line("PJSIP/21,20"), line("PJSIP/21", extension="7"), line("PJSIP/1@provider", extension="0")]
        probe = FakeProbe(*lines, line("PJSIP/provider", extension="1"), line("PJSIP/1", context="pbxrouter-emergency"))
        probe.endpoints["21"] = USUAL
        ((state, what),) = self.told(probe, config='trunks = ["PJSIP/provider"]')
        self.assertEqual((state, "no option i at _2X@house, 7@house:" in what), ("unknown", True))
        self.assertEqual(self.told(probe, config='trunks = ["PJSIP/provider"]\n[dial]\nforwarding = true'), [])

    def test_many(self) -> None:
        """The first places are named, and all are counted."""
        probe = FakeProbe(*(line("PJSIP/21", extension=str(number)) for number in range(100, 109)))
        probe.endpoints["21"] = USUAL
        ((_, what),) = self.told(probe)
        self.assertIn(f"{99 + NAMED}@house, … (9):", what)
        self.assertNotIn(f"{100 + NAMED}@house", what)

    def test_redirect_method(self) -> None:
        """uri_pjsip is a problem; uri_core is one where forwarding is wanted."""
        probe = FakeProbe()
        probe.endpoints = {
            "21": {**USUAL, "redirect_method": "uri_pjsip"},
            "22": {**USUAL, "redirect_method": "uri_core"},
        }
        for config, state in (("", "unknown"), ("[dial]\nforwarding = true", "wrong")):
            first, second = self.told(probe, "PJSIP/21", "PJSIP/22", "PJSIP/23", config=config)
            self.assertEqual((first[0], "where PJSIP/21 forwards to" in first[1]), ("wrong", True))
            self.assertEqual((second[0], "that PJSIP/22 forwards to" in second[1]), (state, True))

    def test_numbers_that_phones_choose(self) -> None:
        """Endpoints without a callerid, and those that trust what comes in, are named; trunks are not."""
        probe = FakeProbe(line("PJSIP/36,9,i"))
        probe.endpoints = {
            "34": {**USUAL, "callerid": "<unknown>"},
            "35": {**USUAL, "trust_id_inbound": "true"},
            "36": {"redirect_method": "user"},
            "trunk": {**USUAL, "callerid": "<unknown>", "trust_id_inbound": "true"},
        }
        ((state, what),) = self.told(
            probe, *(f"PJSIP/{name}" for name in ("34", "35", "trunk")), config='trunks = ["PJSIP/trunk"]'
        )
        self.assertEqual((state, "at PJSIP/35, PJSIP/34, PJSIP/36 can send" in what), ("unknown", True))

    def test_all_endpoints(self) -> None:
        """Where the user may list them, all endpoints are looked at, whether or not the rules name them."""
        probe = FakeProbe()
        probe.listed = ["40", "41/41"]
        probe.endpoints = {"40": USUAL, "41": {**USUAL, "redirect_method": "uri_pjsip"}}
        ((state, _),) = self.told(probe)
        self.assertEqual(state, "wrong")

    def test_listed_by_their_states(self) -> None:
        """Without the class system the endpoints are those of DeviceStateList."""
        probe = FakeProbe()
        probe.listing = "DeviceStateList"
        probe.endpoints = {"40": USUAL, "41": {**USUAL, "redirect_method": "uri_pjsip"}}
        ((state, what),) = self.told(probe)
        self.assertEqual((state, "PJSIP/41" in what), ("wrong", True))

    def test_not_listed(self) -> None:
        """Where endpoints cannot be listed, it is said how many were looked at."""
        probe = FakeProbe()
        probe.listing = ""
        probe.endpoints = {"40": {**USUAL, "redirect_method": "uri_pjsip"}, "33": USUAL}
        ((state, what),) = self.told(probe, "PJSIP/33")
        self.assertEqual((state, "only the 1 PJSIP endpoints" in what), ("unknown", True))

    def test_what_is_asked(self) -> None:
        """No text that is no endpoint's name gets into a question."""
        probe = FakeProbe(line("PJSIP/21,9,i"), line("PJSIP/a@b&PJSIP/${X}&PJSIP/x/y&IAX2/loop,9,i"))
        self.find(probe, "PJSIP/33", "IAX2/1", "PJSIP/a,b", "PJSIP/a)b")
        self.assertEqual(probe.asked, ["PJSIP_ENDPOINT(33,redirect_method)", "PJSIP_ENDPOINT(21,redirect_method)"])

    def test_some_cannot_be_read(self) -> None:
        """Endpoints that were not asked about, or of which Asterisk does not tell, are counted: they are not well."""
        probe = FakeProbe(line("PJSIP/${EXTEN},20,i"))
        probe.listed = [str(number) for number in range(MAX_ASKED + 2)]
        probe.endpoints = dict.fromkeys(probe.listed, USUAL)
        self.assertEqual(
            self.told(probe), [("unknown", f"PJSIP endpoints whose settings were not read: 2 of {MAX_ASKED + 2}")]
        )

    def test_cannot_be_read(self) -> None:
        """Without the permission, or without the function, the owner is told what to type."""
        probe = FakeProbe()
        self.assertEqual(self.told(probe, "PJSIP/33")[0][0], "unknown")
        probe.lines = ActionFailed("ShowDialPlan: Permission denied")
        ((state, what),) = self.told(probe)
        self.assertEqual((state, "Permission denied" in what), ("unknown", True))


class OptionsTests(SynchronousTestCase):
    """The gateway's own options of Dial()."""

    def test_letters(self) -> None:
        """Arguments of options are none."""
        self.assertEqual(letters("tTU(Kx^k)m(default)L(1:2:3)"), set("tTUmL"))
        self.assertEqual(letters("F(a^b(c)^1)r"), {"F", "r"})
        self.assertEqual(letters(""), set())

    def test_options(self) -> None:
        """Those by which a party forwards calls are named."""
        for options, named in (("", ""), ("rm(x)", ""), ("tTkKr", "K, T, k, t"), ("g", "g"), ("F(a^b^1)", "F")):
            config = msgspec.toml.decode(f'[dial]\noptions = "{options}"'.encode(), type=Config)
            found = list(check_options(config, AREA))
            self.assertEqual([finding.state for finding in found], ["unknown"] if named else [])
            self.assertIn(
                f"dial.options has {named}:" if named else "", "".join(str(finding.what) for finding in found)
            )

    def test_forwarding(self) -> None:
        """That called phones may forward is named, since they can name a channel past the dialplan."""
        config = msgspec.toml.decode(b"[dial]\nforwarding = true", type=Config)
        (found,) = check_options(config, AREA)
        self.assertEqual((found.state, "can name a channel" in str(found.what)), ("unknown", True))
