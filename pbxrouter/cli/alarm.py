"""`pbxrouter alarm`: sends a test alarm to the command and the webhook of the settings."""

from typing import TYPE_CHECKING, Any

import click

from pbxrouter.cli.options import config_option, read_config

if TYPE_CHECKING:
    from pbxrouter.config import Config


@click.command()
@config_option
def alarm(config_file: str | None) -> int:
    """Send a test alarm to the command and the webhook under [alarm].

    One attempt is made for each. The exit status is 0 if all were delivered, 1 if one was not, 2 if the settings
    name neither.
    """
    config = read_config(config_file, None)
    if not config.alarm.command and not config.alarm.webhook:
        raise click.UsageError("the settings have neither alarm.command nor alarm.webhook")
    return 1 if _send(config) else 0


def _send(config: "Config") -> int:
    """Send the test alarm; returns how many deliveries failed."""
    import time

    from twisted.internet import reactor as the_reactor
    from twisted.internet.defer import Deferred

    from pbxrouter.alarms import Alarm, notice_of, targets_of
    from pbxrouter.errors import AlarmFailed

    reactor: Any = the_reactor
    targets = targets_of(config, reactor, time.time)
    failed: list[str] = []
    unexpected: list[BaseException] = []

    async def deliver() -> None:
        notice = notice_of(Alarm("test", "test alarm of pbxrouter"), time.time())
        try:
            for target in targets:
                try:
                    await target.deliver(notice)
                except AlarmFailed as error:
                    failed.append(target.name)
                    click.echo(f"{target.name}: not delivered: {error}")
                else:
                    click.echo(f"{target.name}: delivered {notice.number}")
        except Exception as error:
            unexpected.append(error)
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(deliver()))
    reactor.run()
    if unexpected:
        raise unexpected[0]
    return len(failed)
