"""Click-to-dial on a real Asterisk: a visitor's form rings the sales phone, and connects it with the visitor's."""

from __future__ import annotations

import contextlib
import html
import json
import re
import socket
import time
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlencode

from pbxrouter import database
from pbxrouter.click_to_dial.signing import Signer
from pbxrouter.database.audit import Actor
from pbxrouter.database.click_to_dial.link_values import LinkOptions, LinkValues
from pbxrouter.database.click_to_dial.links import add_dial_link, dial_link, list_dial_links
from pbxrouter.security.keyfile import read_key
from tests.asterisk.harness import AsteriskTest
from tests.asterisk.test_originate import AMI
from tests.needs import PATIENCE_S
from tests.waiting import wait_for

SALES = LinkValues("Talk to sales", "PJSIP/33", "pbxrouter", "2X", calls_an_hour=1000, calls_a_day=1000)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


PORT = _free_port()
WEB = f'[web]\nlisten = "tcp:{PORT}:interface=127.0.0.1"\n'


class ClickCase(AsteriskTest):
    """A gateway with a console, and one link."""

    def setUp(self) -> None:
        """Create the link, if this gateway has none yet, and an address of it."""
        super().setUp()
        path = self.gateway.database
        with contextlib.closing(database.connect(path)) as connection:
            links = list_dial_links(connection, "")
            number = (
                links[0].link_id
                if links
                else add_dial_link(connection, Actor("the test", "command"), 0.0, SALES, LinkOptions({}, {}))
            )
            link = dial_link(connection, number)
        signer = Signer(read_key(Path(f"{path}.pinkey"), {}))
        self.page = f"/click/{number}?sig={signer.link(number, link.generation, time.time() + 3600)}"

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[HTTPResponse, str]:
        """Send a request as a browser without cookies does."""
        connection = HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE_S)
        headers = {"Connection": "close", "Accept-Language": "en"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response, html.unescape(response.read().decode("utf-8"))
        finally:
            connection.close()

    def send(self, number: str) -> tuple[HTTPResponse, str]:
        """Submit the visitor's form."""
        _, page = self.ask("GET", self.page)
        found = re.search(r'name="form" value="([^"]+)"', page)
        assert found, page
        return self.ask("POST", self.page, urlencode({"form": found[1], "number": number}))

    def call(self, number: str, *options: str) -> str:
        """Place a call; returns the path of the page that follows."""
        response, page = self.send(number)
        self.assertEqual(response.status, 303, page)
        return response.headers["Location"]

    def told(self, path: str) -> list[str]:
        """The headlines of the page until the call is over, as its script shows them."""
        headlines: list[str] = []
        seen, end = "0", time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            response, part = self.ask("GET", path.replace("?", f"/news?seen={seen}&"))
            self.assertEqual(response.status, 200)
            found = re.search(r"<h1>(.*?)</h1>", part)
            steps = re.search(r'data-seen="(\d+)"', part)
            assert found and steps, part
            if headlines[-1:] != [found[1]]:
                headlines.append(found[1])
            seen = steps[1]
            if "data-over" in part:
                return headlines
        raise AssertionError(f"never over: {headlines}")


class ClickTest(ClickCase):
    """Click-to-dial with the lab's phones."""

    config = "[dial]\ntimeout = 3\n" + WEB + AMI

    def setUp(self) -> None:
        """Wait until the gateway is on AMI."""
        super().setUp()
        wait_for("AMI", lambda: "AMI lab: connected" in self.gateway.log())

    def test_connected(self) -> None:
        """Sales answers, the visitor answers, they are connected, it is over; each state is shown."""
        with self.phone(33, "answer", "-r", "700"), self.phone(21, "answer", "-r", "700", "-t", "700"):
            told = self.told(self.call("(2) 1"))
        self.assertEqual(told, ["Our phone rings", "Now your phone rings", "You are connected", "The call is over"])
        self.assertEqual(self.dialled(), ["PJSIP/21"])
        self.assertEqual(self.complaints(), [])

    def test_page_by_itself(self) -> None:
        """The page without JavaScript shows the same."""
        with self.phone(33, "answer"), self.phone(21, "answer", "-t", "500"):
            path = self.call("21")
            wait_for("connected or over", lambda: "The call is over" in self.ask("GET", path)[1])

    def test_sales_is_busy(self) -> None:
        """If sales is busy the visitor's phone does not ring."""
        with self.phone(33, "busy"):
            self.assertEqual(self.told(self.call("21"))[-1], "Our line is busy right now")
        self.assertEqual(self.dialled(), [])

    def test_visitor_is_busy(self) -> None:
        """If the visitor is busy the page says so."""
        for manner, words in (
            ("busy", "Your number is busy"),
            ("reject", "The call to your number was rejected"),
            ("noanswer", "You did not pick up"),
        ):
            with self.phone(33, "answer"), self.phone(21, manner):
                self.assertEqual(self.told(self.call("21"))[-1], words)
            wait_for("silence", lambda: not self.lab.channels())

    def test_hostile(self) -> None:
        """Text that would be AMI headers never reaches Asterisk."""
        for number in ("21\r\nVariable: PBXROUTER=x", "21\r\n\r\nAction: Command", "21\n", "21,1", "21&22"):
            response, page = self.send(number)
            self.assertEqual(response.status, 400)
            self.assertIn("is not a telephone number", page)
        self.assertEqual(self.lab.channels(), [])
        self.assertEqual(self.commands(), [])

    def test_not_granted(self) -> None:
        """A link cannot place a call that the rules do not allow."""
        self.gateway.sql("UPDATE dial_links SET destinations = 'X.'")
        self.addCleanup(self.gateway.sql, "UPDATE dial_links SET destinations = '2X'")
        response, page = self.send("999")
        self.assertEqual(response.status, 403)
        self.assertIn("We cannot call this number from here", page)


class WithoutAmiTest(ClickCase):
    """Click-to-dial while the AMI port refuses connections."""

    config = WEB + AMI.replace("AMI_PORT", "1")

    def test_unavailable(self) -> None:
        """The page says "Service Currently Unavailable" at once; the request does not count."""
        began = time.monotonic()
        response, page = self.send("21")
        self.assertEqual(response.status, 503)
        self.assertIn(">Service Currently Unavailable<", page)
        self.assertLess(time.monotonic() - began, PATIENCE_S)
        with contextlib.closing(database.connect(self.gateway.database)) as connection:
            self.assertEqual(connection.execute("SELECT sum(calls) FROM dial_link_calls").fetchone(), (None,))


class ClosedTest(ClickCase):
    """The settings name no context that originated calls may enter."""

    config = WEB + re.sub("originate = .*\n", "", AMI)

    def setUp(self) -> None:
        """Wait until the gateway is on AMI."""
        super().setUp()
        wait_for("AMI", lambda: "AMI lab: connected" in self.gateway.log())
        self._sockets = self.gateway.sockets()

    def test_closed(self) -> None:
        """No way in places a call: a link of earlier times, the API, the command line; none counts against the link."""
        closed = "asterisk.originate lists no context, so no call can be placed; add pbxrouter to allow it"
        response, page = self.send("21")
        self.assertGreaterEqual(response.status, 400)
        self.assertIn("We cannot call this number from here", page)
        self.assertIn(closed, self.gateway.log(self._gateway_mark))
        with self.assertRaises(AssertionError) as refused:
            self.gateway.command("originate", "PJSIP/33", "--to", "21", "--context", "pbxrouter")
        self.assertIn(closed, str(refused.exception))
        token = self.gateway.command("token", "create", f"at {time.time()}", "--scope", "dial").split()[-1]
        wanted = json.dumps({"channel": "PJSIP/33", "to": "21", "context": "pbxrouter"})
        connection = HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            headers = {"Connection": "close", "Content-Type": "application/json", "Authorization": f"Bearer {token}"}
            connection.request("POST", "/api/originate", wanted, headers)
            answer = connection.getresponse()
            self.assertEqual((answer.status, closed in answer.read().decode()), (400, True))
        with contextlib.closing(database.connect(self.gateway.database)) as rows:
            self.assertIn(rows.execute("SELECT sum(calls) FROM dial_link_calls").fetchone()[0], (None, 0))
        self.assertEqual((self.lab.channels(), self.commands()), ([], []))
