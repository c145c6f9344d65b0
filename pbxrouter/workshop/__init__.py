"""Imports the five tables of the 2006 workshop, from SQL text or a database.

``read_file`` returns WorkshopTables, and ``import_tables`` merges them into the database. The files
hold PINs in clear, which no message, repr or log contains.
"""

from pbxrouter.workshop.import_report import ImportReport
from pbxrouter.workshop.merge import import_tables
from pbxrouter.workshop.source_file import read_file, read_sqlite
from pbxrouter.workshop.sql import read_sql
from pbxrouter.workshop.tables import WorkshopTables

__all__ = ["ImportReport", "WorkshopTables", "import_tables", "read_file", "read_sql", "read_sqlite"]
