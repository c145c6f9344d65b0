"""`pbxrouter doctor`: looks at everything, and says what to change."""

import dataclasses
import json
import pathlib
import time
from typing import TYPE_CHECKING, Any

import click

from pbxrouter.cli import address
from pbxrouter.cli.asterisks import account_of
from pbxrouter.cli.options import config_option, database_option, read_config
from pbxrouter.errors import ConfigError, ManagerError
from pbxrouter.trace import printable

if TYPE_CHECKING:
    from pbxrouter.config import Asterisk, Config
    from pbxrouter.doctor import Finding

_MARKS = {"ok": "ok   ", "wrong": "WRONG", "unknown": "?    "}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@click.option(
    "--sounds", metavar="FOLDER", help="Where Asterisk's sounds are seen from here, if not where it says."
)
@config_option
@database_option
def doctor(as_json: bool, sounds: str | None, config_file: str | None, database: str | None) -> int:
    """Look at settings, database, gateway, Asterisk and dialplan; say what is wrong and what to change.

    Nothing is changed, and no call is made. Exit status: 0 all is well, 1 something is wrong, 2 the settings
    cannot be read. What cannot be seen from here is marked `?`, with how to look by hand; that is no failure.
    """
    config = read_config(config_file, database)
    found: list[Finding] = []

    def tell(finding: "Finding") -> None:
        found.append(finding)
        if not as_json:
            click.echo(_text(finding))

    _examine(config, sounds, tell)
    bad = sum(each.state == "wrong" for each in found)
    if as_json:
        report = {"well": not bad, "findings": [dataclasses.asdict(each) for each in found]}
        click.echo(json.dumps(report, indent=2))
    elif bad:
        click.echo(f"{bad} {'thing is' if bad == 1 else 'things are'} wrong")
    else:
        click.echo("all is well")
    return 1 if bad else 0


def _text(finding: "Finding") -> str:
    line = f"{_MARKS[finding.state]} {finding.area}: {finding.what}"
    if not finding.todo:
        return line
    return f"{line}\n      {'by hand' if finding.state == 'unknown' else 'to do'}: {finding.todo}"


def _examine(config: "Config", sounds: str | None, tell: Any) -> None:
    from pbxrouter.doctor import wrong
    from pbxrouter.doctor.files import look_at_files
    from pbxrouter.doctor.running import look_at_gateway

    for finding in look_at_files(config):
        tell(finding)
    for finding in look_at_gateway(config, _connect):
        tell(finding)
    accounts = []
    for asterisk in config.asterisk:
        area = f"AMI {printable(asterisk.name)}"
        if not asterisk.secret_file:
            tell(
                wrong(
                    area,
                    "no secret_file is set, so nobody can log in",
                    "write the secret of its user in manager.conf into a file of mode 0600, and name that in "
                    "asterisk.secret_file",
                )
            )
            continue
        try:
            accounts.append((asterisk, account_of(asterisk)))
        except ConfigError as error:
            tell(wrong(area, str(error)))
    if not config.asterisk:
        from pbxrouter.doctor import unknown

        tell(
            unknown(
                "AMI",
                "no [[asterisk]] is in the settings: no counter, no click-to-dial, no MAGI, no heartbeat",
                "docs/configuration.md tells how to add one; calls by FastAGI need none",
            )
        )
    if accounts:
        _examine_asterisks(config, accounts, sounds, tell)


def _connect(listen: str, timeout_s: float) -> Any:
    return address.of_endpoint(listen).connect(timeout_s)


def _examine_asterisks(config: "Config", accounts: Any, sounds: str | None, tell: Any) -> None:
    from twisted.internet import reactor as the_reactor
    from twisted.internet.defer import Deferred

    reactor: Any = the_reactor
    failures: list[BaseException] = []

    finished: list[bool] = []
    interrupted: list[bool] = []

    def say(finding: "Finding") -> None:
        if not interrupted:  # then all connections end, which is no finding
            tell(finding)

    async def examine() -> None:
        try:
            for asterisk, account in accounts:
                await _examine_one(config, asterisk, account, sounds, say, reactor)
        except Exception as error:
            failures.append(error)
        if not interrupted:
            finished.append(True)
            reactor.stop()

    def stopping() -> None:
        if not finished:
            interrupted.append(True)

    reactor.addSystemEventTrigger("before", "shutdown", stopping)
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(examine()))
    reactor.run()
    if interrupted:
        raise KeyboardInterrupt
    if failures:
        raise failures[0]


async def _examine_one(
    config: "Config", asterisk: "Asterisk", account: Any, sounds: str | None, tell: Any, reactor: Any
) -> None:
    from pbxrouter.doctor import Finding, wrong
    from pbxrouter.doctor.asterisk import log_in, look_at_asterisk
    from pbxrouter.doctor.hook import look_at_dialplan
    from pbxrouter.doctor.sounds import look_at_sounds

    patient = await log_in(asterisk, account, reactor, time.time)
    if isinstance(patient, Finding):
        tell(patient)
        return
    try:
        for finding in [*await look_at_asterisk(patient), *await look_at_dialplan(patient, config)]:
            tell(finding)
        data = await patient.variable("ASTDATADIR")
        folder = pathlib.Path(sounds) if sounds else pathlib.Path(data) / "sounds" if data else None
        for finding in look_at_sounds(config, folder, f"sounds {printable(asterisk.name)}"):
            tell(finding)
    except ManagerError as error:
        tell(wrong(patient.area, str(error), "run this again; Asterisk's log may tell more"))
    finally:
        patient.protocol.close()
