"""Tests of pbxrouter.database.engine."""
