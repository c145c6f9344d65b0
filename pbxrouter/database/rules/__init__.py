"""The rules in the database: loading, listing, editing. Each edit returns its entry in the audit log."""

from pbxrouter.database.rules.grant_edits import (
    GrantsSet,
    delete_orphans,
    grant,
    revoke,
    set_grants,
)
from pbxrouter.database.rules.grant_lists import (
    COLUMNS,
    ROWS,
    Matrix,
    find_orphans,
    matrix,
)
from pbxrouter.database.rules.holder_edits import (
    add_extension,
    add_user,
    change_own_pin,
    delete_holder,
    generate_user_pin,
    set_pin,
    set_user_pin,
    update_extension,
    update_user,
    user_of_pin,
)
from pbxrouter.database.rules.holders import HOLDERS, Grant
from pbxrouter.database.rules.lists import (
    HolderRow,
    MappingRow,
    extension_numbered,
    find_extensions,
    find_holders,
    find_mappings,
    holder,
    holders_of,
    mapping,
    mappings_of,
)
from pbxrouter.database.rules.loader import check_columns, read_rules
from pbxrouter.database.rules.mapping_edits import (
    MappingValues,
    add_mapping,
    delete_mapping,
    set_enabled,
    update_mapping,
)
from pbxrouter.database.rules.names import granted_among, names_of
from pbxrouter.database.rules.sample import add_sample

__all__ = [
    "COLUMNS",
    "HOLDERS",
    "ROWS",
    "Grant",
    "GrantsSet",
    "HolderRow",
    "MappingRow",
    "MappingValues",
    "Matrix",
    "add_extension",
    "add_mapping",
    "add_sample",
    "add_user",
    "change_own_pin",
    "check_columns",
    "delete_holder",
    "delete_mapping",
    "delete_orphans",
    "extension_numbered",
    "find_extensions",
    "find_holders",
    "find_mappings",
    "find_orphans",
    "generate_user_pin",
    "grant",
    "granted_among",
    "holder",
    "holders_of",
    "mapping",
    "mappings_of",
    "matrix",
    "names_of",
    "read_rules",
    "revoke",
    "set_enabled",
    "set_grants",
    "set_pin",
    "set_user_pin",
    "update_extension",
    "update_mapping",
    "update_user",
    "user_of_pin",
]
