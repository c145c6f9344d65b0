"""Tests of pbxrouter.database.audit."""
