"""`pbxrouter doctor`: checks the installation and says what to change."""

import json
from typing import TYPE_CHECKING, Any

import click

from pbxrouter.cli.options import config_option, database_option, read_config

if TYPE_CHECKING:
    from pbxrouter.config import Config
    from pbxrouter.doctor import Finding

_MARKS = {"ok": "ok   ", "wrong": "WRONG", "unknown": "?    "}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@click.option(
    "--sounds",
    metavar="FOLDER",
    help="The folder with Asterisk's sounds, if it is elsewhere on this machine than Asterisk says.",
)
@config_option
@database_option
def doctor(as_json: bool, sounds: str | None, config_file: str | None, database: str | None) -> int:
    """Check settings, database, gateway and Asterisk for errors.

    Nothing is changed, and no call is made. The exit status is 0 if no problem was found, 1 if there is one,
    2 if the settings cannot be read. `?` marks what cannot be checked from here, with how to check it by
    hand; it does not count as a problem.
    """
    config = read_config(config_file, database)
    found: list[Finding] = []

    def tell(finding: "Finding") -> None:
        found.append(finding)
        if not as_json:
            click.echo(_text(finding))

    _examine(config, sounds, tell)
    bad = sum(finding.state == "wrong" for finding in found)
    if as_json:
        report = {"ok": not bad, "findings": [_as_json(finding) for finding in found]}
        click.echo(json.dumps(report, indent=2))
    elif bad:
        click.echo(f"{bad} {'problem' if bad == 1 else 'problems'} found")
    else:
        click.echo("no problems found")
    return 1 if bad else 0


def _as_json(finding: "Finding") -> dict[str, str]:
    return {"area": finding.area, "state": finding.state, "what": finding.what, "todo": finding.todo}


def _text(finding: "Finding") -> str:
    line = f"{_MARKS[finding.state]} {finding.area}: {finding.what}"
    if not finding.todo:
        return line
    return f"{line}\n      {'by hand' if finding.state == 'unknown' else 'to do'}: {finding.todo}"


def _examine(config: "Config", sounds: str | None, tell: Any) -> None:
    from twisted.internet import reactor as the_reactor
    from twisted.internet.defer import Deferred

    from pbxrouter.doctor import examine

    reactor: Any = the_reactor
    failures: list[BaseException] = []
    finished: list[bool] = []
    interrupted: list[bool] = []

    def say(finding: "Finding") -> None:
        if not interrupted:  # connections that end at the shutdown are no findings
            tell(finding)

    async def look() -> None:
        try:
            await examine(config, reactor, say, sounds)
        except Exception as error:
            failures.append(error)
        if not interrupted:
            finished.append(True)
            reactor.stop()

    def stopping() -> None:
        if not finished:
            interrupted.append(True)

    reactor.addSystemEventTrigger("before", "shutdown", stopping)
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(look()))
    reactor.run()
    if interrupted:
        raise KeyboardInterrupt
    if failures:
        raise failures[0]
