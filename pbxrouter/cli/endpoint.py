"""`pbxrouter endpoint`: lists the endpoints that extensions are tied to, and ties and unties extensions."""

import json
import time

import click

from pbxrouter.cli.options import config_option, database_option, open_database, read_config


@click.command()
@click.argument("extension", required=False)
@click.argument("endpoint_", metavar="ENDPOINT", required=False)
@click.option("--remove", is_flag=True, help="Untie the extension.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for the list.")
@config_option
@database_option
def endpoint(
    extension: str | None,
    endpoint_: str | None,
    remove: bool,
    as_json: bool,
    config_file: str | None,
    database: str | None,
) -> None:
    """List the extensions with their endpoints, or tie an extension to its endpoint.

    `pbxrouter endpoint 33 PJSIP/33`: from now on the number 33 counts as extension 33 on calls from PJSIP/33 alone.
    """
    if extension is None and remove:
        raise click.UsageError("--remove needs the number of an extension")
    if extension is not None and (endpoint_ is None) is not remove:
        raise click.UsageError("accepted is an extension with an endpoint, such as 33 PJSIP/33, or with --remove")
    from pbxrouter.cli.actor import system_actor
    from pbxrouter.database.rules import extension_numbered, find_extensions, update_extension
    from pbxrouter.text import printable

    with open_database(read_config(config_file, database)) as connection:
        if extension is None:
            for row in find_extensions(connection):
                if as_json:
                    click.echo(json.dumps({"extension": row.name, "endpoint": row.endpoint or None}))
                else:
                    click.echo(f"{printable(row.name)}: {printable(row.endpoint) or 'any endpoint'}")
            return
        row = extension_numbered(connection, extension)
        update_extension(connection, system_actor(), time.time(), row.holder_id, endpoint=endpoint_ or "")
        tied = extension_numbered(connection, extension).endpoint
    click.echo(f"{extension}: {tied or 'any endpoint'}")
