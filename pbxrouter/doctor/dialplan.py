"""Checks that the dialplan asks the gateway, at the right address.

It reads functions and global variables over AMI. Whether Asterisk itself can connect to the gateway
can be seen only in a call.
"""

from __future__ import annotations

import hmac
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from pbxrouter.config import DEFAULT_LISTEN, Asterisk, Config, host_of_ami, read_fastagi_secret
from pbxrouter.doctor.claims import SECOND_URL
from pbxrouter.doctor.fallback import check_fallback
from pbxrouter.doctor.finding import AS_OWNER, Finding, ok, unknown, wrong
from pbxrouter.doctor.probe import AsteriskProbe
from pbxrouter.errors import ActionFailed, ConfigError
from pbxrouter.security import is_within, parse_network
from pbxrouter.text import Sentence, printable, sentence

CONTEXT: Final = "pbxrouter-ask"
"""The context of dialplan/pbxrouter.conf that asks the gateway."""
DEFAULT_PORT: Final = 4573
TIMEOUT_S: Final = 3.0

_URL: Final = re.compile(r"h?agi://(?:\[([^\]]+)\]|([^/:\[\]]+))(?::(\d{1,5}))?(?:/.*)?")
HERE: Final = frozenset({"127.0.0.1", "localhost", "::1", "ip6-localhost"})

Connect = Callable[[tuple[str, int], float], socket.socket]
"""socket.create_connection, or a fake of it."""


Look = Callable[[], Finding]


async def run_directly(look: Look) -> Finding:
    """Run a check that blocks, for some seconds."""
    return look()


async def check_dialplan(
    probe: AsteriskProbe,
    config: Config,
    connect: Connect = socket.create_connection,
    aside: Callable[[Look], Awaitable[Finding]] = run_directly,
) -> list[Finding]:
    """Check the call of the gateway for FastAGI, and the contexts for MAGI.

    Args:
        aside: runs a check that blocks, in a thread for example.
    """
    area = sentence("dialplan {name}", name=probe.config.name)
    found = [await _hook(probe, config, area, connect, aside)]
    second = await probe.variable(SECOND_URL)
    if second and not second.startswith("agi:async"):
        found.append(await aside(lambda: _second(config, area, second, connect)))
    secret = await probe.variable("PBXROUTER_SECRET")
    if secret or (secret is not None and config.fastagi.secret_file and await _asks_by_fastagi(probe)):
        found.append(await aside(lambda: _secret(config, area, secret or "")))
    if await _asks_by_fastagi(probe):
        found += _name(probe, config, area, await probe.variable("PBXROUTER_ASTERISK") or "")
    found += await check_fallback(probe, config, area)
    for context in probe.config.magi:
        found.append(await _magi(probe, area, context))
    return found


async def _hook(
    probe: AsteriskProbe, config: Config, area: Sentence, connect: Connect, aside: Callable[[Look], Awaitable[Finding]]
) -> Finding:
    exists = await probe.variable(f"DIALPLAN_EXISTS({CONTEXT},0,1)")
    url = await probe.variable("PBXROUTER_URL")
    if exists is None or url is None:
        return unknown(
            area,
            Sentence(
                "not permitted, so neither the call of the gateway nor its secret nor the fallback was checked: it "
                "needs the class call or reporting"
            ),
            sentence("type in Asterisk: {command}", command="dialplan show pbxrouter-ask; dialplan show globals"),
        )
    if exists != "1":
        return unknown(
            area,
            Sentence("dialplan/pbxrouter.conf is not included; your own AGI() cannot be checked"),
            sentence(
                "check that it runs AGI({url}) and tests PBXROUTER afterwards (docs/dialplan.md)",
                url=_example(config),
            ),
        )
    if not url:
        return wrong(
            area,
            Sentence("PBXROUTER_URL is empty"),
            sentence("under [globals]: PBXROUTER_URL = {url}", url=_example(config)),
        )
    if url.startswith("agi:async"):
        if CONTEXT in probe.config.magi:
            return ok(area, sentence("calls wait in AGI({url}), for MAGI", url=url))
        return wrong(
            area,
            sentence("calls wait in AGI({url}), and no program takes them", url=url),
            sentence('put "{context}" into asterisk.magi', context=CONTEXT),
        )
    return await aside(lambda: _reach(probe.config, config, area, url, connect))


def _second(config: Config, area: Sentence, url: str, connect: Connect) -> Finding:
    """Connect to the second gateway, if its address can be told."""
    parts = _URL.fullmatch(url)
    if parts is None or not 0 < int(parts[3] or DEFAULT_PORT) < 65536:
        return wrong(
            area,
            sentence("{variable} is {url}", variable=SECOND_URL, url=ascii(printable(url))),
            sentence("accepted is for example {url}, agi:async, or nothing", url=_example(config)),
        )
    if url.startswith("h"):
        return unknown(
            area,
            sentence("the second gateway is asked at {url}, by SRV records", url=url),
            Sentence("check that they name the gateway"),
        )
    host, port = parts[1] or parts[2], int(parts[3] or DEFAULT_PORT)
    try:
        connect((host, port), TIMEOUT_S).close()
    except OSError as error:
        return wrong(
            area,
            sentence(
                "the second gateway is asked at {url}, where nothing answers: {why}",
                url=url,
                why=error.strerror or str(error),
            ),
            sentence("start it, or correct {variable}", variable=SECOND_URL),
        )
    return ok(area, sentence("the second gateway is asked at {url}, which answers from here", url=url))


async def _asks_by_fastagi(probe: AsteriskProbe) -> bool:
    """Whether the shipped dialplan is loaded and calls the gateway over FastAGI, where the secret counts."""
    exists = await probe.variable(f"DIALPLAN_EXISTS({CONTEXT},0,1)")
    url = await probe.variable("PBXROUTER_URL")
    return exists == "1" and bool(url) and not str(url).startswith("agi:async")


def _name(probe: AsteriskProbe, config: Config, area: Sentence, told: str) -> list[Finding]:
    """Whether the gateway can tell that a call by FastAGI comes from this Asterisk, if it matters."""
    name = probe.config.name
    todo = sentence("under [globals]: PBXROUTER_ASTERISK = {name}", name=name)
    if told and told != name:
        return [
            wrong(
                area,
                sentence(
                    "PBXROUTER_ASTERISK is {told}, and in the settings this Asterisk is {name}: of its calls it is not "
                    "known from where they come, or they are taken for those of another",
                    told=printable(told),
                    name=name,
                ),
                todo,
            )
        ]
    if len(config.asterisk) == 1:
        return []
    if told:
        return [ok(area, sentence("PBXROUTER_ASTERISK is {name}, as in the settings", name=name))]
    host = _one_form(host_of_ami(probe.config.ami))
    others = [asterisk.name for asterisk in config.asterisk if asterisk.name != name]
    hosts = {asterisk.name: _one_form(host_of_ami(asterisk.ami)) for asterisk in config.asterisk}
    sharing = [other for other in others if hosts[other] == host]
    if sharing:
        return [
            wrong(
                area,
                sentence(
                    "PBXROUTER_ASTERISK is empty, and {others} has the same address: by FastAGI it is not known which "
                    "of them a call comes from",
                    others=", ".join(sharing),
                ),
                todo,
            )
        ]
    return [ok(area, sentence("the gateway knows calls from {name} by its address, {host}", name=name, host=host))]


def _one_form(host: str) -> str:
    return "127.0.0.1" if host in HERE or host.startswith("127.") else host.lower()


def _secret(config: Config, area: Sentence, secret: str) -> Finding:
    """Compare PBXROUTER_SECRET with the file; neither is shown."""
    if not config.fastagi.secret_file:
        return wrong(
            area,
            Sentence("PBXROUTER_SECRET is set, and the settings have no fastagi.secret_file: it is not checked"),
            Sentence("put it into a file of mode 0600, and name that in fastagi.secret_file"),
        )
    try:
        expected = read_fastagi_secret(config)
    except ConfigError as error:
        return unknown(area, error.sentence, AS_OWNER)
    if hmac.compare_digest(secret.encode("utf-8", "surrogateescape"), expected.encode()):
        return ok(area, Sentence("PBXROUTER_SECRET is the secret of fastagi.secret_file"))
    what = (
        Sentence("PBXROUTER_SECRET is not the secret of fastagi.secret_file: calls are refused")
        if secret
        else Sentence("PBXROUTER_SECRET is empty, and fastagi.secret_file is set: calls are refused")
    )
    return wrong(
        area,
        what,
        sentence("under [globals]: PBXROUTER_SECRET = the first line of {path}", path=config.fastagi.secret_file),
    )


def _example(config: Config) -> str:
    port = re.match(r"tcp:(?:port=)?(\d+)", config.fastagi.listen)
    return f"agi://127.0.0.1:{port[1] if port else DEFAULT_PORT}/pbxrouter"


def _reach(asterisk: Asterisk, config: Config, area: Sentence, url: str, connect: Connect) -> Finding:
    """Connect to the gateway as Asterisk will."""
    parts = _URL.fullmatch(url)
    if parts is None or not 0 < int(parts[3] or DEFAULT_PORT) < 65536:
        return wrong(
            area,
            sentence("PBXROUTER_URL is {url}", url=ascii(printable(url))),
            sentence("accepted is for example {url}", url=_example(config)),
        )
    host, port = parts[1] or parts[2], int(parts[3] or DEFAULT_PORT)
    if url.startswith("h"):
        return unknown(
            area,
            sentence("it asks {url}, by SRV records", url=url),
            Sentence("check that they name the gateway"),
        )
    remote = host_of_ami(asterisk.ami)
    if host in HERE and remote not in HERE:
        return unknown(
            area,
            sentence(
                "it asks {url}, which is Asterisk's own machine, {machine}",
                url=url,
                machine=remote or Sentence("another machine"),
            ),
            Sentence("if the gateway runs on another, name that one in PBXROUTER_URL"),
        )
    try:
        connect((host, port), TIMEOUT_S).close()
    except OSError as error:
        why = error.strerror or str(error)
        listen = config.fastagi.listen
        todo = (
            sentence(
                "the gateway listens at {listen}; that is for this machine alone, so name another interface; "
                "see PBXROUTER_URL and fastagi.listen",
                listen=listen,
            )
            if listen == DEFAULT_LISTEN and host not in HERE
            else sentence("the gateway listens at {listen}; see PBXROUTER_URL and fastagi.listen", listen=listen)
        )
        return wrong(area, sentence("it asks {url}, where nothing answers: {why}", url=url, why=why), todo)
    allowed = [network for network in map(parse_network, config.fastagi.allow) if network is not None]
    peer = host if remote in HERE else remote
    if allowed and parse_network(peer) is not None and not is_within(peer, allowed):
        return wrong(
            area,
            sentence("Asterisk's address {address} is not in fastagi.allow: its calls are refused", address=peer),
            Sentence("if it connects from that address, add it"),
        )
    if remote in HERE:
        return ok(area, sentence("asks {url}, which answers", url=url))
    return unknown(
        area,
        sentence("it asks {url}, which answers from here; from Asterisk's machine only a call can show it", url=url),
        sentence(
            "there: {command}; or dial a number, with `pbxrouter debug` running",
            command=f"nc -z {host} {port}",
        ),
    )


async def _magi(probe: AsteriskProbe, area: Sentence, context: str) -> Finding:
    try:
        await probe.protocol.action_list("ShowDialPlan", [("Context", context)])
    except ActionFailed as error:
        if "Permission denied" in str(error):
            return unknown(
                area,
                sentence("whether {context} exists", context=context),
                sentence("type in Asterisk: {command}", command=f"dialplan show {context}"),
            )
        if "context" not in str(error).lower():
            return unknown(
                area,
                sentence("whether {context} exists: {why}", context=context, why=error.sentence),
                sentence("type in Asterisk: {command}", command=f"dialplan show {context}"),
            )
        return wrong(
            area,
            sentence("asterisk.magi names the context {context}, which the dialplan does not have", context=context),
            Sentence("see its name in extensions.conf; contexts are found by their exact name"),
        )
    return ok(area, sentence("the context {context} is there, for MAGI", context=context))
