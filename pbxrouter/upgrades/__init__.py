"""Numbered upgrades of the database; pbxrouter.database.upgrade runs them.

``schema.sql`` is always the newest version, for a new database. A change to it comes
with a file here that takes an older database there: ``0002_what_it_does.sql`` goes from
version 1 to 2, and SCHEMA_VERSION in pbxrouter/database/upgrade.py becomes 2. In such a
file: no BEGIN, COMMIT or PRAGMA (each file runs in one transaction, with foreign keys
unchecked, so that tables can be rebuilt) and no row for schema_version (written for you).

The definition of a new table so stands in both, in the last file and in ``schema.sql``, which is the description of the
database for its owner; a test compares the results. A file is not changed once it was released: ``schema.sql`` may be.
"""
