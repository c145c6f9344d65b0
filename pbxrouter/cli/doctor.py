"""`pbxrouter doctor`: looks at everything, and says what to change."""

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
@click.option("--sounds", metavar="FOLDER", help="Where Asterisk's sounds are seen from here, if not where it says.")
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
    bad = sum(finding.state == "wrong" for finding in found)
    if as_json:
        report = {"well": not bad, "findings": [_as_json(finding) for finding in found]}
        click.echo(json.dumps(report, indent=2))
    elif bad:
        click.echo(f"{bad} {'thing is' if bad == 1 else 'things are'} wrong")
    else:
        click.echo("all is well")
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
        if not interrupted:  # then all connections end, which is no finding
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
