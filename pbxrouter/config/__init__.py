"""The settings file: its schema, its messages, where it is read."""

from pbxrouter.config.address import host_of_ami, is_local, of_endpoint
from pbxrouter.config.database_place import Place, PostgreSQLPlace, beside, has_password, is_url, place_at
from pbxrouter.config.file import DEFAULT_FILE, read_config
from pbxrouter.config.gateway_id import gateway_id
from pbxrouter.config.parsing import at_database
from pbxrouter.config.schema import DEFAULT_LISTEN, Asterisk, Config, Web
from pbxrouter.config.secret import read_alarm_secret, read_fastagi_secret
from pbxrouter.config.zone import Zone

__all__ = [
    "DEFAULT_FILE",
    "DEFAULT_LISTEN",
    "Asterisk",
    "Config",
    "Place",
    "PostgreSQLPlace",
    "Web",
    "Zone",
    "address",
    "at_database",
    "beside",
    "file",
    "gateway_id",
    "has_password",
    "host_of_ami",
    "is_local",
    "is_url",
    "of_endpoint",
    "place_at",
    "read_alarm_secret",
    "read_config",
    "read_fastagi_secret",
]
