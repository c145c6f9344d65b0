"""Tests of pbxrouter.database.calls."""
