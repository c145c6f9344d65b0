"""dialplan/pbxrouter.conf: where a call goes while the gateway is up, down, dying, or behaves strangely.

Phone 36 enters by it. The lab's context `fallback` stands for the administrator's own.
"""

from __future__ import annotations

import re
import signal
import socket
import threading
import time

from tests.asterisk.harness import SECRET, AsteriskTest
from tests.waiting import wait_for

MARK = "SET VARIABLE PBXROUTER "
OUTCOME = "SET VARIABLE PBXROUTER_OUTCOME "
APPLICATION = "SET VARIABLE PBXROUTER_APPLICATION "
FAKE_ID = "a1b2c3d4"


class FakeGateway:
    """A FastAGI server that says the same to every call, then closes. With None it stays silent."""

    def __init__(self, port: int, commands: list[str] | None) -> None:
        self._commands = commands
        self._silent: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            if self._commands is None:
                self._silent.append(connection)
            else:
                threading.Thread(target=self._serve, args=(connection, self._commands), daemon=True).start()

    def _serve(self, connection: socket.socket, commands: list[str]) -> None:
        with connection, connection.makefile("rwb", buffering=0) as stream:
            while stream.readline().strip():
                pass
            for command in commands:
                stream.write(command.encode() + b"\n")
                while stream.readline().startswith(b"HANGUP"):
                    pass

    def close(self) -> None:
        """Stop, and hang up the calls that still wait."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self._silent:
            connection.close()


class DialplanTest(AsteriskTest):
    """The base of the tests below."""

    def _places(self) -> list[str]:
        """The dialplan lines that ran, such as "21@fallback"."""
        return [line.partition(":")[0] for line in self.executed()]

    def _grant_36(self) -> None:
        """Let the extension 36 dial 2X; once for each gateway."""
        if not getattr(self.gateway, "knows_36", False):
            self.gateway.change_rules(
                "INSERT INTO extensions (extension_number) VALUES ('36')",
                "INSERT INTO extensions_mappings (extension_id, map_id)"
                " SELECT extension_id, map_id FROM extensions, applications_mappings"
                " WHERE extension_number = '36' AND pattern = '2X'",
            )
            self.gateway.knows_36 = True  # type: ignore[attr-defined]

    def _call_36(self, number: str, *options: str) -> str:
        return self.call(number, "-f", "36", *options)

    def _originate(self, place: str, *variables: str) -> None:
        """Originate a call of 36 without a phone, into a place of the dialplan."""
        self.lab.ami.originate(f"Local/{place}/n", variables=variables, CallerID="36")

    def _set_global(self, name: str, value: str) -> None:
        """Set a global variable for the rest of the test."""
        before = self.lab.ami.getvar(name)
        self.lab.ami.action("Setvar", Variable=name, Value=value)
        self.addCleanup(self.lab.ami.action, "Setvar", Variable=name, Value=before)

    def _know_gateway(self, beat_ms: int, url: str = "") -> None:
        """Let the dialplan know a gateway at the address, with a heartbeat of this time; 0: none yet."""
        url = url or self.lab.ami.getvar("PBXROUTER_URL")
        self._set_global("PBXROUTER_GATEWAY", f"{FAKE_ID}@{url}")
        self._set_global(f"PBXROUTER_HEARTBEAT_{FAKE_ID}", str(beat_ms or ""))

    def _beat(self, beat_ms: int) -> None:
        """Send a heartbeat of that gateway."""
        self.lab.ami.action("Setvar", Variable=f"PBXROUTER_HEARTBEAT_{FAKE_ID}", Value=str(beat_ms))

    def _asked(self) -> list[str]:
        """The arguments of each AGI() that ran."""
        return [data.partition(",")[2] for data in re.findall(r'AGI\("[^"]*", "([^"]*)"\)', self.log())]


class WithoutGatewayTest(DialplanTest):
    """Nothing listens at the gateway's address."""

    config = None

    def test_fallback(self) -> None:
        """The call goes to the administrator's fallback, which rings the phone by itself."""
        with self.phone(22, "answer"):
            self.assertEqual(self._call_36("22", "-t", "500"), "answered, hung up by the caller")
        self.assertIn("22@fallback", self._places())

    def test_fallback_without_that_number(self) -> None:
        """A number that the administrator's fallback lacks goes to the shipped fallback."""
        self.assertEqual(self._call_36("999", "-t", "1000"), "answered, hung up by the caller")
        self.assertIn("999@pbxrouter-fallback", self._places())
        self.assertEqual(self.played(), ["tt-somethingwrong en"])

    def test_emergency(self) -> None:
        """112 and 911 reach the emergency trunk."""
        for number in "112", "911":
            self._mark = self.lab.log_size()
            self.assertEqual(self._call_36(number), "answered, hung up by the far end")
            self.assertIn(f"{number}@emergency", self._places())
            self.assertNotIn("AGI(", self.log())

    def test_second_emergency_trunk(self) -> None:
        """When the first trunk fails the second is tried; its name may contain a port."""
        self._set_global("PBXROUTER_EMERGENCY", "Local/{number}@nowhere")
        self._set_global("PBXROUTER_EMERGENCY_2", "PJSIP/99/sip:x@127.0.0.1:9&Local/{number}@emergency")
        self.assertEqual(self._call_36("112"), "answered, hung up by the far end")
        self.assertIn("112@emergency", self._places())

    def test_no_emergency_trunk(self) -> None:
        """Without an emergency trunk the caller hears a tone at once, and the log has an error."""
        self._set_global("PBXROUTER_EMERGENCY", "")
        self.assertEqual(self._call_36("112"), "not answered, 503 congestion")
        self.assertIn("ERROR", self.log())

    def test_marks_from_elsewhere(self) -> None:
        """An inherited, stale or global variable does not count as the gateway's mark."""
        for context, variable in (
            ("stale", "X=1"),
            ("pbxrouter-phones", "__PBXROUTER=done"),
            ("pbxrouter-phones", "_PBXROUTER=refused"),
        ):
            self._assert_fallback(context, variable)
        self._set_global("PBXROUTER", "done")
        self._assert_fallback("pbxrouter-phones", "X=1")

    def _assert_fallback(self, context: str, variable: str) -> None:
        self._mark = self.lab.log_size()
        self._originate(f"999@{context}", variable)
        wait_for(f"the fallback with {variable}", lambda: "999@pbxrouter-fallback" in self._places())
        self.hang_up_all()
        wait_for("the end", lambda: not self.lab.channels())

    def test_door(self) -> None:
        """A text that is no number is refused before there is a channel: no call, no event, no AGI."""
        hostile = ("9%0aagi_callerid%3a%2022", "9%2cdefault", "2x", "abc", "21%ff", "s", "h", "1" * 21)
        for number in hostile:
            self.assertEqual(self._call_36(number, "-t", "1"), "not answered, 404 not found", number)
        self.assertEqual(self.executed(), [])

    def test_line_with_a_number(self) -> None:
        """A call at s with a number is treated as if that had been dialled, an emergency number too."""
        self._originate("s@lines", "CALLERID(dnid)=112")
        wait_for("the emergency line", lambda: "112@emergency" in self._places())
        self.hang_up_all()
        self._originate("s@lines", "CALLERID(dnid)=23")
        wait_for("the fallback", lambda: "23@fallback" in self._places())
        self.hang_up_all()

    def test_line_without_a_number(self) -> None:
        """A caller at s is asked for the number; 112 works without the gateway."""
        self._originate("s@lines")
        wait_for("the question", lambda: "vm-enter-num-to-call en" in self.played())
        self.lab.ami.press(self.lab.ami.channel_named("Local/", ";2"), "112#")
        wait_for("the emergency line", lambda: "112@emergency" in self._places())
        self.hang_up_all()

    def test_line_with_a_hostile_number(self) -> None:
        """The number sent with the call cannot name another place of the dialplan."""
        self._originate("s@lines", '"CALLERID(dnid)=21,1:localline,5,1"')
        wait_for("the fallback", lambda: "pbxrouter-ask" in "".join(self._places()))
        self.hang_up_all()
        self.assertNotIn("5@localline", self._places())


class StrangeGatewayTest(DialplanTest):
    """A server that behaves unlike a gateway."""

    config = None

    def _expect(self, commands: list[str], place: str, number: str = "999") -> None:
        """Assert that the call goes to this place with a gateway that sends this."""
        gateway = FakeGateway(self.lab.agi_port, commands)
        self.addCleanup(gateway.close)
        self._originate(f"{number}@pbxrouter-phones")
        wait_for(place, lambda: place in self._places())
        self.hang_up_all()

    def test_closes_at_once(self) -> None:
        """A server that closes at once: Asterisk reports SUCCESS; the call goes to the fallback."""
        self._expect([], "999@pbxrouter-fallback")
        self.assertIn("AGISTATUS SUCCESS", self.log())

    def test_dies_before_it_decided(self) -> None:
        """The gateway dies while routing: the fallback."""
        self._expect([MARK + "routing"], "999@pbxrouter-fallback")

    def test_failed(self) -> None:
        """The gateway reports an error of its own: the fallback."""
        self._expect([OUTCOME + "FAILED", MARK + "failed"], "999@pbxrouter-fallback")

    def test_refused(self) -> None:
        """A forged call is hung up without fallback."""
        self._expect([MARK + "refused"], "REFUSED@pbxrouter-outcome")
        self.assertNotIn("999@pbxrouter-fallback", self._places())

    def test_busy(self) -> None:
        """A gateway that is alive and has no slot: the call is refused, and the caller gets no fallback."""
        self._expect([MARK + "busy"], "CONGESTION@pbxrouter-outcome")
        self.assertNotIn("999@pbxrouter-fallback", self._places())

    def test_dies_before_it_named_the_application(self) -> None:
        """The gateway dies with the mark dialling, before it named the application: the fallback."""
        self._expect([MARK + "dialling"], "999@pbxrouter-fallback")

    def test_dies_before_the_dial(self) -> None:
        """The gateway dies with the mark dialling, before the Dial: the fallback."""
        self._expect([MARK + "dialling", APPLICATION + "Dial"], "999@pbxrouter-fallback")

    def test_dies_during_another_application(self) -> None:
        """The gateway dies during another application, which runs to its end: the call is over."""
        commands = [MARK + "dialling", APPLICATION + "playback", "EXEC Playback hello-world"]
        self._expect(commands, "DONE@pbxrouter-outcome")

    def test_unknown_outcome(self) -> None:
        """An outcome of a later version ends the call."""
        self._expect([OUTCOME + "LATER", MARK + "done"], "LATER@pbxrouter-outcome")

    def test_no_outcome(self) -> None:
        """The mark done without an outcome: the call is over."""
        self._expect([MARK + "done"], "FAILED@pbxrouter-outcome")

    def test_emergency_beside_a_silent_one(self) -> None:
        """A silent gateway delays its own calls, but not an emergency call."""
        gateway = FakeGateway(self.lab.agi_port, None)
        self.addCleanup(gateway.close)
        self._originate("999@pbxrouter-phones")
        wait_for("the AGI", lambda: "999@pbxrouter-ask" in self._places())
        self._originate("112@pbxrouter-phones")
        wait_for("the emergency line", lambda: "112@emergency" in self._places())
        self.hang_up_all()


class HeartbeatTest(DialplanTest):
    """A gateway that accepts calls and stays silent, with and without a fresh heartbeat."""

    config = None

    def setUp(self) -> None:
        """Start the gateway."""
        super().setUp()
        gateway = FakeGateway(self.lab.agi_port, None)
        self.addCleanup(gateway.close)

    def _originate_at(self, beat_ms: int) -> None:
        """Place a call with a heartbeat of this time."""
        self._know_gateway(beat_ms)
        self._originate("999@pbxrouter-phones")

    def _assert_probed(self, beat_ms: int, place: str = "999@pbxrouter-fallback") -> None:
        """Assert that the gateway is only asked whether it is alive, and that the call comes to that place."""
        self._originate_at(beat_ms)
        wait_for(place, lambda: place in self._places())
        self.assertEqual(self._asked(), ["alive,call"])
        self.assertIn("T@pbxrouter-ask:1 Set", self.executed())
        self.hang_up_all()

    def test_fresh(self) -> None:
        """A heartbeat is not taken for the word of the connection itself; within ten seconds the call is refused."""
        self._assert_probed(round(1000 * time.time()), "CONGESTION@pbxrouter-outcome")
        self.assertNotIn("999@pbxrouter-fallback", self._places())

    def test_stale(self) -> None:
        """The same with an old heartbeat."""
        self._assert_probed(round(1000 * time.time()) - 60_000)

    def test_never(self) -> None:
        """The same without any heartbeat since Asterisk's start."""
        self._assert_probed(0)

    def test_another_address(self) -> None:
        """The heartbeat of a gateway that answered at another address counts for nothing."""
        self._know_gateway(round(1000 * time.time()), "agi://127.0.0.1:1/other")
        self._originate("999@pbxrouter-phones")
        wait_for("the fallback", lambda: "999@pbxrouter-fallback" in self._places())
        self.assertEqual(self._asked(), ["alive,call"])
        self.hang_up_all()

    def test_async(self) -> None:
        """By agi:async, without a heartbeat for PBXROUTER_HEARTBEAT_S the call comes to the fallback at once."""
        self._set_global("PBXROUTER_URL", "agi:async")
        for beat in ("", "0", str(int(time.time()) - 60)):
            self._mark = self.lab.log_size()
            self._set_global("PBXROUTER_HEARTBEAT", beat)
            self._originate("999@pbxrouter-phones")
            wait_for("the fallback", lambda: "999@pbxrouter-fallback" in self._places())
            self.assertEqual(self._asked(), [])
            self.hang_up_all()

    def test_async_in_a_flood(self) -> None:
        """By agi:async, with a heartbeat that is old or not renewed, a call in a flood is refused for five minutes."""
        self._set_global("PBXROUTER_URL", "agi:async")
        for flood_s, beat_s, place in (
            (30, 60, "CONGESTION@pbxrouter-outcome"),
            (30, 0, "CONGESTION@pbxrouter-outcome"),
            (90, 60, "999@pbxrouter-fallback"),
            (30, 400, "999@pbxrouter-fallback"),
        ):
            self._mark = self.lab.log_size()
            self._set_global("PBXROUTER_FLOOD", str(int(time.time()) - flood_s))
            self._set_global("PBXROUTER_HEARTBEAT", str(int(time.time()) - beat_s))
            self._originate("999@pbxrouter-phones")
            wait_for(place, lambda: place in self._places())  # noqa: B023
            self.hang_up_all()

    def test_async_many_calls(self) -> None:
        """As many calls within a second as PBXROUTER_FLOOD_CALLS says are a flood; after a stop they do not count."""
        self._set_global("PBXROUTER_URL", "agi:async")
        self._set_global("PBXROUTER_FLOOD", "")
        self._set_global("PBXROUTER_FLOOD_CALLS", "2")
        self._set_global("PBXROUTER_HEARTBEAT", "0")
        for _ in range(12):
            self._originate("999@pbxrouter-phones")
        wait_for("the fallback", lambda: self._places().count("999@pbxrouter-fallback") == 12)
        self.assertGreater(int(self.lab.ami.getvar("PBXROUTER_FLOOD")), time.time() - 60)
        self.hang_up_all()

    def test_async_not_taken(self) -> None:
        """By agi:async a call that is not taken comes to the fallback, also while another gateway beats."""
        self._set_global("PBXROUTER_URL", "agi:async")
        for setting in ("5", ""):
            self._mark = self.lab.log_size()
            self._set_global("PBXROUTER_HEARTBEAT_S", setting)
            self._set_global("PBXROUTER_HEARTBEAT", str(int(time.time())))
            self._originate("999@pbxrouter-phones")
            wait_for("the fallback", lambda: "999@pbxrouter-fallback" in self._places())
            self.assertEqual(self._asked(), ["bounded=180,call"])
            self.hang_up_all()


class AliveTest(DialplanTest):
    """The call ends in a way that would be the gateway's death, but for its next sign of life."""

    config = None

    def setUp(self) -> None:
        """A heartbeat that is fresh and does not go on by itself."""
        super().setUp()
        self._know_gateway(round(1000 * time.time()) - 500)

    def _place(self, *commands: str) -> None:
        gateway = FakeGateway(self.lab.agi_port, list(commands))
        self.addCleanup(gateway.close)
        self._originate("999@pbxrouter-phones")
        wait_for("the doubt", lambda: "Wait" in "".join(self.executed()))

    def _assert_refused(self) -> None:
        self._beat(round(1000 * time.time()))
        wait_for("the refusal", lambda: "CONGESTION@pbxrouter-outcome" in self._places())
        self.assertIn("is alive and did not serve the call to 999", self.log())
        self.hang_up_all()
        self.assertNotIn("999@pbxrouter-fallback", self._places())

    def test_connection_closed(self) -> None:
        """A gateway that closes the connection at once and is alive: the call is refused."""
        self._place()
        self._assert_refused()

    def test_not_decided(self) -> None:
        """The same in the middle of the talk."""
        self._place(MARK + "routing")
        self._assert_refused()

    def test_not_connected(self) -> None:
        """Asterisk cannot connect, as when it has no file for one more socket: the call is refused."""
        self._originate("999@pbxrouter-phones")
        wait_for("the doubt", lambda: "Wait" in "".join(self.executed()))
        self._assert_refused()

    def test_gone(self) -> None:
        """No further sign of life: the fallback."""
        self._place(MARK + "routing")
        wait_for("the fallback", lambda: "999@pbxrouter-fallback" in self._places())
        self.hang_up_all()

    def test_failed(self) -> None:
        """A call that the gateway marks as failed goes to the fallback, though the gateway is alive."""
        gateway = FakeGateway(self.lab.agi_port, [OUTCOME + "FAILED", MARK + "failed"])
        self.addCleanup(gateway.close)
        self._originate("999@pbxrouter-phones")
        wait_for("the fallback", lambda: "999@pbxrouter-fallback" in self._places())
        self.hang_up_all()


class FullGatewayTest(DialplanTest):
    """The real gateway with few places, and more calls at once."""

    config = "[fastagi]\nmax_connections = 8\n"

    def _ends(self) -> tuple[int, int, int]:
        """How many calls were served, refused, and sent to the fallback."""
        text = self.log()
        refused = text.count("Executing [CONGESTION@pbxrouter-outcome:1]")
        return self.played().count("invalid en"), refused, text.count("Executing [999@pbxrouter-fallback:1]")

    def test_flood(self) -> None:
        """Forty calls at once for eight slots: some are served, the others refused, and none goes to the fallback."""
        for _ in range(40):
            self._originate("999@pbxrouter-phones")
        wait_for("the end of all calls", lambda: sum(self._ends()) >= 40)
        self.hang_up_all()
        served, refused, fallback = self._ends()
        self.assertEqual((served + refused, fallback), (40, 0))
        self.assertGreater(served, 0)
        self.assertGreater(refused, 0)
        log = self.gateway.log(self._gateway_mark)
        self.assertRegex(log, "fastagi: (refused|closed) a connection from 127.0.0.1")

    def test_strangers(self) -> None:
        """Connections that say nothing, more than there are places: calls are served all the same."""
        for _ in range(100):
            stranger = socket.create_connection(("127.0.0.1", self.lab.agi_port))
            self.addCleanup(stranger.close)
        for _ in range(3):
            self._mark = self.lab.log_size()
            self._originate("999@pbxrouter-phones")
            wait_for("the call is served", lambda: self.played() == ["invalid en"])
            self.hang_up_all()
        self.assertNotIn("999@pbxrouter-fallback", self._places())


class FloodTest(DialplanTest):
    """More calls at once than this machine can serve in ten seconds, with a heartbeat over the same AMI."""

    config = """
[fastagi]
max_connections = 200
[[asterisk]]
ami = "tcp:127.0.0.1:AMI_PORT"
username = "gateway"
secret_file = "ami.secret"
"""

    def test_flood(self) -> None:
        """Each call is served or refused; none goes to the fallback, though AMI and the heartbeat are late."""
        wait_for("the heartbeat", lambda: int(self.lab.ami.getvar("PBXROUTER_HEARTBEAT") or "0") > 0)
        self._call_36("999")  # so that Asterisk knows which gateway it is
        self._mark = self.lab.log_size()
        self.lab.cli("agi set debug off")
        self.addCleanup(self.lab.cli, "agi set debug on")
        self.lab.script("burst", "800", "800", "999", "pbxrouter-phones")
        text = self.log()
        self.assertGreater(text.count("Executing [999@pbxrouter-ask:1]"), 0)
        self.assertGreater(text.count("Executing [CONGESTION@pbxrouter-outcome:1]"), 0)
        self.assertEqual(text.count("Executing [999@pbxrouter-fallback:1]"), 0)


class SecretTest(DialplanTest):
    """The dialplan with PBXROUTER_SECRET, and a gateway that wants it; what it says to others is in its log."""

    config = """
[fastagi]
secret_file = "fastagi.secret"
debug = true
[[asterisk]]
ami = "tcp:127.0.0.1:AMI_PORT"
username = "gateway"
secret_file = "ami.secret"
magi = ["pbxrouter-ask"]
"""

    def _call(self, secret: str, place: str) -> str:
        """A call with that secret comes to that place; returns the gateway's log."""
        wait_for("the heartbeat", lambda: int(self.lab.ami.getvar("PBXROUTER_HEARTBEAT") or "0") > 0)
        self._set_global("PBXROUTER_SECRET", secret)
        self._originate("999@pbxrouter-phones")
        wait_for(place, lambda: place in self._places() + self.played())
        self.hang_up_all()
        wait_for("the end", lambda: not self.lab.channels())
        self.assertNotIn("999@pbxrouter-fallback", self._places())
        return self.gateway.log(self._gateway_mark)

    def test_right(self) -> None:
        """The call is served; the secret is masked in the dialogue, and neither in the log nor in the database."""
        log = self._call(SECRET, "invalid en")
        self.assertIn("secret=***", log)
        self.assertNotIn(SECRET, log)
        for path in self.gateway.folder.glob("pbxrouter.sqlite*"):
            if path.is_file():
                self.assertNotIn(SECRET.encode(), path.read_bytes())

    def test_wrong_or_missing(self) -> None:
        """The call is refused, since the gateway is alive; it is logged once a minute, without the secret given."""
        self._call(SECRET, "invalid en")  # so that its heartbeat is known
        wrong = SECRET[:-1] + "x"
        for secret in (wrong, ""):
            self._mark = self.lab.log_size()
            log = self._call(secret, "CONGESTION@pbxrouter-outcome")
            self.assertEqual(self.commands(), [])
        self.assertIn("refused a call from 127.0.0.1, whose secret is not that of fastagi.secret_file", log)
        self.assertNotIn(wrong, log)

    def test_magi(self) -> None:
        """A call by agi:async gets no secret, and is served."""
        self._set_global("PBXROUTER_URL", "agi:async")
        log = self._call(SECRET, "invalid en")
        self.assertNotIn("secret=", log)


class FrozenGatewayTest(DialplanTest):
    """The real gateway with its heartbeat over AMI, frozen: it still accepts connections."""

    config = """
[[asterisk]]
ami = "tcp:127.0.0.1:AMI_PORT"
username = "gateway"
secret_file = "ami.secret"
"""

    def setUp(self) -> None:
        """Wait for the heartbeat."""
        super().setUp()
        wait_for("the first beat", lambda: int(self.lab.ami.getvar("PBXROUTER_HEARTBEAT") or "0"))

    def _freeze(self) -> None:
        assert self.gateway.process is not None
        self.gateway.process.send_signal(signal.SIGSTOP)
        self.addCleanup(self.gateway.process.send_signal, signal.SIGCONT)

    def _thaw(self) -> None:
        assert self.gateway.process is not None
        self.gateway.process.send_signal(signal.SIGCONT)
        wait_for("a beat", lambda: self.beat_age() < 2)

    def test_frozen(self) -> None:
        """Alive: it gets the call. Frozen: it is asked whether it is alive, and does not answer. Thawed: as before."""
        self._call_36("999")
        self.assertEqual(self.played(), ["invalid en"])
        self.assertEqual(self._asked(), ["alive,call", ""])
        self._freeze()
        for place in ("CONGESTION@pbxrouter-outcome", "999@pbxrouter-fallback"):  # it may only be late for ten seconds
            self._mark = self.lab.log_size()
            self._call_36("999", "-t", "100")
            self.assertIn(place, self._places())
            self.assertEqual(self._asked(), ["alive,call"])
            wait_for("no sign of life for ten seconds", lambda: self.beat_age() > 12)
        self._thaw()
        self._mark = self.lab.log_size()
        self._call_36("999")
        self.assertEqual(self.played(), ["invalid en"])


class GatewayTest(DialplanTest):
    """The real gateway, running and killed."""

    config = "[dial]\ntimeout = 4\n"

    def setUp(self) -> None:
        """Grant 2X to 36."""
        super().setUp()
        self._grant_36()

    def test_busy(self) -> None:
        """Busy: the caller's phone gets 486."""
        with self.phone(21, "busy"):
            self.assertEqual(self._call_36("21"), "not answered, 486 busy")

    def test_answer(self) -> None:
        """Answered: the call is over when the talk is over."""
        with self.phone(21, "answer", "-t", "500"):
            self.assertEqual(self._call_36("21"), "answered, hung up by the far end")
        self.assertIn("ANSWER@pbxrouter-outcome", self._places())

    def test_no_answer(self) -> None:
        """A phone that does not answer: the caller hears the announcement."""
        with self.phone(21, "noanswer"):
            self.assertEqual(self._call_36("21", "-t", "9000"), "answered, hung up by the far end")
        self.assertEqual(self.played(), ["vm-nobodyavail en"])

    def test_hung_up(self) -> None:
        """The caller gives up while it rings: the extension h knows the outcome."""
        with self.phone(21, "noanswer"):
            self._originate("21@pbxrouter-phones")
            wait_for("ringing", lambda: "is ringing" in self.log())
            self.lab.cli(f"channel request hangup {self.lab.ami.channel_named('Local/', ';1')}")
            wait_for("h", lambda: "pbxrouter 21: done CANCEL 2X CANCEL" in self.log())
        self.assertEqual(self.complaints(), [])

    def test_denied(self) -> None:
        """After a denied call there is no fallback."""
        self._call_36("999", "-t", "9000")
        self.assertEqual(self.played(), ["invalid en"])
        self.assertNotIn("999@pbxrouter-fallback", self._places())

    def test_broken_rule(self) -> None:
        """An error in the gateway: the caller hears an announcement, and the dialplan goes on."""
        self.gateway.change_rules(
            "INSERT INTO applications_mappings (application_name, application_data, pattern) VALUES ('dial', '', '61')",
            "INSERT INTO extensions_mappings (extension_id, map_id)"
            " SELECT extension_id, map_id FROM extensions, applications_mappings"
            " WHERE extension_number = '36' AND pattern = '61'",
        )
        self._call_36("61", "-t", "15000")
        self.assertIn("61@pbxrouter-fallback", self._places())
        self.assertEqual(self.played()[:1], ["tt-somethingwrong en"])
        self.assertEqual(self.variables()["PBXROUTER"], "failed")

    def test_emergency_never_asks(self) -> None:
        """The dialplan matches 112 first, even if the rules have it."""
        self.gateway.change_rules(
            "INSERT INTO applications_mappings (application_name, application_data, pattern)"
            " VALUES ('hangup', '', '112')"
        )
        self.assertEqual(self._call_36("112"), "answered, hung up by the far end")
        self.assertEqual(self.commands(), [])

    def test_killed_during_the_prompt(self) -> None:
        """kill -9 while the PIN prompt plays: the fallback."""
        with self.calling("34", "-f", "36", "-t", "4000"):
            wait_for("the prompt", self.played)
            self.gateway.kill()
            wait_for("the fallback", lambda: "34@fallback" in self._places())
        self._emergency_works()

    def test_stopped_during_the_prompt(self) -> None:
        """A stop while the PIN prompt plays: the fallback, soon."""
        with self.calling("34", "-f", "36", "-t", "25000"):
            wait_for("the prompt", self.played)
            self.gateway.stop()
            wait_for("the fallback", lambda: "34@fallback" in self._places())
            self.hang_up_all()
        self.assertEqual(self.complaints(), [])

    def test_killed_while_it_rings(self) -> None:
        """kill -9 while it rings: the phone goes on ringing, is answered, and they are connected."""
        with self.phone(21, "answer", "-r", "1500", "-t", "1000"), self.calling("21", "-f", "36"):
            wait_for("ringing", lambda: "is ringing" in self.log())
            self.gateway.kill()
        self.assertEqual(self.said, "answered, hung up by the far end")
        self.assertIn("ANSWER@pbxrouter-outcome", self._places())

    def test_killed_while_it_rings_in_vain(self) -> None:
        """kill -9 while an unanswered phone rings: the caller hears the same announcement as with the gateway."""
        with self.phone(21, "noanswer"), self.calling("21", "-f", "36", "-t", "9000"):
            wait_for("ringing", lambda: "is ringing" in self.log())
            self.gateway.kill()
        self.assertIn("NOANSWER@pbxrouter-outcome", self._places())
        self.assertEqual(self.played(), ["vm-nobodyavail en"])

    def test_killed_during_the_talk(self) -> None:
        """kill -9 while they talk: the call continues until one hangs up."""
        with self.phone(21, "answer", "-t", "2500"), self.calling("21", "-f", "36", "-t", "20000"):
            wait_for("the talk", lambda: "answered PJSIP/36" in self.log())
            self.gateway.kill()
            time.sleep(1)
            self.assertEqual(len(self.lab.channels()), 2)
        self.assertEqual(self.said, "answered, hung up by the far end")
        self.assertIn("ANSWER@pbxrouter-outcome", self._places())

    def test_stopped_during_the_talk(self) -> None:
        """A stop while they talk does not end the call."""
        with self.phone(21, "answer", "-t", "4000"), self.calling("21", "-f", "36", "-t", "20000"):
            wait_for("the talk", lambda: "answered PJSIP/36" in self.log())
            self.gateway.stop()
            self.assertEqual(len(self.lab.channels()), 2)
        self.assertEqual(self.said, "answered, hung up by the far end")

    def test_back_again(self) -> None:
        """After a kill and a restart the next call reaches the gateway."""
        self.gateway.kill()
        self.gateway.start()
        self._call_36("999", "-t", "9000")
        self.assertEqual(self.played(), ["invalid en"])

    def _emergency_works(self) -> None:
        self.assertEqual(self._call_36("112"), "answered, hung up by the far end")
