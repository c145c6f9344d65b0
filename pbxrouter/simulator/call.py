"""The facts of a simulated call, the environment that Asterisk makes of them, and the script of the call."""

import dataclasses

UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class SimulatedCall:
    """What Asterisk knows of a call when it runs AGI().

    Text is written as given, line ends included: Asterisk does not check what a phone sends, so neither does
    this. A byte that is not UTF-8 is written as Python's surrogate escape.

    Attributes:
        extension: what was dialled, `h` for a run after the hang-up.
        caller: the caller's number; None when Asterisk has none.
        name: the caller's name; None when Asterisk has none.
        dnid: the number as the line brought it; None is the same as `extension`.
        channel: the channel's name; its type is what comes before the slash.
        arguments: the AGI() application's own arguments.
        script: the path of the agi:// address; empty when it has none (the key is then absent).
        up: whether the channel was answered before AGI().
        dead: whether the channel is hung up already (extension `h`).
    """

    extension: str
    caller: str | None = None
    name: str | None = None
    dnid: str | None = None
    channel: str = "PJSIP/33-00000001"
    language: str = "en"
    context: str = "pbxrouter"
    priority: int = 1
    uniqueid: str = "1795409729.6"
    version: str = "22.10.1"
    address: str = "127.0.0.1"
    script: str = "pbxrouter"
    callingpres: int = 0
    rdnis: str = UNKNOWN
    accountcode: str = ""
    threadid: int = 139835179546304
    arguments: tuple[str, ...] = ()
    up: bool = False
    dead: bool = False

    def variables(self) -> list[tuple[str, str]]:
        """The agi_ variables, in Asterisk's order, without the prefix."""
        script = [("network_script", self.script)] if self.script else []
        return [
            ("network", "yes"),
            *script,
            ("request", f"agi://{self.address}" + (f"/{self.script}" if self.script else "")),
            ("channel", self.channel),
            ("language", self.language),
            ("type", self.channel.partition("/")[0]),
            ("uniqueid", self.uniqueid),
            ("version", self.version),
            ("callerid", self.caller or UNKNOWN),
            ("calleridname", self.name or UNKNOWN),
            ("callingpres", str(self.callingpres)),
            ("callingani2", "0"),
            ("callington", "0"),
            ("callingtns", "0"),
            ("dnid", self.extension if self.dnid is None else self.dnid),
            ("rdnis", self.rdnis),
            ("context", self.context),
            ("extension", self.extension),
            ("priority", str(self.priority)),
            ("enhanced", "0.0"),
            ("accountcode", self.accountcode),
            ("threadid", str(self.threadid)),
            *((f"arg_{index}", argument) for index, argument in enumerate(self.arguments, 1)),
        ]

    def environment(self) -> bytes:
        """The environment block, empty line included."""
        lines = "".join(f"agi_{key}: {value}\n" for key, value in self.variables())
        return (lines + "\n").encode("utf-8", "surrogateescape")


@dataclasses.dataclass(frozen=True)
class Script:
    """The script of a simulated call: what people and the network do.

    Attributes:
        keys: what the caller presses, one string for each GET DATA, `#` included if pressed. When they are
            used up the caller stays silent. Before the call is answered no key arrives.
        interrupts: the key pressed during each STREAM FILE that keys can stop; empty for none.
        dialstatus: how each Dial ends, DIALSTATUS words; the last one is for all further ones. Empty:
            ANSWER, but CHANUNAVAIL for the technologies that today's Asterisk has no more (SIP, Zap).
            CANCEL: the caller hangs up while the phone rings.
        hangup_at: the caller hangs up while this prompt plays, counted from 1 over GET DATA, STREAM FILE and
            EXEC Playback.
        hangup_in: the caller hangs up in this application (`Dial`: after the answer; `ConfBridge`, …).
        missing: sounds that Asterisk does not have.
        sighup: False as with AGISIGHUP=no: no HANGUP line.
        exit_on_hangup: True as with AGIEXITONHANGUP=yes: two HANGUP lines, and Asterisk closes.
    """

    keys: tuple[str, ...] = ()
    interrupts: tuple[str, ...] = ()
    dialstatus: tuple[str, ...] = ()
    hangup_at: int | None = None
    hangup_in: str | None = None
    missing: frozenset[str] = frozenset()
    sighup: bool = True
    exit_on_hangup: bool = False
