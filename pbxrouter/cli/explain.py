"""`pbxrouter explain`: prints what the rules decide about a call, and why; the gateway need not run."""

import json

import click

from pbxrouter.cli.options import (
    caller_option,
    config_option,
    database_option,
    given_pin,
    open_database,
    pin_hasher,
    read_config,
)


@click.command(epilog="Write -- before a NUMBER that begins with a dash.")
@click.argument("number")
@caller_option
@click.option("--pin", metavar="PIN", help="The PIN that the caller keys. `-` reads it from standard input.")
@click.option("--endpoint", metavar="ENDPOINT", default="", help="The endpoint by which it comes, such as PJSIP/33.")
@click.option(
    "--forwarded-by",
    metavar="FORWARDER",
    default="",
    help="The extension, or an endpoint such as PJSIP/21, that forwarded the call, by a forward or a transfer.",
)
@click.option(
    "--claimed-forwarder",
    metavar="NUMBER",
    default="",
    help="The number that forwarded the call by its own claim, without proof, as in a Diversion header.",
)
@click.option(
    "--asterisk",
    metavar="NAME",
    default="",
    help="The Asterisk from which it comes, by its name in the settings; CALLER and ENDPOINT may have it in front, "
    "as in madrid:33.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@config_option
@database_option
def explain(
    number: str,
    caller: str,
    pin: str | None,
    endpoint: str,
    forwarded_by: str,
    claimed_forwarder: str,
    asterisk: str,
    as_json: bool,
    config_file: str | None,
    database: str | None,
) -> None:
    """Show what the rules decide when CALLER dials NUMBER, and why.

    The rules are read from the database; the gateway need not run. The exit status is 0 for every decision.
    """
    from pbxrouter.database.rules import read_rules
    from pbxrouter.drivers import DriverApplications, DriversOnDemand
    from pbxrouter.errors import EditRefused
    from pbxrouter.rules import action_of, as_dict, facts_of, headline, runners_up

    config = read_config(config_file, database)
    with open_database(config) as connection:
        rules = read_rules(connection, pin_hasher(config))
    keyed = None if pin is None else given_pin(pin)
    try:
        facts = facts_of(
            rules,
            config.trunks,
            caller,
            number,
            keyed,
            endpoint=endpoint,
            forwarded_by=forwarded_by,
            claimed_forwarder=claimed_forwarder,
            asterisk=asterisk,
            asterisks=[known.name for known in config.asterisk],
        )
    except EditRefused as error:
        option = "from" if error.field == "caller" else error.field.replace("_", "-")
        raise click.BadParameter(str(error), param_hint=f"--{option}") from None
    shown = facts.caller
    decision = DriverApplications(DriversOnDemand(config)).examined(rules.decide(facts), facts.caller)
    beside = runners_up(rules, decision)
    if as_json:
        click.echo(json.dumps(as_dict(decision, shown, rules.problems, beside), indent=2))
        return
    click.echo(headline(decision, shown).english)
    action = action_of(decision)
    for sentence in (*decision.trace, *([action] if action else []), *beside):
        click.echo(f"  {sentence.english}")
    for problem in rules.problems:
        click.echo(f"note: {problem}")
