"""Bringing over what the workshop of 2006 left: its five tables, as SQL text or as a database.

``read_file`` reads, ``import_tables`` merges into the database of ours; between them
stands WorkshopTables, so both can be tried alone. The files hold PINs in clear: none
comes into a message, a repr or a log.
"""

from pbxrouter.workshop.files import read_file, read_sqlite
from pbxrouter.workshop.merge import import_tables
from pbxrouter.workshop.report import ImportReport
from pbxrouter.workshop.sql import read_sql
from pbxrouter.workshop.tables import WorkshopTables

__all__ = ["ImportReport", "WorkshopTables", "import_tables", "read_file", "read_sql", "read_sqlite"]
