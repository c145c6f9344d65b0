"""The doctor's look at the dialplan: does it ask the gateway, and at the right place?

What is asked is functions and global variables, over AMI. Whether Asterisk itself can
connect to the gateway shows only in a call, so that is left to a person's hand. Not
here: the dialplan (dialplan/).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Final

from pbxrouter.config import DEFAULT_LISTEN, Asterisk, Config
from pbxrouter.doctor.asterisk import Patient
from pbxrouter.doctor.finding import Finding, unknown, well, wrong
from pbxrouter.errors import ActionFailed
from pbxrouter.trace import printable

CONTEXT: Final = "pbxrouter-ask"
"""Where dialplan/pbxrouter.conf asks the gateway."""
DEFAULT_PORT: Final = 4573
TIMEOUT_S: Final = 3.0

_URL: Final = re.compile(r"h?agi://(?:\[([^\]]+)\]|([^/:\[\]]+))(?::(\d{1,5}))?(?:/.*)?")
_HERE: Final = frozenset({"127.0.0.1", "localhost", "::1", "ip6-localhost"})

Dial = Callable[[tuple[str, int], float], socket.socket]
"""socket.create_connection, or a fake of it."""


async def look_at_dialplan(
    patient: Patient, config: Config, dial: Dial = socket.create_connection
) -> list[Finding]:
    """The hook for FastAGI, and the contexts for MAGI."""
    name = printable(patient.config.name)
    found = [await _hook(patient, config, f"dialplan {name}", dial)]
    for context in patient.config.magi:
        found.append(await _magi(patient, f"dialplan {name}", context))
    return found


async def _hook(patient: Patient, config: Config, area: str, dial: Dial) -> Finding:
    exists = await patient.variable(f"DIALPLAN_EXISTS({CONTEXT},0,1)")
    url = await patient.variable("PBXROUTER_URL")
    if exists is None or url is None:
        return unknown(
            area,
            "it may not be asked: that needs the class call or reporting",
            "type in Asterisk: dialplan show pbxrouter-ask; dialplan show globals",
        )
    if exists != "1":
        return unknown(
            area,
            "dialplan/pbxrouter.conf is not included; a hook of your own is not known here",
            f"see that it runs AGI({_example(config)}) and tests PBXROUTER afterwards (docs/dialplan.md)",
        )
    if not url:
        return wrong(area, "PBXROUTER_URL is empty", f"under [globals]: PBXROUTER_URL = {_example(config)}")
    if url.startswith("agi:async"):
        if CONTEXT in patient.config.magi:
            return well(area, f"calls wait in AGI({printable(url)}), for MAGI")
        return wrong(
            area,
            f"calls wait in AGI({printable(url)}), and nobody takes them",
            f'put "{CONTEXT}" into asterisk.magi',
        )
    return _reach(patient.config, config, area, url, dial)


def _example(config: Config) -> str:
    port = re.match(r"tcp:(?:port=)?(\d+)", config.fastagi.listen)
    return f"agi://127.0.0.1:{port[1] if port else DEFAULT_PORT}/pbxrouter"


def _reach(asterisk: Asterisk, config: Config, area: str, url: str, dial: Dial) -> Finding:
    """Try from here what Asterisk will try from there."""
    shown = printable(url)
    parts = _URL.fullmatch(url)
    if parts is None or not 0 < int(parts[3] or DEFAULT_PORT) < 65536:
        return wrong(area, f"PBXROUTER_URL is {shown!a}", f"accepted is for example {_example(config)}")
    host, port = parts[1] or parts[2], int(parts[3] or DEFAULT_PORT)
    if url.startswith("h"):
        return unknown(area, f"it asks {shown}, by SRV records", "see that they name the gateway")
    remote = _host_of(asterisk.ami)
    if host in _HERE and remote not in _HERE:
        return unknown(
            area,
            f"it asks {shown}, which there is Asterisk's own machine, {printable(remote) or 'elsewhere'}",
            "if the gateway runs on another, name that one in PBXROUTER_URL",
        )
    try:
        dial((host, port), TIMEOUT_S).close()
    except OSError as error:
        why = error.strerror or str(error)
        listen = config.fastagi.listen
        hint = f"the gateway listens at {listen}" + (
            "; that is for this machine alone, so name another interface"
            if listen == DEFAULT_LISTEN and host not in _HERE
            else ""
        )
        return wrong(
            area,
            f"it asks {shown}, where nothing answers: {why}",
            f"{hint}; see PBXROUTER_URL and fastagi.listen",
        )
    if remote in _HERE:
        return well(area, f"asks {shown}, which answers")
    return unknown(
        area,
        f"it asks {shown}, which answers from here; from Asterisk's machine only a call can tell",
        f"there: nc -z {host} {port}; or dial a number, with `pbxrouter debug` running",
    )


def _host_of(ami: str) -> str:
    """The host of a client endpoint string."""
    words = re.split(r"(?<!\\):", ami)
    named = [word.removeprefix("host=") for word in words if word.startswith("host=")]
    host = named[0] if named else words[1] if len(words) > 1 else ""
    return host.replace("\\", "")


async def _magi(patient: Patient, area: str, context: str) -> Finding:
    try:
        await patient.protocol.listing("ShowDialPlan", [("Context", context)])
    except ActionFailed as error:
        if "Permission denied" in str(error):
            return unknown(
                area, f"whether {printable(context)} exists", f"type in Asterisk: dialplan show {context}"
            )
        return wrong(
            area,
            f"asterisk.magi names the context {printable(context)}, which the dialplan does not have",
            "see its name in extensions.conf; contexts are found by their exact name",
        )
    return well(area, f"the context {printable(context)} is there, for MAGI")
