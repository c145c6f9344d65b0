"""Calls whose ends Asterisk does not tell the gateway of: the talk is known all the same, and nobody is accused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Final

from tests.asterisk.harness import the_lab
from tests.asterisk.test_shapes import CONFIG, Row, ShapeCase
from tests.waiting import wait_for

USERS: Final = {"partial-who": "HangupRequest", "partial-dial": "DialEnd", "partial-name": "Rename"}
"""AMI users, and the event that each of them does not get."""


class PartialCase(ShapeCase):
    """One AMI user, who does not get one event."""

    def setUp(self) -> None:
        """Give the lab these users."""
        lab = the_lab()
        conf = lab.run / "etc/manager.conf"
        if "[partial-" not in conf.read_text():
            with conf.open("a") as file:
                for name, event in USERS.items():
                    file.write(f"\n[{name}]\nsecret = enero2007\nread = system,call,agi\n")
                    file.write(f"write = call,agi,originate,reporting\neventfilter = !Event: {event}\n")
            lab.cli("manager reload")
        super().setUp()

    def talks(self) -> None:
        """Four calls in which people talk, enough to show what does not come; the history forgets them."""
        for caller, number in (("801", "804"), ("806", "807"), ("809", "810"), ("811", "812")):
            self.connect(caller, number, hang_up_after=0.3).until_ended()
        wait_for("the history", lambda: len(self.rows("SELECT 1 FROM calls")) == 4)
        with closing(sqlite3.connect(self.gateway.database)) as connection, connection:
            connection.execute("DELETE FROM calls")

    def assert_told(self, outcome: str) -> None:
        """A call with talk, one behind a Local channel that is taken out, one given up, one cut."""
        self.connect("841", "842", hang_up_after=2.2).until_ended()
        self.connect("863", "2864", "864", hang_up_after=2.4).until_ended()
        call = self.phones.call("853", "854")
        self.phones.called("854").ring()
        call.hang_up_after(0.8).until_ended()
        cut = self.phones.call("835", "836")
        self.phones.called("836").ring()
        self.ami("Hangup", Channel=self.channel("835"))
        cut.until_ended()
        self.await_history(
            Row("841", "842", "ANSWER", (("841", "842"),)),
            Row("863", "2864", "ANSWER", (("*", "864"),)),
            Row("853", "854", "CANCEL"),
            Row("835", "836", outcome),
        )


class WithoutWhoTest(PartialCase):
    """Asterisk does not say who hangs up."""

    config = CONFIG.replace('"gateway"', '"partial-who"').replace('magi = ["pbxrouter-magi"]\n', "")

    def test_first_calls(self) -> None:
        """Before it shows, a caller who gives up is not said to have been cut; then the log names the event."""
        self.assert_told("CANCEL")
        self.gateway.sql("DELETE FROM calls")
        self.talks()
        line = "counter lab: Asterisk withholds HangupRequest"
        wait_for(line, lambda: line in self.gateway.log(self._gateway_mark))


class WithoutDialEndTest(PartialCase):
    """Asterisk does not say how dialling ends."""

    config = CONFIG.replace('"gateway"', '"partial-dial"').replace('magi = ["pbxrouter-magi"]\n', "")

    def test_talk_is_known(self) -> None:
        """The talk is known from the bridges, though the calls are not counted."""
        self.talks()
        line = "counter lab: Asterisk withholds DialEnd"
        wait_for(line, lambda: line in self.gateway.log(self._gateway_mark))
        self.assert_told("CUT")


class WithoutRenameTest(PartialCase):
    """Asterisk does not tell of new names of channels."""

    config = CONFIG.replace('"gateway"', '"partial-name"').replace('magi = ["pbxrouter-magi"]\n', "")

    def test_talk_is_known(self) -> None:
        """All is known."""
        self.talks()
        self.assert_told("CUT")
