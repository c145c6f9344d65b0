"""`pbxrouter doctor`: checks the installation and says what to change."""

import json
from typing import TYPE_CHECKING, Any

import click

from pbxrouter.cli.options import config_option, database_option, read_config

if TYPE_CHECKING:
    from pbxrouter.config import Config
    from pbxrouter.doctor import Counts, Finding

STATUS = {"ok": 0, "wrong": 1, "unknown": 3}
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

    Nothing is changed, and no call is made. The exit status is 0 if all was checked and is well, 1 if there is a
    problem, 2 if the settings cannot be read, 3 if no problem was found but something could not be checked. `?` marks
    that, with the reason and how to check it.
    """
    config = read_config(config_file, database)
    found: list[Finding] = []

    def tell(finding: "Finding") -> None:
        found.append(finding)
        if not as_json:
            click.echo(_text(finding))

    _examine(config, sounds, tell)
    from pbxrouter.doctor import Counts

    counts = Counts.of(found)
    if as_json:
        report = {
            "ok": counts.state == "ok",
            "state": counts.state,
            "wrong": counts.wrong,
            "unknown": counts.unknown,
            "findings": [_as_json(finding) for finding in found],
        }
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo(headline(counts))
    return STATUS[counts.state]


def headline(counts: "Counts") -> str:
    """The last line: how many problems there are, and how many checks could not be made."""
    if counts == type(counts)():
        return "nothing could be checked"
    line = "no problems found"
    if counts.wrong:
        line = f"{counts.wrong} {'problem' if counts.wrong == 1 else 'problems'} found"
    if counts.unknown:
        checks = "1 check" if counts.unknown == 1 else f"{counts.unknown} checks"
        line += f"{';' if counts.wrong else ', but'} {checks} could not be made"
    return line


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
